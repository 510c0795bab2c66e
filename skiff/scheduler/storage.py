"""Claims, volumes and classes as the API tells them: informers that start when the first pod with a
claim comes, so that a cluster without volumes keeps none of them.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from skiff.api.views.storage import StorageClass
from skiff.api.views.volume import PersistentVolume, PersistentVolumeClaim
from skiff.api.volume_match import bound
from skiff.client.informer import Informer, InformerFactory


class StorageInformers:
    """A `volumes.Storage`. `changed` is called at each change, and when everything is there."""

    def __init__(self, informers: InformerFactory, changed: Callable[[], None]) -> None:
        self._factory = informers
        self._changed = changed
        self._claims: Informer[PersistentVolumeClaim] | None = None
        self._volumes: Informer[PersistentVolume] | None = None
        self._classes: Informer[StorageClass] | None = None
        self._wanted = asyncio.Event()
        self._pulse = asyncio.Event()

    @property
    def synced(self) -> bool:
        """Whether decisions may rest on what is known."""
        return all(
            informer is not None and informer.synced.is_set()
            for informer in (self._claims, self._volumes, self._classes)
        )

    def want(self) -> None:
        """A pod with claims has come."""
        self._wanted.set()

    async def run(self) -> None:
        """Wait until somebody wants it; then follow all three."""
        await self._wanted.wait()
        self._claims = self._factory.of(PersistentVolumeClaim)
        self._volumes = self._factory.of(PersistentVolume)
        self._classes = self._factory.of(StorageClass)
        sources: tuple[Informer[Any], ...] = (self._claims, self._volumes, self._classes)
        for informer in sources:
            await informer.synced.wait()
        for informer in sources:
            informer.subscribe(self._told)
        self._changed()
        await asyncio.get_running_loop().create_future()

    async def all_bound(self, namespace: str, names: Iterable[str]) -> None:
        """Return when the claims are bound."""
        waiting = list(names)
        while waiting:
            pulse = self._pulse
            found = [(name, self.claim(namespace, name)) for name in waiting]
            waiting = [name for name, claim in found if claim is None or not bound(claim)]
            if waiting:
                await pulse.wait()

    def _told(self, _old: object, _new: object) -> None:
        self._pulse.set()
        self._pulse = asyncio.Event()
        self._changed()

    def claim(self, namespace: str, name: str) -> PersistentVolumeClaim | None:
        return self._claims.get(name, namespace) if self._claims else None

    def volume(self, name: str) -> PersistentVolume | None:
        return self._volumes.get(name) if self._volumes else None

    def volumes(self) -> Iterable[PersistentVolume]:
        return self._volumes.list() if self._volumes else ()

    def storage_class(self, name: str) -> StorageClass | None:
        return self._classes.get(name) if self._classes else None
