"""What a StatefulSet does next. Pure.

In order: missing pods are created from the lowest ordinal, each after those before it are well;
pods beyond the size go from the highest; then pods of an older revision are replaced from the
highest. With podManagementPolicy Parallel nothing waits for the others, updates excepted.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#deployment-and-scaling-guarantees
and #update-strategies.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from skiff.api.views.apps import StatefulSet
from skiff.api.views.core import Pod
from skiff.controllers import pods
from skiff.controllers.deployment.plan import resolve
from skiff.controllers.history import HASH_LABEL
from skiff.controllers.statefulset.identity import POD_NAME_LABEL, replicas_of, start_of

PARALLEL: Final = "Parallel"


@dataclass(slots=True)
class Steps:
    """Ordinals to create, with the revision of each; pods to delete; ordinals whose pod may still
    lack its claims; pods to give their identity back."""

    create: list[tuple[int, str]] = field(default_factory=list)
    delete: list[Pod] = field(default_factory=list)
    claims: list[int] = field(default_factory=list)
    name: list[Pod] = field(default_factory=list)


def revision_of(pod: Pod) -> str:
    """The revision that the pod was made of."""
    return pod.metadata.labels.get(HASH_LABEL, "")


def next_steps(
    owner: StatefulSet, found: Mapping[int, Pod], current: str, update: str, now: float
) -> Steps:
    """What to do now; the rest waits for changes."""
    steps = Steps()
    first, size = start_of(owner), replicas_of(owner)
    ordinals = range(first, first + size)
    parallel = owner.spec.pod_management_policy == PARALLEL
    if not _fill(owner, found, ordinals, current, update, steps, parallel, now):
        return steps
    if not _shrink(owner, found, ordinals, steps, parallel, now):
        return steps
    strategy = owner.spec.update_strategy
    if strategy is not None and strategy.type == "OnDelete":
        return steps
    _replace(owner, found, ordinals, update, steps, now)
    return steps


def partition_of(owner: StatefulSet) -> int:
    """How many of the lowest ordinals keep the current revision."""
    strategy = owner.spec.update_strategy
    rolling = strategy.rolling_update if strategy else None
    return (rolling.partition or 0) if rolling else 0


def _revision_for(owner: StatefulSet, ordinal: int, current: str, update: str) -> str:
    strategy = owner.spec.update_strategy
    rolls = strategy is None or strategy.type != "OnDelete"
    if rolls and ordinal < start_of(owner) + partition_of(owner):
        return current
    return update


def _is_well(owner: StatefulSet, pod: Pod, now: float) -> bool:
    """Running, available, and not on its way out."""
    return (
        not pod.metadata.deletion_timestamp
        and pod.status.phase == "Running"
        and pods.is_available(pod, owner.spec.min_ready_seconds, now)
    )


def _fill(
    owner: StatefulSet,
    found: Mapping[int, Pod],
    ordinals: range,
    current: str,
    update: str,
    steps: Steps,
    parallel: bool,
    now: float,
) -> bool:
    """Create what is missing. False: wait."""
    for ordinal in ordinals:
        pod = found.get(ordinal)
        if pod is None:
            steps.create.append((ordinal, _revision_for(owner, ordinal, current, update)))
            if not parallel:
                return False
        elif pods.is_terminal(pod):
            # Deleted first: the name is free for the next one only then.
            if not pod.metadata.deletion_timestamp:
                steps.delete.append(pod)
            if not parallel:
                return False
        else:
            if pod.status.phase == "Pending":
                steps.claims.append(ordinal)
            if not parallel and not _is_well(owner, pod, now):
                return False
            if pod.metadata.labels.get(POD_NAME_LABEL) != pod.metadata.name:
                steps.name.append(pod)
    return True


def _shrink(
    owner: StatefulSet,
    found: Mapping[int, Pod],
    ordinals: range,
    steps: Steps,
    parallel: bool,
    now: float,
) -> bool:
    """Delete what is beyond the size, highest first. False: wait."""
    condemned = sorted((o for o in found if o not in ordinals), reverse=True)
    unwell = [o for o in sorted(found) if not _is_well(owner, found[o], now)]
    first_unwell = unwell[0] if unwell else None
    for ordinal in condemned:
        pod = found[ordinal]
        if pod.metadata.deletion_timestamp:
            if not parallel:
                return False
            continue
        if not parallel and not _is_well(owner, pod, now) and ordinal != first_unwell:
            return False
        steps.delete.append(pod)
        if not parallel:
            return False
    return True


def _replace(
    owner: StatefulSet,
    found: Mapping[int, Pod],
    ordinals: range,
    update: str,
    steps: Steps,
    now: float,
) -> None:
    """Delete pods of other revisions, highest first, as many as may be missing at a time."""
    allowed = _max_unavailable(owner)
    missing = 0
    targets = [o for o in reversed(ordinals) if o >= ordinals.start + partition_of(owner)]
    for ordinal in targets:
        pod = found.get(ordinal)
        if pod is None or not _is_well(owner, pod, now):
            missing += 1
    for ordinal in targets:
        pod = found.get(ordinal)
        if pod is None:
            return
        stale = revision_of(pod) != update and not pod.metadata.deletion_timestamp
        well = _is_well(owner, pod, now)
        if stale and (not well or missing < allowed):
            # One that is not well is missing already: replacing it costs nothing.
            steps.delete.append(pod)
            missing += well
        elif not well and allowed == 1:
            return
        if missing >= allowed:
            return


def _max_unavailable(owner: StatefulSet) -> int:
    strategy = owner.spec.update_strategy
    rolling = strategy.rolling_update if strategy else None
    if rolling is None or rolling.max_unavailable is None:
        return 1
    return max(1, resolve(rolling.max_unavailable, replicas_of(owner), up=True))


def next_status(
    owner: StatefulSet,
    found: Mapping[int, Pod],
    current: str,
    update: str,
    collisions: int,
    now: float,
) -> dict[str, Any]:
    """The status that these pods give; when all are of the update revision and ready, the update is
    over and its revision is the current one."""
    minimum = owner.spec.min_ready_seconds
    living = [p for p in found.values() if not p.metadata.deletion_timestamp]
    running = [p for p in found.values() if p.status.phase == "Running" and pods.is_ready(p)]
    result: dict[str, Any] = {
        "observedGeneration": owner.metadata.generation,
        "replicas": len(found),
        "readyReplicas": len(running),
        "availableReplicas": sum(pods.is_available(p, minimum, now) for p in running),
        "currentReplicas": sum(revision_of(p) == current for p in living),
        "updatedReplicas": sum(revision_of(p) == update for p in living),
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": collisions,
    }
    strategy = owner.spec.update_strategy
    rolls = strategy is None or strategy.type != "OnDelete"
    counts = {result["updatedReplicas"], result["replicas"], result["readyReplicas"]}
    if rolls and counts == {replicas_of(owner)}:
        result["currentReplicas"] = result["updatedReplicas"]
        result["currentRevision"] = update
    return result
