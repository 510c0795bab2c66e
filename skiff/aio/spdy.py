"""SPDY/3.1 framing, sans I/O: bytes in, events out; calls in, bytes to send out.

kubectl up to 1.30, client-go's SPDY executor and every CRI runtime's streaming server multiplex
exec, attach and port-forward over SPDY/3.1 (draft-mbelshe-httpbis-spdy-00, the 3.1 revision adds
the session window). A `Session` holds the compression contexts and stream states of one
connection, in the role of client (odd stream ids) or server (even ids).

Flow control is off by default: the SPDY library on the other side of every Kubernetes connection
(moby/spdystream) neither sends WINDOW_UPDATE nor observes windows, so observing them here would
stall every stream after 64 KiB. With `flow_control=True` both windows are kept and data beyond
them is queued.

Not here: sockets (`skiff.aio.channels`), pushed streams, CREDENTIAL frames.
"""

import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Headers = tuple[tuple[str, str], ...]

VERSION = 3
DEFAULT_WINDOW_BYTES = 65536
# A control frame is a few hundred bytes here; a peer that announces more is refused.
MAX_CONTROL_BYTES = 1 << 20
MAX_DATA_BYTES = (1 << 24) - 1
MAX_STREAM_ID = (1 << 31) - 1

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = (
    1, 2, 3, 4, 6, 7, 8, 9,
)  # fmt: skip
FLAG_FIN = 0x01
FLAG_UNIDIRECTIONAL = 0x02
SETTING_INITIAL_WINDOW = 7

# Statuses of RST_STREAM.
PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, CANCEL, INTERNAL_ERROR = 1, 2, 3, 5, 6
FLOW_CONTROL_ERROR, STREAM_IN_USE, STREAM_ALREADY_CLOSED = 7, 8, 9


def _dictionary() -> bytes:
    words = (
        "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|"
        "accept-ranges|age|allow|authorization|cache-control|connection|content-base|"
        "content-encoding|content-language|content-length|content-location|content-md5|"
        "content-range|content-type|date|etag|expect|expires|from|host|if-match|"
        "if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|location|"
        "max-forwards|pragma|proxy-authenticate|proxy-authorization|range|referer|retry-after|"
        "server|te|trailer|transfer-encoding|upgrade|user-agent|vary|via|warning|"
        "www-authenticate|method|get|status|200 OK|version|HTTP/1.1|url|public|set-cookie|"
        "keep-alive|origin"
    )
    tail = (
        "1001012012022052063003023033043053063074024054064074084094104114124134144154164175025045"
        "05203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401"
        " Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 S"
        "ervice UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, We"
        "d, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xm"
        "l,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdc"
        "hcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
    )
    return (
        b"".join(struct.pack(">I", len(w)) + w.encode() for w in words.split("|")) + tail.encode()
    )


# The compression dictionary of header blocks (draft section 2.6.10.1).
DICTIONARY = _dictionary()


class ProtocolError(Exception):
    """The peer broke the protocol: the connection is of no more use."""


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream; answer with `reply` or `reset`."""

    stream: int
    headers: Headers
    fin: bool = False


@dataclass(frozen=True, slots=True)
class StreamReplied:
    """The peer accepted our stream."""

    stream: int
    headers: Headers
    fin: bool = False


@dataclass(frozen=True, slots=True)
class HeadersReceived:
    """More headers on an open stream."""

    stream: int
    headers: Headers
    fin: bool = False


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Bytes on a stream; `fin` ends the peer's half. A frame may come as several of these."""

    stream: int
    data: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The peer ended a stream abruptly."""

    stream: int
    status: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to our ping."""

    ping: int


@dataclass(frozen=True, slots=True)
class WentAway:
    """The peer opens no more streams and accepts none above `last_stream`."""

    last_stream: int
    status: int


@dataclass(frozen=True, slots=True)
class SettingsReceived:
    """The peer's settings, by id."""

    settings: Mapping[int, int]


Event = (
    StreamOpened | StreamReplied | HeadersReceived | DataReceived | StreamReset | Pong | WentAway
    | SettingsReceived
)  # fmt: skip


@dataclass(slots=True)
class _Stream:
    """One stream's halves and windows. It is forgotten once both halves are closed."""

    local_open: bool = True
    remote_open: bool = True
    send_window: int = DEFAULT_WINDOW_BYTES
    queue: list[tuple[bytes, bool]] = field(default_factory=list)


class Session:
    """One connection's framing state."""

    def __init__(self, *, client: bool, flow_control: bool = False) -> None:
        self._client = client
        self._flow_control = flow_control
        self._next_stream = 1 if client else 2
        self._next_ping = 1 if client else 2
        self._last_peer_stream = 0
        self._streams: dict[int, _Stream] = {}
        self._compress = zlib.compressobj(zdict=DICTIONARY)
        self._decompress = zlib.decompressobj(zdict=DICTIONARY)
        self._inbox = bytearray()
        self._outbox: list[bytes] = []
        # The data frame that is being received: stream, bytes still to come, fin.
        self._data: tuple[int, int, bool] | None = None
        self._initial_window = DEFAULT_WINDOW_BYTES
        self._session_window = DEFAULT_WINDOW_BYTES
        self.gone = False

    # -- sending -----------------------------------------------------------------------------

    def take(self) -> bytes:
        """The bytes to send; empties the queue."""
        data = b"".join(self._outbox)
        self._outbox.clear()
        return data

    def open(self, headers: Iterable[tuple[str, str]], *, fin: bool = False) -> int:
        """Open a stream and return its id."""
        stream = self._next_stream
        if stream > MAX_STREAM_ID or self.gone:
            raise ProtocolError("no more streams can be opened on this connection")
        self._next_stream += 2
        self._streams[stream] = _Stream(local_open=not fin, send_window=self._initial_window)
        body = struct.pack(">IIBB", stream, 0, 0, 0) + self._pack_headers(headers)
        self._control(SYN_STREAM, FLAG_FIN if fin else 0, body)
        return stream

    def reply(
        self, stream: int, headers: Iterable[tuple[str, str]] = (), *, fin: bool = False
    ) -> None:
        """Accept a stream that the peer opened."""
        body = struct.pack(">I", stream) + self._pack_headers(headers)
        self._control(SYN_REPLY, FLAG_FIN if fin else 0, body)
        if fin:
            self._close_local(stream)

    def send(self, stream: int, data: bytes, *, fin: bool = False) -> None:
        """Queue bytes on a stream; silently nothing where our half is already closed."""
        state = self._streams.get(stream)
        if state is None or not state.local_open:
            return
        if self._flow_control:
            state.queue.append((data, fin))
            self._flush(stream, state)
            return
        self._data_frames(stream, data, fin)
        if fin:
            self._close_local(stream)

    def pending(self, stream: int) -> int:
        """Bytes that wait for the peer's window."""
        state = self._streams.get(stream)
        return sum(len(d) for d, _ in state.queue) if state else 0

    def reset(self, stream: int, status: int = CANCEL) -> None:
        """End a stream abruptly."""
        self._streams.pop(stream, None)
        self._control(RST_STREAM, 0, struct.pack(">II", stream, status))

    def ping(self) -> int:
        """Send a ping; `Pong` with the returned id answers it."""
        ping = self._next_ping
        self._next_ping += 2
        self._control(PING, 0, struct.pack(">I", ping))
        return ping

    def go_away(self, status: int = 0) -> None:
        """Say that no more streams are accepted."""
        self._control(GOAWAY, 0, struct.pack(">II", self._last_peer_stream, status))

    def settings(self, values: Mapping[int, int]) -> None:
        """Send settings, by id."""
        entries = b"".join(struct.pack(">II", k & 0xFFFFFF, v) for k, v in values.items())
        self._control(SETTINGS, 0, struct.pack(">I", len(values)) + entries)

    def consumed(self, stream: int, count: int) -> None:
        """Give the peer `count` bytes of window back (flow control only)."""
        if self._flow_control and count:
            if stream in self._streams:
                self._control(WINDOW_UPDATE, 0, struct.pack(">II", stream, count))
            self._control(WINDOW_UPDATE, 0, struct.pack(">II", 0, count))

    def _control(self, kind: int, flags: int, body: bytes) -> None:
        self._outbox.append(struct.pack(">HHI", 0x8000 | VERSION, kind, flags << 24 | len(body)))
        self._outbox.append(body)

    def _data_frames(self, stream: int, data: bytes, fin: bool) -> None:
        for start in range(0, len(data), MAX_DATA_BYTES) or (0,):
            part = data[start : start + MAX_DATA_BYTES]
            last = fin and start + len(part) == len(data)
            flags = FLAG_FIN if last else 0
            self._outbox.append(struct.pack(">II", stream, flags << 24 | len(part)))
            self._outbox.append(part)

    def _flush(self, stream: int, state: _Stream) -> None:
        while state.queue:
            data, fin = state.queue[0]
            room = min(state.send_window, self._session_window)
            if data and room <= 0:
                return
            part = data[: max(room, 0)]
            state.send_window -= len(part)
            self._session_window -= len(part)
            if len(part) < len(data):
                self._data_frames(stream, part, False)
                state.queue[0] = (data[len(part) :], fin)
                continue
            self._data_frames(stream, part, fin)
            state.queue.pop(0)
            if fin:
                self._close_local(stream)
                return

    def _close_local(self, stream: int) -> None:
        state = self._streams.get(stream)
        if state:
            state.local_open = False
            if not state.remote_open:
                del self._streams[stream]

    def _close_remote(self, stream: int) -> None:
        state = self._streams.get(stream)
        if state:
            state.remote_open = False
            if not state.local_open:
                del self._streams[stream]

    # -- receiving ---------------------------------------------------------------------------

    def feed(self, data: bytes) -> list[Event]:
        """Take received bytes and return what they mean. Raises ProtocolError."""
        self._inbox += data
        events: list[Event] = []
        while True:
            if self._data is not None:
                if not self._feed_data(events):
                    return events
                continue
            if len(self._inbox) < 8:
                return events
            first, second = struct.unpack_from(">II", self._inbox)
            flags, length = second >> 24, second & 0xFFFFFF
            if not first & 0x80000000:
                del self._inbox[:8]
                self._data = (first, length, bool(flags & FLAG_FIN))
                continue
            if length > MAX_CONTROL_BYTES:
                raise ProtocolError(f"control frame of {length} bytes is too long")
            if len(self._inbox) < 8 + length:
                return events
            body = bytes(self._inbox[8 : 8 + length])
            del self._inbox[: 8 + length]
            if first >> 16 & 0x7FFF != VERSION:
                raise ProtocolError(f"unsupported SPDY version {first >> 16 & 0x7FFF}")
            try:
                self._on_control(first & 0xFFFF, flags, body, events)
            except (struct.error, zlib.error, UnicodeDecodeError) as e:
                raise ProtocolError(f"malformed control frame {first & 0xFFFF}: {e}") from e

    def _feed_data(self, events: list[Event]) -> bool:
        """Move bytes of the current data frame to events; False where more must come first."""
        assert self._data is not None
        stream, left, fin = self._data
        if left and not self._inbox:
            return False
        part = bytes(self._inbox[:left])
        del self._inbox[: len(part)]
        left -= len(part)
        self._data = (stream, left, fin) if left else None
        state = self._streams.get(stream)
        if state is None or not state.remote_open:
            if left == 0:
                self.consumed(stream, len(part))
            return True
        ends = fin and not left
        if ends:
            self._close_remote(stream)
        if part or ends:
            events.append(DataReceived(stream, part, ends))
        return True

    def _on_control(self, kind: int, flags: int, body: bytes, events: list[Event]) -> None:
        fin = bool(flags & FLAG_FIN)
        if kind == SYN_STREAM:
            (stream,) = struct.unpack_from(">I", body)
            headers = self._unpack_headers(body[10:])
            self._on_syn_stream(stream & MAX_STREAM_ID, headers, flags, events)
        elif kind in (SYN_REPLY, HEADERS):
            (stream,) = struct.unpack_from(">I", body)
            headers = self._unpack_headers(body[4:])
            if stream not in self._streams:
                return
            if fin:
                self._close_remote(stream)
            event = StreamReplied if kind == SYN_REPLY else HeadersReceived
            events.append(event(stream, headers, fin))
        elif kind == RST_STREAM:
            stream, status = struct.unpack(">II", body)
            if self._streams.pop(stream, None) is not None:
                events.append(StreamReset(stream, status))
        elif kind == PING:
            (ping,) = struct.unpack(">I", body)
            if ping % 2 == self._next_ping % 2:
                events.append(Pong(ping))
            else:
                self._control(PING, 0, body)
        elif kind == GOAWAY:
            last, status = struct.unpack(">II", body)
            self.gone = True
            events.append(WentAway(last, status))
        elif kind == SETTINGS:
            self._on_settings(body, events)
        elif kind == WINDOW_UPDATE:
            self._on_window_update(*struct.unpack(">II", body))

    def _on_syn_stream(
        self, stream: int, headers: Headers, flags: int, events: list[Event]
    ) -> None:
        if stream % 2 == self._next_stream % 2 or stream == 0:
            raise ProtocolError(f"the peer may not open stream {stream}")
        if stream <= self._last_peer_stream:
            self.reset(stream, PROTOCOL_ERROR)
            return
        self._last_peer_stream = stream
        self._streams[stream] = _Stream(
            local_open=not flags & FLAG_UNIDIRECTIONAL,
            remote_open=not flags & FLAG_FIN,
            send_window=self._initial_window,
        )
        events.append(StreamOpened(stream, headers, bool(flags & FLAG_FIN)))

    def _on_settings(self, body: bytes, events: list[Event]) -> None:
        (count,) = struct.unpack_from(">I", body)
        values: dict[int, int] = {}
        for index in range(count):
            key, value = struct.unpack_from(">II", body, 4 + index * 8)
            values[key & 0xFFFFFF] = value
        window = values.get(SETTING_INITIAL_WINDOW)
        if window is not None:
            change = window - self._initial_window
            self._initial_window = window
            for stream, state in list(self._streams.items()):
                state.send_window += change
                self._flush(stream, state)
        events.append(SettingsReceived(values))

    def _on_window_update(self, stream: int, delta: int) -> None:
        delta &= MAX_STREAM_ID
        if stream == 0:
            self._session_window += delta
        elif stream in self._streams:
            self._streams[stream].send_window += delta
        for number, state in list(self._streams.items()):
            self._flush(number, state)

    # -- header blocks -----------------------------------------------------------------------

    def _pack_headers(self, headers: Iterable[tuple[str, str]]) -> bytes:
        merged: dict[str, list[str]] = {}
        for name, value in headers:
            merged.setdefault(name.lower(), []).append(value)
        parts = [struct.pack(">I", len(merged))]
        for name, values in merged.items():
            for text in (name, "\0".join(values)):
                raw = text.encode()
                parts.append(struct.pack(">I", len(raw)) + raw)
        return self._compress.compress(b"".join(parts)) + self._compress.flush(zlib.Z_SYNC_FLUSH)

    def _unpack_headers(self, block: bytes) -> Headers:
        raw = self._decompress.decompress(block, MAX_CONTROL_BYTES)
        if self._decompress.unconsumed_tail:
            raise ProtocolError("header block is too long")
        (count,) = struct.unpack_from(">I", raw)
        offset = 4
        headers: list[tuple[str, str]] = []
        for _ in range(count):
            texts = []
            for _ in range(2):
                (length,) = struct.unpack_from(">I", raw, offset)
                offset += 4
                if offset + length > len(raw):
                    raise ProtocolError("header block is cut short")
                texts.append(raw[offset : offset + length].decode())
                offset += length
            name, values = texts
            headers.extend((name, value) for value in values.split("\0"))
        return tuple(headers)
