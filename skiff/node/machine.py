"""Facts of this machine that its node object shows: size, kernel, system, addresses."""

import contextlib
import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
HUGEPAGES = Path("/sys/kernel/mm/hugepages")


@dataclass(frozen=True, slots=True)
class Machine:
    """See the module's text. `hugepages` is by page size, as resources name it (`2Mi`)."""

    cpus: int
    memory_bytes: int
    disk_bytes: int
    architecture: str
    kernel_version: str = ""
    os_image: str = ""
    machine_id: str = ""
    system_uuid: str = ""
    boot_id: str = ""
    swap_bytes: int = 0
    hugepages: Mapping[str, int] = field(default_factory=dict)


def read_machine(root_dir: Path) -> Machine:
    """This machine; `disk_bytes` is the size of the file system that holds `root_dir`."""
    memory = _meminfo()
    disk = os.statvfs(_existing(root_dir))
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=memory.get("MemTotal", 0),
        disk_bytes=disk.f_blocks * disk.f_frsize,
        architecture=ARCHITECTURES.get(platform.machine(), platform.machine()),
        kernel_version=platform.release(),
        os_image=_os_image(),
        machine_id=_read("/etc/machine-id"),
        system_uuid=_read("/sys/class/dmi/id/product_uuid") or _read("/etc/machine-id"),
        boot_id=_read("/proc/sys/kernel/random/boot_id"),
        swap_bytes=memory.get("SwapTotal", 0),
        hugepages=_hugepages(),
    )


def simulated_machine() -> Machine:
    """The same machine everywhere."""
    return Machine(
        cpus=16,
        memory_bytes=64 << 30,
        disk_bytes=256 << 30,
        architecture="amd64",
        kernel_version="6.12.0",
        os_image="Simulated",
        machine_id="0" * 32,
        system_uuid="0" * 32,
        boot_id="0" * 32,
    )


def default_ip() -> str:
    """The address that this machine uses towards others (nothing is sent), else loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # TEST-NET-1: only the routing table is asked
        return str(probe.getsockname()[0])
    return "127.0.0.1"


def _existing(path: Path) -> Path:
    return next((p for p in (path, *path.parents) if p.exists()), Path("/"))


def _meminfo() -> dict[str, int]:
    found = {}
    for line in _read("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        fields = rest.split()
        if len(fields) == 2:
            found[name] = int(fields[0]) * 1024
    return found


def _hugepages() -> dict[str, int]:
    found = {}
    with contextlib.suppress(OSError):
        for directory in HUGEPAGES.iterdir():
            kilobytes = int(directory.name.removeprefix("hugepages-").removesuffix("kB"))
            size = f"{kilobytes >> 20}Gi" if kilobytes >> 20 else f"{kilobytes >> 10}Mi"
            count = int(_read(str(directory / "nr_hugepages")) or 0)
            found[size] = count * kilobytes * 1024
    return found


def _os_image() -> str:
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
