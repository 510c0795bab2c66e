"""One decision: the best node for a shape, or why there is none, in Kubernetes' words. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from skiff.aio.entropy import Entropy
from skiff.scheduler.context import Context
from skiff.scheduler.filters import FILTERS, Filter
from skiff.scheduler.nodes import Mask
from skiff.scheduler.scores import SCORES, Score
from skiff.scheduler.shape import Shape
from skiff.scheduler.volumes import obstacle

SCORED_NODES_MIN = 100
SCORED_PERCENT_MIN = 5
NO_NODES = "no nodes available to schedule pods"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"
NO_CLAIMS = "no new claims to deallocate"
"""What the plugin for resource claims adds where a pod has none."""


@dataclass(slots=True)
class Refusal:
    """Why no node will do: how many nodes gave each reason, and the rows that preemption may look at.

    `up_front` is a reason that lies in the pod itself and speaks for all nodes.
    """

    nodes: int
    reasons: dict[str, int] = field(default_factory=dict)
    resolvable: Mask = field(default_factory=lambda: np.zeros(0, np.bool_))
    up_front: str = ""

    def message(self, preemption: str = "") -> str:
        """As the scheduler's event and the pod's condition say it; `preemption` is what came of
        that, empty where it found victims."""
        if not self.nodes:
            return NO_NODES
        if self.up_front:
            told = f"0/{self.nodes} nodes are available: {self.up_front}."
        else:
            told = summary(self.nodes, self.reasons)
        return f"{told} {NO_CLAIMS}, preemption: {preemption}" if preemption else told


def summary(nodes: int, reasons: dict[str, int]) -> str:
    """`0/3 nodes are available: 1 Too many pods, 2 Insufficient cpu.`"""
    told = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items() if count))
    return f"0/{nodes} nodes are available: {told}."


def _up_front(context: Context, shape: Shape) -> str:
    """Why a pod can go nowhere whatever the nodes are; empty where it may."""
    if shape.required_names is not None and not shape.required_names:
        return "pod affinity terms conflict"
    return obstacle(context.claims, shape) if shape.claims else ""


class Planner:
    """Filters, then scores, as their ordered tables say."""

    def __init__(
        self,
        entropy: Entropy,
        filters: Sequence[Filter] = FILTERS,
        scores: Sequence[tuple[str, Score, float]] = SCORES,
    ) -> None:
        self._entropy = entropy
        self._filters = filters
        self._scores = scores
        self._turn = 0

    def feasible(self, context: Context, shape: Shape) -> Mask:
        """The rows that every filter passes: one straight run, no accounting."""
        mask = context.nodes.alive.copy()
        for row in self._filters:
            for verdict in row.run(context, shape):
                mask &= verdict.passed
        return mask

    def decide(self, context: Context, shape: Shape) -> int | Refusal:
        """The row to bind to, or why there is none."""
        reason = _up_front(context, shape)
        if reason:
            nobody = np.zeros(context.nodes.size, np.bool_)
            return Refusal(len(context.nodes), resolvable=nobody, up_front=reason)
        rows = np.flatnonzero(self.feasible(context, shape))
        if not len(rows):
            return self._explain(context, shape)
        if len(rows) == 1:
            return int(rows[0])
        rows = self._sample(rows, len(context.nodes))
        total = np.zeros(len(rows), np.float64)
        for _, score, weight in self._scores:
            points = score(context, shape, rows)
            if points is not None:
                total += np.floor(points) * weight
        best = rows[total == total.max()]
        return int(best[self._entropy.random.randrange(len(best))])

    def _sample(self, rows: NDArray[np.int64], nodes: int) -> NDArray[np.int64]:
        """As many feasible rows as are worth scoring, taken in turn: all of a small cluster, a tenth
        of one with 5,000 nodes. Source: KubeSchedulerConfiguration, percentageOfNodesToScore."""
        percentage = max(SCORED_PERCENT_MIN, 50 - nodes // 125)
        wanted = max(SCORED_NODES_MIN, nodes * percentage // 100)
        if len(rows) <= wanted:
            return rows
        start = self._turn % len(rows)
        self._turn += wanted
        return np.take(rows, np.arange(start, start + wanted), mode="wrap")

    def reasons_on(self, context: Context, shape: Shape, row: int) -> list[str]:
        """Why one row will not do; empty where it will."""
        for each in self._filters:
            reasons = [v.reason for v in each.run(context, shape) if not v.passed[row]]
            if reasons:
                return list(dict.fromkeys(reasons if each.tells_all else reasons[:1]))
        return []

    def _explain(self, context: Context, shape: Shape) -> Refusal:
        """Run again and count: each node is refused by the first filter that turns it down."""
        remaining = context.nodes.alive.copy()
        refusal = Refusal(len(context.nodes), resolvable=np.zeros(context.nodes.size, np.bool_))
        for row in self._filters:
            refused = np.zeros(context.nodes.size, np.bool_)
            hopeless = np.zeros(context.nodes.size, np.bool_)
            by_reason: dict[str, Mask] = {}
            for verdict in row.run(context, shape):
                failed = remaining & ~verdict.passed
                if not row.tells_all:
                    failed &= ~refused
                refused |= failed
                if not verdict.resolvable:
                    hopeless |= failed
                seen = by_reason.get(verdict.reason)
                by_reason[verdict.reason] = failed if seen is None else seen | failed
            for reason, failed in by_reason.items():
                if count := int(failed.sum()):
                    refusal.reasons[reason] = refusal.reasons.get(reason, 0) + count
            refusal.resolvable |= refused & ~hopeless
            remaining &= ~refused
        return refusal
