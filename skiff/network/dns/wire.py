"""DNS messages: as much of RFC 1035 (and EDNS, RFC 6891) as a name server for one zone needs. Pure."""

import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import dataclass

A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT, ANY = 1, 2, 5, 6, 12, 16, 28, 33, 41, 255
CLASS_IN = 1

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5

FLAG_RESPONSE = 0x8000
FLAG_AUTHORITATIVE = 0x0400
FLAG_TRUNCATED = 0x0200
FLAG_RECURSION_DESIRED = 0x0100
FLAG_RECURSION_AVAILABLE = 0x0080

HEADER = struct.Struct("!HHHHHH")
QUESTION_POINTER = b"\xc0\x0c"
"""A compressed name: "the one at offset 12", where the question's name stands."""

UDP_PLAIN_BYTES = 512
UDP_MAX_BYTES = 1232
MAX_LABEL = 63
MAX_NAME = 255


class MalformedMessage(Exception):
    """Bytes that are no DNS query."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question. `name` is the wire name in lower case; `question` the question as sent (case kept);
    `udp_bytes` how large an answer over UDP may be; `edns` whether the query had an OPT record."""

    id: int
    flags: int
    name: bytes
    type: int
    question: bytes
    udp_bytes: int
    edns: bool

    @property
    def opcode(self) -> int:
        return (self.flags >> 11) & 0xF


def parse_query(data: bytes) -> Query:
    """Read a query. Raises MalformedMessage."""
    try:
        ident, flags, questions, _, _, additional = HEADER.unpack_from(data)
        if flags & FLAG_RESPONSE or questions != 1:
            raise MalformedMessage("not a query with one question")
        end = 12
        while (length := data[end]) != 0:
            if length > MAX_LABEL:
                raise MalformedMessage("a label is too long, or compressed in a question")
            end += length + 1
        end += 1
        if end - 12 > MAX_NAME:
            raise MalformedMessage("the name is too long")
        qtype, _ = struct.unpack_from("!HH", data, end)
    except (IndexError, struct.error) as e:
        raise MalformedMessage("the message is cut short") from e
    stop = end + 4
    udp_bytes, edns = UDP_PLAIN_BYTES, False
    if additional and len(data) >= stop + 11 and data[stop] == 0:
        rtype, size = struct.unpack_from("!HH", data, stop + 1)
        if rtype == OPT:
            edns = True
            udp_bytes = min(max(size, UDP_PLAIN_BYTES), UDP_MAX_BYTES)
    return Query(ident, flags, data[12:end].lower(), qtype, data[12:stop], udp_bytes, edns)


OPT_RECORD = b"\x00" + struct.pack("!HHIH", OPT, UDP_MAX_BYTES, 0, 0)


@dataclass(frozen=True, slots=True)
class Answer:
    """The part of a response that does not depend on who asks: counts and record bytes."""

    rcode: int
    answers: int
    authorities: int
    additional: int
    records: bytes
    authoritative: bool = True

    def response(self, query: Query, limit: int) -> bytes:
        """The whole message to `query`, truncated (TC, no records) where it is longer than `limit`."""
        flags = FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | self.rcode
        flags |= query.flags & (FLAG_RECURSION_DESIRED | 0x7800)
        if self.authoritative:
            flags |= FLAG_AUTHORITATIVE
        tail = OPT_RECORD if query.edns else b""
        size = 12 + len(query.question) + len(self.records) + len(tail)
        if size > limit:
            head = HEADER.pack(query.id, flags | FLAG_TRUNCATED, 1, 0, 0, 1 if query.edns else 0)
            return head + query.question + tail
        extra = self.additional + (1 if query.edns else 0)
        head = HEADER.pack(query.id, flags, 1, self.answers, self.authorities, extra)
        return head + query.question + self.records + tail


def failure(query: Query, rcode: int) -> bytes:
    """A response that only carries `rcode`."""
    return Answer(rcode, 0, 0, 0, b"", authoritative=False).response(query, MAX_NAME * 16)


def encode_name(name: str) -> bytes:
    """A dotted name as wire bytes, lower case. Raises ValueError for empty or long labels."""
    out = bytearray()
    for label in name.rstrip(".").lower().split("."):
        raw = label.encode()
        if not 0 < len(raw) <= MAX_LABEL:
            raise ValueError(f"not a DNS name: {name!r}")
        out.append(len(raw))
        out += raw
    out.append(0)
    return bytes(out)


def decode_name(wire: bytes) -> str:
    """Wire bytes (uncompressed) as a dotted name."""
    labels, at = [], 0
    while wire[at]:
        labels.append(wire[at + 1 : at + 1 + wire[at]].decode(errors="replace"))
        at += wire[at] + 1
    return ".".join(labels)


def record(owner: bytes, rtype: int, ttl_s: int, data: bytes) -> bytes:
    """One resource record."""
    return owner + struct.pack("!HHIH", rtype, CLASS_IN, ttl_s, len(data)) + data


def address_data(address: str) -> tuple[int, bytes]:
    """The record type and data for an IP address."""
    ip = ipaddress.ip_address(address)
    return (A if ip.version == 4 else AAAA), ip.packed


def srv_data(priority: int, weight: int, port: int, target: bytes) -> bytes:
    """An SRV record's data (RFC 2782)."""
    return struct.pack("!HHH", priority, weight, port) + target


def txt_data(texts: Iterable[str]) -> bytes:
    """A TXT record's data."""
    return b"".join(bytes([len(t)]) + t.encode() for t in texts)


def soa_data(zone: bytes, serial: int, minimum_s: int) -> bytes:
    """An SOA record's data for a zone that its own name server serves."""
    name_server = b"\x02ns\x03dns" + zone
    mailbox = b"\x0ahostmaster" + zone
    return name_server + mailbox + struct.pack("!IIIII", serial, 7200, 1800, 86400, minimum_s)


def reverse_name(address: str) -> bytes:
    """The name under in-addr.arpa or ip6.arpa that a PTR query for `address` asks for."""
    return encode_name(ipaddress.ip_address(address).reverse_pointer)
