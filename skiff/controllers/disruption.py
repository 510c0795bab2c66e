"""Disruption budgets: how many pods of a group may be taken away at the moment.

The API server's eviction spends `status.disruptionsAllowed`; this controller works it out: the pods
that are healthy now, less those that the budget wants healthy. Evictions not yet seen as deletions
stand in `status.disruptedPods` and count as gone for two minutes. `assess` is pure.

Source: https://kubernetes.io/docs/tasks/run-application/configure-pdb/ and KEP-85.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from skiff.aio.clock import Clock, parse_rfc3339, rfc3339
from skiff.api.errors import NotFound
from skiff.api.resources import PODDISRUPTIONBUDGETS
from skiff.api.views.apps import Deployment, ReplicaSet, StatefulSet
from skiff.api.views.base import ObjectView, as_json
from skiff.api.views.core import Pod, ReplicationController
from skiff.api.views.matching import matcher
from skiff.api.views.policy import PodDisruptionBudget
from skiff.client.events import WARNING
from skiff.client.informer import Informer
from skiff.client.reconciler import Key, Reconciler, Result, key_of
from skiff.client.references import controller_of
from skiff.controllers import pods
from skiff.controllers.context import Context

DELETION_TIMEOUT_S: Final = 120.0
CONDITION: Final = "DisruptionAllowed"


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a budget's status says. `again_in_s` 0: nothing to wait for."""

    current_healthy: int
    desired_healthy: int
    expected_pods: int
    disruptions_allowed: int
    disrupted_pods: Mapping[str, str] = field(default_factory=dict)
    again_in_s: float = 0.0


def share(value: int | str, of: int) -> int:
    """An int-or-percentage of `of`, percentages rounded up. Raises ValueError."""
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        raise ValueError(f"invalid value {value!r}: neither a number nor a percentage")
    return math.ceil(int(value[:-1]) * of / 100)


def assess(
    budget: PodDisruptionBudget, group: Sequence[Pod], expected: int, now: float
) -> Assessment:
    """The status for a group of pods of which `expected` are wanted. Raises ValueError."""
    spec = budget.spec
    if spec.max_unavailable is not None:
        desired = max(0, expected - share(spec.max_unavailable, expected))
    elif spec.min_available is not None:
        desired = share(spec.min_available, expected)
    else:
        desired = 0
    disrupted, again_in_s = still_disrupted(budget.status.disrupted_pods, group, now)
    healthy = sum(
        1
        for pod in group
        if not pod.metadata.deletion_timestamp
        and pod.metadata.name not in disrupted
        and pods.is_ready(pod)
    )
    allowed = max(0, healthy - desired) if expected > 0 else 0
    return Assessment(healthy, desired, expected, allowed, disrupted, again_in_s)


def still_disrupted(
    recorded: Mapping[str, str], group: Iterable[Pod], now: float
) -> tuple[dict[str, str], float]:
    """The evictions that are not yet seen as deletions, and when the next of them runs out."""
    alive = {p.metadata.name for p in group if not p.metadata.deletion_timestamp}
    kept: dict[str, str] = {}
    again_in_s = 0.0
    for name, since in recorded.items():
        left_s = parse_rfc3339(since) + DELETION_TIMEOUT_S - now
        if name in alive and left_s > 0:
            kept[name] = since
            again_in_s = min(again_in_s, left_s) if again_in_s else left_s
    return kept, again_in_s


class DisruptionReconciler(Reconciler):
    """Keys are PodDisruptionBudgets."""

    name: ClassVar[str] = "disruption"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=2)
        self._clock: Clock = context.clock
        self._client = context.client
        self._events = context.events.of("controllermanager")
        of = context.informers.of
        self._budgets = of(PodDisruptionBudget)
        self._pods = of(Pod)
        self._scaled: dict[str, Informer[Any]] = {
            "ReplicaSet": of(ReplicaSet),
            "Deployment": of(Deployment),
            "StatefulSet": of(StatefulSet),
            "ReplicationController": of(ReplicationController),
        }
        self.needs(self._budgets, self._pods, *self._scaled.values())
        self.follow(self._budgets)
        self._pods.subscribe(self._pod_changed)
        for informer in self._scaled.values():
            informer.subscribe(self._owner_changed)

    async def reconcile(self, key: Key) -> Result | None:
        """Bring the budget's status up to date."""
        budget = self._budgets.get(key.name, key.namespace)
        if budget is None or budget.metadata.deletion_timestamp:
            return None
        selector = matcher(budget.spec.selector)
        group = [
            p
            for p in self._pods.list(key.namespace)
            if p.status.phase not in ("Succeeded", "Failed") and selector.matches(p.metadata.labels)
        ]
        now = self._clock.now()
        try:
            found = assess(budget, group, self._expected(budget, group), now)
        except ValueError as e:
            message = f"Failed to calculate the number of expected pods: {e}"
            self._events.record(budget, WARNING, "CalculateExpectedPodCountFailed", message)
            await self._write(budget, _failed(budget, str(e), now))
            return None
        if not group:
            self._events.record(budget, "Normal", "NoPods", "No matching pods found")
        await self._write(budget, _status(budget, found, now))
        return Result(found.again_in_s) if found.again_in_s else None

    def _expected(self, budget: PodDisruptionBudget, group: Sequence[Pod]) -> int:
        """How many pods there should be: a plain number of minAvailable asks for no more than what is
        there; everything else goes by what the pods' controllers want. Raises ValueError."""
        spec = budget.spec
        if spec.max_unavailable is None and not isinstance(spec.min_available, str):
            return len(group)
        wanted: dict[str, int] = {}
        for pod in group:
            owner = controller_of(pod.metadata)
            if owner is None:
                continue
            if owner.uid not in wanted:
                uid, replicas = self._scale(owner.kind, owner.name, pod.metadata.namespace)
                wanted[uid or owner.uid] = replicas
        return sum(wanted.values())

    def _scale(self, kind: str, name: str, namespace: str) -> tuple[str, int]:
        """The uid and size of the outermost scalable owner. Raises ValueError."""
        informer = self._scaled.get(kind)
        owner = informer.get(name, namespace) if informer is not None else None
        if owner is None:
            raise ValueError(f"{kind.lower()}s.apps does not implement the scale subresource")
        above = controller_of(owner.metadata)
        if kind == "ReplicaSet" and above is not None and above.kind == "Deployment":
            return self._scale("Deployment", above.name, namespace)
        replicas = owner.spec.replicas
        return owner.metadata.uid, 1 if replicas is None else int(replicas)

    async def _write(self, budget: PodDisruptionBudget, status: dict[str, Any]) -> None:
        if status == as_json(budget.status):
            return
        meta = budget.metadata
        patch = {"metadata": {"resourceVersion": meta.resource_version}, "status": status}
        gone = {k: None for k in budget.status.disrupted_pods if k not in status["disruptedPods"]}
        patch["status"] = {**status, "disruptedPods": {**status["disruptedPods"], **gone}}
        try:
            await self._client.patch(
                PODDISRUPTIONBUDGETS, meta.name, meta.namespace, patch, subresource="status"
            )
        except NotFound:
            return

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        for pod in (old, new):
            if pod is None:
                continue
            for budget in self._budgets.list(pod.metadata.namespace):
                if matcher(budget.spec.selector).matches(pod.metadata.labels):
                    self.queue.add(key_of(budget))

    def _owner_changed(self, old: ObjectView | None, new: ObjectView | None) -> None:
        owner = new or old
        if owner is not None:
            for budget in self._budgets.list(owner.metadata.namespace):
                self.queue.add(key_of(budget))


def _status(budget: PodDisruptionBudget, found: Assessment, now: float) -> dict[str, Any]:
    enough = found.disruptions_allowed > 0
    return {
        "conditions": [
            _condition(
                budget,
                "True" if enough else "False",
                "SufficientPods" if enough else "InsufficientPods",
                "",
                now,
            )
        ],
        "currentHealthy": found.current_healthy,
        "desiredHealthy": found.desired_healthy,
        "disruptedPods": dict(found.disrupted_pods),
        "disruptionsAllowed": found.disruptions_allowed,
        "expectedPods": found.expected_pods,
        "observedGeneration": budget.metadata.generation,
    }


def _failed(budget: PodDisruptionBudget, message: str, now: float) -> dict[str, Any]:
    """Nothing may be disrupted while it cannot be said how much may."""
    status: dict[str, Any] = as_json(budget.status)
    condition = _condition(budget, "False", "SyncFailed", message, now)
    fixed = {"conditions": [condition], "disruptionsAllowed": 0}
    observed = {"observedGeneration": budget.metadata.generation}
    return {"disruptedPods": {}, **status, **fixed, **observed}


def _condition(
    budget: PodDisruptionBudget, status: str, reason: str, message: str, now: float
) -> dict[str, Any]:
    since = rfc3339(now)
    for condition in budget.status.conditions:
        if condition.type == CONDITION and condition.status == status:
            since = condition.last_transition_time or since
    return {
        "type": CONDITION,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since,
        "observedGeneration": budget.metadata.generation,
    }
