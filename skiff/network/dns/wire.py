"""DNS messages: as much of RFC 1035 (and EDNS, RFC 6891) as a name server for one zone needs. Pure.

Names are wire bytes in lower case, uncompressed, root label included. Whatever the bytes are, reading
them raises nothing but `MalformedMessage`.
"""

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, DNAME, OPT, ANY = (
    1,
    2,
    5,
    6,
    12,
    15,
    16,
    28,
    33,
    39,
    41,
    255,
)
CLASS_IN, CLASS_ANY = 1, 255

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16

FLAG_RESPONSE = 0x8000
FLAG_AUTHORITATIVE = 0x0400
FLAG_TRUNCATED = 0x0200
FLAG_RECURSION_DESIRED = 0x0100
FLAG_RECURSION_AVAILABLE = 0x0080
OPCODE_MASK = 0x7800

HEADER = struct.Struct("!HHHHHH")
TYPE_CLASS = struct.Struct("!HH")
RECORD = struct.Struct("!HHIH")
QUESTION_POINTER = b"\xc0\x0c"
"""A compressed name: "the one at offset 12", where the question's name stands."""

UDP_PLAIN_BYTES = 512
UDP_MAX_BYTES = 1232
MESSAGE_MAX_BYTES = 65535
MAX_LABEL = 63
MAX_NAME = 255
MAX_POINTERS = 64

# Where names stand in a record's data: how many bytes before, how many names.
_NAMES_IN_DATA = {NS: (0, 1), CNAME: (0, 1), PTR: (0, 1), DNAME: (0, 1), MX: (2, 1), SRV: (6, 1), SOA: (0, 2)}  # fmt: skip


class MalformedMessage(Exception):
    """Bytes that are no DNS message, or not one that was asked for."""


class Query(msgspec.Struct, frozen=True, gc=False):
    """One question. `name` is the wire name in lower case; `question` the question as sent (case kept);
    `udp_bytes` how large an answer over UDP may be; `edns` the version of the query's OPT record, -1
    where it had none."""

    id: int
    flags: int
    name: bytes
    type: int
    dns_class: int
    question: bytes
    udp_bytes: int = UDP_PLAIN_BYTES
    edns: int = -1

    @property
    def opcode(self) -> int:
        return (self.flags >> 11) & 0xF


class Record(NamedTuple):
    """One resource record, its names uncompressed."""

    owner: bytes
    type: int
    dns_class: int
    ttl_s: int
    data: bytes


def parse_query(data: bytes) -> Query:
    """Read a query. Raises MalformedMessage."""
    try:
        ident, flags, questions, answers, authorities, additional = HEADER.unpack_from(data)
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
        qtype, qclass = TYPE_CLASS.unpack_from(data, end)
    except (IndexError, struct.error) as e:
        raise MalformedMessage("the message is cut short") from e
    stop = end + 4
    name, question = data[12:end].lower(), data[12:stop]
    if additional and not answers and not authorities:
        opt = _opt(data, stop, additional)
        if opt is not None:
            size, version = opt
            udp_bytes = min(max(size, UDP_PLAIN_BYTES), UDP_MAX_BYTES)
            return Query(ident, flags, name, qtype, qclass, question, udp_bytes, version)
    return Query(ident, flags, name, qtype, qclass, question)


def _opt(data: bytes, at: int, additional: int) -> tuple[int, int] | None:
    """UDP size and version of the OPT record among the additional ones."""
    if data[at : at + 3] == b"\0\0\x29" and len(data) >= at + 11:
        _, size, ttl, _ = RECORD.unpack_from(data, at + 1)
        return size, (ttl >> 16) & 0xFF
    for _ in range(additional):
        name_end = skip_name(data, at)
        rtype, size, ttl, length = _record_head(data, name_end)
        if rtype == OPT:
            return size, (ttl >> 16) & 0xFF
        at = name_end + 10 + length
    return None


def opt_record(rcode: int = NOERROR) -> bytes:
    """Our OPT record; it carries the upper bits of `rcode`."""
    return b"\0" + RECORD.pack(OPT, UDP_MAX_BYTES, (rcode >> 4) << 24, 0)


OPT_RECORD = opt_record()


class Answer(msgspec.Struct, frozen=True):
    """The part of a response that does not depend on who asks: counts and record bytes.

    `stride` is the length of each answer where all have the same (addresses): they can be turned.
    `alias` is the name that a CNAME leads to, for whoever asked for something else."""

    rcode: int
    answers: int
    authorities: int
    additional: int
    records: bytes
    authoritative: bool = True
    stride: int = 0
    alias: bytes = b""

    def response(self, query: Query, limit: int, turn: int = 0) -> bytes:
        """The whole message to `query`; where it is longer than `limit`, as many answers as fit, and TC.
        `turn` tells with which of several addresses to begin."""
        flags = FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | (self.rcode & 0xF)
        flags |= query.flags & (FLAG_RECURSION_DESIRED | OPCODE_MASK)
        if self.authoritative:
            flags |= FLAG_AUTHORITATIVE
        records = self.records
        if self.stride and self.answers > 1:
            cut = turn % self.answers * self.stride
            end = self.answers * self.stride
            records = records[cut:end] + records[:cut] + records[end:]
        if query.edns < 0:
            head = HEADER.pack(query.id, flags, 1, self.answers, self.authorities, self.additional)
            message = head + query.question + records
        else:
            head = HEADER.pack(
                query.id, flags, 1, self.answers, self.authorities, self.additional + 1
            )
            message = head + query.question + records + opt_record(self.rcode)
        return message if len(message) <= limit else truncate(message, query, limit)


def failure(query: Query, rcode: int) -> bytes:
    """A response that only carries `rcode`."""
    return Answer(rcode, 0, 0, 0, b"", authoritative=False).response(query, MESSAGE_MAX_BYTES)


def truncate(message: bytes, query: Query, limit: int) -> bytes:
    """`message` (an answer to `query`) with only those answers that fit into `limit`, and the TC flag
    (RFC 2181, section 9)."""
    flags, _, answers, _, _ = struct.unpack_from("!HHHHH", message, 2)
    tail = OPT_RECORD if query.edns >= 0 else b""
    end, kept = 12 + len(query.question), 0
    for _ in range(answers):
        after = skip_record(message, end)
        if after + len(tail) > limit:
            break
        end, kept = after, kept + 1
    head = HEADER.pack(query.id, flags | FLAG_TRUNCATED, 1, kept, 0, 1 if tail else 0)
    return head + message[12:end] + tail


def encode_name(name: str) -> bytes:
    """A dotted name as wire bytes, lower case. Raises ValueError for empty or long labels."""
    out = bytearray()
    for label in name.removesuffix(".").lower().split("."):
        raw = label.encode()
        if not 0 < len(raw) <= MAX_LABEL:
            raise ValueError(f"not a DNS name: {name!r}")
        out.append(len(raw))
        out += raw
    out.append(0)
    if len(out) > MAX_NAME:
        raise ValueError(f"not a DNS name: {name!r}")
    return bytes(out)


def decode_name(wire: bytes) -> str:
    """Wire bytes (uncompressed) as a dotted name."""
    labels, at = [], 0
    while wire[at]:
        labels.append(wire[at + 1 : at + 1 + wire[at]].decode(errors="replace"))
        at += wire[at] + 1
    return ".".join(labels)


# Reading responses


def skip_name(message: bytes, at: int) -> int:
    """Where the name at `at` ends. Raises MalformedMessage."""
    try:
        while True:
            length = message[at]
            if length >= 0xC0:
                return at + 2
            if length > MAX_LABEL:
                raise MalformedMessage("a label of an unknown kind")
            at += length + 1
            if length == 0:
                return at
    except IndexError as e:
        raise MalformedMessage("a name is cut short") from e


def _record_head(message: bytes, at: int) -> tuple[int, int, int, int]:
    """Type, class, time to live and length of the data, of the record whose name ends at `at`."""
    try:
        rtype, rclass, ttl, length = RECORD.unpack_from(message, at)
    except struct.error as e:
        raise MalformedMessage("a record is cut short") from e
    if at + 10 + length > len(message):
        raise MalformedMessage("a record's data is cut short")
    return rtype, rclass, ttl, length


def skip_record(message: bytes, at: int) -> int:
    """Where the record at `at` ends. Raises MalformedMessage."""
    at = skip_name(message, at)
    return at + 10 + _record_head(message, at)[3]


def read_name(message: bytes, at: int) -> tuple[bytes, int]:
    """The name at `at`, uncompressed, and where it ends. Raises MalformedMessage."""
    labels, end, pointers = bytearray(), 0, 0
    try:
        while (length := message[at]) != 0:
            if length >= 0xC0:
                pointers += 1
                end = end or at + 2
                at = ((length & 0x3F) << 8) | message[at + 1]
            elif length > MAX_LABEL:
                raise MalformedMessage("a label of an unknown kind")
            else:
                label = message[at : at + 1 + length]
                if len(label) <= length:
                    raise MalformedMessage("a name is cut short")
                labels += label
                at += length + 1
            if len(labels) >= MAX_NAME or pointers > MAX_POINTERS:
                raise MalformedMessage("a name is too long, or points in circles")
    except IndexError as e:
        raise MalformedMessage("a name is cut short") from e
    return bytes(labels) + b"\0", end or at + 1


def read_answers(message: bytes) -> list[Record]:
    """The answer section, every name in it uncompressed. Raises MalformedMessage."""
    try:
        _, _, questions, answers, _, _ = HEADER.unpack_from(message)
    except struct.error as e:
        raise MalformedMessage("the header is cut short") from e
    at = 12
    for _ in range(questions):
        at = skip_name(message, at) + 4
    found = []
    for _ in range(answers):
        owner, at = read_name(message, at)
        rtype, rclass, ttl, length = _record_head(message, at)
        found.append(
            Record(owner, rtype, rclass, ttl, _plain_data(message, at + 10, rtype, length))
        )
        at += 10 + length
    return found


def _plain_data(message: bytes, at: int, rtype: int, length: int) -> bytes:
    before, names = _NAMES_IN_DATA.get(rtype, (length, 0))
    out, end = bytearray(message[at : at + before]), at + length
    at += before
    for _ in range(names):
        name, at = read_name(message, at)
        out += name
    return bytes(out + message[at:end])


def time_fields(message: bytes) -> list[int]:
    """Where each record's time to live stands (OPT has none). Raises MalformedMessage where `message`
    is not a whole response."""
    try:
        _, _, questions, *counts = HEADER.unpack_from(message)
    except struct.error as e:
        raise MalformedMessage("the header is cut short") from e
    at, found = 12, []
    for _ in range(questions):
        at = skip_name(message, at) + 4
    for _ in range(sum(counts)):
        at = skip_name(message, at)
        rtype, _, _, length = _record_head(message, at)
        if rtype != OPT:
            found.append(at + 4)
        at += 10 + length
    return found


def without_opt(message: bytes) -> bytes:
    """`message` without the OPT record in its additional section, if it has one. Raises MalformedMessage."""
    ident, flags, questions, answers, authorities, additional = HEADER.unpack_from(message)
    at = 12
    for _ in range(questions):
        at = skip_name(message, at) + 4
    for _ in range(answers + authorities):
        at = skip_record(message, at)
    parts, kept = [message[12:at]], 0
    for _ in range(additional):
        end = skip_record(message, at)
        if message[at : at + 3] != b"\0\0\x29":
            parts.append(message[at:end])
            kept += 1
        at = end
    return HEADER.pack(ident, flags, questions, answers, authorities, kept) + b"".join(parts)


# Making records


def record(owner: bytes, rtype: int, ttl_s: int, data: bytes) -> bytes:
    """One resource record."""
    return owner + RECORD.pack(rtype, CLASS_IN, ttl_s, len(data)) + data


def owned(records: bytes, owner: bytes) -> Iterator[bytes]:
    """Records that were made for "the name in the question", under their own name instead."""
    at = 0
    while at < len(records):
        end = skip_record(records, at)
        one = records[at:end]
        yield owner + one[2:] if one.startswith(QUESTION_POINTER) else one
        at = end


def address_data(address: str) -> tuple[int, bytes]:
    """The record type and data for an IP address. Raises ValueError."""
    ip = ipaddress.ip_address(address)
    return (A if ip.version == 4 else AAAA), ip.packed


def srv_data(priority: int, weight: int, port: int, target: bytes) -> bytes:
    """An SRV record's data (RFC 2782)."""
    return struct.pack("!HHH", priority, weight, port) + target


def txt_data(texts: Iterable[str]) -> bytes:
    """A TXT record's data."""
    return b"".join(bytes([len(t)]) + t.encode() for t in texts)


def soa_data(name_server: bytes, mailbox: bytes, serial: int, minimum_s: int) -> bytes:
    """An SOA record's data."""
    return name_server + mailbox + struct.pack("!IIIII", serial, 7200, 1800, 86400, minimum_s)


def reverse_name(address: str) -> bytes:
    """The name under in-addr.arpa or ip6.arpa that a PTR query for `address` asks for."""
    return encode_name(ipaddress.ip_address(address).reverse_pointer)
