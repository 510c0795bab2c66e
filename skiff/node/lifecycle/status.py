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
from skiff.node.lifecycle.conditions import BY_KUBELET, DISRUPTION, pod_conditions
from skiff.node.lifecycle.model import (
    AnyContainer,
    Health,
    Kind,
    Observed,
    SeenContainer,
    Waiting,
    each_container,
    kind_of_init,
)
from skiff.node.lifecycle.phase import PENDING, TERMINAL, phase_of, sticky_phase
from skiff.node.lifecycle.plan import (
    ALL_RESTARTING,
    could_restart_all,
    should_restart,
    to_reset,
)
from skiff.node.lifecycle.qos import qos_class
from skiff.node.runtime import ContainerState

CONTAINER_CREATING = "ContainerCreating"
POD_INITIALIZING = "PodInitializing"
LOST_EXIT_CODE = 137
LOST_REASON = "ContainerStatusUnknown"
LOST_MESSAGE = (
    "The container could not be located when the pod was deleted.  The container used to be Running"
)
LOST_AT_END_MESSAGE = "The container could not be located when the pod was terminated"
RESTARTING_ALL = "RestartingAllContainers"
RESTARTING_ALL_MESSAGE = "The container is removed because RestartAllContainers in place"
INIT_LOST_MESSAGE = (
    "Unable to get init container status from container runtime and pod has been initialized, "
    "treat it as exited normally"
)

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the kubelet itself decided of the pod: it failed, for this reason (a deadline, admission).
    `disrupts`: it is ended for the node's sake, which its DisruptionTarget condition says at its end."""

    reason: str
    message: str
    disrupts: bool = False


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
    phase = (
        "Failed"
        if around.verdict
        else phase_of(
            pod, statuses, ended=around.ended, replaced=_replaced(pod, observed, health, statuses)
        )
    )
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
            more=[
                *(dict(c) for c in around.resize),
                *_disruption(around.verdict, observed),
                *_all_restarting(pod, observed, phase),
            ],
        ),
        "hostIP": around.node_ips[0],
        "hostIPs": [{"ip": ip} for ip in around.node_ips],
        "startTime": pod.status.start_time or around.started_at or rfc3339(around.now),
        "qosClass": pod.status.qos_class or qos_class(pod),
    }
    if pod.metadata.generation:
        status["observedGeneration"] = pod.metadata.generation
    if phase in TERMINAL and pod.status.phase not in TERMINAL and observed.running():
        # The conditions tell at once; the phase only when nothing of the pod uses anything any more.
        status["phase"] = pod.status.phase or PENDING
        _add_verdict(pod, status, None)
    else:
        _add_verdict(pod, status, around.verdict)
    _add_addresses(pod, status, ips)
    init_names = {c.name for c in pod.spec.init_containers}
    first = [s for n, s in statuses.items() if n in init_names]
    if around.ended:
        _settle(first, by_kind[Kind.REGULAR], pod)
    for key, group in (
        ("initContainerStatuses", first),
        ("containerStatuses", sorted(by_kind[Kind.REGULAR], key=_name)),
        ("ephemeralContainerStatuses", sorted(by_kind[Kind.EPHEMERAL], key=_name)),
    ):
        if group:
            status[key] = group
    return status


def _disruption(verdict: Verdict | None, observed: Observed) -> list[Status]:
    if verdict is None or not verdict.disrupts or observed.running():
        return []
    return [
        {
            "type": DISRUPTION,
            "status": "True",
            "reason": BY_KUBELET,
            "message": verdict.message,
        }
    ]


def _all_restarting(pod: Pod, observed: Observed, phase: str) -> list[Status]:
    """Of a pod with a rule that restarts all containers: whether that is under way."""
    if not could_restart_all(pod):
        return []
    told: Status = {"type": ALL_RESTARTING, "status": "False"}
    if phase in TERMINAL:
        told["reason"] = "PodCompleted" if phase == "Succeeded" else "PodFailed"
    elif to_reset(pod, observed):
        told |= {
            "status": "True",
            "reason": "RestartAllContainersStarted",
            "message": "container exited with restart policy rule",
        }
    return [told]


def _replaced(
    pod: Pod, observed: Observed, health: Health, statuses: Mapping[str, Status]
) -> frozenset[str]:
    """The names of containers that are started anew whatever the restart policy says."""
    latest = ((c.name, observed.latest(c.name)) for _, c in each_container(pod))
    replaced = {n for n, seen in latest if seen and seen.status.id in health.replaced}
    return frozenset(replaced | {n for n, status in statuses.items() if _was_reset(status)})


def _was_reset(status: Status) -> bool:
    """Whether it was removed because all containers restart, and has not been started since."""
    end = status["lastState"].get("terminated", {})
    return "waiting" in status["state"] and end.get("reason") == RESTARTING_ALL


def _name(status: Status) -> str:
    return str(status["name"])


def _settle(first: list[Status], regular: list[Status], pod: Pod) -> None:
    """Nothing of the pod runs or will: what may have run has ended, in whatever way. Only init
    containers that were never reached, and what comes after them, still wait."""
    if _was_initialized(pod, first, regular):
        _settle_each(regular)
    reached = [i for i, s in enumerate(first) if _has_run(s)]
    _settle_each(first[: max(reached, default=0) + 1])


def _settle_each(statuses: list[Status]) -> None:
    for status in statuses:
        if "terminated" not in status["state"]:
            status["state"] = {"terminated": _lost(LOST_AT_END_MESSAGE)}


def _has_run(status: Status) -> bool:
    return "waiting" not in status["state"] or "terminated" in status["lastState"]


def _was_initialized(pod: Pod, first: list[Status], regular: list[Status]) -> bool:
    if not first or any(_has_run(s) for s in regular):
        return True
    last = first[-1]
    if kind_of_init(pod.spec.init_containers[-1]) is Kind.SIDECAR:
        return "running" in last["state"] and bool(last.get("started"))
    ends = (last["state"].get("terminated"), last["lastState"].get("terminated"))
    return any(end is not None and end["exitCode"] == 0 for end in ends)


def _lost(message: str) -> Status:
    return {"exitCode": LOST_EXIT_CODE, "reason": LOST_REASON, "message": message}


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
        comes_back = history[0].status.id in health.replaced or should_restart(
            pod, kind, container, history[0]
        )
        status = _from_runtime(pod, container, history, waiting, around, comes_back)
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
    if latest is not None:
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
    status = _base(container, around, bool(pod.spec.init_containers))
    written = _written(pod, container.name)
    if written is not None:
        kept = _as_dict(written)
        if _all_restart(pod) and (written.container_id or _was_reset(kept)):
            why = {"reason": RESTARTING_ALL, "message": RESTARTING_ALL_MESSAGE}
            status["state"] = {"waiting": why}
            status["lastState"] = {"terminated": {"exitCode": LOST_EXIT_CODE, **why}}
            status["restartCount"] = written.restart_count + (not _was_reset(kept))
            return status
        if "terminated" in kept.get("state", {}):
            return kept | {"lastState": kept.get("lastState", {})}
        status["restartCount"] = written.restart_count
        status["lastState"] = kept.get("lastState", {})
        if "running" in kept.get("state", {}) and "terminated" not in status["lastState"]:
            status["lastState"] = {"terminated": _lost(LOST_MESSAGE)}
            if not pod.metadata.deletion_timestamp:
                status["restartCount"] += 1
    if kind is Kind.INIT and initialized and not _was_reset(status):
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


def _all_restart(pod: Pod) -> bool:
    """Whether the last status said that all containers restart."""
    return any(c.type == ALL_RESTARTING and c.status == "True" for c in pod.status.conditions)


def _from_runtime(
    pod: Pod,
    container: AnyContainer,
    history: Sequence[SeenContainer],
    waiting: Waiting | None,
    around: Circumstances,
    comes_back: bool,
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
        if waiting is not None and comes_back and not around.ending:
            status["state"], status["lastState"] = {"waiting": _waiting(waiting)}, end
        else:
            status["state"] = end
    else:
        status["state"] = {"waiting": _waiting(waiting) if waiting else {}}
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
    """What the node has allocated to a container that it made, and what is in force while it runs."""
    actual = allocated = container.resources or ResourceRequirements()
    if allocated.requests:
        status["allocatedResources"] = dict(allocated.requests)
    if "running" in status["state"]:
        actual = around.actual.get(container.name, allocated)
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
