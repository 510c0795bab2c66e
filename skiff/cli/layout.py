"""Where a cluster keeps its things: every path under one state directory, and the settings beside them.

Two clusters with two state directories share nothing: names of interfaces, packet-filter tables and
runtime sockets carry the state directory's hash, unless it is the default one.
Standard library only: the supervisor imports this and must stay small.
"""

import binascii
import contextlib
import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from skiff.cli.exits import BAD_STATE, NOT_PERMITTED, CommandError

ROOT_STATE_DIR = Path("/var/lib/skiff")
SHORT_HASH = 6


def default_state_dir() -> Path:
    """`$SKIFF_STATE_DIR`, else /var/lib/skiff for root, else ~/.local/share/skiff."""
    named = os.environ.get("SKIFF_STATE_DIR")
    if named:
        return Path(named)
    if os.geteuid() == 0:
        return ROOT_STATE_DIR
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local/share") / "skiff"


@dataclass(frozen=True)
class Settings:
    """What `skiff up` was told; kept in `<state>/cluster.json` for the other commands."""

    secure_port: int = 6443
    kubelet_port: int = 10250
    bind_address: str = "0.0.0.0"  # noqa: S104 - pods and other machines reach the API server here
    advertise_address: str = ""
    service_cidr: str = "10.96.0.0/16"
    cluster_cidr: str = "10.244.0.0/16"
    node_port_range: str = "30000-32767"
    cluster_domain: str = "cluster.local"
    node_name: str = ""
    runtime: str = "containerd"  # or "simulated", or a CRI endpoint unix:///…
    nodes: int = 1
    context: str = "skiff"


@dataclass(frozen=True)
class Layout:
    """The paths of one cluster's state directory."""

    root: Path

    @property
    def tag(self) -> str:
        """What names on the machine carry so that clusters are apart: "" for the default one."""
        if self.root == ROOT_STATE_DIR:
            return ""
        # Not hashlib: it would load OpenSSL, a third of the supervisor's memory.
        return f"{binascii.crc32(str(self.root).encode()):08x}"[:SHORT_HASH]

    @property
    def name(self) -> str:
        """`skiff`, or `skiff-<hash>` away from the default state directory."""
        return f"skiff-{self.tag}" if self.tag else "skiff"

    @property
    def bridge(self) -> str:
        """The pod bridge's interface name (15 characters at most)."""
        return f"sk{self.tag}0" if self.tag else "skiff0"

    @property
    def run(self) -> Path:
        """Process ids, the lock, progress."""
        return self.root / "run"

    @property
    def volatile(self) -> Path:
        """Sockets and runtime state: short paths on a volatile file system where there is one."""
        return Path("/run") / self.name if os.geteuid() == 0 else self.run

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def kubeconfigs(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.kubeconfigs / "admin.kubeconfig"

    @property
    def server_data(self) -> Path:
        return self.root / "server"

    @property
    def node_root(self) -> Path:
        return self.root / "node"

    @property
    def pod_logs(self) -> Path:
        return self.root / "pod-logs"

    @property
    def containerd(self) -> Path:
        return self.root / "containerd"

    @property
    def containerd_socket(self) -> Path:
        return self.volatile / "containerd.sock"

    @property
    def build(self) -> Path:
        """Where `skiff image build` keeps layers."""
        return self.root / "build"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        return self.run / "skiff.lock"

    @property
    def pids(self) -> Path:
        return self.run / "processes.json"

    @property
    def settings_file(self) -> Path:
        return self.root / "cluster.json"

    def load_settings(self) -> Settings | None:
        """The settings of the cluster here; None where there is none. Raises CommandError if torn."""
        file = self.settings_file
        try:
            data = json.loads(file.read_text())
        except FileNotFoundError:
            return None
        except OSError as e:
            raise CommandError(
                f"cannot read {file}: {e.strerror}; run as its owner or choose another --state-dir",
                NOT_PERMITTED if isinstance(e, PermissionError) else BAD_STATE,
            ) from e
        except ValueError as e:
            text = f"{file} is not valid JSON ({e}); repair or remove it"
            raise CommandError(text, BAD_STATE) from e
        if not isinstance(data, dict):
            raise CommandError(f"{file} is no JSON object; repair or remove it", BAD_STATE)
        kinds = {f.name: type(f.default) for f in dataclasses.fields(Settings)}
        for name, value in data.items():
            if name in kinds and type(value) is not kinds[name]:
                raise CommandError(
                    f"{file}: {name} is {value!r}, not of type {kinds[name].__name__}; "
                    "repair or remove it",
                    BAD_STATE,
                )
        return Settings(**{k: v for k, v in data.items() if k in kinds})

    def save_settings(self, settings: Settings) -> None:
        write_atomically(
            self.settings_file, json.dumps(dataclasses.asdict(settings), indent=2) + "\n"
        )


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Write `text` so that a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(text)
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
