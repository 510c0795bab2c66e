"""What a failed pod means for its job, and when a success policy is met. Pure.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy and
#success-policy.
"""

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from skiff.api.views.batch import (
    PodFailurePolicy,
    PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern,
    SuccessPolicy,
)
from skiff.api.views.core import Pod
from skiff.controllers.job import indexes

COUNT: Final = "Count"
IGNORE: Final = "Ignore"
FAIL_INDEX: Final = "FailIndex"
FAIL_JOB: Final = "FailJob"


class Meaning(NamedTuple):
    """What to do about a failed pod, and for FailJob why."""

    action: str
    message: str = ""


def meaning_of(pod: Pod, policy: PodFailurePolicy | None) -> Meaning:
    """The action of the first rule that matches the failed pod; without one it counts."""
    for number, rule in enumerate(policy.rules if policy else ()):
        why = None
        if rule.on_exit_codes is not None:
            why = _exit_code(pod, rule.on_exit_codes)
        elif rule.on_pod_conditions:
            why = _condition(pod, rule.on_pod_conditions)
        if why is not None:
            if rule.action != FAIL_JOB:
                return Meaning(rule.action)
            return Meaning(FAIL_JOB, f"{why} matching {rule.action} rule at index {number}")
    return Meaning(COUNT)


def _exit_code(pod: Pod, wanted: PodFailurePolicyOnExitCodesRequirement) -> str | None:
    for status in (*pod.status.container_statuses, *pod.status.init_container_statuses):
        if wanted.container_name and status.name != wanted.container_name:
            continue
        ended = status.state.terminated if status.state else None
        if ended is None or ended.exit_code == 0:
            continue
        if (ended.exit_code in wanted.values) == (wanted.operator == "In"):
            where = f"{pod.metadata.namespace}/{pod.metadata.name}"
            return (
                f"Container {status.name} for pod {where} failed with exit code {ended.exit_code}"
            )
    return None


def _condition(pod: Pod, wanted: Iterable[PodFailurePolicyOnPodConditionsPattern]) -> str | None:
    patterns = {(p.type, p.status or "True") for p in wanted}
    for condition in pod.status.conditions:
        if (condition.type, condition.status) in patterns:
            where = f"{pod.metadata.namespace}/{pod.metadata.name}"
            return f"Pod {where} has condition {condition.type}"
    return None


def met_rule(
    policy: SuccessPolicy | None, completions: int, completed: Collection[int]
) -> str | None:
    """The message where a rule of the success policy is met."""
    for number, rule in enumerate(policy.rules if policy else ()):
        chosen = set(completed)
        enough = rule.succeeded_count
        if rule.succeeded_indexes:
            named = indexes.parse(rule.succeeded_indexes, completions)
            chosen &= named
            enough = len(named) if enough is None else enough
        if enough is not None and len(chosen) >= enough:
            return f"Matched rules at index {number}"
    return None
