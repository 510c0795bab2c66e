"""`skiff up`: check the machine, start a cluster, keep it running, show how far it is.

The supervisor is this process (foreground) or a session of its own (`--detach`), whose progress
lines the command shows until all is ready. Standard library only, see `supervise`.
"""

import argparse
import dataclasses
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import TextIO

from skiff import __version__
from skiff.cli import checks
from skiff.cli.exits import FAILED, MISSING, NOT_PERMITTED, NOT_RUNNING, CommandError
from skiff.cli.layout import Layout, Settings
from skiff.cli.supervise import HOPELESS, Program, Supervisor

KUBERNETES_VERSION = "v1.36.0"
DETACH_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
PROGRESS_FD = "SKIFF_PROGRESS_FD"


def run(arguments: argparse.Namespace) -> int:
    """Start the cluster that `arguments` describe; return the exit code."""
    layout = Layout(arguments.state_dir.resolve())
    inner = os.environ.pop(PROGRESS_FD, "")
    checks.usable_state(layout)
    if arguments.detach:
        # Checked here too, so that what is wrong is said where the user looks.
        checks.lock(layout).close()
        _preflight(_settings(layout, arguments), layout)
        return _detach(arguments)
    lock = checks.lock(layout)
    out = os.fdopen(int(inner), "w") if inner else sys.stdout
    try:
        return _supervise(layout, arguments, out)
    finally:
        lock.close()


def _settings(layout: Layout, arguments: argparse.Namespace) -> Settings:
    """What was chosen now, over what this state directory was started with before."""
    saved = layout.load_settings() or Settings()
    given = {
        f.name: getattr(arguments, f.name)
        for f in dataclasses.fields(Settings)
        if getattr(arguments, f.name, None) is not None
    }
    settings = dataclasses.replace(saved, **given)
    if "context" not in given and layout.tag:
        settings = dataclasses.replace(settings, context=layout.name)
    for name in ("service_cidr", "cluster_cidr"):
        before, now = getattr(saved, name), getattr(settings, name)
        if layout.settings_file.exists() and before != now:
            raise CommandError(
                f"this cluster uses {name.replace('_', '-')} {before} and cannot change to {now}; "
                "start a new one with another --state-dir"
            )
    return settings


def _preflight(settings: Settings, layout: Layout) -> tuple[Settings, list[str]]:
    """Check ports and programs; fall back to simulated nodes, with the reasons, where allowed."""
    checks.free_port(settings.secure_port, settings.bind_address, "--secure-port")
    checks.free_port(settings.kubelet_port, settings.bind_address, "--kubelet-port")
    if settings.runtime == "simulated":
        return settings, []
    reasons = []
    if os.geteuid() != 0:
        reasons.append("not root")
    missing = checks.missing_programs()
    if missing:
        reasons.append("missing: " + ", ".join(missing))
    if not reasons:
        reasons = checks.missing_kernel_parts()
    if not reasons:
        fresh = not (layout.root / "containerd").exists()
        checks.free_ranges(settings, layout.bridge, fresh=fresh)
        return settings, []
    if (layout.root / "containerd").exists():
        code = NOT_PERMITTED if os.geteuid() != 0 else MISSING
        raise CommandError(
            f"this cluster has real containers, which cannot run now ({'; '.join(reasons)})", code
        )
    return dataclasses.replace(settings, runtime="simulated"), reasons


def _supervise(layout: Layout, arguments: argparse.Namespace, out: TextIO) -> int:
    wanted = _settings(layout, arguments)
    settings, reasons = _preflight(wanted, layout)
    layout.save_settings(wanted if reasons else settings)
    merge = None if arguments.no_kubeconfig else str(settings.context)
    reach = f"--context {merge}" if merge else f"--kubeconfig {layout.admin_kubeconfig}"
    say = _Progress(out, layout, reach)
    say.line(f"skiff {__version__}: Kubernetes {KUBERNETES_VERSION}, state in {layout.root}")
    if reasons:
        say.line(f"  no real containers here ({'; '.join(reasons)}): nodes are simulated")
    programs = _programs(layout, settings)
    say.waiting = {p.name for p in programs}
    say.when_server_ready = (lambda: _merge_kubeconfig(layout, merge)) if merge else None
    code = Supervisor(programs, layout.pids, say.ready, say.ended).run()
    if code:
        raise CommandError(say.last_words or "a component gave up; see `skiff logs`", code)
    say.line("stopped")
    return 0


def _programs(layout: Layout, settings: Settings) -> list[Program]:
    """The processes of the cluster, in the order in which they start (and stop, reversed)."""
    this = [sys.executable, "-m", "skiff"]
    state = ["--state-dir", str(layout.root)]
    runtime = settings.runtime
    programs = []
    if runtime == "containerd":
        from skiff.cli.containers import prepare_containerd  # real containers only

        programs.append(
            Program(
                "containerd",
                prepare_containerd(layout),
                layout.logs / "containerd.log",
                ready_on_start=True,
                before_stop=[*this, "clean", *state],
            )
        )
        runtime = f"unix://{layout.containerd_socket}"
    programs.append(Program("server", [*this, "server", *state], layout.logs / "server.log"))
    programs.append(Program("control", [*this, "control", *state], layout.logs / "control.log"))
    node = [*this, "node", *state, "--container-runtime-endpoint", runtime]
    programs.append(Program("node", node, layout.logs / "node.log"))
    return programs


class _Progress:
    """Writes one line for each thing that becomes ready, ends or comes back. `reach` is the option
    that leads kubectl here."""

    def __init__(self, out: TextIO, layout: Layout, reach: str) -> None:
        self._out = out
        self._layout = layout
        self._reach = reach
        self._complete = False
        self.waiting: set[str] = set()
        self.last_words = ""
        self.when_server_ready: Callable[[], None] | None = None

    def line(self, text: str) -> None:
        try:
            self._out.write(text + "\n")
            self._out.flush()
        except (BrokenPipeError, ValueError):
            self._out = Path(os.devnull).open("w")  # noqa: SIM115 - nobody looks any more

    def ready(self, name: str, said: str, seconds: float) -> None:
        said = "" if said == "ready" else said
        self.line(f"  ✓ {name:<11} {seconds:5.2f} s  {said}".rstrip())
        if name == "server" and self.when_server_ready:
            self.when_server_ready()
            self.when_server_ready = None
        self.waiting.discard(name)
        if not self.waiting and not self._complete:
            self._complete = True
            self.line(f"  ready in {seconds:.1f} s. Try: kubectl {self._reach} get nodes")
            self.line("")

    def ended(self, name: str, code: int, delay_s: float) -> None:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        log = self._layout.logs / f"{name}.log"
        if code in HOPELESS:
            self.last_words = _last_line(log).removeprefix("skiff: ")
            self.line(f"  ✗ {name} gave up ({how}); its log: {log}")
            return
        self.line(f"  ✗ {name} ended ({how}), starting it again in {delay_s:.1f} s; its log: {log}")
        last = _last_line(log)
        if code > 0 and last:
            self.line(f"    {last}")


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def _merge_kubeconfig(layout: Layout, context: str) -> None:
    """In a process of its own: YAML stays out of the supervisor's memory."""
    command = [
        sys.executable,
        "-m",
        "skiff",
        "kubeconfig",
        "--merge",
        "--state-dir",
        str(layout.root),
    ]
    subprocess.Popen(
        [*command, "--context", context], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def _detach(arguments: argparse.Namespace) -> int:
    """Run the supervisor in a session of its own; show its progress until all is ready."""
    read_end, write_end = os.pipe()
    inner = [a for a in arguments.argv if a not in ("--detach", "-d")]
    process = subprocess.Popen(
        [sys.executable, "-m", "skiff", *inner],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, PROGRESS_FD: str(write_end)},
        pass_fds=(write_end,),
        start_new_session=True,
    )
    os.close(write_end)
    with FileIO(read_end) as progress:
        for line in _lines(progress, DETACH_TIMEOUT_S):
            sys.stdout.write(line)
            sys.stdout.flush()
            if line.startswith("  ready in "):
                return 0
    assert process.stderr is not None
    error = process.stderr.read().decode(errors="replace")
    code = process.wait()
    sys.stderr.write(error)
    return code or FAILED


def _lines(progress: FileIO, timeout_s: float) -> Iterator[str]:
    """What the supervisor says, line by line. Raises CommandError where it is not done in time; it
    goes on working."""
    deadline = time.monotonic() + timeout_s  # noqa: TID251 - no event loop here
    rest = b""
    while True:
        left_s = deadline - time.monotonic()  # noqa: TID251 - see above
        if left_s <= 0 or not select.select([progress], [], [], left_s)[0]:
            raise CommandError(
                f"not ready after {timeout_s:.0f} s, and still at it; see `skiff logs` for what it waits"
                " for, and `skiff down` to end it"
            )
        data = progress.read(4096)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace") + "\n"


def down(arguments: argparse.Namespace) -> int:
    """`skiff down`: stop processes and containers; the state stays unless `--delete`."""
    layout = Layout(arguments.state_dir.resolve())
    if not layout.run.exists():
        raise CommandError(f"there is no cluster in {layout.root}", NOT_RUNNING)
    supervisor = running(layout)
    if supervisor:
        os.kill(supervisor, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S  # noqa: TID251 - no event loop here
        while running(layout):
            if time.monotonic() > deadline:  # noqa: TID251 - see above
                raise CommandError(f"not stopped within {STOP_TIMEOUT_S:.0f} s; see `skiff status`")
            time.sleep(0.05)
    if left_over(layout):
        clean(arguments)
    if arguments.delete:
        import shutil  # the supervisor does without

        shutil.rmtree(layout.root)
        sys.stdout.write(f"stopped; {layout.root} is deleted\n")
    elif supervisor:
        sys.stdout.write(f"stopped; the cluster's state stays in {layout.root}\n")
    else:
        raise CommandError(f"no cluster is running in {layout.root}", NOT_RUNNING)
    return 0


def clean(arguments: argparse.Namespace) -> int:
    """`skiff clean`: remove the cluster's containers, interfaces, rules and mounts from the machine."""
    from skiff.cli.containers import clean_machine  # needs gRPC

    clean_machine(Layout(arguments.state_dir.resolve()))
    return 0


def left_over(layout: Layout) -> bool:
    """Whether a cluster that nobody supervises left containers or their mounts behind."""
    mounts = Path("/proc/mounts").read_text()
    return any(f" {p}/" in mounts for p in (layout.root, layout.volatile, f"/run/{layout.name}"))


def running(layout: Layout) -> int:
    """The supervisor's pid, or 0 where the lock is free."""
    try:
        with layout.lock.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return 0
    except BlockingIOError:
        return int(layout.lock.read_text().strip() or 0)
    except FileNotFoundError:
        return 0


def processes(layout: Layout) -> dict[str, int]:
    """The pids of the cluster's processes by name."""
    try:
        found: dict[str, int] = json.loads(layout.pids.read_text())["processes"]
    except (FileNotFoundError, ValueError):
        return {}
    return found
