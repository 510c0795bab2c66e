"""The scheduler's loop: informers keep the columns and the queue current, pods are decided one by one
on the loop, and bound in the background.

A pod that was decided counts on its node at once (it is *assumed*), so that the next decision sees
it; if its binding fails, it is taken off again and tried anew. Decisions yield to the loop every few
milliseconds. A pod that no node will take gets a condition and an event in Kubernetes' words, may
have lower pods removed for its sake, and waits for the cluster to change.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from skiff.aio.clock import Clock, parse_rfc3339, rfc3339
from skiff.aio.entropy import Entropy
from skiff.aio.run import Started
from skiff.api.errors import ApiError, Conflict, NotFound
from skiff.api.resources import PODS
from skiff.api.selectors import structured
from skiff.api.views.core import Namespace, Node, Pod
from skiff.api.views.policy import PodDisruptionBudget
from skiff.client.client import Client
from skiff.client.events import NORMAL, WARNING, EventRecorder
from skiff.client.informer import InformerFactory
from skiff.client.transport import Unreachable
from skiff.scheduler import preempt
from skiff.scheduler.context import Context, Memory
from skiff.scheduler.nodes import Nodes, Placed
from skiff.scheduler.plan import Planner, Refusal
from skiff.scheduler.queue import SchedulingQueue
from skiff.scheduler.shape import Shapes

NAME = "default-scheduler"
BINDINGS_IN_FLIGHT = 64
SLICE_S = 0.005
"""How long decisions may hold the loop before others get a turn."""
NOMINATED = "nominated:"

log = logging.getLogger("skiff.scheduler")


class Scheduler:
    """A component. `name` is the `spec.schedulerName` that it serves."""

    def __init__(
        self,
        client: Client,
        informers: InformerFactory,
        recorder: EventRecorder,
        clock: Clock,
        entropy: Entropy,
        name: str = NAME,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._entropy = entropy
        self._name = name
        self._nodes = Nodes()
        self._shapes = Shapes()
        self._memory = Memory()
        self._planner = Planner(entropy)
        self._queue = SchedulingQueue()
        self._pending: dict[str, Pod] = {}
        self._assumed: dict[str, str] = {}
        self._bound_elsewhere: dict[str, dict[str, Pod]] = {}
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(BINDINGS_IN_FLIGHT)
        self._pod_informer = informers.of(Pod)
        self._node_informer = informers.of(Node)
        self._namespace_informer = informers.of(Namespace)
        self._budget_informer = informers.of(PodDisruptionBudget)
        self._pod_informer.add_index("uid", lambda pod: [pod.metadata.uid])
        self._node_informer.subscribe(self._node_changed)
        self._namespace_informer.subscribe(self._namespace_changed)
        self._pod_informer.subscribe(self._pod_changed)

    async def run(self, started: Started) -> None:
        """Schedule for ever; ready once all informers have their first list."""
        for informer in (self._node_informer, self._namespace_informer, self._pod_informer):
            await informer.synced.wait()
        started()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wait_for_work()
                await self._schedule_slice(group)

    # What informers say

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            if old is not None:
                self._nodes.remove(old.metadata.name)
            return
        if self._nodes.put(new):
            if old is None:
                for key, pod in self._bound_elsewhere.pop(new.metadata.name, {}).items():
                    self._place(key, pod)
            self._changed()

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if old is not None and new is not None and old.metadata.labels != new.metadata.labels:
            self._nodes.forget_groups()
            self._changed()

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        assert pod is not None
        key = pod.metadata.uid
        if new is None or new.status.phase in ("Succeeded", "Failed"):
            self._gone(key, pod)
        elif new.spec.node_name:
            self._assumed.pop(key, None)
            self._forget(key)
            self._place(key, new)
            if old is None or not old.spec.node_name:
                self._changed(only_with_affinity=True)
        elif key not in self._assumed and self._is_ours(new):
            self._pending[key] = new
            if old is None or _asks_anew(old, new):
                self._queue.add(key, new.spec.priority or 0, self._clock.monotonic())
                self._wake.set()
        elif new.metadata.deletion_timestamp:
            self._forget(key)

    def _is_ours(self, pod: Pod) -> bool:
        spec = pod.spec
        return (
            (spec.scheduler_name or NAME) == self._name
            and not spec.scheduling_gates
            and not pod.metadata.deletion_timestamp
        )

    def _place(self, key: str, pod: Pod) -> None:
        node = pod.spec.node_name
        if node not in self._nodes.rows:
            self._bound_elsewhere.setdefault(node, {})[key] = pod
            return
        terminating = bool(pod.metadata.deletion_timestamp)
        started = _start(pod)
        self._nodes.place(key, self._shapes.of(pod), node, started, terminating)

    def _gone(self, key: str, pod: Pod) -> None:
        self._assumed.pop(key, None)
        self._forget(key)
        self._bound_elsewhere.get(pod.spec.node_name, {}).pop(key, None)
        if key in self._nodes.pods:
            self._nodes.take(key)
            self._changed()

    def _forget(self, key: str) -> None:
        self._pending.pop(key, None)
        self._queue.remove(key)
        self._nodes.take(NOMINATED + key)

    def _changed(self, *, only_with_affinity: bool = False) -> None:
        """Something that may help a pod that waits."""
        if only_with_affinity and not any(
            self._shapes.of(p).touches_others for p in list(self._pending.values())[:100]
        ):
            return
        self._queue.something_changed(self._clock.monotonic())
        self._wake.set()

    # Decisions

    async def _wait_for_work(self) -> None:
        due = self._queue.next_at()
        try:
            timeout_s = None if due is None else max(0.0, due - self._clock.monotonic())
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _schedule_slice(self, group: asyncio.TaskGroup) -> None:
        until = self._clock.monotonic() + SLICE_S
        while True:
            now = self._clock.monotonic()
            key = self._queue.pop(now)
            if key is None:
                return
            pod = self._pending.get(key)
            if pod is None:
                self._queue.remove(key)
                continue
            await self._slots.acquire()
            if key not in self._pending:
                self._slots.release()
                continue
            group.create_task(self._settle(key, pod, self._decide(key, pod)), name=f"bind {key}")
            if self._clock.monotonic() >= until:
                await self._clock.sleep(0)
                until = self._clock.monotonic() + SLICE_S

    def _decide(self, key: str, pod: Pod) -> str | Refusal:
        """The node's name, the pod being counted there; or why there is none."""
        shape = self._shapes.of(pod)
        self._nodes.take(NOMINATED + key)
        decision = self._planner.decide(self._context(), shape)
        if isinstance(decision, Refusal):
            return decision
        node = self._nodes.names[decision]
        self._nodes.place(key, shape, node, self._clock.now())
        self._assumed[key] = node
        self._pending.pop(key, None)
        return node

    def _context(self) -> Context:
        return Context(self._nodes, self._namespace_labels, self._memory)

    def _namespace_labels(self, name: str) -> Mapping[str, str]:
        namespace = self._namespace_informer.get(name)
        return namespace.metadata.labels if namespace else {}

    async def _settle(self, key: str, pod: Pod, decision: str | Refusal) -> None:
        try:
            if isinstance(decision, Refusal):
                await self._refused(key, pod, decision)
            else:
                await self._bind(key, pod, decision)
        finally:
            self._slots.release()

    async def _bind(self, key: str, pod: Pod, node: str) -> None:
        meta = pod.metadata
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self._client.create(PODS, binding, meta.namespace, subresource="binding")
        except (NotFound, Conflict):
            self._unassume(key)
            self._queue.remove(key)
            current = self._pod_informer.get(meta.name, meta.namespace)
            if current is not None and current.metadata.uid == key:
                self._pod_changed(None, current)
        except (ApiError, Unreachable) as e:
            log.warning("binding %s/%s to %s failed: %s", meta.namespace, meta.name, node, e)
            self._unassume(key)
            self._pending[key] = pod
            self._queue.failed(key, self._clock.monotonic(), unschedulable=False)
            self._wake.set()
        else:
            self._queue.remove(key)
            message = f"Successfully assigned {meta.namespace}/{meta.name} to {node}"
            self._recorder.record(pod, NORMAL, "Scheduled", message)

    def _unassume(self, key: str) -> None:
        if self._assumed.pop(key, None) is not None:
            self._nodes.take(key)

    async def _refused(self, key: str, pod: Pod, refusal: Refusal) -> None:
        victims = self._find_victims(key, pod, refusal)
        message = refusal.message()
        self._queue.failed(key, self._clock.monotonic(), unschedulable=True)
        self._wake.set()
        self._recorder.record(pod, WARNING, "FailedScheduling", message)
        node = self._nodes.names[victims.row] if victims else ""
        if victims is not None:
            self._nodes.place(NOMINATED + key, self._shapes.of(pod), node)
        try:
            await self._tell(pod, message, node)
            for victim in victims.pods if victims else ():
                await self._evict(victim, pod, node)
        except NotFound:
            pass
        except (ApiError, Unreachable) as e:
            log.warning("%s/%s: %s", pod.metadata.namespace, pod.metadata.name, e)

    def _find_victims(self, key: str, pod: Pod, refusal: Refusal) -> preempt.Victims | None:
        """None too where the pods that an earlier turn chose are still on their way out."""
        nominated = self._nodes.rows.get(pod.status.nominated_node_name)
        if nominated is not None and any(
            p.terminating and p.shape.priority < (pod.spec.priority or 0)
            for p in self._nodes.on[nominated].values()
        ):
            self._nodes.place(NOMINATED + key, self._shapes.of(pod), pod.status.nominated_node_name)
            return None
        if not refusal.resolvable.any():
            return None
        shape = self._shapes.of(pod)
        return preempt.find(
            self._context(),
            self._planner,
            shape,
            refusal.resolvable,
            self._entropy,
            self._protected,
        )

    def _protected(self, victim: str) -> bool:
        """Whether evicting the pod would break a PodDisruptionBudget."""
        pod = next((p for p in self._pod_informer.by_index("uid", victim)), None)
        if pod is None:
            return False
        return any(
            budget.spec.selector is not None
            and (budget.status.disruptions_allowed or 0) <= 0
            and structured(msgspec.to_builtins(budget.spec.selector)).matches(pod.metadata.labels)
            for budget in self._budget_informer.list(pod.metadata.namespace)
        )

    async def _tell(self, pod: Pod, message: str, nominated: str) -> None:
        """Write the condition PodScheduled=False, once for each message."""
        for condition in pod.status.conditions:
            same = condition.type == "PodScheduled" and condition.message == message
            if same and nominated in ("", pod.status.nominated_node_name):
                return
        now = rfc3339(self._clock.now())
        condition_now = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastProbeTime": None,
            "lastTransitionTime": now,
            "observedGeneration": pod.metadata.generation,
        }
        status: dict[str, Any] = {"conditions": [condition_now]}
        if nominated:
            status["nominatedNodeName"] = nominated
        meta = pod.metadata
        patch = {"metadata": {"uid": meta.uid}, "status": status}
        await self._client.patch(
            PODS, meta.name, meta.namespace, patch, kind="strategic", subresource="status"
        )

    async def _evict(self, victim: Placed, pod: Pod, node: str) -> None:
        """Mark the victim as disrupted, say so, delete it."""
        found = next((p for p in self._pod_informer.list() if p.metadata.uid == victim.key), None)
        if found is None:
            return
        meta = found.metadata
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": f"{self._name}: preempting to accommodate a higher priority pod",
            "lastTransitionTime": rfc3339(self._clock.now()),
        }
        patch = {"metadata": {"uid": meta.uid}, "status": {"conditions": [condition]}}
        await self._client.patch(
            PODS, meta.name, meta.namespace, patch, kind="strategic", subresource="status"
        )
        await self._client.delete(PODS, meta.name, meta.namespace, uid=meta.uid)
        message = f"Preempted by pod {pod.metadata.uid} on node {node}"
        self._recorder.record(found, NORMAL, "Preempted", message)


def _start(pod: Pod) -> float:
    return parse_rfc3339(pod.status.start_time) if pod.status.start_time else 0.0


def _asks_anew(old: Pod, new: Pod) -> bool:
    """Whether a change of a waiting pod may let it be scheduled: everything but its status."""
    return (
        old.metadata.uid != new.metadata.uid
        or old.metadata.labels != new.metadata.labels
        or old.spec != new.spec
    )
