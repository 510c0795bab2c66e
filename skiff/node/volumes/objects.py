"""The objects that this node's pods refer to, kept current: one watch each, for as long as a pod
refers to them.

A node may only read what its pods refer to, so each object is watched by its name. An object that
is marked immutable is watched no longer once it is known.

Source: https://kubernetes.io/docs/reference/access-authn-authz/node/ and
https://kubernetes.io/docs/concepts/configuration/configmap/#configmap-immutable
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from skiff.api.views.core import (
    ConfigMap,
    Pod,
    Secret,
    Volume,
)
from skiff.client.client import Client
from skiff.client.informer import Informer
from skiff.node.downward import every_container

SYNC_TIMEOUT_S = 10.0

Watched = ConfigMap | Secret
V = TypeVar("V", ConfigMap, Secret)


class NotSynced(Exception):
    """The object is not known yet: the API server has not answered."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An object by kind, namespace and name."""

    view: type[Watched]
    namespace: str
    name: str


@dataclass(slots=True)
class _Watch:
    """One watched object. `users` are uids of pods; empty means that it is to be forgotten."""

    informer: Informer[Any]
    task: asyncio.Task[None]
    users: set[str] = field(default_factory=set)


class ObjectCache:
    """See the module's text. `changed(uids)` is told which pods are concerned. Its watches live in
    the task group that `run` opens."""

    def __init__(self, client: Client, changed: Callable[[Iterable[str]], None]) -> None:
        self._client = client
        self._changed = changed
        self._watches: dict[Reference, _Watch] = {}
        self._by_pod: dict[str, set[Reference]] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self, started: Callable[[], None]) -> None:
        """Hold the watches until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            started()
            await asyncio.get_running_loop().create_future()

    def use(self, uid: str, references: Iterable[Reference]) -> None:
        """Say what a pod refers to now; watches begin, and end where nobody is left."""
        wanted = set(references)
        for gone in sorted(self._by_pod.get(uid, set()) - wanted, key=_order):
            self._drop(gone, uid)
        if wanted:
            self._by_pod[uid] = wanted
        else:
            self._by_pod.pop(uid, None)
        for reference in sorted(wanted, key=_order):
            self._watch(reference).users.add(uid)

    async def get(self, view: type[V], namespace: str, name: str) -> V | None:
        """The object that `use` named, or None where there is none. Raises NotSynced where that is
        not known within `SYNC_TIMEOUT_S`."""
        watch = self._watch(Reference(view, namespace, name))
        informer = watch.informer
        if not informer.synced.is_set():
            try:
                async with asyncio.timeout(SYNC_TIMEOUT_S):
                    await informer.synced.wait()
            except TimeoutError:
                kind = view.__name__.lower()
                raise NotSynced(
                    f"failed to sync {kind} cache: timed out waiting for the condition"
                ) from None
        found: V | None = informer.get(name, namespace)
        if getattr(found, "immutable", None) and not watch.task.done():
            watch.task.cancel()
        return found

    def _watch(self, reference: Reference) -> _Watch:
        watch = self._watches.get(reference)
        if watch is None:
            assert self._group is not None, "the cache does not run"
            informer: Informer[Any] = Informer(
                self._client,
                reference.view,
                reference.namespace,
                field_selector=f"metadata.name={reference.name}",
            )
            kind = reference.view.__name__
            task = self._group.create_task(
                informer.run(lambda: None), name=f"{kind} {reference.namespace}/{reference.name}"
            )
            watch = self._watches[reference] = _Watch(informer, task)
            informer.subscribe(lambda old, new: self._on_change(reference, old, new))
        return watch

    def _on_change(self, reference: Reference, old: Watched | None, new: Watched | None) -> None:
        watch = self._watches.get(reference)
        if watch is None or (old is None and not watch.informer.synced.is_set()):
            return
        if old is None or new is None or _content(old) != _content(new):
            self._changed(sorted(watch.users))

    def _drop(self, reference: Reference, uid: str) -> None:
        watch = self._watches.get(reference)
        if watch is None:
            return
        watch.users.discard(uid)
        if not watch.users:
            watch.task.cancel()
            del self._watches[reference]


def _order(reference: Reference) -> tuple[str, str, str]:
    """Sets have no order of their own: the same pod makes the same requests in the same order."""
    return reference.view.__name__, reference.namespace, reference.name


def _content(found: Watched) -> object:
    """What of an object matters to pods."""
    if isinstance(found, ConfigMap):
        return found.data, found.binary_data
    return found.data


def references(pod: Pod) -> set[Reference]:
    """Everything that a pod's volumes and environments name."""
    namespace = pod.metadata.namespace
    found: set[Reference] = set()
    for volume in pod.spec.volumes:
        found |= _of_volume(pod, volume)
    for container in every_container(pod):
        for source in container.env_from:
            if source.config_map_ref is not None:
                found.add(Reference(ConfigMap, namespace, source.config_map_ref.name))
            if source.secret_ref is not None:
                found.add(Reference(Secret, namespace, source.secret_ref.name))
        for variable in container.env:
            value = variable.value_from
            if value is not None and value.config_map_key_ref is not None:
                found.add(Reference(ConfigMap, namespace, value.config_map_key_ref.name))
            if value is not None and value.secret_key_ref is not None:
                found.add(Reference(Secret, namespace, value.secret_key_ref.name))
    return found


def _of_volume(pod: Pod, volume: Volume) -> set[Reference]:
    namespace = pod.metadata.namespace
    found: set[Reference] = set()
    if volume.config_map is not None:
        found.add(Reference(ConfigMap, namespace, volume.config_map.name))
    if volume.secret is not None:
        found.add(Reference(Secret, namespace, volume.secret.secret_name))
    if volume.projected is not None:
        for source in volume.projected.sources:
            if source.config_map is not None:
                found.add(Reference(ConfigMap, namespace, source.config_map.name))
            if source.secret is not None:
                found.add(Reference(Secret, namespace, source.secret.name))
    return found


def claim_name(pod: Pod, volume: Volume) -> str:
    """The PersistentVolumeClaim of a volume, if it has one."""
    if volume.persistent_volume_claim is not None:
        return volume.persistent_volume_claim.claim_name
    if volume.ephemeral is not None:
        return f"{pod.metadata.name}-{volume.name}"
    return ""
