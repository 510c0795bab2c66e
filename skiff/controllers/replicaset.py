"""ReplicaSets and ReplicationControllers: as many active pods as asked for. One engine for both.

A sync claims the pods that the selector matches, creates or deletes the difference, and writes the
status where it changed. Creations go in batches of 1, 2, 4, …, so that a refusal (quota, admission)
costs one request and not five hundred. What was created or deleted and not seen yet is kept in
`Expectations`: until it is seen, only the status is kept up.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgspec

from skiff.api.errors import ApiError
from skiff.api.selectors import LabelSelector, labels_selector
from skiff.api.views import apps, core
from skiff.api.views.core import Pod
from skiff.api.views.matching import matcher
from skiff.api.views.meta import ObjectMeta
from skiff.client.reconciler import Key, Reconciler, Result, key_of
from skiff.client.references import controller_of
from skiff.controllers import pods, status
from skiff.controllers.context import Context
from skiff.controllers.expectations import Expectations
from skiff.controllers.ownership import AdoptionRefused, claim
from skiff.controllers.pace import settle_s
from skiff.controllers.podcontrol import PodControl
from skiff.controllers.template import pod_of_template, template_labels

BURST_REPLICAS: Final = 500

ReplicaView = apps.ReplicaSet | core.ReplicationController

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Flavour:
    """What distinguishes the kinds that the engine serves."""

    name: str
    view: type[apps.ReplicaSet] | type[core.ReplicationController]
    selector: Callable[[Any], LabelSelector]


REPLICA_SET: Final = Flavour(
    "replicaset-controller", apps.ReplicaSet, lambda rs: matcher(rs.spec.selector)
)
REPLICATION_CONTROLLER: Final = Flavour(
    "replication-controller",
    core.ReplicationController,
    lambda rc: labels_selector(rc.spec.selector),
)


class ReplicaReconciler(Reconciler):
    """See the module's text."""

    name: ClassVar[str] = "replicaset"

    def __init__(self, context: Context, flavour: Flavour) -> None:
        super().__init__(workers=10)
        self._context = context
        self._flavour = flavour
        self._pod_control = PodControl(context.client, context.events.of(flavour.name))
        self._expectations = Expectations()
        self._replicas = context.informers.of(flavour.view)
        self._pods = context.informers.of(Pod)
        self._pods.add_index("controller", pod_controllers)
        self._replicas.add_index("controller", owning_controllers)
        self.needs(self._replicas, self._pods)
        self._replicas.subscribe(self._replica_changed)
        self._pods.subscribe(self._pod_changed)

    # Changes

    def _replica_changed(self, old: ReplicaView | None, new: ReplicaView | None) -> None:
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._expectations.forget(old.metadata.uid)
        changed = new or old
        assert changed is not None
        self.queue.add(key_of(changed))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        before, after = _owner_uid(old), _owner_uid(new)
        if new is None:
            assert old is not None
            self._expectations.deleted(before, old.metadata.uid)
        elif new.metadata.deletion_timestamp:
            self._expectations.deleted(after, new.metadata.uid)
        elif old is None:
            self._expectations.created(after)
        for pod, uid in ((old, before), (new, after)):
            if pod is not None and uid:
                self._enqueue_owner(pod)
        if new is not None and not after and not new.metadata.deletion_timestamp:
            self._enqueue_adopters(old, new)

    def _enqueue_owner(self, pod: Pod) -> None:
        reference = controller_of(pod.metadata)
        if reference is None or reference.kind != self._flavour.view.RESOURCE.kind:
            return
        owner = self._replicas.get(reference.name, pod.metadata.namespace)
        if owner is not None and owner.metadata.uid == reference.uid:
            self.queue.add_after(key_of(owner), settle_s(owner.status.replicas))

    def _enqueue_adopters(self, old: Pod | None, new: Pod) -> None:
        """An orphan appeared or changed: those whose selectors match may adopt it."""
        if old is not None and old.metadata.labels == new.metadata.labels and not _owner_uid(old):
            return
        for owner in self._replicas.list(new.metadata.namespace):
            if self._flavour.selector(owner).matches(new.metadata.labels):
                self.queue.add(key_of(owner))

    # Reconciling

    async def reconcile(self, key: Key) -> Result | None:
        """Bring pods and status of one object in line with its spec."""
        owner = self._replicas.get(key.name, key.namespace)
        if owner is None:
            return None
        uid, now = owner.metadata.uid, self._context.clock.now()
        may_act = self._expectations.satisfied(uid, now)
        claimed = await self._claim(owner)
        active = [pod for pod in claimed if pods.is_active(pod)]
        failure: ApiError | None = None
        if may_act and not owner.metadata.deletion_timestamp:
            failure = await self._manage(owner, active)
            # What the informer showed meanwhile belongs into the status.
            claimed = self._controlled(uid, key.namespace)
            active = [pod for pod in claimed if pods.is_active(pod)]
            owner = self._replicas.get(key.name, key.namespace) or owner
        terminating = sum(pods.is_terminating(pod) for pod in claimed)
        now = self._context.clock.now()
        new_status = next_status(owner, active, terminating, failure, now)
        required = ("replicas",)
        await status.write(
            self._context.client,
            owner,
            owner.status,
            new_status,
            required,
            present=("terminatingReplicas",),
        )
        if failure is not None:
            raise failure
        return _next_availability(active, owner.spec.min_ready_seconds, now)

    def _controlled(self, uid: str, namespace: str) -> list[Pod]:
        found = self._pods.by_index("controller", uid)
        return [pod for pod in found if pod.metadata.namespace == namespace]

    async def _claim(self, owner: ReplicaView) -> list[Pod]:
        meta = owner.metadata
        orphans = self._pods.by_index("controller", ("", meta.namespace))
        candidates = self._controlled(meta.uid, meta.namespace) + orphans
        try:
            return await claim(
                self._context.client,
                owner,
                self._flavour.selector(owner),
                candidates,
                adoptable=pods.is_active,
            )
        except AdoptionRefused as e:
            log.debug("%s: %s", meta.name, e)
            return self._controlled(meta.uid, meta.namespace)

    async def _manage(self, owner: ReplicaView, active: Sequence[Pod]) -> ApiError | None:
        """Create or delete the difference; the first thing that went wrong."""
        wanted = 1 if owner.spec.replicas is None else owner.spec.replicas
        difference = len(active) - wanted
        if difference < 0:
            return await self._create(owner, min(-difference, BURST_REPLICAS))
        if difference > 0:
            return await self._delete(owner, active, min(difference, BURST_REPLICAS))
        return None

    async def _create(self, owner: ReplicaView, count: int) -> ApiError | None:
        client, meta = self._context.client, owner.metadata
        live = await client.get(owner.RESOURCE, meta.name, meta.namespace)
        if live["metadata"]["uid"] != meta.uid:
            return None
        body = msgspec.json.encode(pod_of_template(owner, live["spec"].get("template") or {}))
        self._expectations.expect(meta.uid, self._context.clock.now(), creations=count)
        return await self._pod_control.create(owner, [body] * count, self._expectations)

    async def _delete(
        self, owner: ReplicaView, active: Sequence[Pod], count: int
    ) -> ApiError | None:
        meta = owner.metadata
        now = self._context.clock.now()
        chosen = pods.pods_to_delete(active, self._related(owner), count, now)
        uids = frozenset(pod.metadata.uid for pod in chosen)
        self._expectations.expect(meta.uid, now, deletions=uids)
        return await self._pod_control.delete(owner, chosen, self._expectations)

    def _related(self, owner: ReplicaView) -> list[Pod]:
        """The pods of every ReplicaSet with the same controller (its own, without one)."""
        reference = controller_of(owner.metadata)
        siblings: Sequence[Any] = (
            self._replicas.by_index("controller", reference.uid) if reference else (owner,)
        )
        return [
            pod
            for sibling in siblings
            for pod in self._controlled(sibling.metadata.uid, owner.metadata.namespace)
        ]


def pod_controllers(pod: Pod) -> tuple[object, ...]:
    """Index keys: the uid of the pod's controller, or ("", namespace) of an orphan."""
    reference = controller_of(pod.metadata)
    return (reference.uid,) if reference else (("", pod.metadata.namespace),)


def owning_controllers(obj: ReplicaView) -> tuple[object, ...]:
    """Index keys of ReplicaSets: as of pods."""
    reference = controller_of(obj.metadata)
    return (reference.uid,) if reference else (("", obj.metadata.namespace),)


def next_status(
    owner: ReplicaView,
    active: Sequence[Pod],
    terminating: int,
    failure: ApiError | None,
    now: float,
) -> dict[str, Any]:
    """The status that these pods give. Pure."""
    spec, old = owner.spec, owner.status
    labels = template_labels(spec.template)
    conditions = status.conditions_of(old.conditions)
    known = status.find(conditions, "ReplicaFailure")
    if failure is None:
        status.remove_condition(conditions, "ReplicaFailure")
    elif known is None:
        wanted = 1 if spec.replicas is None else spec.replicas
        reason = "FailedCreate" if len(active) < wanted else "FailedDelete"
        status.set_condition(conditions, "ReplicaFailure", "True", reason, failure.message, now)
    result: dict[str, Any] = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(_has(pod.metadata, labels) for pod in active),
        "readyReplicas": sum(pods.is_ready(pod) for pod in active),
        "availableReplicas": sum(
            pods.is_available(pod, spec.min_ready_seconds, now) for pod in active
        ),
        "observedGeneration": max(owner.metadata.generation, old.observed_generation),
        "conditions": conditions,
    }
    if isinstance(owner, apps.ReplicaSet):
        result["terminatingReplicas"] = terminating
    return result


def _has(meta: ObjectMeta, labels: dict[str, str]) -> bool:
    return labels.items() <= meta.labels.items()


def _next_availability(active: Sequence[Pod], min_ready_s: int, now: float) -> Result | None:
    """When the next ready pod becomes available."""
    if not min_ready_s:
        return None
    waits = [pods.available_in_s(pod, min_ready_s, now) for pod in active]
    soonest = min((wait for wait in waits if wait), default=None)
    return None if soonest is None else Result(soonest)


def _owner_uid(pod: Pod | None) -> str:
    reference = controller_of(pod.metadata) if pod is not None else None
    return reference.uid if reference else ""
