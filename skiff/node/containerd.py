"""containerd as the node's own child: where its files are, its configuration, its command line.

Skiff's containerd shares nothing with a system one: own root, state, socket, runc root and CNI
directories. Only the standard library is imported here, so that the supervisor can use it.

What the configuration settles, and why:
- `restrict_oom_score_adj`: without CAP_SYS_RESOURCE (a container, some CI machines) a negative
  oom_score_adj makes every pod fail, so runc then keeps to what the process may set;
- the snapshotter is overlayfs where a trial mount succeeds, else `native` (copies, always works);
- plug-ins that CRI does not need are off: they cost memory, and some log errors on machines
  without btrfs, zfs or device mapper;
- `enable_unprivileged_ports` and `_icmp`: containers that do not run as root may bind port 80 and ping.

Source: https://github.com/containerd/containerd/blob/release/1.6/docs/cri/config.md
"""

import ctypes
import ctypes.util
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

CAP_SYS_RESOURCE = 24
CNI_BIN_DIRS = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
PAUSE_IMAGE = "localhost/skiff-pause:1"

DISABLED_PLUGINS = (
    "io.containerd.internal.v1.restart",
    "io.containerd.internal.v1.tracing",
    "io.containerd.monitor.v1.cgroups",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
)


@dataclass(frozen=True, slots=True)
class ContainerdLayout:
    """Where one containerd keeps its files. `state` must be short: sockets live below it."""

    root: Path
    state: Path
    config: Path
    cni_conf_dir: Path
    cni_bin_dir: Path

    @property
    def socket(self) -> Path:
        """The gRPC socket: CRI and containerd's own services."""
        return self.state / "containerd.sock"


def layout(state_dir: Path) -> ContainerdLayout:
    """The places for the cluster whose state is in `state_dir`."""
    digest = hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:8]
    base = state_dir / "containerd"
    return ContainerdLayout(
        root=base / "root",
        state=Path("/run") / f"skiff-{digest}",
        config=base / "config.toml",
        cni_conf_dir=base / "cni" / "net.d",
        cni_bin_dir=find_cni_bin_dir(),
    )


def find_cni_bin_dir() -> Path:
    """The directory with the standard CNI plugins; the usual one where none is found."""
    for name in CNI_BIN_DIRS:
        if (Path(name) / "bridge").exists():
            return Path(name)
    return Path(CNI_BIN_DIRS[0])


def render_config(
    places: ContainerdLayout,
    *,
    snapshotter: str,
    restrict_oom_score_adj: bool,
    sandbox_image: str = PAUSE_IMAGE,
) -> str:
    """The configuration file (TOML; a JSON string or list is also TOML's)."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return "\n".join(
        (
            "version = 2",
            f"root = {json.dumps(str(places.root))}",
            f"state = {json.dumps(str(places.state))}",
            f"disabled_plugins = {json.dumps(DISABLED_PLUGINS)}",
            "",
            "[grpc]",
            f"address = {json.dumps(str(places.socket))}",
            "",
            f"[{cri}]",
            f"sandbox_image = {json.dumps(sandbox_image)}",
            f"restrict_oom_score_adj = {json.dumps(restrict_oom_score_adj)}",
            'stream_server_address = "127.0.0.1"',
            'stream_server_port = "0"',
            "enable_unprivileged_ports = true",
            "enable_unprivileged_icmp = true",
            "netns_mounts_under_state_dir = true",
            "tolerate_missing_hugetlb_controller = true",
            "",
            f"[{cri}.cni]",
            f"bin_dir = {json.dumps(str(places.cni_bin_dir))}",
            f"conf_dir = {json.dumps(str(places.cni_conf_dir))}",
            "",
            f"[{cri}.containerd]",
            f"snapshotter = {json.dumps(snapshotter)}",
            'default_runtime_name = "runc"',
            "",
            f"[{cri}.containerd.runtimes.runc]",
            'runtime_type = "io.containerd.runc.v2"',
            "",
            f"[{cri}.containerd.runtimes.runc.options]",
            f"Root = {json.dumps(str(places.state / 'runc'))}",
            "",
        )
    )


def write_config(places: ContainerdLayout) -> None:
    """Make the directories and write the configuration that fits this machine."""
    for directory in (places.root, places.state, places.cni_conf_dir, places.config.parent):
        directory.mkdir(parents=True, exist_ok=True)
    text = render_config(
        places,
        snapshotter="overlayfs" if overlay_works(places.root) else "native",
        restrict_oom_score_adj=not has_capability(CAP_SYS_RESOURCE),
    )
    if not places.config.exists() or places.config.read_text() != text:
        places.config.write_text(text)


def command(places: ContainerdLayout, binary: str = "containerd") -> list[str]:
    """The command line."""
    return [binary, "--config", str(places.config), "--log-level", "warn"]


def environment() -> dict[str, str]:
    """The environment: ours, with a tighter garbage collector (its heap is small, its garbage is not)."""
    return {"GOGC": "50", **os.environ}


def has_capability(number: int) -> bool:
    """Whether this process has capability `number` (capabilities(7)) in its effective set."""
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> number & 1)
    return False


def overlay_works(directory: Path) -> bool:
    """Whether an overlay can be mounted with its layers in `directory` (not on some file systems, nor
    where mounting is forbidden)."""
    libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".overlay-") as name:
        parts = {part: Path(name) / part for part in ("lower", "upper", "work", "merged")}
        for path in parts.values():
            path.mkdir()
        options = f"lowerdir={parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
        target = str(parts["merged"]).encode()
        if libc.mount(b"overlay", target, b"overlay", 0, options.encode()) != 0:
            return False
        libc.umount2(target, 2)
        return True
