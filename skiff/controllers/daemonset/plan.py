"""What each node needs of a DaemonSet, and how an update proceeds. Pure.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/ and
https://kubernetes.io/docs/tasks/manage-daemon/update-daemon-set/.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from skiff.api.views.apps import DaemonSet
from skiff.api.views.core import Node, Pod, PodSpec, Toleration
from skiff.controllers import pods
from skiff.controllers.deployment.plan import resolve
from skiff.controllers.history import HASH_LABEL
from skiff.controllers.node_match import selects, untolerated

NO_EXECUTE: Final = frozenset({"NoExecute"})
NO_ENTRY: Final = frozenset({"NoSchedule", "NoExecute"})

# What every daemon bears: nodes in trouble are where daemons are needed most.
_ALWAYS_TOLERATED: Final = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_HOST_NETWORK_TOLERATED: Final = ("node.kubernetes.io/network-unavailable", "NoSchedule")


@dataclass(slots=True)
class Plan:
    """Nodes that get a pod, pods that go."""

    create_on: list[str] = field(default_factory=list)
    delete: list[Pod] = field(default_factory=list)


def tolerations(spec: PodSpec) -> list[dict[str, Any]]:
    """The tolerations that a daemon pod has beyond its template's, as JSON."""
    keys = list(_ALWAYS_TOLERATED)
    if spec.host_network:
        keys.append(_HOST_NETWORK_TOLERATED)
    return [{"key": key, "operator": "Exists", "effect": effect} for key, effect in keys]


def eligibility(spec: PodSpec, node: Node) -> tuple[bool, bool]:
    """Whether a daemon pod should run on the node, and whether one that is there may stay."""
    if spec.node_name and spec.node_name != node.metadata.name:
        return False, False
    if not selects(spec, node):
        return False, False
    known = (
        *spec.tolerations,
        *(
            Toleration(key=t["key"], operator="Exists", effect=t["effect"])
            for t in tolerations(spec)
        ),
    )
    may_start = untolerated(node.spec.taints, known, NO_ENTRY) is None
    may_stay = untolerated(node.spec.taints, known, NO_EXECUTE) is None
    return may_start, may_stay


def target_node(pod: Pod) -> str:
    """The node that a daemon pod is on, or is made for (its affinity says so)."""
    if pod.spec.node_name:
        return pod.spec.node_name
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    for term in required.node_selector_terms if required else ():
        for requirement in term.match_fields:
            if requirement.key == "metadata.name" and len(requirement.values) == 1:
                return requirement.values[0]
    return ""


def by_node(daemon_pods: Iterable[Pod]) -> dict[str, list[Pod]]:
    """The pods of each node."""
    result: dict[str, list[Pod]] = {}
    for pod in daemon_pods:
        result.setdefault(target_node(pod), []).append(pod)
    return result


def manage(
    daemon: DaemonSet,
    spec: PodSpec,
    nodes: Sequence[Node],
    found: Mapping[str, Sequence[Pod]],
    digest: str,
    now: float,
) -> tuple[Plan, list[Pod]]:
    """Who gets a pod and which pods go, updates aside; and the failed pods, which go as well, each
    in its own time."""
    plan, failed = Plan(), []
    known = set()
    for node in nodes:
        name = node.metadata.name
        known.add(name)
        should_run, may_stay = eligibility(spec, node)
        there = [p for p in found.get(name, ()) if not p.metadata.deletion_timestamp]
        if should_run and not found.get(name):
            plan.create_on.append(name)
        elif may_stay:
            running = []
            for pod in there:
                if pod.status.phase == "Failed":
                    failed.append(pod)
                elif pod.status.phase == "Succeeded":
                    plan.delete.append(pod)
                else:
                    running.append(pod)
            plan.delete += _excess(daemon, running, digest, now)
        else:
            plan.delete += there
    for name, there_too in found.items():
        # Made for a node that is gone: no scheduler will ever place it.
        if name not in known:
            plan.delete += [
                p for p in there_too if not p.spec.node_name and not p.metadata.deletion_timestamp
            ]
    return plan, failed


def _excess(daemon: DaemonSet, running: list[Pod], digest: str, now: float) -> list[Pod]:
    """All but the oldest; while surging, an old and a new pod may stand beside each other until
    the new one is available."""
    if len(running) <= 1:
        return []
    oldest_first = sorted(running, key=lambda p: (p.metadata.creation_timestamp, p.metadata.name))
    if surge_of(daemon, 1) == 0:
        return oldest_first[1:]
    new = [p for p in oldest_first if _is_new(p, digest)]
    old = [p for p in oldest_first if not _is_new(p, digest)]
    if new and old and pods.is_available(new[0], daemon.spec.min_ready_seconds, now):
        return old + new[1:]
    return old[1:] + new[1:]


def _is_new(pod: Pod, digest: str) -> bool:
    return pod.metadata.labels.get(HASH_LABEL) == digest


def surge_of(daemon: DaemonSet, desired: int) -> int:
    """maxSurge in pods, rounded up; 0 unless the strategy is RollingUpdate."""
    strategy = daemon.spec.update_strategy
    if strategy is None or strategy.type != "RollingUpdate" or strategy.rolling_update is None:
        return 0
    return resolve(strategy.rolling_update.max_surge, desired, up=True)


def unavailable_of(daemon: DaemonSet, desired: int) -> int:
    """maxUnavailable in pods, rounded up; at least 1 where there is no surge."""
    strategy = daemon.spec.update_strategy
    if strategy is None or strategy.type != "RollingUpdate" or strategy.rolling_update is None:
        return 0
    value = resolve(strategy.rolling_update.max_unavailable, desired, up=True)
    return value or (0 if surge_of(daemon, desired) else 1)


def update(
    daemon: DaemonSet,
    eligible: Collection[str],
    found: Mapping[str, Sequence[Pod]],
    digest: str,
    now: float,
) -> Plan:
    """The next step of a rolling update over the `eligible` nodes."""
    desired = len(eligible)
    pairs = [(name, *_old_and_new(found.get(name, ()), digest)) for name in sorted(eligible)]
    if surge := surge_of(daemon, desired):
        return _update_by_surge(daemon, pairs, surge, now)
    return _update_in_place(daemon, pairs, unavailable_of(daemon, desired), now)


def _old_and_new(found: Sequence[Pod], digest: str) -> tuple[Pod | None, Pod | None]:
    """The one old and the one new pod of a node (those that are being deleted are not there)."""
    old = new = None
    for pod in found:
        if pod.metadata.deletion_timestamp:
            continue
        if _is_new(pod, digest):
            new = pod
        else:
            old = pod
    return old, new


Pairs = Sequence[tuple[str, Pod | None, Pod | None]]


def _update_in_place(daemon: DaemonSet, pairs: Pairs, allowed: int, now: float) -> Plan:
    """Delete old pods, those that are not available first, as many as may be missing."""
    minimum = daemon.spec.min_ready_seconds
    missing = 0
    broken: list[Pod] = []
    candidates: list[Pod] = []
    for _, old, new in pairs:
        if (old is None) == (new is None):
            missing += 1
        elif new is not None:
            missing += not pods.is_available(new, minimum, now)
        elif old is not None and not pods.is_available(old, minimum, now):
            broken.append(old)
            missing += 1
        elif old is not None:
            candidates.append(old)
    room = max(0, allowed - missing)
    return Plan(delete=broken + candidates[:room])


def _update_by_surge(daemon: DaemonSet, pairs: Pairs, surge: int, now: float) -> Plan:
    """Put a new pod beside the old; the old one goes when the new one is available."""
    minimum = daemon.spec.min_ready_seconds
    plan = Plan()
    surging = 0
    candidates: list[str] = []
    for name, old, new in pairs:
        if old is None:
            continue
        if new is None:
            if pods.is_available(old, minimum, now):
                candidates.append(name)
            else:
                plan.create_on.append(name)
        elif pods.is_available(new, minimum, now):
            plan.delete.append(old)
        else:
            surging += 1
    plan.create_on += candidates[: max(0, surge - surging)]
    return plan


def next_status(
    daemon: DaemonSet,
    spec: PodSpec,
    nodes: Iterable[Node],
    found: Mapping[str, Sequence[Pod]],
    digest: str,
    now: float,
) -> dict[str, Any]:
    """The status that these pods on these nodes give."""
    desired = current = misscheduled = ready = updated = available = 0
    for node in nodes:
        there = [
            p
            for p in found.get(node.metadata.name, ())
            if not (pods.is_terminal(p) and p.metadata.deletion_timestamp)
        ]
        should_run, _ = eligibility(spec, node)
        if not should_run:
            misscheduled += bool(there)
            continue
        desired += 1
        if not there:
            continue
        current += 1
        # The oldest pod speaks for its node; one that is there already comes before.
        pod = min(
            there,
            key=lambda p: (
                not p.spec.node_name,
                p.metadata.creation_timestamp,
                p.metadata.name,
            ),
        )
        ready += pods.is_ready(pod)
        available += pods.is_available(pod, daemon.spec.min_ready_seconds, now)
        updated += _is_new(pod, digest)
    return {
        "desiredNumberScheduled": desired,
        "currentNumberScheduled": current,
        "numberMisscheduled": misscheduled,
        "numberReady": ready,
        "updatedNumberScheduled": updated,
        "numberAvailable": available,
        "numberUnavailable": desired - available,
        "observedGeneration": daemon.metadata.generation,
    }
