"""A root file system out of Debian packages: busybox with the C library that it is linked to.

Not busybox-static: a static glibc program cannot resolve names. The package is downloaded, never
installed, because it conflicts with the static one.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path


def busybox_root(root: Path) -> None:
    """Make `root` hold /bin/busybox and the libraries that it needs."""
    with tempfile.TemporaryDirectory() as directory:
        package = _download("busybox", Path(directory))
        unpacked = Path(directory) / "unpacked"
        subprocess.run(["dpkg-deb", "-x", str(package), str(unpacked)], check=True)
        binary = next(
            p for p in (unpacked / "bin/busybox", unpacked / "usr/bin/busybox") if p.exists()
        )
        (root / "bin").mkdir(parents=True)
        shutil.copy(binary, root / "bin/busybox")
    listed = subprocess.run(
        ["ldd", str(root / "bin/busybox")], capture_output=True, text=True, check=True
    )
    for library in re.findall(r"(/\S+) \(0x", listed.stdout):
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)


def _download(name: str, directory: Path) -> Path:
    command = ["apt-get", "-q", "download", name]
    options = {"cwd": directory, "stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    done = subprocess.run(command, check=False, **options)  # type: ignore[call-overload] # one dict for both
    if done.returncode:
        subprocess.run(["apt-get", "-q", "update"], check=True, **options)  # type: ignore[call-overload] # as above
        done = subprocess.run(command, check=False, **options)  # type: ignore[call-overload] # as above
    found = list(directory.glob(f"{name}_*.deb"))
    assert found, f"apt-get download {name} failed: {done.stderr}"
    return found[0]
