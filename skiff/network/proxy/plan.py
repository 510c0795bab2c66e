"""Which rules a Service needs. Pure: views in, chains and map elements out.

A destination is looked up in the verdict map `service-ips` (address, protocol, port), or, where it
is this machine, in `service-nodeports`. The verdict leads to one of the service port's chains:

    svc-   picks one of all endpoints and rewrites the destination
    int-   picks one of this node's (internalTrafficPolicy Local)
    ext-   traffic to a NodePort, an external address or a load balancer's: marked to be masqueraded
           and on to svc-, or, with externalTrafficPolicy Local, as it is on to local-
    local- picks one of this node's
    fw-    lets only loadBalancerSourceRanges through to ext-
    ep-    one endpoint of a Service with session affinity: remembers the client in a set of its own

A choice is one rule, a map from a random number to address and port. With affinity it is one chain
an endpoint, because each needs its set. What has no endpoint at all is in `refused-ips` and
`refused-nodeports`, see `base`.

Source: https://kubernetes.io/docs/reference/networking/virtual-ips/ and KEP-3866 (nftables).
IPv4; addresses of the other family are left out.
"""

import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from skiff.api.views.discovery import EndpointSlice
from skiff.api.views.service import Service, ServicePort
from skiff.network.proxy.base import MARK
from skiff.network.proxy.endpoints import Place, Target, in_cluster, ipv4, on_node, targets
from skiff.network.proxy.model import NOTHING, Share

AFFINITY_DEFAULT_S = 10800
SERVICE_NAME_LABEL = "kubernetes.io/service-name"
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"

Frontend = tuple[str, int]
"""Address and port that clients use; for a NodePort the address is ""."""
Backend = tuple[str, int]


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """One Service's share of the table, and to which endpoints its UDP ports lead (tracked flows of UDP
    have no end of their own: those that lead elsewhere must be forgotten)."""

    share: Share = NOTHING
    udp: Mapping[Frontend, frozenset[Backend]] = field(default_factory=dict)


EMPTY = ServiceRules()


def cluster_addresses(service: Service) -> list[str]:
    """The Service's own IPv4 addresses."""
    spec = service.spec
    return [ip for text in (spec.cluster_ips or (spec.cluster_ip,)) if (ip := ipv4(text))]


def is_proxied(service: Service) -> bool:
    """Whether the proxy has anything to do for `service`."""
    labels = service.metadata.labels
    if service.spec.type == "ExternalName" or PROXY_NAME_LABEL in labels:
        return False
    return HEADLESS_LABEL not in labels and bool(cluster_addresses(service))


def plan_service(
    service: Service, slices: Sequence[EndpointSlice], place: Place, pod_cidr: str
) -> ServiceRules:
    """The rules of one Service on the node at `place`."""
    if not is_proxied(service):
        return EMPTY
    builder = _Builder(service, place, pod_cidr)
    for port in service.spec.ports:
        builder.add(port, targets(port, slices, place))
    return builder.rules()


def local_ready_endpoints(service: Service, slices: Sequence[EndpointSlice], place: Place) -> int:
    """How many endpoints on this node are ready: what a load balancer's health check asks for."""
    found = {
        t.address
        for port in service.spec.ports
        for t in targets(port, slices, place)
        if t.local and t.ready
    }
    return len(found)


class _Builder:
    """Collects one Service's rules, port by port."""

    def __init__(self, service: Service, place: Place, pod_cidr: str) -> None:
        self._service = service
        self._place = place
        self._pod_cidr = pod_cidr
        self._addresses = cluster_addresses(service)
        self._external = [ip for text in service.spec.external_ips if (ip := ipv4(text))]
        self._balancers = _balancer_addresses(service)
        self._chains: dict[str, tuple[str, ...]] = {}
        self._sets: dict[str, str] = {}
        self._elements: dict[str, dict[str, str]] = {
            "cluster-ips": dict.fromkeys(self._addresses, "")
        }
        self._udp: dict[Frontend, frozenset[Backend]] = {}

    def rules(self) -> ServiceRules:
        meta = self._service.metadata
        rank = (meta.creation_timestamp or "", meta.namespace, meta.name)
        return ServiceRules(Share(rank, self._chains, self._sets, self._elements), self._udp)

    def add(self, port: ServicePort, candidates: list[Target]) -> None:
        spec = self._service.spec
        lookup = _Port(port, _tag(self._service, port))
        everywhere = in_cluster(candidates, self._place)
        here = on_node(candidates)
        if lookup.protocol == "udp":
            self._note_udp(lookup, everywhere + here)
        if not everywhere:
            for address in (*self._addresses, *self._external, *self._balancers):
                self._element("refused-ips", lookup.at(address), "goto refuse")
            if lookup.node_port:
                self._element("refused-nodeports", lookup.on_node, "goto refuse")
            return
        for target in everywhere + here:
            self._element("hairpin", f"{target.address} . {target.address}", "")
        if spec.internal_traffic_policy == "Local":
            inside = f"goto {self._balance('int', lookup, here)}" if here else "drop"
        else:
            inside = f"goto {self._all(lookup, everywhere)}"
        for address in self._addresses:
            self._element("service-ips", lookup.at(address), inside)
        if lookup.node_port or self._external or self._balancers:
            self._add_external(lookup, everywhere, here)

    def _note_udp(self, lookup: "_Port", among: list[Target]) -> None:
        backends = frozenset((t.address, t.port) for t in among)
        for address in (*self._addresses, *self._external, *self._balancers):
            self._udp[address, lookup.number] = backends
        if lookup.node_port:
            self._udp["", lookup.node_port] = backends

    def _add_external(self, lookup: "_Port", everywhere: list[Target], here: list[Target]) -> None:
        """NodePort, externalIPs and the load balancer's addresses."""
        chain = f"ext-{lookup.tag}"
        mark = f"meta mark set mark or {MARK}"
        onward = f"goto {self._all(lookup, everywhere)}"
        if self._service.spec.external_traffic_policy == "Local":
            # Traffic that starts on this node, or in a pod, never left: it may go anywhere.
            self._chains[chain] = (
                f"ip saddr {self._pod_cidr} {onward}",
                f"fib saddr type local {mark}",
                f"fib saddr type local {onward}",
                f"goto {self._balance('local', lookup, here)}" if here else "drop",
            )
        else:
            self._chains[chain] = (mark, onward)
        verdict = f"goto {chain}"
        for address in self._external:
            self._element("service-ips", lookup.at(address), verdict)
        if lookup.node_port:
            self._element("service-nodeports", lookup.on_node, verdict)
        for address in self._balancers:
            self._element("service-ips", lookup.at(address), self._guarded(lookup, verdict))

    def _guarded(self, lookup: "_Port", verdict: str) -> str:
        ranges = _source_ranges(self._service)
        if not ranges:
            return verdict
        chain = f"fw-{lookup.tag}"
        self._chains[chain] = (f"ip saddr {{ {', '.join(ranges)} }} {verdict}", "drop")
        return f"goto {chain}"

    def _all(self, lookup: "_Port", everywhere: list[Target]) -> str:
        return self._balance("svc", lookup, everywhere)

    def _balance(self, kind: str, lookup: "_Port", among: list[Target]) -> str:
        """Write the chain that picks one of `among`; return its name."""
        chain = f"{kind}-{lookup.tag}"
        if chain in self._chains:
            return chain
        # A client outside the pods' range: the answer must come back this way.
        rules = (
            [f"ip saddr != {self._pod_cidr} meta mark set mark or {MARK}"]
            if kind in ("svc", "int")
            else []
        )
        if self._service.spec.session_affinity == "ClientIP":
            rules += self._sticky(lookup, among)
        elif len(among) == 1:
            rules.append(
                f"meta l4proto {lookup.protocol} dnat to {among[0].address}:{among[0].port}"
            )
        else:
            choices = ", ".join(f"{i} : {t.address} . {t.port}" for i, t in enumerate(among))
            rules.append(
                f"meta l4proto {lookup.protocol} dnat ip to "
                f"numgen random mod {len(among)} map {{ {choices} }}"
            )
        self._chains[chain] = tuple(rules)
        return chain

    def _sticky(self, lookup: "_Port", among: list[Target]) -> list[str]:
        timeout_s = affinity_timeout_s(self._service)
        names, rules = [], []
        for target in among:
            ending = f"{lookup.tag}-{target.address.replace('.', '-')}-{target.port}"
            clients = f"from-{ending}-{timeout_s}"
            self._sets[clients] = f"type ipv4_addr ; flags dynamic,timeout ; timeout {timeout_s}s"
            self._chains[f"ep-{ending}"] = (
                f"update @{clients} {{ ip saddr }}",
                f"meta l4proto {lookup.protocol} dnat to {target.address}:{target.port}",
            )
            names.append(f"ep-{ending}")
            rules.append(f"ip saddr @{clients} goto ep-{ending}")
        if len(names) == 1:
            return [*rules, f"goto {names[0]}"]
        choices = ", ".join(f"{i} : goto {name}" for i, name in enumerate(names))
        return [*rules, f"numgen random mod {len(names)} vmap {{ {choices} }}"]

    def _element(self, name: str, key: str, value: str) -> None:
        self._elements.setdefault(name, {})[key] = value


class _Port:
    """One service port: its tag in names, and its keys in the maps."""

    def __init__(self, port: ServicePort, tag: str) -> None:
        self.tag = tag
        self.protocol = (port.protocol or "TCP").lower()
        self.number = port.port
        self.node_port = port.node_port
        self.on_node = f"{self.protocol} . {port.node_port}"

    def at(self, address: str) -> str:
        return f"{address} . {self.protocol} . {self.number}"


def affinity_timeout_s(service: Service) -> int:
    """How long a client keeps its endpoint after its last connection."""
    config = service.spec.session_affinity_config
    client = config.client_ip if config else None
    return (client.timeout_seconds if client else None) or AFFINITY_DEFAULT_S


def _balancer_addresses(service: Service) -> list[str]:
    balancer = service.status.load_balancer
    if service.spec.type != "LoadBalancer" or balancer is None:
        return []
    vips = [i.ip for i in balancer.ingress if i.ip and (i.ip_mode or "VIP") == "VIP"]
    return [ip for text in vips if (ip := ipv4(text))]


def _source_ranges(service: Service) -> list[str]:
    """loadBalancerSourceRanges of this family, merged; empty where anybody may come."""
    found = []
    for text in service.spec.load_balancer_source_ranges:
        try:
            found.append(ipaddress.IPv4Network(text.strip(), strict=False))
        except ValueError:
            continue
    merged = list(ipaddress.collapse_addresses(found))
    return [] if any(r.prefixlen == 0 for r in merged) else [str(r) for r in merged]


def _tag(service: Service, port: ServicePort) -> str:
    """A short name, unique for a service port, that a person can still read."""
    key = f"{service.metadata.namespace}/{service.metadata.name}/{port.protocol}/{port.name}"
    digest = hashlib.sha256(f"{key}/{port.port}".encode()).hexdigest()[:12]
    return f"{digest}-{re.sub('[^a-zA-Z0-9-]', '-', service.metadata.name)[:40]}"
