"""The DaemonSet reconciler."""

import logging
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec

from skiff.aio.backoff import Backoff
from skiff.api.errors import ApiError
from skiff.api.views.apps import DaemonSet
from skiff.api.views.base import as_json
from skiff.api.views.core import Node, Pod, PodSpec
from skiff.api.views.matching import matcher
from skiff.client.events import NORMAL, WARNING
from skiff.client.reconciler import Key, Reconciler, Result, key_of
from skiff.client.references import controller_of
from skiff.controllers import pods, status, template
from skiff.controllers.context import Context
from skiff.controllers.daemonset import plan
from skiff.controllers.daemonset.plan import Plan
from skiff.controllers.expectations import Expectations
from skiff.controllers.history import HASH_LABEL, History, Revisions
from skiff.controllers.ownership import AdoptionRefused, claim
from skiff.controllers.pace import settle_s
from skiff.controllers.podcontrol import PodControl
from skiff.controllers.replicaset import pod_controllers

BURST: Final = 250
FAILED_POD_BACKOFF: Final = Backoff(base_s=1.0, cap_s=900.0)
GENERATION_ANNOTATION: Final = "deprecated.daemonset.template.generation"
GENERATION_LABEL: Final = "pod-template-generation"

log = logging.getLogger(__name__)


class DaemonSetReconciler(Reconciler):
    """See the package's text."""

    name: ClassVar[str] = "daemonset"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=4)
        self._clock = context.clock
        self._client = context.client
        self._events = context.events.of("daemonset-controller")
        self._pod_control = PodControl(context.client, self._events)
        self._expectations = Expectations()
        self._history = History(context.client, context.informers, HASH_LABEL)
        self._daemons = context.informers.of(DaemonSet)
        self._nodes = context.informers.of(Node)
        self._pods = context.informers.of(Pod)
        self._pods.add_index("controller", pod_controllers)
        # Failures of a daemon's pods on a node, and when the last one was deleted.
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}
        self.follow(self._daemons)
        self.needs(self._nodes, self._pods, self._history.informer)
        self._nodes.subscribe(self._node_changed)
        self._pods.subscribe(self._pod_changed)

    # Changes

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if old is not None and new is not None and _placement(old) == _placement(new):
            return
        for daemon in self._daemons.list():
            self.queue.add_after(key_of(daemon), settle_s(len(self._nodes)))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        for pod in (old, new):
            reference = controller_of(pod.metadata) if pod is not None else None
            if pod is None or reference is None or reference.kind != DaemonSet.RESOURCE.kind:
                continue
            if (pod is old and new is None) or (pod is new and pod.metadata.deletion_timestamp):
                self._expectations.deleted(reference.uid, pod.metadata.uid)
            elif pod is new and old is None:
                self._expectations.created(reference.uid)
            daemon = self._daemons.get(reference.name, pod.metadata.namespace)
            if daemon is not None and daemon.metadata.uid == reference.uid:
                size = daemon.status.desired_number_scheduled
                self.queue.add_after(key_of(daemon), settle_s(size))
        if new is not None and controller_of(new.metadata) is None:
            for daemon in self._daemons.list(new.metadata.namespace):
                if matcher(daemon.spec.selector).matches(new.metadata.labels):
                    self.queue.add(key_of(daemon))

    # Reconciling

    async def reconcile(self, key: Key) -> Result | None:
        """Bring pods, history and status of one DaemonSet in line with its spec."""
        daemon = self._daemons.get(key.name, key.namespace)
        if daemon is None:
            return None
        selector = matcher(daemon.spec.selector)
        if selector.everything:
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            self._events.record(daemon, WARNING, "SelectingAll", message)
            return None
        if daemon.metadata.deletion_timestamp:
            return None
        pod_template = template.parse(daemon.spec.template)
        try:
            revisions = await self._history.sync(
                daemon, pod_template, await self._history.list(daemon, selector)
            )
            found = await self._claim(daemon)
        except AdoptionRefused as e:
            log.debug("%s: %s", key, e)
            return None
        digest = self._history.hash_of(revisions.current)
        spec = template.pod_spec(daemon.spec.template)
        wait_s = None
        failure: ApiError | None = None
        if self._expectations.satisfied(daemon.metadata.uid, self._clock.now()):
            failure, wait_s = await self._act(daemon, pod_template, spec, found, digest)
            await self._clean_up(daemon, revisions, found)
            found = self._controlled(daemon)
        ready_in_s = await self._write_status(daemon, spec, found, revisions)
        if failure is not None:
            raise failure
        waits = [wait for wait in (wait_s, ready_in_s) if wait]
        return Result(min(waits)) if waits else None

    def _controlled(self, daemon: DaemonSet) -> list[Pod]:
        return self._pods.by_index("controller", daemon.metadata.uid)

    async def _claim(self, daemon: DaemonSet) -> list[Pod]:
        orphans = self._pods.by_index("controller", ("", daemon.metadata.namespace))
        selector = matcher(daemon.spec.selector)
        return await claim(self._client, daemon, selector, self._controlled(daemon) + orphans)

    async def _act(
        self,
        daemon: DaemonSet,
        pod_template: template.Template,
        spec: PodSpec,
        found: Sequence[Pod],
        digest: str,
    ) -> tuple[ApiError | None, float | None]:
        """Create and delete what the plan says; failed pods in their own time."""
        now = self._clock.now()
        nodes = self._nodes.list()
        there = plan.by_node(found)
        step, failed = plan.manage(daemon, spec, nodes, there, digest, now)
        wait_s = self._due_failures(daemon, failed, step)
        strategy = daemon.spec.update_strategy
        if not (step.create_on or step.delete) and strategy and strategy.type == "RollingUpdate":
            eligible = {n.metadata.name for n in nodes if plan.eligibility(spec, n)[0]}
            step = plan.update(daemon, eligible, there, digest, now)
        create_on, delete = step.create_on[:BURST], step.delete[:BURST]
        if not create_on and not delete:
            return None, wait_s
        self._expectations.expect(
            daemon.metadata.uid,
            now,
            creations=len(create_on),
            deletions=frozenset(pod.metadata.uid for pod in delete),
        )
        bodies = [_pod_for(daemon, pod_template, spec, name, digest) for name in create_on]
        failure = await self._pod_control.create(daemon, bodies, self._expectations)
        return (
            await self._pod_control.delete(daemon, delete, self._expectations) or failure,
            wait_s,
        )

    def _due_failures(self, daemon: DaemonSet, failed: Sequence[Pod], step: Plan) -> float | None:
        """Add the failed pods whose backoff is over to what goes; when the next one is due."""
        now = self._clock.monotonic()
        soonest: float | None = None
        for pod in failed:
            key = (daemon.metadata.uid, plan.target_node(pod))
            count, last = self._failures.get(key, (0, now))
            due = last + FAILED_POD_BACKOFF.delay_s(count) if count else now
            if due > now:
                soonest = min(soonest or due - now, due - now)
                continue
            self._failures[key] = (count + 1, now)
            message = (
                f"Found failed daemon pod {pod.metadata.namespace}/{pod.metadata.name} on node "
                f"{pod.spec.node_name}, will try to kill it"
            )
            self._events.record(daemon, WARNING, "FailedDaemonPod", message)
            step.delete.append(pod)
        for pod in step.delete:
            if pod.status.phase == "Succeeded":
                message = (
                    f"Found succeeded daemon pod {pod.metadata.namespace}/{pod.metadata.name} on "
                    f"node {pod.spec.node_name}, will try to delete it"
                )
                self._events.record(daemon, NORMAL, "SucceededDaemonPod", message)
        return soonest

    async def _clean_up(
        self, daemon: DaemonSet, revisions: Revisions, found: Sequence[Pod]
    ) -> None:
        limit = daemon.spec.revision_history_limit
        in_use = frozenset(p.metadata.labels.get(HASH_LABEL, "") for p in found)
        await self._history.clean_up(revisions, 10 if limit is None else limit, in_use)

    async def _write_status(
        self, daemon: DaemonSet, spec: PodSpec, found: Sequence[Pod], revisions: Revisions
    ) -> float | None:
        """Write the status; when the next ready pod becomes available."""
        now = self._clock.now()
        digest = self._history.hash_of(revisions.current)
        there = plan.by_node(found)
        new = plan.next_status(daemon, spec, self._nodes.list(), there, digest, now)
        new["conditions"] = as_json(daemon.status.conditions)
        new["collisionCount"] = max(revisions.collisions, daemon.status.collision_count)
        required = (
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
        )
        await status.write(self._client, daemon, daemon.status, new, required)
        minimum = daemon.spec.min_ready_seconds
        if not minimum:
            return None
        waits = (pods.available_in_s(pod, minimum, now) for pod in found)
        return min((wait for wait in waits if wait), default=None)


def _placement(node: Node) -> tuple[object, ...]:
    """What decides whether daemons run on the node."""
    return node.metadata.labels, node.spec.taints, node.spec.unschedulable


def _pod_for(
    daemon: DaemonSet,
    pod_template: template.Template,
    spec: PodSpec,
    node_name: str,
    digest: str,
) -> bytes:
    """The daemon's pod for one node: the scheduler places it there and nowhere else."""
    pod = template.pod_of_template(daemon, pod_template)
    labels = dict(pod["metadata"].get("labels") or {})
    labels[HASH_LABEL] = digest
    if generation := daemon.metadata.annotations.get(GENERATION_ANNOTATION):
        labels[GENERATION_LABEL] = generation
    pod["metadata"]["labels"] = labels
    body: dict[str, Any] = dict(pod["spec"])
    given = body.get("tolerations") or []
    added = [t for t in plan.tolerations(spec) if t not in given]
    body["tolerations"] = [*given, *added]
    body["affinity"] = _only_on(body.get("affinity") or {}, node_name)
    pod["spec"] = body
    return msgspec.json.encode(pod)


def _only_on(affinity: dict[str, Any], node_name: str) -> dict[str, Any]:
    """The affinity with its required node affinity replaced by the node's name."""
    node_affinity = dict(affinity.get("nodeAffinity") or {})
    only = {"key": "metadata.name", "operator": "In", "values": [node_name]}
    node_affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {
        "nodeSelectorTerms": [{"matchFields": [only]}]
    }
    return {**affinity, "nodeAffinity": node_affinity}
