"""Disruption budgets: how many pods of a group may be taken away at the moment.

The API server's eviction spends `status.disruptionsAllowed`; this controller works it out: the pods
that are healthy now, less those that the budget wants healthy. Evictions not yet seen as deletions
stand in `status.disruptedPods` and count as gone for two minutes. `assess` is pure. A pod that was
told to be disrupted (DisruptionTarget) and is not being deleted two minutes later is told otherwise.

Source: https://kubernetes.io/docs/tasks/run-application/configure-pdb/ and KEP-85.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from skiff.aio.clock import Clock, parse_rfc3339, rfc3339
from skiff.api.errors import NotFound
from skiff.api.resources import PODDISRUPTIONBUDGETS, PODS, by_kind
from skiff.api.views.apps import Deployment, ReplicaSet, StatefulSet
from skiff.api.views.base import ObjectView, as_json
from skiff.api.views.core import Pod, ReplicationController
from skiff.api.views.matching import matcher
from skiff.api.views.meta import OwnerReference
from skiff.api.views.policy import PodDisruptionBudget
from skiff.client.events import NORMAL, WARNING
from skiff.client.informer import Informer
from skiff.client.reconciler import Key, Reconciler, Result, key_of
from skiff.client.references import controller_of
from skiff.controllers import pods
from skiff.controllers.context import Context

DELETION_TIMEOUT_S: Final = 120.0
CONDITION: Final = "DisruptionAllowed"
DISRUPTION_TARGET: Final = "DisruptionTarget"
STALE_AFTER_S: Final = 120.0
# Keys of pods.
POD: Final = "pod/"


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


def announced(pod: Pod) -> float | None:
    """Since when the pod is told that it will be disrupted, while it is not being deleted; what its
    own kubelet told it takes as long as it takes."""
    condition = pods.condition(pod, DISRUPTION_TARGET)
    if condition is None or condition.status != "True" or pod.metadata.deletion_timestamp:
        return None
    if condition.reason == "TerminationByKubelet" or pods.is_terminal(pod):
        return None
    return parse_rfc3339(condition.last_transition_time) if condition.last_transition_time else 0.0


def _name(pod: Pod) -> tuple[str, str]:
    return pod.metadata.name, pod.metadata.namespace


class DisruptionReconciler(Reconciler):
    """Keys are PodDisruptionBudgets, and pods whose disruption was announced."""

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
        if key.name.startswith(POD):
            return await self._forget_disruption(Key(key.namespace, key.name.removeprefix(POD)))
        budget = self._budgets.get(key.name, key.namespace)
        if budget is None or budget.metadata.deletion_timestamp:
            return None
        selector = matcher(budget.spec.selector)
        group = [p for p in self._pods.list(key.namespace) if selector.matches(p.metadata.labels)]
        now = self._clock.now()
        if not group:
            self._events.record(budget, NORMAL, "NoPods", "No matching pods found")
        try:
            found = assess(budget, group, self._expected(budget, group), now)
        except ValueError as e:
            message = f"Failed to calculate the number of expected pods: {e}"
            self._events.record(budget, WARNING, "CalculateExpectedPodCountFailed", message)
            await self._write(budget, _failed(budget, str(e), now))
            return None
        self._tell_of_the_undeleted(budget, group, now)
        await self._write(budget, _status(budget, found, now))
        return Result(found.again_in_s) if found.again_in_s else None

    async def _forget_disruption(self, key: Key) -> Result | None:
        """A pod that was to be disrupted and is still not being deleted after a while stays."""
        pod = self._pods.get(key.name, key.namespace)
        since = announced(pod) if pod is not None else None
        if pod is None or since is None:
            return None
        left_s = since + STALE_AFTER_S - self._clock.now()
        if left_s > 0:
            return Result(left_s)
        condition = {
            "type": DISRUPTION_TARGET,
            "status": "False",
            "reason": None,
            "message": None,
            "lastTransitionTime": rfc3339(self._clock.now()),
        }
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(PODS, *_name(pod), patch, "strategic", subresource="status")
        except NotFound:
            pass
        return None

    def _expected(self, budget: PodDisruptionBudget, group: Sequence[Pod]) -> int:
        """How many pods there should be: a plain number of minAvailable asks for no more than what is
        there; everything else goes by what the pods' controllers want. Raises ValueError."""
        spec = budget.spec
        if spec.max_unavailable is None and spec.min_available is None:
            return 0
        if spec.max_unavailable is None and not isinstance(spec.min_available, str):
            return len(group)
        wanted: dict[str, int] = {}
        unmanaged = False
        for pod in group:
            owner = controller_of(pod.metadata)
            if owner is None:
                unmanaged = True
                continue
            found = self._scale(owner, pod.metadata.namespace)
            if found is None:
                raise ValueError(f'found no controllers for pod "{pod.metadata.name}"')
            uid, replicas = found
            wanted[uid] = replicas
        if unmanaged:
            self._events.record(budget, WARNING, "UnmanagedPods", _unmanaged(budget))
        return sum(wanted.values())

    def _scale(self, reference: OwnerReference, namespace: str) -> tuple[str, int] | None:
        """The uid and size of the outermost scalable owner; None where it is gone. Raises ValueError
        where what owns the pod has no size."""
        informer = self._scaled.get(reference.kind)
        if informer is None:
            told = _resource_name(reference)
            raise ValueError(f"{told} does not implement the scale subresource")
        owner = informer.get(reference.name, namespace)
        if owner is None or owner.metadata.uid != reference.uid:
            return None
        above = controller_of(owner.metadata)
        if reference.kind == "ReplicaSet" and above is not None and above.kind == "Deployment":
            return self._scale(above, namespace)
        replicas = owner.spec.replicas
        return owner.metadata.uid, 1 if replicas is None else int(replicas)

    def _tell_of_the_undeleted(
        self, budget: PodDisruptionBudget, group: Sequence[Pod], now: float
    ) -> None:
        """Evictions that were granted long ago and never became deletions."""
        alive = {p.metadata.name: p for p in group if not p.metadata.deletion_timestamp}
        meta = budget.metadata
        for name, since in budget.status.disrupted_pods.items():
            if name in alive and parse_rfc3339(since) + DELETION_TIMEOUT_S <= now:
                message = (
                    f"Pod was expected by PDB {meta.namespace}/{meta.name} to be deleted but it "
                    "wasn't"
                )
                self._events.record(alive[name], WARNING, "NotDeleted", message)

    async def _write(self, budget: PodDisruptionBudget, status: dict[str, Any]) -> None:
        if _told(status) == _told(as_json(budget.status)):
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
        if new is not None and announced(new) is not None:
            self.queue.add(Key(new.metadata.namespace, POD + new.metadata.name))
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
    generation = budget.metadata.generation
    verdict = ("True", "SufficientPods") if enough else ("False", "InsufficientPods")
    return {
        "conditions": _conditions(budget, *verdict, "", generation, now),
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
    observed = budget.status.observed_generation
    conditions = _conditions(budget, "False", "SyncFailed", message, observed, now)
    fixed = {"conditions": conditions, "disruptionsAllowed": 0}
    return {"disruptedPods": {}, **status, **fixed}


def _resource_name(reference: OwnerReference) -> str:
    group = reference.api_version.rpartition("/")[0]
    try:
        plural = by_kind(reference.api_version, reference.kind).plural
    except KeyError:
        plural = f"{reference.kind.lower()}s"
    return f"{plural}.{group}" if group else plural


def _told(status: Mapping[str, Any]) -> dict[str, Any]:
    """The status without what says nothing, to compare."""
    conditions = [{k: v for k, v in c.items() if v} for c in status.get("conditions", ())]
    return {k: v for k, v in {**status, "conditions": conditions}.items() if v}


def _unmanaged(budget: PodDisruptionBudget) -> str:
    selector = as_json(budget.spec.selector) if budget.spec.selector else {}
    return (
        f"Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be "
        "unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may "
        "result in undefined behavior. To account for these pods please set "
        '".spec.minAvailable" field of the PDB to an integer value.'
    )


def _conditions(
    budget: PodDisruptionBudget, status: str, reason: str, message: str, observed: int, now: float
) -> list[dict[str, Any]]:
    """The budget's conditions with DisruptionAllowed as it is now; others' stay."""
    since = rfc3339(now)
    conditions: list[dict[str, Any]] = as_json(budget.status.conditions)
    old = next((c for c in conditions if c["type"] == CONDITION), None)
    if old is not None and old["status"] == status:
        since = old.get("lastTransitionTime") or since
    new = {
        "type": CONDITION,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since,
    }
    if observed:
        new["observedGeneration"] = observed  # type: ignore[assignment] # JSON
    if old is None:
        return [*conditions, new]
    return [new if c is old else c for c in conditions]
