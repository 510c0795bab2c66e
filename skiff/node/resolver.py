"""A pod's DNS settings, host name and /etc/hosts. Pure, given the host's own files.

Source: https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/ and
https://kubernetes.io/docs/tasks/network/customize-hosts-file-for-pods/
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from skiff.api.views.core import HostAlias, Pod
from skiff.node.runtime import DnsConfig

MAX_NAMESERVERS = 3
MAX_SEARCHES = 32
MAX_SEARCH_CHARS = 2048
MAX_HOSTNAME = 63
MAX_FQDN = 64
CLUSTER_OPTIONS = ("ndots:5",)
# Where systemd-resolved keeps the servers that it asks; its own stub means nothing inside a pod.
_UPSTREAM_RESOLV_CONF = "/run/systemd/resolve/resolv.conf"

_HOSTS_HEADER = "# Kubernetes-managed hosts file.\n"
_HOSTS_HEADER_HOST_NETWORK = "# Kubernetes-managed hosts file (host network).\n"
_HOSTS_LOCAL = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


@dataclass(frozen=True, slots=True)
class PodDns:
    """The settings, and (reason, text) of Warning events."""

    config: DnsConfig
    warnings: tuple[tuple[str, str], ...] = ()


def parse_resolv_conf(text: str) -> DnsConfig:
    """What a resolv.conf says (resolv.conf(5)): the last `search` and `options` lines count."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for line in text.splitlines():
        fields = line.partition("#")[0].split()
        if len(fields) < 2 or fields[0].startswith(";"):
            continue
        if fields[0] == "nameserver":
            servers.append(fields[1])
        elif fields[0] == "search":
            searches = tuple(s.removesuffix(".") if s != "." else s for s in fields[1:])
        elif fields[0] == "options":
            options = tuple(fields[1:])
    return DnsConfig(tuple(servers), searches, options)


def read_host_dns(resolv_conf: str) -> DnsConfig:
    """The host's settings; where they lead only to a stub on loopback, those behind the stub."""
    if not resolv_conf:
        return DnsConfig()
    try:
        found = parse_resolv_conf(Path(resolv_conf).read_text())
    except OSError:
        return DnsConfig()
    if found.servers and all(s.startswith("127.") or s == "::1" for s in found.servers):
        try:
            return parse_resolv_conf(Path(_UPSTREAM_RESOLV_CONF).read_text())
        except OSError:
            return found
    return found


def pod_dns(pod: Pod, host: DnsConfig, cluster_dns: Sequence[str], cluster_domain: str) -> PodDns:
    """The settings for the pod's resolv.conf, from its dnsPolicy and dnsConfig."""
    spec = pod.spec
    warnings: list[tuple[str, str]] = []
    policy = spec.dns_policy or "ClusterFirst"
    in_cluster = policy == "ClusterFirstWithHostNet" or (
        policy == "ClusterFirst" and not spec.host_network
    )
    config = host
    if policy == "None":
        config = DnsConfig()
    elif in_cluster and cluster_dns:
        namespace = pod.metadata.namespace
        searches = (f"{namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain)
        config = DnsConfig(
            tuple(cluster_dns), _unique((*searches, *host.searches)), CLUSTER_OPTIONS
        )
    elif in_cluster:
        identity = f"{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"
        text = (
            f'pod: "{identity}". kubelet does not have ClusterDNS IP configured and cannot create Pod '
            f'using "{policy}" policy. Falling back to "Default" policy.'
        )
        warnings.append(("MissingClusterDNS", text))
    own = spec.dns_config
    if own is not None:
        options = dict(_split_option(o) for o in config.options)
        options |= {o.name: o.value or "" for o in own.options}
        config = DnsConfig(
            _unique((*config.servers, *own.nameservers)),
            _unique((*config.searches, *own.searches)),
            tuple(f"{k}:{v}" if v else k for k, v in options.items()),
        )
    return PodDns(_within_limits(config, warnings), tuple(warnings))


def _split_option(option: str) -> tuple[str, str]:
    name, _, value = option.partition(":")
    return name, value


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _within_limits(config: DnsConfig, warnings: list[tuple[str, str]]) -> DnsConfig:
    servers, searches = config.servers, config.searches
    if len(servers) > MAX_NAMESERVERS:
        servers = servers[:MAX_NAMESERVERS]
        text = (
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied "
            f"nameserver line is: {' '.join(servers)}"
        )
        warnings.append(("DNSConfigForming", text))
    kept = searches[:MAX_SEARCHES]
    while kept and len(" ".join(kept)) > MAX_SEARCH_CHARS:
        kept = kept[:-1]
    if kept != searches:
        text = (
            "Search Line limits were exceeded, some search paths have been omitted, the applied "
            f"search line is: {' '.join(kept)}"
        )
        warnings.append(("DNSConfigForming", text))
    return DnsConfig(servers, kept, config.options)


def host_name(pod: Pod, cluster_domain: str) -> tuple[str, str]:
    """The pod's host name and its domain (empty without a subdomain)."""
    spec = pod.spec
    if spec.hostname_override:
        return spec.hostname_override, ""
    name = spec.hostname or pod.metadata.name[:MAX_HOSTNAME].rstrip("-.")
    domain = ""
    if spec.subdomain:
        domain = f"{spec.subdomain}.{pod.metadata.namespace}.svc.{cluster_domain}"
    return name, domain


def sandbox_host_name(pod: Pod, cluster_domain: str) -> str:
    """What the sandbox is called: the full name where the pod asks for it. Raises ValueError where
    that is too long for a host name."""
    name, domain = host_name(pod, cluster_domain)
    if not (pod.spec.set_hostname_as_fqdn and domain):
        return name
    full = f"{name}.{domain}"
    if len(full) > MAX_FQDN:
        raise ValueError(
            f"Failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long "
            f"({MAX_FQDN} characters is the max, {len(full)} characters requested)"
        )
    return full


def hosts_file(pod: Pod, pod_ips: Sequence[str], cluster_domain: str, host_file: str = "") -> str:
    """The content of the pod's /etc/hosts. `host_file` is the host's, for pods in its network."""
    if pod.spec.host_network:
        return _HOSTS_HEADER_HOST_NETWORK + host_file + _aliases(pod.spec.host_aliases)
    name, domain = host_name(pod, cluster_domain)
    names = f"{name}.{domain}\t{name}" if domain else name
    lines = "".join(f"{ip}\t{names}\n" for ip in pod_ips)
    return _HOSTS_HEADER + _HOSTS_LOCAL + lines + _aliases(pod.spec.host_aliases)


def _aliases(aliases: Sequence[HostAlias]) -> str:
    if not aliases:
        return ""
    lines = ("\t".join((alias.ip, *alias.hostnames)) + "\n" for alias in aliases)
    return "\n# Entries added by HostAliases.\n" + "".join(lines)
