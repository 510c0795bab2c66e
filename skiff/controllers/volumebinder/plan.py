"""What is to become of one claim, or of one volume. Pure.

A claim and its volume point at each other: `claim.spec.volumeName`, and `volume.spec.claimRef` with the
claim's uid. Either may be written first, by people too; what the binder wrote itself it marks, so that
it takes back no more than that. Every step is repeated until both sides are right.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#lifecycle-of-a-volume-and-claim
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from skiff.api.views.core import Pod
from skiff.api.views.storage import StorageClass
from skiff.api.views.volume import PersistentVolume, PersistentVolumeClaim
from skiff.api.volume_match import (
    BIND_COMPLETED,
    NO_PROVISIONER,
    SELECTED_NODE,
    WAIT,
    best,
    class_of,
    meant_for,
    mismatch,
    same_mode,
)

NORMAL: Final = "Normal"
WARNING: Final = "Warning"
PENDING: Final = "Pending"
LOST: Final = "Lost"
DEFAULT_CLASS: Final = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
BUILT_IN: Final = "kubernetes.io/"
"""Provisioners of this prefix were part of Kubernetes; none is left."""
PROVISIONED_BY: Final = "pv.kubernetes.io/provisioned-by"

NO_VOLUME: Final = "no persistent volumes available for this claim and no storage class is set"
FIRST_CONSUMER: Final = "waiting for first consumer to be created before binding"
LOST_REFERENCE: Final = (
    "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
)
LOST_VOLUME: Final = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
MISBOUND: Final = "Two claims are bound to the same volume, this one is bound incorrectly"


@dataclass(frozen=True, slots=True)
class Told:
    """An event."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Bind:
    """Claim and volume become each other's."""

    volume: PersistentVolume


@dataclass(frozen=True, slots=True)
class Leave:
    """The claim's phase, and what is told of it."""

    phase: str
    told: Told | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Another program is to make a volume: it is named on the claim."""

    provisioner: str


@dataclass(frozen=True, slots=True)
class Assign:
    """The claim gets the class that has become the default."""

    storage_class: str


ClaimStep = Bind | Leave | Ask | Assign


def claim_step(
    claim: PersistentVolumeClaim,
    volumes: Sequence[PersistentVolume],
    classes: Sequence[StorageClass],
    waiting: Callable[[], Iterable[Pod]],
) -> ClaimStep:
    """`waiting` gives the pods that use the claim and have no node yet."""
    named = next((v for v in volumes if v.metadata.name == claim.spec.volume_name), None)
    if BIND_COMPLETED in claim.metadata.annotations:
        return _bound(claim, named)
    if claim.spec.volume_name:
        return _named(claim, named)
    asked = class_of(claim)
    known = next((c for c in classes if c.metadata.name == asked), None)
    delayed = known is not None and known.volume_binding_mode == WAIT
    found = best(volumes, claim, delayed=delayed)
    if found is not None:
        return Bind(found)
    if not asked and claim.spec.storage_class_name is None:
        default = default_class(classes)
        if default:
            return Assign(default)
    if delayed and SELECTED_NODE not in claim.metadata.annotations:
        return Leave(PENDING, _waits(waiting()))
    if not asked:
        return Leave(PENDING, Told(NORMAL, "FailedBinding", NO_VOLUME))
    return _provision(asked, known)


def _bound(claim: PersistentVolumeClaim, volume: PersistentVolume | None) -> ClaimStep:
    """A claim that has been bound stays so, or is lost."""
    if not claim.spec.volume_name:
        return Leave(LOST, Told(WARNING, "ClaimLost", LOST_REFERENCE))
    if volume is None:
        return Leave(LOST, Told(WARNING, "ClaimLost", LOST_VOLUME))
    reference = volume.spec.claim_ref
    if reference is None or reference.uid == claim.metadata.uid:
        return Bind(volume)
    return Leave(LOST, Told(WARNING, "ClaimMisbound", MISBOUND))


def _named(claim: PersistentVolumeClaim, volume: PersistentVolume | None) -> ClaimStep:
    """Somebody chose the volume."""
    if volume is None:
        return Leave(PENDING)
    if volume.spec.claim_ref is None:
        why = mismatch(volume, claim)
        if not why:
            return Bind(volume)
        message = f'Cannot bind to requested volume "{volume.metadata.name}": {why}'
        return Leave(PENDING, Told(WARNING, "VolumeMismatch", message))
    if meant_for(volume, claim):
        return Bind(volume)
    message = f'volume "{volume.metadata.name}" already bound to a different claim.'
    return Leave(PENDING, Told(WARNING, "FailedBinding", message))


def _waits(pods: Iterable[Pod]) -> Told:
    names = sorted(p.metadata.name for p in pods)
    if not names:
        return Told(NORMAL, WAIT, FIRST_CONSUMER)
    what = "pod" if len(names) == 1 else "pods"
    message = f"waiting for {what} {','.join(names)} to be scheduled"
    return Told(NORMAL, "WaitForPodScheduled", message)


def _provision(asked: str, known: StorageClass | None) -> ClaimStep:
    if known is None:
        message = f'storageclass.storage.k8s.io "{asked}" not found'
        return Leave(PENDING, Told(WARNING, "ProvisioningFailed", message))
    if known.provisioner == NO_PROVISIONER or known.provisioner.startswith(BUILT_IN):
        message = f"no volume plugin matched name: {known.provisioner}"
        return Leave(PENDING, Told(WARNING, "ProvisioningFailed", message))
    return Ask(known.provisioner)


def asking(provisioner: str) -> Told:
    """What is told of a claim whose volume another program is to make."""
    message = (
        "Waiting for a volume to be created either by the external provisioner "
        f"'{provisioner}' or manually by the system administrator. If volume creation is delayed, "
        "please verify that the provisioner is running and correctly registered."
    )
    return Told(NORMAL, "ExternalProvisioning", message)


def default_class(classes: Iterable[StorageClass]) -> str:
    """The class that is marked as the default: the newest, then the first by name."""
    marked = sorted(
        (c for c in classes if "true" in map(c.metadata.annotations.get, DEFAULT_CLASS)),
        key=lambda c: c.metadata.name,
    )
    newest = max(marked, key=lambda c: c.metadata.creation_timestamp, default=None)
    return newest.metadata.name if newest is not None else ""


@dataclass(frozen=True, slots=True)
class Phase:
    """The volume's phase."""

    phase: str


@dataclass(frozen=True, slots=True)
class Unbind:
    """The volume is taken back from a claim that has another."""


@dataclass(frozen=True, slots=True)
class Release:
    """The volume's claim is gone: it is released, and reclaimed as its policy says."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing but to look at the claim; `told` of both where they cannot come together."""

    told: Told | None = None


VolumeStep = Phase | Unbind | Release | Wait


def volume_step(volume: PersistentVolume, claim: PersistentVolumeClaim | None) -> VolumeStep:
    """`claim` is the one that the volume names, if it is there and the same still."""
    reference = volume.spec.claim_ref
    if reference is None or not reference.uid:
        return Phase("Available")
    if claim is None:
        return Release()
    if not claim.spec.volume_name:
        if same_mode(volume, claim):
            return Wait()
        message = (
            f'Cannot bind PersistentVolume "{volume.metadata.name}" to requested '
            f'PersistentVolumeClaim "{claim.metadata.name}" due to incompatible volumeMode.'
        )
        return Wait(Told(WARNING, "VolumeMismatch", message))
    if claim.spec.volume_name == volume.metadata.name:
        return Phase("Bound")
    provisioned = PROVISIONED_BY in volume.metadata.annotations
    if provisioned and volume.spec.persistent_volume_reclaim_policy == "Delete":
        return Release()
    return Unbind()


@dataclass(frozen=True, slots=True)
class Remove:
    """The volume's data is deleted, at `path` of this machine, then the volume."""

    path: str


@dataclass(frozen=True, slots=True)
class Recycle:
    """A pod empties the volume, which is then available again."""


@dataclass(frozen=True, slots=True)
class Fail:
    """The volume cannot be reclaimed."""

    reason: str
    message: str


Reclaim = Remove | Recycle | Fail | None
"""None: it stays as it is."""


def reclaim(volume: PersistentVolume) -> Reclaim:
    """What a released volume's policy means for it."""
    spec = volume.spec
    policy = spec.persistent_volume_reclaim_policy
    if policy == "Recycle":
        if spec.host_path is None and spec.nfs is None:
            return Fail("VolumeFailedRecycle", "No recycler plugin found for the volume!")
        return Recycle()
    if policy != "Delete" or volume.metadata.annotations.get(PROVISIONED_BY):
        return None  # kept, or deleted by the program that made it
    if spec.host_path is None:
        message = (
            f'error getting deleter volume plugin for volume "{volume.metadata.name}": '
            "no deletable volume plugin matched"
        )
        return Fail("VolumeFailedDelete", message)
    path = spec.host_path.path
    if "/tmp/" not in path or path.endswith("/tmp/"):  # noqa: S108 - the rule's own words
        message = f"host_path deleter only supports /tmp/.+ but received provided {path}"
        return Fail("VolumeFailedDelete", message)
    return Remove(path)
