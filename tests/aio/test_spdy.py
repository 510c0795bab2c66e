"""SPDY/3.1 framing: both ends of a connection, fed in pieces of any size."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.aio import spdy

HEADER_TEXT = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1)


def pair(**options) -> tuple[spdy.Session, spdy.Session]:
    return spdy.Session(client=True, **options), spdy.Session(client=False, **options)


def test_the_dictionary_is_the_published_one():
    assert zlib.adler32(spdy.DICTIONARY) == 0xE3C6A7C2


def test_a_stream_opens_is_answered_carries_data_and_ends():
    client, server = pair()
    stream = client.open([("StreamType", "stdin"), ("x", "1"), ("x", "2")])
    (opened,) = server.feed(client.take())
    assert opened == spdy.StreamOpened(stream, (("streamtype", "stdin"), ("x", "1"), ("x", "2")))
    server.reply(stream)
    assert client.feed(server.take()) == [spdy.StreamReplied(stream, ())]
    client.send(stream, b"hello")
    client.send(stream, b"", fin=True)
    assert server.feed(client.take()) == [
        spdy.DataReceived(stream, b"hello"),
        spdy.DataReceived(stream, b"", True),
    ]
    client.send(stream, b"after the end")
    assert client.take() == b""
    server.send(stream, b"bye", fin=True)
    assert client.feed(server.take()) == [spdy.DataReceived(stream, b"bye", True)]


def test_stream_ids_are_odd_for_clients_and_even_for_servers():
    client, server = pair()
    assert [client.open([]), client.open([])] == [1, 3]
    assert [server.open([]), server.open([])] == [2, 4]


def test_pings_are_answered_and_our_own_come_back():
    client, server = pair()
    ping = client.ping()
    assert server.feed(client.take()) == []
    assert client.feed(server.take()) == [spdy.Pong(ping)]


def test_reset_goaway_and_settings():
    client, server = pair()
    stream = client.open([])
    server.feed(client.take())
    server.reset(stream, spdy.REFUSED_STREAM)
    server.go_away(1)
    server.settings({spdy.SETTING_INITIAL_WINDOW: 10})
    assert client.feed(server.take()) == [
        spdy.StreamReset(stream, spdy.REFUSED_STREAM),
        spdy.WentAway(stream, 1),
        spdy.SettingsReceived({spdy.SETTING_INITIAL_WINDOW: 10}),
    ]
    with pytest.raises(spdy.ProtocolError):
        client.open([])


def test_data_for_an_unknown_stream_is_dropped():
    client, server = pair()
    stream = client.open([], fin=True)
    client.send(stream, b"x")
    server.feed(client.take())
    server.send(stream, b"x", fin=True)
    server.send(stream, b"y")
    assert client.feed(server.take()) == [spdy.DataReceived(stream, b"x", True)]
    assert client.feed(b"\0\0\0\x63\0\0\0\x01z") == []


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02\x00\x01\x00\x00\x00\x00",  # version 2
        b"\x80\x03\x00\x01\x00\xff\xff\xff",  # too long
        b"\x80\x03\x00\x03\x00\x00\x00\x01x",  # cut short
        b"\x80\x03\x00\x01\x00\x00\x00\x0c" + b"\0" * 10 + b"zz",  # not zlib
    ],
)
def test_malformed_frames_are_refused(data):
    with pytest.raises(spdy.ProtocolError):
        spdy.Session(client=False).feed(data)


def test_a_peer_may_not_open_streams_of_our_parity():
    client = spdy.Session(client=True)
    other = spdy.Session(client=True)
    other.open([])
    with pytest.raises(spdy.ProtocolError):
        client.feed(other.take())


def test_flow_control_queues_beyond_the_window_and_goes_on_when_it_is_given_back():
    client, server = pair(flow_control=True)
    stream = client.open([])
    data = bytes(100_000)
    client.send(stream, data, fin=True)
    events = server.feed(client.take())[1:]
    assert sum(len(e.data) for e in events) == spdy.DEFAULT_WINDOW_BYTES
    assert client.pending(stream) == 100_000 - spdy.DEFAULT_WINDOW_BYTES
    server.consumed(stream, spdy.DEFAULT_WINDOW_BYTES)
    client.feed(server.take())
    events = server.feed(client.take())
    assert sum(len(e.data) for e in events) == 100_000 - spdy.DEFAULT_WINDOW_BYTES
    assert events[-1].fin


@given(
    headers=st.lists(st.tuples(HEADER_TEXT.map(str.lower), HEADER_TEXT), max_size=5),
    chunks=st.lists(st.binary(max_size=200), max_size=8),
    step=st.integers(1, 50),
)
def test_any_cut_of_the_bytes_means_the_same(headers, chunks, step):
    client, server = pair()
    stream = client.open(headers)
    for chunk in chunks:
        client.send(stream, chunk)
    client.send(stream, b"", fin=True)
    wire = client.take()
    events = []
    for start in range(0, len(wire), step):
        events += server.feed(wire[start : start + step])
    opened, *data = events
    assert sorted(opened.headers) == sorted(headers)
    assert b"".join(e.data for e in data) == b"".join(chunks)
    assert [e.fin for e in data] == [False] * (len(data) - 1) + [True]


@given(st.binary(max_size=300))
def test_garbage_never_raises_anything_else(data):
    try:
        spdy.Session(client=False).feed(data)
    except spdy.ProtocolError:
        pass
