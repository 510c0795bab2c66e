"""Preemption: which pods of lower priority would have to go so that one of higher priority fits.

Each candidate node is tried on the real columns: its lower pods are taken off, and put back one by
one, the highest priority first, as long as the new pod still fits; those that cannot come back are
the victims. Everything is as before when `find` returns. Pure.
Source: https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skiff.aio.entropy import Entropy
from skiff.scheduler.context import Context
from skiff.scheduler.nodes import Mask, Placed
from skiff.scheduler.plan import Planner
from skiff.scheduler.shape import Shape

CANDIDATES_MAX = 100
"""Nodes looked at for one pod: enough to choose well among thousands, few enough to stay quick."""

Protected = Callable[[str], bool]
"""Whether evicting a pod (by key) would break a PodDisruptionBudget."""


@dataclass(frozen=True, slots=True)
class Victims:
    """A node's row, and the pods that have to leave it."""

    row: int
    pods: tuple[Placed, ...]
    violations: int


def find(
    context: Context,
    planner: Planner,
    shape: Shape,
    resolvable: Mask,
    entropy: Entropy,
    protected: Protected,
) -> Victims | None:
    """The best node to make room on; None where nothing helps."""
    if not shape.preempts:
        return None
    rows = [int(r) for r in np.flatnonzero(resolvable) if _lower(context, int(r), shape.priority)]
    if not rows:
        return None
    start = entropy.random.randrange(len(rows))
    found = []
    for row in (rows[start:] + rows[:start])[:CANDIDATES_MAX]:
        victims = _on_row(context, planner, shape, row, protected)
        if victims is not None:
            found.append(victims)
    return min(found, key=_cost, default=None)


def _lower(context: Context, row: int, priority: int) -> list[Placed]:
    return [p for p in context.nodes.on[row].values() if p.shape.priority < priority]


def _on_row(
    context: Context, planner: Planner, shape: Shape, row: int, protected: Protected
) -> Victims | None:
    nodes = context.nodes
    name = nodes.names[row]
    lower = _lower(context, row, shape.priority)
    for pod in lower:
        nodes.take(pod.key)
    kept: list[Placed] = []
    victims: list[Placed] = []
    try:
        if not planner.feasible(context, shape)[row]:
            return None
        # Pods under a disruption budget come back first, then the more important, then the older.
        order = sorted(lower, key=lambda p: (not protected(p.key), -p.shape.priority, p.start))
        for pod in order:
            nodes.place(pod.key, pod.shape, name, pod.start, pod.terminating)
            if planner.feasible(context, shape)[row]:
                kept.append(pod)
            else:
                nodes.take(pod.key)
                victims.append(pod)
    finally:
        for pod in lower:
            if pod.key not in nodes.pods:
                nodes.place(pod.key, pod.shape, name, pod.start, pod.terminating)
    return Victims(row, tuple(victims), sum(protected(p.key) for p in victims))


def _cost(victims: Victims) -> tuple[int, int, int, int, float]:
    """Fewest broken budgets, lowest highest priority, lowest sum, fewest pods, latest start."""
    priorities = [p.shape.priority for p in victims.pods]
    earliest = min((p.start for p in victims.pods), default=0.0)
    highest = max(priorities, default=-(2**31))
    return victims.violations, highest, sum(priorities), len(priorities), -earliest
