"""SIGKILL under load, again and again on one file: what was acknowledged is there."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from skiff.aio.clock import RealClock
from skiff.store.sqlite import SQLiteStore
from tests.store.contract import brief

ROUNDS = 14
LOAD_S = 0.35
"""A killed process wrote for up to this long; with start and check a round takes half a second."""

# Writers own their keys and count up in them; each acknowledged write is told through the pipe at once.
LOAD = """
import asyncio, os, sys
from skiff.aio.clock import RealClock
from skiff.store.mvcc import Limits
from skiff.store.sqlite import SQLiteStore

def stamp(value, revision):
    return value + b"@%d" % revision

async def main():
    limits = Limits(events=3000, bytes=4_000_000)
    store = SQLiteStore.open(sys.argv[1], stamp, RealClock(), limits=limits)
    os.write(1, b"open %d 0 0\\n" % store.revision)

    async def write(name):
        number = 0
        while True:
            number += 1
            key = f"/{name}/{number % 7}"
            delete = number % 5 == 0 and store.latest(key) is not None
            value = None if delete else b"%d:" % number + bytes(number * 37 % 6000)
            revision = await store.commit(key, value)
            os.write(1, f"{key} {revision} {number} {int(delete)}\\n".encode())
            if number % 50 == 0:
                store.compact(max(store.revision - 500, 0))

    async with asyncio.TaskGroup() as group:
        for name in range(16):
            group.create_task(write(name))

asyncio.run(main())
"""


def stamp(value: bytes, revision: int) -> bytes:
    return value + b"@%d" % revision


def one_life(path: Path, seconds: float) -> list[tuple[str, int, int, bool]]:
    """Run the load, kill it; gives (key, revision, number, deleted) of acknowledged writes."""
    child = subprocess.Popen(
        [sys.executable, "-c", LOAD, str(path)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout
    assert child.stderr
    try:
        assert child.stdout.readline().startswith(b"open"), child.stderr.read()
        time.sleep(seconds)
    finally:
        child.send_signal(signal.SIGKILL)
        output, errors = child.communicate(timeout=20)
    assert child.returncode == -signal.SIGKILL, errors
    lines = output[: output.rfind(b"\n") + 1].decode().splitlines()
    words = [line.split(" ") for line in lines]
    return [(key, int(revision), int(number), gone == "1") for key, revision, number, gone in words]


async def check(path: Path, acknowledged: list[tuple[str, int, int, bool]], before: int) -> int:
    """The store holds every acknowledged write, in dense order; gives its revision."""
    store = SQLiteStore.open(path, stamp, RealClock())
    events = []
    store.watch("", store.compacted, events.extend)
    revisions = [revision for revision, _, _ in brief(events)]
    assert revisions == list(range(store.compacted + 1, store.revision + 1))
    by_revision = {event.revision: event for event in events}
    newest: dict[str, tuple[int, int, bool]] = {}
    for key, revision, number, deleted in acknowledged:
        assert revision > before, "a revision was given out twice"
        assert revision <= store.revision, "an acknowledged write is lost"
        newest[key] = max(newest.get(key, (0, 0, False)), (revision, number, deleted))
        if revision > store.compacted:
            event = by_revision[revision]
            assert event.key == key
            assert (event.value is None) == deleted
            if event.value is not None:
                assert event.value.startswith(b"%d:" % number)
                assert event.value.endswith(b"@%d" % revision)
    for key, (revision, _, deleted) in newest.items():
        entry = store.get(key)
        if entry is None:
            later = any(e.key == key and e.revision > revision for e in events)
            assert deleted or later, "an acknowledged put is gone"
        else:
            assert entry.revision > revision or (entry.revision == revision and not deleted)
    revision = store.revision
    await store.close()
    return revision


def test_nothing_acknowledged_is_lost(tmp_path):
    rng = random.Random(11)
    path = tmp_path / "store.db"
    revision, total = 0, 0
    for _ in range(ROUNDS):
        acknowledged = one_life(path, rng.uniform(0, LOAD_S))
        revision = asyncio.run(check(path, acknowledged, revision))
        total += len(acknowledged)
    assert total > 1000
