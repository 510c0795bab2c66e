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

from skiff.api.views.affinity import (
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    TopologySelectorTerm,
)
from skiff.api.views.storage import StorageClass
from skiff.api.views.volume import PersistentVolume, PersistentVolumeClaim
from skiff.api.volume_match import NO_PROVISIONER, WAIT, best, bound, class_of, fits, nodes_of
from skiff.scheduler.shape import Claim, Shape

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


def delayed(storage: Storage, claim: PersistentVolumeClaim) -> bool:
    """Whether the claim is bound only when a pod that uses it has a node."""
    found = storage.storage_class(class_of(claim))
    return found is not None and found.volume_binding_mode == WAIT and not claim.spec.volume_name


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
                yield Placement((nodes_of(volume),), ELSEWHERE)
        else:
            yield Placement(tuple(_choices(storage, claim)), NO_MATCH)


def _choices(storage: Storage, claim: PersistentVolumeClaim) -> Iterable[NodeSelector | None]:
    for volume in storage.volumes():
        if fits(volume, claim):
            yield nodes_of(volume)
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
        free = (v for v in storage.volumes() if v.metadata.name not in taken)
        found = best(free, claim, picks=picks)
        name = found.metadata.name if found is not None else ""
        taken.add(name)
        chosen.append((wanted.name, name))
    return chosen


def provisions(found: StorageClass) -> bool:
    """Whether volumes of the class are made when they are wanted."""
    return found.provisioner != NO_PROVISIONER


def _topology(term: TopologySelectorTerm) -> NodeSelector:
    expressions = tuple(
        NodeSelectorRequirement(key=e.key, operator="In", values=e.values)
        for e in term.match_label_expressions
    )
    return NodeSelector(node_selector_terms=(NodeSelectorTerm(match_expressions=expressions),))
