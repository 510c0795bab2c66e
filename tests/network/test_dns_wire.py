"""Messages: whatever the bytes are, reading them ends in a value or in MalformedMessage."""

import struct

import dnslib
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skiff.network.dns import wire
from skiff.network.dns.forward import addressed, keep_for_s

LABEL = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_", min_size=1, max_size=20)
NAMES = st.lists(LABEL, min_size=1, max_size=8).map(".".join)
TYPES = st.sampled_from(["A", "AAAA", "SRV", "PTR", "TXT", "CNAME", "MX", "ANY"])


def query(name: str, kind: str = "A", edns: int = -1, **header: int) -> bytes:
    made = dnslib.DNSRecord.question(name, kind)
    for key, value in header.items():
        setattr(made.header, key, value)
    if edns >= 0:
        made.add_ar(dnslib.EDNS0(udp_len=edns))
    return bytes(made.pack())


@given(NAMES, TYPES, st.sampled_from([-1, 0, 512, 1232, 65535]))
def test_queries_are_read_as_another_wrote_them(name: str, kind: str, edns: int) -> None:
    data = query(name, kind, edns)
    parsed = wire.parse_query(data)
    assert wire.decode_name(parsed.name) == name.lower()
    assert parsed.type == getattr(dnslib.QTYPE, kind)
    assert parsed.dns_class == 1
    assert parsed.question == data[12 : 12 + len(parsed.question)]
    assert parsed.edns == (-1 if edns < 0 else 0)
    assert parsed.udp_bytes == min(max(edns, 512), 1232)


@given(NAMES)
def test_names_go_both_ways(name: str) -> None:
    encoded = wire.encode_name(name)
    assert wire.decode_name(encoded) == name.lower()
    assert wire.encode_name(name + ".") == encoded
    assert wire.read_name(b"xx" + encoded, 2) == (encoded, 2 + len(encoded))


@pytest.mark.parametrize(
    "name", ["", ".", "a..b", ".a", "a" * 64, "a.b..", ".".join(["a" * 50] * 6)]
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="not a DNS name"):
        wire.encode_name(name)


@given(st.binary(max_size=200))
@example(b"")
@example(b"\0" * 11)
@example(b"\0" * 12)
@example(b"\0\1\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1")
@example(b"\0\1\1\0\0\1\0\0\0\0\0\0" + b"\x01a" * 130 + b"\0\0\1\0\1")
def test_any_bytes_are_a_query_or_malformed(data: bytes) -> None:
    try:
        wire.parse_query(data)
    except wire.MalformedMessage:
        pass


@given(NAMES, st.data())
def test_damaged_queries_are_queries_or_malformed(name: str, data: st.DataObject) -> None:
    message = bytearray(query(name, "A", 1232))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(message)))
    try:
        wire.parse_query(bytes(message[:cut]))
    except wire.MalformedMessage:
        pass


READERS = [wire.read_answers, wire.time_fields, wire.without_opt]


def response() -> dnslib.DNSRecord:
    """A response with every kind of record that holds names, compressed as dnslib does it."""
    made = dnslib.DNSRecord.question("www.example.com", "A").reply()
    made.add_answer(*dnslib.RR.fromZone("www.example.com 60 CNAME web.example.com"))
    made.add_answer(*dnslib.RR.fromZone("web.example.com 30 A 192.0.2.1"))
    made.add_answer(*dnslib.RR.fromZone("web.example.com 30 MX 10 mail.example.com"))
    made.add_answer(*dnslib.RR.fromZone("web.example.com 30 SRV 1 2 3 mail.example.com"))
    made.add_auth(
        *dnslib.RR.fromZone("example.com 90 SOA ns.example.com root.example.com 1 2 3 4 5")
    )
    made.add_ar(*dnslib.RR.fromZone("mail.example.com 20 A 192.0.2.2"))
    made.add_ar(dnslib.EDNS0(udp_len=4096))
    return made


@pytest.mark.parametrize("read", READERS)
@given(data=st.data())
def test_damaged_responses_are_read_or_malformed(read, data: st.DataObject) -> None:  # type: ignore[no-untyped-def] # one of READERS
    message = bytearray(response().pack())
    for _ in range(data.draw(st.integers(0, 5))):
        message[data.draw(st.integers(12, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(message[: data.draw(st.integers(12, len(message)))]))
    except wire.MalformedMessage:
        pass


def test_answers_are_uncompressed() -> None:
    found = wire.read_answers(bytes(response().pack()))
    assert [(wire.decode_name(r.owner), r.type, r.ttl_s) for r in found] == [
        ("www.example.com", wire.CNAME, 60),
        ("web.example.com", wire.A, 30),
        ("web.example.com", wire.MX, 30),
        ("web.example.com", wire.SRV, 30),
    ]
    mail = wire.encode_name("mail.example.com")
    assert found[0].data == wire.encode_name("web.example.com")
    assert found[1].data == bytes([192, 0, 2, 1])
    assert found[2].data == b"\0\x0a" + mail
    assert found[3].data == b"\0\1\0\2\0\3" + mail


def test_pointers_in_circles_end() -> None:
    head = struct.pack("!HHHHHH", 1, 0x8180, 0, 1, 0, 0)
    for name in (b"\xc0\x0c", b"\x01a\xc0\x0c", b"\xc0\x0e\xc0\x0c"):
        with pytest.raises(wire.MalformedMessage):
            wire.read_answers(head + name + struct.pack("!HHIH", 1, 1, 1, 0))


def test_an_opt_record_that_was_not_asked_for_is_taken_out() -> None:
    plain = wire.parse_query(query("WWW.example.com"))
    found = dnslib.DNSRecord.parse(addressed(plain, bytes(response().pack())))
    assert [dnslib.QTYPE[r.rtype] for r in found.ar] == ["A"]
    assert str(found.q.qname) == "WWW.example.com."
    assert found.header.id == plain.id
    with_edns = wire.parse_query(query("www.example.com", edns=1232))
    found = dnslib.DNSRecord.parse(addressed(with_edns, bytes(response().pack())))
    assert [dnslib.QTYPE[r.rtype] for r in found.ar] == ["A", "OPT"]


@pytest.mark.parametrize(
    ("records", "code", "seconds"),
    [
        (["a. 60 A 192.0.2.1", "a. 30 A 192.0.2.2"], 0, 30),
        (["a. 99999 A 192.0.2.1"], 0, 300),
        (["a. 0 A 192.0.2.1"], 0, 0),
        ([], 0, 5),
        ([], 3, 5),
        ([], 2, 0),
        ([], 5, 0),
    ],
)
def test_how_long_answers_are_kept(records: list[str], code: int, seconds: int) -> None:
    made = dnslib.DNSRecord.question("a", "A").reply()
    made.header.rcode = code
    for text in records:
        made.add_answer(*dnslib.RR.fromZone(text))
    assert keep_for_s(bytes(made.pack())) == seconds


def test_negative_answers_are_kept_no_longer_than_their_soa_says() -> None:
    made = dnslib.DNSRecord.question("a", "A").reply()
    made.header.rcode = 3
    made.add_auth(
        *dnslib.RR.fromZone("example.com 2 SOA ns.example.com root.example.com 1 2 3 4 5")
    )
    assert keep_for_s(bytes(made.pack())) == 2
