"""Questions about the rest of the world: asked of upstream servers, answers kept for their time to live.

One UDP socket an upstream, opened when first needed; ids are random; a truncated answer is asked for
again over TCP. Upstreams are asked in order, those that failed lately last, each with a time limit,
two rounds. A question that is being asked is not asked twice, so a loop through another server
comes to an end by itself. Which servers are upstream is asked anew for every question: a laptop
changes its network while it runs.
"""

import asyncio
import logging
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import cast

from skiff.aio.clock import Clock
from skiff.aio.entropy import Entropy
from skiff.network.dns import wire

ATTEMPT_S = 1.2
TOTAL_S = 4.5
"""A client of the C library asks again after 5 s."""
ROUNDS = 2
FAILED_FOR_S = 10.0
CACHE_ENTRIES = 4096
CACHE_MAX_S = 300
CACHE_NEGATIVE_S = 5
IN_FLIGHT_MAX = 1000
NAME_SERVER_PORT = 53

log = logging.getLogger("skiff.dns")

Address = tuple[str, int]
Key = tuple[bytes, int]


class UpstreamFailed(Exception):
    """No upstream answered."""


class ResolvConf:
    """The name servers of a resolv.conf as it is now, without `own` addresses (which would be a loop)."""

    def __init__(self, path: Path, own: Iterable[str] = ()) -> None:
        self._path = path
        self._own = frozenset(own)
        self._stamp: tuple[int, int] | None = None
        self._servers: list[Address] = []

    def __call__(self) -> Sequence[Address]:
        """The servers, in order. The file is read again when it has changed."""
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._stamp:
                self._servers = self._read(self._path.read_text(errors="replace"))
                self._stamp = stamp
        except OSError:
            self._stamp, self._servers = None, []
        return self._servers

    def _read(self, text: str) -> list[Address]:
        found = []
        for line in text.splitlines():
            words = line.split()
            if len(words) >= 2 and words[0] == "nameserver" and words[1] not in self._own:
                found.append((words[1], NAME_SERVER_PORT))
        return found


class Forwarder:
    """Resolves through what `upstreams()` gives."""

    def __init__(
        self, upstreams: Callable[[], Sequence[Address]], clock: Clock, entropy: Entropy
    ) -> None:
        self._upstreams = upstreams
        self._clock = clock
        self._entropy = entropy
        self._cache: OrderedDict[Key, _Kept] = OrderedDict()
        self._asking: dict[Key, asyncio.Future[bytes]] = {}
        self._sockets: dict[Address, _Upstream] = {}
        self._failed: dict[Address, float] = {}

    def close(self) -> None:
        """Close the sockets."""
        for upstream in self._sockets.values():
            upstream.transport.close()
        self._sockets.clear()

    def cached(self, query: wire.Query) -> bytes | None:
        """The kept response to `query`, its id and question put in place; None where there is none."""
        kept = self._cache.get((query.name, query.type))
        if kept is None:
            return None
        now = self._clock.monotonic()
        if kept.expires <= now:
            del self._cache[query.name, query.type]
            return None
        return addressed(query, kept.aged(now))

    async def resolve(self, query: wire.Query) -> bytes:
        """The response to `query`. Raises UpstreamFailed."""
        key = (query.name, query.type)
        asking = self._asking.get(key)
        if asking is not None:
            return addressed(query, await asyncio.shield(asking))
        if len(self._asking) >= IN_FLIGHT_MAX:
            raise UpstreamFailed("too many questions are being asked")
        asking = self._asking[key] = asyncio.get_running_loop().create_future()
        try:
            message = await self._ask_all(query)
        except BaseException as e:
            failed = e if isinstance(e, UpstreamFailed) else UpstreamFailed("was given up")
            asking.set_exception(failed)
            asking.exception()  # it is seen, also where nobody else waits
            raise
        finally:
            del self._asking[key]
        asking.set_result(message)
        self._keep(key, message)
        return addressed(query, message)

    async def _ask_all(self, query: wire.Query) -> bytes:
        now = self._clock.monotonic()
        failed = {a for a, when in self._failed.items() if now - when < FAILED_FOR_S}
        order = sorted(self._upstreams(), key=lambda address: address in failed)
        last: bytes | None = None
        try:
            async with asyncio.timeout(TOTAL_S):
                for address in order * ROUNDS:
                    answer = await self._ask_one(address, query)
                    if answer is not None and _rcode(answer) in (wire.NOERROR, wire.NXDOMAIN):
                        return answer
                    last = answer or last
        except TimeoutError:
            pass
        if last is None:
            raise UpstreamFailed("no upstream answered")
        return last

    async def _ask_one(self, address: Address, query: wire.Query) -> bytes | None:
        """The answer of one upstream; None where it gives none that can be used."""
        try:
            async with asyncio.timeout(ATTEMPT_S):
                answer = await self._ask(address, query)
            wire.time_fields(answer)  # reads all of it: nothing malformed goes further
        except (TimeoutError, OSError, wire.MalformedMessage) as e:
            log.debug("upstream %s: %r", address[0], e)
            self._failed[address] = self._clock.monotonic()
            return None
        self._failed.pop(address, None)
        return answer

    async def _ask(self, address: Address, query: wire.Query) -> bytes:
        upstream = self._sockets.get(address)
        if upstream is None or upstream.transport.is_closing():
            upstream = await self._open(address)
        ident = self._entropy.random.getrandbits(16)
        while ident in upstream.waiting:
            ident = self._entropy.random.getrandbits(16)
        header = wire.HEADER.pack(ident, wire.FLAG_RECURSION_DESIRED, 1, 0, 0, 1)
        message = header + query.question + wire.OPT_RECORD
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        upstream.waiting[ident] = (query.question.lower(), future)
        try:
            upstream.transport.sendto(message)
            answer = await future
        finally:
            upstream.waiting.pop(ident, None)
        if struct.unpack_from("!H", answer, 2)[0] & wire.FLAG_TRUNCATED:
            return await _ask_tcp(address, message, query.question.lower())
        return answer

    async def _open(self, address: Address) -> "_Upstream":
        loop = asyncio.get_running_loop()
        _, upstream = await loop.create_datagram_endpoint(_Upstream, remote_addr=address)
        self._sockets[address] = upstream
        return upstream

    def _keep(self, key: Key, message: bytes) -> None:
        ttl_s = keep_for_s(message)
        if ttl_s <= 0:
            return
        now = self._clock.monotonic()
        self._cache[key] = _Kept(message, now, now + ttl_s)
        self._cache.move_to_end(key)
        if len(self._cache) > CACHE_ENTRIES:
            self._cache.popitem(last=False)


class _Kept:
    """A response in the cache: its times to live grow shorter while it lies there."""

    __slots__ = ("_fields", "_message", "_since", "expires")

    def __init__(self, message: bytes, since: float, expires: float) -> None:
        self._message = message
        self._fields = wire.time_fields(message)
        self._since = since
        self.expires = expires

    def aged(self, now: float) -> bytes:
        age_s = int(now - self._since)
        if not age_s:
            return self._message
        message = bytearray(self._message)
        for at in self._fields:
            (ttl_s,) = struct.unpack_from("!I", message, at)
            struct.pack_into("!I", message, at, max(0, ttl_s - age_s))
        return bytes(message)


class _Upstream(asyncio.DatagramProtocol):
    """One connected UDP socket; answers find their question by id and question text."""

    transport: asyncio.DatagramTransport

    def __init__(self) -> None:
        self.waiting: dict[int, tuple[bytes, asyncio.Future[bytes]]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is no subclass

    def datagram_received(self, data: bytes, addr: object) -> None:
        if len(data) < 12:
            return
        waiting = self.waiting.get(struct.unpack_from("!H", data)[0])
        if waiting is None:
            return
        question, future = waiting
        if _answers(data, question) and not future.done():
            future.set_result(data)

    def error_received(self, exc: Exception) -> None:
        for _, future in self.waiting.values():
            if not future.done():
                future.set_exception(exc)


async def _ask_tcp(address: Address, message: bytes, question: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(struct.pack("!H", len(message)) + message)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        answer = await reader.readexactly(length)
    except asyncio.IncompleteReadError as e:
        raise OSError("the upstream closed the connection early") from e
    finally:
        writer.close()
    if answer[:2] != message[:2] or not _answers(answer, question):
        raise wire.MalformedMessage("not the answer to what was asked")
    return answer


def _answers(message: bytes, question: bytes) -> bool:
    """Whether `message` is a response to `question` (lower case)."""
    return (
        len(message) >= 12 + len(question)
        and bool(message[2] & 0x80)
        and message[4:6] == b"\0\1"
        and message[12 : 12 + len(question)].lower() == question
    )


def addressed(query: wire.Query, message: bytes) -> bytes:
    """`message` as a response to `query`: its id, its question's spelling, and no OPT it did not ask for."""
    if query.edns < 0:
        message = wire.without_opt(message)
    _, flags, *counts = wire.HEADER.unpack_from(message)
    flags = (flags | wire.FLAG_RECURSION_AVAILABLE) & ~wire.FLAG_RECURSION_DESIRED
    flags |= query.flags & wire.FLAG_RECURSION_DESIRED
    head = wire.HEADER.pack(query.id, flags, *counts)
    return head + query.question + message[12 + len(query.question) :]


def _rcode(message: bytes) -> int:
    return message[3] & 0xF


def keep_for_s(message: bytes) -> int:
    """How long a response may be kept: its smallest time to live, bounded; briefly where it is negative
    (RFC 2308 allows for more)."""
    flags, _, answers, _, _ = struct.unpack_from("!HHHHH", message, 2)
    rcode = flags & 0xF
    if rcode not in (wire.NOERROR, wire.NXDOMAIN) or flags & wire.FLAG_TRUNCATED:
        return 0
    times = [struct.unpack_from("!I", message, at)[0] for at in wire.time_fields(message)]
    bound = CACHE_NEGATIVE_S if rcode == wire.NXDOMAIN or answers == 0 else CACHE_MAX_S
    return int(min([bound, *times]))
