"""What a pod's persistent volume claims mean for where it may go. Pure.

A claim that is bound ties the pod to its volume's nodes. One that is not: if its class binds at once,
the pod has to wait for it; if its class waits for the first consumer, nodes are judged by whether a
volume that fits is there or can be made, and the chosen node is written on the claim.
Source: https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode and
persistent-volumes/#node-affinity.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from skiff.api import quantity
from skiff.api.selectors import structured
from skiff.api.views.affinity import (
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    TopologySelectorTerm,
)
from skiff.api.views.storage import StorageClass
from skiff.api.views.volume import PersistentVolume, PersistentVolumeClaim
from skiff.scheduler.shape import Claim, Shape

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
WAIT = "WaitForFirstConsumer"

UNBOUND = "pod has unbound immediate PersistentVolumeClaims"
NO_SUCH_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
ELSEWHERE = "node(s) didn't match PersistentVolume's node affinity"
NO_MATCH = "node(s) didn't find available persistent volumes to bind"


class Storage(Protocol):
    """What is known of claims, volumes and classes."""

    def claim(self, namespace: str, name: str) -> PersistentVolumeClaim | None: ...

    def volume(self, name: str) -> PersistentVolume | None: ...

    def volumes(self) -> Iterable[PersistentVolume]: ...

    def storage_class(self, name: str) -> StorageClass | None: ...


class NoStorage:
    """A cluster without volumes."""

    def claim(self, namespace: str, name: str) -> None:
        del namespace, name

    def volume(self, name: str) -> None:
        del name

    def volumes(self) -> Iterable[PersistentVolume]:
        return ()

    def storage_class(self, name: str) -> None:
        del name


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one claim lets its pod go: to nodes that any of `selectors` picks (None: all)."""

    selectors: tuple[NodeSelector | None, ...]
    reason: str
    """What nodes that none picks are told."""


def obstacle(storage: Storage, shape: Shape) -> str:
    """Why a pod cannot go anywhere because of its claims; empty where it may."""
    unbound = ""
    for wanted in shape.claims:
        claim = storage.claim(shape.namespace, wanted.name)
        if claim is None:
            return _missing(wanted)
        if wanted.ephemeral and not _owned(claim, wanted):
            return (
                f'PersistentVolumeClaim "{wanted.name}" was not created for pod '
                f'"{wanted.pod}" (pod is not owner)'
            )
        if claim.status.phase == "Lost":
            volume = claim.spec.volume_name
            return (
                f'persistentvolumeclaim "{wanted.name}" bound to non-existent '
                f'persistentvolume "{volume}"'
            )
        if claim.metadata.deletion_timestamp:
            return f'persistentvolumeclaim "{wanted.name}" is being deleted'
        if not bound(claim) and not delayed(storage, claim):
            unbound = UNBOUND
    return unbound


def _missing(wanted: Claim) -> str:
    if wanted.ephemeral:
        return (
            "waiting for ephemeral volume controller to create the persistentvolumeclaim "
            f'"{wanted.name}"'
        )
    return f'persistentvolumeclaim "{wanted.name}" not found'


def _owned(claim: PersistentVolumeClaim, wanted: Claim) -> bool:
    return any(o.controller and o.uid == wanted.pod_uid for o in claim.metadata.owner_references)


def bound(claim: PersistentVolumeClaim) -> bool:
    """Whether the claim has its volume for good."""
    return bool(claim.spec.volume_name) and BIND_COMPLETED in claim.metadata.annotations


def delayed(storage: Storage, claim: PersistentVolumeClaim) -> bool:
    """Whether the claim is bound only when a pod that uses it has a node."""
    found = storage.storage_class(class_of(claim))
    return found is not None and found.volume_binding_mode == WAIT and not claim.spec.volume_name


def class_of(claim: PersistentVolumeClaim) -> str:
    """The name of the claim's class."""
    return claim.metadata.annotations.get(BETA_CLASS) or claim.spec.storage_class_name or ""


def placements(storage: Storage, shape: Shape) -> Iterable[Placement]:
    """What each claim of a pod without `obstacle` says of nodes."""
    for wanted in shape.claims:
        claim = storage.claim(shape.namespace, wanted.name)
        if claim is None:
            continue
        if bound(claim):
            volume = storage.volume(claim.spec.volume_name)
            if volume is None:
                yield Placement((), NO_SUCH_VOLUME)
            else:
                yield Placement((_nodes_of(volume),), ELSEWHERE)
        else:
            yield Placement(tuple(_choices(storage, claim)), NO_MATCH)


def _choices(storage: Storage, claim: PersistentVolumeClaim) -> Iterable[NodeSelector | None]:
    for volume in storage.volumes():
        if fits(volume, claim):
            yield _nodes_of(volume)
    found = storage.storage_class(class_of(claim))
    if found is not None and provisions(found):
        if not found.allowed_topologies:
            yield None
        for term in found.allowed_topologies:
            yield _topology(term)


def choose(
    storage: Storage, shape: Shape, picks: Callable[[NodeSelector | None], bool]
) -> list[tuple[str, str]]:
    """For a pod whose node is decided: each unbound claim with the volume that it is to be bound to
    (empty: one has to be made). `picks` says whether a selector picks the node."""
    chosen: list[tuple[str, str]] = []
    taken: set[str] = set()
    for wanted in shape.claims:
        claim = storage.claim(shape.namespace, wanted.name)
        if claim is None or bound(claim):
            continue
        found = [
            v
            for v in storage.volumes()
            if v.metadata.name not in taken and fits(v, claim) and picks(_nodes_of(v))
        ]
        best = min(found, key=_preference, default=None)
        name = best.metadata.name if best is not None else ""
        taken.add(name)
        chosen.append((wanted.name, name))
    return chosen


def _preference(volume: PersistentVolume) -> tuple[bool, int, str]:
    """One that is meant for the claim, then the smallest."""
    size = quantity.to_int(volume.spec.capacity.get("storage", "0"))
    return volume.spec.claim_ref is None, size, volume.metadata.name


def provisions(found: StorageClass) -> bool:
    """Whether volumes of the class are made when they are wanted."""
    return found.provisioner != NO_PROVISIONER


def fits(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Whether an existing volume would do for an unbound claim."""
    spec, want = volume.spec, claim.spec
    if volume.metadata.deletion_timestamp:
        return False
    ref = spec.claim_ref
    meta = claim.metadata
    if ref is not None:
        ours = (ref.namespace, ref.name) == (meta.namespace, meta.name)
        return ours and ref.uid in ("", meta.uid)
    if volume.status.phase != "Available" or (spec.storage_class_name or "") != class_of(claim):
        return False
    if (spec.volume_mode or "Filesystem") != (want.volume_mode or "Filesystem"):
        return False
    if not set(want.access_modes) <= set(spec.access_modes):
        return False
    if want.selector is not None:
        selector = structured(msgspec.to_builtins(want.selector))
        if not selector.matches(volume.metadata.labels):
            return False
    asked = want.resources.requests.get("storage", "0") if want.resources else "0"
    return quantity.to_int(spec.capacity.get("storage", "0")) >= quantity.to_int(asked)


def _nodes_of(volume: PersistentVolume) -> NodeSelector | None:
    affinity = volume.spec.node_affinity
    return affinity.required if affinity is not None else None


def _topology(term: TopologySelectorTerm) -> NodeSelector:
    expressions = tuple(
        NodeSelectorRequirement(key=e.key, operator="In", values=e.values)
        for e in term.match_label_expressions
    )
    return NodeSelector(node_selector_terms=(NodeSelectorTerm(match_expressions=expressions),))
