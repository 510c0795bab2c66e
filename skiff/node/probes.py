"""Probes: which containers are alive, ready and started.

One `_Worker` a probe holds its counts (pure: `observe`) and one timer of the event loop; nothing runs
between two checks. A pod's workers follow what runs: `sync` makes those of new containers and drops
those of containers that are gone. Whenever a result changes, `changed(uid)` wakes the pod's worker,
which reads `health`.

- startup: nothing else is probed until it succeeds; its failure ends the container;
- liveness: its failure ends the container; not probed any more once the pod is being deleted;
- readiness: not ready until it succeeds, and while it fails.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-probes
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from skiff.aio.clock import Clock
from skiff.aio.entropy import Entropy
from skiff.api.views.container import Probe
from skiff.api.views.pod import Pod
from skiff.node.lifecycle.model import (
    AnyContainer,
    Health,
    Kind,
    Observed,
    ProbeFailure,
    SeenContainer,
    each_container,
)
from skiff.node.probers import Outcome, Prober, Result, Target

LIVENESS = "liveness"
READINESS = "readiness"
STARTUP = "startup"
DEFAULT_PERIOD_S = 10
DEFAULT_FAILURES = 3


class ProbeEvents(Protocol):
    """Where probes tell people what they found."""

    def __call__(self, pod: Pod, container: str, kind: str, reason: str, message: str) -> None: ...


@dataclass(slots=True)
class Counter:
    """A probe's results so far: how often the last one was seen in a row, and what they mean.

    `value` is None until a threshold was reached for the first time."""

    success_threshold: int
    failure_threshold: int
    value: bool | None = None
    last: bool | None = None
    run: int = 0

    def observe(self, ok: bool) -> bool:
        """Count one result; True where `value` was (re)decided by it."""
        self.run = self.run + 1 if self.last is ok else 1
        self.last = ok
        if self.run < (self.success_threshold if ok else self.failure_threshold):
            return False
        changed = self.value is not ok
        self.value = ok
        return changed


class Probes:
    """The probes of all pods of the node."""

    def __init__(
        self,
        prober: Prober,
        clock: Clock,
        entropy: Entropy,
        events: ProbeEvents,
        changed: Callable[[str], None],
    ) -> None:
        self._prober = prober
        self._clock = clock
        self._entropy = entropy
        self._events = events
        self._changed = changed
        self._group: asyncio.TaskGroup | None = None
        self._workers: dict[str, dict[tuple[str, str], _Worker]] = {}

    def attach(self, group: asyncio.TaskGroup) -> None:
        """Checks run as tasks of `group` from now on."""
        self._group = group

    def sync(self, pod: Pod, observed: Observed, ips: tuple[str, ...]) -> None:
        """Probe what runs of the pod, and nothing else."""
        wanted: dict[tuple[str, str], tuple[AnyContainer, SeenContainer, Probe]] = {}
        deleted = bool(pod.metadata.deletion_timestamp)
        for kind, container in each_container(pod):
            seen = observed.latest(container.name)
            if kind not in (Kind.REGULAR, Kind.SIDECAR) or seen is None or not seen.running:
                continue
            for name, probe in _probes_of(container):
                if probe is not None and not (deleted and name != READINESS):
                    wanted[seen.status.id, name] = (container, seen, probe)
        uid = pod.metadata.uid
        workers = self._workers.setdefault(uid, {})
        for key in [k for k in workers if k not in wanted]:
            workers.pop(key).stop()
        for key, (container, seen, probe) in wanted.items():
            target = Target(container, key[0], ips[0] if ips else "")
            worker = workers.get(key)
            if worker is None:
                worker = _Worker(self, pod, key[1], probe, target)
                if _was_so(pod, key[0], key[1]):
                    worker.counter.value = True
                workers[key] = worker
                if key[1] == STARTUP and worker.counter.value:
                    continue
                worker.schedule_first(seen.status.started_at, self._clock.now())
            else:
                worker.pod, worker.target = pod, target
        if not workers:
            del self._workers[uid]

    def health(self, uid: str) -> Health:
        """What the pod's probes say."""
        workers = self._workers.get(uid)
        if not workers:
            return Health()
        starting, unready, failed = set(), set(), {}
        for (container_id, name), worker in workers.items():
            value = worker.counter.value
            if name == STARTUP and value is not True:
                starting.add(container_id)
            if name == READINESS and value is not True:
                unready.add(container_id)
            if name != READINESS and value is False:
                failed[container_id] = ProbeFailure(
                    name, worker.probe.termination_grace_period_seconds
                )
        return Health(frozenset(starting), frozenset(unready), failed)

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        for worker in self._workers.pop(uid, {}).values():
            worker.stop()

    def __len__(self) -> int:
        """Probes under way."""
        return sum(len(w) for w in self._workers.values())

    def _started(self, uid: str, container_id: str) -> bool:
        worker = self._workers.get(uid, {}).get((container_id, STARTUP))
        return worker is None or worker.counter.value is True

    def _spawn(self, worker: "_Worker") -> None:
        if self._group is None:
            return
        worker.task = self._group.create_task(self._check(worker), name=f"probe {worker.name}")

    async def _check(self, worker: "_Worker") -> None:
        """One check, its consequences, and the timer of the next."""
        pod, target = worker.pod, worker.target
        if worker.name != STARTUP and not self._started(pod.metadata.uid, target.container_id):
            worker.schedule(worker.period_s)
            return
        result = await self._prober.check(target, worker.name, worker.probe)
        if worker.stopped:
            return
        self._tell(worker, result)
        done = False
        if result.outcome is not Outcome.UNKNOWN:
            changed = worker.counter.observe(result.ok)
            # Started for good, or about to be killed: there is nothing more to find out.
            value = worker.counter.value
            done = (worker.name == STARTUP and value is not None) or (
                worker.name == LIVENESS and value is False
            )
            if changed:
                self._changed(pod.metadata.uid)
                if worker.name == STARTUP and value:
                    self._hurry(pod.metadata.uid, target.container_id)
        if not done:
            worker.schedule(worker.period_s)

    def _hurry(self, uid: str, container_id: str) -> None:
        """A container has started: its readiness need not wait for the next period."""
        worker = self._workers.get(uid, {}).get((container_id, READINESS))
        if worker is not None and worker.task is None:
            worker.schedule(0)

    def _tell(self, worker: "_Worker", result: Result) -> None:
        title = worker.name.capitalize()
        if result.outcome is Outcome.FAILURE:
            reason, text = "Unhealthy", f"{title} probe failed: {result.output}"
        elif result.outcome is Outcome.WARNING:
            reason, text = "ProbeWarning", f"{title} probe warning: {result.output}"
        elif result.outcome is Outcome.UNKNOWN:
            reason = "Unhealthy"
            text = f"{title} probe errored and resulted in unknown state: {result.output}"
        else:
            return
        self._events(worker.pod, worker.target.container.name, "Warning", reason, text)


class _Worker:
    """One probe of one running container."""

    __slots__ = ("_owner", "counter", "name", "pod", "probe", "stopped", "target", "task", "timer")

    def __init__(self, owner: Probes, pod: Pod, name: str, probe: Probe, target: Target) -> None:
        self._owner = owner
        self.pod = pod
        self.name = name
        self.probe = probe
        self.target = target
        self.counter = Counter(
            probe.success_threshold or 1, probe.failure_threshold or DEFAULT_FAILURES
        )
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
        self.stopped = False

    @property
    def period_s(self) -> int:
        return self.probe.period_seconds or DEFAULT_PERIOD_S

    def schedule_first(self, started_at: float, now: float) -> None:
        """The first check: after the initial delay, counted from the container's start."""
        delay = started_at + self.probe.initial_delay_seconds - now
        if delay <= 0 and now - started_at > self.period_s:
            # It ran before this kubelet: spread the checks instead of making them all at once.
            delay = self._owner._entropy.random.random() * self.period_s
        self.schedule(max(0.0, delay))

    def schedule(self, delay_s: float) -> None:
        """Check in `delay_s`."""
        self.task = None
        if self.stopped:
            return
        if self.timer is not None:
            self.timer.cancel()
        loop = asyncio.get_running_loop()
        self.timer = loop.call_later(delay_s, self._owner._spawn, self)

    def stop(self) -> None:
        """No more checks; one under way is let go."""
        self.stopped = True
        if self.timer is not None:
            self.timer.cancel()
        if self.task is not None:
            self.task.cancel()


def _probes_of(container: AnyContainer) -> tuple[tuple[str, Probe | None], ...]:
    return (
        (STARTUP, container.startup_probe),
        (LIVENESS, container.liveness_probe),
        (READINESS, container.readiness_probe),
    )


def _was_so(pod: Pod, container_id: str, probe: str) -> bool:
    """Whether the pod's status says of this very container that it is ready (or started): a restart of
    the kubelet does not undo that."""
    for status in (*pod.status.container_statuses, *pod.status.init_container_statuses):
        if status.container_id.endswith(f"://{container_id}"):
            return status.ready if probe == READINESS else probe == STARTUP and bool(status.started)
    return False
