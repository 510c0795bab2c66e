"""Counting a job's ended pods, each once, and judging the job. Pure.

A pod carries a finalizer until it is counted. An ended pod's uid is first written into
`status.uncountedTerminatedPods`; then the finalizer is taken off; when that is seen, the uid moves
from the list into the counter. Whatever is interrupted in between, no pod is counted twice or lost.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-tracking-with-finalizers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from skiff.aio.clock import parse_rfc3339, rfc3339
from skiff.api.views.base import as_json
from skiff.api.views.batch import Job
from skiff.api.views.core import Pod
from skiff.controllers import pods, status
from skiff.controllers.job import indexes, policy
from skiff.controllers.job.policy import COUNT, FAIL_INDEX, FAIL_JOB, IGNORE
from skiff.controllers.status import Condition

FINALIZER: Final = "batch.kubernetes.io/job-tracking"
INDEX: Final = "batch.kubernetes.io/job-completion-index"
INDEX_FAILURES: Final = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES: Final = "batch.kubernetes.io/job-index-ignored-failure-count"
DEFAULT_BACKOFF_LIMIT: Final = 6
NO_LIMIT: Final = 2**31 - 1

Verdict = tuple[str, str]
"""Reason and message."""


@dataclass(slots=True)
class Account:
    """A job's books for one sync. `release` are the pods whose finalizer goes once the status is
    written; `newly_failed` and `newly_succeeded` those that were counted just now."""

    job: Job
    conditions: list[Condition]
    succeeded: int
    failed: int
    uncounted_succeeded: list[str]
    uncounted_failed: list[str]
    completed: set[int]
    failed_indexes: set[int]
    release: list[Pod] = field(default_factory=list)
    newly_failed: list[Pod] = field(default_factory=list)
    newly_succeeded: list[Pod] = field(default_factory=list)
    policy_failure: str = ""

    @property
    def total_succeeded(self) -> int:
        if is_indexed(self.job):
            return len(self.completed)
        return self.succeeded + len(self.uncounted_succeeded)

    @property
    def total_failed(self) -> int:
        return self.failed + len(self.uncounted_failed)

    def has(self, kind: str) -> bool:
        """Whether the condition is True."""
        found = status.find(self.conditions, kind)
        return found is not None and found["status"] == "True"


def open_account(job: Job) -> Account:
    """The books as the status has them."""
    old = job.status
    uncounted = old.uncounted_terminated_pods
    completions = job.spec.completions or 0
    return Account(
        job=job,
        conditions=as_json(old.conditions),
        succeeded=old.succeeded,
        failed=old.failed,
        uncounted_succeeded=list(uncounted.succeeded) if uncounted else [],
        uncounted_failed=list(uncounted.failed) if uncounted else [],
        completed=indexes.parse(old.completed_indexes, completions),
        failed_indexes=indexes.parse(old.failed_indexes, completions),
    )


def is_indexed(job: Job) -> bool:
    """Each pod works on one index."""
    return job.spec.completion_mode == "Indexed"


def index_of(pod: Pod) -> int | None:
    """The pod's completion index."""
    text = pod.metadata.annotations.get(INDEX, "")
    return int(text) if text.isdecimal() else None


def is_tracked(pod: Pod) -> bool:
    """The pod is not counted yet."""
    return FINALIZER in pod.metadata.finalizers


def only_replaces_failed(job: Job) -> bool:
    """A pod that is being deleted counts only once it has ended."""
    return job.spec.pod_replacement_policy == "Failed" or job.spec.pod_failure_policy is not None


def is_failed(job: Job, pod: Pod) -> bool:
    """The pod counts as a failure."""
    phase = pod.status.phase
    if phase == "Failed":
        return True
    if only_replaces_failed(job):
        return False
    return bool(pod.metadata.deletion_timestamp) and phase != "Succeeded"


def count(books: Account, found: Sequence[Pod], *, failing: bool) -> None:
    """Enter what has happened to the pods. `failing`: the job is failing, so that every pod that
    is on its way out counts as failed."""
    job = books.job
    tracked = {pod.metadata.uid: pod for pod in found if is_tracked(pod)}
    done = [uid for uid in books.uncounted_succeeded if uid not in tracked]
    books.succeeded += len(done)
    books.uncounted_succeeded = [u for u in books.uncounted_succeeded if u in tracked]
    lost = [uid for uid in books.uncounted_failed if uid not in tracked]
    books.failed += len(lost)
    books.uncounted_failed = [u for u in books.uncounted_failed if u in tracked]
    for uid, pod in tracked.items():
        if uid in books.uncounted_succeeded or uid in books.uncounted_failed:
            books.release.append(pod)
        elif pod.status.phase == "Succeeded":
            _count_success(books, pod)
        elif is_failed(job, pod) or (failing and bool(pod.metadata.deletion_timestamp)):
            _count_failure(books, pod)
    if is_indexed(job):
        books.succeeded = len(books.completed)


def _count_success(books: Account, pod: Pod) -> None:
    books.release.append(pod)
    books.newly_succeeded.append(pod)
    if not is_indexed(books.job):
        books.uncounted_succeeded.append(pod.metadata.uid)
        return
    index = index_of(pod)
    if index is not None and index < (books.job.spec.completions or 0):
        books.completed.add(index)
        books.failed_indexes.discard(index)


def _count_failure(books: Account, pod: Pod) -> None:
    job = books.job
    if books.has("SuccessCriteriaMet"):
        books.release.append(pod)  # deleted because enough had succeeded
        return
    action, message = COUNT, ""
    if pods.is_terminal(pod):
        action, message = policy.meaning_of(pod, job.spec.pod_failure_policy)
    if action == FAIL_JOB and not books.policy_failure:
        books.policy_failure = message
    books.release.append(pod)
    if action == IGNORE:
        return
    books.newly_failed.append(pod)
    books.uncounted_failed.append(pod.metadata.uid)
    index = index_of(pod)
    if not is_indexed(job) or index is None or job.spec.backoff_limit_per_index is None:
        return
    exhausted = index_failures(pod) >= job.spec.backoff_limit_per_index
    if (action == FAIL_INDEX or exhausted) and index not in books.completed:
        books.failed_indexes.add(index)


def index_failures(pod: Pod) -> int:
    """How often the pod's index had failed before it."""
    return _counter(pod, INDEX_FAILURES)


def attempts(pod: Pod) -> int:
    """How often the pod's index had been tried before it."""
    return index_failures(pod) + _counter(pod, IGNORED_FAILURES)


def failures_with(job: Job, pod: Pod) -> tuple[int, int]:
    """How often the pod's index has failed once the pod is counted, and how often a failure of it
    was ignored (the job's pod failure policy said so)."""
    failed, ignored = index_failures(pod), _counter(pod, IGNORED_FAILURES)
    if policy.meaning_of(pod, job.spec.pod_failure_policy).action == IGNORE:
        return failed, ignored + 1
    return failed + 1, ignored


def _counter(pod: Pod, annotation: str) -> int:
    text = pod.metadata.annotations.get(annotation, "")
    return int(text) if text.isdecimal() and int(text) < 2**31 else 0


def verdict(books: Account, active: Sequence[Pod], now: float) -> tuple[str, Verdict] | None:
    """Whether the job has failed (FailureTarget) or succeeded (SuccessCriteriaMet), and why; what
    was decided once stays so."""
    for kind in ("FailureTarget", "SuccessCriteriaMet"):
        found = status.find(books.conditions, kind)
        if found is not None and found["status"] == "True":
            return kind, (found.get("reason", ""), found.get("message", ""))
    if (failure := _failure(books, active, now)) is not None:
        return "FailureTarget", failure
    if (success := _success(books, len(active))) is not None:
        return "SuccessCriteriaMet", success
    return None


def _failure(books: Account, active: Sequence[Pod], now: float) -> Verdict | None:
    job = books.job
    if books.policy_failure:
        return "PodFailurePolicy", books.policy_failure
    limit = backoff_limit(job)
    if books.total_failed > limit or _restarts_exceed(active, limit):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    wait_s = deadline_in_s(job, now)
    if wait_s is not None and wait_s <= 0:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    if is_indexed(job) and job.spec.backoff_limit_per_index is not None:
        most = job.spec.max_failed_indexes
        if most is not None and len(books.failed_indexes) > most:
            message = "Job has exceeded the specified maximal number of failed indexes"
            return "MaxFailedIndexesExceeded", message
        ended = len(books.failed_indexes) + len(books.completed)
        if books.failed_indexes and ended >= (job.spec.completions or 0):
            return "FailedIndexes", "Job has failed indexes"
    return None


def backoff_limit(job: Job) -> int:
    """How many pods may fail."""
    if job.spec.backoff_limit is not None:
        return job.spec.backoff_limit
    return DEFAULT_BACKOFF_LIMIT if job.spec.backoff_limit_per_index is None else NO_LIMIT


def _restarts_exceed(active: Sequence[Pod], limit: int) -> bool:
    """Containers that restart in place (restartPolicy OnFailure) count as well."""
    if not any(pod.spec.restart_policy == "OnFailure" for pod in active):
        return False
    restarts = sum(
        container.restart_count
        for pod in active
        for container in (*pod.status.container_statuses, *pod.status.init_container_statuses)
    )
    return restarts > 0 if limit == 0 else restarts >= limit


def _success(books: Account, active: int) -> Verdict | None:
    job = books.job
    completions = job.spec.completions
    if is_indexed(job):
        message = policy.met_rule(job.spec.success_policy, completions or 0, books.completed)
        if message is not None:
            return "SuccessPolicy", message
    if completions is None:
        complete = books.total_succeeded > 0 and active == 0
    else:
        complete = books.total_succeeded >= completions
    # A job that waits suspended has not started: nothing of it can be complete.
    if complete and (job.status.start_time or not job.spec.suspend):
        return "CompletionsReached", "Reached expected number of succeeded pods"
    return None


def deadline_in_s(job: Job, now: float) -> float | None:
    """Seconds until activeDeadlineSeconds is over; None where there is none, or while suspended."""
    limit = job.spec.active_deadline_seconds
    if limit is None or job.spec.suspend or not job.status.start_time:
        return None
    return parse_rfc3339(job.status.start_time) + limit - now


def finished_at(pod: Pod, default: float) -> float:
    """When the pod ended."""
    times = [
        parse_rfc3339(s.state.terminated.finished_at)
        for s in pod.status.container_statuses
        if s.state and s.state.terminated and s.state.terminated.finished_at
    ]
    return max(times, default=default)


def status_of(books: Account, counts: dict[str, Any]) -> dict[str, Any]:
    """The status as JSON; `counts` are active, ready, terminating and the times."""
    return {
        **counts,
        "succeeded": books.succeeded,
        "failed": books.failed,
        "completedIndexes": indexes.render(books.completed) if is_indexed(books.job) else "",
        "failedIndexes": (
            indexes.render(books.failed_indexes)
            if books.job.spec.backoff_limit_per_index is not None
            else None
        ),
        "uncountedTerminatedPods": _uncounted(books),
        "conditions": books.conditions,
    }


def _uncounted(books: Account) -> dict[str, list[str]]:
    found = {"succeeded": books.uncounted_succeeded, "failed": books.uncounted_failed}
    return {k: v for k, v in found.items() if v}


def stamp(now: float) -> str:
    """A time as the status holds it."""
    return rfc3339(now)


def surplus(job: Job, active: Sequence[Pod]) -> tuple[list[Pod], list[Pod]]:
    """The pods of an indexed job that have no index of their own, or none that counts any more (of
    those with the same index, all but the one that is furthest); and the others."""
    if not is_indexed(job):
        return [], list(active)
    gone: list[Pod] = []
    holders: dict[int, list[Pod]] = {}
    for pod in active:
        index = index_of(pod)
        if index is None or index >= (job.spec.completions or 0):
            gone.append(pod)
        else:
            holders.setdefault(index, []).append(pod)
    kept: list[Pod] = []
    for same in holders.values():
        *beside, best = pods.cheapest_first(same)
        gone += beside
        kept.append(best)
    return gone, kept


def missing_indexes(completions: int, taken: Iterable[int], books: Account, want: int) -> list[int]:
    """The lowest `want` indexes that are neither done, failed, nor being worked on."""
    result: list[int] = []
    busy = set(taken) | books.completed | books.failed_indexes
    for index in range(completions):
        if len(result) == want:
            break
        if index not in busy:
            result.append(index)
    return result
