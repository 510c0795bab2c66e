"""Which rules each kind of Service gets, field by field: the tiny packet walk says where a packet would go."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.api.views.discovery import EndpointSlice
from skiff.api.views.service import Service
from skiff.network.proxy.conntrack import Flow, NoFlows, stale_among
from skiff.network.proxy.endpoints import Place, Target, in_cluster, on_node, targets, usable
from skiff.network.proxy.health import answer, health_check_port
from skiff.network.proxy.plan import EMPTY, is_proxied, local_ready_endpoints, plan_service
from tests.network.objects import endpoint, endpoint_slice, port, service

POD_CIDR = "10.244.0.0/16"
HERE = Place("here", "zone-a")
POD, OUTSIDE = "10.244.0.99", "198.51.100.7"


@dataclass
class Walk:
    """Follows a first packet of a connection through one Service's rules. `ends` are all places where it may
    end up: `address:port`, "drop", "refuse" or "" (nothing of ours); `masqueraded` whether it was marked."""

    service: Service
    slices: list[EndpointSlice]
    place: Place = HERE
    ends: set[str] = field(default_factory=set)
    masqueraded: set[bool] = field(default_factory=set)

    def go(
        self,
        to: str,
        number: int = 80,
        protocol: str = "tcp",
        source: str = POD,
        local: bool = False,
    ) -> "Walk":
        """`to` is an address, or "node" for a NodePort; `local`: sent by the node itself."""
        share = plan_service(self.service, self.slices, self.place, POD_CIDR).share
        self._chains, self._source, self._local = share.chains, source, local
        self.ends, self.masqueraded = set(), set()
        kind = "nodeports" if to == "node" else "ips"
        key = f"{protocol} . {number}" if to == "node" else f"{to} . {protocol} . {number}"
        for name in (f"service-{kind}", f"refused-{kind}"):
            verdict = share.elements.get(name, {}).get(key)
            if verdict:
                self._verdict(verdict, marked=False)
                return self
        self.ends.add("")
        return self

    def _verdict(self, verdict: str, marked: bool) -> None:
        word, _, chain = verdict.partition(" ")
        if word == "goto" and chain != "refuse":
            self._chain(chain, marked)
        else:
            self._end(chain or word, marked)

    def _end(self, where: str, marked: bool) -> None:
        self.ends.add(where)
        self.masqueraded.add(marked)

    def _chain(self, name: str, marked: bool) -> None:
        for rule in self._chains[name]:
            rest = rule
            if rest.startswith(f"ip saddr != {POD_CIDR} "):
                if self._source.startswith("10.244."):
                    continue
                rest = rest.removeprefix(f"ip saddr != {POD_CIDR} ")
            elif rest.startswith(f"ip saddr {POD_CIDR} "):
                if not self._source.startswith("10.244."):
                    continue
                rest = rest.removeprefix(f"ip saddr {POD_CIDR} ")
            elif rest.startswith("ip saddr {"):
                ranges, _, rest = rest.removeprefix("ip saddr { ").partition(" } ")
                if not any(_inside(self._source, r) for r in ranges.split(", ")):
                    continue
            if rest.startswith("fib saddr type local "):
                if not self._local:
                    continue
                rest = rest.removeprefix("fib saddr type local ")
            if rest.startswith("meta mark set"):
                marked = True
            elif rest.startswith("goto "):
                return self._verdict(rest, marked)
            elif rest == "drop":
                return self._end("drop", marked)
            elif " vmap { " in rest:
                for choice in rest.partition(" vmap { ")[2].strip(" }").split(", "):
                    self._verdict(choice.partition(" : ")[2], marked)
                return None
            elif " map { " in rest:
                for choice in rest.partition(" map { ")[2].strip(" }").split(", "):
                    self._end(choice.partition(" : ")[2].replace(" . ", ":"), marked)
                return None
            elif " dnat to " in rest:
                return self._end(rest.partition(" dnat to ")[2], marked)
        return self._end("", marked)


def _inside(address: str, cidr: str) -> bool:
    import ipaddress

    return ipaddress.ip_address(address) in ipaddress.ip_network(cidr)


A, B = endpoint("10.244.0.2", nodeName="here"), endpoint("10.244.1.2", nodeName="there")
BOTH = {"10.244.0.2:8080", "10.244.1.2:8080"}


def walk(made: Service, *slices: EndpointSlice, place: Place = HERE) -> Walk:
    return Walk(made, list(slices) or [endpoint_slice(A, B)], place)


def test_a_cluster_ip_leads_to_all_endpoints_and_keeps_a_pods_address() -> None:
    packet = walk(service()).go("10.96.0.20")
    assert packet.ends == BOTH
    assert packet.masqueraded == {False}
    assert walk(service()).go("10.96.0.20", source=OUTSIDE).masqueraded == {True}
    assert walk(service()).go("10.96.0.20", 81).ends == {""}
    assert walk(service()).go("10.96.0.20", protocol="udp").ends == {""}


def test_named_and_several_ports_meet_their_own_endpoints() -> None:
    ports = [port(80, name="http", targetPort="web"), port(443, name="https", protocol="TCP")]
    slices = [
        endpoint_slice("10.244.0.2", ports=[port(8080, name="http"), port(8443, name="https")]),
        endpoint_slice("10.244.0.3", ports=[port(9090, name="http")], name="web-2"),
    ]
    packet = walk(service(ports=ports), *slices)
    assert packet.go("10.96.0.20", 80).ends == {"10.244.0.2:8080", "10.244.0.3:9090"}
    assert packet.go("10.96.0.20", 443).ends == {"10.244.0.2:8443"}


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP"])
def test_each_protocol(protocol: str) -> None:
    made = service(ports=[port(53, protocol=protocol, nodePort=30053)], type="NodePort")
    pieces = endpoint_slice(A, B, ports=[port(8080, protocol=protocol)])
    packet = walk(made, pieces)
    assert packet.go("10.96.0.20", 53, protocol.lower()).ends == BOTH
    assert packet.go("node", 30053, protocol.lower(), source=OUTSIDE).ends == BOTH
    other = "udp" if protocol == "TCP" else "tcp"
    assert packet.go("10.96.0.20", 53, other).ends == {""}


def test_same_port_two_protocols() -> None:
    ports = [port(53, name="dns", protocol="UDP"), port(53, name="dns-tcp", protocol="TCP")]
    pieces = endpoint_slice(
        "10.244.0.2", ports=[port(53, name="dns", protocol="UDP"), port(54, name="dns-tcp")]
    )
    packet = walk(service(ports=ports), pieces)
    assert packet.go("10.96.0.20", 53, "udp").ends == {"10.244.0.2:53"}
    assert packet.go("10.96.0.20", 53, "tcp").ends == {"10.244.0.2:54"}


def test_no_endpoints_is_refused_wherever_it_is_reached() -> None:
    made = service(
        type="LoadBalancer",
        ports=[port(80, nodePort=30080)],
        externalIPs=["192.0.2.50"],
        status={"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}},
    )
    for pieces in ([], [endpoint_slice()], [endpoint_slice(endpoint("10.244.0.2", ready=False))]):
        packet = walk(made, *pieces) if pieces else Walk(made, [])
        for to, number in (
            ("10.96.0.20", 80),
            ("192.0.2.50", 80),
            ("203.0.113.5", 80),
            ("node", 30080),
        ):
            assert packet.go(to, number, source=OUTSIDE).ends == {"refuse"}


def test_node_ports_external_addresses_and_balancers_masquerade() -> None:
    made = service(
        type="LoadBalancer",
        ports=[port(80, nodePort=30080)],
        externalIPs=["192.0.2.50", "fd00::1"],
        status={
            "loadBalancer": {
                "ingress": [{"ip": "203.0.113.5"}, {"ip": "203.0.113.6", "ipMode": "Proxy"},
                            {"hostname": "lb.example"}]
            }
        },
    )  # fmt: skip
    packet = walk(made)
    for to, number in (("192.0.2.50", 80), ("203.0.113.5", 80), ("node", 30080)):
        assert packet.go(to, number, source=OUTSIDE).ends == BOTH, to
        assert packet.masqueraded == {True}
    assert packet.go("203.0.113.6").ends == {""}  # ipMode Proxy: the balancer's own business


def test_a_balancers_status_counts_only_for_its_type() -> None:
    made = service(status={"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}})
    assert walk(made).go("203.0.113.5").ends == {""}


def test_node_ports_are_optional_for_balancers() -> None:
    made = service(type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    shares = plan_service(made, [endpoint_slice(A)], HERE, POD_CIDR).share
    assert "service-nodeports" not in shares.elements


@pytest.mark.parametrize(
    ("ranges", "source", "passes"),
    [
        (["198.51.100.0/24"], OUTSIDE, True),
        ([" 198.51.100.0/24 "], OUTSIDE, True),
        (["203.0.113.0/24"], OUTSIDE, False),
        (["203.0.113.0/24", "198.51.0.0/16", "198.51.100.0/24"], OUTSIDE, True),
        (["0.0.0.0/0"], OUTSIDE, True),
        ([], OUTSIDE, True),
        (["fd00::/8"], OUTSIDE, True),  # no range of this family: no restriction
    ],
)
def test_source_ranges_guard_the_balancers_address_alone(
    ranges: list[str], source: str, passes: bool
) -> None:
    made = service(
        type="LoadBalancer",
        ports=[port(80, nodePort=30080)],
        externalIPs=["192.0.2.50"],
        loadBalancerSourceRanges=ranges,
        status={"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}},
    )
    packet = walk(made)
    assert packet.go("203.0.113.5", source=source).ends == (BOTH if passes else {"drop"})
    for to, number in (("192.0.2.50", 80), ("node", 30080), ("10.96.0.20", 80)):
        assert packet.go(to, number, source=source).ends == BOTH


EXTERNAL_LOCAL = {
    "type": "NodePort",
    "ports": [port(80, nodePort=30080)],
    "externalIPs": ["192.0.2.50"],
    "externalTrafficPolicy": "Local",
}


@pytest.mark.parametrize(("to", "number"), [("node", 30080), ("192.0.2.50", 80)])
def test_external_traffic_policy_local(to: str, number: int) -> None:
    packet = walk(service(**EXTERNAL_LOCAL))
    packet.go(to, number, source=OUTSIDE)
    assert (packet.ends, packet.masqueraded) == ({"10.244.0.2:8080"}, {False})  # the client is seen
    packet.go(to, number, source=POD)
    assert (packet.ends, packet.masqueraded) == (BOTH, {False})
    packet.go(to, number, source="192.0.2.2", local=True)
    assert (packet.ends, packet.masqueraded) == (BOTH, {True})
    assert packet.go("10.96.0.20").ends == BOTH


@pytest.mark.parametrize(("to", "number"), [("node", 30080), ("192.0.2.50", 80)])
def test_external_traffic_policy_local_with_nothing_local(to: str, number: int) -> None:
    packet = walk(service(**EXTERNAL_LOCAL), endpoint_slice(B))
    assert packet.go(to, number, source=OUTSIDE).ends == {"drop"}  # not refused: others have it
    assert packet.go(to, number, source=POD).ends == {"10.244.1.2:8080"}
    none = walk(service(**EXTERNAL_LOCAL), endpoint_slice())
    assert none.go(to, number, source=OUTSIDE).ends == {"refuse"}


def test_internal_traffic_policy_local() -> None:
    made = service(internalTrafficPolicy="Local", type="NodePort", ports=[port(80, nodePort=30080)])
    packet = walk(made)
    assert packet.go("10.96.0.20").ends == {"10.244.0.2:8080"}
    assert packet.masqueraded == {False}
    assert packet.go("10.96.0.20", source=OUTSIDE).masqueraded == {True}
    assert packet.go("node", 30080, source=OUTSIDE).ends == BOTH
    assert walk(made, endpoint_slice(B)).go("10.96.0.20").ends == {"drop"}
    assert walk(made, endpoint_slice()).go("10.96.0.20").ends == {"refuse"}


def test_both_policies_local() -> None:
    made = service(internalTrafficPolicy="Local", **EXTERNAL_LOCAL)
    packet = walk(made, endpoint_slice(B))
    assert packet.go("10.96.0.20").ends == {"drop"}
    assert packet.go("node", 30080, source=POD).ends == {"10.244.1.2:8080"}


@pytest.mark.parametrize(
    ("made", "proxied"),
    [
        (service(), True),
        (service(clusterIP="None"), False),
        (service(type="ExternalName", externalName="example.com"), False),
        (service(clusterIP=""), False),
        (service(labels={"service.kubernetes.io/service-proxy-name": "mine"}), False),
        (service(labels={"service.kubernetes.io/headless": ""}), False),
        (service(clusterIP="fd00::20", clusterIPs=["fd00::20"], ipFamilies=["IPv6"]), False),
        (service(clusterIP="fd00::20", clusterIPs=["fd00::20", "10.96.0.20"]), True),
    ],
)  # fmt: skip
def test_who_is_proxied(made: Service, proxied: bool) -> None:
    rules = plan_service(made, [endpoint_slice(A)], HERE, POD_CIDR)
    assert is_proxied(made) == proxied == (rules is not EMPTY)


def test_dual_stack_addresses_keep_their_own_family() -> None:
    made = service(clusterIP="fd00::20", clusterIPs=["fd00::20", "10.96.0.20"])
    slices = [endpoint_slice("10.244.0.2"), endpoint_slice("fd00::2", family="IPv6", name="six")]
    rules = plan_service(made, slices, HERE, POD_CIDR)
    assert walk(made, *slices).go("10.96.0.20").ends == {"10.244.0.2:8080"}
    assert "fd00" not in repr(rules)


def test_nothing_but_addresses_gets_into_rules() -> None:
    made = service(externalIPs=["1.2.3.4 ; flush ruleset"], loadBalancerSourceRanges=["} drop"])
    rules = plan_service(
        made, [endpoint_slice("10.244.0.2 ; x"), endpoint_slice("10.244.0.3")], HERE, POD_CIDR
    )
    assert ";" not in repr(rules.share.elements) + repr(rules.share.chains)


# Session affinity


def test_affinity_remembers_for_the_time_that_was_asked_for() -> None:
    made = service(
        sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 77}}
    )
    share = plan_service(made, [endpoint_slice(A, B)], HERE, POD_CIDR).share
    assert len(share.sets) == 2
    assert all(d.endswith("timeout 77s") for d in share.sets.values())
    (svc,) = [rules for name, rules in share.chains.items() if name.startswith("svc-")]
    remembered = [r for r in svc if r.startswith("ip saddr @from-")]
    assert len(remembered) == 2
    assert svc.index(remembered[-1]) < svc.index(next(r for r in svc if "numgen" in r))
    assert walk(made).go("10.96.0.20").ends == BOTH


def test_affinity_for_three_hours_unless_said_otherwise() -> None:
    made = service(sessionAffinity="ClientIP")
    share = plan_service(made, [endpoint_slice(A)], HERE, POD_CIDR).share
    assert all(d.endswith("timeout 10800s") for d in share.sets.values())


def test_another_timeout_is_another_set() -> None:
    def sets(seconds: int) -> set[str]:
        config = {"clientIP": {"timeoutSeconds": seconds}}
        made = service(sessionAffinity="ClientIP", sessionAffinityConfig=config)
        return set(plan_service(made, [endpoint_slice(A)], HERE, POD_CIDR).share.sets)

    assert not sets(5) & sets(6)


def test_affinity_none_has_no_sets() -> None:
    assert not plan_service(
        service(sessionAffinity="None"), [endpoint_slice(A)], HERE, POD_CIDR
    ).share.sets


# Endpoints

READY = {"ready": True, "serving": True, "terminating": False}
DYING = {"ready": False, "serving": True, "terminating": True}
DEAD = {"ready": False, "serving": False, "terminating": True}
UNREADY = {"ready": False, "serving": False, "terminating": False}


@pytest.mark.parametrize(
    ("conditions", "used"),
    [
        ([READY, DYING], [0]),
        ([DYING, DYING], [0, 1]),
        ([DYING, DEAD, UNREADY], [0]),
        ([DEAD, UNREADY], []),
        ([{}, UNREADY], [0]),
        ([{"ready": True, "terminating": True}, DYING], [0]),  # publishNotReadyAddresses
        ([{"ready": False, "terminating": True}], []),
    ],
)
def test_terminating_endpoints_serve_when_nothing_else_does(
    conditions: list[dict[str, bool]], used: list[int]
) -> None:
    ends = [endpoint(f"10.244.0.{n}", **c) for n, c in enumerate(conditions)]
    packet = walk(service(), endpoint_slice(*ends)).go("10.96.0.20")
    assert packet.ends == ({f"10.244.0.{n}:8080" for n in used} or {"refuse"})


def test_local_traffic_prefers_ready_then_terminating_of_this_node() -> None:
    dying = endpoint("10.244.0.3", nodeName="here", **DYING)
    made = service(**EXTERNAL_LOCAL)
    both = walk(made, endpoint_slice(A, dying, B)).go("node", 30080, source=OUTSIDE)
    assert both.ends == {"10.244.0.2:8080"}
    last = walk(made, endpoint_slice(dying, B)).go("node", 30080, source=OUTSIDE)
    assert last.ends == {"10.244.0.3:8080"}


def test_an_endpoint_in_two_slices_counts_once_and_ready_wins() -> None:
    old = endpoint_slice(endpoint("10.244.0.2", **DYING))
    new = endpoint_slice("10.244.0.2", name="web-new")
    found = targets(service().spec.ports[0], [old, new], HERE)
    assert [(t.address, t.ready) for t in found] == [("10.244.0.2", True)]


def test_slices_of_other_kinds_are_left_out() -> None:
    slices = [
        endpoint_slice("fd00::1", family="IPv6"),
        endpoint_slice(endpoint("example.com"), family="FQDN"),
        endpoint_slice(endpoint("10.244.0.9"), ports=[{"name": "", "protocol": "TCP"}]),
        endpoint_slice(endpoint("10.244.0.8"), ports=[]),
    ]
    assert targets(service().spec.ports[0], slices, HERE) == []


def test_protocol_is_tcp_where_nobody_says() -> None:
    made = service(ports=[{"port": 80}])
    assert walk(made, endpoint_slice("10.244.0.2", ports=[{"port": 8080}])).go(
        "10.96.0.20"
    ).ends == {"10.244.0.2:8080"}


def zoned(address: str, *zones: str, nodes: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    hints = {"forZones": [{"name": z} for z in zones], "forNodes": [{"name": n} for n in nodes]}
    return endpoint(address, hints=hints, **more)


@pytest.mark.parametrize(
    ("ends", "place", "used"),
    [
        ([zoned("10.0.0.1", "zone-a"), zoned("10.0.0.2", "zone-b")], HERE, {"10.0.0.1"}),
        ([zoned("10.0.0.1", "zone-a"), endpoint("10.0.0.2")], HERE, {"10.0.0.1", "10.0.0.2"}),
        ([zoned("10.0.0.1", "zone-b"), zoned("10.0.0.2", "zone-b")], HERE, {"10.0.0.1", "10.0.0.2"}),
        ([zoned("10.0.0.1", "zone-a"), zoned("10.0.0.2", "zone-b")], Place("here"), {"10.0.0.1", "10.0.0.2"}),
        ([zoned("10.0.0.1", nodes=("here",)), zoned("10.0.0.2", nodes=("there",))], HERE, {"10.0.0.1"}),
        ([zoned("10.0.0.1", "zone-b", nodes=("x",)), zoned("10.0.0.2", "zone-a", nodes=("y",))], HERE, {"10.0.0.2"}),
        ([zoned("10.0.0.1", "zone-a", ready=False), zoned("10.0.0.2", "zone-b")], HERE, {"10.0.0.2"}),
    ],
)  # fmt: skip
def test_hints_keep_traffic_near(ends: list[dict[str, Any]], place: Place, used: set[str]) -> None:
    found = targets(service().spec.ports[0], [endpoint_slice(*ends)], place)
    assert {t.address for t in in_cluster(found, place)} == used


@given(
    st.lists(
        st.builds(
            Target,
            st.just("10.0.0.1"),
            st.integers(1, 9),
            st.booleans(),
            st.booleans(),
            st.booleans(),
        )
    )
)
def test_usable_endpoints_are_ready_or_none_is(candidates: list[Target]) -> None:
    used = usable(candidates)
    assert set(used) <= set(candidates)
    assert all(t.ready for t in used) or not any(t.ready for t in candidates)
    assert all(t.local for t in on_node(candidates))
    assert bool(in_cluster(candidates, HERE)) == bool(used)


# UDP flows


def test_flows_that_lead_elsewhere_are_forgotten() -> None:
    made = service(
        ports=[port(53, protocol="UDP", nodePort=30053), port(80)],
        type="NodePort",
        externalIPs=["192.0.2.50"],
    )
    pieces = [endpoint_slice(A, ports=[port(5353, protocol="UDP"), port(8080)])]
    udp = plan_service(made, pieces, HERE, POD_CIDR).udp
    assert set(udp) == {("10.96.0.20", 53), ("192.0.2.50", 53), ("", 30053)}
    good, gone = ("10.244.0.2", 5353), ("10.244.0.7", 5353)
    kept = [
        Flow(("10.96.0.20", 53), good),
        Flow(("192.0.2.2", 30053), good),
        Flow(("8.8.8.8", 53), ("8.8.8.8", 53)),
    ]
    stale = [
        Flow(("10.96.0.20", 53), gone),
        Flow(("10.96.0.20", 53), ("10.96.0.20", 53)),  # came before the rules did
        Flow(("192.0.2.50", 53), gone),
        Flow(("192.0.2.2", 30053), gone),
    ]
    table = NoFlows(kept + stale)
    assert table.forget(stale_among(udp)) == len(stale)
    assert table.flows == kept
    assert all(map(stale_among(dict.fromkeys(udp, frozenset())), [kept[0], kept[1]]))


# Health checks


def test_health_checks_are_for_balancers_with_local_traffic() -> None:
    wanted = {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 31000,
    }
    assert health_check_port(service(**wanted)) == 31000
    assert health_check_port(service(**{**wanted, "externalTrafficPolicy": "Cluster"})) == 0
    assert health_check_port(service(**{**wanted, "type": "NodePort"})) == 0


def test_local_ready_endpoints_are_counted_by_address() -> None:
    ports = [port(80, name="a"), port(81, name="b")]
    ends = [A, B, endpoint("10.244.0.3", nodeName="here", **DYING)]
    pieces = endpoint_slice(*ends, ports=[port(1, name="a"), port(2, name="b")])
    assert local_ready_endpoints(service(ports=ports), [pieces], HERE) == 1


def test_the_answer_is_kube_proxys() -> None:
    good = answer(("ns", "web"), 2)
    assert good.status == 200
    assert good.body == (
        b'{\n\t"service": {\n\t\t"namespace": "ns",\n\t\t"name": "web"\n\t},\n'
        b'\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}'
    )
    assert dict(good.headers)["X-Load-Balancing-Endpoint-Weight"] == "2"
    assert answer(("ns", "web"), 0).status == 503
    assert answer(("ns", "web"), 1, healthy=False).status == 503
