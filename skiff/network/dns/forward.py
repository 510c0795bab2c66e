"""Questions about the rest of the world: asked of upstream servers, answers kept for their time to live.

One UDP socket an upstream, opened when first needed; ids are random; a truncated answer is asked for
again over TCP. Upstreams are tried in order, each with a time limit; a question that is being
asked is not asked twice.
"""

import asyncio
import logging
import struct
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from skiff.aio.clock import Clock
from skiff.aio.entropy import Entropy
from skiff.network.dns import wire

ATTEMPT_S = 2.0
CACHE_ENTRIES = 4096
CACHE_MAX_S = 300
CACHE_NEGATIVE_S = 5
IN_FLIGHT_MAX = 1000

log = logging.getLogger("skiff.dns")

Address = tuple[str, int]


class UpstreamFailed(Exception):
    """No upstream answered."""


def system_upstreams(resolv_conf: Path, own: Sequence[str]) -> list[Address]:
    """The name servers of a resolv.conf, without `own` addresses (which would be a loop)."""
    found = []
    try:
        lines = resolv_conf.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and words[1] not in own:
            found.append((words[1], 53))
    return found


class Forwarder:
    """Resolves through `upstreams`."""

    def __init__(self, upstreams: Sequence[Address], clock: Clock, entropy: Entropy) -> None:
        self._upstreams = list(upstreams)
        self._clock = clock
        self._entropy = entropy
        self._cache: OrderedDict[tuple[bytes, int], tuple[float, bytes]] = OrderedDict()
        self._asking: dict[tuple[bytes, int], asyncio.Future[bytes]] = {}
        self._sockets: dict[Address, _Upstream] = {}

    def close(self) -> None:
        """Close the sockets."""
        for upstream in self._sockets.values():
            upstream.transport.close()

    def cached(self, query: wire.Query) -> bytes | None:
        """The kept response to `query`, its id and question put in place; None where there is none."""
        kept = self._cache.get((query.name, query.type))
        if kept is None:
            return None
        expires, message = kept
        if expires <= self._clock.monotonic():
            del self._cache[query.name, query.type]
            return None
        return _addressed(query, message)

    async def resolve(self, query: wire.Query) -> bytes:
        """The response to `query`. Raises UpstreamFailed."""
        key = (query.name, query.type)
        asking = self._asking.get(key)
        if asking is None:
            if len(self._asking) >= IN_FLIGHT_MAX:
                raise UpstreamFailed("too many questions are being asked")
            asking = self._asking[key] = asyncio.get_running_loop().create_future()
            try:
                message = await self._ask_all(query)
            except UpstreamFailed as e:
                asking.set_exception(e)
                asking.exception()
                raise
            except BaseException:
                asking.cancel()
                raise
            else:
                asking.set_result(message)
                self._keep(key, message)
            finally:
                del self._asking[key]
        else:
            message = await asyncio.shield(asking)
        return _addressed(query, message)

    async def _ask_all(self, query: wire.Query) -> bytes:
        for address in self._upstreams:
            try:
                async with asyncio.timeout(ATTEMPT_S):
                    return await self._ask(address, query)
            except (TimeoutError, OSError) as e:
                log.debug("upstream %s: %r", address[0], e)
        raise UpstreamFailed("no upstream answered")

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
            return await self._ask_tcp(address, message)
        return answer

    async def _open(self, address: Address) -> "_Upstream":
        loop = asyncio.get_running_loop()
        _, upstream = await loop.create_datagram_endpoint(_Upstream, remote_addr=address)
        self._sockets[address] = upstream
        return upstream

    async def _ask_tcp(self, address: Address, message: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(struct.pack("!H", len(message)) + message)
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            return await reader.readexactly(length)
        except asyncio.IncompleteReadError as e:
            raise OSError("the upstream closed the connection early") from e
        finally:
            writer.close()

    def _keep(self, key: tuple[bytes, int], message: bytes) -> None:
        ttl_s = _keep_for_s(message)
        if ttl_s <= 0:
            return
        self._cache[key] = (self._clock.monotonic() + ttl_s, message)
        if len(self._cache) > CACHE_ENTRIES:
            self._cache.popitem(last=False)


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
        if data[12 : 12 + len(question)].lower() == question and not future.done():
            future.set_result(data)

    def error_received(self, exc: Exception) -> None:
        for _, future in self.waiting.values():
            if not future.done():
                future.set_exception(exc)


def _addressed(query: wire.Query, message: bytes) -> bytes:
    """`message` as a response to `query`: its id, its question's spelling, and no OPT it did not ask for."""
    flags, questions, answers, authorities, additional = struct.unpack_from("!HHHHH", message, 2)
    end = 12 + len(query.question)
    body = message[end:]
    if additional and not query.edns:
        body, additional = _without_opt(message, end, answers + authorities, additional)
    head = wire.HEADER.pack(query.id, flags, questions, answers, authorities, additional)
    return head + query.question + body


def _without_opt(message: bytes, at: int, before: int, additional: int) -> tuple[bytes, int]:
    start = at
    for _ in range(before):
        at = _skip_record(message, at)
    kept, parts = 0, [message[start:at]]
    for _ in range(additional):
        end = _skip_record(message, at)
        if not (message[at] == 0 and struct.unpack_from("!H", message, at + 1)[0] == wire.OPT):
            parts.append(message[at:end])
            kept += 1
        at = end
    return b"".join(parts), kept


def _skip_name(message: bytes, at: int) -> int:
    while True:
        length = message[at]
        if length >= 0xC0:
            return at + 2
        at += length + 1
        if length == 0:
            return at


def _skip_record(message: bytes, at: int) -> int:
    at = _skip_name(message, at)
    (length,) = struct.unpack_from("!H", message, at + 8)
    return int(at + 10 + length)


def _keep_for_s(message: bytes) -> int:
    """How long a response may be kept: its smallest time to live, bounded; briefly where it is negative."""
    flags, _, answers, _, _ = struct.unpack_from("!HHHHH", message, 2)
    rcode = flags & 0xF
    if rcode not in (wire.NOERROR, wire.NXDOMAIN):
        return 0
    if rcode == wire.NXDOMAIN or answers == 0:
        return CACHE_NEGATIVE_S
    try:
        at = _skip_name(message, 12) + 4
        smallest = CACHE_MAX_S
        for _ in range(answers):
            name_end = _skip_name(message, at)
            smallest = min(smallest, struct.unpack_from("!I", message, name_end + 4)[0])
            at = _skip_record(message, at)
    except (IndexError, struct.error):
        return 0
    return smallest
