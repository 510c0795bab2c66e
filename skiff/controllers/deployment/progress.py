"""A Deployment's status: counts, availability, progress against the deadline. Pure.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#deployment-status.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from skiff.aio.clock import parse_rfc3339, rfc3339
from skiff.api.views.apps import Deployment, DeploymentCondition, ReplicaSet
from skiff.controllers import status
from skiff.controllers.deployment.plan import limits_of, replicas_of, total
from skiff.controllers.status import Condition

NO_DEADLINE: Final = 2**31 - 1
PROGRESSING: Final = "Progressing"
AVAILABLE: Final = "Available"
REPLICA_FAILURE: Final = "ReplicaFailure"
NEW_AVAILABLE: Final = "NewReplicaSetAvailable"
TIMED_OUT: Final = "ProgressDeadlineExceeded"

Status = dict[str, Any]


def has_deadline(deployment: Deployment) -> bool:
    """Whether progress is watched at all."""
    return deployment.spec.progress_deadline_seconds not in (None, NO_DEADLINE)


def progressing(deployment: Deployment) -> DeploymentCondition | None:
    """The Progressing condition as it is stored."""
    return next((c for c in deployment.status.conditions if c.type == PROGRESSING), None)


def set_condition(
    conditions: list[Condition], kind: str, state: str, reason: str, message: str, now: float
) -> bool:
    """Set the condition in place unless it has that status and reason already. True if set."""
    old = status.find(conditions, kind)
    if old is not None and old["status"] == state and old.get("reason") == reason:
        return False
    stamp = rfc3339(now)
    moved = old["lastTransitionTime"] if old is not None and old["status"] == state else stamp
    status.remove_condition(conditions, kind)
    conditions.append(
        {
            "type": kind,
            "status": state,
            "lastUpdateTime": stamp,
            "lastTransitionTime": moved,
            "reason": reason,
            "message": message,
        }
    )
    return True


def counts(
    deployment: Deployment, every: Sequence[ReplicaSet], new: ReplicaSet | None, now: float
) -> Status:
    """The status that the ReplicaSets give, progress aside."""
    limits = limits_of(deployment)
    available = sum(rs.status.available_replicas for rs in every)
    conditions = status.conditions_of(deployment.status.conditions)
    if available >= limits.minimum_available:
        verdict = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        verdict = (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    set_condition(conditions, AVAILABLE, *verdict, now)
    return {
        "observedGeneration": deployment.metadata.generation,
        "replicas": sum(rs.status.replicas for rs in every),
        "updatedReplicas": new.status.replicas if new else 0,
        "readyReplicas": sum(rs.status.ready_replicas for rs in every),
        "availableReplicas": available,
        "unavailableReplicas": max(0, total(every) - available),
        "terminatingReplicas": sum(rs.status.terminating_replicas for rs in every),
        "collisionCount": deployment.status.collision_count,
        "conditions": conditions,
    }


def is_complete(deployment: Deployment, new: Status) -> bool:
    """Every pod is of the new template and available, and none other is left."""
    wanted = replicas_of(deployment)
    return bool(
        new["updatedReplicas"] == wanted
        and new["replicas"] == wanted
        and new["availableReplicas"] == wanted
        and new["observedGeneration"] >= deployment.metadata.generation
    )


def was_complete(deployment: Deployment) -> bool:
    """`is_complete` of the status that is stored."""
    old = deployment.status
    stored = {
        "updatedReplicas": old.updated_replicas,
        "replicas": old.replicas,
        "availableReplicas": old.available_replicas,
        "observedGeneration": old.observed_generation,
    }
    return is_complete(deployment, stored)


def with_conditions(deployment: Deployment, conditions: list[Condition]) -> Deployment:
    """The Deployment as it is once `conditions` are stored."""
    views = msgspec.convert(conditions, tuple[DeploymentCondition, ...])
    new = msgspec.structs.replace(deployment.status, conditions=views)
    return msgspec.structs.replace(deployment, status=new)


def rollout_status(
    deployment: Deployment, every: Sequence[ReplicaSet], new: ReplicaSet | None, now: float
) -> Status:
    """The status in a rollout: with the Progressing and ReplicaFailure conditions."""
    result = counts(deployment, every, new, now)
    conditions: list[Condition] = result["conditions"]
    current = progressing(deployment)
    watched = has_deadline(deployment)
    if not watched:
        status.remove_condition(conditions, PROGRESSING)
    done_before = (
        result["replicas"] == result["updatedReplicas"]
        and current is not None
        and current.reason == NEW_AVAILABLE
    )
    if watched and not done_before:
        _judge(deployment, result, new, now)
    failure = _failure(every, new)
    if failure is not None:
        set_condition(conditions, REPLICA_FAILURE, *failure, now)
    else:
        status.remove_condition(conditions, REPLICA_FAILURE)
    return result


def _judge(deployment: Deployment, result: Status, new: ReplicaSet | None, now: float) -> None:
    conditions: list[Condition] = result["conditions"]
    what = (
        f'ReplicaSet "{new.metadata.name}"' if new else f'Deployment "{deployment.metadata.name}"'
    )
    if is_complete(deployment, result):
        set_condition(
            conditions,
            PROGRESSING,
            "True",
            NEW_AVAILABLE,
            f"{what} has successfully progressed.",
            now,
        )
    elif _moved(deployment, result):
        old = status.find(conditions, PROGRESSING)
        status.remove_condition(conditions, PROGRESSING)
        set_condition(
            conditions, PROGRESSING, "True", "ReplicaSetUpdated", f"{what} is progressing.", now
        )
        if old is not None and old["status"] == "True":
            conditions[-1]["lastTransitionTime"] = old["lastTransitionTime"]
    elif _timed_out(deployment, conditions, now):
        set_condition(
            conditions, PROGRESSING, "False", TIMED_OUT, f"{what} has timed out progressing.", now
        )


def _moved(deployment: Deployment, new: Status) -> bool:
    old = deployment.status
    return bool(
        new["updatedReplicas"] > old.updated_replicas
        or new["replicas"] - new["updatedReplicas"] < old.replicas - old.updated_replicas
        or new["readyReplicas"] > old.ready_replicas
        or new["availableReplicas"] > old.available_replicas
    )


def _timed_out(deployment: Deployment, conditions: list[Condition], now: float) -> bool:
    current = status.find(conditions, PROGRESSING)
    if current is None or current.get("reason") == NEW_AVAILABLE:
        return False
    if current.get("reason") == TIMED_OUT:
        return True
    deadline_s = deployment.spec.progress_deadline_seconds or 0
    return parse_rfc3339(current["lastUpdateTime"]) + deadline_s < now


def deadline_in_s(deployment: Deployment, new: Status, now: float) -> float | None:
    """Seconds until the deadline should be checked; None where there is nothing to wait for."""
    current = status.find(new["conditions"], PROGRESSING)
    if not has_deadline(deployment) or current is None:
        return None
    if is_complete(deployment, new) or current.get("reason") == TIMED_OUT:
        return None
    deadline_s = deployment.spec.progress_deadline_seconds or 0
    # Times are kept in whole seconds: a second later it is surely past.
    return max(0.0, parse_rfc3339(current["lastUpdateTime"]) + deadline_s - now) + 1.0


def _failure(every: Sequence[ReplicaSet], new: ReplicaSet | None) -> tuple[str, str, str] | None:
    """The ReplicaFailure condition to show: the new ReplicaSet's before others'."""
    for rs in (*((new,) if new else ()), *every):
        for condition in rs.status.conditions:
            if condition.type == REPLICA_FAILURE:
                return condition.status, condition.reason, condition.message
    return None


def pause_condition(deployment: Deployment) -> tuple[str, str, str] | None:
    """The Progressing condition that a change of `spec.paused` calls for."""
    current = progressing(deployment)
    if not has_deadline(deployment) or (current is not None and current.reason == TIMED_OUT):
        return None
    was_paused = current is not None and current.reason == "DeploymentPaused"
    if deployment.spec.paused and not was_paused:
        return "Unknown", "DeploymentPaused", "Deployment is paused"
    if not deployment.spec.paused and was_paused:
        return "Unknown", "DeploymentResumed", "Deployment is resumed"
    return None
