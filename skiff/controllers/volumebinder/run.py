"""The binder's loop. One worker: which volume a claim gets depends on what the claim before it got.

Keys are claims (with a namespace) and volumes (without one).
"""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Final

from skiff.api.errors import AlreadyExists, ApiError, Conflict, NotFound
from skiff.api.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS
from skiff.api.views.core import Pod
from skiff.api.views.storage import StorageClass
from skiff.api.views.volume import PersistentVolume, PersistentVolumeClaim
from skiff.api.volume_match import BIND_COMPLETED, BOUND_BY_CONTROLLER, class_of
from skiff.client.client import Object
from skiff.client.reconciler import Key, Reconciler, Result, key_of
from skiff.controllers.context import Context
from skiff.controllers.protection import USERS, claims_of
from skiff.controllers.volumebinder import disk, plan, recycler
from skiff.controllers.volumebinder.plan import Told

COMPONENT: Final = "persistentvolume-controller"
RESYNC_S: Final = 15.0
"""--pvclaimbinder-sync-period: what waits is looked at, and told of, again."""
PROVISIONER: Final = "volume.kubernetes.io/storage-provisioner"
PROVISIONER_BETA: Final = "volume.beta.kubernetes.io/storage-provisioner"

_PENDING: Final = "binder: claims that wait, by class"
_REFERENCES: Final = "binder: volumes by the claim that they name"


class VolumeBinder(Reconciler):
    """See the module's text."""

    name: ClassVar[str] = "persistentvolume-binder"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=1)
        self._client = context.client
        self._events = context.events.of(COMPONENT)
        self._claims = context.informers.of(PersistentVolumeClaim)
        self._volumes = context.informers.of(PersistentVolume)
        self._classes = context.informers.of(StorageClass)
        self._pods = context.informers.of(Pod)
        self._claims.add_index(_PENDING, lambda c: () if _complete(c) else (class_of(c),))
        self._volumes.add_index(_REFERENCES, lambda v: tuple(_reference(v)))
        self._pods.add_index(USERS, lambda pod: tuple(claims_of(pod)))
        self.follow(self._claims, self._touched_by_claim)
        self.follow(self._volumes, self._touched_by_volume)
        self.follow(self._classes, self._touched_by_class)
        self.follow(self._pods, recycler.keys)

    # ---- what a change concerns

    def _touched_by_claim(self, claim: PersistentVolumeClaim) -> Iterator[Key]:
        yield key_of(claim)
        if claim.spec.volume_name:
            yield Key("", claim.spec.volume_name)
        for volume in self._volumes.by_index(_REFERENCES, key_of(claim)):
            yield key_of(volume)

    def _touched_by_volume(self, volume: PersistentVolume) -> Iterator[Key]:
        yield key_of(volume)
        reference = volume.spec.claim_ref
        if reference is not None:
            yield Key(reference.namespace, reference.name)
        elif volume.status.phase == "Available":
            yield from map(key_of, self._claims.by_index(_PENDING, class_of(volume)))

    def _touched_by_class(self, found: StorageClass) -> Iterator[Key]:
        for asked in (found.metadata.name, ""):
            yield from map(key_of, self._claims.by_index(_PENDING, asked))

    # ---- claims

    async def reconcile(self, key: Key) -> Result | None:
        """Bring one claim or one volume a step further."""
        if key.namespace:
            claim = self._claims.get(key.name, key.namespace)
            return await self._claim(claim) if claim is not None else None
        volume = self._volumes.get(key.name)
        return await self._volume(volume) if volume is not None else None

    async def _claim(self, claim: PersistentVolumeClaim) -> Result | None:
        step = plan.claim_step(
            claim, self._volumes.list(), self._classes.list(), lambda: self._unscheduled(claim)
        )
        if isinstance(step, plan.Bind):
            await self._bind(claim, step.volume)
            return None
        if isinstance(step, plan.Assign):
            await self._assign(claim, step.storage_class)
            return None
        told = None
        if isinstance(step, plan.Ask):
            await self._ask(claim, step.provisioner)
            phase, told = plan.PENDING, plan.asking(step.provisioner)
        else:
            phase, told = step.phase, step.told
        changed = await self._claim_phase(claim, phase)
        if phase == plan.LOST:
            if changed and told is not None:
                self._tell(claim, told)
            return None
        if told is not None:
            self._tell(claim, told)
        return Result(RESYNC_S)

    def _unscheduled(self, claim: PersistentVolumeClaim) -> Iterable[Pod]:
        users = self._pods.by_index(USERS, key_of(claim))
        return [p for p in users if not p.spec.node_name]

    async def _assign(self, claim: PersistentVolumeClaim, storage_class: str) -> None:
        def assign(current: Object) -> Object | None:
            spec = current["spec"]
            if not _same(current, claim) or spec.get("storageClassName") is not None:
                return None
            return {**current, "spec": {**spec, "storageClassName": storage_class}}

        await self._client.update(PERSISTENTVOLUMECLAIMS, *_where(claim), assign)

    async def _ask(self, claim: PersistentVolumeClaim, provisioner: str) -> None:
        wanted = {PROVISIONER: provisioner, PROVISIONER_BETA: provisioner}

        def ask(current: Object) -> Object | None:
            annotations = current["metadata"].get("annotations") or {}
            if not _same(current, claim) or wanted.items() <= annotations.items():
                return None
            return _annotated(current, {**annotations, **wanted})

        if not wanted.items() <= claim.metadata.annotations.items():
            await self._client.update(PERSISTENTVOLUMECLAIMS, *_where(claim), ask)

    async def _bind(self, claim: PersistentVolumeClaim, volume: PersistentVolume) -> None:
        """Four writes, each left out where it is done already: the volume's reference and phase, the
        claim's volume and phase."""
        ours = self._reference_of(claim)

        def reserve(current: Object) -> Object | None:
            reference = current["spec"].get("claimRef")
            if reference and not _may_take(reference, ours):
                raise Conflict(f'volume "{volume.metadata.name}" was bound to another claim')
            if reference and reference.get("uid") == ours["uid"]:
                return None
            changed = {**current, "spec": {**current["spec"], "claimRef": ours}}
            if reference:  # somebody meant it for this claim
                return changed
            annotations = current["metadata"].get("annotations") or {}
            return _annotated(changed, {**annotations, BOUND_BY_CONTROLLER: "yes"})

        def complete(current: Object) -> Object | None:
            annotations = dict(current["metadata"].get("annotations") or {})
            name = current["spec"].get("volumeName", "")
            if not _same(current, claim) or (name and name != volume.metadata.name):
                raise Conflict(f'claim "{claim.metadata.name}" was changed')
            if name and BIND_COMPLETED in annotations:
                return None
            annotations[BIND_COMPLETED] = "yes"
            if not name:
                annotations[BOUND_BY_CONTROLLER] = "yes"
            spec = {**current["spec"], "volumeName": volume.metadata.name}
            return _annotated({**current, "spec": spec}, annotations)

        reference = volume.spec.claim_ref
        if reference is None or reference.uid != ours["uid"]:
            await self._client.update(PERSISTENTVOLUMES, volume.metadata.name, "", reserve)
        await self._volume_phase(volume, "Bound")
        if not (claim.spec.volume_name and _complete(claim)):
            await self._client.update(PERSISTENTVOLUMECLAIMS, *_where(claim), complete)
        await self._claim_phase(claim, "Bound", volume)

    def _reference_of(self, claim: PersistentVolumeClaim) -> Object:
        meta = claim.metadata
        return {
            "kind": PERSISTENTVOLUMECLAIMS.kind,
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
            "apiVersion": PERSISTENTVOLUMECLAIMS.api_version,
            "resourceVersion": meta.resource_version,
        }

    async def _claim_phase(
        self, claim: PersistentVolumeClaim, phase: str, volume: PersistentVolume | None = None
    ) -> bool:
        """Write the claim's phase, and of a bound one what its volume offers. True if it changed."""
        granted: Object = {}
        if volume is not None:
            granted["accessModes"] = list(volume.spec.access_modes)
            if claim.status.phase != "Bound" or not claim.status.capacity:
                granted["capacity"] = dict(volume.spec.capacity)
            attributes = volume.spec.volume_attributes_class_name
            if attributes and claim.status.phase != "Bound":
                granted["currentVolumeAttributesClassName"] = attributes
        known = _claim_status(claim)
        dropped = () if volume is not None else ("accessModes", "capacity")
        wanted = {k: v for k, v in {**known, **granted}.items() if k not in dropped}
        if claim.status.phase == phase and wanted == known:
            return False

        def change(current: Object) -> Object | None:
            if not _same(current, claim):
                return None
            status = dict(current.get("status") or {})
            for field in dropped:
                status.pop(field, None)
            return {**current, "status": {**status, **granted, "phase": phase}}

        await self._client.update(PERSISTENTVOLUMECLAIMS, *_where(claim), change, "status")
        return True

    # ---- volumes

    async def _volume(self, volume: PersistentVolume) -> Result | None:
        claim = await self._claim_of(volume)
        step = plan.volume_step(volume, claim)
        if isinstance(step, plan.Phase):
            await self._volume_phase(volume, step.phase)
        elif isinstance(step, plan.Unbind):
            await self._unbind(volume)
        elif isinstance(step, plan.Release):
            if volume.status.phase not in ("Released", "Failed"):
                await self._volume_phase(volume, "Released")
            return await self._reclaim(volume)
        elif claim is not None:
            if step.told is not None:
                self._tell(volume, step.told)
                self._tell(claim, step.told)
            else:
                self.queue.add(key_of(claim))
        return None

    async def _claim_of(self, volume: PersistentVolume) -> PersistentVolumeClaim | None:
        """The claim that the volume names. What is not known here is looked up: a volume is not to be
        released because news is late."""
        reference = volume.spec.claim_ref
        if reference is None or not reference.uid:
            return None
        claim = self._claims.get(reference.name, reference.namespace)
        if claim is None or claim.metadata.uid != reference.uid:
            try:
                claim = await self._client.read(
                    PersistentVolumeClaim, reference.name, reference.namespace
                )
            except NotFound:
                return None
        return claim if claim.metadata.uid == reference.uid else None

    async def _unbind(self, volume: PersistentVolume) -> None:
        """Take back what the binder did; a reference that somebody else wrote loses its uid only."""

        def unbind(current: Object) -> Object | None:
            spec, annotations = (
                dict(current["spec"]),
                dict(current["metadata"].get("annotations") or {}),
            )
            if not _same(current, volume) or "claimRef" not in spec:
                return None
            if annotations.pop(BOUND_BY_CONTROLLER, None) is not None:
                del spec["claimRef"]
            else:
                spec["claimRef"] = {k: v for k, v in spec["claimRef"].items() if k != "uid"}
            return _annotated({**current, "spec": spec}, annotations)

        await self._client.update(PERSISTENTVOLUMES, volume.metadata.name, "", unbind)
        await self._volume_phase(volume, "Available")

    async def _reclaim(self, volume: PersistentVolume) -> Result | None:
        if volume.metadata.deletion_timestamp:
            return None
        step = plan.reclaim(volume)
        if isinstance(step, plan.Remove):
            try:
                await disk.remove(step.path)
            except OSError as e:
                step = plan.Fail("VolumeFailedDelete", str(e))
            else:
                meta = volume.metadata
                await self._client.delete(PERSISTENTVOLUMES, meta.name, uid=meta.uid)
        elif isinstance(step, plan.Recycle):
            return await self._recycle(volume)
        if isinstance(step, plan.Fail):
            await self._fail(volume, step)
            return Result(RESYNC_S)
        return None

    async def _recycle(self, volume: PersistentVolume) -> Result | None:
        """Have a pod empty the volume."""
        name = recycler.name_for(volume)
        pod = self._pods.get(name, recycler.NAMESPACE)
        if pod is None:
            try:
                await self._client.create(PODS, recycler.pod_for(volume), recycler.NAMESPACE)
            except AlreadyExists:
                pass  # the informer will tell
            except ApiError as e:
                await self._fail(volume, plan.Fail("VolumeFailedRecycle", f"Recycle failed: {e}"))
                return Result(RESYNC_S)
            return None
        if pod.status.phase not in ("Succeeded", "Failed") or pod.metadata.deletion_timestamp:
            return None
        await self._client.delete(PODS, name, recycler.NAMESPACE, uid=pod.metadata.uid)
        if pod.status.phase == "Succeeded":
            self._tell(volume, Told(plan.NORMAL, "VolumeRecycled", "Volume recycled"))
            await self._unbind(volume)
            return None
        why = pod.status.message or "pod failed, pod.Status.Message unknown"
        await self._fail(volume, plan.Fail("VolumeFailedRecycle", f"Recycle failed: {why}"))
        return Result(RESYNC_S)

    async def _fail(self, volume: PersistentVolume, step: plan.Fail) -> None:
        if await self._volume_phase(volume, "Failed", step.message):
            self._tell(volume, Told(plan.WARNING, step.reason, step.message))

    async def _volume_phase(self, volume: PersistentVolume, phase: str, message: str = "") -> bool:
        """Write the volume's phase. True if it changed."""
        if volume.status.phase == phase:
            return False

        def change(current: Object) -> Object | None:
            status = current.get("status") or {}
            if not _same(current, volume) or status.get("phase") == phase:
                return None
            return {**current, "status": {**status, "phase": phase, "message": message}}

        await self._client.update(PERSISTENTVOLUMES, volume.metadata.name, "", change, "status")
        return True

    def _tell(self, about: PersistentVolume | PersistentVolumeClaim, told: Told) -> None:
        self._events.record(about, told.type, told.reason, told.message)


def _complete(claim: PersistentVolumeClaim) -> bool:
    return BIND_COMPLETED in claim.metadata.annotations


def _reference(volume: PersistentVolume) -> Iterator[Key]:
    if (found := volume.spec.claim_ref) is not None:
        yield Key(found.namespace, found.name)


def _where(claim: PersistentVolumeClaim) -> tuple[str, str]:
    return claim.metadata.name, claim.metadata.namespace


def _same(current: Object, seen: PersistentVolume | PersistentVolumeClaim) -> bool:
    return bool(current["metadata"]["uid"] == seen.metadata.uid)


def _may_take(reference: Object, ours: Object) -> bool:
    """Whether a volume's reference leaves it to this claim."""
    same = all(reference.get(k, "") == ours[k] for k in ("namespace", "name"))
    return same and reference.get("uid", "") in ("", ours["uid"])


def _annotated(obj: Object, annotations: dict[str, str]) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "annotations": annotations}}


def _claim_status(claim: PersistentVolumeClaim) -> dict[str, Any]:
    status = claim.status
    found: dict[str, Any] = {
        "accessModes": list(status.access_modes),
        "capacity": dict(status.capacity),
        "currentVolumeAttributesClassName": status.current_volume_attributes_class_name,
    }
    return {k: v for k, v in found.items() if v}
