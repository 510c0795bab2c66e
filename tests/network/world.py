"""A node, three pods and a client outside, made of network namespaces; every pod says who it is and who asks.

client 192.0.2.2 ── 192.0.2.1 node 10.244.0.1 ──bridge── pods 10.244.0.11, .12, .13
"""

import contextlib
import selectors
import socket
import threading
from collections import Counter

from skiff.api.views.discovery import EndpointSlice
from skiff.api.views.service import Service
from skiff.network.proxy.base import base_rules
from skiff.network.proxy.conntrack import ConntrackFlows, stale_among
from skiff.network.proxy.endpoints import Place
from skiff.network.proxy.model import NOTHING, Table
from skiff.network.proxy.nft import Nftables
from skiff.network.proxy.plan import EMPTY, ServiceRules, plan_service
from tests.network.namespaces import Host

NODE, CLIENT, GATEWAY = "192.0.2.1", "192.0.2.2", "10.244.0.1"
PODS = ("10.244.0.11", "10.244.0.12", "10.244.0.13")
POD_CIDR, SERVICE_CIDR = "10.244.0.0/16", "10.96.0.0/16"
PORT = 8080
TIMEOUT_S = 2.0


class World:
    def __init__(self) -> None:
        with contextlib.ExitStack() as stack:
            self.node, self.client = self._host(stack, "node"), self._host(stack, "client")
            self.pods = [self._host(stack, f"pod{n}") for n in range(len(PODS))]
            self._wire()
            self.echo = Echo()
            stack.callback(self.echo.stop)
            for address, pod in zip(PODS, self.pods, strict=True):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    self.echo.add(pod, address, PORT, kind)
            self.proxy = TestProxy(self.node)
            self._stack = stack.pop_all()

    def _host(self, stack: contextlib.ExitStack, name: str) -> Host:
        host = Host(name)
        stack.callback(host.close)
        return host

    def _wire(self) -> None:
        node = self.node
        node.ip("link", "add", "br0", "type", "bridge")
        node.ip("address", "add", f"{GATEWAY}/24", "dev", "br0")
        node.ip("link", "set", "br0", "up")
        node.link("up0", self.client, "eth0")
        node.ip("address", "add", f"{NODE}/24", "dev", "up0")
        self.client.ip("address", "add", f"{CLIENT}/24", "dev", "eth0")
        self.client.ip("route", "add", "default", "via", NODE)
        node.ip("route", "add", SERVICE_CIDR, "dev", "br0")
        for number, (address, pod) in enumerate(zip(PODS, self.pods, strict=True)):
            node.link(f"v{number}", pod, "eth0")
            node.ip("link", "set", f"v{number}", "master", "br0")
            node.ip("link", "set", f"v{number}", "type", "bridge_slave", "hairpin", "on")
            pod.ip("address", "add", f"{address}/24", "dev", "eth0")
            pod.ip("route", "add", "default", "via", GATEWAY)
        for name in ("ip_forward", "conf/br0/route_localnet"):
            node.sysctl(f"net/ipv4/{name}", "1")
        for name in ("all", "br0"):
            node.sysctl(f"net/ipv4/conf/{name}/send_redirects", "0")
        node.sysctl("net/bridge/bridge-nf-call-iptables", "1")

    def close(self) -> None:
        self._stack.close()


class TestProxy:
    """The proxy without its loop: each `apply` is one transaction."""

    __test__ = False

    def __init__(self, node: Host) -> None:
        self._node = node
        self._filter = Nftables()
        self.clear()

    def clear(self) -> None:
        """A table without Services, and no tracked flow."""
        self._table = Table("ip skiff", base_rules(POD_CIDR, SERVICE_CIDR))
        self._parts: dict[tuple[str, str], ServiceRules] = {}
        self._node.run(self._filter.run, self._table.start())
        self._node.run(ConntrackFlows().forget, lambda _: True)

    def apply(self, service: Service, *slices: EndpointSlice, node_name: str = "here") -> int:
        """Make `service` so; returns how many UDP flows were forgotten."""
        key = (service.metadata.namespace, service.metadata.name)
        before = self._parts.get(key, EMPTY)
        after = plan_service(service, slices, Place(node_name), POD_CIDR)
        return self._put(key, before, after)

    def remove(self, service: Service) -> int:
        key = (service.metadata.namespace, service.metadata.name)
        return self._put(key, self._parts.pop(key, EMPTY), EMPTY)

    def restart(self) -> None:
        """Write the whole table again, as a new process does."""
        self._node.run(self._filter.run, self._table.start())

    def _put(self, key: tuple[str, str], before: ServiceRules, after: ServiceRules) -> int:
        self._parts[key] = after
        self._table.put(key, after.share if after is not EMPTY else NOTHING)
        text = self._table.take()
        if text:
            self._node.run(self._filter.run, text)
        changed = {**dict.fromkeys(before.udp, frozenset()), **after.udp}
        return self._node.run(ConntrackFlows().forget, stale_among(changed)) if changed else 0


class Echo:
    """Servers that answer `<own address> <client's address>` to whatever they are sent, until it ends."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._names: dict[int, str] = {}
        self._stopped = False
        self._thread = threading.Thread(target=self._serve, name="echo")
        self._thread.start()

    def add(
        self, host: Host, address: str, port: int, kind: int = socket.SOCK_STREAM
    ) -> socket.socket:
        sock = host.run(socket.socket, socket.AF_INET, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        host.run(sock.bind, (address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(64)
        self._names[sock.fileno()] = address
        self._selector.register(
            sock, selectors.EVENT_READ, "listen" if kind == socket.SOCK_STREAM else "udp"
        )
        return sock

    def stop(self) -> None:
        self._stopped = True
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr] # sockets, all of them
        self._selector.close()

    def _serve(self) -> None:
        while not self._stopped:
            for key, _ in self._selector.select(0.05):
                with contextlib.suppress(OSError):
                    self._one(key.fileobj, key.data)  # type: ignore[arg-type] # as above

    def _one(self, sock: socket.socket, kind: str) -> None:
        if kind == "listen":
            connection, _ = sock.accept()
            self._names[connection.fileno()] = connection.getsockname()[0]
            self._selector.register(connection, selectors.EVENT_READ, "tcp")
        elif kind == "udp":
            _, peer = sock.recvfrom(2048)
            sock.sendto(f"{self._names[sock.fileno()]} {peer[0]}".encode(), peer)
        else:
            try:
                data = sock.recv(2048)
                if data:
                    sock.sendall(f"{self._names[sock.fileno()]} {sock.getpeername()[0]}".encode())
                    return
            except OSError:
                pass
            self._selector.unregister(sock)
            sock.close()


def connect(host: Host, to: str, port: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A socket of `host`, connected. Raises OSError."""
    sock = host.run(socket.socket, socket.AF_INET, kind)
    sock.settimeout(TIMEOUT_S)
    try:
        sock.connect((to, port))
    except OSError:
        sock.close()
        raise
    return sock


def talk(sock: socket.socket) -> tuple[str, str]:
    """Who answers on `sock`, and who it thinks that we are."""
    sock.sendall(b"who?")
    server, client = sock.recv(2048).decode().split()
    return server, client


def ask(host: Host, to: str, port: int = 80, kind: int = socket.SOCK_STREAM) -> tuple[str, str]:
    """One connection (or datagram) of its own."""
    with connect(host, to, port, kind) as sock:
        return talk(sock)


def ask_often(host: Host, to: str, port: int = 80, times: int = 60, **more: int) -> Counter[str]:
    return Counter(ask(host, to, port, **more)[0] for _ in range(times))
