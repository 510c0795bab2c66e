"""How fast the store is, on this disk: writes with sync, reads, memory, file size.

    python bench/store.py [--dir DIRECTORY] [--quick]

Prints one figure a line, and the raw `fdatasync` of the same disk beside the commit latency.
"""

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from skiff.aio.clock import RealClock
from skiff.store.mvcc import DEFAULT_LIMITS, Limits
from skiff.store.protocol import Event
from skiff.store.sqlite import SQLiteStore

VALUE = b'{"apiVersion":"v1","kind":"Pod","metadata":{' + os.urandom(1002).hex().encode()


def stamp(value: bytes, revision: int) -> bytes:
    """As the API server does it."""
    at = value.index(b'"metadata":{') + 12
    return value[:at] + b'"resourceVersion":"%d",' % revision + value[at:]


def show(name: str, figure: str) -> None:
    print(f"{name:<58} {figure:>20}", flush=True)


def open_store(directory: Path, name: str, limits: Limits = DEFAULT_LIMITS) -> SQLiteStore:
    return SQLiteStore.open(directory / name, stamp, RealClock(), limits=limits)


def raw_sync(directory: Path, count: int) -> None:
    """Overwrite one page and sync it: what no commit can beat."""
    fd = os.open(directory / "raw", os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, bytes(8216 * 64), 0)
    os.fsync(fd)
    times = []
    for i in range(count):
        began = time.perf_counter()
        os.pwrite(fd, b"x" * 8216, i % 64 * 8216)
        os.fdatasync(fd)
        times.append(time.perf_counter() - began)
    os.close(fd)
    show("raw fdatasync of one page, p50 / p99", milliseconds(times))


def milliseconds(times: list[float]) -> str:
    p99 = sorted(times)[int(len(times) * 0.99)]
    return f"{statistics.median(times) * 1e3:.2f} / {p99 * 1e3:.2f} ms"


async def puts(
    store: SQLiteStore, prefix: str, in_flight: int, total: int, keys: int
) -> list[float]:
    """`total` puts by `in_flight` writers over `keys` keys; gives each put's seconds."""
    times: list[float] = []
    left = iter(range(total))

    async def write() -> None:
        for i in left:
            began = time.perf_counter()
            await store.commit(f"{prefix}{i % keys:06}", VALUE)
            times.append(time.perf_counter() - began)

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(write())
    return times


async def writes(directory: Path, scale: float) -> None:
    store = open_store(directory, "writes.db")
    for in_flight, total in ((1, 4000), (1, 4000), (8, 12000), (32, 60000), (128, 60000)):
        total = int(total * scale)
        began, cpu = time.perf_counter(), time.process_time()
        times = await puts(store, f"/core/pods/n{in_flight}/", in_flight, total, 5000)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        show(f"put 2 KB, {in_flight} in flight", f"{total / took:,.0f}/s")
        show("    p50 / p99", milliseconds(times))
        show("    CPU a put", f"{cpu / total * 1e6:.0f} µs")
    await store.close()


async def busy_loop(directory: Path, scale: float) -> None:
    """32 writers that each compute 200 µs between puts, as the API server's request chain does."""
    store = open_store(directory, "busy.db")
    total = int(16000 * scale)
    times: list[float] = []
    left = iter(range(total))

    async def write() -> None:
        for i in left:
            until = time.perf_counter() + 200e-6
            while time.perf_counter() < until:
                pass
            began = time.perf_counter()
            await store.commit(f"/core/pods/busy/{i:06}", VALUE)
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(32):
            group.create_task(write())
    rate = total / (time.perf_counter() - began)
    show("put by 32 with 200 µs of work each (at most 5,000/s)", f"{rate:,.0f}/s")
    show("    p50 / p99", milliseconds(times))
    await store.close()


def per_call(call: Callable[[], object], count: int) -> str:
    began = time.perf_counter()
    for _ in range(count):
        call()
    return f"{(time.perf_counter() - began) / count * 1e6:,.2f} µs"


async def reads(directory: Path) -> None:
    before = rss_bytes()
    store = open_store(directory, "reads.db")
    await puts(store, "/core/pods/default/", 64, 12000, 12000)
    await store.close()
    began = time.perf_counter()
    store = open_store(directory, "reads.db")
    show("open with 12,000 objects of 2 KB", f"{(time.perf_counter() - began) * 1e3:.0f} ms")
    show("get", per_call(lambda: store.get("/core/pods/default/004711"), 200_000))
    prefix = "/core/pods/"
    show("list 500 of 12,000", per_call(lambda: store.list(prefix, limit=500), 20_000))
    show("list all 12,000", per_call(lambda: store.list(prefix), 2000))
    revision = store.revision
    await puts(store, "/core/pods/default/", 32, 2000, 12000)
    old = per_call(lambda: store.list(prefix, limit=500, revision=revision), 200)
    show("list 500 of 12,000, 2,000 writes ago", old)
    old = per_call(lambda: store.list(prefix, revision=revision), 50)
    show("list all 12,000, 2,000 writes ago", old)
    seen: list[Event] = []
    show(
        "resume a watch, 2,000 writes ago",
        per_call(lambda: store.watch(prefix, revision, seen.extend).close(), 200),
    )
    await store.close()
    code = (
        "import sys; sys.path.insert(0, '.'); sys.argv = ['']\n"
        "from bench.store import open_store, rss_bytes; from pathlib import Path\n"
        f"a = rss_bytes(); s = open_store(Path({str(directory)!r}), 'reads.db')\n"
        "print(len(s.list('/').entries), rss_bytes() - a)"
    )
    root = Path(__file__).parent.parent
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    count, size = map(int, answer.stdout.split())
    show(f"memory of {count:,} objects of 2 KB and 2,000 events", f"{size / 1e6:.0f} MB")
    show("    in this process before and now", f"{before / 1e6:.0f} / {rss_bytes() / 1e6:.0f} MB")


async def bounded(directory: Path, scale: float) -> None:
    """Overwrite 3,000 keys again and again with a compaction every 5,000 writes, as a policy would."""
    store = open_store(directory, "bounded.db")
    log_bytes = 0
    began = time.perf_counter()
    rounds = int(60 * scale)
    times = []
    for _ in range(rounds):
        revision = store.revision
        times += await puts(store, "/core/pods/default/", 32, 5000, 3000)
        store.compact(revision)
        log_bytes = max(log_bytes, (directory / "bounded.db-wal").stat().st_size)
    took = time.perf_counter() - began
    show(
        f"{rounds * 5000:,} puts over 3,000 keys with compaction", f"{rounds * 5000 / took:,.0f}/s"
    )
    show("    p50 / p99", milliseconds(times))
    show(
        "    file, log at most",
        f"{(directory / 'bounded.db').stat().st_size / 1e6:.0f}, {log_bytes / 1e6:.0f} MB",
    )
    await store.close()
    store = open_store(directory, "limited.db", Limits(events=10_000, bytes=8_000_000))
    await puts(store, "/core/pods/default/", 32, int(100_000 * scale), 3000)
    show(
        f"file after {int(100_000 * scale):,} puts, never compacted, history of 8 MB",
        f"{(directory / 'limited.db').stat().st_size / 1e6:.0f} MB",
    )
    await store.close()


def rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def run(directory: Path, scale: float) -> None:
    raw_sync(directory, 1000)
    await writes(directory, scale)
    await busy_loop(directory, scale)
    await reads(directory)
    await bounded(directory, scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, default=None, help="where to put the files")
    parser.add_argument("--quick", action="store_true", help="a fifth of the writes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as directory:
        uvloop.run(run(Path(directory), 0.2 if arguments.quick else 1.0))


if __name__ == "__main__":
    main()
