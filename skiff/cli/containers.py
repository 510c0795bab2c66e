"""The cluster's own containerd, and how its containers, interfaces and rules are taken off the machine."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from skiff.cli.layout import Layout
from skiff.network.cni import NetworkError, remove_bridge
from skiff.node.containerd import (
    ContainerdLayout,
    command,
    environment,
    find_cni_bin_dir,
    write_config,
)

CONTAINERD_START_S = 10.0


def places(layout: Layout) -> ContainerdLayout:
    """containerd's directories within the cluster's."""
    return ContainerdLayout(
        root=layout.containerd,
        state=layout.volatile,
        config=layout.containerd / "config.toml",
        cni_conf_dir=layout.root / "cni",
        cni_bin_dir=find_cni_bin_dir(),
    )


def prepare_containerd(layout: Layout) -> list[str]:
    """Write containerd's configuration; return the command that runs it."""
    where = places(layout)
    for directory in (where.root, where.state, where.cni_conf_dir):
        directory.mkdir(parents=True, exist_ok=True)
    write_config(where)
    return command(where)


def clean_machine(layout: Layout) -> None:
    """Remove the cluster's containers, mounts, cgroups, pod interfaces and packet-filter tables. Safe to
    repeat.

    A containerd that is not running is started for as long as this takes: only it knows its containers.
    """
    if layout.containerd.exists():
        from skiff.cli.pods import remove_pods  # gRPC, only where there is something to remove

        started = None if _answers(layout) else _start_containerd(layout)
        try:
            asyncio.run(remove_pods(layout.containerd_socket))
        finally:
            if started is not None:
                started.terminate()
                started.wait(10)
        _end_shims(layout)
    _unmount_below(layout)
    from skiff.node.cgroups import remove_cgroups  # with all views: the supervisor does without

    remove_cgroups(f"/kubepods-{layout.tag}" if layout.tag else "/kubepods")
    _remove_network(layout)
    shutil.rmtree(layout.pod_logs, ignore_errors=True)


def _answers(layout: Layout) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(layout.containerd_socket))
        except OSError:
            return False
    return True


def _start_containerd(layout: Layout) -> "subprocess.Popen[bytes]":
    layout.logs.mkdir(parents=True, exist_ok=True)
    with (layout.logs / "containerd.log").open("ab") as file:
        process = subprocess.Popen(
            prepare_containerd(layout),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=environment(),
        )
    deadline = time.monotonic() + CONTAINERD_START_S  # noqa: TID251 - no event loop here
    while not _answers(layout):
        if process.poll() is not None or time.monotonic() > deadline:  # noqa: TID251
            process.kill()
            raise RuntimeError(f"containerd did not start; see {layout.logs / 'containerd.log'}")
        time.sleep(0.05)
    return process


def _end_shims(layout: Layout) -> None:
    """End shims of this cluster's containerd that outlived their containers."""
    address = str(layout.containerd_socket)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if "containerd-shim" in words[0] and address in words:
                os.kill(int(process.name), signal.SIGKILL)


def _unmount_below(layout: Layout) -> None:
    roots = (f"{layout.root}/", f"{layout.volatile}/")
    lines = Path("/proc/self/mounts").read_text().splitlines()
    mounts = [line.split()[1].replace("\\040", " ") for line in lines]
    for mount in sorted((m for m in mounts if m.startswith(roots)), key=len, reverse=True):
        subprocess.run(["umount", "-l", mount], capture_output=True, check=False)


def _remove_network(layout: Layout) -> None:
    if os.geteuid() != 0:
        return
    with contextlib.suppress(NetworkError):
        remove_bridge(layout.bridge)
    for family in ("ip", "ip6"):
        table = ["nft", "delete", "table", family, layout.name]
        subprocess.run(table, capture_output=True, check=False)
    networks = Path("/var/lib/cni") / layout.bridge
    shutil.rmtree(networks, ignore_errors=True)
    shutil.rmtree(layout.root / "cni-addresses", ignore_errors=True)
