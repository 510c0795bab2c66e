"""The node lifecycle controller: notices silence, taints, and says when pods may be evicted.

Each node has one timer: it runs out when neither the lease nor the status was renewed for the
grace period. There is no polling; a heartbeat only notes the time, and the timer, when it runs out,
looks at the note.
"""

import logging
from typing import ClassVar, Final

from skiff.api.errors import NotFound
from skiff.api.resources import NODES, PODS
from skiff.api.views.base import as_json
from skiff.api.views.coordination import Lease
from skiff.api.views.core import Node, Pod
from skiff.client.events import NORMAL, WARNING
from skiff.client.reconciler import Key, Reconciler, Result, all_of
from skiff.controllers import pods
from skiff.controllers.context import Context
from skiff.controllers.nodes import health
from skiff.controllers.nodes.health import Zone
from skiff.controllers.status import set_condition

LEASE_NAMESPACE: Final = "kube-node-lease"
# Labels that older software reads, kept equal to those that nodes report.
LABEL_COPIES: Final = (
    ("kubernetes.io/os", "beta.kubernetes.io/os"),
    ("kubernetes.io/arch", "beta.kubernetes.io/arch"),
)
# A node that may not be evicted from yet is looked at again this often.
EVICTION_CHECK_S: Final = 5.0

log = logging.getLogger(__name__)


class NodeLifecycle(Reconciler):
    """Keys are nodes."""

    name: ClassVar[str] = "node-lifecycle"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=10)
        self._context = context
        self._clock = context.clock
        self._client = context.client
        self._events = context.events.of("node-controller")
        self._nodes = context.informers.of(Node)
        self._pods = context.informers.of(Pod)
        self._leases = context.informers.of(Lease, namespace=LEASE_NAMESPACE)
        # When each node was last heard of, on our own clock: clocks need not agree.
        self._heard: dict[str, float] = {}
        self._next_eviction: dict[str, float] = {}
        self._pods.add_index("node", node_of)
        self.needs(self._nodes, self._pods, self._leases)
        self._nodes.subscribe(self._node_changed)
        self._leases.subscribe(self._lease_changed)

    # Heartbeats

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            assert old is not None
            self._heard.pop(old.metadata.name, None)
            self._events.record(
                old,
                NORMAL,
                "RemovingNode",
                f"Node {old.metadata.name} event: Removing Node {old.metadata.name} from Controller",
            )
            return
        name = new.metadata.name
        if old is None:
            self._heard[name] = self._clock.monotonic()
            self._events.record(
                new,
                NORMAL,
                "RegisteredNode",
                f"Node {name} event: Registered Node {name} in Controller",
            )
        elif _heartbeat(old) != _heartbeat(new) and health.readiness(new) != "Unknown":
            self._heard[name] = self._clock.monotonic()
        if old is None or _judged(old) != _judged(new):
            self.queue.add(Key("", name))

    def _lease_changed(self, old: Lease | None, new: Lease | None) -> None:
        if new is not None and (old is None or old.spec.renew_time != new.spec.renew_time):
            name = new.metadata.name
            if name in self._heard:
                self._heard[name] = self._clock.monotonic()

    # Reconciling

    async def reconcile(self, key: Key) -> Result | None:
        """Judge one node; look again when it could have gone silent."""
        node = self._nodes.get(key.name)
        if node is None:
            return None
        now = self._clock.monotonic()
        silent_for_s = now - self._heard.get(key.name, now)
        grace_s = self._grace_s(node)
        try:
            await self._copy_labels(node)
            if silent_for_s >= grace_s:
                await self._mark_silent(node)
            elif health.readiness(node) == "False":
                await self._mark_pods_unready(node)
            wait_s = await self._taint(node)
        except NotFound:
            return None
        if silent_for_s < grace_s:
            wait_s = min(wait_s or grace_s, grace_s - silent_for_s)
        return None if wait_s is None else Result(wait_s)

    def _grace_s(self, node: Node) -> float:
        options = self._context.options
        known = bool(health.readiness(node))
        return options.node_monitor_grace_s if known else options.node_startup_grace_s

    async def _mark_silent(self, node: Node) -> None:
        conditions = health.silent_conditions(node, self._clock.now())
        if conditions is None:
            await self._mark_pods_unready(node)
            return
        name = node.metadata.name
        was_ready = health.readiness(node) == "True"
        patch = {"metadata": {"uid": node.metadata.uid}, "status": {"conditions": conditions}}
        await self._client.patch(NODES, name, "", patch, subresource="status")
        if was_ready:
            self._events.record(
                node, NORMAL, "NodeNotReady", f"Node {name} status is now: NodeNotReady"
            )

    async def _mark_pods_unready(self, node: Node) -> None:
        """Nobody vouches for the node's pods: they are not ready, and get no traffic."""
        ready = [
            pod
            for pod in self._pods.by_index("node", node.metadata.name)
            if pods.is_ready(pod) and not pods.is_terminal(pod)
        ]
        await all_of(*((lambda pod=pod: self._mark_pod_unready(pod)) for pod in ready), limit=16)

    async def _mark_pod_unready(self, pod: Pod) -> None:
        conditions = as_json(pod.status.conditions)
        set_condition(conditions, "Ready", "False", "", "", self._clock.now())
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": conditions}}
        meta = pod.metadata
        self._events.record(pod, WARNING, "NodeNotReady", "Node is not ready")
        await self._client.patch(PODS, meta.name, meta.namespace, patch, subresource="status")

    async def _copy_labels(self, node: Node) -> None:
        labels = node.metadata.labels
        copies = {
            b: labels[a] for a, b in LABEL_COPIES if a in labels and labels.get(b) != labels[a]
        }
        if copies:
            patch = {"metadata": {"labels": copies}}
            await self._client.patch(NODES, node.metadata.name, "", patch)

    # Taints

    async def _taint(self, node: Node) -> float | None:
        """Bring the taints in line. Returns in how many seconds to look again, if an eviction has
        to wait its turn."""
        sick = health.readiness(node) in ("False", "Unknown")
        wait_s = self._eviction_wait_s(node) if sick else None
        taints = health.wanted_taints(node, evict=sick and wait_s == 0.0, now=self._clock.now())
        if taints is not None:
            patch = {
                "metadata": {
                    "uid": node.metadata.uid,
                    "resourceVersion": node.metadata.resource_version,
                },
                "spec": {"taints": taints or None},
            }
            await self._client.patch(NODES, node.metadata.name, "", patch)
        return wait_s or None

    def _eviction_wait_s(self, node: Node) -> float:
        """Seconds until pods of this sick node may be evicted: 0 takes a turn.

        One node in ten seconds a zone; slower (or not at all, in a small cluster) where much of the
        zone is sick; not at all where every zone is down, since then it is we who are cut off.
        """
        if any(
            t.effect == "NoExecute" and t.key in (health.NOT_READY, health.UNREACHABLE)
            for t in node.spec.taints
        ):
            return 0.0
        options = self._context.options
        states = health.zone_states(self._nodes.list(), options.unhealthy_zone_threshold)
        if all(state is Zone.FULL for state, _ in states.values()):
            return EVICTION_CHECK_S
        zone = health.zone_of(node)
        state, size = states.get(zone, (Zone.NORMAL, 1))
        rate = options.node_eviction_rate
        if state is Zone.PARTIAL:
            large = size > options.large_cluster_size
            rate = options.secondary_eviction_rate if large else 0.0
        if rate <= 0:
            return EVICTION_CHECK_S
        now = self._clock.monotonic()
        turn = self._next_eviction.get(zone, now)
        if turn > now:
            return turn - now
        self._next_eviction[zone] = now + 1.0 / rate
        return 0.0


def node_of(pod: Pod) -> tuple[str, ...]:
    """Index key: the pod's node."""
    return (pod.spec.node_name,) if pod.spec.node_name else ()


def _heartbeat(node: Node) -> str:
    """When the kubelet last reported, by its own clock."""
    ready = (c.last_heartbeat_time for c in node.status.conditions if c.type == health.READY)
    return next(ready, "")


def _judged(node: Node) -> tuple[object, ...]:
    """What a reconcile depends on, heartbeats aside."""
    conditions = tuple((c.type, c.status) for c in node.status.conditions)
    return conditions, node.spec.taints, node.spec.unschedulable, node.metadata.labels
