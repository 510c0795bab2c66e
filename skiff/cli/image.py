"""`skiff image`: bring images to the cluster's container runtime without a registry.

`load` imports a docker or OCI archive, `build` runs buildah on a Dockerfile and imports what it
made, `ls` lists what the runtime has. Images go to containerd's namespace `k8s.io`, where the
kubelet looks; a short name such as `web:1` is `docker.io/library/web:1` there, as it is to docker.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from skiff.cli.exits import MISSING, NOT_RUNNING, CommandError
from skiff.cli.layout import Layout

NAMESPACE = "k8s.io"
DEFAULT_TAG = "latest"


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action against the running cluster's containerd."""
    layout = Layout(arguments.state_dir.resolve())
    if not layout.containerd_socket.exists():
        raise CommandError(
            f"no container runtime is running for {layout.root}; start the cluster with `skiff up` "
            "(simulated nodes have no images)",
            NOT_RUNNING,
        )
    if arguments.action == "load":
        return _load(layout, arguments.file)
    if arguments.action == "build":
        return _build(layout, arguments)
    return _list(layout)


def _load(layout: Layout, file: Path) -> int:
    if not file.exists():
        raise CommandError(f"{file}: no such file")
    if not tarfile.is_tarfile(file):
        raise CommandError(
            f"{file} is no tar archive; give a docker or OCI archive (`docker save`)"
        )
    for name in _import(layout, file):
        sys.stdout.write(f"loaded {name}\n")
    return 0


def _import(layout: Layout, file: Path) -> list[str]:
    """Import the archive; return the names of its images."""
    done = _ctr(layout, "images", "import", str(file))
    if done.returncode:
        raise CommandError(f"{file} could not be imported: {done.stderr.strip()}")
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("unpacking ")]
    names = [words[1] for words in lines]
    for name in names:
        # The runtime's CRI part learns of an image by its label, which imports do not set.
        _ctr(layout, "images", "label", name, "io.cri-containerd.image=managed")
    return names


def _build(layout: Layout, arguments: argparse.Namespace) -> int:
    buildah = shutil.which("buildah")
    if buildah is None:
        raise CommandError("buildah is missing; install Debian's package buildah", MISSING)
    context: Path = arguments.context
    dockerfile: Path = arguments.file or _dockerfile(context)
    if not context.is_dir():
        raise CommandError(f"{context}: no such directory")
    if not dockerfile.exists():
        raise CommandError(f"{dockerfile}: no such file; name the Dockerfile with --file")
    name = qualified(arguments.tag)
    storage = [
        "--root", str(layout.build / "storage"),
        "--runroot", str(layout.volatile / "build"),
        "--storage-driver", "vfs",
    ]  # fmt: skip
    bud = [
        buildah,
        *storage,
        "bud",
        "--isolation",
        "chroot",
        "--layers",
        "-t",
        name,
        "-f",
        str(dockerfile),
    ]
    for pair in arguments.build_arg:
        bud += ["--build-arg", pair]
    if arguments.target:
        bud += ["--target", arguments.target]
    layout.build.mkdir(parents=True, exist_ok=True)
    if subprocess.run([*bud, str(context)], stdin=subprocess.DEVNULL, check=False).returncode:
        raise CommandError(f"the build of {dockerfile} failed; see buildah's message above")
    with tempfile.TemporaryDirectory(dir=layout.build) as directory:
        archive = Path(directory) / "image.tar"
        push = [buildah, *storage, "push", "--quiet", name, f"docker-archive:{archive}:{name}"]
        done = subprocess.run(push, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CommandError(f"the image could not be exported: {done.stderr.strip()}")
        _import(layout, archive)
    sys.stdout.write(f"built and loaded {name}\n")
    return 0


def _dockerfile(context: Path) -> Path:
    for name in ("Dockerfile", "Containerfile"):
        if (context / name).exists():
            return context / name
    return context / "Dockerfile"


def qualified(name: str) -> str:
    """`web` → `docker.io/library/web:latest`, as docker reads short names."""
    last = name.rsplit("/", 1)[-1]
    if ":" not in last and "@" not in last:
        name = f"{name}:{DEFAULT_TAG}"
    first, _, rest = name.partition("/")
    if not rest:
        return f"docker.io/library/{name}"
    if "." in first or ":" in first or first == "localhost":
        return name
    return f"docker.io/{name}"


def _list(layout: Layout) -> int:
    done = _ctr(layout, "images", "ls")
    if done.returncode:
        raise CommandError(done.stderr.strip())
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    out = [f"{'IMAGE':<60} {'DIGEST':<20} SIZE"]
    for words in rows:
        if words[0].startswith("sha256:"):
            continue
        out.append(
            f"{words[0]:<60} {words[2].removeprefix('sha256:')[:12]:<20} {' '.join(words[3:5])}"
        )
    sys.stdout.write("\n".join(out) + "\n")
    return 0


def _ctr(layout: Layout, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [
        "ctr",
        "--address",
        str(layout.containerd_socket),
        "--namespace",
        NAMESPACE,
        *arguments,
    ]
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
