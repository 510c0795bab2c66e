"""Faults on purpose, from a seed: a transport that is slow, loses requests and answers and cuts
watches, and a store whose writers meet conflicts.

Everything above must converge whatever these do. A fault strikes before the server sees a request
(`lost`), or after it has done it (`unanswered`): the client cannot tell which.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from skiff.aio.clock import Clock
from skiff.aio.entropy import Entropy
from skiff.client.transport import (
    NO_HEADERS,
    ResponseStream,
    Transport,
    TransportResponse,
    Unreachable,
)
from skiff.store.protocol import Conflict, Entry, Page, Sink, Store, Watch


@dataclass(slots=True)
class Faults:
    """How often what goes wrong: shares of requests (0 to 1), seconds for the rest. May be changed
    while a cluster runs."""

    latency_s: float = 0.0
    """Every request takes from nothing to twice this long."""
    lost: float = 0.0
    unanswered: float = 0.0
    stream_life_s: float = 0.0
    """Watches are cut after about this long; 0: never."""
    conflict: float = 0.0
    """Writes that expect a revision and find, for once, another."""


class FaultyTransport:
    """A client's way to the server, with faults. `cut` ends it for good, as a killed process does:
    nothing that it had under way reaches the server any more."""

    def __init__(self, inner: Transport, faults: Faults, clock: Clock, entropy: Entropy) -> None:
        self._inner = inner
        self._faults = faults
        self._clock = clock
        self._random = entropy.random
        self._cut = False

    def cut(self) -> None:
        """From now on nothing passes."""
        self._cut = True

    async def request(
        self,
        method: str,
        path_and_query: str,
        body: bytes = b"",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> TransportResponse:
        faults = self._faults
        if faults.latency_s:
            await self._clock.sleep(self._random.random() * 2 * faults.latency_s)
        if self._cut or self._strikes(faults.lost):
            raise Unreachable("the API server does not answer: connection refused")
        response = await self._inner.request(method, path_and_query, body, headers)
        if self._cut or self._strikes(faults.unanswered):
            raise Unreachable("the API server does not answer: connection reset")
        return response

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        path_and_query: str,
        body: bytes = b"",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> AsyncIterator[ResponseStream]:
        faults = self._faults
        if faults.latency_s:
            await self._clock.sleep(self._random.random() * 2 * faults.latency_s)
        if self._cut or self._strikes(faults.lost):
            raise Unreachable("the API server does not answer: connection refused")
        async with self._inner.stream(method, path_and_query, body, headers) as response:
            if faults.stream_life_s:
                yield _Mortal(response, faults.stream_life_s * 2 * self._random.random())
            else:
                yield response

    def close(self) -> None:
        self._inner.close()

    def _strikes(self, share: float) -> bool:
        return share > 0.0 and self._random.random() < share


class _Mortal:
    """A stream that breaks after some seconds."""

    def __init__(self, inner: ResponseStream, life_s: float) -> None:
        self.status = inner.status
        self.headers = inner.headers
        self._inner = inner
        self._life_s = life_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        end = asyncio.get_running_loop().time() + self._life_s
        chunks = aiter(self._inner)
        while True:
            try:
                async with asyncio.timeout_at(end):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError as e:
                raise Unreachable("the API server does not answer: connection reset") from e
            yield chunk


class FaultyStore:
    """A store where some writes meet a conflict that is none: who retries as they should does not
    notice. Reads and watches are the inner store's."""

    def __init__(self, inner: Store, faults: Faults, entropy: Entropy) -> None:
        self._inner = inner
        self._faults = faults
        self._random = entropy.random

    @property
    def revision(self) -> int:
        return self._inner.revision

    @property
    def compacted(self) -> int:
        return self._inner.compacted

    def get(self, key: str) -> Entry | None:
        return self._inner.get(key)

    def latest(self, key: str) -> Entry | None:
        return self._inner.latest(key)

    def list(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        return self._inner.list(prefix, start=start, limit=limit, revision=revision)

    def commit(
        self, key: str, value: bytes | None, *, expected: int | None = None, meta: Any = None
    ) -> "asyncio.Future[int]":
        share = self._faults.conflict
        if share and expected and self._random.random() < share:
            raise Conflict(key, expected, self._inner.latest(key))
        return self._inner.commit(key, value, expected=expected, meta=meta)

    def watch(self, prefix: str, since: int, sink: Sink) -> Watch:
        return self._inner.watch(prefix, since, sink)

    def compact(self, revision: int) -> None:
        self._inner.compact(revision)

    async def close(self) -> None:
        await self._inner.close()
