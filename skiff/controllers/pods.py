"""What controllers ask of a pod: is it active, ready, available; which to delete first. Pure.

Source: kubernetes pkg/controller `controller_utils.go` and pkg/api/v1/pod (rules, not code);
https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-a-replicaset.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from skiff.aio.clock import parse_rfc3339
from skiff.api.views.core import Pod, PodCondition

DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
TERMINAL_PHASES: Final = ("Succeeded", "Failed")
_PHASE_RANK: Final = {"Pending": 0, "Unknown": 1, "Running": 2}


def condition(pod: Pod, kind: str) -> PodCondition | None:
    """The pod's condition of that type, if it has one."""
    for found in pod.status.conditions:
        if found.type == kind:
            return found
    return None


def is_terminal(pod: Pod) -> bool:
    """The pod has run to its end."""
    return pod.status.phase in TERMINAL_PHASES


def is_terminating(pod: Pod) -> bool:
    """The pod is being deleted and still runs."""
    return bool(pod.metadata.deletion_timestamp) and not is_terminal(pod)


def is_active(pod: Pod) -> bool:
    """The pod counts as a replica: neither ended nor being deleted."""
    return not pod.metadata.deletion_timestamp and pod.status.phase not in TERMINAL_PHASES


def is_ready(pod: Pod) -> bool:
    """The Ready condition is True."""
    ready = condition(pod, "Ready")
    return ready is not None and ready.status == "True"


def ready_since(pod: Pod) -> float | None:
    """When the pod became ready (Unix seconds); None where it is not."""
    ready = condition(pod, "Ready")
    if ready is None or ready.status != "True" or not ready.last_transition_time:
        return None
    return parse_rfc3339(ready.last_transition_time)


def available_in_s(pod: Pod, min_ready_s: int, now: float) -> float | None:
    """Seconds until the pod is available: 0 where it is, None where it is not ready."""
    if not is_ready(pod):
        return None
    if min_ready_s == 0:
        return 0.0
    since = ready_since(pod)
    return None if since is None else max(0.0, since + min_ready_s - now)


def is_available(pod: Pod, min_ready_s: int, now: float) -> bool:
    """Ready, for `min_ready_s` seconds at least."""
    return available_in_s(pod, min_ready_s, now) == 0.0


def deletion_cost(pod: Pod) -> int:
    """The pod's deletion cost; 0 where the annotation is absent or no integer."""
    text = pod.metadata.annotations.get(DELETION_COST, "")
    try:
        return int(text) if text and not text.startswith("+") else 0
    except ValueError:
        return 0


def restarts(pod: Pod) -> int:
    """The most restarts of any of the pod's containers."""
    return max((s.restart_count for s in pod.status.container_statuses), default=0)


def pods_to_delete(
    pods: Sequence[Pod], related: Iterable[Pod], count: int, now: float
) -> list[Pod]:
    """The `count` of `pods` that a scale-down deletes: those whose loss hurts least come first.

    `related` are the active pods of all ReplicaSets of the same owner: a pod on a node with more of
    them goes before one on a node with fewer.
    """
    if count >= len(pods):
        return list(pods)
    on_node = Counter(pod.spec.node_name for pod in related if is_active(pod))
    return sorted(pods, key=lambda pod: _rank(pod, on_node[pod.spec.node_name], now))[:count]


def cheapest_first(pods: Iterable[Pod]) -> list[Pod]:
    """The pods in the order in which a job gives them up: those that are furthest go last."""
    return sorted(pods, key=_progress)


def _progress(pod: Pod) -> tuple[object, ...]:
    ready = is_ready(pod)
    return (
        bool(pod.spec.node_name),
        _PHASE_RANK.get(pod.status.phase, 2),
        ready,
        # The longer ready, the older, the less often restarted, the later it goes.
        -(ready_since(pod) or 0.0) if ready else 0.0,
        -restarts(pod),
        -_time(pod.metadata.creation_timestamp),
        pod.metadata.uid,
    )


def _time(text: str) -> float:
    return parse_rfc3339(text) if text else 0.0


def _rank(pod: Pod, related_on_node: int, now: float) -> tuple[object, ...]:
    ready = is_ready(pod)
    since = ready_since(pod)
    created = pod.metadata.creation_timestamp
    return (
        bool(pod.spec.node_name),  # unassigned first
        _PHASE_RANK.get(pod.status.phase, 2),
        ready,  # not ready first
        deletion_cost(pod),  # cheap first
        -related_on_node,
        # Youngest first, by powers of two, so that scaling down does not empty the newest zone.
        _age_rank(since, now) if ready else 0,
        -restarts(pod),
        _age_rank(parse_rfc3339(created), now) if created else -1,
        pod.metadata.uid,
    )


def _age_rank(since: float | None, now: float) -> int:
    if since is None:
        return -1
    age_s = now - since
    return int(math.log2(age_s * 1e9)) if age_s > 0 else 0
