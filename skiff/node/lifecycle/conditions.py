"""The pod conditions that the kubelet writes, and how they merge with others' conditions.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-conditions
"""

from collections.abc import Mapping, Sequence
from typing import Any

from skiff.api.views.pod import Pod
from skiff.node.lifecycle.model import Kind, each_container
from skiff.node.lifecycle.plan import ALL_RESTARTING

POD_SCHEDULED = "PodScheduled"
READY_TO_START = "PodReadyToStartContainers"
INITIALIZED = "Initialized"
CONTAINERS_READY = "ContainersReady"
READY = "Ready"
RESIZE_PENDING = "PodResizePending"
RESIZE_IN_PROGRESS = "PodResizeInProgress"
# Of others too: whoever ends a pod early says so here.
DISRUPTION = "DisruptionTarget"
OWNED = (
    READY_TO_START, INITIALIZED, READY, CONTAINERS_READY, POD_SCHEDULED, RESIZE_PENDING, RESIZE_IN_PROGRESS,
    ALL_RESTARTING,
)  # fmt: skip

BY_KUBELET = "TerminationByKubelet"  # the reason of a DisruptionTarget of ours

Condition = dict[str, Any]
Statuses = Mapping[str, Mapping[str, Any]]


def is_ours(condition: Mapping[str, Any]) -> bool:
    """Whether the condition is the kubelet's to write."""
    return condition["type"] in OWNED or (
        condition["type"] == DISRUPTION and condition.get("reason") == BY_KUBELET
    )


def pod_conditions(
    pod: Pod,
    phase: str,
    statuses: Statuses,
    *,
    sandbox_ready: bool,
    now: str,
    more: Sequence[Condition] = (),
) -> list[Condition]:
    """All conditions of the pod: ours as they are now, others' as they were. `statuses` are the
    container statuses by name; `now` is written where a condition changed; `more` are conditions of
    ours that are there only at times."""
    ready = _containers_ready(pod, phase, statuses)
    fresh = [
        _condition(READY_TO_START, sandbox_ready),
        _initialized(pod, phase, statuses),
        _ready(pod, ready),
        ready,
        _condition(POD_SCHEDULED, True),
        *(dict(c) for c in more),
    ]
    before = {c.type: c for c in pod.status.conditions}
    result: list[Condition] = []
    for condition in fresh:
        old = before.get(condition["type"])
        same = old is not None and old.status == condition["status"] and old.last_transition_time
        condition["lastTransitionTime"] = old.last_transition_time if old and same else now
        if pod.metadata.generation:
            condition["observedGeneration"] = pod.metadata.generation
        result.append(condition)
    ours = (*OWNED, *(c["type"] for c in more))
    result += [_kept(c) for c in pod.status.conditions if c.type not in ours]
    return result


def _kept(condition: Any) -> Condition:
    pairs = (
        ("type", condition.type),
        ("status", condition.status),
        ("reason", condition.reason),
        ("message", condition.message),
        ("lastProbeTime", condition.last_probe_time),
        ("lastTransitionTime", condition.last_transition_time),
        ("observedGeneration", condition.observed_generation),
    )
    return {k: v for k, v in pairs if v}


def _condition(kind: str, status: bool, reason: str = "", message: str = "") -> Condition:
    condition: Condition = {"type": kind, "status": "True" if status else "False"}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def _initialized(pod: Pod, phase: str, statuses: Statuses) -> Condition:
    unknown: list[str] = []
    incomplete: list[str] = []
    for kind, container in each_container(pod):
        if kind is Kind.INIT or kind is Kind.SIDECAR:
            status = statuses.get(container.name)
            if status is None:
                unknown.append(container.name)
            elif not (status.get("started") if kind is Kind.SIDECAR else status.get("ready")):
                incomplete.append(container.name)
    if phase == "Succeeded" and not unknown:
        return _condition(INITIALIZED, True, "PodCompleted")
    if _any_regular_ran(pod, statuses):
        return _condition(INITIALIZED, True)
    parts = _listing(
        ("containers with unknown status", unknown),
        ("containers with incomplete status", incomplete),
    )
    if parts:
        return _condition(INITIALIZED, False, "ContainersNotInitialized", parts)
    return _condition(INITIALIZED, True)


def _any_regular_ran(pod: Pod, statuses: Statuses) -> bool:
    """Regular containers start only after initialization, whatever becomes of sidecars later."""
    for container in pod.spec.containers:
        status = statuses.get(container.name, {})
        if "containerID" in status or "terminated" in status.get("lastState", {}):
            return True
    return False


def _containers_ready(pod: Pod, phase: str, statuses: Statuses) -> Condition:
    unknown: list[str] = []
    unready: list[str] = []
    for kind, container in each_container(pod):
        if kind not in (Kind.REGULAR, Kind.SIDECAR):
            continue
        status = statuses.get(container.name)
        if status is None:
            unknown.append(container.name)
        elif not status.get("ready"):
            unready.append(container.name)
    if phase == "Succeeded" and not unknown:
        return _condition(CONTAINERS_READY, False, "PodCompleted")
    if phase == "Failed":
        return _condition(CONTAINERS_READY, False, "PodFailed")
    parts = _listing(
        ("containers with unknown status", unknown), ("containers with unready status", unready)
    )
    if parts:
        return _condition(CONTAINERS_READY, False, "ContainersNotReady", parts)
    return _condition(CONTAINERS_READY, True)


def _ready(pod: Pod, containers_ready: Condition) -> Condition:
    if containers_ready["status"] != "True":
        return {**containers_ready, "type": READY}
    present = {c.type: c.status for c in pod.status.conditions}
    problems = []
    for gate in pod.spec.readiness_gates:
        status = present.get(gate.condition_type)
        if status is None:
            problems.append(
                f'corresponding condition of pod readiness gate "{gate.condition_type}" does not exist.'
            )
        elif status != "True":
            problems.append(
                f'the status of pod readiness gate "{gate.condition_type}" is not "True", but {status}'
            )
    if problems:
        return _condition(READY, False, "ReadinessGatesNotReady", ", ".join(problems))
    return _condition(READY, True)


def _listing(*groups: tuple[str, Sequence[str]]) -> str:
    return ", ".join(f"{label}: [{' '.join(names)}]" for label, names in groups if names)
