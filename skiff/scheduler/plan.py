"""One decision: the best node for a shape, or why there is none, in Kubernetes' words. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from skiff.aio.entropy import Entropy
from skiff.scheduler.context import Context
from skiff.scheduler.filters import FILTERS, Filter, Verdict
from skiff.scheduler.nodes import Mask
from skiff.scheduler.scores import SCORES, Score
from skiff.scheduler.shape import Shape

NO_NODES = "no nodes available to schedule pods"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"


@dataclass(slots=True)
class Refusal:
    """Why no node will do: how many nodes gave each reason, and the rows that preemption may look at."""

    nodes: int
    reasons: dict[str, int] = field(default_factory=dict)
    resolvable: Mask = field(default_factory=lambda: np.zeros(0, np.bool_))

    def message(self) -> str:
        """As the scheduler's events and the pod's condition say it."""
        if not self.nodes:
            return NO_NODES
        hopeful = int(self.resolvable.sum())
        after = {NOT_HELPFUL: self.nodes - hopeful, NO_VICTIMS: hopeful}
        return (
            f"{_summary(self.nodes, self.reasons)} no new claims to deallocate, "
            f"preemption: {_summary(self.nodes, after)}"
        )


def _summary(nodes: int, reasons: dict[str, int]) -> str:
    told = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items() if count))
    return f"0/{nodes} nodes are available: {told}."


class Planner:
    """Filters, then scores, as their ordered tables say."""

    def __init__(
        self,
        entropy: Entropy,
        filters: Sequence[tuple[str, Filter]] = FILTERS,
        scores: Sequence[tuple[str, Score, float]] = SCORES,
    ) -> None:
        self._entropy = entropy
        self._filters = filters
        self._scores = scores

    def feasible(self, context: Context, shape: Shape) -> Mask:
        """The rows that every filter passes: one straight run, no accounting."""
        mask = context.nodes.alive.copy()
        for _, run in self._filters:
            for verdict in run(context, shape, ""):
                mask &= verdict.passed
        return mask

    def decide(self, context: Context, shape: Shape) -> int | Refusal:
        """The row to bind to, or why there is none."""
        mask = self.feasible(context, shape)
        rows = np.flatnonzero(mask)
        if not len(rows):
            return self._explain(context, shape)
        if len(rows) == 1:
            return int(rows[0])
        total = np.zeros(len(rows), np.float64)
        for _, score, weight in self._scores:
            points = score(context, shape, rows)
            if points is not None:
                total += np.floor(points) * weight
        best = rows[total == total.max()]
        return int(best[self._entropy.random.randrange(len(best))])

    def _explain(self, context: Context, shape: Shape) -> Refusal:
        """Run again and count: each node is refused by the first filter that turns it down."""
        remaining = context.nodes.alive.copy()
        refusal = Refusal(len(context.nodes), resolvable=np.zeros(context.nodes.size, np.bool_))
        for _, run in self._filters:
            verdicts = list(run(context, shape, ""))
            refused = np.zeros(context.nodes.size, np.bool_)
            hopeless = np.zeros(context.nodes.size, np.bool_)
            by_reason: dict[str, Mask] = {}
            for verdict in verdicts:
                failed = self._newly_failed(verdict, remaining)
                refused |= failed
                if not verdict.resolvable:
                    hopeless |= failed
                seen = by_reason.get(verdict.reason)
                by_reason[verdict.reason] = failed if seen is None else seen | failed
            for reason, failed in by_reason.items():
                count = int(failed.sum())
                if count:
                    refusal.reasons[reason] = refusal.reasons.get(reason, 0) + count
            refusal.resolvable |= refused & ~hopeless
            remaining &= ~refused
        return refusal

    @staticmethod
    def _newly_failed(verdict: Verdict, remaining: Mask) -> Mask:
        return remaining & ~verdict.passed
