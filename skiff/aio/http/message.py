"""HTTP messages, as handlers see them, whichever transport carried them.

A handler is a plain function from `Request` to `Response` (or to an awaitable of one, for what has
to wait). A response's body is bytes, a list of byte strings (written as they are, never joined),
a `Stream` (chunked, written over time, as a watch is) or an `Upgrade` (the connection becomes raw
bytes after a 101). The same handler serves HTTP connections and the in-process transport.
"""

import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection.

    `address` is host and port; `certificate` the client certificate in DER, verified or not
    (the handshake accepts any; authentication decides); `local` marks the in-process transport.
    `state` is a scratch dict that lives as long as the connection (authentication caches there).
    """

    address: tuple[str, int]
    certificate: bytes | None = None
    tls: ssl.SSLObject | None = None
    local: bool = False
    state: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class Request:
    """One request. `path` and `query` are as sent (not percent-decoded); header names are lower
    case, a repeated header's values are joined with ", ". `repeated` has those headers' values one by
    one, for where a comma may be part of a value."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    peer: Peer = field(default_factory=lambda: Peer(("", 0), local=True))
    repeated: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def values(self, name: str) -> Sequence[str]:
        """All values of a header, in the order sent."""
        return self.repeated.get(name) or ((self.headers[name],) if name in self.headers else ())


class Writer(Protocol):
    """Where a stream's bytes go."""

    def write(self, data: bytes) -> None:
        """Queue `data`; never blocks. Raises ConnectionError where the peer has gone."""

    @property
    def buffered(self) -> int:
        """Bytes queued and not yet taken by the peer: a slow peer shows here."""

    async def drain(self) -> None:
        """Return when little is queued. Raises ConnectionError where the peer has gone."""

    async def gone(self) -> None:
        """Return when the peer has gone."""


class RawConnection(Writer, Protocol):
    """An upgraded connection: raw bytes both ways."""

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""

    def close(self) -> None:
        """Send what is queued, then close."""


Stream = Callable[[Writer], Awaitable[None]]
Upgrade = Callable[[RawConnection], Awaitable[None]]


@dataclass(slots=True)
class Response:
    """One response. `headers` hold what the handler adds; length, date and framing are the transport's.

    Exactly one of `body` (bytes or byte strings), `stream` and `upgrade` is used.
    """

    status: int = 200
    body: bytes | list[bytes] = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    stream: Stream | None = None
    upgrade: Upgrade | None = None


Handler = Callable[[Request], Response | Awaitable[Response]]
