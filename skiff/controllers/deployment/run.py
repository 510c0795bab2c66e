"""The Deployment reconciler: one step of a rollout a sync, each step seen before the next."""

import logging
from collections.abc import Sequence
from typing import Any, ClassVar

from skiff.api.errors import AlreadyExists, ApiError
from skiff.api.resources import REPLICASETS
from skiff.api.views.apps import Deployment, ReplicaSet
from skiff.api.views.core import Pod
from skiff.api.views.matching import matcher
from skiff.client.events import NORMAL, WARNING
from skiff.client.reconciler import Key, Reconciler, Result, key_of
from skiff.client.references import controller_of, controller_reference
from skiff.controllers import pods, status, template
from skiff.controllers.context import Context
from skiff.controllers.deployment import plan, progress, revisions
from skiff.controllers.deployment.plan import Resize, replicas_of
from skiff.controllers.ownership import AdoptionRefused, claim
from skiff.controllers.podcontrol import namespace_ends
from skiff.controllers.replicaset import owning_controllers, pod_controllers

log = logging.getLogger(__name__)


class DeploymentReconciler(Reconciler):
    """See the package's text."""

    name: ClassVar[str] = "deployment"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=10)
        self._clock = context.clock
        self._client = context.client
        self._events = context.events.of("deployment-controller")
        self._deployments = context.informers.of(Deployment)
        self._replica_sets = context.informers.of(ReplicaSet)
        self._pods = context.informers.of(Pod)
        self._replica_sets.add_index("controller", owning_controllers)
        self._pods.add_index("controller", pod_controllers)
        self.follow(self._deployments)
        self.needs(self._replica_sets, self._pods)
        self._replica_sets.subscribe(self._replica_set_changed)
        self._pods.subscribe(self._pod_changed)

    # Changes

    def _replica_set_changed(self, old: ReplicaSet | None, new: ReplicaSet | None) -> None:
        for rs in (old, new):
            if rs is not None:
                self._enqueue_owner(rs)
        if new is not None and controller_of(new.metadata) is None:
            for deployment in self._deployments.list(new.metadata.namespace):
                if matcher(deployment.spec.selector).matches(new.metadata.labels):
                    self.queue.add(key_of(deployment))

    def _enqueue_owner(self, rs: ReplicaSet) -> None:
        reference = controller_of(rs.metadata)
        if reference is not None and reference.kind == Deployment.RESOURCE.kind:
            self.queue.add(Key(rs.metadata.namespace, reference.name))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """A Recreate rollout waits for the last old pod to go."""
        if old is None or (new is not None and not pods.is_terminal(new)):
            return
        reference = controller_of(old.metadata)
        if reference is None or reference.kind != ReplicaSet.RESOURCE.kind:
            return
        rs = self._replica_sets.get(reference.name, old.metadata.namespace)
        if rs is None or (owner := controller_of(rs.metadata)) is None:
            return
        deployment = self._deployments.get(owner.name, old.metadata.namespace)
        if deployment is not None and _is_recreate(deployment):
            self.queue.add(key_of(deployment))

    # Reconciling

    async def reconcile(self, key: Key) -> Result | None:
        """One step towards what the Deployment asks for."""
        deployment = self._deployments.get(key.name, key.namespace)
        if deployment is None:
            return None
        selector = matcher(deployment.spec.selector)
        if selector.everything:
            message = "This deployment is selecting all pods. A non-empty selector is required."
            self._events.record(deployment, WARNING, "SelectingAll", message)
            observed = {"observedGeneration": deployment.metadata.generation}
            await status.write(self._client, deployment, deployment.status, observed)
            return None
        candidates = self._replica_sets.by_index("controller", deployment.metadata.uid)
        candidates += self._replica_sets.by_index("controller", ("", key.namespace))
        try:
            every = await claim(self._client, deployment, selector, candidates)
        except AdoptionRefused as e:
            log.debug("%s: %s", key, e)
            return None
        rollout = _Rollout(deployment, every)
        if deployment.metadata.deletion_timestamp:
            return await self._write_plain_status(rollout)
        if (paused := progress.pause_condition(deployment)) is not None:
            await self._note(rollout, paused)
        if deployment.spec.paused or plan.is_scaling_event(deployment, every):
            return await self._scale(rollout)
        if _is_recreate(deployment):
            return await self._recreate(rollout)
        return await self._roll(rollout)

    async def _scale(self, rollout: "_Rollout") -> Result | None:
        """A change of size, or a paused Deployment: no new ReplicaSet, no rollout."""
        if rollout.new is not None:
            await self._renew(rollout, rollout.new)
        resizes = plan.scale(rollout.deployment, rollout.new, rollout.old)
        await self._resize(rollout, resizes)
        if rollout.deployment.spec.paused:
            await self._clean_up(rollout)
        return await self._write_plain_status(rollout)

    async def _roll(self, rollout: "_Rollout") -> Result | None:
        new = await self._ensure_new(rollout)
        if new is None:
            return None
        size = plan.new_size(rollout.deployment, rollout.every, new)
        if replicas_of(new) > replicas_of(rollout.deployment):
            size = replicas_of(rollout.deployment)
        if await self._resize(rollout, [Resize(new, size)]):
            return await self._write_rollout_status(rollout)
        shrunk = plan.rolling_update_old(rollout.deployment, new, rollout.old)
        if await self._resize(rollout, shrunk):
            return await self._write_rollout_status(rollout)
        return await self._finish(rollout)

    async def _recreate(self, rollout: "_Rollout") -> Result | None:
        shrunk = [Resize(rs, 0) for rs in rollout.old if replicas_of(rs) > 0]
        if await self._resize(rollout, shrunk):
            return await self._write_rollout_status(rollout)
        if self._old_pods_run(rollout):
            return await self._write_rollout_status(rollout)
        new = await self._ensure_new(rollout)
        if new is None:
            return None
        await self._resize(rollout, [Resize(new, replicas_of(rollout.deployment))])
        return await self._finish(rollout)

    async def _finish(self, rollout: "_Rollout") -> Result | None:
        if progress.was_complete(rollout.deployment):
            await self._clean_up(rollout)
        return await self._write_rollout_status(rollout)

    def _old_pods_run(self, rollout: "_Rollout") -> bool:
        return any(
            not pods.is_terminal(pod)
            for rs in rollout.old
            for pod in self._pods.by_index("controller", rs.metadata.uid)
        )

    # The new ReplicaSet

    async def _ensure_new(self, rollout: "_Rollout") -> ReplicaSet | None:
        """The new ReplicaSet with its annotations up to date; None where it has just been created
        (its informer will bring it back here)."""
        if rollout.new is None:
            await self._create_new(rollout)
            return None
        return await self._renew(rollout, rollout.new)

    async def _renew(self, rollout: "_Rollout", new: ReplicaSet) -> ReplicaSet:
        """Bring the new ReplicaSet's annotations and minReadySeconds, and the Deployment's
        revision, up to date."""
        deployment, meta = rollout.deployment, new.metadata
        revision = revisions.next_revision(rollout.old)
        wanted = revisions.new_annotations(deployment, meta.annotations, revision, exists=True)
        patch: dict[str, Any] = {}
        if wanted != meta.annotations:
            patch["metadata"] = {"annotations": wanted}
        if new.spec.min_ready_seconds != deployment.spec.min_ready_seconds:
            patch["spec"] = {"minReadySeconds": deployment.spec.min_ready_seconds}
        if patch:
            await self._patch(new, patch)
            rollout.new = await self._client.read(ReplicaSet, meta.name, meta.namespace)
        found = None
        if progress.has_deadline(deployment) and progress.progressing(deployment) is None:
            found = ("True", "FoundNewReplicaSet", f'Found new replica set "{meta.name}"')
        await self._note(rollout, found, wanted[plan.REVISION])
        return rollout.new or new

    async def _create_new(self, rollout: "_Rollout") -> None:
        deployment = rollout.deployment
        meta = deployment.metadata
        live = await self._client.get(Deployment.RESOURCE, meta.name, meta.namespace)
        if live["metadata"]["uid"] != meta.uid:
            return
        rs = self._new_replica_set(rollout, live["spec"])
        size = rs["spec"]["replicas"]
        name = rs["metadata"]["name"]
        try:
            await self._client.create(REPLICASETS, rs, meta.namespace)
        except AlreadyExists:
            await self._collided(deployment, rs)
            return
        except ApiError as e:
            if not namespace_ends(e):
                message = f'Failed to create new replica set "{name}": {e.message}'
                if progress.has_deadline(deployment):
                    await self._note(rollout, ("False", "ReplicaSetCreateError", message))
                self._events.record(deployment, WARNING, "ReplicaSetCreateError", message)
            raise
        if size > 0:
            message = f"Scaled up replica set {name} from 0 to {size}"
            self._events.record(deployment, NORMAL, "ScalingReplicaSet", message)
        created = None
        if progress.has_deadline(deployment):
            created = ("True", "NewReplicaSetCreated", f'Created new replica set "{name}"')
        await self._note(rollout, created, rs["metadata"]["annotations"][plan.REVISION])

    def _new_replica_set(self, rollout: "_Rollout", spec: dict[str, Any]) -> dict[str, Any]:
        deployment = rollout.deployment
        meta = deployment.metadata
        pod_template = spec["template"]
        collisions = deployment.status.collision_count or None
        digest = template.template_hash(pod_template, collisions)
        template_meta = dict(pod_template.get("metadata") or {})
        labels = {**(template_meta.get("labels") or {}), template.HASH_LABEL: digest}
        template_meta["labels"] = labels
        selector = dict(spec["selector"])
        selector["matchLabels"] = {
            **(selector.get("matchLabels") or {}),
            template.HASH_LABEL: digest,
        }
        revision = revisions.next_revision(rollout.old)
        return {
            "apiVersion": REPLICASETS.api_version,
            "kind": REPLICASETS.kind,
            "metadata": {
                "name": f"{meta.name}-{digest}",
                "namespace": meta.namespace,
                "labels": labels,
                "annotations": revisions.new_annotations(deployment, {}, revision, exists=False),
                "ownerReferences": [controller_reference(deployment)],
            },
            "spec": {
                "replicas": plan.new_size(deployment, rollout.every, None),
                "minReadySeconds": deployment.spec.min_ready_seconds,
                "selector": selector,
                "template": {**pod_template, "metadata": template_meta},
            },
        }

    async def _collided(self, deployment: Deployment, rs: dict[str, Any]) -> None:
        """A ReplicaSet of that name is there: ours from before (the cache lags), or another whose
        template has the same hash; then the collision count gives the next try another name."""
        name = rs["metadata"]["name"]
        found = await self._client.read(ReplicaSet, name, deployment.metadata.namespace)
        owner = controller_of(found.metadata)
        wanted = template.without_hash(rs["spec"]["template"])
        same = template.without_hash(template.parse(found.spec.template)) == wanted
        if owner is not None and owner.uid == deployment.metadata.uid and same:
            return
        collisions = {"collisionCount": deployment.status.collision_count + 1}
        await self._patch(deployment, {"status": collisions}, "status")
        log.info("deployment %s: hash collision on %s", deployment.metadata.name, name)

    # Sizes and history

    async def _resize(self, rollout: "_Rollout", resizes: Sequence[Resize]) -> bool:
        """Give ReplicaSets their sizes, and the annotations that remember them. True if a size
        changed."""
        deployment = rollout.deployment
        remembered = revisions.size_annotations(deployment)
        changed = False
        for rs, size in ((r.replica_set, r.replicas) for r in resizes):
            before = replicas_of(rs)
            current = rs.metadata.annotations
            patch: dict[str, Any] = {}
            if any(current.get(k) != v for k, v in remembered.items()):
                patch["metadata"] = {"annotations": remembered}
            if size != before:
                patch["spec"] = {"replicas": size}
            if not patch:
                continue
            await self._patch(rs, patch, precise=True)
            if size != before:
                changed = True
                direction = "up" if size > before else "down"
                message = (
                    f"Scaled {direction} replica set {rs.metadata.name} from {before} to {size}"
                )
                self._events.record(deployment, NORMAL, "ScalingReplicaSet", message)
        return changed

    async def _clean_up(self, rollout: "_Rollout") -> None:
        for rs in plan.history_to_delete(rollout.deployment, rollout.old):
            meta = rs.metadata
            await self._client.delete(REPLICASETS, meta.name, meta.namespace, uid=meta.uid)

    # Status

    async def _write_plain_status(self, rollout: "_Rollout") -> Result | None:
        deployment = rollout.deployment
        new = progress.counts(deployment, rollout.every, rollout.new, self._clock.now())
        await self._write_status(deployment, new)
        return None

    async def _write_rollout_status(self, rollout: "_Rollout") -> Result | None:
        now = self._clock.now()
        deployment = rollout.deployment
        new = progress.rollout_status(deployment, rollout.every, rollout.new, now)
        if await self._write_status(deployment, new):
            return None
        wait_s = progress.deadline_in_s(deployment, new, now)
        return None if wait_s is None else Result(wait_s)

    async def _write_status(self, deployment: Deployment, new: progress.Status) -> bool:
        pointers = ("terminatingReplicas",)
        return await status.write(
            self._client, deployment, deployment.status, new, present=pointers
        )

    async def _note(
        self, rollout: "_Rollout", what: tuple[str, str, str] | None, revision: str = ""
    ) -> None:
        """Set the Progressing condition and the revision annotation where they differ, both through
        the status: that leaves the generation alone."""
        deployment = rollout.deployment
        patch: dict[str, Any] = {}
        if revision and deployment.metadata.annotations.get(plan.REVISION) != revision:
            patch["metadata"] = {"annotations": {plan.REVISION: revision}}
        conditions = status.conditions_of(deployment.status.conditions)
        now = self._clock.now()
        if what and progress.set_condition(conditions, progress.PROGRESSING, *what, now):
            patch["status"] = {"conditions": conditions}
            rollout.deployment = progress.with_conditions(deployment, conditions)
        if patch:
            await self._patch(deployment, patch, "status")

    async def _patch(
        self,
        obj: Deployment | ReplicaSet,
        patch: dict[str, Any],
        subresource: str = "",
        *,
        precise: bool = False,
    ) -> None:
        meta = obj.metadata
        precondition = {"uid": meta.uid}
        if precise:
            precondition["resourceVersion"] = meta.resource_version
        body = {**patch, "metadata": {**patch.get("metadata", {}), **precondition}}
        await self._client.patch(
            obj.RESOURCE, meta.name, meta.namespace, body, subresource=subresource
        )


class _Rollout:
    """A Deployment with its ReplicaSets, told apart."""

    def __init__(self, deployment: Deployment, every: Sequence[ReplicaSet]) -> None:
        self.deployment = deployment
        self.new = revisions.find_new(deployment, every)
        self.old = [rs for rs in every if rs is not self.new]

    @property
    def every(self) -> list[ReplicaSet]:
        return [*self.old, self.new] if self.new is not None else self.old


def _is_recreate(deployment: Deployment) -> bool:
    strategy = deployment.spec.strategy
    return strategy is not None and strategy.type == "Recreate"
