"""Container logs: the format, tails, following through rotation, rotation itself."""

import asyncio
import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.aio.clock import RealClock
from skiff.node import log_rotation
from skiff.node.config import KubeletConfig
from skiff.node.log_format import LogFilter, LogOptions, entry, parse_options
from skiff.node.log_rotation import LogRotation, tidy
from skiff.node.logs import LogReader, tail_offset
from skiff.node.runtime import LABEL_CONTAINER_NAME, Container, ContainerState


class Sink:
    """A writer into memory."""

    def __init__(self) -> None:
        self.data = b""
        self.buffered = 0

    def write(self, data: bytes) -> None:
        self.data += data

    async def drain(self) -> None:
        await asyncio.sleep(0)

    async def gone(self) -> None:
        await asyncio.Event().wait()


async def stopped() -> bool:
    return False


LINES = (
    entry(1_700_000_000.5, "stdout", b"one")
    + entry(1_700_000_001.0, "stderr", b"two")
    + entry(1_700_000_002.0, "stdout", b"thr", partial=True)
    + entry(1_700_000_002.0, "stdout", b"ee")
    + entry(1_700_000_003.0, "stdout", b"")
)


def read(tmp_path: Path, options: LogOptions, data: bytes = LINES) -> bytes:
    path = tmp_path / "0.log"
    path.write_bytes(data)
    sink = Sink()
    asyncio.run(LogReader().copy(path, options, stopped, sink))
    return sink.data


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", b"one\ntwo\nthree\n\n"),
        ("stream=Stdout", b"one\nthree\n\n"),
        ("stream=Stderr", b"two\n"),
        ("tailLines=0", b""),
        ("tailLines=2", b"ee\n\n"),
        ("tailLines=3", b"three\n\n"),
        ("tailLines=99", b"one\ntwo\nthree\n\n"),
        ("tail=all", b"one\ntwo\nthree\n\n"),
        ("limitBytes=6", b"one\ntw"),
        ("sinceTime=2023-11-14T22:13:22Z", b"three\n\n"),
        ("follow=true", b"one\ntwo\nthree\n\n"),
        (
            "timestamps=true&tailLines=4",
            b"2023-11-14T22:13:21.000000000Z two\n2023-11-14T22:13:22.000000000Z three\n"
            b"2023-11-14T22:13:23.000000000Z \n",
        ),
    ],
)
@pytest.mark.conformance(
    "[sig-cli] Kubectl logs logs should be able to retrieve and filter logs [Conformance]"
)
def test_options(tmp_path, query, expected):
    assert read(tmp_path, parse_options(query, 0.0)) == expected


def test_since_seconds_counts_from_now(tmp_path):
    options = parse_options("sinceSeconds=1", 1_700_000_003.5)
    assert read(tmp_path, options) == b"\n"


@pytest.mark.parametrize("query", ["tailLines=x", "sinceTime=x", "stream=x", "limitBytes=1.5"])
def test_bad_options_are_refused(query):
    with pytest.raises(ValueError):
        parse_options(query, 0.0)


def test_malformed_entries_are_skipped_and_carriage_returns_kept(tmp_path):
    data = b"rubbish\n\n" + entry(1.0, "stdout", b"a\rb\r") + b"2023 other F x\n"
    assert read(tmp_path, LogOptions(), data) == b"a\rb\r\n"


def test_times_get_nine_decimals():
    output = LogFilter(LogOptions(timestamps=True))
    line = b"2023-11-14T22:13:21.5+02:00 stdout F x\n2023-11-14T22:13:21Z stdout F y\n"
    assert output.feed(line) == (
        b"2023-11-14T22:13:21.500000000+02:00 x\n2023-11-14T22:13:21.000000000Z y\n"
    )


@given(lines=st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=30),
       count=st.integers(0, 35), ended=st.booleans(), chunk=st.integers(1, 40))  # fmt: skip
def test_tails_begin_where_the_last_lines_do(tmp_path_factory, lines, count, ended, chunk):
    import os

    from skiff.node import logs

    data = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    pieces = data.splitlines(keepends=True) if b"\r" not in data else None
    if pieces is None:
        return
    path = tmp_path_factory.mktemp("tail") / "log"
    path.write_bytes(data)
    old, logs.CHUNK_BYTES = logs.CHUNK_BYTES, chunk
    try:
        fd = os.open(path, os.O_RDONLY)
        try:
            offset = tail_offset(fd, count)
        finally:
            os.close(fd)
    finally:
        logs.CHUNK_BYTES = old
    assert data[offset:] == b"".join(pieces[max(0, len(pieces) - count) :])


def test_following_goes_on_through_rotation_and_ends_with_the_container(tmp_path):
    async def scenario():
        path = tmp_path / "0.log"
        path.write_bytes(entry(1.0, "stdout", b"a"))
        alive = True
        sink = Sink()

        async def running():
            return alive

        reader = LogReader()
        task = asyncio.create_task(reader.copy(path, LogOptions(follow=True), running, sink))

        async def until(data: bytes) -> None:
            async with asyncio.timeout(2):
                while sink.data != data:
                    await asyncio.sleep(0.005)

        await until(b"a\n")
        with path.open("ab") as f:
            f.write(entry(2.0, "stdout", b"b"))
        await until(b"a\nb\n")
        old = path.open("ab")
        path.rename(tmp_path / "0.log.1")
        old.write(entry(3.0, "stdout", b"c"))
        old.close()
        path.write_bytes(entry(4.0, "stdout", b"d"))
        await until(b"a\nb\nc\nd\n")
        with path.open("ab") as f:
            f.write(entry(5.0, "stdout", b"e").rstrip(b"\n"))
        alive = False
        async with asyncio.timeout(2):
            await task
        assert sink.data == b"a\nb\nc\nd\ne\n"
        reader.close()

    asyncio.run(scenario())


def test_followers_end_with_their_reader(tmp_path):
    async def scenario():
        path = tmp_path / "0.log"
        path.write_bytes(b"")
        reader = LogReader()

        async def running():
            return True

        task = asyncio.create_task(reader.copy(path, LogOptions(follow=True), running, Sink()))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        reader.close()

    asyncio.run(scenario())


def test_old_files_are_compressed_and_the_oldest_go(tmp_path):
    path = tmp_path / "0.log"
    for day in range(1, 7):
        (tmp_path / f"0.log.2026010{day}-000000").write_text(str(day))
    (tmp_path / "0.log.20260101-000000.gz.tmp").write_text("torn")
    tidy(path, 5)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == [f"0.log.2026010{day}-000000.gz" for day in (4, 5, 6)]
    assert gzip.decompress((tmp_path / names[-1]).read_bytes()) == b"6"


class OneContainer:
    """A runtime with one running container."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reopened = 0
        self.fail = False

    async def list_containers(self):
        labels = {
            LABEL_CONTAINER_NAME: "c", "io.kubernetes.pod.name": "p",
            "io.kubernetes.pod.namespace": "ns", "io.kubernetes.pod.uid": "u",
        }  # fmt: skip
        return [Container("id", "s", "c", 0, "", "", ContainerState.RUNNING, 0.0, labels)]

    async def reopen_log(self, container_id):
        if self.fail:
            raise OSError("no")
        self.reopened += 1
        self.path.touch()


def test_rotation_by_size(tmp_path):
    config = KubeletConfig("n", tmp_path, tmp_path / "logs", container_log_max_size_bytes=10)
    path = config.container_log("ns", "p", "u", "c", 0)
    path.parent.mkdir(parents=True)
    runtime = OneContainer(path)
    rotation = LogRotation(config, runtime, RealClock())
    path.write_bytes(b"x" * 10)
    asyncio.run(rotation.check())
    assert runtime.reopened == 0
    path.write_bytes(b"x" * 11)
    runtime.fail = True
    asyncio.run(rotation.check())
    assert [p.name for p in path.parent.iterdir()] == ["0.log"]
    runtime.fail = False
    asyncio.run(rotation.check())
    assert runtime.reopened == 1
    assert len(list(path.parent.iterdir())) == 2
    assert log_rotation.CHECK_PERIOD_S == 10.0
