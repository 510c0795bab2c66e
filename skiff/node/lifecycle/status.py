"""The pod's status: phase, addresses, what each container does.

`pod_status` computes the whole status from what is known; the writer sends what changed. What the
runtime no longer has (after a reboot, say) is taken from the status that was written before.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#PodStatus
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from skiff.aio.clock import rfc3339
from skiff.api.views.container import ResourceRequirements
from skiff.api.views.pod import ContainerStatus as WrittenStatus
from skiff.api.views.pod import Pod
from skiff.node.lifecycle.conditions import pod_conditions
from skiff.node.lifecycle.model import (
    AnyContainer,
    Health,
    Kind,
    Observed,
    SeenContainer,
    Waiting,
    each_container,
)
from skiff.node.lifecycle.phase import phase_of, sticky_phase
from skiff.node.lifecycle.plan import should_restart
from skiff.node.lifecycle.qos import qos_class
from skiff.node.runtime import ContainerState

CONTAINER_CREATING = "ContainerCreating"
POD_INITIALIZING = "PodInitializing"
LOST_EXIT_CODE = 137
LOST_REASON = "ContainerStatusUnknown"
LOST_MESSAGE = (
    "The container could not be located when the pod was deleted.  The container used to be Running"
)
INIT_LOST_MESSAGE = (
    "Unable to get init container status from container runtime and pod has been initialized, "
    "but treat it as exited normally"
)

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the kubelet itself decided of the pod: it failed, for this reason (a deadline, admission)."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the status depends on beside the pod and the runtime. `waiting` says why containers do not
    run, by name; `actual` what running containers have, where that is not the spec's; `resize` are
    conditions about resizes; `ending` is set once nothing of the pod is started again; `ended` once nothing runs."""

    node_ips: tuple[str, ...]
    runtime_name: str
    now: float
    started_at: str = ""
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    verdict: Verdict | None = None
    ending: bool = False
    ended: bool = False
    actual: Mapping[str, ResourceRequirements] = field(default_factory=dict)
    resize: Sequence[Mapping[str, Any]] = ()


def pod_status(pod: Pod, observed: Observed, health: Health, around: Circumstances) -> Status:
    """The status to report."""
    by_kind: dict[Kind, list[Status]] = {kind: [] for kind in Kind}
    statuses: dict[str, Status] = {}
    initialized = _initialized(pod, observed)
    for kind, container in each_container(pod):
        found = _container_status(pod, kind, container, observed, health, around, initialized)
        by_kind[kind].append(found)
        statuses[container.name] = found
    phase = "Failed" if around.verdict else phase_of(pod, statuses, ended=around.ended)
    phase = sticky_phase(pod, phase)
    sandbox = observed.sandbox
    ips = sandbox.ips if sandbox and sandbox.ready else ()
    if pod.spec.host_network:
        ips = around.node_ips
    status: Status = {
        "phase": phase,
        "conditions": pod_conditions(
            pod,
            phase,
            statuses,
            sandbox_ready=bool(sandbox and sandbox.ready and ips) and not around.ended,
            now=rfc3339(around.now),
            more=[dict(c) for c in around.resize],
        ),
        "hostIP": around.node_ips[0],
        "hostIPs": [{"ip": ip} for ip in around.node_ips],
        "startTime": pod.status.start_time or around.started_at or rfc3339(around.now),
        "qosClass": pod.status.qos_class or qos_class(pod),
    }
    if pod.metadata.generation:
        status["observedGeneration"] = pod.metadata.generation
    _add_addresses(pod, status, ips)
    _add_verdict(pod, status, around.verdict)
    init_names = {c.name for c in pod.spec.init_containers}
    for key, group in (
        ("initContainerStatuses", [s for n, s in statuses.items() if n in init_names]),
        ("containerStatuses", by_kind[Kind.REGULAR]),
        ("ephemeralContainerStatuses", by_kind[Kind.EPHEMERAL]),
    ):
        if group:
            status[key] = group
    return status


def rejected_status(pod: Pod, verdict: Verdict, around: Circumstances) -> Status:
    """The status of a pod that the node does not take: failed, with nothing started."""
    status: Status = {
        "phase": "Failed",
        "reason": verdict.reason,
        "message": f"Pod was rejected: {verdict.message}",
        "startTime": pod.status.start_time or rfc3339(around.now),
    }
    if pod.metadata.generation:
        status["observedGeneration"] = pod.metadata.generation
    return status


def _add_addresses(pod: Pod, status: Status, ips: Sequence[str]) -> None:
    if not ips and pod.status.pod_ip:
        # Kept to the end, so that who looks at a dead pod can tell which address it had.
        ips = [p.ip for p in pod.status.pod_ips] or [pod.status.pod_ip]
    if ips:
        status["podIP"] = ips[0]
        status["podIPs"] = [{"ip": ip} for ip in ips]


def _add_verdict(pod: Pod, status: Status, verdict: Verdict | None) -> None:
    reason = verdict.reason if verdict else pod.status.reason
    message = verdict.message if verdict else pod.status.message
    if reason:
        status["reason"] = reason
    if message:
        status["message"] = message


# ---- containers


def _initialized(pod: Pod, observed: Observed) -> bool:
    return any(observed.latest(c.name) is not None for c in pod.spec.containers) or any(
        s.container_id for s in pod.status.container_statuses
    )


def _container_status(
    pod: Pod,
    kind: Kind,
    container: AnyContainer,
    observed: Observed,
    health: Health,
    around: Circumstances,
    initialized: bool,
) -> Status:
    history = observed.history(container.name)
    waiting = around.waiting.get(container.name)
    if not history:
        status = _without_runtime(pod, kind, container, around, initialized)
    else:
        status = _from_runtime(pod, kind, container, history, waiting, around)
    latest = history[0] if history else None
    if kind is Kind.INIT:
        end = status["state"].get("terminated")
        status["ready"] = end is not None and end["exitCode"] == 0
        status["started"] = "running" in status["state"]
    elif kind is Kind.EPHEMERAL:
        status["ready"] = False
    else:
        status["started"] = health.started(latest)
        status["ready"] = health.ready(latest) and not around.ended
    _add_resources(container, status, around)
    return status


def _base(container: AnyContainer, around: Circumstances, initializing: bool) -> Status:
    del around
    reason = POD_INITIALIZING if initializing else CONTAINER_CREATING
    return {
        "name": container.name,
        "state": {"waiting": {"reason": reason}},
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "image": container.image,
        "imageID": "",
    }


def _without_runtime(
    pod: Pod, kind: Kind, container: AnyContainer, around: Circumstances, initialized: bool
) -> Status:
    """Of a container that the runtime does not know: not made yet, or lost."""
    has_init = bool(pod.spec.init_containers) and kind is not Kind.EPHEMERAL
    status = _base(container, around, has_init)
    written = _written(pod, container.name)
    if written is not None:
        kept = _as_dict(written)
        if "terminated" in kept.get("state", {}):
            return kept | {"lastState": kept.get("lastState", {})}
        status["restartCount"] = written.restart_count
        status["lastState"] = kept.get("lastState", {})
        if "running" in kept.get("state", {}) and kind is not Kind.INIT:
            status["restartCount"] += 1
            lost = {
                "exitCode": LOST_EXIT_CODE,
                "reason": LOST_REASON,
                "message": LOST_MESSAGE,
            }
            if pod.metadata.deletion_timestamp or around.ending:
                status["state"] = {"terminated": lost}
            else:
                status["lastState"] = {"terminated": lost}
    if kind is Kind.INIT and initialized:
        status["state"] = {
            "terminated": {
                "exitCode": 0,
                "reason": "Completed",
                "message": INIT_LOST_MESSAGE,
            }
        }
        return status
    waiting = around.waiting.get(container.name)
    if waiting is not None and "waiting" in status["state"]:
        status["state"] = {"waiting": _waiting(waiting)}
    return status


def _from_runtime(
    pod: Pod,
    kind: Kind,
    container: AnyContainer,
    history: Sequence[SeenContainer],
    waiting: Waiting | None,
    around: Circumstances,
) -> Status:
    latest, runtime = history[0], history[0].status
    status: Status = {
        "name": container.name,
        "state": {},
        "lastState": {},
        "ready": False,
        "restartCount": runtime.attempt,
        "image": runtime.image or container.image,
        "imageID": runtime.image_ref,
        "containerID": f"{around.runtime_name}://{runtime.id}",
    }
    previous = next((c for c in history[1:] if c.exited), None)
    if previous is not None:
        status["lastState"] = {"terminated": _terminated(previous, around.runtime_name)}
    else:
        written = _written(pod, container.name)
        if written is not None and written.last_state is not None and runtime.attempt:
            status["lastState"] = _as_dict(written).get("lastState", {})
    if runtime.state is ContainerState.RUNNING:
        status["state"] = {"running": {"startedAt": rfc3339(runtime.started_at)}}
    elif runtime.state is ContainerState.EXITED:
        end = {"terminated": _terminated(latest, around.runtime_name)}
        comes_back = not around.ending and should_restart(pod, kind, container, latest)
        if waiting is not None and comes_back:
            status["state"], status["lastState"] = {"waiting": _waiting(waiting)}, end
        else:
            status["state"] = end
    else:
        found = waiting or Waiting(CONTAINER_CREATING)
        status["state"] = {"waiting": _waiting(found)}
    _add_mounts(container, status)
    return status


def _terminated(container: SeenContainer, runtime_name: str) -> Status:
    runtime = container.status
    end: Status = {
        "exitCode": runtime.exit_code,
        "reason": runtime.reason or ("Completed" if runtime.exit_code == 0 else "Error"),
        "startedAt": rfc3339(runtime.started_at),
        "finishedAt": rfc3339(runtime.finished_at),
        "containerID": f"{runtime_name}://{runtime.id}",
    }
    message = ": ".join(m for m in (runtime.message, container.message) if m)
    if message:
        end["message"] = message
    return end


def _waiting(waiting: Waiting) -> Status:
    found = {"reason": waiting.reason}
    if waiting.message:
        found["message"] = waiting.message
    return found


def _add_resources(container: AnyContainer, status: Status, around: Circumstances) -> None:
    """What the node has allocated to a running container, and what is in force."""
    if "running" not in status["state"]:
        return
    allocated = container.resources
    if allocated is not None and allocated.requests:
        status["allocatedResources"] = dict(allocated.requests)
    actual = around.actual.get(container.name, allocated)
    if actual is not None:
        status["resources"] = {
            part: dict(amounts)
            for part, amounts in (("limits", actual.limits), ("requests", actual.requests))
            if amounts
        }


def _add_mounts(container: AnyContainer, status: Status) -> None:
    mounts = []
    for mount in container.volume_mounts:
        entry: Status = {"name": mount.name, "mountPath": mount.mount_path}
        if mount.read_only:
            entry["readOnly"] = True
            entry["recursiveReadOnly"] = "Disabled"
        mounts.append(entry)
    if mounts:
        status["volumeMounts"] = mounts


def _written(pod: Pod, name: str) -> WrittenStatus | None:
    for statuses in (
        pod.status.container_statuses,
        pod.status.init_container_statuses,
        pod.status.ephemeral_container_statuses,
    ):
        for status in statuses:
            if status.name == name:
                return status
    return None


def _as_dict(status: WrittenStatus) -> Status:
    """A status that was written before, as it goes over the wire."""
    found: Status = msgspec.to_builtins(status)
    for key, default in (("state", {}), ("lastState", {}), ("ready", False), ("restartCount", 0),
                         ("image", ""), ("imageID", "")):  # fmt: skip
        found.setdefault(key, default)
    for state in (found["state"], found["lastState"]):
        if "terminated" in state:
            state["terminated"].setdefault("exitCode", 0)
    return found
