"""Claims, volumes and volume attributes classes stay while something uses them: a finalizer, which
admission puts on and these controllers take off once the object is being deleted and unused.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Final, Generic, TypeVar

from skiff.api.errors import NotFound
from skiff.api.views.base import ObjectView
from skiff.api.views.core import PersistentVolume, PersistentVolumeClaim, Pod
from skiff.api.views.storage import VolumeAttributesClass
from skiff.client.client import Object
from skiff.client.informer import Informer
from skiff.client.reconciler import Key, Reconciler, Result
from skiff.controllers.context import Context

V = TypeVar("V", bound=ObjectView)
USERS: Final = "protection: who uses it"


class Protection(Reconciler, Generic[V]):
    """Keys are the protected objects. Subclasses say which are in use, and what makes one due."""

    finalizer: ClassVar[str]

    def __init__(self, context: Context, view: type[V]) -> None:
        super().__init__()
        self._client = context.client
        self._resource = view.RESOURCE
        self._objects: Informer[V] = context.informers.of(view)
        self.follow(self._objects)

    async def reconcile(self, key: Key) -> Result | None:
        """Put the finalizer on what is not being deleted, take it off what is and is not used."""
        found = self._objects.get(key.name, key.namespace)
        if found is None:
            return None
        protected = self.finalizer in found.metadata.finalizers
        going = bool(found.metadata.deletion_timestamp)
        if protected == going and not (going and self.in_use(found)):
            try:
                await self._client.update(self._resource, key.name, key.namespace, self._correct)
            except NotFound:
                pass  # it went in between
        return None

    def in_use(self, obj: V) -> bool:
        """Whether something uses it still."""
        raise NotImplementedError

    def _correct(self, current: Object) -> Object | None:
        metadata: dict[str, Any] = dict(current["metadata"])
        finalizers = list(metadata.get("finalizers") or ())
        going = "deletionTimestamp" in metadata
        if (self.finalizer in finalizers) != going:
            return None
        if going:
            finalizers.remove(self.finalizer)
        else:
            finalizers.append(self.finalizer)
        return {**current, "metadata": {**metadata, "finalizers": finalizers}}


class ClaimProtection(Protection[PersistentVolumeClaim]):
    """A claim is in use while a pod that is bound to a node names it."""

    name: ClassVar[str] = "pvc-protection"
    finalizer: ClassVar[str] = "kubernetes.io/pvc-protection"

    def __init__(self, context: Context) -> None:
        super().__init__(context, PersistentVolumeClaim)
        self._pods = context.informers.of(Pod)
        self._pods.add_index(USERS, lambda pod: tuple(claims_of(pod)))
        self.follow(self._pods, lambda pod: tuple(claims_of(pod)))

    def in_use(self, obj: PersistentVolumeClaim) -> bool:
        key = Key(obj.metadata.namespace, obj.metadata.name)
        return any(pod.spec.node_name for pod in self._pods.by_index(USERS, key))


class VolumeProtection(Protection[PersistentVolume]):
    """A volume is in use while it is bound to a claim."""

    name: ClassVar[str] = "pv-protection"
    finalizer: ClassVar[str] = "kubernetes.io/pv-protection"

    def __init__(self, context: Context) -> None:
        super().__init__(context, PersistentVolume)

    def in_use(self, obj: PersistentVolume) -> bool:
        return obj.status.phase == "Bound"


class AttributesProtection(Protection[VolumeAttributesClass]):
    """A class is in use while a claim or a volume names it."""

    name: ClassVar[str] = "volumeattributesclass-protection"
    finalizer: ClassVar[str] = "kubernetes.io/vac-protection"

    def __init__(self, context: Context) -> None:
        super().__init__(context, VolumeAttributesClass)
        self._claims = context.informers.of(PersistentVolumeClaim)
        self._volumes = context.informers.of(PersistentVolume)
        self._claims.add_index(USERS, lambda claim: tuple(_classes(claim)))
        self._volumes.add_index(USERS, lambda volume: tuple(_class(volume)))
        self.follow(self._claims, lambda claim: tuple(_classes(claim)))
        self.follow(self._volumes, lambda volume: tuple(_class(volume)))

    def in_use(self, obj: VolumeAttributesClass) -> bool:
        key = Key("", obj.metadata.name)
        return bool(self._claims.by_index(USERS, key) or self._volumes.by_index(USERS, key))


def claims_of(pod: Pod) -> Iterator[Key]:
    """The claims that a pod's volumes name; those made for its ephemeral volumes too."""
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            yield Key(pod.metadata.namespace, volume.persistent_volume_claim.claim_name)
        elif volume.ephemeral is not None:
            yield Key(pod.metadata.namespace, f"{pod.metadata.name}-{volume.name}")


def _classes(claim: PersistentVolumeClaim) -> Iterator[Key]:
    """The classes that a claim asks for, has, and is being changed to."""
    modify = claim.status.modify_volume_status
    for name in (
        claim.spec.volume_attributes_class_name,
        claim.status.current_volume_attributes_class_name,
        modify.target_volume_attributes_class_name if modify is not None else "",
    ):
        if name:
            yield Key("", name)


def _class(volume: PersistentVolume) -> Iterator[Key]:
    if volume.spec.volume_attributes_class_name:
        yield Key("", volume.spec.volume_attributes_class_name)
