"""`skiff status` and `skiff logs`: what runs, and what it says."""

import argparse
import os
import sys
import time
from pathlib import Path

from skiff.cli.exits import NOT_RUNNING, CommandError
from skiff.cli.layout import Layout
from skiff.cli.up import processes, running

FOLLOW_INTERVAL_S = 0.2
LINE_MAX_BYTES = 64 * 1024


def status(arguments: argparse.Namespace) -> int:
    """Print each process with pid, memory and CPU time; exit code 4 where no cluster runs."""
    layout = Layout(arguments.state_dir.resolve())
    settings = layout.load_settings()
    if settings is None:
        raise CommandError(f"there is no cluster in {layout.root}", NOT_RUNNING)
    supervisor = running(layout)
    if not supervisor:
        raise CommandError(
            f"the cluster in {layout.root} is not running; start it with `skiff up`", NOT_RUNNING
        )
    out = [f"state      {layout.root}"]
    out.append(f"server     https://127.0.0.1:{settings.secure_port}  (context {settings.context})")
    out.append(f"runtime    {settings.runtime}")
    out.append(f"{'PROCESS':<12}{'PID':>8}{'MEMORY':>10}{'CPU':>10}{'UP':>10}")
    total = 0
    for name, pid in {"supervisor": supervisor, **processes(layout)}.items():
        seen = _process(pid)
        if seen is None:
            out.append(f"{name:<12}{pid:>8}      ended")
            continue
        memory, cpu_s, up_s = seen
        total += memory
        out.append(f"{name:<12}{pid:>8}{memory / 2**20:>7.0f} MB{cpu_s:>8.1f} s{up_s:>8.0f} s")
    out.append(f"{'all':<20}{total / 2**20:>7.0f} MB")
    sys.stdout.write("\n".join(out) + "\n")
    return 0


def _process(pid: int) -> tuple[int, float, float] | None:
    """Resident bytes, CPU seconds and age in seconds."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
        uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    cpu_s = (int(fields[11]) + int(fields[12])) / ticks
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE"), cpu_s, uptime_s - int(fields[19]) / ticks


def logs(arguments: argparse.Namespace) -> int:
    """Print the last lines of one component's log, or of all; go on with `--follow`."""
    layout = Layout(arguments.state_dir.resolve())
    found = {p.stem: p for p in sorted(layout.logs.glob("*.log"))}
    if not found:
        raise CommandError(f"there are no logs in {layout.logs}", NOT_RUNNING)
    if arguments.component and arguments.component not in found:
        raise CommandError(f"no log of {arguments.component!r}; there are: {', '.join(found)}")
    chosen = {n: p for n, p in found.items() if arguments.component in (None, n)}
    positions = {}
    for name, path in chosen.items():
        data = path.read_bytes()
        positions[name] = data.rfind(b"\n") + 1
        for line in last_lines(data, arguments.tail):
            _print(name, line, len(chosen) > 1)
    while arguments.follow:
        time.sleep(FOLLOW_INTERVAL_S)  # a person's terminal; no loop here
        for name, path in chosen.items():
            positions[name] = _follow(name, path, positions[name], len(chosen) > 1)
    return 0


def last_lines(data: bytes, count: int) -> list[str]:
    """The last `count` whole lines."""
    lines = data[: data.rfind(b"\n") + 1].decode(errors="replace").splitlines()
    return lines[-count:] if count > 0 else []


def _follow(name: str, path: Path, position: int, prefix: bool) -> int:
    size = path.stat().st_size if path.exists() else 0
    if size < position:
        position = 0
    if size == position:
        return position
    with path.open("rb") as file:
        file.seek(position)
        data = file.read(size - position)
    # What is half written waits for the rest of its line.
    data = data[: data.rfind(b"\n") + 1] or (data if len(data) > LINE_MAX_BYTES else b"")
    for line in data.decode(errors="replace").splitlines():
        _print(name, line, prefix)
    return position + len(data)


def _print(name: str, line: str, prefix: bool) -> None:
    sys.stdout.write(f"{name:<11}| {line}\n" if prefix else f"{line}\n")
    sys.stdout.flush()
