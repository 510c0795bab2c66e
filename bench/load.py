"""A load generator that costs little: prepared requests over keep-alive TLS connections, one loop.

It shares the machine with what it measures, so it does the least that is honest: every response's
status is checked and every byte of its body read; bodies are kept only where they are asked for.
"""

import asyncio
import base64
import json
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml


@dataclass
class Target:
    """An API server, as a kubeconfig describes it."""

    host: str
    port: int
    tls: ssl.SSLContext
    headers: str = ""

    @classmethod
    def from_kubeconfig(cls, path: Path) -> "Target":
        config = yaml.safe_load(path.read_text())
        name = config["current-context"]
        context = next(c["context"] for c in config["contexts"] if c["name"] == name)
        cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
        user = next(u["user"] for u in config["users"] if u["name"] == context["user"])
        url = urlsplit(cluster["server"])
        tls = ssl.create_default_context(cadata=_data(cluster, "certificate-authority"))
        headers = ""
        if "client-certificate-data" in user or "client-certificate" in user:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:
                pem.write(_data(user, "client-certificate") + "\n" + _data(user, "client-key"))
                pem.flush()
                tls.load_cert_chain(pem.name)
        if "token" in user:
            headers = f"Authorization: Bearer {user['token']}\r\n"
        return cls(url.hostname or "127.0.0.1", url.port or 443, tls, headers)


def _data(entry: dict[str, Any], name: str) -> str:
    if f"{name}-data" in entry:
        return base64.b64decode(entry[f"{name}-data"]).decode()
    return Path(entry[name]).read_text()


def request(
    target: Target,
    method: str,
    path: str,
    body: bytes = b"",
    content_type: str = "application/json",
) -> bytes:
    """One prepared HTTP/1.1 request."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\n{target.headers}"
        f"Accept: application/json\r\nUser-Agent: skiff-bench\r\n"
    )
    if body or method in ("POST", "PUT", "PATCH"):
        head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self, *, keep: bool = False) -> None:
        self._keep = keep
        self._waiting: asyncio.Future[int] | None = None
        self._head = b""
        self._parts: list[bytes] = []
        self._left = -1
        self._chunked = False
        self._tail = b""
        self.status = 0
        self.body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self, data: bytes) -> "asyncio.Future[int]":
        """Send a prepared request; the future gives the status once the whole response is in."""
        self._head, self._parts, self._left, self._chunked, self._tail = b"", [], -1, False, b""
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(data)  # type: ignore[attr-defined] # a write transport
        return self._waiting

    def data_received(self, data: bytes) -> None:
        if self._left < 0 and not self._chunked:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = self._head[:end].lower(), self._head[end + 4 :]
            self.status = int(head[9:12])
            at = head.find(b"content-length:")
            if at >= 0:
                self._left = int(head[at + 15 :].split(b"\r\n", 1)[0])
            else:
                self._chunked = True
        if self._keep:
            self._parts.append(data)
        if self._chunked:
            self._tail = (self._tail + data)[-5:]
            if self._tail == b"0\r\n\r\n":
                self._done()
            return
        self._left -= len(data)
        if self._left <= 0:
            self._done()

    def _done(self) -> None:
        self.body = b"".join(self._parts)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(self.status)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionError("the server closed the connection"))

    def close(self) -> None:
        self._transport.close()


async def connect(target: Target, *, keep: bool = False) -> Connection:
    """Open a connection."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: Connection(keep=keep), target.host, target.port, ssl=target.tls
    )
    return connection


@dataclass
class Result:
    """What a run measured."""

    requests: int = 0
    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    errors: int = 0

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


async def run(
    target: Target,
    connections: int,
    make: Callable[[int], bytes],
    *,
    count: int = 0,
    seconds: float = 0.0,
) -> Result:
    """Send `make(0)`, `make(1)`… over `connections`, until `count` are done or `seconds` are over."""
    opened = [await connect(target) for _ in range(connections)]
    result = Result()
    numbers: Iterator[int] = iter(range(count or 10**9))
    start = time.perf_counter()
    until = start + (seconds or 3600)

    async def worker(connection: Connection) -> None:
        for number in numbers:
            sent = time.perf_counter()
            if sent > until:
                return
            status = await connection.send(make(number))
            result.latencies_s.append(time.perf_counter() - sent)
            result.requests += 1
            result.errors += status >= 300

    async with asyncio.TaskGroup() as group:
        for connection in opened:
            group.create_task(worker(connection))
    result.seconds = time.perf_counter() - start
    for connection in opened:
        connection.close()
    return result


async def call(target: Target, method: str, path: str, body: object = None) -> Any:
    """One request outside a measurement; the decoded answer. Raises RuntimeError for a failure."""
    connection = await connect(target, keep=True)
    try:
        data = b"" if body is None else json.dumps(body).encode()
        status = await connection.send(request(target, method, path, data))
        raw = connection.body
    finally:
        connection.close()
    if status >= 300:
        raise RuntimeError(f"{method} {path}: HTTP {status}: {raw[:300]!r}")
    return json.loads(raw) if raw.startswith(b"{") else raw
