"""WebSocket framing: both ends of a connection, fed in pieces of any size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.aio import websocket
from skiff.aio.websocket import Closed, Message, PongReceived, ProtocolError, WebSocket

MASK = b"\x12\x34\x56\x78"


def pair() -> tuple[WebSocket, WebSocket]:
    return WebSocket(client=True, mask=MASK), WebSocket(client=False)


def test_the_accept_key_of_the_rfc():
    assert websocket.accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_the_masked_hello_of_the_rfc():
    wire = bytes([0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58])
    assert WebSocket(client=False).feed(wire) == [Message(b"Hello", text=True)]


def test_fragments_are_joined_around_control_frames():
    server = WebSocket(client=True, mask=MASK)
    assert server.feed(b"\x01\x03Hel" + b"\x89\x01p" + b"\x80\x02lo") == [Message(b"Hello", True)]
    assert server.take()[:2] == b"\x8a\x81"


@given(
    messages=st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=6),
    step=st.integers(1, 40),
    from_client=st.booleans(),
)
def test_any_cut_of_the_bytes_means_the_same(messages, step, from_client):
    client, server = pair()
    sender, receiver = (client, server) if from_client else (server, client)
    messages = [(data.hex().encode() if text else data, text) for data, text in messages]
    for data, text in messages:
        sender.send(data, text=text)
    wire = sender.take()
    events = []
    for start in range(0, len(wire), step):
        events += receiver.feed(wire[start : start + step])
    assert events == [Message(data, text) for data, text in messages]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 1 << 20])
def test_sizes(size):
    client, server = pair()
    client.send(bytes(size))
    assert server.feed(client.take()) == [Message(bytes(size))]


def test_close_is_answered_once_and_ends_sending():
    client, server = pair()
    client.close(websocket.NORMAL, "done")
    client.close(websocket.NORMAL, "again")
    client.send(b"late")
    assert server.feed(client.take()) == [Closed(1000, "done")]
    assert client.feed(server.take()) == [Closed(1000, "")]
    assert client.take() == b""


def test_ping_and_pong():
    client, server = pair()
    client.ping(b"x")
    assert server.feed(client.take()) == []
    assert client.feed(server.take()) == [PongReceived(b"x")]


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"\x81\x01a", 1002),  # not masked
        (b"\xc1\x80" + MASK, 1002),  # reserved bit
        (b"\x80\x80" + MASK, 1002),  # continuation of nothing
        (b"\x83\x80" + MASK, 1002),  # unknown opcode
        (b"\x09\x80" + MASK, 1002),  # fragmented ping
        (b"\x88\x81" + MASK + b"x", 1002),  # close of one byte
        (b"\x82\xff" + (1 << 40).to_bytes(8, "big") + MASK, 1009),
        (b"\x81\x81\0\0\0\0\xff", 1007),  # not UTF-8
    ],
)
def test_what_breaks_the_protocol_is_refused_with_a_code(wire, code):
    server = WebSocket(client=False)
    with pytest.raises(ProtocolError) as e:
        server.feed(wire)
    assert e.value.code == code
    assert server.take()[2:4] == code.to_bytes(2, "big")
