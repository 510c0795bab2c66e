"""What to do when the machine runs low: which conditions hold, whom to evict, and in what words. Pure.

Pods that use more than they asked for go first, then those of low priority, then those that use most
above what they asked for. Critical pods stay.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from skiff.api.quantity import parse
from skiff.api.taints import tolerated
from skiff.api.views.core import Taint
from skiff.api.views.pod import Pod
from skiff.node.eviction.model import (
    DISK_PRESSURE,
    MEMORY,
    MEMORY_PRESSURE,
    PID_PRESSURE,
    SIGNALS,
    Reading,
    Threshold,
    Usage,
    Usages,
    shown,
)
from skiff.node.lifecycle.qos import BEST_EFFORT, qos_class
from skiff.node.lifecycle.status import Verdict
from skiff.node.resources import CRITICAL_PRIORITY, pod_requests

EVICTED = "Evicted"
TRANSITION_S = 300.0
MEMORY_TAINT = Taint(key="node.kubernetes.io/memory-pressure", effect="NoSchedule")
CONDITIONS = (MEMORY_PRESSURE, DISK_PRESSURE, PID_PRESSURE)

Readings = Mapping[str, Reading]


@dataclass(slots=True)
class Pressure:
    """Which conditions hold: a condition ends only when nothing was seen of it for `TRANSITION_S`."""

    transition_s: float = TRANSITION_S
    _seen_at: dict[str, float] = field(default_factory=dict)

    def observe(self, met: Iterable[Threshold], now: float) -> tuple[str, ...]:
        """Note the thresholds that are met now; the conditions that hold."""
        for threshold in met:
            self._seen_at[SIGNALS[threshold.signal][0]] = now
        for condition, at in list(self._seen_at.items()):
            if now - at >= self.transition_s:
                del self._seen_at[condition]
        return tuple(c for c in CONDITIONS if c in self._seen_at)


def met_thresholds(thresholds: Iterable[Threshold], readings: Readings) -> list[Threshold]:
    """The thresholds of whose signals there is too little: memory first."""
    found = [t for t in thresholds if t.signal in readings and t.met(readings[t.signal])]
    return sorted(found, key=lambda t: t.signal != MEMORY)


def is_critical(pod: Pod, static: Collection[str] = ()) -> bool:
    """Whether the node does not do without the pod. `static` are the uids of static pods."""
    return pod.metadata.uid in static or (pod.spec.priority or 0) >= CRITICAL_PRIORITY


def refuse(pod: Pod, conditions: Sequence[str], *, static: bool) -> Verdict | None:
    """Why a node under pressure does not take a pod, or None."""
    if not conditions or static or is_critical(pod):
        return None
    if tuple(conditions) == (MEMORY_PRESSURE,) and (
        qos_class(pod) != BEST_EFFORT or tolerated(pod.spec.tolerations, MEMORY_TAINT)
    ):
        return None
    return Verdict(EVICTED, f"The node had condition: [{' '.join(conditions)}]. ")


def rank(pods: Iterable[Pod], resource: str, usages: Usages) -> list[Pod]:
    """The pods in the order in which they go."""

    def key(pod: Pod) -> tuple[bool, int, int]:
        uses = sum(u.of(resource) for u in usages.get(pod.metadata.uid, {}).values())
        wanted = pod_requests(pod).get(resource)
        above = uses - (wanted.whole() if wanted is not None else 0)
        counted = resource in ("memory", "ephemeral-storage")
        return (counted and above <= 0, pod.spec.priority or 0, -above)

    return sorted(pods, key=key)


def message(pod: Pod, threshold: Threshold, readings: Readings, usages: Mapping[str, Usage]) -> str:
    """What the pod's status says of its eviction. `usages` are its containers'."""
    resource = SIGNALS[threshold.signal][1]
    reading = readings[threshold.signal]
    text = (
        f"The node was low on resource: {resource}. Threshold quantity: "
        f"{shown(threshold.least(reading))}, available: {shown(reading.available)}. "
    )
    if resource not in ("memory", "ephemeral-storage"):
        return text
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        usage = usages.get(container.name)
        given = container.resources.requests if container.resources else {}
        request = parse(given.get(resource, "0"))
        if usage is not None and usage.of(resource) > request.whole():
            text += (
                f"Container {container.name} was using {shown(usage.of(resource))}, "
                f"request is {request}, has larger consumption of {resource}. "
            )
    return text
