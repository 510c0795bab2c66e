"""Tracked UDP flows: which of them lead to endpoints that are no more, and how they are forgotten.

UDP has no end that a tracker would see. A client that goes on sending from one port keeps its flow,
and with it the endpoint that was picked first (or none, where none was there), for ever. After each
change of UDP endpoints the flows towards those Services are looked through, and what leads
elsewhere is deleted; the client's next packet is balanced anew.

Talks netlink itself (ctnetlink), in one dump and one short message a flow.
Source: linux/netfilter/nfnetlink_conntrack.h; kube-proxy's conntrack reconciliation.
"""

import logging
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from skiff.network.proxy.plan import Backend, Frontend

NETLINK_NETFILTER = 12
IPPROTO_UDP = 17
_SUBSYSTEM = 1 << 8
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_TUPLE_ORIG, _TUPLE_REPLY, _ID = 1, 2, 12
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_FAMILY = struct.pack("=BBH", socket.AF_INET, 0, 0)
_MASK = 0x3FFF
RECEIVE_BYTES = 1 << 20
TIMEOUT_S = 5.0
ENOENT = 2

log = logging.getLogger("skiff.proxy")


@dataclass(frozen=True, slots=True)
class Flow:
    """One tracked UDP flow: where its client sent to, and where the answers come from. `raw` names it."""

    sent_to: Frontend
    answered_by: Backend
    raw: bytes = b""


class FlowTable(Protocol):
    """The kernel's tracked flows."""

    def forget(self, stale: Callable[[Flow], bool]) -> int:
        """Delete the UDP flows for which `stale` holds; return how many. Raises OSError."""


def stale_among(udp: Mapping[Frontend, frozenset[Backend]]) -> Callable[[Flow], bool]:
    """A test for flows that go to one of the frontends, and not to one of its endpoints."""

    def stale(flow: Flow) -> bool:
        backends = udp.get(flow.sent_to)
        if backends is None:
            backends = udp.get(("", flow.sent_to[1]))
        return backends is not None and flow.answered_by not in backends

    return stale


class ConntrackFlows:
    """The kernel's table, through ctnetlink."""

    def forget(self, stale: Callable[[Flow], bool]) -> int:
        """See FlowTable."""
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as link:
            link.settimeout(TIMEOUT_S)
            link.bind((0, 0))
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            doomed = [flow for flow in _dump(link) if stale(flow)]
            return sum(_delete(link, number, flow) for number, flow in enumerate(doomed, 2))


class NoFlows:
    """The twin: `flows` are what is tracked."""

    def __init__(self, flows: Iterable[Flow] = ()) -> None:
        self.flows = list(flows)

    def forget(self, stale: Callable[[Flow], bool]) -> int:
        """See FlowTable."""
        before = len(self.flows)
        self.flows = [flow for flow in self.flows if not stale(flow)]
        return before - len(self.flows)


def _dump(link: socket.socket) -> Iterator[Flow]:
    link.send(_HEADER.pack(20, _GET, _REQUEST | _DUMP, 1, 0) + _FAMILY)
    while True:
        data = link.recv(RECEIVE_BYTES)
        at = 0
        while at + 16 <= len(data):
            length, kind, _, _, _ = _HEADER.unpack_from(data, at)
            if kind == _DONE:
                return
            if kind == _ERROR:
                (code,) = struct.unpack_from("=i", data, at + 16)
                raise OSError(-code, "tracked flows cannot be listed (nf_conntrack_netlink)")
            flow = parse_flow(data[at + 20 : at + length])
            if flow is not None:
                yield flow
            at += (length + 3) & ~3


def _delete(link: socket.socket, number: int, flow: Flow) -> int:
    link.send(
        _HEADER.pack(20 + len(flow.raw), _DELETE, _REQUEST | _ACK, number, 0) + _FAMILY + flow.raw
    )
    while True:
        data = link.recv(RECEIVE_BYTES)
        _, kind, _, sequence, _ = _HEADER.unpack_from(data)
        if kind == _ERROR and sequence == number:
            (code,) = struct.unpack_from("=i", data, 16)
            if code and -code != ENOENT:  # it may have ended by itself meanwhile
                raise OSError(-code, "a tracked flow cannot be deleted")
            return int(code == 0)


def _attributes(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4:
            break
        found[kind & _MASK] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def parse_flow(data: bytes) -> Flow | None:
    """A flow from one message's attributes; None where it is not UDP over IPv4."""
    attributes = _attributes(data)
    original, reply = attributes.get(_TUPLE_ORIG), attributes.get(_TUPLE_REPLY)
    if original is None or reply is None:
        return None
    sent = _tuple(original)
    answered = _tuple(reply)
    if sent is None or answered is None:
        return None
    raw = _attribute(_TUPLE_ORIG | 0x8000, original)
    if _ID in attributes:
        raw += _attribute(_ID, attributes[_ID])
    return Flow((sent[1], sent[3]), (answered[0], answered[2]), raw)


def _tuple(data: bytes) -> tuple[str, str, int, int] | None:
    """Source and destination address, source and destination port."""
    parts = _attributes(data)
    addresses = _attributes(parts.get(_TUPLE_IP, b""))
    protocol = _attributes(parts.get(_TUPLE_PROTO, b""))
    if protocol.get(1) != bytes([IPPROTO_UDP]) or 1 not in addresses or 2 not in addresses:
        return None
    ports = (protocol.get(2, b"\0\0"), protocol.get(3, b"\0\0"))
    return (
        socket.inet_ntoa(addresses[1]),
        socket.inet_ntoa(addresses[2]),
        int.from_bytes(ports[0], "big"),
        int.from_bytes(ports[1], "big"),
    )


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(len(value) + 4, kind) + value + bytes(-len(value) % 4)
