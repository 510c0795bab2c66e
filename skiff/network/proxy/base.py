"""The chains and maps that every packet meets, whatever Services there are. Pure.

nat hooks look the destination up and go where the verdict says. filter hooks answer for what no
Service serves: a port with no endpoint and a port that a cluster address does not have are refused
as a closed port is; a cluster address that nobody has is dropped, so that a client which is early
tries again (and nothing about its flow is remembered). On the way out packets are masqueraded that
carry the mark, that go back to the endpoint they came from, and pods' packets to the outside.
"""

from skiff.network.proxy.model import Map, Ruleset

MARK = "0x4000"
UNMARK = "0xffffbfff"

_BY_ADDRESS = "type ipv4_addr . inet_proto . inet_service : verdict"
_BY_PORT = "type inet_proto . inet_service : verdict"


def base_rules(pod_cidr: str, service_cidr: str = "") -> Ruleset:
    """What a table holds before any Service. `pod_cidr` is the whole cluster's."""
    maps = {
        "service-ips": Map("map", _BY_ADDRESS),
        "service-nodeports": Map("map", _BY_PORT),
        "refused-ips": Map("map", _BY_ADDRESS),
        "refused-nodeports": Map("map", _BY_PORT),
        "cluster-ips": Map("set", "type ipv4_addr"),
        "hairpin": Map("set", "type ipv4_addr . ipv4_addr"),
    }
    unallocated = (f"ip daddr {service_cidr} drop",) if service_cidr else ()
    hook = "type filter hook {} priority filter"
    chains = {
        "refuse": ("meta l4proto tcp reject with tcp reset", "reject with icmp port-unreachable"),
        "services": (
            "ip daddr . meta l4proto . th dport vmap @service-ips",
            "fib daddr type local meta l4proto . th dport vmap @service-nodeports",
        ),
        "refused": (
            "ip daddr . meta l4proto . th dport vmap @refused-ips",
            "fib daddr type local meta l4proto . th dport vmap @refused-nodeports",
            "ip daddr @cluster-ips goto refuse",
            *unallocated,
        ),
        "prerouting": ("type nat hook prerouting priority dstnat", "jump services"),
        "output": ("type nat hook output priority -100", "jump services"),
        "postrouting": (
            "type nat hook postrouting priority srcnat",
            f"meta mark and {MARK} != 0 meta mark set mark and {UNMARK} masquerade fully-random",
            'oifname != "lo" ip saddr . ip daddr @hairpin masquerade fully-random',
            "ip saddr 127.0.0.0/8 ip daddr != 127.0.0.0/8 masquerade fully-random",
            f"ip saddr {pod_cidr} ip daddr != {pod_cidr} ip daddr != 224.0.0.0/4 masquerade fully-random",
        ),
        "filter-input": (
            hook.format("input"),
            # The bridge may route to loopback (NodePorts there); pods may not start anything towards it.
            'iifname != "lo" ip daddr 127.0.0.0/8 ct state new ct status and dnat == 0 drop',
            "ct state new jump refused",
        ),
        "filter-forward": (hook.format("forward"), "ct state new jump refused"),
        "filter-output": (hook.format("output"), "ct state new jump refused"),
    }
    return Ruleset(maps, chains)
