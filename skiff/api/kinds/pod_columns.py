"""A pod's columns: the status word, readiness and restarts that `kubectl get pods` shows.

The status is not the phase: it is the most telling reason among the pod's, its init containers' and
its containers' (`Init:0/1`, `CrashLoopBackOff`, `Completed`, `Terminating`, …).

Source: the columns of Kubernetes v1.36; https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from typing import Any

from skiff.api.kinds.columns import (
    AGE,
    NAME,
    NONE,
    Columns,
    columns,
    human_duration,
    seconds_of,
    since,
)

_COLUMNS = columns(
    NAME, "Ready", "Status", "Restarts", AGE, "IP*", "Node*", "Nominated Node*", "Readiness Gates*"
)


def _terminated_reason(state: dict[str, Any], prefix: str = "") -> str:
    """The word for a terminated container: its reason, else its signal or exit code."""
    if state.get("reason"):
        return f"{prefix}{state['reason']}"
    if state.get("signal"):
        return f"{prefix}Signal:{state['signal']}"
    return f"{prefix}ExitCode:{state.get('exitCode', 0)}"


def _condition(pod: dict[str, Any], kind: str) -> dict[str, Any] | None:
    found = pod.get("status", {}).get("conditions", ())
    return next((c for c in found if c.get("type") == kind), None)


class _Summary:
    """What the walk over a pod's container statuses finds."""

    def __init__(self, pod: dict[str, Any]) -> None:
        self.pod = pod
        self.spec: dict[str, Any] = pod.get("spec", {})
        self.status: dict[str, Any] = pod.get("status", {})
        self.total = len(self.spec.get("containers", ()))
        self.ready = 0
        self.restarts = 0
        self.last_restart: float = 0.0
        self.sidecar_restarts = 0
        self.sidecar_last_restart: float = 0.0
        self.reason: str = self.status.get("reason") or self.status.get("phase", "")
        gated = _condition(pod, "PodScheduled")
        if gated and gated.get("reason") == "SchedulingGated":
            self.reason = "SchedulingGated"
        initializing = self._init_containers()
        initialized = _condition(pod, "Initialized")
        if not initializing or (initialized and initialized.get("status") == "True"):
            self._containers()
        self._deletion()

    def _restarted(self, status: dict[str, Any], sidecar: bool) -> None:
        count = status.get("restartCount", 0)
        finished = (status.get("lastState", {}).get("terminated") or {}).get("finishedAt")
        at = seconds_of(finished) if finished else 0.0
        self.restarts += count
        self.last_restart = max(self.last_restart, at)
        if sidecar:
            self.sidecar_restarts += count
            self.sidecar_last_restart = max(self.sidecar_last_restart, at)

    def _init_containers(self) -> bool:
        """Sets the reason from the first init container that is not done; true when there is one."""
        specs = {c.get("name"): c for c in self.spec.get("initContainers", ())}
        sidecars = {n for n, c in specs.items() if c.get("restartPolicy") == "Always"}
        self.total += len(sidecars)
        found = self.status.get("initContainerStatuses", ())
        for i, status in enumerate(found):
            sidecar = status.get("name") in sidecars
            self._restarted(status, sidecar)
            state = status.get("state", {})
            terminated = state.get("terminated")
            if terminated and not terminated.get("exitCode"):
                continue
            if sidecar and status.get("started"):
                if status.get("ready"):
                    self.ready += 1
                continue
            if terminated:
                self.reason = _terminated_reason(terminated, "Init:")
            elif (state.get("waiting") or {}).get("reason", "PodInitializing") != "PodInitializing":
                self.reason = "Init:" + state["waiting"]["reason"]
            else:
                self.reason = f"Init:{i}/{len(specs)}"
            return True
        return False

    def _containers(self) -> None:
        self.restarts = self.sidecar_restarts
        self.last_restart = self.sidecar_last_restart
        running = False
        for status in reversed(self.status.get("containerStatuses", [])):
            self._restarted(status, False)
            state = status.get("state", {})
            waiting, terminated = state.get("waiting"), state.get("terminated")
            if waiting and waiting.get("reason"):
                self.reason = waiting["reason"]
            elif terminated is not None:
                self.reason = _terminated_reason(terminated)
            elif status.get("ready") and state.get("running") is not None:
                running = True
                self.ready += 1
        if self.reason == "Completed" and running:
            ready = _condition(self.pod, "Ready")
            up = ready is not None and ready.get("status") == "True"
            self.reason = "Running" if up else "NotReady"

    def _deletion(self) -> None:
        if not self.pod["metadata"].get("deletionTimestamp"):
            return
        if self.status.get("reason") == "NodeLost":
            self.reason = "Unknown"
        elif self.status.get("phase") not in ("Succeeded", "Failed"):
            self.reason = "Terminating"

    def restarts_text(self, now: float) -> str:
        if self.restarts and self.last_restart:
            return f"{self.restarts} ({human_duration(now - self.last_restart)} ago)"
        return str(self.restarts)


def _gates_text(pod: dict[str, Any]) -> str:
    gates = pod.get("spec", {}).get("readinessGates")
    if not gates:
        return NONE
    met = 0
    for gate in gates:
        condition = _condition(pod, gate.get("conditionType", ""))
        met += condition is not None and condition.get("status") == "True"
    return f"{met}/{len(gates)}"


def status_word(pod: dict[str, Any]) -> str:
    """The STATUS column's word."""
    return _Summary(pod).reason


def _cells(pod: dict[str, Any], now: float) -> list[Any]:
    found = _Summary(pod)
    meta, spec, status = pod["metadata"], found.spec, found.status
    ips = status.get("podIPs") or ()
    return [
        meta.get("name", ""),
        f"{found.ready}/{found.total}",
        found.reason,
        found.restarts_text(now),
        since(meta.get("creationTimestamp"), now),
        (ips[0].get("ip") if ips else status.get("podIP")) or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _gates_text(pod),
    ]


COLUMNS = Columns(_COLUMNS, _cells)
