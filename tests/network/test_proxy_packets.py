"""Real packets through real rules: a node, pods and a client in network namespaces."""

import errno
import os
import socket
import time
from collections.abc import Iterator

import pytest

from tests.network.objects import endpoint, endpoint_slice, port, service
from tests.network.world import (
    CLIENT,
    GATEWAY,
    NODE,
    PODS,
    PORT,
    World,
    ask,
    ask_often,
    connect,
    talk,
)

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

VIP = "10.96.0.20"
UDP = socket.SOCK_DGRAM


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    world = World()
    try:
        yield world
    finally:
        world.close()


@pytest.fixture
def world(made: World) -> World:
    made.proxy.clear()
    return made


def slice_of(*addresses: str, protocol: str = "TCP", **fields: object):  # type: ignore[no-untyped-def] # a view
    ends = [endpoint(a, nodeName="here", **fields) for a in addresses]
    return endpoint_slice(*ends, ports=[port(PORT, protocol=protocol)])


NODE_PORT = {"type": "NodePort", "ports": [port(80, nodePort=30080)]}


def test_a_cluster_ip_is_shared_among_endpoints(world: World) -> None:
    world.proxy.apply(service(), slice_of(*PODS))
    for host in (world.pods[0], world.node):
        seen = ask_often(host, VIP, times=90)
        assert set(seen) == set(PODS)
        assert min(seen.values()) >= 10  # 30 expected; below 10 once in 10^6 runs


def test_a_pods_address_is_kept(world: World) -> None:
    world.proxy.apply(service(), slice_of(PODS[1]))
    assert ask(world.pods[0], VIP) == (PODS[1], PODS[0])


def test_a_client_outside_the_cluster_may_use_cluster_ips_through_the_node(world: World) -> None:
    world.proxy.apply(service(), slice_of(PODS[1]))
    assert ask(world.client, VIP) == (PODS[1], GATEWAY)


def test_a_pod_reaches_itself_through_its_service(world: World) -> None:
    world.proxy.apply(service(), slice_of(PODS[0]))
    assert ask(world.pods[0], VIP) == (PODS[0], GATEWAY)
    world.proxy.apply(service(ports=[port(80, protocol="UDP")]), slice_of(PODS[0], protocol="UDP"))
    assert ask(world.pods[0], VIP, kind=UDP) == (PODS[0], GATEWAY)


def test_node_ports_from_outside_from_the_node_and_on_loopback(world: World) -> None:
    world.proxy.apply(service(**NODE_PORT), slice_of(*PODS))
    assert set(ask_often(world.client, NODE, 30080)) == set(PODS)
    assert set(ask_often(world.node, NODE, 30080)) == set(PODS)
    assert set(ask_often(world.node, "127.0.0.1", 30080)) == set(PODS)
    assert set(ask_often(world.pods[0], NODE, 30080)) == set(PODS)
    assert ask(world.client, NODE, 30080)[1] == GATEWAY


def test_udp_node_port(world: World) -> None:
    made = service(type="NodePort", ports=[port(53, protocol="UDP", nodePort=30053)])
    world.proxy.apply(made, slice_of(*PODS, protocol="UDP"))
    assert set(ask_often(world.client, NODE, 30053, kind=UDP)) == set(PODS)
    assert set(ask_often(world.node, "127.0.0.1", 30053, kind=UDP)) == set(PODS)


def test_external_traffic_policy_local_shows_the_client(world: World) -> None:
    made = service(**NODE_PORT, externalTrafficPolicy="Local")
    world.proxy.apply(made, slice_of(PODS[0]))
    assert ask(world.client, NODE, 30080) == (PODS[0], CLIENT)
    assert ask(world.node, "127.0.0.1", 30080)[0] == PODS[0]
    elsewhere = endpoint_slice(endpoint(PODS[1], nodeName="there"), ports=[port(PORT)])
    world.proxy.apply(made, elsewhere)
    with pytest.raises(TimeoutError):
        ask(world.client, NODE, 30080)
    assert ask(world.pods[0], NODE, 30080) == (PODS[1], PODS[0])


def test_external_ips(world: World) -> None:
    world.proxy.apply(service(externalIPs=["203.0.113.9"]), slice_of(*PODS))
    assert set(ask_often(world.client, "203.0.113.9")) == set(PODS)


def test_load_balancer_source_ranges(world: World) -> None:
    def balanced(*ranges: str) -> None:
        made = service(
            type="LoadBalancer",
            loadBalancerSourceRanges=list(ranges),
            status={"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}},
        )
        world.proxy.apply(made, slice_of(*PODS))

    balanced(f"{CLIENT}/32", "192.0.0.0/8")
    assert ask(world.client, "203.0.113.9")[0] in PODS
    balanced("198.51.100.0/24")
    with pytest.raises(TimeoutError):
        ask(world.client, "203.0.113.9")


@pytest.mark.parametrize("where", ["pod", "node", "client"])
def test_no_endpoints_is_refused_at_once(world: World, where: str) -> None:
    ports = [port(80, nodePort=30080), port(53, name="u", protocol="UDP", nodePort=30053)]
    world.proxy.apply(service(type="NodePort", ports=ports))
    host = {"pod": world.pods[0], "node": world.node, "client": world.client}[where]
    for to, tcp, udp in ((VIP, 80, 53), (NODE, 30080, 30053)):
        with pytest.raises(ConnectionRefusedError):
            ask(host, to, tcp)
        # A sender on the node itself may be told at once, by the call: "operation not permitted".
        with (
            connect(host, to, udp, UDP) as sock,
            pytest.raises((ConnectionRefusedError, PermissionError)) as raised,
        ):
            talk(sock)
        assert where == "node" or raised.type is ConnectionRefusedError


def test_a_port_that_a_cluster_ip_does_not_have_is_refused(world: World) -> None:
    world.proxy.apply(service(), slice_of(*PODS))
    for host in (world.pods[0], world.node):
        with pytest.raises(ConnectionRefusedError):
            ask(host, VIP, 81)


def test_a_cluster_ip_that_nobody_has_is_silent(world: World) -> None:
    with pytest.raises(OSError) as raised:
        ask(world.pods[0], "10.96.9.9")
    assert isinstance(raised.value, TimeoutError)


def test_a_client_that_is_early_gets_through_once_the_service_is_there(world: World) -> None:
    """Its datagrams before that leave nothing behind which would bind its port to nowhere."""
    made = service(ports=[port(80, protocol="UDP")])
    with connect(world.pods[0], VIP, 80, UDP) as sock:
        sock.send(b"too early")
        time.sleep(0.1)
        world.proxy.apply(made, slice_of(PODS[1], protocol="UDP"))
        assert talk(sock)[0] == PODS[1]


def test_affinity_keeps_a_client_at_one_endpoint(world: World) -> None:
    made = service(**NODE_PORT, sessionAffinity="ClientIP")
    world.proxy.apply(made, slice_of(*PODS))
    for host, to, number in ((world.pods[0], VIP, 80), (world.client, NODE, 30080)):
        assert len(ask_often(host, to, number, times=20)) == 1
    before = ask(world.client, NODE, 30080)[0]
    left = [p for p in PODS if p != before]
    world.proxy.apply(made, slice_of(*left))
    (after,) = ask_often(world.client, NODE, 30080, times=20)
    assert after in left
    world.proxy.apply(made, slice_of(*PODS))
    assert set(ask_often(world.client, NODE, 30080, times=20)) == {after}
    world.proxy.apply(service(**NODE_PORT), slice_of(*PODS))
    assert len(ask_often(world.client, NODE, 30080)) == 3


def test_affinity_ends_after_its_timeout(world: World) -> None:
    config = {"clientIP": {"timeoutSeconds": 1}}
    made = service(sessionAffinity="ClientIP", sessionAffinityConfig=config)
    world.proxy.apply(made, slice_of(*PODS))
    seen = set()
    for _ in range(8):
        seen.add(ask(world.pods[0], VIP)[0])
        time.sleep(1.1)
        if len(seen) > 1:
            break
    assert len(seen) > 1


def test_established_connections_outlive_every_change(world: World) -> None:
    made = service(**NODE_PORT)
    world.proxy.apply(made, slice_of(*PODS))
    with connect(world.pods[0], VIP, 80) as inside, connect(world.client, NODE, 30080) as outside:
        first, second = talk(inside)[0], talk(outside)[0]
        world.proxy.apply(made, slice_of(*(p for p in PODS if p not in (first, second))))
        assert (talk(inside)[0], talk(outside)[0]) == (first, second)
        world.proxy.restart()
        assert (talk(inside)[0], talk(outside)[0]) == (first, second)
        world.proxy.apply(made)
        assert (talk(inside)[0], talk(outside)[0]) == (first, second)
        world.proxy.remove(made)
        assert (talk(inside)[0], talk(outside)[0]) == (first, second)


def test_new_connections_follow_at_once(world: World) -> None:
    world.proxy.apply(service(), slice_of(PODS[0]))
    assert ask(world.pods[2], VIP)[0] == PODS[0]
    world.proxy.apply(service(), slice_of(PODS[1]))
    assert ask(world.pods[2], VIP)[0] == PODS[1]
    dying = slice_of(PODS[1], ready=False, serving=True, terminating=True)
    world.proxy.apply(service(), dying)
    assert ask(world.pods[2], VIP)[0] == PODS[1]


def test_udp_flows_are_forgotten_with_their_endpoint(world: World) -> None:
    made = service(type="NodePort", ports=[port(80, protocol="UDP", nodePort=30053)])
    world.proxy.apply(made, slice_of(PODS[0], protocol="UDP"))
    with (
        connect(world.pods[2], VIP, 80, UDP) as inside,
        connect(world.client, NODE, 30053, UDP) as out,
    ):
        assert talk(inside)[0] == talk(out)[0] == PODS[0]
        assert world.proxy.apply(made, slice_of(PODS[0], PODS[1], protocol="UDP")) == 0
        assert talk(inside)[0] == talk(out)[0] == PODS[0]  # still there: still its
        assert world.proxy.apply(made, slice_of(PODS[1], protocol="UDP")) == 2
        assert talk(inside)[0] == talk(out)[0] == PODS[1]


def test_pods_reach_the_outside_masqueraded_and_each_other_as_they_are(world: World) -> None:
    server = world.echo.add(world.client, CLIENT, 9000)
    assert server.fileno() > 0
    assert ask(world.pods[0], CLIENT, 9000) == (CLIENT, NODE)
    assert ask(world.pods[0], PODS[1], PORT) == (PODS[1], PODS[0])


def test_two_services_with_one_external_address_do_not_mix(world: World) -> None:
    first = service("one", externalIPs=["203.0.113.9"], clusterIP="10.96.0.21", ports=[port(80)])
    second = service("two", externalIPs=["203.0.113.9"], clusterIP="10.96.0.22", ports=[port(81)])
    world.proxy.apply(first, slice_of(PODS[0]))
    world.proxy.apply(second, slice_of(PODS[1]))
    assert ask(world.client, "203.0.113.9", 80)[0] == PODS[0]
    assert ask(world.client, "203.0.113.9", 81)[0] == PODS[1]


def test_pods_may_not_reach_the_nodes_loopback(world: World) -> None:
    """The bridge routes to loopback for NodePorts' sake (CVE-2020-8558)."""
    world.echo.add(world.node, "127.0.0.1", 9001)
    pod = world.pods[0]
    pod.ip("link", "set", "lo", "down")
    pod.sysctl("net/ipv4/conf/eth0/route_localnet", "1")
    pod.shell("ip", "route", "flush", "table", "local", "127.0.0.0/8")
    try:
        pod.ip("route", "add", "127.0.0.1", "via", GATEWAY, "src", PODS[0])
        with pytest.raises(OSError) as raised:
            ask(pod, "127.0.0.1", 9001)
        assert raised.value.errno != errno.ECONNREFUSED
        assert isinstance(raised.value, TimeoutError)
    finally:
        pod.ip("route", "flush", "127.0.0.1")
        pod.ip("link", "set", "lo", "up")


def test_sctp_services_can_be_written(world: World) -> None:
    made = service(ports=[port(80, protocol="SCTP", nodePort=30080)], type="NodePort")
    world.proxy.apply(made, slice_of(*PODS, protocol="SCTP"))
