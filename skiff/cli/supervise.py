"""The supervisor: starts a cluster's processes, watches them, restarts what dies.

A single thread around one selector; standard library only and no asyncio, so that it costs a few
megabytes. A child says that it is ready by writing a line to the file descriptor named in
`SKIFF_READY_FD`. A child that ends is started again at once, then after 0.2 s doubling to 5 s
while it keeps ending within 10 s; but one whose exit code says that trying again is no use (the
state is unusable, the settings are wrong) ends the whole. Children die with the supervisor (PR_SET_PDEATHSIG), containers
do not: their shims belong to nobody.
"""

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from skiff.cli.exits import BAD_STATE, USAGE
from skiff.cli.layout import write_atomically

READY_FD = "SKIFF_READY_FD"
STABLE_AFTER_S = 10.0
BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 5.0
STOP_DEADLINE_S = 10.0
CLEAN_DEADLINE_S = 40.0
HOPELESS = frozenset({USAGE, BAD_STATE})
"""Exit codes after which another start would end the same."""
LOG_ROTATE_BYTES = 10 * 1024 * 1024
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Program:
    """A process to keep running. `ready_on_start` is for programs that cannot say it themselves;
    `before_stop` is a command that is run to its end before the process is stopped."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    ready_on_start: bool = False
    before_stop: Sequence[str] = ()


class _Child:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.restart_at = 0.0
        self.backoff_s = 0.0
        self.restarts = 0
        self.ready = False


OnReady = Callable[[str, str, float], None]
"""Called with the program's name, what it said, and seconds since the supervisor's start."""


class Supervisor:
    """Runs `programs` until told to stop by SIGTERM or SIGINT."""

    def __init__(
        self,
        programs: Sequence[Program],
        pids: Path,
        on_ready: OnReady,
        on_exit: Callable[[str, int, float], None],
    ) -> None:
        self._children = [_Child(p) for p in programs]
        self._pids = pids
        self._on_ready = on_ready
        self._on_exit = on_exit
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._exit_code = 0
        self._began = time.monotonic()  # noqa: TID251 - the supervisor has no event loop to take time from

    def run(self) -> int:
        """Start everything, keep it running, and return once all of it has stopped: 0, or the exit
        code of the program that made it hopeless."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self._stop())
        self._selector.register(wake_read, selectors.EVENT_READ)
        for child in self._children:
            self._start(child)
        while not self._stopping:
            for key, _ in self._selector.select(self._until_restart()):
                if key.data is None:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake_read, 4096)
                else:
                    self._read_ready(key.fd, key.data)
            self._reap()
            self._restart_due()
        self._shut_down()
        return self._exit_code

    def _stop(self) -> None:
        self._stopping = True

    def _start(self, child: _Child) -> None:
        program = child.program
        program.log.parent.mkdir(parents=True, exist_ok=True)
        if program.log.exists() and program.log.stat().st_size > LOG_ROTATE_BYTES:
            program.log.replace(program.log.with_suffix(".log.1"))
        read_end, write_end = os.pipe()
        environment = {**os.environ, **program.environment, READY_FD: str(write_end)}
        with program.log.open("ab") as log:
            child.process = subprocess.Popen(
                program.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=(write_end,),
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        os.close(write_end)
        child.started_at = time.monotonic()  # noqa: TID251 - see above
        child.restart_at = 0.0
        child.ready = False
        self._selector.register(read_end, selectors.EVENT_READ, child)
        self._write_pids()
        if program.ready_on_start:
            self._ready(child, "")

    def _read_ready(self, fd: int, child: _Child) -> None:
        said = os.read(fd, 4096)
        if not said:
            self._selector.unregister(fd)
            os.close(fd)
        elif not child.ready:
            self._ready(child, said.decode(errors="replace").splitlines()[0])

    def _ready(self, child: _Child, said: str) -> None:
        child.ready = True
        self._on_ready(child.program.name, said, time.monotonic() - self._began)  # noqa: TID251

    def _reap(self) -> None:
        now = time.monotonic()  # noqa: TID251 - see above
        for child in self._children:
            if child.process is None or child.process.poll() is None:
                continue
            code = child.process.returncode
            child.process = None
            if code in HOPELESS and not self._stopping:
                self._stopping, self._exit_code = True, code
            lasted = now - child.started_at
            if lasted > STABLE_AFTER_S:
                child.backoff_s = 0.0
            delay = child.backoff_s
            child.backoff_s = min(max(delay * 2, BACKOFF_FIRST_S), BACKOFF_MAX_S)
            child.restart_at = now + delay
            child.restarts += 1
            self._on_exit(child.program.name, code, delay)

    def _restart_due(self) -> None:
        now = time.monotonic()  # noqa: TID251 - see above
        for child in self._children:
            if child.process is None and child.restart_at <= now and not self._stopping:
                self._start(child)

    def _until_restart(self) -> float | None:
        due = [c.restart_at for c in self._children if c.process is None]
        if not due:
            return None
        return max(0.0, min(due) - time.monotonic())  # noqa: TID251 - see above

    def _shut_down(self) -> None:
        """Stop in reverse order of start; SIGKILL past the deadline."""
        for child in reversed(self._children):
            process = child.process
            if process is None:
                continue
            if child.program.before_stop:
                _run_bounded(child.program.before_stop, child.program.log)
            process.terminate()
            try:
                process.wait(STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        with contextlib.suppress(FileNotFoundError):
            self._pids.unlink()

    def _write_pids(self) -> None:
        running = {c.program.name: c.process.pid for c in self._children if c.process}
        write_atomically(
            self._pids, json.dumps({"supervisor": os.getpid(), "processes": running}) + "\n"
        )


def _run_bounded(command: Sequence[str], log: Path) -> None:
    with log.open("ab") as file, contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            timeout=CLEAN_DEADLINE_S,
            check=False,
        )


_LIBC = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def say_ready(text: str = "ready") -> None:
    """Tell the supervisor, where there is one, that this process is ready."""
    fd = os.environ.pop(READY_FD, "")
    if fd:
        with contextlib.suppress(OSError):
            os.write(int(fd), f"{text}\n".encode())
            os.close(int(fd))
