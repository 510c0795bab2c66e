"""One pod's worker: looks at what there is, decides, acts, reports; again at every change.

The worker is a loop around one synchronous `_step`. A step reads the pod, the observer's picture and
the probes, asks the pure core what to do (`lifecycle`), and starts tasks for what takes time: at most
one that brings things up (`Starter`), one for each container being stopped, one that winds the pod
up, one that writes its status. Each task ends with a fresh look at the runtime, so that the next step
decides on what is. Tasks that are under way are never started twice.

A pod lives, then ends (deleted, past its deadline, done, failed), then is wound up: sandbox stopped,
last status written, volumes and cgroup gone. If it was deleted, it is then removed from the API, and
once it is gone there, from the runtime.
"""

import asyncio
import logging
import shutil
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from skiff.aio.clock import parse_rfc3339, rfc3339
from skiff.api.errors import ApiError, Conflict, NotFound
from skiff.api.resources import PODS
from skiff.api.views.pod import Pod, PodStatus
from skiff.node.inputs import InputsNotReady
from skiff.node.lifecycle.backoff import Backoffs, go_duration
from skiff.node.lifecycle.conditions import DISRUPTION, OWNED
from skiff.node.lifecycle.model import (
    Health,
    Observed,
    SeenContainer,
    Waiting,
    each_container,
    grace_period_s,
)
from skiff.node.lifecycle.phase import TERMINAL
from skiff.node.lifecycle.plan import Hold, Plan, plan, should_restart
from skiff.node.lifecycle.status import Circumstances, Verdict, pod_status, rejected_status
from skiff.node.lifecycle.termination import plan_ending
from skiff.node.reporter import Reporter
from skiff.node.resizing import Resizer
from skiff.node.runtime import RuntimeRemoteError
from skiff.node.starting import Abandoned, Starter, remove_logs
from skiff.node.stopping import Stopper
from skiff.node.tools import NORMAL, WARNING, PodTools, described

RETRY_S = 1.0
FORCED_GRACE_S = 1
EVICTED = "Evicted"
DEADLINE_REASON = "DeadlineExceeded"
DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"

log = logging.getLogger(__name__)


class PodWorker:
    """See the module's text. `rejected` is why the node does not take the pod; `static`: it is not of
    the API, which only has a mirror of it, that its status is written to."""

    def __init__(
        self,
        tools: PodTools,
        pod: Pod,
        rejected: Verdict | None = None,
        *,
        static: bool = False,
    ) -> None:
        self._tools = tools
        self._pod = pod
        self.static = static
        self._mirror: Pod | None = None
        self._own: PodStatus | None = None
        self._gone = False
        self._rejected = rejected
        self._verdict: Verdict | None = None
        self._began_at: float | None = None
        self._grace_s = 0
        self._wound_up = False
        self._removal_asked = False
        self._done = False
        self._retry_at = 0.0
        self._wake = asyncio.Event()
        self._backoffs = Backoffs()
        self._starter = Starter(tools, self._backoffs)
        self._resizer = Resizer(
            tools, lambda: tools.neighbours(pod.metadata.uid), tools.allocatable
        )
        self._reporter = Reporter(tools.client, tools.clock)
        self._group: asyncio.TaskGroup | None = None
        self._starting: asyncio.Task[None] | None = None
        self._resetting: asyncio.Task[None] | None = None
        # Something may have been started that the picture does not show: set when starting begins,
        # cleared by a look at the runtime after it ended. Nothing is decided on a stale picture.
        self._stale = False
        self._looking: asyncio.Task[None] | None = None
        self._winding: asyncio.Task[None] | None = None
        self._stopper = Stopper(tools, self._spawn, self.wake)
        self._told_holds: dict[str, float] = {}
        # Containers that are stopped to be started anew, whatever the restart policy says.
        self._replaced: frozenset[str] = frozenset()
        # Containers that were stopped, to be started anew at once where their policy says so: nobody
        # sees them ended.
        self._stopped: frozenset[str] = frozenset()
        # What is being started: the picture still shows what it replaces.
        self._bringing: frozenset[str] = frozenset()
        self._started_at = ""

    # ---- what the node calls

    @property
    def uid(self) -> str:
        return self._pod.metadata.uid

    @property
    def active(self) -> bool:
        """Whether the pod takes up resources of the node."""
        return self._rejected is None and not self._wound_up and not self._gone

    def update(self, pod: Pod) -> None:
        """The pod changed in the API."""
        changed_spec = pod.spec != self._pod.spec
        self._pod = pod
        self._reporter.reconcile(pod)
        self.wake(hurry=changed_spec)

    def gone(self) -> None:
        """The pod is no longer in the API (a static one: in the directory)."""
        self._gone = True
        self.wake()

    def mirrored(self, mirror: Pod | None) -> None:
        """The mirror of this static pod came, changed or went."""
        before, self._mirror = self._mirror, mirror
        if mirror is not None:
            if before is None or before.metadata.uid != mirror.metadata.uid:
                self._reporter.forget()
            else:
                self._reporter.reconcile(mirror)
        self.wake()

    def evict(self, message: str, *, disrupts: bool) -> None:
        """End the pod: for the node's sake (`disrupts`), or because it exceeds a limit."""
        if self._began_at is None and self._verdict is None and self._rejected is None:
            pod = self.view()
            self._verdict = Verdict(EVICTED, message, disrupts)
            self._tools.events.pod(pod, WARNING, EVICTED, message)
            self._begin_ending(FORCED_GRACE_S, self._tools.clock.now())
            self.wake()

    @property
    def evictable(self) -> bool:
        """Whether the pod lives: eviction would free something."""
        return self.active and self._began_at is None

    def wake(self, *, hurry: bool = False) -> None:
        """Look again soon; with `hurry`, also at what is waiting to be tried again."""
        if hurry:
            self._starter.retry_at = 0.0
        self._wake.set()

    def view(self) -> Pod:
        """The pod with the status that this worker knows: what the API shows lags behind."""
        if self._own is None:
            return self._pod
        ours = (*OWNED, DISRUPTION) if self._verdict and self._verdict.disrupts else OWNED
        others = [c for c in self._pod.status.conditions if c.type not in ours]
        mine = [c for c in self._own.conditions if c.type in ours]
        status = msgspec.structs.replace(
            self._own,
            conditions=(*mine, *others),
            nominated_node_name=self._pod.status.nominated_node_name,
        )
        return msgspec.structs.replace(self._pod, status=status)

    @property
    def waits_for_room(self) -> bool:
        """Whether a resize of the pod pends."""
        return self._resizer.pending

    def allocated(self) -> Pod:
        """The pod with the resources that the node has admitted."""
        return self._resizer.allocated(self.view())

    async def run(self) -> None:
        """Work until the pod is gone for good."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                while not self._done:
                    self._wake.clear()
                    await self._pause(self._step())
        finally:
            self._tools.probes.forget(self.uid)

    async def _pause(self, wake_at: float | None) -> None:
        timer = None
        if wake_at is not None:
            delay = max(0.0, wake_at - self._tools.clock.now())
            timer = asyncio.get_running_loop().call_later(delay, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    # ---- the step

    def _step(self) -> float | None:
        """Decide and act once; when to look again, if nothing happens before."""
        if not self._tools.observer.synced.is_set():
            return self._tools.clock.now() + RETRY_S
        observed = self._tools.observer.pod(self.uid)
        pod, now = self.view(), self._tools.clock.now()
        if self._rejected is not None:
            return self._step_rejected(pod, self._rejected)
        self._started_at = pod.status.start_time or self._started_at or rfc3339(now)
        if not self._wound_up:
            ips = observed.sandbox.ips if observed.sandbox else ()
            if pod.spec.host_network:
                ips = self._tools.facts().ips
            self._tools.probes.sync(pod, observed, ips)
        for container in observed.running():
            # It runs after all: what was said of a failed start no longer holds.
            if container.status.id not in self._starter.hooking:
                self._starter.waiting.pop(container.status.name, None)
        health = self._health()
        self._maybe_begin_ending(pod, now)
        wake_at = None
        if self._stale and self._starting is None:
            if self._looking is None:
                self._looking = self._spawn(self._look(), "look")
        else:
            if self._began_at is None:
                wake_at = self._step_living(pod, observed, health, now)
            if self._began_at is not None:
                wake_at = self._step_ending(pod, observed, now)
        self._report(pod, observed, health, now)
        return wake_at

    def _health(self) -> Health:
        health = self._tools.probes.health(self.uid)
        if self._starter.hooking:
            health = replace(health, starting=health.starting | self._starter.hooking)
        return replace(health, replaced=self._replaced) if self._replaced else health

    def _step_rejected(self, pod: Pod, verdict: Verdict) -> float | None:
        """A pod that the node does not take only gets its status, and is removed when deleted."""
        if self._gone:
            self._done = True
            return None
        self._write(rejected_status(pod, verdict, self._around()))
        if pod.metadata.deletion_timestamp and self._reporter.idle:
            self._wound_up = True
            self._remove_when_idle()
        return None

    # ---- while it lives

    def _step_living(
        self, pod: Pod, observed: Observed, health: Health, now: float
    ) -> float | None:
        wanted = plan(pod, observed, health, self._backoffs, now)
        if self._resetting is not None:
            return None
        if wanted.resets:
            if self._starting is None:
                self._resetting = self._spawn(self._reset(pod, wanted.resets), "reset")
            return None
        for hold in wanted.holds:
            if hold.name not in self._bringing:
                self._note_hold(pod, hold)
        if wanted.finish:
            self._begin_ending(grace_period_s(pod), now)
            return None
        known = {c.status.id for c in observed.containers}
        self._replaced &= known
        self._stopped = (self._stopped & known) | {s.container_id for s in wanted.stops}
        for stop in (*wanted.stops, *self._resizer.step(pod, observed, self._spawn)):
            if stop.replaces:
                self._replaced |= {stop.container_id}
            self._stopper.stop(pod, stop)
        pod = self._resizer.allocated(pod)
        wakes = [wanted.wake_at, self._deadline(pod)]
        if (wanted.create_sandbox or wanted.starts) and self._starting is None:
            retry_at = max(self._starter.retry_at, self._retry_at)
            if retry_at > now:
                wakes.append(retry_at)
            else:
                self._starting = self._spawn(self._bring_up(wanted), "bring up")
        return min((w for w in wakes if w is not None), default=None)

    async def _bring_up(self, wanted: Plan) -> None:
        def replan() -> Plan:
            now = self._tools.clock.now()
            observed = self._tools.observer.pod(self.uid)
            anew = plan(pod, observed, self._health(), self._backoffs, now)
            self._bringing = frozenset(s.name for s in anew.starts)
            return anew

        self._stale = True
        self._bringing = frozenset(s.name for s in wanted.starts)
        # With the status of this step, which the first step's pod has not: the downward API shows it.
        pod = self._resizer.allocated(self.view())
        try:
            await self._starter.bring_up(pod, wanted, replan)
        except Abandoned:
            log.debug("pod %s: ends while it is brought up", described(pod))
        except RuntimeRemoteError as e:
            log.debug("pod %s: %s", described(pod), e)
            self._retry_at = self._tools.clock.now() + RETRY_S
        finally:
            self._starting = None
            self._bringing = frozenset()
            self.wake()

    async def _reset(self, pod: Pod, containers: Sequence[SeenContainer]) -> None:
        """Kill and remove the containers: the pod starts anew in the sandbox that it has."""
        tools = self._tools
        try:
            for container in containers:
                if self._began_at is not None:
                    return
                status = container.status
                if container.running:
                    message = f"Stopping container {status.name}"
                    tools.events.container(pod, status.name, NORMAL, "Killing", message)
                    await tools.runtime.stop_container(status.id, 0)
                await tools.runtime.remove_container(status.id)
                if tools.on_disk and status.log_path:
                    remove_logs(status.log_path)
            await tools.observer.refresh()
        except RuntimeRemoteError as e:
            log.debug("pod %s: restarting all containers: %s", described(pod), e)
            await tools.clock.sleep(RETRY_S)
        finally:
            self._resetting = None
            self.wake()

    async def _look(self) -> None:
        """Look at the runtime until it shows what there is."""
        try:
            while self._stale:
                try:
                    await self._tools.observer.refresh()
                    self._stale = False
                except RuntimeRemoteError:
                    await self._tools.clock.sleep(RETRY_S)
        finally:
            self._looking = None
            self.wake()

    def _note_hold(self, pod: Pod, hold: Hold) -> None:
        """A container waits out its back-off: say so, once."""
        where = f"{hold.name} pod={described(pod)}"
        text = f"back-off {go_duration(hold.delay_s)} restarting failed container={where}"
        self._starter.waiting[hold.name] = Waiting("CrashLoopBackOff", text)
        if self._told_holds.get(hold.name) != hold.until:
            self._told_holds[hold.name] = hold.until
            self._tools.events.container(
                pod,
                hold.name,
                WARNING,
                "BackOff",
                f"Back-off restarting failed container {hold.name} in pod {described(pod)}",
            )

    def _deadline(self, pod: Pod) -> float | None:
        seconds = pod.spec.active_deadline_seconds
        if seconds is None:
            return None
        return parse_rfc3339(self._started_at) + seconds

    # ---- how it ends

    def _maybe_begin_ending(self, pod: Pod, now: float) -> None:
        deadline = self._deadline(pod)
        if self._gone and self.static:
            self._begin_ending(grace_period_s(pod), now)
        elif self._gone and not pod.metadata.deletion_timestamp:
            self._begin_ending(FORCED_GRACE_S, now)
        elif pod.metadata.deletion_timestamp or self._gone:
            self._begin_ending(max(grace_period_s(pod), FORCED_GRACE_S), now)
        elif self._began_at is not None:
            return
        elif pod.status.phase in TERMINAL or self._pod.status.phase in TERMINAL:
            self._begin_ending(grace_period_s(pod), now)
        elif deadline is not None and now >= deadline:
            self._verdict = Verdict(DEADLINE_REASON, DEADLINE_MESSAGE)
            self._tools.events.pod(pod, NORMAL, DEADLINE_REASON, DEADLINE_MESSAGE)
            self._begin_ending(grace_period_s(pod), now)

    def _begin_ending(self, grace_s: int, now: float) -> None:
        """From now on nothing is started. Called again, the grace period may only become shorter."""
        if self._began_at is None:
            self._began_at, self._grace_s = now, grace_s
        self._grace_s = min(self._grace_s, grace_s)

    def _step_ending(self, pod: Pod, observed: Observed, now: float) -> float | None:
        assert self._began_at is not None
        if self._starting is not None:
            self._starter.abandon(self._starting)
            return None
        if self._wound_up:
            self._remove_when_idle()
            return None
        ending = plan_ending(pod, observed, self._grace_s, self._began_at, now)
        for stop in ending.stops:
            self._stopper.stop(pod, stop)
        busy = not self._stopper.idle or self._resetting is not None
        if ending.ended and not busy and self._winding is None:
            self._winding = self._spawn(self._wind_up(pod), "wind up")
        return ending.wake_at

    async def _wind_up(self, pod: Pod) -> None:
        """Nothing runs any more: take down the sandbox, volumes and cgroup."""
        tools = self._tools
        try:
            # What was being started when the end began may have come to be.
            await tools.observer.refresh()
            if tools.observer.pod(self.uid).running():
                return
            for sandbox in tools.observer.pod(self.uid).sandboxes:
                await tools.runtime.stop_sandbox(sandbox.id)
            await tools.observer.refresh()
            await tools.inputs.tear_down(self.uid)
        except (RuntimeRemoteError, InputsNotReady) as e:
            log.debug("pod %s: winding up: %s", described(pod), e)
            await tools.clock.sleep(RETRY_S)
        else:
            if tools.cgroups is not None:
                tools.cgroups.remove_pod(self.uid)
            self._wound_up = True
        finally:
            self._winding = None
            self.wake()

    def _remove_when_idle(self) -> None:
        """The pod is wound up: remove it from the API where it was deleted, then from the runtime."""
        if self._winding is not None:
            return
        if self._gone:
            self._winding = self._spawn(self._remove_from_runtime(), "remove")
        elif self._removal_asked or not self._pod.metadata.deletion_timestamp:
            return
        elif self._reporter.idle and self._reported_end():
            self._winding = self._spawn(self._remove_from_api(), "delete")

    def _reported_end(self) -> bool:
        return self._rejected is not None or self._reporter.sent.get("phase") in TERMINAL

    async def _remove_from_api(self) -> None:
        meta = self._pod.metadata
        try:
            await self._tools.client.delete(
                PODS, meta.name, meta.namespace, uid=meta.uid, grace_period_s=0
            )
            self._removal_asked = True  # the informer tells when it is gone; finalizers may hold it
        except (NotFound, Conflict):
            self._gone = True
        except ApiError as e:
            log.debug("deleting pod %s: %s", described(self._pod), e)
            await self._tools.clock.sleep(RETRY_S)
        finally:
            self._winding = None
            self.wake()

    async def _remove_from_runtime(self) -> None:
        tools, meta = self._tools, self._pod.metadata
        try:
            observed = tools.observer.pod(self.uid)
            for container in observed.containers:
                await tools.runtime.remove_container(container.status.id)
            for sandbox in observed.sandboxes:
                await tools.runtime.remove_sandbox(sandbox.id)
            await tools.observer.refresh()
        except RuntimeRemoteError as e:
            log.debug("removing pod %s: %s", described(self._pod), e)
            await tools.clock.sleep(RETRY_S)
        else:
            if tools.on_disk:
                directory = tools.config.pod_log_dir(meta.namespace, meta.name, meta.uid)
                shutil.rmtree(directory, ignore_errors=True)
            self._done = True
        finally:
            self._winding = None
            self.wake()

    # ---- status

    def _around(self) -> Circumstances:
        facts = self._tools.facts()
        return Circumstances(
            node_ips=facts.ips,
            runtime_name=facts.runtime_name,
            now=self._tools.clock.now(),
            started_at=self._started_at,
            waiting=self._starter.waiting,
            verdict=self._verdict,
            ending=self._began_at is not None,
            ended=self._wound_up,
            actual=self._resizer.actual(),
            resize=self._resizer.conditions(),
        )

    def _report(self, pod: Pod, observed: Observed, health: Health, now: float) -> None:
        del now
        if self._gone or self._between(pod, observed, health):
            return
        status = pod_status(self._resizer.allocated(pod), observed, health, self._around())
        ending = self._began_at is not None and not self._wound_up
        if ending and status["phase"] not in TERMINAL and not observed.running():
            return  # that its containers have ended is told together with its last phase
        self._write(status)

    def _between(self, pod: Pod, observed: Observed, health: Health) -> bool:
        """Whether a container that was stopped on purpose is about to be started anew: its end is told
        with the start that follows, or with the reason why there is none yet."""
        if self._began_at is not None or not self._stopped:
            return False
        for kind, container in each_container(pod):
            seen = observed.latest(container.name)
            if seen is None or not seen.exited or seen.status.id not in self._stopped:
                continue
            comes_back = seen.status.id in health.replaced or should_restart(
                pod, kind, container, seen
            )
            if comes_back and container.name not in self._starter.waiting:
                return True
        return False

    def _write(self, status: dict[str, Any]) -> None:
        self._own = msgspec.convert(status, PodStatus)
        if self.static and self._mirror is None:
            return
        if self._reporter.want(status):
            self._spawn(self._write_status(), "status")

    async def _write_status(self) -> None:
        await self._reporter.write(self._mirror or self._pod)
        if self._began_at is not None or self._rejected is not None:
            self.wake()

    # ---- tasks

    def _spawn(self, work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        assert self._group is not None
        return self._group.create_task(work, name=f"{what} {self._pod.metadata.name}")


WorkerFactory = Callable[[Pod, Verdict | None], PodWorker]
