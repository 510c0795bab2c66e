"""The StatefulSet reconciler."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from skiff.api.errors import AlreadyExists, ApiError, NotFound
from skiff.api.resources import PERSISTENTVOLUMECLAIMS, PODS
from skiff.api.views.apps import StatefulSet
from skiff.api.views.base import as_json
from skiff.api.views.core import PersistentVolumeClaim, Pod
from skiff.api.views.matching import matcher
from skiff.client.events import NORMAL, WARNING
from skiff.client.reconciler import Key, Reconciler, Result, key_of
from skiff.client.references import controller_of
from skiff.controllers import pods, status, template
from skiff.controllers.context import Context
from skiff.controllers.history import REVISION_HASH_LABEL, History, Revisions, template_of
from skiff.controllers.ownership import AdoptionRefused, claim
from skiff.controllers.podcontrol import namespace_ends
from skiff.controllers.replicaset import pod_controllers
from skiff.controllers.statefulset import identity, plan
from skiff.controllers.statefulset.plan import Steps

DEFAULT_HISTORY: Final = 10

log = logging.getLogger(__name__)


class StatefulSetReconciler(Reconciler):
    """See the package's text."""

    name: ClassVar[str] = "statefulset"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=5)
        self._clock = context.clock
        self._client = context.client
        self._events = context.events.of("statefulset-controller")
        self._history = History(context.client, context.informers, REVISION_HASH_LABEL)
        self._sets = context.informers.of(StatefulSet)
        self._pods = context.informers.of(Pod)
        self._claims = context.informers.of(PersistentVolumeClaim)
        self._pods.add_index("controller", pod_controllers)
        self.follow(self._sets)
        self.needs(self._pods, self._claims, self._history.informer)
        self._pods.subscribe(self._pod_changed)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        for pod in (old, new):
            reference = controller_of(pod.metadata) if pod is not None else None
            if pod is not None and reference and reference.kind == StatefulSet.RESOURCE.kind:
                self.queue.add(Key(pod.metadata.namespace, reference.name))
        if new is not None and controller_of(new.metadata) is None:
            for owner in self._sets.list(new.metadata.namespace):
                if identity.ordinal_of(owner, new) is not None:
                    self.queue.add(key_of(owner))

    # Reconciling

    async def reconcile(self, key: Key) -> Result | None:
        """One step towards what the StatefulSet asks for."""
        owner = self._sets.get(key.name, key.namespace)
        if owner is None:
            return None
        selector = matcher(owner.spec.selector)
        if selector.everything:
            return None
        pod_template = template.parse(owner.spec.template)
        try:
            known = await self._history.list(owner, selector)
            found = await self._claim(owner)
            if owner.metadata.deletion_timestamp:
                return None
            revisions = await self._history.sync(owner, pod_template, known)
        except AdoptionRefused as e:
            log.debug("%s: %s", key, e)
            return None
        update = revisions.current.metadata.name
        names = {r.metadata.name for r in (*revisions.old, revisions.current)}
        current = owner.status.current_revision
        if current not in names:
            current = update
        now = self._clock.now()
        steps = plan.next_steps(owner, found, current, update, now)
        failure = await self._act(owner, found, steps, revisions, pod_template)
        await self._keep_claims(owner, found)
        found = self._by_ordinal(owner, self._controlled(owner))
        new = plan.next_status(owner, found, current, update, revisions.collisions, now)
        new["conditions"] = as_json(owner.status.conditions)
        required = ("replicas", "availableReplicas")
        pointers = ("collisionCount",)
        await status.write(self._client, owner, owner.status, new, required, present=pointers)
        await self._clean_up(owner, revisions, found, current)
        if failure is not None:
            raise failure
        waits = (
            pods.available_in_s(pod, owner.spec.min_ready_seconds, now) for pod in found.values()
        )
        soonest = min((wait for wait in waits if wait), default=None)
        return None if soonest is None else Result(soonest)

    def _controlled(self, owner: StatefulSet) -> list[Pod]:
        return self._pods.by_index("controller", owner.metadata.uid)

    async def _claim(self, owner: StatefulSet) -> dict[int, Pod]:
        orphans = self._pods.by_index("controller", ("", owner.metadata.namespace))
        selector = matcher(owner.spec.selector)
        claimed = await claim(
            self._client,
            owner,
            selector,
            self._controlled(owner) + orphans,
            adoptable=lambda pod: identity.ordinal_of(owner, pod) is not None,
        )
        return self._by_ordinal(owner, claimed)

    def _by_ordinal(self, owner: StatefulSet, found: Sequence[Pod]) -> dict[int, Pod]:
        pairs = ((identity.ordinal_of(owner, pod), pod) for pod in found)
        return {ordinal: pod for ordinal, pod in pairs if ordinal is not None}

    async def _act(
        self,
        owner: StatefulSet,
        found: Mapping[int, Pod],
        steps: Steps,
        revisions: Revisions,
        pod_template: template.Template,
    ) -> ApiError | None:
        """Create and delete; the first thing that went wrong."""
        templates = {revisions.current.metadata.name: pod_template}
        for old in revisions.old:
            templates[old.metadata.name] = template_of(old)
        try:
            for pod in steps.delete:
                await self._delete(owner, pod)
            for ordinal, revision in steps.create:
                await self._create(owner, templates[revision], ordinal, revision)
            for ordinal in steps.claims:
                await self._create_claims(owner, ordinal)
            for pod in steps.name:
                await self._name(owner, pod)
        except ApiError as e:
            return None if namespace_ends(e) else e
        return None

    async def _create(
        self,
        owner: StatefulSet,
        pod_template: template.Template,
        ordinal: int,
        revision: str,
    ) -> None:
        meta = owner.metadata
        name = f"{meta.name}-{ordinal}"
        try:
            await self._create_claims(owner, ordinal)
            body = identity.pod_for(owner, pod_template, ordinal, revision)
            await self._client.create(PODS, body, meta.namespace)
        except AlreadyExists:
            raise  # the cache is behind: it will show the pod soon
        except ApiError as e:
            if not namespace_ends(e):
                message = f"create Pod {name} in StatefulSet {meta.name} failed error: {e.message}"
                self._events.record(owner, WARNING, "FailedCreate", message)
            raise
        message = f"create Pod {name} in StatefulSet {meta.name} successful"
        self._events.record(owner, NORMAL, "SuccessfulCreate", message)

    async def _create_claims(self, owner: StatefulSet, ordinal: int) -> None:
        meta = owner.metadata
        for made_of in identity.claim_templates(owner):
            name = identity.claim_name(owner, made_of, ordinal)
            existing = self._claims.get(name, meta.namespace)
            if existing is not None:
                if existing.metadata.deletion_timestamp:
                    raise ApiError(f"pvc {name} is being deleted")
                continue
            body = identity.claim_for(owner, made_of, ordinal)
            try:
                await self._client.create(PERSISTENTVOLUMECLAIMS, body, meta.namespace)
            except AlreadyExists:
                continue
            except ApiError as e:
                message = (
                    f"create Claim {name} for Pod {meta.name}-{ordinal} in StatefulSet {meta.name} "
                    f"failed error: {e.message}"
                )
                self._events.record(owner, WARNING, "FailedCreate", message)
                raise
            message = (
                f"create Claim {name} Pod {meta.name}-{ordinal} in StatefulSet {meta.name} success"
            )
            self._events.record(owner, NORMAL, "SuccessfulCreate", message)

    async def _delete(self, owner: StatefulSet, pod: Pod) -> None:
        meta = pod.metadata
        try:
            await self._client.delete(PODS, meta.name, meta.namespace, uid=meta.uid)
        except NotFound:
            return
        except ApiError as e:
            message = (
                f"delete Pod {meta.name} in StatefulSet {owner.metadata.name} failed error: "
                f"{e.message}"
            )
            self._events.record(owner, WARNING, "FailedDelete", message)
            raise
        message = f"delete Pod {meta.name} in StatefulSet {owner.metadata.name} successful"
        self._events.record(owner, NORMAL, "SuccessfulDelete", message)

    async def _name(self, owner: StatefulSet, pod: Pod) -> None:
        """Give the pod the labels back that tell its identity."""
        meta = pod.metadata
        ordinal = identity.ordinal_of(owner, pod)
        if ordinal is None:
            return
        labels = identity.labels_of(meta.name, ordinal)
        patch = {"metadata": {"uid": meta.uid, "labels": labels}}
        where = f"update Pod {meta.name} in StatefulSet {owner.metadata.name}"
        try:
            await self._client.patch(PODS, meta.name, meta.namespace, patch)
        except NotFound:
            return
        except ApiError as e:
            message = f"{where} failed error: {e.message}"
            self._events.record(owner, WARNING, "FailedUpdate", message)
            raise
        self._events.record(owner, NORMAL, "SuccessfulUpdate", f"{where} successful")

    async def _keep_claims(self, owner: StatefulSet, found: Mapping[int, Pod]) -> None:
        """The claims' owners, as the retention policy wants them."""
        for ordinal, pod in found.items():
            for made_of in identity.claim_templates(owner):
                name = identity.claim_name(owner, made_of, ordinal)
                existing = self._claims.get(name, owner.metadata.namespace)
                if existing is None or existing.metadata.deletion_timestamp:
                    continue
                current = existing.metadata.owner_references
                wanted = identity.claim_owners(owner, pod, ordinal, current)
                if wanted is None:
                    continue
                patch: dict[str, Any] = {
                    "metadata": {
                        "uid": existing.metadata.uid,
                        "resourceVersion": existing.metadata.resource_version,
                        "ownerReferences": wanted or None,
                    }
                }
                await self._client.patch(
                    PERSISTENTVOLUMECLAIMS, name, owner.metadata.namespace, patch
                )

    async def _clean_up(
        self,
        owner: StatefulSet,
        revisions: Revisions,
        found: Mapping[int, Pod],
        current: str,
    ) -> None:
        limit = owner.spec.revision_history_limit
        in_use = frozenset({current, *(plan.revision_of(pod) for pod in found.values())})
        await self._history.clean_up(revisions, DEFAULT_HISTORY if limit is None else limit, in_use)
