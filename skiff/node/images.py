"""Images: their names, and small ones made here.

Image references are normalised as every container tool does (`web:1` means
`docker.io/library/web:1`), so that an image loaded from a file is found under the name that a pod
gives. The pause image, which holds a pod's namespaces open, is made on the spot of Debian's static
`catatonit` and imported: no registry is needed.

Source: https://kubernetes.io/docs/concepts/containers/images/#image-names
"""

import asyncio
import hashlib
import io
import json
import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from skiff.node.containerd import PAUSE_IMAGE
from skiff.node.runtime import Runtime

CONTAINERD_NAMESPACE = "k8s.io"
DEFAULT_REGISTRY = "docker.io"
_ID = re.compile(r"^(sha256:)?[0-9a-f]{64}$")
_REFERENCE = re.compile(
    r"^(?P<name>(?:[a-zA-Z0-9.-]+(?::\d+)?/)?[a-zA-Z0-9._-]+(?:/[a-zA-Z0-9._-]+)*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>[a-z0-9+._-]+:[0-9a-fA-F]{32,}))?$"
)
_REPOSITORY = re.compile(r"^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$")


class InvalidImageName(ValueError):
    """A reference that no registry could resolve; the message is Kubernetes' own."""


def normalize(image: str) -> str:
    """The full form of an image reference: registry, path, and tag (`latest`) or digest.

    An image id is returned as it is. Raises InvalidImageName."""
    if _ID.match(image):
        return image
    match = _REFERENCE.match(image)
    if match is None:
        raise InvalidImageName(
            f"couldn't parse image name {json.dumps(image)}: invalid reference format"
        )
    name, tag, digest = match["name"], match["tag"], match["digest"]
    registry, slash, path = name.partition("/")
    if not slash or not ("." in registry or ":" in registry or registry == "localhost"):
        registry, path = DEFAULT_REGISTRY, name
    if registry == "index.docker.io":
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in path:
        path = f"library/{path}"
    if not path or not all(_REPOSITORY.match(part) for part in path.split("/")):
        why = (
            "repository name must be lowercase"
            if path.lower() != path
            else "invalid reference format"
        )
        raise InvalidImageName(f"couldn't parse image name {json.dumps(image)}: {why}")
    if digest:
        return f"{registry}/{path}@{digest}"
    return f"{registry}/{path}:{tag or 'latest'}"


def registry_of(image: str) -> str:
    """The registry host of an image reference, `docker.io` where none is given."""
    return normalize(image).partition("/")[0]


@dataclass(frozen=True, slots=True)
class ScratchImage:
    """An image of one layer: files (path → content and mode) and symbolic links (path → target)."""

    name: str
    files: Mapping[str, tuple[bytes, int]]
    links: Mapping[str, str] = field(default_factory=dict)
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    env: Sequence[str] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    user: str = ""

    def archive(self) -> bytes:
        """The image as `docker save` writes it (`docker-archive`)."""
        layer = self._layer()
        config = json.dumps(
            {
                "architecture": _architecture(),
                "os": "linux",
                "config": {
                    "Entrypoint": list(self.entrypoint),
                    "Cmd": list(self.command),
                    "Env": list(self.env),
                    "User": self.user,
                },
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_sha256(layer)}"]},
                "history": [{"created_by": "skiff"}],
            }
        ).encode()
        config_name = f"{_sha256(config)}.json"
        manifest = [
            {"Config": config_name, "RepoTags": [normalize(self.name)], "Layers": ["layer.tar"]}
        ]
        return _tar(
            {
                "manifest.json": (json.dumps(manifest).encode(), 0o644),
                config_name: (config, 0o644),
                "layer.tar": (layer, 0o644),
            },
            {},
        )

    def _layer(self) -> bytes:
        return _tar(self.files, self.links)


def pause_image(binary: bytes) -> ScratchImage:
    """The sandbox's image: `catatonit -P` sleeps for ever and reaps what the pod leaves behind."""
    return ScratchImage(
        PAUSE_IMAGE, {"pause": (binary, 0o755)}, entrypoint=["/pause", "-P"], user="65535:65535"
    )


async def ensure_pause_image(runtime: Runtime, address: str) -> None:
    """Import the pause image where the runtime has none. Raises FileNotFoundError without catatonit."""
    if await runtime.image_status(PAUSE_IMAGE) is not None:
        return
    path = shutil.which("catatonit")
    if path is None:
        raise FileNotFoundError(
            "catatonit is not installed: pods need it as their pause process (apt-get install catatonit)"
        )
    binary = await asyncio.to_thread(Path(path).read_bytes)
    await import_archive(pause_image(binary).archive(), address)


async def import_archive(archive: bytes | Path, address: str) -> str:
    """Import a docker or OCI archive into containerd at socket `address`; returns what `ctr` printed.

    Layers are unpacked when the first container needs them, by containerd's own snapshotter.

    Raises RuntimeError with ctr's own message where the archive is refused."""
    import tempfile  # rarely needed: not with every start

    with tempfile.NamedTemporaryFile(suffix=".tar") as scratch:
        if isinstance(archive, bytes):
            scratch.write(archive)
            scratch.flush()
            archive = Path(scratch.name)
        process = await asyncio.create_subprocess_exec(
            "ctr", "--address", address, "--namespace", CONTAINERD_NAMESPACE,
            "images", "import", "--no-unpack", str(archive),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
    text = output.decode(errors="replace").strip()
    if process.returncode != 0:
        raise RuntimeError(f"cannot import the image archive: {text}")
    return text


def _tar(files: Mapping[str, tuple[bytes, int]], links: Mapping[str, str]) -> bytes:
    """A tar that is the same for the same content: times zero, owner root, directories first."""
    import tarfile  # rarely needed: not with every start

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        directories = {
            str(p) for name in (*files, *links) for p in Path(name).parents if str(p) != "."
        }
        for name in sorted(directories):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(info)
        for name, (content, mode) in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            tar.addfile(info, io.BytesIO(content))
        for name, target in sorted(links.items()):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
            tar.addfile(info)
    return buffer.getvalue()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _architecture() -> str:
    """This machine's architecture in image terms."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
