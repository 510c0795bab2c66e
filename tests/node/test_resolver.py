"""DNS settings, host names and hosts files of pods."""

import msgspec
import pytest

from skiff.api.views.core import Pod
from skiff.node.resolver import (
    host_name,
    hosts_file,
    parse_resolv_conf,
    pod_dns,
    sandbox_host_name,
)
from skiff.node.runtime import DnsConfig

HOST = DnsConfig(("9.9.9.9",), ("example.org",), ("timeout:1",))
CLUSTER = ("10.96.0.10",)


def pod_of(**spec) -> Pod:
    meta = {"name": "p", "namespace": "ns", "uid": "u"}
    return msgspec.convert({"metadata": meta, "spec": spec}, Pod)


SEARCHES = ("ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"dnsPolicy": "ClusterFirst"}, DnsConfig(CLUSTER, SEARCHES, ("ndots:5",))),
        ({"dnsPolicy": "ClusterFirst", "hostNetwork": True}, HOST),
        (
            {"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": True},
            DnsConfig(CLUSTER, SEARCHES, ("ndots:5",)),
        ),
        ({"dnsPolicy": "Default"}, HOST),
        (
            {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a.b"]}},
            DnsConfig(("1.1.1.1",), ("a.b",), ()),
        ),
        (
            {
                "dnsPolicy": "ClusterFirst",
                "dnsConfig": {
                    "nameservers": ["1.1.1.1", "10.96.0.10"],
                    "searches": ["x", "cluster.local"],
                    "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
                },
            },
            DnsConfig(("10.96.0.10", "1.1.1.1"), (*SEARCHES, "x"), ("ndots:2", "edns0")),
        ),
    ],
)
def test_policies(spec, expected):
    assert pod_dns(pod_of(**spec), HOST, CLUSTER, "cluster.local").config == expected


@pytest.mark.conformance(
    "[sig-network] DNS should support configurable pod DNS nameservers [Conformance]"
)
def test_policy_none_takes_the_pods_own_settings():
    spec = {
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["resolv.conf.local"]},
    }
    result = pod_dns(pod_of(**spec), HOST, CLUSTER, "cluster.local")
    assert result.config == DnsConfig(("1.1.1.1",), ("resolv.conf.local",), ())


def test_limits_are_kept_and_told():
    spec = {
        "dnsPolicy": "None",
        "dnsConfig": {
            "nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"],
            "searches": [f"{n}.example" for n in range(40)],
        },
    }
    result = pod_dns(pod_of(**spec), HOST, CLUSTER, "cluster.local")
    assert result.config.servers == ("1.1.1.1", "2.2.2.2", "3.3.3.3")
    assert len(result.config.searches) == 32
    assert [reason for reason, _ in result.warnings] == ["DNSConfigForming"] * 2
    assert "the applied nameserver line is: 1.1.1.1 2.2.2.2 3.3.3.3" in result.warnings[0][1]


def test_without_a_cluster_dns_the_host_is_asked_and_told():
    result = pod_dns(pod_of(dnsPolicy="ClusterFirst"), HOST, (), "cluster.local")
    assert result.config == HOST
    assert result.warnings[0][0] == "MissingClusterDNS"


def test_resolv_conf():
    text = "# c\nnameserver 1.1.1.1\nnameserver ::1 # x\nsearch a.\nsearch b c\noptions ndots:2 rotate\n"
    assert parse_resolv_conf(text) == DnsConfig(
        ("1.1.1.1", "::1"), ("b", "c"), ("ndots:2", "rotate")
    )


def test_host_names():
    assert host_name(pod_of(), "cluster.local") == ("p", "")
    assert host_name(pod_of(hostname="h", subdomain="s"), "cluster.local") == (
        "h",
        "s.ns.svc.cluster.local",
    )
    fqdn = pod_of(hostname="h", subdomain="s", setHostnameAsFQDN=True)
    assert sandbox_host_name(fqdn, "cluster.local") == "h.s.ns.svc.cluster.local"
    long = pod_of(hostname="h" * 60, subdomain="s", setHostnameAsFQDN=True)
    with pytest.raises(ValueError, match="is too long"):
        sandbox_host_name(long, "cluster.local")


@pytest.mark.conformance(
    "[sig-node] KubeletManagedEtcHosts should test kubelet managed /etc/hosts file "
    "[NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Kubelet when scheduling an agnhost Pod with hostAliases should write entries to "
    "/etc/hosts [NodeConformance] [Conformance]"
)
def test_the_hosts_file_is_managed():
    pod = pod_of(hostname="h", hostAliases=[{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}])
    text = hosts_file(pod, ("10.0.0.1",), "cluster.local")
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert "10.0.0.1\th\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n123.45.67.89\tfoo\tbar\n")
    host = hosts_file(pod_of(hostNetwork=True), (), "cluster.local", "1.1.1.1 one\n")
    assert host == "# Kubernetes-managed hosts file (host network).\n1.1.1.1 one\n"
