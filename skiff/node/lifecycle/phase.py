"""A pod's phase, from its containers' statuses.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase
"""

from collections.abc import Collection, Mapping
from typing import Any

from skiff.api.views.pod import Pod
from skiff.node.lifecycle.model import Kind, each_container
from skiff.node.lifecycle.plan import restarts

PENDING = "Pending"
TERMINAL = ("Succeeded", "Failed")

Status = dict[str, Any]


def sticky_phase(pod: Pod, phase: str) -> str:
    """A phase that ended a pod stays."""
    return pod.status.phase if pod.status.phase in ("Succeeded", "Failed") else phase


def phase_of(
    pod: Pod, statuses: Mapping[str, Status], *, ended: bool, replaced: Collection[str] = ()
) -> str:
    """The phase that the containers' statuses (by name) make; `ended`: nothing runs or will run;
    `replaced`: containers that are started anew whatever the restart policy says."""
    initializing = _init_phase(pod, statuses, replaced)
    if initializing == "Failed":
        return "Failed"
    running = waiting = stopped = succeeded = 0
    for container in pod.spec.containers:
        state, last = _states(statuses[container.name])
        if "running" in state:
            running += 1
        elif "terminated" in state or (ended and "terminated" in last):
            end = state.get("terminated") or last["terminated"]
            stopped += 1
            succeeded += end["exitCode"] == 0
        elif "terminated" in last:
            stopped += 1
        else:
            waiting += 1
    if ended and (stopped or not waiting):
        return "Succeeded" if stopped == succeeded and not waiting else "Failed"
    if ended:
        return "Failed"
    if initializing == "Pending" or waiting:
        return "Pending"
    if running or _sidecar_runs(pod, statuses):
        return "Running"
    if _some_restarts(pod, statuses, replaced):
        return "Running"
    return "Succeeded" if stopped == succeeded else "Failed"


def _init_phase(pod: Pod, statuses: Mapping[str, Status], replaced: Collection[str]) -> str:
    """Pending while init containers have work to do, Failed where one failed for good, else ""."""
    pending = False
    for kind, container in each_container(pod):
        if kind not in (Kind.INIT, Kind.SIDECAR):
            continue
        status = statuses[container.name]
        state, last = _states(status)
        if kind is Kind.SIDECAR:
            pending |= (
                not status.get("started") and "terminated" not in last and "terminated" not in state
            )
            continue
        end = state.get("terminated") or (last.get("terminated") if "waiting" in state else None)
        if container.name in replaced:
            pending = True
        elif end is not None and end["exitCode"] != 0:
            if not restarts(pod, Kind.INIT, container, end["exitCode"]):
                return "Failed"
            pending = True
        else:
            pending |= "terminated" not in state
    return "Pending" if pending and not _regular_ran(pod, statuses) else ""


def _regular_ran(pod: Pod, statuses: Mapping[str, Status]) -> bool:
    return any(
        "containerID" in statuses[c.name] or "terminated" in _states(statuses[c.name])[1]
        for c in pod.spec.containers
    )


def _sidecar_runs(pod: Pod, statuses: Mapping[str, Status]) -> bool:
    """A pod whose work is done still runs until its sidecars have stopped."""
    return any(
        kind is Kind.SIDECAR and "running" in _states(statuses[c.name])[0]
        for kind, c in each_container(pod)
    )


def _some_restarts(pod: Pod, statuses: Mapping[str, Status], replaced: Collection[str]) -> bool:
    """Everything has ended, but something will run again."""
    for container in pod.spec.containers:
        state, last = _states(statuses[container.name])
        end = state.get("terminated") or last.get("terminated")
        if container.name in replaced:
            return True
        if end is not None and restarts(pod, Kind.REGULAR, container, end["exitCode"]):
            return True
    return False


def _states(status: Status) -> tuple[Status, Status]:
    return status["state"], status["lastState"]
