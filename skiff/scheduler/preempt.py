"""Preemption: which pods of lower priority would have to go so that one of higher priority fits.

Each candidate node is tried on the real columns: its lower pods are taken off, and put back one by
one (those under a disruption budget first, then the more important), as long as the new pod still
fits; those that cannot come back are the victims. Everything is as before when `find` returns. Pure.
Source: https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from skiff.aio.entropy import Entropy
from skiff.scheduler.context import Context
from skiff.scheduler.nodes import Mask, Placed
from skiff.scheduler.plan import NO_VICTIMS, NOT_HELPFUL, Planner, summary
from skiff.scheduler.shape import Shape

CANDIDATES_MAX = 100
"""Nodes with victims among which one is chosen: enough to choose well among thousands."""
TRIED_MAX = 400
"""Nodes tried for one pod; the rest is told as having no victims."""
NEVER = "not eligible due to preemptionPolicy=Never."
TERMINATING = "not eligible due to a terminating pod on the nominated node."
_PRIORITY_OFFSET = 2**31

Violating = Callable[[Sequence[Placed]], frozenset[str]]
"""Given pods in the order in which they would be evicted: the keys of those whose eviction breaks a
PodDisruptionBudget."""


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
    violating: Violating,
) -> Victims | str:
    """The best node to make room on; else, in Kubernetes' words, why preemption does not help."""
    if not shape.preempts:
        return NEVER
    nodes = context.nodes
    rows = [int(r) for r in np.flatnonzero(resolvable & nodes.alive[: len(resolvable)])]
    told: Counter[str] = Counter({NOT_HELPFUL: len(nodes) - len(rows)})
    found: list[Victims] = []
    if rows and nodes.has_below(shape.priority):
        start = entropy.random.randrange(len(rows))
        rows = rows[start:] + rows[:start]
        tried = 0
        for row in rows:
            lower = [p for p in nodes.on[row].values() if p.shape.priority < shape.priority]
            if not lower or tried >= TRIED_MAX:
                told[NO_VICTIMS] += 1
                continue
            tried += 1
            result = _on_row(context, planner, shape, row, lower, violating)
            if isinstance(result, Victims):
                found.append(result)
                if len(found) >= CANDIDATES_MAX:
                    break
            else:
                told.update(result)
    else:
        told[NO_VICTIMS] += len(rows)
    if found:
        return min(found, key=_cost)
    return summary(len(nodes), dict(told))


def _on_row(
    context: Context,
    planner: Planner,
    shape: Shape,
    row: int,
    lower: list[Placed],
    violating: Violating,
) -> Victims | list[str]:
    """The victims on a row, or why the pod does not fit even without its lower pods."""
    nodes = context.nodes
    name = nodes.names[row]
    for pod in lower:
        nodes.take(pod.key)
    victims: list[Placed] = []
    try:
        reasons = planner.reasons_on(context, shape, row)
        if reasons:
            return reasons
        lower.sort(key=_importance)
        broken = violating(lower)
        for pod in sorted(lower, key=lambda p: p.key not in broken):
            nodes.place(pod.key, pod.shape, name, pod.name, pod.start, pod.terminating)
            if planner.reasons_on(context, shape, row):
                nodes.take(pod.key)
                victims.append(pod)
    finally:
        for pod in lower:
            if pod.key not in nodes.pods:
                nodes.place(pod.key, pod.shape, name, pod.name, pod.start, pod.terminating)
    victims.sort(key=_importance)
    return Victims(row, tuple(victims), sum(p.key in broken for p in victims))


def _importance(pod: Placed) -> tuple[int, float]:
    """The more important first: higher priority, then longer there."""
    return -pod.shape.priority, pod.start


def _cost(victims: Victims) -> tuple[int, int, int, int, float]:
    """Fewest broken budgets, lowest highest priority, lowest sum, fewest pods, latest start of the
    earliest among the most important."""
    priorities = [p.shape.priority for p in victims.pods]
    highest = max(priorities, default=-_PRIORITY_OFFSET)
    total = sum(p + _PRIORITY_OFFSET for p in priorities)
    earliest = min((p.start for p in victims.pods if p.shape.priority == highest), default=0.0)
    return victims.violations, highest, total, len(priorities), -earliest
