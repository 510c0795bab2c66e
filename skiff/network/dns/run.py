"""The DNS server: the zone kept up to date by informers, answers over UDP and TCP.

A question about the cluster is answered in the datagram callback itself: a dictionary look-up and a
few byte strings joined. Everything else goes to the forwarder, in a task. Where the answer is an
alias (ExternalName) and the question is not about that, the alias is followed, within the cluster
and outside, so that the client gets addresses with one question.
"""

import asyncio
import itertools
import logging
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple, cast

import msgspec

from skiff.aio.run import Started
from skiff.api.views.core import Namespace
from skiff.api.views.discovery import EndpointSlice
from skiff.api.views.service import Service
from skiff.client.informer import Informer
from skiff.network.dns import wire
from skiff.network.dns.forward import Forwarder, UpstreamFailed
from skiff.network.dns.zone import Zone

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
TCP_IDLE_S = 10.0
TCP_CONNECTIONS_MAX = 256
FORWARDING_MAX = 1000
ALIASES_MAX = 8
RECEIVE_BYTES = 4 << 20
IP_FREEBIND = 15
PORT_TRIES = 16

log = logging.getLogger("skiff.dns")


class Abroad(NamedTuple):
    """What must be asked outside: the client's query, the query to forward, and the records (aliases)
    that come before its answers."""

    query: wire.Query
    ask: wire.Query
    before: tuple[bytes, ...] = ()


class DnsServer:
    """Serves the cluster's zone and forwards the rest, on `address`:`port`."""

    def __init__(
        self,
        services: Informer[Service],
        slices: Informer[EndpointSlice],
        namespaces: Informer[Namespace],
        forwarder: Forwarder,
        *,
        domain: str,
        address: str,
        port: int = 53,
        cluster_ip: str = "",
        ranges: Sequence[str] = (),
    ) -> None:
        self._services = services
        self._slices = slices
        self._namespaces = namespaces
        self._forwarder = forwarder
        self._address = address
        self._port = port
        self.zone = Zone(domain, cluster_ip, ranges)
        self._turn = itertools.count()
        self._tasks: asyncio.TaskGroup | None = None
        self._forwarding = 0
        self._connections: set[asyncio.StreamWriter] = set()
        slices.add_index("service", _service_of)
        services.subscribe(self._service_changed)
        slices.subscribe(self._slice_changed)
        namespaces.subscribe(self._namespace_changed)

    async def run(self, started: Started) -> None:
        """Serve until cancelled; ready once the zone is complete and the sockets listen."""
        for informer in (self._services, self._slices, self._namespaces):
            await informer.synced.wait()
        self._fill()
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as self._tasks:
            udp, tcp = _sockets(self._address, self._port)
            self._port = udp.getsockname()[1]
            transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=udp)
            server = await asyncio.start_server(self._connection, sock=tcp, backlog=128)
            try:
                started()
                await server.serve_forever()
            finally:
                transport.close()
                server.close()
                for writer in self._connections:
                    writer.close()
                self._forwarder.close()

    @property
    def port(self) -> int:
        """The port that is served (once started, where 0 was asked for)."""
        return self._port

    def answer(self, data: bytes, limit: int) -> bytes | Abroad | None:
        """The response to a message, not longer than `limit` (0: what the query takes); or what must be
        asked outside; None where nothing is due."""
        try:
            query = wire.parse_query(data)
        except wire.MalformedMessage:
            return _format_error(data)
        limit = limit or query.udp_bytes
        if query.flags & wire.OPCODE_MASK:
            return wire.failure(query, wire.NOTIMP)
        if query.edns > 0:
            return wire.failure(query, wire.BADVERS)
        if query.dns_class != wire.CLASS_IN:
            return wire.failure(query, wire.REFUSED)
        if self.zone.owns(query.name):
            answer = self.zone.find(query.name, query.type)
            if answer.alias and query.type != wire.CNAME:
                return self._follow(query, answer, limit)
            return answer.response(query, limit, next(self._turn))
        cached = self._forwarder.cached(query)
        if cached is None:
            return Abroad(query, query)
        return cached if len(cached) <= limit else wire.truncate(cached, query, limit)

    def _follow(self, query: wire.Query, answer: wire.Answer, limit: int) -> bytes | Abroad:
        """The alias and what it leads to."""
        before, name = [answer.records], answer.alias
        for _ in range(ALIASES_MAX):
            if not self.zone.owns(name):
                question = name + wire.TYPE_CLASS.pack(query.type, wire.CLASS_IN)
                ask = msgspec.structs.replace(query, name=name, question=question, edns=-1)
                abroad = Abroad(query, ask, tuple(before))
                cached = self._forwarder.cached(ask)
                return abroad if cached is None else _joined(abroad, cached, limit)
            found = self.zone.find(name, query.type)
            if not found.alias:
                records = [*before, *wire.owned(found.records, name)]
                count = len(before) + found.answers
                whole = wire.Answer(
                    found.rcode, count, found.authorities, found.additional, b"".join(records)
                )
                return whole.response(query, limit)
            before.append(b"".join(wire.owned(found.records, name)))
            name = found.alias
        return wire.failure(query, wire.SERVFAIL)

    async def forward(self, abroad: Abroad, limit: int) -> bytes:
        """The upstream's response, or SERVFAIL."""
        try:
            message = await self._forwarder.resolve(abroad.ask)
        except UpstreamFailed:
            return wire.failure(abroad.query, wire.SERVFAIL)
        if abroad.before:
            return _joined(abroad, message, limit)
        return message if len(message) <= limit else wire.truncate(message, abroad.query, limit)

    def forward_datagram(
        self, abroad: Abroad, transport: asyncio.DatagramTransport, address: tuple[str, int]
    ) -> None:
        """Forward in the background; beyond a bound, refuse."""
        if self._tasks is None or self._forwarding >= FORWARDING_MAX:
            transport.sendto(wire.failure(abroad.query, wire.SERVFAIL), address)
            return
        self._forwarding += 1
        self._tasks.create_task(self._forwarded(abroad, transport, address), name="dns-forward")

    async def _forwarded(
        self, abroad: Abroad, transport: asyncio.DatagramTransport, address: tuple[str, int]
    ) -> None:
        try:
            message = await self.forward(abroad, abroad.query.udp_bytes)
        finally:
            self._forwarding -= 1
        if not transport.is_closing():
            transport.sendto(message, address)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One TCP client: message after message, each behind its length (RFC 7766)."""
        if len(self._connections) >= TCP_CONNECTIONS_MAX:
            writer.close()
            return
        self._connections.add(writer)
        try:
            while True:
                async with asyncio.timeout(TCP_IDLE_S):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    data = await reader.readexactly(length)
                answer = self.answer(data, wire.MESSAGE_MAX_BYTES)
                if isinstance(answer, Abroad):
                    answer = await self.forward(answer, wire.MESSAGE_MAX_BYTES)
                if answer is None:
                    return
                writer.write(struct.pack("!H", len(answer)) + answer)
                async with asyncio.timeout(TCP_IDLE_S):
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            return
        finally:
            self._connections.discard(writer)
            writer.close()

    def _fill(self) -> None:
        """Everything that the informers held before this subscribed."""
        self.zone.set_namespaces(n.metadata.name for n in self._namespaces.list())
        for service in self._services.list():
            self._update(service.metadata.namespace, service.metadata.name)

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        service = new or old
        if service is not None:
            self._update(service.metadata.namespace, service.metadata.name)

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        names = {
            (p.metadata.namespace, p.metadata.labels.get(SERVICE_NAME_LABEL, ""))
            for p in (old, new)
            if p
        }
        for namespace, name in names:
            service = self._services.get(name, namespace)
            if service is not None and service.spec.cluster_ip:
                self._update(namespace, name)

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if old is None or new is None:
            self.zone.set_namespaces(n.metadata.name for n in self._namespaces.list())

    def _update(self, namespace: str, name: str) -> None:
        service = self._services.get(name, namespace)
        if service is None:
            self.zone.remove(namespace, name)
        else:
            self.zone.put(service, self._slices.by_index("service", f"{namespace}/{name}"))


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is no subclass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.answer(data, 0)
        if isinstance(answer, bytes):
            self._transport.sendto(answer, addr)
        elif answer is not None:
            self._server.forward_datagram(answer, self._transport, addr)


def _joined(abroad: Abroad, message: bytes, limit: int) -> bytes:
    """The aliases and, behind them, the answers of the upstream's `message`; its code (RFC 6604)."""
    try:
        found = wire.read_answers(message)
    except wire.MalformedMessage:
        return wire.failure(abroad.query, wire.SERVFAIL)
    records = [*abroad.before, *(wire.record(r.owner, r.type, r.ttl_s, r.data) for r in found)]
    rcode = message[3] & 0xF
    answer = wire.Answer(rcode, len(records), 0, 0, b"".join(records), authoritative=False)
    return answer.response(abroad.query, limit)


def _service_of(piece: EndpointSlice) -> list[str]:
    name = piece.metadata.labels.get(SERVICE_NAME_LABEL, "")
    return [f"{piece.metadata.namespace}/{name}"] if name else []


def _format_error(data: bytes) -> bytes | None:
    """FORMERR for what has at least a query's header; silence for everything else."""
    if len(data) < 12 or data[2] & 0x80:
        return None
    return data[:2] + struct.pack("!HHHHH", wire.FLAG_RESPONSE | wire.FORMERR, 0, 0, 0, 0)


def _sockets(address: str, port: int) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP on one port; where any will do (0), one that is free for both."""
    for left in reversed(range(PORT_TRIES)):
        tcp = _socket(socket.SOCK_STREAM, address, port)
        try:
            return _socket(socket.SOCK_DGRAM, address, tcp.getsockname()[1]), tcp
        except OSError:
            tcp.close()
            if port or not left:
                raise
    raise AssertionError("unreachable")


def _socket(kind: socket.SocketKind, address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    try:
        sock.setblocking(False)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        sock.bind((address, port))
    except OSError as e:
        sock.close()
        raise OSError(e.errno, f"DNS cannot listen on {address}:{port}: {e.strerror}") from e
    return sock
