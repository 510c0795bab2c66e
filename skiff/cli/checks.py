"""What is looked at before a cluster starts: binaries, ports, rights, the state directory.

Each check raises `CommandError` with what is wrong, where, and what to do. Standard library only.
"""

import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from skiff.cli.exits import (
    ALREADY_RUNNING,
    BAD_STATE,
    NOT_PERMITTED,
    PORT_IN_USE,
    RANGE_IN_USE,
    CommandError,
)
from skiff.cli.layout import Layout, Settings

if TYPE_CHECKING:
    from ipaddress import IPv4Network

NEEDED = {
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "runc": "runc",
    "ctr": "containerd",
    "nft": "nftables",
    "ip": "iproute2",
}
"""Programs that real containers need, and the Debian packages that carry them."""

ROUTES = Path("/proc/net/route")
ROUTE_REJECT = 0x0200  # RTF_REJECT of linux/route.h: such a route leads nowhere

CNI_DIRECTORIES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
LOCK_TRIES = 5
LOCK_PAUSE_S = 0.02
CNI_NEEDED = ("bridge", "host-local", "loopback", "portmap")


def missing_programs() -> list[str]:
    """What real containers need and this machine lacks, as `program (Debian package)`."""
    import shutil  # with its compressors, which only this check would load

    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    missing = [
        f"{program} ({package})"
        for program, package in NEEDED.items()
        if shutil.which(program, path=path) is None
    ]
    if cni_directory() is None:
        missing.append("CNI plugins (containernetworking-plugins)")
    return missing


def cni_directory() -> Path | None:
    """The first directory that has all the CNI plugins that we use."""
    for directory in CNI_DIRECTORIES:
        if all((directory / plugin).exists() for plugin in CNI_NEEDED):
            return directory
    return None


def usable_state(layout: Layout) -> None:
    """The state directory can be made and written, and its settings can be read."""
    try:
        layout.run.mkdir(parents=True, exist_ok=True)
        layout.root.chmod(0o711)
    except PermissionError as e:
        raise CommandError(
            f"cannot use the state directory {layout.root}: {e.strerror}; "
            "run as its owner or choose another with --state-dir",
            NOT_PERMITTED,
        ) from e
    except (FileExistsError, NotADirectoryError) as e:
        raise CommandError(
            f"the state directory {layout.root} is not a directory; choose another with --state-dir",
            BAD_STATE,
        ) from e
    layout.load_settings()


def lock(layout: Layout) -> TextIO:
    """Take the state directory for this process; the lock ends with it (however it ends)."""
    file = layout.lock.open("a+")
    try:
        _take(file)
    except BlockingIOError as e:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise CommandError(
            f"a cluster is already running in {layout.root} (pid {holder}); "
            "see `skiff status`, stop it with `skiff down`, or start another with --state-dir and other ports",
            ALREADY_RUNNING,
        ) from e
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _take(file: TextIO) -> None:
    """Lock; `skiff status` may hold the lock for a moment, to see whether it is free."""
    for _ in range(LOCK_TRIES - 1):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE_S)
    return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def free_port(port: int, address: str, flag: str) -> None:
    """Nobody listens on `address:port`."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except PermissionError as e:
            raise CommandError(f"not permitted to listen on {address}:{port}", NOT_PERMITTED) from e
        except OSError as e:
            by = _listener(port)
            raise CommandError(
                f"port {port} is in use{by}; stop that program or choose another port with {flag}",
                PORT_IN_USE,
            ) from e


def free_ranges(settings: Settings, bridge: str, *, fresh: bool, routes: Path = ROUTES) -> None:
    """The ranges of pods and Services do not overlap with each other, nor with what this machine reaches
    through other interfaces than the cluster's own `bridge`.

    A new cluster (`fresh`) may not take any part of such a range. One that exists cannot change its
    own; it only stands back where the other route is as narrow and would take its packets."""
    import ipaddress  # real containers only: the supervisor stays small

    found = list(_routes(routes))
    chosen = [
        (what, flag, ipaddress.IPv4Network(text))
        for what, flag, texts in (
            ("pod", "--cluster-cidr", settings.cluster_cidr),
            ("service", "--service-cluster-ip-range", settings.service_cidr),
        )
        for text in texts.split(",")
        if ":" not in text
    ]
    for what, flag, mine in chosen:
        for interface, theirs in found:
            taken = fresh or theirs.prefixlen >= mine.prefixlen
            if interface != bridge and taken and mine.overlaps(theirs):
                remedy = (
                    f"choose another with {flag}"
                    if fresh
                    else f"take that route away, or start a new cluster with another --state-dir and {flag}"
                )
                raise CommandError(
                    f"the {what} range {mine} overlaps with {theirs}, which this machine reaches "
                    f"through interface {interface}; {remedy}",
                    RANGE_IN_USE,
                )
    for _, flag, mine in chosen[1:]:
        if mine.overlaps(chosen[0][2]):
            raise CommandError(
                f"the pod range {chosen[0][2]} and the service range {mine} overlap; "
                f"choose others with --cluster-cidr or {flag}",
                RANGE_IN_USE,
            )


def _routes(table: Path) -> "Iterable[tuple[str, IPv4Network]]":
    """Interface and destination of each IPv4 route, without those of everything (0.0.0.0/0)."""
    import ipaddress  # as above

    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        destination, flags, mask = (int(fields[n], 16) for n in (1, 3, 7))
        length = mask.bit_count()
        if length and not flags & ROUTE_REJECT:
            yield fields[0], ipaddress.IPv4Network((struct.pack("=I", destination), length))


def missing_kernel_parts() -> list[str]:
    """What Services need of the kernel and this one lacks, as a reason; empty where all is there."""
    from skiff.network.proxy.nft import NftCommand, PacketFilterError, probe  # real containers only

    try:
        probe(NftCommand())
    except PacketFilterError as e:
        return [str(e).splitlines()[0]]
    return []


def _listener(port: int) -> str:
    """` by NAME (pid N)` of whoever listens on `port`, or nothing where that cannot be seen."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(fd.readlink()) in inodes for fd in (process / "fd").iterdir()):
                return f" by {(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue
    return ""
