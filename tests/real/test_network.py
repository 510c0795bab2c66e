"""The network as its users see it: Services, names, host ports, from pods, from the node, from outside.

Servers are a few lines of Python, run by the machine's own interpreter inside the pod's network: they answer
over HTTP and UDP with their host name and the address that they see. Names are looked up with the
C library and busybox of the workshop's image.
"""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.real.harness import RealCluster, fetch, wait_for
from tests.real.pods import Api, Object, Space, container, pod

pytestmark = pytest.mark.real

HTTP, UDP = 8080, 8081
REPLICAS = 3
SERVER = f"""
import http.server, os, signal, socket, threading
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
name = socket.gethostname()
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{{name}} {{self.client_address[0]}}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
def datagrams():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", int(os.environ.get("UDP", {UDP}))))
    while True:
        _, peer = sock.recvfrom(2048)
        sock.sendto(f"{{name}} {{peer[0]}}".encode(), peer)
threading.Thread(target=datagrams, daemon=True).start()
http.server.ThreadingHTTPServer(("", int(os.environ.get("HTTP", {HTTP}))), Page).serve_forever()
"""
CLIENT = """
import json, socket, ssl, sys, urllib.request
def http(host, port, timeout=2):
    with urllib.request.urlopen(f"http://{host}:{port}/", timeout=timeout) as response:
        return response.read().decode().split()
def udp(host, port, timeout=2):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        sock.connect((host, port))
        sock.send(b"who?")
        return sock.recv(2048).decode().split()
def often(ask, host, port, times=40):
    return sorted({ask(host, port)[0] for _ in range(times)})
def outcome(ask, host, port):
    try:
        return ask(host, port)
    except OSError as e:
        return type(getattr(e, "reason", e)).__name__
"""
CLIENT_GLOBALS: dict[str, Any] = {}
exec(CLIENT, CLIENT_GLOBALS)  # the node asks with the same words as pods
MACHINE = {
    "volumes": [{"name": "machine", "hostPath": {"path": "/"}}],
    "mounts": [{"name": "machine", "mountPath": "/host", "readOnly": True}],
}


def server_pod(
    name: str, labels: dict[str, str], env: dict[str, str] | None = None, **spec: Any
) -> Object:
    ports = spec.pop("ports", [])
    serving = container(
        command=["chroot", "/host", sys.executable, "-Bc", SERVER],
        volumeMounts=MACHINE["mounts"],
        ports=ports,
        env=[{"name": k, "value": v} for k, v in (env or {}).items()],
        readinessProbe={
            "tcpSocket": {"port": int((env or {}).get("HTTP", HTTP))},
            "periodSeconds": 1,
        },
    )
    return pod(name, serving, labels=labels, volumes=MACHINE["volumes"], **spec)


def client_pod(name: str, **spec: Any) -> Object:
    waiting = container(script="trap 'exit 0' TERM; while true; do sleep 0.1; done",
                        volumeMounts=MACHINE["mounts"])  # fmt: skip
    return pod(name, waiting, volumes=MACHINE["volumes"], **spec)


def service(name: str, app: str = "net", **spec: Any) -> Object:
    spec.setdefault("ports", [{"name": "http", "port": 80, "targetPort": HTTP}])
    if spec.get("type") != "ExternalName":
        spec.setdefault("selector", {"app": app})
        if spec["selector"] is None:
            del spec["selector"]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


class Net(Space):
    """The module's namespace: three servers `net-0…2`, a client, and a client on the node's network."""

    def python(self, code: str, where: str = "client", before: str = "") -> Any:
        """What `code` prints as JSON, run in a pod's network."""
        text = base64.b64encode(f"{CLIENT}\n{textwrap.dedent(code)}".encode()).decode()
        said = self.exec(
            where, f"{before} echo {text} | base64 -d | chroot /host {sys.executable} -B -"
        )
        return json.loads(said)

    def address(self, name: str, where: str = "client") -> str:
        """What the C library in a pod makes of a name; "" for nothing."""
        said = self.exec(where, f"wget -O- http://{name}:1/ 2>&1 | head -n 1", check=False)
        found = re.search(r"\(([0-9.]+):1\)", said)
        return found[1] if found else ""

    def lookup(self, name: str, kind: str = "a", where: str = "client") -> str:
        return self.exec(where, f"nslookup -type={kind} {name} 2>&1", check=False)

    def resolves(self, name: str, wanted: str, where: str = "client") -> None:
        wait_for(lambda: self.address(name, where) == wanted, f"{name} is {wanted} in {where}", 15)

    def cluster_ip(self, name: str) -> str:
        return str(self.get("Service", name)["spec"].get("clusterIP", ""))

    def node_port(self, name: str) -> int:
        return int(self.get("Service", name)["spec"]["ports"][0]["nodePort"])

    def pod_ip(self, name: str) -> str:
        return str(self.get("Pod", name)["status"]["podIP"])

    @property
    def node_ip(self) -> str:
        node = self.api("GET", "api/v1/nodes")["items"][0]
        return next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")


SERVERS = [f"net-{n}" for n in range(REPLICAS)]


@pytest.fixture(scope="module")
def net(cluster: RealCluster, images: dict[str, str]) -> Iterator[Net]:
    api = Api(cluster)
    made = Net(cluster, api, "network")
    try:
        made.create_all([server_pod(name, {"app": "net"}) for name in SERVERS])
        made.create_all([
            client_pod("client"),
            client_pod("on-node", hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"),
        ])  # fmt: skip
        made.create(service("web"))
        for name in (*SERVERS, "client", "on-node"):
            made.ready(name)
        wait_for(lambda: made.python("print(json.dumps(outcome(http, '{}', 80)))".format(made.cluster_ip("web"))),
                 "the Service answers", 15)  # fmt: skip
        yield made
    finally:
        made.delete("Namespace", made.name)
        api.close()


def served(
    net: Net, host: str, port: int, ask: str = "http", times: int = 40, where: str = "client"
) -> list[str]:
    """Who answers `times` requests."""
    found: list[str] = net.python(
        f"print(json.dumps(often({ask}, {host!r}, {port}, {times})))", where
    )
    return found


def until_served(
    net: Net, host: str, port: int, by: list[str] | None = None, ask: str = "http"
) -> None:
    wanted = by or SERVERS
    wait_for(
        lambda: served(net, host, port, ask) == wanted, f"{host}:{port} is served by {wanted}", 20
    )


def outcome(net: Net, host: str, port: int, ask: str = "http", where: str = "client") -> Any:
    return net.python(f"print(json.dumps(outcome({ask}, {host!r}, {port})))", where)


# Pods and nodes


@pytest.mark.conformance(
    "[sig-network] Networking Granular Checks: Pods should function for intra-pod communication: http [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-network] Networking Granular Checks: Pods should function for intra-pod communication: udp [NodeConformance] [Conformance]"
)
def test_pods_reach_pods_with_their_own_address(net: Net) -> None:
    own = net.pod_ip("client")
    for name in SERVERS:
        ip = net.pod_ip(name)
        said = net.python(f"print(json.dumps([http({ip!r}, {HTTP}), udp({ip!r}, {UDP})]))")
        assert said == [[name, own], [name, own]]


@pytest.mark.conformance(
    "[sig-network] Networking Granular Checks: Pods should function for node-pod communication: http [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-network] Networking Granular Checks: Pods should function for node-pod communication: udp [LinuxOnly] [NodeConformance] [Conformance]"
)
def test_the_node_reaches_pods(net: Net) -> None:
    for name in SERVERS:
        ip = net.pod_ip(name)
        assert CLIENT_GLOBALS["http"](ip, HTTP)[0] == CLIENT_GLOBALS["udp"](ip, UDP)[0] == name
        assert net.python(f"print(json.dumps(http({ip!r}, {HTTP})))", "on-node")[0] == name


# Services


def test_a_service_is_served_by_all_its_pods(net: Net) -> None:
    vip = net.cluster_ip("web")
    assert served(net, vip, 80) == SERVERS
    assert served(net, vip, 80, where="on-node") == SERVERS
    assert outcome(net, vip, 80)[1] == net.pod_ip("client")
    assert outcome(net, vip, 81) == "ConnectionRefusedError"
    page = net.exec("client", "wget -qO- http://web/")
    assert page.split()[0] in SERVERS


def test_a_pod_reaches_itself_through_its_service(net: Net) -> None:
    vip = net.cluster_ip("web")
    assert served(net, vip, 80, where="net-0") == SERVERS


def test_a_service_without_endpoints_refuses(net: Net) -> None:
    made = net.create(service("nobody", app="nobody"))
    vip = made["spec"]["clusterIP"]
    wait_for(lambda: outcome(net, vip, 80) == "ConnectionRefusedError", "it refuses", 10)


@pytest.mark.conformance(
    "[sig-network] Services should be able to create a functioning NodePort service [Conformance]"
)
def test_a_node_port_service(net: Net) -> None:
    net.create(service("nodeport", type="NodePort"))
    vip, port = net.cluster_ip("nodeport"), net.node_port("nodeport")
    until_served(net, vip, 80)
    assert served(net, net.node_ip, port) == SERVERS
    assert served(net, net.node_ip, port, where="on-node") == SERVERS
    for host in (net.node_ip, "127.0.0.1"):
        assert {fetch(f"http://{host}:{port}/").split()[0] for _ in range(40)} == set(SERVERS)
    assert net.exec("client", "wget -qO- http://nodeport/").split()[0] in SERVERS
    net.delete("Service", "nodeport")
    wait_for(
        lambda: outcome(net, net.node_ip, port) == "ConnectionRefusedError",
        "the port is closed",
        10,
    )


def check_affinity(net: Net, name: str) -> None:
    """One server for as long as affinity is on; any without."""
    vip = net.cluster_ip(name)
    places = [(vip, 80)]
    if net.get("Service", name)["spec"]["type"] == "NodePort":
        places.append((net.node_ip, net.node_port(name)))
    for affinity in ("ClientIP", "None", "ClientIP"):
        net.patch("Service", name, {"spec": {"sessionAffinity": affinity}})
        wanted = 1 if affinity == "ClientIP" else REPLICAS
        for host, port in places:
            wait_for(
                lambda h=host, p=port, w=wanted: len(served(net, h, p)) == w,
                f"{host}:{port} with affinity {affinity} is served by {wanted}", 15,
            )  # fmt: skip
    assert net.exec("client", f"wget -qO- http://{name}/").split()[0] in SERVERS


@pytest.mark.conformance(
    "[sig-network] Services should have session affinity work for service with type clusterIP [LinuxOnly] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-network] Services should be able to switch session affinity for service with type clusterIP [LinuxOnly] [Conformance]"
)
def test_session_affinity_of_cluster_ips(net: Net) -> None:
    net.create(service("sticky", sessionAffinity="ClientIP"))
    check_affinity(net, "sticky")


@pytest.mark.conformance(
    "[sig-network] Services should have session affinity work for NodePort service [LinuxOnly] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-network] Services should be able to switch session affinity for NodePort service [LinuxOnly] [Conformance]"
)
def test_session_affinity_of_node_ports(net: Net) -> None:
    net.create(service("sticky-port", type="NodePort", sessionAffinity="ClientIP"))
    check_affinity(net, "sticky-port")


@pytest.mark.conformance(
    "[sig-network] Services should serve endpoints on same port and different protocols [Conformance]"
)
def test_one_port_two_protocols(net: Net) -> None:
    tcp = {"name": "tcp", "port": 80, "protocol": "TCP", "targetPort": HTTP}
    udp = {"name": "udp", "port": 80, "protocol": "UDP", "targetPort": UDP}
    net.create(service("both", ports=[tcp, udp]))
    vip = net.cluster_ip("both")

    def serves(*protocols: str) -> None:
        def right() -> bool:
            said = {p: outcome(net, vip, 80, ask) for p, ask in (("tcp", "http"), ("udp", "udp"))}
            return all(isinstance(said[p], list) == (p in protocols) for p in said)

        wait_for(right, f"it serves {protocols} alone", 15)

    serves("tcp", "udp")
    net.change("Service", "both", lambda s: s["spec"].update(ports=[tcp]))
    serves("tcp")
    net.change("Service", "both", lambda s: s["spec"].update(ports=[udp]))
    serves("udp")


@pytest.mark.conformance(
    "[sig-network] Services should serve multiport endpoints from pods [Conformance]"
)
def test_two_ports_of_two_pods(net: Net) -> None:
    ports = [
        {"name": "one", "port": 80, "targetPort": "one"},
        {"name": "two", "port": 81, "targetPort": "two"},
    ]
    vip = net.create(service("multi", app="multi", ports=ports))["spec"]["clusterIP"]

    def subsets() -> dict[str, list[int]]:
        found = net.api("GET", f"api/v1/namespaces/{net.name}/endpoints/multi")
        return {
            a["targetRef"]["name"]: sorted(p["port"] for p in s["ports"])
            for s in found.get("subsets", ())
            for a in s.get("addresses", ())
        }

    def settles(wanted: dict[str, list[int]]) -> None:
        wait_for(lambda: subsets() == wanted, f"endpoints {wanted}", 20)

    settles({})
    for name, number in (("one", 100), ("two", 101)):
        opened = [{"name": name, "containerPort": number}]
        net.create(
            server_pod(f"multi-{name}", {"app": "multi"}, {"HTTP": str(number)}, ports=opened)
        )
    settles({"multi-one": [100], "multi-two": [101]})
    wait_for(lambda: outcome(net, vip, 80)[0] == "multi-one", "the first port answers", 10)
    wait_for(lambda: outcome(net, vip, 81)[0] == "multi-two", "the second port answers", 10)
    net.delete("Pod", "multi-one", 0)
    settles({"multi-two": [101]})
    wait_for(
        lambda: outcome(net, vip, 80) == "ConnectionRefusedError", "the first port is refused", 10
    )
    net.delete("Pod", "multi-two", 0)
    settles({})


def hand_made_slice(net: Net, of: str, port: str, ip: str, number: int) -> None:
    labels = {
        "kubernetes.io/service-name": of,
        "endpointslice.kubernetes.io/managed-by": "somebody.example.com",
    }
    net.create({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"generateName": f"{of}-", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [ip], "conditions": {"ready": True}}],
        "ports": [{"name": port, "port": number, "protocol": "TCP"}],
    })  # fmt: skip


TWO_PORTS = [{"name": "port80", "port": 80}, {"name": "port81", "port": 81}]


@pytest.mark.conformance(
    "[sig-network] EndpointSlice should support a Service with multiple endpoint IPs specified in multiple EndpointSlices [Conformance]"
)
def test_slices_by_hand_with_an_address_for_each_port(net: Net) -> None:
    net.create(service("by-address", selector=None, ports=TWO_PORTS))
    for port, name in (("port80", "net-0"), ("port81", "net-1")):
        hand_made_slice(net, "by-address", port, net.pod_ip(name), HTTP)
    vip = net.cluster_ip("by-address")
    until_served(net, vip, 80, ["net-0"])
    until_served(net, vip, 81, ["net-1"])


@pytest.mark.conformance(
    "[sig-network] EndpointSlice should support a Service with multiple ports specified in multiple EndpointSlices [Conformance]"
)
def test_slices_by_hand_with_two_ports_of_one_address(net: Net) -> None:
    other = server_pod("other", {}, {"HTTP": "9090", "UDP": "9091"})["spec"]["containers"][0]
    both = server_pod("both-ports", {"app": "both-ports"}, {"HTTP": "8090"})
    both["spec"]["containers"].append({**other, "name": "other"})
    net.create(both)
    net.ready("both-ports")
    ip = net.pod_ip("both-ports")
    net.create(service("by-port", selector=None, ports=TWO_PORTS))
    hand_made_slice(net, "by-port", "port80", ip, 8090)
    hand_made_slice(net, "by-port", "port81", ip, 9090)
    vip = net.cluster_ip("by-port")
    until_served(net, vip, 80, ["both-ports"])
    until_served(net, vip, 81, ["both-ports"])


@pytest.mark.conformance(
    "[sig-network] Services should serve a basic endpoint from pods [Conformance]"
)
def test_endpoints_follow_pods(net: Net) -> None:
    net.create(service("basic", app="basic"))

    def ready() -> list[list[str]]:
        subsets = net.get("Endpoints", "basic").get("subsets") or []
        slices = net.list("EndpointSlice", "labelSelector=kubernetes.io/service-name%3Dbasic")
        ends = [e for found in slices for e in found["endpoints"] or ()]
        return [
            sorted(a["targetRef"]["name"] for s in subsets for a in s.get("addresses") or ()),
            sorted(e["targetRef"]["name"] for e in ends if e["conditions"]["ready"]),
        ]

    def settles(*wanted: str) -> None:
        wait_for(lambda: ready() == [list(wanted)] * 2, f"endpoints are {wanted}", 30)
        if wanted:
            until_served(net, net.cluster_ip("basic"), 80, list(wanted))
            assert net.exec("client", "wget -qO- http://basic/").split()[0] in wanted

    settles()
    for name in ("basic-1", "basic-2"):
        net.create(server_pod(name, {"app": "basic"}))
        net.ready(name)
        settles(*(n for n in ("basic-1", "basic-2") if n <= name))
    net.delete("Pod", "basic-1")
    settles("basic-2")
    net.delete("Pod", "basic-2")
    settles()
    vip = net.cluster_ip("basic")
    wait_for(lambda: outcome(net, vip, 80) == "ConnectionRefusedError", "it refuses", 15)


def change_type(net: Net, name: str, **spec: Any) -> Object:
    def change(obj: Object) -> None:
        for key in (
            "clusterIP",
            "clusterIPs",
            "externalName",
            "ports",
            "ipFamilies",
            "ipFamilyPolicy",
        ):
            obj["spec"].pop(key, None)
        obj["spec"].update(spec)

    return net.change("Service", name, change)


def external(net: Net) -> dict[str, str]:
    return {"type": "ExternalName", "externalName": f"web.{net.name}.svc.cluster.local"}


@pytest.mark.conformance(
    "[sig-network] Services should be able to change the type from ClusterIP to ExternalName [Conformance]"
)
@pytest.mark.conformance(
    "[sig-network] Services should be able to change the type from NodePort to ExternalName [Conformance]"
)
def test_services_become_external_names(net: Net) -> None:
    target = net.cluster_ip("web")
    for name, kind in (("was-cluster-ip", "ClusterIP"), ("was-node-port", "NodePort")):
        first = net.create(service(name, type=kind))["spec"]["clusterIP"]
        net.resolves(name, first)
        changed = change_type(net, name, **external(net))
        assert not changed["spec"].get("clusterIP")
        assert not any(p.get("nodePort") for p in changed["spec"].get("ports", ()))
        net.resolves(name, target)


@pytest.mark.conformance(
    "[sig-network] Services should be able to change the type from ExternalName to ClusterIP [Conformance]"
)
@pytest.mark.conformance(
    "[sig-network] Services should be able to change the type from ExternalName to NodePort [Conformance]"
)
def test_external_names_become_services(net: Net) -> None:
    ports = [{"port": 80, "protocol": "TCP", "targetPort": HTTP}]
    for name, kind in (("to-cluster-ip", "ClusterIP"), ("to-node-port", "NodePort")):
        made = net.create(service(name, ports=[], **external(net)))
        assert not made["spec"].get("clusterIP")
        changed = change_type(net, name, type=kind, ports=ports, selector={"app": "net"})
        vip = changed["spec"]["clusterIP"]
        net.resolves(name, vip)
        until_served(net, vip, 80)
        assert net.exec("client", f"wget -qO- http://{name}/").split()[0] in SERVERS
        if kind == "NodePort":
            assert served(net, net.node_ip, net.node_port(name)) == SERVERS


def test_a_dying_pod_serves_until_another_is_there(net: Net) -> None:
    """The last endpoint is used while it terminates (KEP-1669)."""
    slow = server_pod("slow", {"app": "slow"}, terminationGracePeriodSeconds=4)
    slow["spec"]["containers"][0]["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", "3"]}}}
    net.create(slow)
    vip = net.create(service("slow", app="slow"))["spec"]["clusterIP"]
    net.ready("slow")
    until_served(net, vip, 80, ["slow"])
    net.delete("Pod", "slow")
    time.sleep(1)
    assert outcome(net, vip, 80)[0] == "slow"
    wait_for(
        lambda: outcome(net, vip, 80) == "ConnectionRefusedError", "it is refused in the end", 15
    )


# Names


@pytest.mark.conformance("[sig-network] DNS should provide DNS for the cluster [Conformance]")
def test_the_cluster_has_names(net: Net) -> None:
    api_server = net.api("GET", "api/v1/namespaces/default/services/kubernetes")["spec"][
        "clusterIP"
    ]
    for where in ("client", "on-node"):
        for name in (
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ):
            assert net.address(name, where) == api_server, (name, where)


@pytest.mark.conformance("[sig-network] DNS should provide DNS for services [Conformance]")
@pytest.mark.conformance(
    "[sig-network] DNS should resolve DNS of partial qualified names for services [LinuxOnly] [Conformance]"
)
def test_services_have_names(net: Net) -> None:
    net.create(service("headless", clusterIP="None"))
    vip = net.cluster_ip("web")
    for name in (
        "web",
        f"web.{net.name}",
        f"web.{net.name}.svc",
        f"web.{net.name}.svc.cluster.local",
    ):
        assert net.address(name) == vip, name
    servers = {net.pod_ip(name) for name in SERVERS}
    full = f"headless.{net.name}.svc.cluster.local"
    wait_for(
        lambda: all(ip in net.lookup(full) for ip in servers),
        "the headless Service has its pods",
        15,
    )
    for name in ("headless", f"headless.{net.name}", f"headless.{net.name}.svc", full):
        assert net.address(name) in servers, name
    first = f"nslookup -type=a {full} | sed -n 's/^Address: *//p' | sed -n 2p"
    said = net.exec("client", f"for i in 1 2 3 4 5 6; do {first}; done")
    assert set(said.split()) == servers  # each one's turn comes
    said = net.lookup(f"_http._tcp.web.{net.name}.svc.cluster.local", "srv")
    assert re.search(rf"100 80 web\.{net.name}\.svc\.cluster\.local", said), said
    said = net.lookup(f"_http._tcp.{full}", "srv")
    assert said.count(f"100 {HTTP} ") == REPLICAS, said
    reverse = ".".join(reversed(vip.split("."))) + ".in-addr.arpa"
    assert f"web.{net.name}.svc.cluster.local" in net.lookup(reverse, "ptr")
    assert "NXDOMAIN" in net.lookup(f"nope.{net.name}.svc.cluster.local")


@pytest.mark.conformance(
    "[sig-network] DNS should provide DNS for ExternalName services [Conformance]"
)
def test_external_names(net: Net) -> None:
    net.create(service("out", ports=[], type="ExternalName", externalName="foo.example.com"))
    name = f"out.{net.name}.svc.cluster.local"

    def alias(wanted: str) -> None:
        wait_for(lambda: wanted in net.lookup(name, "cname"), f"{name} is an alias of {wanted}", 15)

    alias("foo.example.com")
    net.patch("Service", "out", {"spec": {"externalName": "bar.example.com"}})
    alias("bar.example.com")
    ports = [{"port": 80, "protocol": "TCP"}]
    vip = change_type(net, "out", type="ClusterIP", ports=ports)["spec"]["clusterIP"]
    net.resolves(name, vip)


@pytest.mark.conformance("[sig-network] DNS should provide DNS for pods for Hostname [Conformance]")
@pytest.mark.conformance(
    "[sig-network] DNS should provide DNS for pods for Subdomain [Conformance]"
)
def test_pods_have_names(net: Net) -> None:
    net.create(service("sub", app="named", clusterIP="None"))
    net.create(server_pod("named", {"app": "named"}, hostname="the-host", subdomain="sub"))
    net.ready("named")
    ip = net.pod_ip("named")
    full = f"the-host.sub.{net.name}.svc.cluster.local"
    net.resolves(full, ip)
    for name in ("the-host", "the-host.sub", full):
        assert net.address(name, "named") == ip, name
    assert net.address(f"sub.{net.name}.svc.cluster.local") == ip
    assert net.exec("named", "hostname -f").strip() == full
    assert net.address(f"{ip.replace('.', '-')}.{net.name}.pod.cluster.local") == ip


@pytest.mark.conformance(
    "[sig-network] DNS should provide /etc/hosts entries for the cluster [Conformance]"
)
def test_pods_know_their_own_names_without_dns(net: Net) -> None:
    # Nobody serves the subdomain and no name server answers: the hosts file alone tells.
    nobody = {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["127.0.0.1"]}}
    net.create(client_pod("hosts", hostname="querier", subdomain="nobody-serves", **nobody))
    net.ready("hosts")
    full = f"querier.nobody-serves.{net.name}.svc.cluster.local"
    ip = net.pod_ip("hosts")
    for name in (full, "querier"):
        assert net.address(name, "hosts") == ip
    assert f"{ip}\t{full}\tquerier" in net.exec("hosts", "cat /etc/hosts")
    assert net.exec("hosts", "hostname").strip() == "querier"


@pytest.mark.conformance(
    "[sig-network] DNS should support configurable pod DNS nameservers [Conformance]"
)
def test_pods_may_have_their_own_name_servers(net: Net) -> None:
    config = {"nameservers": ["1.1.1.1"], "searches": ["resolv.conf.local"]}
    net.create(client_pod("own-dns", dnsPolicy="None", dnsConfig=config))
    net.ready("own-dns")
    lines = net.exec("own-dns", "cat /etc/resolv.conf").split("\n")
    assert "nameserver 1.1.1.1" in lines
    assert "search resolv.conf.local" in lines
    server = net.api("GET", "api/v1/namespaces/kube-system/services/kube-dns")["spec"]["clusterIP"]
    on_node = net.exec("on-node", "cat /etc/resolv.conf")
    assert f"nameserver {server}" in on_node
    assert f"search {net.name}.svc.cluster.local svc.cluster.local cluster.local" in on_node


# The API server, host ports, a proxy that dies


def test_pods_reach_the_api_server_with_their_token(net: Net) -> None:
    where = "/var/run/secrets/kubernetes.io/serviceaccount"
    vip = net.api("GET", "api/v1/namespaces/default/services/kubernetes")["spec"]["clusterIP"]
    said = net.python(
        f"""
        import os
        tls = ssl.create_default_context(cadata=os.environ["CA"])
        request = urllib.request.Request("https://{vip}/apis", headers={{"Authorization": "Bearer " + os.environ["TOKEN"]}})
        with urllib.request.urlopen(request, context=tls, timeout=5) as response:
            print(json.dumps([response.status, json.load(response)["kind"]]))
        """,
        before=f'export TOKEN="$(cat {where}/token)" CA="$(cat {where}/ca.crt)";',
    )  # fmt: skip
    assert said == [200, "APIGroupList"]


@pytest.mark.conformance(
    "[sig-network] HostPort validates that there is no conflict between pods with same hostPort but different hostIP and protocol [LinuxOnly] [Conformance]"
)
def test_one_host_port_for_three_pods(net: Net) -> None:
    number = 54323
    opened = [
        ("hp-1", {"hostIP": "127.0.0.1", "protocol": "TCP", "containerPort": HTTP}),
        ("hp-2", {"hostIP": net.node_ip, "protocol": "TCP", "containerPort": HTTP}),
        ("hp-3", {"hostIP": net.node_ip, "protocol": "UDP", "containerPort": UDP}),
    ]
    for name, fields in opened:
        net.create(server_pod(name, {"app": name}, ports=[{"hostPort": number, **fields}]))
    for name, _ in opened:
        net.ready(name)
    http, udp = CLIENT_GLOBALS["http"], CLIENT_GLOBALS["udp"]
    assert wait_for(lambda: http("127.0.0.1", number), "hostPort on loopback", 10)[0] == "hp-1"
    assert http(net.node_ip, number)[0] == "hp-2"
    assert udp(net.node_ip, number)[0] == "hp-3"
    for where in ("client", "on-node"):
        assert outcome(net, net.node_ip, number, where=where)[0] == "hp-2"
        assert outcome(net, net.node_ip, number, "udp", where=where)[0] == "hp-3"
    assert outcome(net, "127.0.0.1", number, where="on-node")[0] == "hp-1"
    for name, _ in opened:
        net.delete("Pod", name, 0)
    wait_for(lambda: net.gone("Pod", "hp-1"), "the pod is gone", 20)

    def closed() -> bool:
        try:
            http("127.0.0.1", number)
        except OSError:
            return True
        return False

    # A pod that is deleted at once is gone from the API before its sandbox is.
    wait_for(closed, "the port is closed", 20)


def test_services_go_on_while_the_nodes_process_dies(net: Net) -> None:
    net.create(service("steady", type="NodePort", sessionAffinity="ClientIP"))
    url = f"http://127.0.0.1:{net.node_port('steady')}/"
    wait_for(lambda: fetch(url), "the NodePort answers", 10)
    failures: list[str] = []
    servers: set[str] = set()
    stop = threading.Event()

    def poll() -> None:
        while not stop.is_set():
            try:
                servers.add(fetch(url).split()[0])
            except OSError as e:
                failures.append(repr(e))
            time.sleep(0.01)

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        before = net.cluster.processes()["node"]
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: net.cluster.processes()["node"] != before, "the process is back", 20)
        made = net.create(service("after"))["spec"]["clusterIP"]
        until_served(net, made, 80)
        net.resolves("after", made)
    finally:
        stop.set()
        poller.join()
    assert not failures
    assert len(servers) == 1, "the new proxy forgot whom clients stick to"


def test_nothing_of_a_service_is_left_when_it_goes(net: Net) -> None:
    vip = net.create(service("brief", type="NodePort", sessionAffinity="ClientIP"))["spec"][
        "clusterIP"
    ]
    until_brief = lambda: isinstance(outcome(net, vip, 80), list)  # noqa: E731 - waited for twice
    wait_for(until_brief, "it answers", 10)
    net.delete("Service", "brief")
    wait_for(lambda: "-brief" not in rules(), "its rules are gone", 10)
    assert f"{vip} ." not in rules()


def rules() -> str:
    return subprocess.run(
        ["nft", "list", "ruleset"], capture_output=True, text=True, check=True
    ).stdout
