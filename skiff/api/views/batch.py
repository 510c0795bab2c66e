"""Views of the API group batch/v1.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from typing import ClassVar

from msgspec import Raw

from skiff.api.resources import RESOURCES, Resource
from skiff.api.views.base import NO_TEMPLATE, View
from skiff.api.views.container import ObjectReference
from skiff.api.views.meta import LabelSelector, ObjectMeta


class PodFailurePolicyOnExitCodesRequirement(View, frozen=True, kw_only=True):
    container_name: str = ""
    operator: str = ""
    values: tuple[int, ...] = ()


class PodFailurePolicyOnPodConditionsPattern(View, frozen=True, kw_only=True):
    status: str = ""
    type: str = ""


class PodFailurePolicyRule(View, frozen=True, kw_only=True):
    action: str = ""
    on_exit_codes: PodFailurePolicyOnExitCodesRequirement | None = None
    on_pod_conditions: tuple[PodFailurePolicyOnPodConditionsPattern, ...] = ()


class PodFailurePolicy(View, frozen=True, kw_only=True):
    rules: tuple[PodFailurePolicyRule, ...] = ()


class SuccessPolicyRule(View, frozen=True, kw_only=True):
    succeeded_count: int | None = None
    succeeded_indexes: str = ""


class SuccessPolicy(View, frozen=True, kw_only=True):
    rules: tuple[SuccessPolicyRule, ...] = ()


class JobSpec(View, frozen=True, kw_only=True):
    active_deadline_seconds: int | None = None
    backoff_limit: int | None = None
    backoff_limit_per_index: int | None = None
    completion_mode: str = ""
    completions: int | None = None
    managed_by: str = ""
    manual_selector: bool = False
    max_failed_indexes: int | None = None
    parallelism: int | None = None
    pod_failure_policy: PodFailurePolicy | None = None
    pod_replacement_policy: str = ""
    selector: LabelSelector | None = None
    success_policy: SuccessPolicy | None = None
    suspend: bool = False
    template: Raw = NO_TEMPLATE
    ttl_seconds_after_finished: int | None = None


class CronJobSpec(View, frozen=True, kw_only=True):
    concurrency_policy: str = ""
    failed_jobs_history_limit: int | None = None
    job_template: Raw = NO_TEMPLATE
    schedule: str = ""
    starting_deadline_seconds: int | None = None
    successful_jobs_history_limit: int | None = None
    suspend: bool = False
    time_zone: str = ""


class CronJobStatus(View, frozen=True, kw_only=True):
    active: tuple[ObjectReference, ...] = ()
    last_schedule_time: str = ""
    last_successful_time: str = ""


class CronJob(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["batch", "v1", "cronjobs"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: CronJobSpec = CronJobSpec()
    status: CronJobStatus = CronJobStatus()


class JobCondition(View, frozen=True, kw_only=True):
    last_probe_time: str = ""
    last_transition_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class UncountedTerminatedPods(View, frozen=True, kw_only=True):
    failed: tuple[str, ...] = ()
    succeeded: tuple[str, ...] = ()


class JobStatus(View, frozen=True, kw_only=True):
    active: int = 0
    completed_indexes: str = ""
    completion_time: str = ""
    conditions: tuple[JobCondition, ...] = ()
    failed: int = 0
    failed_indexes: str = ""
    ready: int = 0
    start_time: str = ""
    succeeded: int = 0
    terminating: int = 0
    uncounted_terminated_pods: UncountedTerminatedPods | None = None


class Job(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["batch", "v1", "jobs"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()
