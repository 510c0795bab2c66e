"""The supervisor with programs that do little."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.cluster import ROOT, wait_for

HEAD = """
import os, signal, sys, time
def ready(text="ready"):
    os.write(int(os.environ["SKIFF_READY_FD"]), (text + "\\n").encode())
def note(text):
    with open("notes", "a") as f:
        f.write(text + "\\n")
"""

RUNS = """
signal.signal(15, lambda *_: sys.exit(0))
note('{0} starts')
try:
    ready('{0} is up')
    time.sleep(60)
finally:
    note('{0} ends')
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Run a supervisor of the given programs (name → Python) in a process of its own."""
    running: list[subprocess.Popen[str]] = []

    def run(setup: str = "", **programs: str) -> "subprocess.Popen[str]":
        for name, body in programs.items():
            (tmp_path / f"{name}.py").write_text(HEAD + body)
        script = f"""
            import sys
            from pathlib import Path
            from skiff.cli import supervise
            from skiff.cli.supervise import Program, Supervisor
            {setup}
            here = Path.cwd()
            programs = [
                Program(n, [sys.executable, f"{{n}}.py"], here / f"{{n}}.log")
                for n in {list(programs)!r}
            ]
            ready = lambda name, said, seconds: print("ready", name, said, flush=True)
            ended = lambda name, code, delay: print("ended", name, code, delay, flush=True)
            sys.exit(Supervisor(programs, here / "pids.json", ready, ended).run())
        """
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        running.append(process)
        return process

    yield run
    for process in running:
        if process.poll() is None:
            process.terminate()
            process.wait(15)
        assert process.stdout is not None
        process.stdout.close()


def lines(process: "subprocess.Popen[str]", count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def pids(tmp_path: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((tmp_path / "pids.json").read_text())["processes"]
    return found


def gone(pid: int) -> bool:
    try:
        return ") Z" in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_starts_in_order_and_stops_in_reverse(start: Start, tmp_path: Path) -> None:
    process = start(one=RUNS.format("one"), two=RUNS.format("two"), three=RUNS.format("three"))
    said = set(lines(process, 3))
    assert said == {"ready one one is up", "ready two two is up", "ready three three is up"}
    process.terminate()
    assert process.wait(10) == 0
    notes = (tmp_path / "notes").read_text().splitlines()
    assert notes[3:] == ["three ends", "two ends", "one ends"]
    assert not (tmp_path / "pids.json").exists()


def test_what_dies_comes_back(start: Start, tmp_path: Path) -> None:
    process = start(one=RUNS.format("one"))
    lines(process, 1)
    first = pids(tmp_path)["one"]
    os.kill(first, signal.SIGKILL)
    assert lines(process, 2) == ["ended one -9 0.0", "ready one one is up"]
    assert pids(tmp_path)["one"] != first


def test_what_goes_on_dying_waits_longer(start: Start) -> None:
    process = start(
        "supervise.BACKOFF_FIRST_S, supervise.BACKOFF_MAX_S = 0.01, 0.03", one="sys.exit(1)"
    )
    assert [line.split()[-1] for line in lines(process, 5)] == [
        "0.0",
        "0.01",
        "0.02",
        "0.03",
        "0.03",
    ]


def test_what_was_stable_comes_back_at_once(start: Start) -> None:
    process = start("supervise.STABLE_AFTER_S = 0.0", one="sys.exit(1)")
    assert [line.split()[-1] for line in lines(process, 4)] == ["0.0"] * 4


@pytest.mark.parametrize("code", [2, 8])
def test_what_cannot_work_ends_all(start: Start, tmp_path: Path, code: int) -> None:
    process = start(
        one=RUNS.format("one"),
        two=f"time.sleep(0.3)\nsys.exit({code})",
    )
    assert process.wait(10) == code
    assert "one ends" in (tmp_path / "notes").read_text()


def test_what_does_not_stop_is_killed(start: Start, tmp_path: Path) -> None:
    process = start(
        "supervise.STOP_DEADLINE_S = 0.2",
        one="signal.signal(15, signal.SIG_IGN); ready(); time.sleep(60)",
    )
    lines(process, 1)
    pid = pids(tmp_path)["one"]
    process.terminate()
    assert process.wait(10) == 0
    assert gone(pid)


def test_children_die_with_the_supervisor(start: Start, tmp_path: Path) -> None:
    process = start(one=RUNS.format("one"), two=RUNS.format("two"))
    lines(process, 2)
    children = list(pids(tmp_path).values())
    process.kill()
    process.wait(5)
    wait_for(lambda: all(gone(pid) for pid in children), "the children's end", 5)


def test_logs_are_kept_and_turned_over(start: Start, tmp_path: Path) -> None:
    (tmp_path / "one.log").write_text("x" * 100)
    process = start(
        "supervise.LOG_ROTATE_BYTES = 50", one="print('hello', flush=True)\n" + RUNS.format("one")
    )
    lines(process, 1)
    assert (tmp_path / "one.log").read_text() == "hello\n"
    assert (tmp_path / "one.log.1").read_text() == "x" * 100


def test_it_stays_small_and_quiet(start: Start) -> None:
    process = start(one=RUNS.format("one"))
    lines(process, 1)
    status = Path(f"/proc/{process.pid}/status").read_text()
    resident_kb = int(status.split("VmRSS:")[1].split()[0])
    assert resident_kb < 20_000
    switches = int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
    time.sleep(0.5)
    after = Path(f"/proc/{process.pid}/status").read_text()
    assert int(after.split("\nvoluntary_ctxt_switches:")[1].split()[0]) - switches <= 2
