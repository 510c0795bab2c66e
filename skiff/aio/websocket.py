"""WebSocket framing (RFC 6455), sans I/O: bytes in, messages out; calls in, bytes to send out.

Both roles. Pings are answered and the closing handshake is done here; extensions are never
negotiated. Fragmented messages are joined, up to a bound.

Not here: sockets (`skiff.aio.channels`), HTTP. `accept_key` and `client_headers` are the parts of
the opening handshake that are not plain HTTP.
"""

import base64
import hashlib
import struct
from dataclasses import dataclass

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

# Close codes (RFC 6455 section 7.4.1).
NORMAL, GOING_AWAY, PROTOCOL_ERROR_CODE, BAD_DATA, TOO_BIG, INTERNAL = (
    1000, 1001, 1002, 1007, 1009, 1011,
)  # fmt: skip
NO_STATUS = 1005

MAX_MESSAGE_BYTES = 32 << 20


class ProtocolError(Exception):
    """The peer broke the protocol; `code` is the close code that says how."""

    def __init__(self, message: str, code: int = PROTOCOL_ERROR_CODE) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Message:
    """One whole message. `text` says which kind; text is checked to be UTF-8."""

    data: bytes
    text: bool = False


@dataclass(frozen=True, slots=True)
class PongReceived:
    """The answer to a ping."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The peer closes: nothing more comes."""

    code: int
    reason: str


Event = Message | PongReceived | Closed


def accept_key(key: str) -> str:
    """The `Sec-WebSocket-Accept` that answers `Sec-WebSocket-Key` (section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()  # noqa: S324 - the protocol's hash


def client_headers(nonce: bytes, protocols: tuple[str, ...]) -> dict[str, str]:
    """The headers of an opening request; `nonce` is 16 random bytes."""
    headers = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": base64.b64encode(nonce).decode(),
    }
    if protocols:
        headers["sec-websocket-protocol"] = ", ".join(protocols)
    return headers


class WebSocket:
    """One connection's framing state. A client hands in `mask`, 4 random bytes (clients must mask;
    one mask for the connection is enough here, where no intermediary can be confused)."""

    def __init__(
        self, *, client: bool, mask: bytes = b"", max_message_bytes: int = MAX_MESSAGE_BYTES
    ) -> None:
        assert not client or len(mask) == 4, "a client must mask"
        self._client = client
        self._mask = mask
        self._max = max_message_bytes
        self._inbox = bytearray()
        self._outbox: list[bytes] = []
        self._parts: list[bytes] = []
        self._opcode = 0
        self.close_sent = False
        self.close_received = False

    # -- sending -----------------------------------------------------------------------------

    def take(self) -> bytes:
        """The bytes to send; empties the queue."""
        data = b"".join(self._outbox)
        self._outbox.clear()
        return data

    def send(self, data: bytes, *, text: bool = False) -> None:
        """Queue one message; nothing once a close was sent."""
        if not self.close_sent:
            self._frame(TEXT if text else BINARY, data)

    def ping(self, data: bytes = b"") -> None:
        """Queue a ping."""
        if not self.close_sent:
            self._frame(PING, data)

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Queue the close frame, once."""
        if not self.close_sent:
            payload = b"" if code == NO_STATUS else struct.pack(">H", code) + reason.encode()[:123]
            self._frame(CLOSE, payload)
            self.close_sent = True

    def _frame(self, opcode: int, payload: bytes) -> None:
        length = len(payload)
        masked = 0x80 if self._client else 0
        if length < 126:
            head = struct.pack(">BB", 0x80 | opcode, masked | length)
        elif length < 65536:
            head = struct.pack(">BBH", 0x80 | opcode, masked | 126, length)
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, masked | 127, length)
        self._outbox.append(head)
        if self._client:
            self._outbox.append(self._mask)
            payload = _xor(payload, self._mask)
        self._outbox.append(payload)

    # -- receiving ---------------------------------------------------------------------------

    def feed(self, data: bytes) -> list[Event]:
        """Take received bytes and return what they mean. Raises ProtocolError; the close frame
        that says so is then queued."""
        self._inbox += data
        events: list[Event] = []
        try:
            while not self.close_received and self._next_frame(events):
                pass
        except ProtocolError as e:
            self.close(e.code, str(e))
            raise
        return events

    def _next_frame(self, events: list[Event]) -> bool:
        box = self._inbox
        if len(box) < 2:
            return False
        fin, opcode = bool(box[0] & 0x80), box[0] & 0x0F
        masked, length, offset = bool(box[1] & 0x80), box[1] & 0x7F, 2
        if box[0] & 0x70:
            raise ProtocolError("reserved bits are set")
        if masked == self._client:
            raise ProtocolError("frame is masked" if masked else "frame is not masked")
        if length == 126:
            if len(box) < 4:
                return False
            (length,) = struct.unpack_from(">H", box, 2)
            offset = 4
        elif length == 127:
            if len(box) < 10:
                return False
            (length,) = struct.unpack_from(">Q", box, 2)
            offset = 10
        if length + sum(map(len, self._parts)) > self._max:
            raise ProtocolError("message is too big", TOO_BIG)
        mask_at, offset = offset, offset + (4 if masked else 0)
        if len(box) < offset + length:
            return False
        payload = bytes(box[offset : offset + length])
        if masked:
            payload = _xor(payload, bytes(box[mask_at:offset]))
        del box[: offset + length]
        if opcode >= CLOSE:
            self._on_control(opcode, fin, payload, events)
        else:
            self._on_data(opcode, fin, payload, events)
        return True

    def _on_data(self, opcode: int, fin: bool, payload: bytes, events: list[Event]) -> None:
        if opcode == CONTINUATION:
            if not self._opcode:
                raise ProtocolError("continuation of nothing")
        elif opcode in (TEXT, BINARY):
            if self._opcode:
                raise ProtocolError("a new message inside a fragmented one")
            self._opcode = opcode
        else:
            raise ProtocolError(f"unknown opcode {opcode}")
        self._parts.append(payload)
        if not fin:
            return
        data = b"".join(self._parts)
        text = self._opcode == TEXT
        self._parts.clear()
        self._opcode = 0
        if text:
            try:
                data.decode()
            except UnicodeDecodeError as e:
                raise ProtocolError("text is not UTF-8", BAD_DATA) from e
        events.append(Message(data, text))

    def _on_control(self, opcode: int, fin: bool, payload: bytes, events: list[Event]) -> None:
        if not fin or len(payload) > 125:
            raise ProtocolError("control frame is fragmented or too long")
        if opcode == PING:
            if not self.close_sent:
                self._frame(PONG, payload)
        elif opcode == PONG:
            events.append(PongReceived(payload))
        elif opcode == CLOSE:
            if len(payload) == 1:
                raise ProtocolError("close frame is cut short")
            code = struct.unpack_from(">H", payload)[0] if payload else NO_STATUS
            self.close_received = True
            self.close(code if code != NO_STATUS else NORMAL)
            events.append(Closed(code, payload[2:].decode(errors="replace")))
        else:
            raise ProtocolError(f"unknown opcode {opcode}")


def _xor(data: bytes, mask: bytes) -> bytes:
    """`data` with the 4-byte `mask` over it; big integers do it at memory speed."""
    count = len(data)
    if not count:
        return data
    pad = (mask * (count // 4 + 1))[:count]
    return (int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")).to_bytes(count, "big")
