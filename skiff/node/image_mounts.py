"""An image's files as a directory of the host, read-only: what image volumes are made of.

containerd 1.x knows no image mounts in CRI, so its own client shows the image: a view of the
snapshots that containers of the image share, mounted where it is wanted. The view holds no data and
expires by itself; whoever removes the directory unmounts it.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/image-volumes/
"""

import asyncio
from pathlib import Path
from typing import Final

from skiff.node.images import CONTAINERD_NAMESPACE
from skiff.node.volumes import mounts

MOUNT_TIMEOUT_S: Final = 120.0
_SNAPSHOTTERS: Final = "io.containerd.snapshotter.v1."


class ImageMountFailed(Exception):
    """The text is containerd's."""


def snapshotter_at(mountpoint: str) -> str:
    """The snapshotter whose directory CRI names as the images' file system."""
    return Path(mountpoint).name.removeprefix(_SNAPSHOTTERS)


async def mount_image(address: str, snapshotter: str, image: str, target: Path) -> None:
    """Mount `image` (an id or full name) at `target`, an existing directory, unless it is there
    already. Raises ImageMountFailed."""
    if mounts.is_mount(target):
        return
    try:
        process = await asyncio.create_subprocess_exec(
            "ctr", "--address", address, "--namespace", CONTAINERD_NAMESPACE,
            "images", "mount", "--snapshotter", snapshotter, image, str(target),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
    except OSError as e:
        raise ImageMountFailed(f"ctr: {e.strerror}") from e
    try:
        async with asyncio.timeout(MOUNT_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError as e:
        process.kill()
        await process.wait()
        raise ImageMountFailed("the image was not mounted in time") from e
    if process.returncode:
        text = output.decode(errors="replace").strip().removeprefix("ctr: ")
        raise ImageMountFailed(text)
