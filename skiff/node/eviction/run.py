"""The loop: every ten seconds it reads the gauges, tells the node's conditions, and while there is too
little, evicts a pod at a time and waits until that has made room. Pods that exceed limits of their
own on the disk go all at once.

What only the node holds goes first: images that nothing uses and that can be pulled again, when the
disk is what is short. Images that were never in a registry stay.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/
"""

import logging
from collections.abc import Callable, Collection, Sequence

from skiff.aio.clock import Clock
from skiff.aio.run import Started
from skiff.api.views.container import ObjectReference
from skiff.api.views.pod import Pod
from skiff.client.events import EventRecorder
from skiff.node.eviction.gauges import Gauges
from skiff.node.eviction.limits import excess, is_limited
from skiff.node.eviction.model import DISK_PRESSURE, SIGNALS, Threshold
from skiff.node.eviction.plan import (
    Pressure,
    Readings,
    is_critical,
    message,
    met_thresholds,
    rank,
)
from skiff.node.runtime import Runtime, RuntimeRemoteError

PERIOD_S = 10.0
CLEANUP_S = 30.0
CLEANUP_POLL_S = 1.0
WARNING = "Warning"

log = logging.getLogger(__name__)


class Evictions:
    """See the module's text. A component. `evict(uid, message, disrupts)` ends a pod; `active` lists the pods that
    may be evicted, `static` the uids of those that may not, `ended` says whether a pod is cleaned up;
    `changed` is called when the conditions are others (`conditions`)."""

    def __init__(
        self,
        thresholds: Sequence[Threshold],
        gauges: Gauges,
        runtime: Runtime,
        clock: Clock,
        recorder: EventRecorder,
        node_name: str,
        *,
        active: Callable[[], Sequence[Pod]],
        static: Callable[[], Collection[str]],
        evict: Callable[[str, str, bool], None],
        ended: Callable[[str], bool],
        changed: Callable[[], None],
    ) -> None:
        self.conditions: tuple[str, ...] = ()
        self._thresholds = thresholds
        self._gauges = gauges
        self._runtime = runtime
        self._clock = clock
        self._recorder = recorder
        self._node = ObjectReference(api_version="v1", kind="Node", name=node_name, uid=node_name)
        self._active = active
        self._static = static
        self._evict = evict
        self._ended = ended
        self._changed = changed
        self._pressure = Pressure()

    async def run(self, started: Started) -> None:
        """Watch until cancelled."""
        await self._look()
        started()
        while True:
            evicted = await self._enforce_limits()
            if not evicted and (uid := await self._relieve()):
                evicted = [uid]
            for uid in evicted:
                await self._cleaned_up(uid)
            if not evicted:
                await self._clock.sleep(PERIOD_S)

    async def _look(self) -> tuple[list[Threshold], Readings]:
        readings = await self._gauges.read()
        met = met_thresholds(self._thresholds, readings)
        before = self.conditions
        self.conditions = self._pressure.observe(met, self._clock.monotonic())
        if self.conditions != before:
            self._changed()
        return met, readings

    async def _relieve(self) -> str:
        """Do something where there is too little; the uid of the pod that was evicted, or ""."""
        met, readings = await self._look()
        if not met:
            return ""
        condition, resource = SIGNALS[met[0].signal]
        self._recorder.record(
            self._node, WARNING, "EvictionThresholdMet", f"Attempting to reclaim {resource}"
        )
        if condition == DISK_PRESSURE:
            await self._remove_unused_images()
            readings = await self._gauges.read()
            met = met_thresholds(self._thresholds, readings)
            if not met:
                return ""
            resource = SIGNALS[met[0].signal][1]
        pods = self._active()
        usages = await self._gauges.usages(pods)
        static = self._static()
        for pod in rank(pods, resource, usages):
            if is_critical(pod, static):
                log.warning("pod %s is critical: it is not evicted", pod.metadata.name)
                continue
            uid = pod.metadata.uid
            self._evict(uid, message(pod, met[0], readings, usages.get(uid, {})), True)
            return uid
        return ""

    async def _enforce_limits(self) -> list[str]:
        """Evict what exceeds limits of its own; the uids."""
        static = self._static()
        limited = [p for p in self._active() if is_limited(p) and not is_critical(p, static)]
        if not limited:
            return []
        stored = await self._gauges.stored(limited)
        evicted = []
        for pod in limited:
            text = excess(pod, stored[pod.metadata.uid])
            if text:
                self._evict(pod.metadata.uid, text, False)
                evicted.append(pod.metadata.uid)
        return evicted

    async def _cleaned_up(self, uid: str) -> None:
        deadline = self._clock.monotonic() + CLEANUP_S
        while not self._ended(uid) and self._clock.monotonic() < deadline:
            await self._clock.sleep(CLEANUP_POLL_S)

    async def _remove_unused_images(self) -> None:
        try:
            used = {c.image_ref for c in await self._runtime.list_containers()}
            for image in await self._runtime.list_images():
                if (
                    image.digests
                    and not image.pinned
                    and used.isdisjoint((image.id, *image.digests))
                ):
                    await self._runtime.remove_image(image.id)
        except RuntimeRemoteError as e:
            log.warning("removing unused images: %s", e)
