"""How requests reach the API server: over HTTP, or in process.

Both transports are twins: the client above them cannot tell which it has.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from skiff.aio.clock import Clock
from skiff.aio.http import local
from skiff.aio.http.client import HttpClient, Origin
from skiff.aio.http.connection import ClientResponse
from skiff.aio.http.message import Handler, Peer, Request
from skiff.api.errors import ServiceUnavailable

REQUEST_TIMEOUT_S = 60.0
# Kubernetes' clients read a token file again at most once a minute.
TOKEN_LIFETIME_S = 60.0

TransportResponse = ClientResponse

NO_HEADERS: Mapping[str, str] = {}


class Unreachable(ServiceUnavailable):
    """The API server cannot be reached, or went away before it answered."""


class ResponseStream(Protocol):
    """A response whose bytes come over time."""

    status: int
    headers: Mapping[str, str]

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Transport(Protocol):
    """See the module's text. `path_and_query` is percent-encoded. Raises Unreachable."""

    async def request(
        self,
        method: str,
        path_and_query: str,
        body: bytes = b"",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> TransportResponse:
        """Send and collect the whole response, whatever its status."""

    def stream(
        self,
        method: str,
        path_and_query: str,
        body: bytes = b"",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> contextlib.AbstractAsyncContextManager[ResponseStream]:
        """Send and yield the response to be read as it comes."""

    def close(self) -> None:
        """Let go of connections."""


class HttpTransport:
    """Requests over HTTP/1.1. `bearer()` gives the token for the next request, empty for none."""

    def __init__(
        self,
        origin: Origin,
        *,
        bearer: Callable[[], str] | None = None,
        base_path: str = "",
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self._base_path = base_path.rstrip("/")
        self._timeout_s = timeout_s
        self._http = HttpClient(
            origin, headers=(lambda: _authorization(bearer())) if bearer else None
        )

    async def request(
        self,
        method: str,
        path_and_query: str,
        body: bytes = b"",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> TransportResponse:
        try:
            return await self._http.request(
                method,
                self._base_path + path_and_query,
                headers=headers,
                body=body,
                timeout_s=self._timeout_s,
            )
        except (ConnectionError, TimeoutError) as e:
            raise _unreachable(e) from e

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        path_and_query: str,
        body: bytes = b"",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> AsyncIterator[ResponseStream]:
        try:
            async with self._http.stream(
                method,
                self._base_path + path_and_query,
                headers=headers,
                body=body,
                timeout_s=self._timeout_s,
            ) as response:
                yield response
        except (ConnectionError, TimeoutError) as e:
            raise _unreachable(e) from e

    def close(self) -> None:
        self._http.close()


class LocalTransport:
    """Requests to a handler in this process, as `user` with `groups`. A handler that raises
    ConnectionError is a server that is not there."""

    def __init__(self, handler: Handler, user: str, groups: Sequence[str] = ()) -> None:
        self._handler = handler
        self._peer = Peer(("", 0), local=True, state={"user": (user, tuple(groups))})

    async def request(
        self,
        method: str,
        path_and_query: str,
        body: bytes = b"",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> TransportResponse:
        request = self._build(method, path_and_query, body, headers)
        try:
            return await local.call(self._handler, request)
        except (ConnectionError, TimeoutError) as e:
            raise _unreachable(e) from e

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        path_and_query: str,
        body: bytes = b"",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> AsyncIterator[ResponseStream]:
        request = self._build(method, path_and_query, body, headers)
        try:
            async with local.open_stream(self._handler, request) as response:
                yield response
        except (ConnectionError, TimeoutError) as e:
            raise _unreachable(e) from e

    def close(self) -> None:
        """Nothing is held."""

    def _build(
        self, method: str, path_and_query: str, body: bytes, headers: Mapping[str, str]
    ) -> Request:
        path, _, query = path_and_query.partition("?")
        return Request(method, path, query, headers, body, self._peer)


class TokenFile:
    """A bearer token in a file, read again when it is a minute old (projected tokens rotate)."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._token = ""
        self._read_at = -TOKEN_LIFETIME_S

    def __call__(self) -> str:
        now = self._clock.monotonic()
        if not self._token or now - self._read_at >= TOKEN_LIFETIME_S:
            try:
                self._token = self._path.read_text().strip()
                self._read_at = now
            except OSError as e:
                if not self._token:
                    raise Unreachable(f"the token file {self._path} cannot be read: {e}") from e
        return self._token


def _authorization(token: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {token}"} if token else NO_HEADERS


def _unreachable(error: Exception) -> Unreachable:
    return Unreachable(f"the API server does not answer: {error or type(error).__name__}")
