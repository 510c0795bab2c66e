"""Judging nodes: conditions of those that went silent, taints for conditions, zones. Pure.

Source: https://kubernetes.io/docs/concepts/architecture/nodes/ (heartbeats, node controller, rate
limits on eviction); https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Any, Final

from skiff.aio.clock import rfc3339
from skiff.api.views.base import as_json
from skiff.api.views.core import Node, Taint

READY: Final = "Ready"
NOT_READY: Final = "node.kubernetes.io/not-ready"
UNREACHABLE: Final = "node.kubernetes.io/unreachable"
UNSCHEDULABLE: Final = "node.kubernetes.io/unschedulable"
OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"
ZONE_LABELS: Final = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone")

# For each condition and status, the taint that says it to the scheduler.
CONDITION_TAINTS: Final[dict[tuple[str, str], str]] = {
    (READY, "False"): NOT_READY,
    (READY, "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
MANAGED_TAINTS: Final = frozenset(CONDITION_TAINTS.values()) | {UNSCHEDULABLE}

# What a kubelet reports; when it goes silent, nobody knows any of it.
REPORTED: Final = (READY, "MemoryPressure", "DiskPressure", "PIDPressure")

TaintJson = dict[str, Any]


def readiness(node: Node) -> str:
    """True, False, Unknown, or "" where the node has never said."""
    for condition in node.status.conditions:
        if condition.type == READY:
            return condition.status
    return ""


def silent_conditions(node: Node, now: float) -> list[dict[str, Any]] | None:
    """The conditions of a node whose kubelet went silent; None where they say so already."""
    conditions = as_json(node.status.conditions)
    known = {c["type"]: c for c in conditions}
    changed = False
    stamp = rfc3339(now)
    for kind in REPORTED:
        current = known.get(kind)
        if current is None:
            conditions.append(
                {
                    "type": kind,
                    "status": "Unknown",
                    "reason": "NodeStatusNeverUpdated",
                    "message": "Kubelet never posted node status.",
                    "lastHeartbeatTime": node.metadata.creation_timestamp,
                    "lastTransitionTime": stamp,
                }
            )
            changed = True
        elif current["status"] != "Unknown":
            current |= {
                "status": "Unknown",
                "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.",
                "lastTransitionTime": stamp,
            }
            changed = True
    return conditions if changed else None


def wanted_taints(node: Node, *, evict: bool, now: float) -> list[TaintJson] | None:
    """The node's taints as its conditions call for; None where they are right.

    `evict` says whether the not-ready and unreachable taints may also remove pods (NoExecute).
    """
    keys = {
        CONDITION_TAINTS[c.type, c.status]
        for c in node.status.conditions
        if (c.type, c.status) in CONDITION_TAINTS
    }
    if node.spec.unschedulable:
        keys.add(UNSCHEDULABLE)
    wanted = {(key, "NoSchedule") for key in keys}
    silent = {NOT_READY, UNREACHABLE} & keys
    current = {(t.key, t.effect) for t in node.spec.taints}
    # An eviction that was decided stays decided until the node is well; it may change its name.
    already = any((key, "NoExecute") in current for key in (NOT_READY, UNREACHABLE))
    if evict or already:
        wanted |= {(key, "NoExecute") for key in silent}
    kept = [t for t in node.spec.taints if not _is_managed(t) or (t.key, t.effect) in wanted]
    missing = wanted - {(t.key, t.effect) for t in kept}
    if not missing and len(kept) == len(node.spec.taints):
        return None
    added = [
        {"key": key, "effect": effect, "timeAdded": rfc3339(now)} for key, effect in sorted(missing)
    ]
    return as_json(tuple(kept)) + added  # type: ignore[no-any-return] # JSON


def _is_managed(taint: Taint) -> bool:
    if taint.effect == "NoSchedule":
        return taint.key in MANAGED_TAINTS
    return taint.effect == "NoExecute" and taint.key in (NOT_READY, UNREACHABLE)


def zone_of(node: Node) -> str:
    """The node's region and zone."""
    return ":".join(node.metadata.labels.get(label, "") for label in ZONE_LABELS)


class Zone(Enum):
    """How much of a zone is well: it sets how fast pods are evicted."""

    NORMAL = "normal"
    PARTIAL = "partial"
    FULL = "full"


def zone_states(nodes: Iterable[Node], unhealthy_share: float) -> dict[str, tuple[Zone, int]]:
    """Each zone's state and size."""
    ready: dict[str, int] = {}
    total: dict[str, int] = {}
    for node in nodes:
        zone = zone_of(node)
        total[zone] = total.get(zone, 0) + 1
        ready[zone] = ready.get(zone, 0) + (readiness(node) == "True")
    result = {}
    for zone, size in total.items():
        sick = size - ready[zone]
        if ready[zone] == 0:
            state = Zone.FULL
        elif sick > 2 and sick / size >= unhealthy_share:
            state = Zone.PARTIAL
        else:
            state = Zone.NORMAL
        result[zone] = (state, size)
    return result
