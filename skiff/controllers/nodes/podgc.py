"""Pod garbage collection: pods that nobody will clean up any more.

- Ended pods beyond a threshold: evicted ones, then the oldest first.
- Pods bound to a node that is gone: after a grace, since a node may be registered anew.
- Pods that are being deleted and were never scheduled: no kubelet will finish that.
- Terminating pods on nodes that are out of service.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-garbage-collection.
"""

from typing import Any, ClassVar, Final

from skiff.api.errors import NotFound
from skiff.api.resources import NODES, PODS
from skiff.api.views.base import as_json
from skiff.api.views.core import Node, Pod
from skiff.client.reconciler import Key, Reconciler, Result, key_of
from skiff.controllers import pods
from skiff.controllers.context import Context
from skiff.controllers.nodes import health
from skiff.controllers.nodes.lifecycle import node_of
from skiff.controllers.status import set_condition

QUARANTINE_S: Final = 40.0
THRESHOLD: Final = Key("", "threshold")
# Ended pods are counted a moment after one ended: many end together.
COUNT_AFTER_S: Final = 5.0


class PodCollector(Reconciler):
    """Keys are pods, and one for the threshold."""

    name: ClassVar[str] = "pod-gc"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=10)
        self._clock = context.clock
        self._client = context.client
        self._threshold = context.options.terminated_pod_threshold
        self._nodes = context.informers.of(Node)
        self._pods = context.informers.of(Pod)
        self._pods.add_index("node", node_of)
        self._ended = 0
        # Since when each missing node is missed.
        self._missing: dict[str, float] = {}
        self.needs(self._nodes, self._pods)
        self._nodes.subscribe(self._node_changed)
        self._pods.subscribe(self._pod_changed)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            assert old is not None
            self._missing[old.metadata.name] = self._clock.monotonic()
        else:
            self._missing.pop(new.metadata.name, None)
            if not _is_out_of_service(new):
                return
        name = (new or old).metadata.name  # type: ignore[union-attr] # one is there
        for pod in self._pods.by_index("node", name):
            self.queue.add(key_of(pod))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        before = old is not None and pods.is_terminal(old)
        after = new is not None and pods.is_terminal(new)
        self._ended += after - before
        if after and not before and self._ended > self._threshold > 0:
            self.queue.add_after(THRESHOLD, COUNT_AFTER_S)
        if new is None:
            return
        if new.metadata.deletion_timestamp or (
            new.spec.node_name and self._nodes.get(new.spec.node_name) is None
        ):
            self.queue.add(key_of(new))

    async def reconcile(self, key: Key) -> Result | None:
        """Delete what is left behind."""
        if key == THRESHOLD:
            await self._delete_oldest_ended()
            return None
        pod = self._pods.get(key.name, key.namespace)
        if pod is None:
            return None
        node_name = pod.spec.node_name
        if not node_name:
            if pod.metadata.deletion_timestamp:
                await self._delete(pod, "")
            return None
        node = self._nodes.get(node_name)
        if node is None:
            return await self._orphaned(pod)
        lost = _is_out_of_service(node) and health.readiness(node) != "True"
        if pod.metadata.deletion_timestamp and lost:
            await self._delete(pod, "PodGC: node is out of service")
        return None

    async def _orphaned(self, pod: Pod) -> Result | None:
        now = self._clock.monotonic()
        since = self._missing.setdefault(pod.spec.node_name, now)
        if now - since < QUARANTINE_S:
            return Result(since + QUARANTINE_S - now)
        try:
            await self._client.get(NODES, pod.spec.node_name)
        except NotFound:
            await self._delete(pod, "PodGC: node no longer exists")
        return None

    async def _delete_oldest_ended(self) -> None:
        ended = [pod for pod in self._pods.list() if pods.is_terminal(pod)]
        beyond = len(ended) - self._threshold
        if beyond <= 0:
            return
        # Evicted ones first: others may still be looked at.
        ended.sort(
            key=lambda p: (
                (p.status.phase, p.status.reason) != ("Failed", "Evicted"),
                p.metadata.creation_timestamp,
                p.metadata.name,
            )
        )
        for pod in ended[:beyond]:
            await self._delete(pod, "")

    async def _delete(self, pod: Pod, why: str) -> None:
        """Delete without grace; a pod that had not ended is marked as failed first."""
        meta = pod.metadata
        try:
            if not pods.is_terminal(pod):
                status: dict[str, Any] = {"phase": "Failed"}
                if why:
                    conditions = as_json(pod.status.conditions)
                    now = self._clock.now()
                    set_condition(
                        conditions, "DisruptionTarget", "True", "DeletionByPodGC", why, now
                    )
                    status["conditions"] = conditions
                patch = {"metadata": {"uid": meta.uid}, "status": status}
                await self._client.patch(
                    PODS, meta.name, meta.namespace, patch, subresource="status"
                )
            await self._client.delete(
                PODS, meta.name, meta.namespace, uid=meta.uid, grace_period_s=0
            )
        except NotFound:
            pass


def _is_out_of_service(node: Node) -> bool:
    return any(taint.key == health.OUT_OF_SERVICE for taint in node.spec.taints)
