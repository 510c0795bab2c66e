"""What a CronJob's schedule calls for now. Pure.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ (starting deadline,
concurrency policy, job history limits).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Final

from skiff.aio.clock import parse_rfc3339, rfc3339
from skiff.api.cron import Schedule
from skiff.api.views.batch import CronJob, Job
from skiff.client.references import controller_reference

MANY_MISSED: Final = 100
SCHEDULED_AT: Final = "batch.kubernetes.io/cronjob-scheduled-timestamp"
MAX_NAME: Final = 52


@dataclass(frozen=True, slots=True)
class Due:
    """The newest scheduled time that has passed and was not run (None: there is none), the one to
    come, and whether very many were missed."""

    missed: float | None
    following: float | None
    many: bool


def due(cron: CronJob, schedule: Schedule, zone: tzinfo, now: float) -> Due:
    """Look from the last run (or the creation) to now, no further back than the starting deadline.
    Raises ValueError where the schedule never comes."""
    earliest = parse_rfc3339(cron.status.last_schedule_time or cron.metadata.creation_timestamp)
    deadline = cron.spec.starting_deadline_seconds
    if deadline is not None:
        earliest = max(earliest, now - deadline)
    first = schedule.next_after(earliest, zone)
    if first is None:
        raise ValueError("time difference between two schedules is less than 1 second")
    if first > now:
        return Due(None, first, many=False)
    newest: float | None = first
    following, count = schedule.next_after(first, zone), 1
    if following is not None and following <= now:
        # Steps may be many: leap close to now first, by the distance of the first two, then go on
        # as the schedule does. Whole steps keep the rhythm of `@every`.
        step = following - first
        count = int((now - first) / step) + 1
        newest = None
        following = schedule.next_after(first + (count - 2) * step, zone)
        while following is not None and following <= now:
            newest, following = following, schedule.next_after(following, zone)
    return Due(newest, following, many=count > MANY_MISSED)


def is_finished(job: Job) -> str:
    """Complete or Failed; empty while the job goes on."""
    for condition in job.status.conditions:
        if condition.type in ("Complete", "Failed") and condition.status == "True":
            return condition.type
    return ""


def history_to_delete(cron: CronJob, jobs: Iterable[Job]) -> list[Job]:
    """The finished jobs beyond the history limits, oldest first."""
    result: list[Job] = []
    limits = {
        "Complete": cron.spec.successful_jobs_history_limit,
        "Failed": cron.spec.failed_jobs_history_limit,
    }
    known = list(jobs)
    for kind, limit in limits.items():
        if limit is None:
            continue
        finished = [job for job in known if is_finished(job) == kind]
        finished.sort(key=lambda j: (j.status.start_time or "~", j.metadata.name))
        result += finished[: max(0, len(finished) - limit)]
    return result


def job_name(cron: CronJob, scheduled: float) -> str:
    """One name for one scheduled time: it cannot be started twice."""
    return f"{cron.metadata.name[:MAX_NAME]}-{int(scheduled) // 60}"


def job_for(
    cron: CronJob, job_template: dict[str, Any], scheduled: float, zone: tzinfo
) -> dict[str, Any]:
    """The job of one scheduled time."""
    given = job_template.get("metadata") or {}
    annotations = {**(given.get("annotations") or {}), SCHEDULED_AT: _stamp(scheduled, zone)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(cron, scheduled),
            "namespace": cron.metadata.namespace,
            "labels": given.get("labels") or {},
            "annotations": annotations,
            "ownerReferences": [controller_reference(cron)],
        },
        "spec": job_template.get("spec") or {},
    }


def _stamp(scheduled: float, zone: tzinfo) -> str:
    local = datetime.fromtimestamp(int(scheduled), zone)
    return rfc3339(scheduled) if not local.utcoffset() else local.isoformat()


def active_references(
    references: Sequence[dict[str, Any]], jobs: Iterable[Job]
) -> list[dict[str, Any]]:
    """`status.active` without those that ended or are gone."""
    going = {job.metadata.uid for job in jobs if not is_finished(job)}
    return [reference for reference in references if reference.get("uid") in going]
