"""Taint eviction: pods that do not tolerate a NoExecute taint go, at once or after a while.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions.
"""

from collections.abc import Sequence
from typing import ClassVar, Final

from skiff.aio.clock import parse_rfc3339
from skiff.api.errors import NotFound
from skiff.api.resources import PODS
from skiff.api.taints import tolerates
from skiff.api.views.base import as_json
from skiff.api.views.core import Node, Pod, Taint, Toleration
from skiff.client.events import NORMAL
from skiff.client.reconciler import Key, Reconciler, Result, key_of
from skiff.controllers.context import Context
from skiff.controllers.nodes.lifecycle import node_of
from skiff.controllers.status import set_condition

NEVER: Final = None


class TaintEviction(Reconciler):
    """Keys are pods."""

    name: ClassVar[str] = "taint-eviction"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=16)
        self._clock = context.clock
        self._client = context.client
        self._events = context.events.of("taint-eviction-controller")
        self._nodes = context.informers.of(Node)
        self._pods = context.informers.of(Pod)
        self._pods.add_index("node", node_of)
        # When the taints that a pod tolerates for a while were noticed.
        self._scheduled: dict[Key, float] = {}
        self.needs(self._nodes, self._pods)
        self._nodes.subscribe(self._node_changed)
        self._pods.subscribe(self._pod_changed)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None or (old is not None and no_execute(old) == no_execute(new)):
            return
        if old is None and not no_execute(new):
            return
        for pod in self._pods.by_index("node", new.metadata.name):
            self.queue.add(key_of(pod))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None:
            assert old is not None
            self._scheduled.pop(key_of(old), None)
            return
        moved = old is None or old.spec.node_name != new.spec.node_name
        if not new.spec.node_name or not (moved or old.spec.tolerations != new.spec.tolerations):  # type: ignore[union-attr] # moved covers None
            return
        node = self._nodes.get(new.spec.node_name)
        if node is not None and no_execute(node):
            self.queue.add(key_of(new))

    async def reconcile(self, key: Key) -> Result | None:
        """Evict the pod if its time has come, or come back when it has."""
        pod = self._pods.get(key.name, key.namespace)
        if pod is None or pod.metadata.deletion_timestamp:
            self._scheduled.pop(key, None)
            return None
        node = self._nodes.get(pod.spec.node_name)
        taints = no_execute(node) if node is not None else ()
        now = self._clock.now()
        noticed = self._scheduled.get(key, now)
        wait_s = eviction_in_s(taints, pod.spec.tolerations, now, noticed)
        if wait_s is NEVER:
            if self._scheduled.pop(key, None) is not None:
                message = f"Cancelling deletion of Pod {key}"
                self._events.record(pod, NORMAL, "TaintManagerEviction", message)
            return None
        if wait_s > 0:
            self._scheduled[key] = noticed
            return Result(wait_s)
        await self._evict(key, pod)
        return None

    async def _evict(self, key: Key, pod: Pod) -> None:
        self._scheduled.pop(key, None)
        message = f"Marking for deletion Pod {key}"
        self._events.record(pod, NORMAL, "TaintManagerEviction", message)
        conditions = as_json(pod.status.conditions)
        why = "Taint manager: deleting due to NoExecute taint"
        set_condition(
            conditions, "DisruptionTarget", "True", "DeletionByTaintManager", why, self._clock.now()
        )
        uid = pod.metadata.uid
        patch = {"metadata": {"uid": uid}, "status": {"conditions": conditions}}
        try:
            await self._client.patch(PODS, key.name, key.namespace, patch, subresource="status")
            await self._client.delete(PODS, key.name, key.namespace, uid=uid)
        except NotFound:
            pass


def no_execute(node: Node) -> tuple[Taint, ...]:
    """The taints that remove pods."""
    return tuple(t for t in node.spec.taints if t.effect == "NoExecute")


def eviction_in_s(
    taints: Sequence[Taint], tolerations: Sequence[Toleration], now: float, noticed: float
) -> float | None:
    """Seconds until a pod with these tolerations must leave: 0 at once, None never. Pure.

    Counted from when the newest of the taints was added (those that do not say it: from when they
    were noticed). For each taint the first toleration that matches counts; the shortest decides.
    """
    if not taints:
        return NEVER
    used: list[Toleration] = []
    for taint in taints:
        first = next((t for t in tolerations if tolerates(t, taint)), None)
        if first is None:
            return 0.0
        used.append(first)
    limits = [t.toleration_seconds for t in used if t.toleration_seconds is not None]
    if not limits:
        return NEVER
    added = max(parse_rfc3339(t.time_added) if t.time_added else noticed for t in taints)
    return max(0.0, added + max(0, min(limits)) - now)
