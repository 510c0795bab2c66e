"""How many pods each ReplicaSet of a Deployment should have next. Pure.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/ (rolling update,
proportional scaling); the rules are those of Kubernetes' deployment controller.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from skiff.api.views.apps import Deployment, ReplicaSet

REVISION: Final = "deployment.kubernetes.io/revision"
DESIRED_REPLICAS: Final = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS: Final = "deployment.kubernetes.io/max-replicas"


@dataclass(frozen=True, slots=True)
class Limits:
    """A Deployment's size and how far a rollout may leave it, in pods."""

    replicas: int
    surge: int
    unavailable: int

    @property
    def maximum(self) -> int:
        """The most pods at a time."""
        return self.replicas + self.surge

    @property
    def minimum_available(self) -> int:
        return self.replicas - self.unavailable


@dataclass(frozen=True, slots=True)
class Resize:
    """Give the ReplicaSet this many replicas (which may be what it has: then its annotations are
    brought up to date)."""

    replica_set: ReplicaSet
    replicas: int


def limits_of(deployment: Deployment) -> Limits:
    """Resolve maxSurge (rounded up) and maxUnavailable (down); they are never both zero."""
    replicas = replicas_of(deployment)
    strategy = deployment.spec.strategy
    if strategy is None or strategy.type != "RollingUpdate" or strategy.rolling_update is None:
        return Limits(replicas, 0, 0)
    surge = resolve(strategy.rolling_update.max_surge, replicas, up=True)
    unavailable = resolve(strategy.rolling_update.max_unavailable, replicas, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Limits(replicas, surge, min(unavailable, replicas))


def resolve(value: int | str | None, total: int, *, up: bool) -> int:
    """An int-or-percentage of `total`. Raises ValueError where it is neither."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        raise ValueError(f"{value!r} is neither a number nor a percentage")
    exact = total * int(value[:-1])
    return -(-exact // 100) if up else exact // 100


def replicas_of(obj: Deployment | ReplicaSet) -> int:
    """`spec.replicas`, 1 where absent."""
    return 1 if obj.spec.replicas is None else obj.spec.replicas


def total(replica_sets: Iterable[ReplicaSet]) -> int:
    """The sum of `spec.replicas`."""
    return sum(map(replicas_of, replica_sets))


def oldest_first(replica_sets: Iterable[ReplicaSet]) -> list[ReplicaSet]:
    """By creation, then by name."""
    return sorted(replica_sets, key=lambda rs: (rs.metadata.creation_timestamp, rs.metadata.name))


def new_size(deployment: Deployment, every: Sequence[ReplicaSet], new: ReplicaSet | None) -> int:
    """The size of the new ReplicaSet (`None`: not created yet, not in `every`)."""
    limits = limits_of(deployment)
    size = replicas_of(new) if new else 0
    strategy = deployment.spec.strategy
    if strategy is not None and strategy.type == "Recreate":
        return limits.replicas
    room = limits.maximum - total(every)
    if room <= 0:
        return size
    return size + max(0, min(room, limits.replicas - size))


def rolling_update_old(
    deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]
) -> list[Resize]:
    """How to shrink old ReplicaSets so that enough pods stay available: broken pods go first."""
    if total(old) == 0:
        return []
    limits = limits_of(deployment)
    every = [*old, new]
    new_unavailable = replicas_of(new) - new.status.available_replicas
    budget = total(every) - limits.minimum_available - new_unavailable
    if budget <= 0:
        return []
    sizes = {rs.metadata.name: replicas_of(rs) for rs in old}
    ordered = oldest_first(old)
    for rs in ordered:
        broken = min(budget, sizes[rs.metadata.name] - rs.status.available_replicas)
        if broken > 0:
            sizes[rs.metadata.name] -= broken
            budget -= broken
    spare = sum(rs.status.available_replicas for rs in every) - limits.minimum_available
    for rs in ordered:
        going = min(sizes[rs.metadata.name], max(spare, 0))
        sizes[rs.metadata.name] -= going
        spare -= going
    return [
        Resize(rs, sizes[rs.metadata.name])
        for rs in ordered
        if sizes[rs.metadata.name] != replicas_of(rs)
    ]


def scale(
    deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]
) -> list[Resize]:
    """How to spread a changed size: over the one active ReplicaSet, or, in the middle of a rollout,
    over all in proportion to their sizes."""
    limits = limits_of(deployment)
    single = _active_or_latest(new, old)
    if single is not None:
        return [] if replicas_of(single) == limits.replicas else [Resize(single, limits.replicas)]
    if _is_saturated(deployment, new):
        return [Resize(rs, 0) for rs in oldest_first(old) if replicas_of(rs) > 0]
    strategy = deployment.spec.strategy
    if strategy is None or strategy.type != "RollingUpdate":
        return []
    every = [rs for rs in ([*old, new] if new else old) if replicas_of(rs) > 0]
    allowed = limits.maximum if limits.replicas > 0 else 0
    return _proportional(deployment, every, allowed - total(every))


def _proportional(deployment: Deployment, every: list[ReplicaSet], to_add: int) -> list[Resize]:
    # Largest first; of equals, the newest first when growing, the oldest first when shrinking.
    ordered = sorted(every, key=lambda rs: rs.metadata.creation_timestamp, reverse=to_add > 0)
    ordered.sort(key=replicas_of, reverse=True)
    added = 0
    sizes = []
    for rs in ordered:
        share = _share(deployment, rs, to_add, added)
        added += share
        sizes.append(replicas_of(rs) + share)
    if sizes and to_add:
        sizes[0] = max(0, sizes[0] + to_add - added)  # what rounding left over
    return [Resize(rs, size) for rs, size in zip(ordered, sizes, strict=True)]


def _share(deployment: Deployment, rs: ReplicaSet, to_add: int, added: int) -> int:
    size = replicas_of(rs)
    if size == 0 or to_add == 0 or to_add == added:
        return 0
    limits = limits_of(deployment)
    left = to_add - added
    if limits.replicas == 0:
        fraction = -size
    else:
        before = _annotated(rs, MAX_REPLICAS) or deployment.status.replicas or size
        fraction = _round(size * limits.maximum / before) - size
    return min(fraction, left) if to_add > 0 else max(fraction, left)


def _round(value: float) -> int:
    return math.floor(value + 0.5)


def _active_or_latest(new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> ReplicaSet | None:
    every = [*old, new] if new else list(old)
    active = [rs for rs in every if replicas_of(rs) > 0]
    if len(active) > 1:
        return None
    if active:
        return active[0]
    return new or (oldest_first(old)[-1] if old else None)


def _is_saturated(deployment: Deployment, new: ReplicaSet | None) -> bool:
    if new is None:
        return False
    wanted = replicas_of(deployment)
    return (
        replicas_of(new) == wanted
        and _annotated(new, DESIRED_REPLICAS) == wanted
        and new.status.available_replicas == wanted
    )


def _annotated(rs: ReplicaSet, name: str) -> int | None:
    text = rs.metadata.annotations.get(name, "")
    return int(text) if text.isdecimal() else None


def is_scaling_event(deployment: Deployment, replica_sets: Iterable[ReplicaSet]) -> bool:
    """Whether the size changed since an active ReplicaSet was last brought in line."""
    wanted = replicas_of(deployment)
    return any(
        annotated is not None and annotated != wanted
        for rs in replica_sets
        if replicas_of(rs) > 0
        for annotated in (_annotated(rs, DESIRED_REPLICAS),)
    )


def history_to_delete(deployment: Deployment, old: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    """The old ReplicaSets beyond revisionHistoryLimit: lowest revision first, empty ones only."""
    limit = deployment.spec.revision_history_limit
    if limit is None:
        return []
    alive = [rs for rs in old if not rs.metadata.deletion_timestamp]
    beyond = len(alive) - limit
    if beyond <= 0:
        return []
    by_revision = sorted(
        alive, key=lambda rs: (revision_of(rs), rs.metadata.creation_timestamp, rs.metadata.name)
    )
    return [
        rs
        for rs in by_revision[:beyond]
        if not rs.status.replicas
        and replicas_of(rs) == 0
        and rs.metadata.generation <= rs.status.observed_generation
    ]


def revision_of(obj: Deployment | ReplicaSet) -> int:
    """The revision annotation; 0 where absent."""
    text = obj.metadata.annotations.get(REVISION, "")
    return int(text) if text.isdecimal() else 0
