"""The scheduler's loop: informers keep the columns and the queue current, pods are decided one by one
on the loop, and what was decided is carried out in the background.

A pod that was decided counts on its node at once (it is *assumed*), so that the next decision sees
it; if its binding fails, it is taken off again and tried anew. Decisions yield to the loop every few
milliseconds. A pod that no node will take gets a condition and an event in Kubernetes' words, may
have lower pods removed for its sake, and waits for the cluster to change.
"""

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence

import msgspec

from skiff.aio.clock import Clock, parse_rfc3339
from skiff.aio.entropy import Entropy
from skiff.aio.run import Started
from skiff.api.errors import ApiError, Conflict, NotFound
from skiff.api.selectors import structured
from skiff.api.views.affinity import NodeSelector
from skiff.api.views.core import Namespace, Node, Pod, Service
from skiff.api.views.policy import PodDisruptionBudget
from skiff.client.client import Client
from skiff.client.events import WARNING, EventRecorder
from skiff.client.informer import InformerFactory
from skiff.client.transport import Unreachable
from skiff.scheduler import preempt
from skiff.scheduler.actions import PREEMPTED, Actions, Bind, Refuse
from skiff.scheduler.context import Context, Memory
from skiff.scheduler.nodes import Nodes, Placed
from skiff.scheduler.nominated import Nominations
from skiff.scheduler.plan import Planner, Refusal
from skiff.scheduler.queue import SchedulingQueue
from skiff.scheduler.shape import Shape, Shapes, claims
from skiff.scheduler.storage import StorageInformers
from skiff.scheduler.volumes import choose

NAME = "default-scheduler"
IN_FLIGHT = 64
"""Bindings and refusals under way at once; decisions wait when there are more."""
SLICE_S = 0.005
"""How long decisions may hold the loop before others get a turn."""
VOLUMES_TIMEOUT_S = 600.0
"""How long a decided pod waits for its claims to be bound before it is decided anew."""

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
        self._recorder = recorder
        self._clock = clock
        self._entropy = entropy
        self._name = name
        self._actions = Actions(client, recorder, clock, name)
        self._nodes = Nodes()
        self._nominations = Nominations(self._nodes)
        self._shapes = Shapes()
        self._memory = Memory()
        self._planner = Planner(entropy)
        self._queue = SchedulingQueue()
        # Pods that want a node; pods that were given one but are not bound yet.
        self._pending: dict[str, Pod] = {}
        self._assumed: dict[str, str] = {}
        # Pods bound to nodes that are unknown (yet), by node.
        self._elsewhere: dict[str, dict[str, Placed]] = {}
        # Pods at rest for whom other pods' coming may be what they wait for.
        self._social: set[str] = set()
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._storage = StorageInformers(informers, self._changed)
        self._pod_informer = informers.of(Pod)
        self._node_informer = informers.of(Node)
        self._namespace_informer = informers.of(Namespace)
        self._budget_informer = informers.of(PodDisruptionBudget)
        self._service_informer = informers.of(Service)
        self._node_informer.subscribe(self._node_changed)
        self._namespace_informer.subscribe(self._namespace_changed)
        self._pod_informer.subscribe(self._pod_changed)

    async def run(self, started: Started) -> None:
        """Schedule for ever; ready once all informers have their first list."""
        for informer in (self._node_informer, self._namespace_informer, self._pod_informer):
            await informer.synced.wait()
        started()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._storage.run(), name="volumes")
            while True:
                await self._wait_for_work()
                await self._schedule_slice(group)

    # What informers say

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            assert old is not None
            name = old.metadata.name
            for placed in self._nodes.remove(name):
                self._elsewhere.setdefault(name, {})[placed.key] = placed
        elif self._nodes.put(new):
            name = new.metadata.name
            for placed in self._elsewhere.pop(name, {}).values():
                key, shape = placed.key, placed.shape
                start, terminating = placed.start, placed.terminating
                self._nodes.place(key, shape, name, placed.name, start, terminating)
            if old is None:
                self._nominations.place_again(name)
            self._changed()

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if old is not None and new is not None and old.metadata.labels != new.metadata.labels:
            self._nodes.forget_groups()
            self._changed()

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is not None and old.metadata.uid != new.metadata.uid:
            self._gone(old)  # another pod of the same name: its going was not told
            old = None
        pod = new or old
        assert pod is not None
        key = pod.metadata.uid
        if new is None or new.status.phase in ("Succeeded", "Failed"):
            self._gone(pod)
        elif new.spec.node_name:
            self._assumed.pop(key, None)
            self._forget(key)
            self._place(key, new)
            if self._social and _bears_on_others(old, new):
                self._queue.something_changed(self._clock.monotonic(), self._social)
                self._wake.set()
        elif key in self._assumed:
            return
        elif self._is_ours(new):
            self._pending[key] = new
            if claims(new):
                self._storage.want()
            if old is None and new.status.nominated_node_name:
                shape = self._shapes.of(new)
                self._nominations.make(key, shape, new.status.nominated_node_name)
            if old is None or _asks_anew(old, new):
                self._queue.add(key, new.spec.priority or 0, self._clock.monotonic())
                self._wake.set()
        else:
            self._forget(key)

    def _is_ours(self, pod: Pod) -> bool:
        spec = pod.spec
        return (
            (spec.scheduler_name or NAME) == self._name
            and not spec.scheduling_gates
            and not pod.metadata.deletion_timestamp
        )

    def _place(self, key: str, pod: Pod) -> None:
        node, name, shape = pod.spec.node_name, pod.metadata.name, self._shapes.of(pod)
        start, terminating = _start(pod), bool(pod.metadata.deletion_timestamp)
        if node in self._nodes.rows:
            self._nodes.place(key, shape, node, name, start, terminating)
        else:
            unplaced = Placed(key, shape, -1, name, start, terminating)
            self._elsewhere.setdefault(node, {})[key] = unplaced

    def _gone(self, pod: Pod) -> None:
        key, node = pod.metadata.uid, pod.spec.node_name
        self._assumed.pop(key, None)
        self._forget(key)
        if node in self._elsewhere:
            self._elsewhere[node].pop(key, None)
            if not self._elsewhere[node]:
                del self._elsewhere[node]
        if key in self._nodes.pods:
            self._nodes.take(key)
            self._changed()

    def _forget(self, key: str) -> None:
        """The pod wants no node any more."""
        self._pending.pop(key, None)
        self._queue.remove(key)
        self._social.discard(key)
        if len(self._nominations) and self._nominations.node_of(key):
            self._nominations.drop(key)

    def _changed(self) -> None:
        """Something that may help a pod that waits."""
        self._queue.something_changed(self._clock.monotonic())
        self._wake.set()

    # Decisions

    async def _wait_for_work(self) -> None:
        due = self._queue.next_at()
        timeout_s = None if due is None else max(0.0, due - self._clock.monotonic())
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _schedule_slice(self, group: asyncio.TaskGroup) -> None:
        until = self._clock.monotonic() + SLICE_S
        while True:
            await self._slots.acquire()
            decided = self._next()
            if decided is None:
                self._slots.release()
                return
            key, pod, decision = decided
            group.create_task(self._carry_out(key, pod, decision), name=f"pod {pod.metadata.name}")
            if self._clock.monotonic() >= until:
                await self._clock.sleep(0)
                until = self._clock.monotonic() + SLICE_S

    def _next(self) -> tuple[str, Pod, Bind | Refuse] | None:
        """The next pod of the queue and what is decided for it; None where none is due."""
        while (key := self._queue.pop(self._clock.monotonic())) is not None:
            pod = self._pending.get(key)
            if pod is None:
                self._queue.remove(key)
                continue
            shape = self._shapes.of(pod)
            if shape.claims and not self._storage.synced:
                self._queue.failed(key, self._clock.monotonic(), unschedulable=True)
                continue
            return key, pod, self._decide(key, pod, shape)
        return None

    def _decide(self, key: str, pod: Pod, shape: Shape) -> Bind | Refuse:
        """Where the pod goes (it is counted there); or why nowhere."""
        context = Context(
            self._nodes, self._namespace_labels, self._memory, self._storage, self._services
        )
        with self._nominations.aside(key, shape.priority):
            decision = self._planner.decide(context, shape)
        if isinstance(decision, Refusal):
            return self._refuse(context, key, pod, shape, decision)

        def picks(selector: NodeSelector | None) -> bool:
            return selector is None or bool(context.any_term(selector)[decision])

        volumes = choose(self._storage, shape, picks) if shape.claims else ()
        node = self._nodes.names[decision]
        self._nominations.drop(key)
        self._nodes.place(key, shape, node, pod.metadata.name)
        self._assumed[key] = node
        self._pending.pop(key, None)
        return Bind(node, volumes)

    def _refuse(
        self, context: Context, key: str, pod: Pod, shape: Shape, refusal: Refusal
    ) -> Refuse:
        self._queue.failed(key, self._clock.monotonic(), unschedulable=True)
        self._wake.set()
        if shape.touches_others:
            self._social.add(key)
        if not refusal.nodes:
            return Refuse(refusal.message())
        nominated = self._nominations.node_of(key)
        row = self._nodes.rows.get(nominated)
        hopeful = row is not None and bool(refusal.resolvable[row])
        if hopeful and shape.preempts and self._makes_room(nominated, shape.priority):
            return Refuse(refusal.message(preempt.TERMINATING), nominated)
        with self._nominations.aside(key, shape.priority):
            found = preempt.find(
                context,
                self._planner,
                shape,
                refusal.resolvable,
                self._entropy,
                self._violating,
            )
        if isinstance(found, str):
            self._nominations.drop(key)
            return Refuse(refusal.message(found))
        node = self._nodes.names[found.row]
        displaced = self._nominations.on(node, below=shape.priority)
        for other in displaced:
            self._nominations.drop(other)
        self._nominations.make(key, shape, node)
        victims = [v for p in found.pods if not p.terminating and (v := self._find(p))]
        others = [p for k in displaced if (p := self._pending.get(k))]
        return Refuse(refusal.message(), node, victims, others)

    def _makes_room(self, node: str, priority: int) -> bool:
        """Whether pods that an earlier turn chose are still on their way out."""
        row = self._nodes.rows.get(node)
        return row is not None and any(
            p.terminating and p.shape.priority < priority and self._was_preempted(p)
            for p in self._nodes.on[row].values()
        )

    def _was_preempted(self, placed: Placed) -> bool:
        """Whether the pod goes because a scheduler wanted its room, and not of itself."""
        pod = self._find(placed)
        return pod is not None and any(
            c.type == "DisruptionTarget" and c.status == "True" and c.reason == PREEMPTED
            for c in pod.status.conditions
        )

    def _namespace_labels(self, name: str) -> Mapping[str, str]:
        namespace = self._namespace_informer.get(name)
        return namespace.metadata.labels if namespace else {}

    def _services(self, namespace: str) -> list[Mapping[str, str]]:
        return [service.spec.selector for service in self._service_informer.list(namespace)]

    def _find(self, placed: Placed) -> Pod | None:
        pod = self._pod_informer.get(placed.name, placed.shape.namespace)
        return pod if pod is not None and pod.metadata.uid == placed.key else None

    def _violating(self, pods: Sequence[Placed]) -> frozenset[str]:
        """See `preempt.Violating`."""
        left: dict[str, int] = {}
        broken = set()
        for placed in pods:
            for budget in self._budget_informer.list(placed.shape.namespace):
                view = budget.spec.selector
                if view is None or placed.name in budget.status.disrupted_pods:
                    continue
                # One that selects everything guards nothing here (it does against evictions).
                selector = structured(msgspec.to_builtins(view))
                if selector.everything or not selector.matches(placed.shape.labels):
                    continue
                uid = budget.metadata.uid
                left[uid] = left.get(uid, budget.status.disruptions_allowed) - 1
                if left[uid] < 0:
                    broken.add(placed.key)
        return frozenset(broken)

    # What was decided

    async def _carry_out(self, key: str, pod: Pod, decision: Bind | Refuse) -> None:
        try:
            if isinstance(decision, Bind):
                await self._bind(key, pod, decision)
            else:
                await self._tell(pod, decision)
        finally:
            self._slots.release()

    async def _bind(self, key: str, pod: Pod, decision: Bind) -> None:
        meta = pod.metadata
        try:
            if decision.volumes:
                await self._bind_volumes(meta.namespace, decision)
            await self._actions.bind(pod, decision.node)
        except (ApiError, Unreachable, TimeoutError) as e:
            level = logging.DEBUG if isinstance(e, NotFound | Conflict) else logging.WARNING
            log.log(
                level, "%s/%s: not bound to %s: %s", meta.namespace, meta.name, decision.node, e
            )
            self._try_again(key, meta.namespace, meta.name)
        else:
            self._queue.remove(key)

    async def _bind_volumes(self, namespace: str, decision: Bind) -> None:
        names = [name for name, _ in decision.volumes]
        await self._actions.prepare_volumes(namespace, decision.node, decision.volumes)
        self._slots.release()  # this may take minutes: others go on
        try:
            async with asyncio.timeout(VOLUMES_TIMEOUT_S):
                await self._storage.all_bound(namespace, names)
        finally:
            await self._slots.acquire()

    def _try_again(self, key: str, namespace: str, name: str) -> None:
        """A binding failed: unless the pod is bound or gone by now, it waits its backoff."""
        if self._assumed.pop(key, None) is None:
            return  # the informer told of it meanwhile
        self._nodes.take(key)
        pod = self._pod_informer.get(name, namespace)
        if pod is None or pod.metadata.uid != key or pod.spec.node_name or not self._is_ours(pod):
            self._queue.remove(key)
            return
        self._pending[key] = pod
        self._queue.failed(key, self._clock.monotonic(), unschedulable=False)
        self._changed()

    async def _tell(self, pod: Pod, refusal: Refuse) -> None:
        self._recorder.record(pod, WARNING, "FailedScheduling", refusal.message)
        try:
            await self._actions.refuse(pod, refusal)
        except NotFound:
            pass
        except (ApiError, Unreachable) as e:
            log.warning("%s/%s: %s", pod.metadata.namespace, pod.metadata.name, e)


def _start(pod: Pod) -> float:
    return parse_rfc3339(pod.status.start_time) if pod.status.start_time else math.inf


def _bears_on_others(old: Pod | None, new: Pod) -> bool:
    """Whether a pod's change may make another's affinity or spreading possible."""
    return old is None or not old.spec.node_name or old.metadata.labels != new.metadata.labels


def _asks_anew(old: Pod, new: Pod) -> bool:
    """Whether a change of a waiting pod may let it be scheduled: everything but its status."""
    return old.metadata.labels != new.metadata.labels or old.spec != new.spec
