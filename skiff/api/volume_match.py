"""Which persistent volume does for which claim. Pure: the scheduler and the binder both go by it.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding
"""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from skiff.api import quantity
from skiff.api.selectors import structured
from skiff.api.views.affinity import NodeSelector
from skiff.api.views.volume import PersistentVolume, PersistentVolumeClaim

BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER: Final = "pv.kubernetes.io/bound-by-controller"
SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
BETA_CLASS: Final = "volume.beta.kubernetes.io/storage-class"
NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"
WAIT: Final = "WaitForFirstConsumer"

Picks = Callable[[NodeSelector | None], bool]
"""Whether a volume's nodes will do."""


def class_of(obj: PersistentVolume | PersistentVolumeClaim) -> str:
    """The name of the class that a claim asks for, or that a volume is of."""
    beta = obj.metadata.annotations.get(BETA_CLASS)
    return beta if beta is not None else obj.spec.storage_class_name or ""


def bound(claim: PersistentVolumeClaim) -> bool:
    """Whether the claim has its volume for good."""
    return bool(claim.spec.volume_name) and BIND_COMPLETED in claim.metadata.annotations


def meant_for(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Whether the volume names this claim as its own: before it was bound, or because it is."""
    reference, meta = volume.spec.claim_ref, claim.metadata
    if reference is None or (reference.namespace, reference.name) != (meta.namespace, meta.name):
        return False
    return reference.uid in ("", meta.uid)


def size_of(volume: PersistentVolume) -> int:
    """In bytes."""
    return quantity.to_int(volume.spec.capacity.get("storage", "0"))


def asked_of(claim: PersistentVolumeClaim) -> int:
    """The bytes that a claim asks for."""
    resources = claim.spec.resources
    return quantity.to_int(resources.requests.get("storage", "0") if resources else "0")


def nodes_of(volume: PersistentVolume) -> NodeSelector | None:
    """The nodes that can reach the volume; None: all."""
    affinity = volume.spec.node_affinity
    return affinity.required if affinity is not None else None


def same_mode(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Whether both are of files, or both of blocks."""
    return (volume.spec.volume_mode or "Filesystem") == (claim.spec.volume_mode or "Filesystem")


def same_attributes(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Whether both name the same class of attributes, or none."""
    return volume.spec.volume_attributes_class_name == claim.spec.volume_attributes_class_name


def grants_access(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Whether the volume has every access mode that is asked for."""
    return set(claim.spec.access_modes) <= set(volume.spec.access_modes)


def mismatch(volume: PersistentVolume, claim: PersistentVolumeClaim) -> str:
    """Why a volume that a claim names cannot be its volume; empty where it can."""
    if size_of(volume) < asked_of(claim):
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if not same_mode(volume, claim):
        return "incompatible volumeMode"
    if not same_attributes(volume, claim):
        return "volumeAttributesClassName does not match"
    if not grants_access(volume, claim):
        return "incompatible accessMode"
    return ""


def fits(volume: PersistentVolume, claim: PersistentVolumeClaim, *, delayed: bool = False) -> bool:
    """Whether the volume may become the volume of a claim that names none. One that is meant for the
    claim needs only its size and mode; of the others, a `delayed` claim takes none."""
    if volume.metadata.deletion_timestamp or size_of(volume) < asked_of(claim):
        return False
    if not same_mode(volume, claim) or not same_attributes(volume, claim):
        return False
    if not grants_access(volume, claim):
        return False
    if volume.spec.claim_ref is not None:
        return meant_for(volume, claim)
    if delayed or volume.status.phase != "Available" or class_of(volume) != class_of(claim):
        return False
    selector = claim.spec.selector
    if selector is None:
        return True
    return structured(msgspec.to_builtins(selector)).matches(volume.metadata.labels)


def best(
    volumes: Iterable[PersistentVolume],
    claim: PersistentVolumeClaim,
    *,
    delayed: bool = False,
    picks: Picks = lambda _: True,
) -> PersistentVolume | None:
    """The volume for a claim that names none: one that is meant for it; else, of those with the fewest
    access modes, the smallest."""
    found = [v for v in volumes if fits(v, claim, delayed=delayed) and picks(nodes_of(v))]
    return min(found, key=_preference, default=None)


def _preference(volume: PersistentVolume) -> tuple[bool, int, int, str]:
    modes = len(volume.spec.access_modes)
    return volume.spec.claim_ref is None, modes, size_of(volume), volume.metadata.name
