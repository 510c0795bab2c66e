"""Rotation of container logs: a running container's log that grew past its size is set aside.

The file is renamed with the time behind its name and the runtime opens a new one; of those set
aside all but the latest are compressed, and the oldest beyond the count are removed.

Source: https://kubernetes.io/docs/concepts/cluster-administration/logging/#log-rotation
"""

import asyncio
import gzip
import logging
import shutil
from datetime import UTC, datetime
from pathlib import Path

from skiff.aio.clock import Clock
from skiff.aio.run import Started
from skiff.node.config import KubeletConfig
from skiff.node.runtime import (
    LABEL_CONTAINER_NAME,
    LABEL_POD_NAME,
    LABEL_POD_NAMESPACE,
    LABEL_POD_UID,
    Container,
    ContainerState,
    Runtime,
    RuntimeRemoteError,
)

log = logging.getLogger(__name__)

CHECK_PERIOD_S = 10.0
COMPRESSED = ".gz"
TEMPORARY = ".tmp"


class LogRotation:
    """A component that looks at all running containers' logs every `CHECK_PERIOD_S`."""

    def __init__(self, config: KubeletConfig, runtime: Runtime, clock: Clock) -> None:
        self._config = config
        self._runtime = runtime
        self._clock = clock

    async def run(self, started: Started) -> None:
        """Check until cancelled."""
        started()
        while True:
            await self._clock.sleep(CHECK_PERIOD_S)
            try:
                await self.check()
            except RuntimeRemoteError as e:
                log.warning("log rotation: %s", e)

    async def check(self) -> None:
        """Rotate what has grown too large."""
        for container in await self._runtime.list_containers():
            if container.state is not ContainerState.RUNNING:
                continue
            path = self._path(container)
            try:
                if path.stat().st_size <= self._config.container_log_max_size_bytes:
                    continue
                await self._rotate(path, container.id)
            except FileNotFoundError:
                continue
            except OSError as e:
                log.warning("log %s was not rotated: %s", path, e)

    def _path(self, container: Container) -> Path:
        labels = container.labels
        return self._config.container_log(
            labels.get(LABEL_POD_NAMESPACE, ""),
            labels.get(LABEL_POD_NAME, ""),
            labels.get(LABEL_POD_UID, ""),
            labels.get(LABEL_CONTAINER_NAME, container.name),
            container.attempt,
        )

    async def _rotate(self, path: Path, container_id: str) -> None:
        await asyncio.to_thread(tidy, path, self._config.container_log_max_files)
        stamp = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y%m%d-%H%M%S")
        aside = path.with_name(f"{path.name}.{stamp}")
        path.rename(aside)  # noqa: ASYNC240 - a rename does not wait
        try:
            await self._runtime.reopen_log(container_id)
        except BaseException:
            aside.rename(path)
            raise


def tidy(path: Path, max_files: int) -> None:
    """Before a rotation: remove the oldest beyond the count (the current file and the one about to be
    set aside included), compress the rest."""
    aside = sorted(path.parent.glob(f"{path.name}.*"))
    for leftover in [f for f in aside if f.suffix == TEMPORARY]:
        leftover.unlink()
    aside = [f for f in aside if f.suffix != TEMPORARY]
    keep = max(max_files - 2, 0)
    for old in aside[: len(aside) - keep]:
        old.unlink()
    for plain in aside[len(aside) - keep :]:
        if plain.suffix != COMPRESSED:
            _compress(plain)


def _compress(path: Path) -> None:
    temporary = path.with_name(path.name + TEMPORARY)
    with path.open("rb") as source, gzip.open(temporary, "wb") as sink:
        shutil.copyfileobj(source, sink)
    temporary.rename(path.with_name(path.name + COMPRESSED))
    path.unlink()
