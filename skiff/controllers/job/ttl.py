"""Finished jobs with `ttlSecondsAfterFinished` go when their time is over.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/ttlafterfinished/.
"""

from typing import ClassVar

from skiff.aio.clock import parse_rfc3339
from skiff.api.errors import NotFound
from skiff.api.resources import JOBS
from skiff.api.views.batch import Job
from skiff.client.reconciler import Key, Reconciler, Result
from skiff.controllers.context import Context


class JobTtl(Reconciler):
    """Keys are jobs."""

    name: ClassVar[str] = "ttl-after-finished"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=5)
        self._clock = context.clock
        self._client = context.client
        self._jobs = context.informers.of(Job)
        self.follow(self._jobs, lambda job: _candidate(job))

    async def reconcile(self, key: Key) -> Result | None:
        """Delete the job, or come back when it is time."""
        job = self._jobs.get(key.name, key.namespace)
        if job is None or not any(_candidate(job)):
            return None
        ended = finished_at(job)
        if ended is None:
            return None
        wait_s = ended + (job.spec.ttl_seconds_after_finished or 0) - self._clock.now()
        if wait_s > 0:
            return Result(wait_s)
        meta = job.metadata
        try:
            await self._client.delete(
                JOBS, meta.name, meta.namespace, uid=meta.uid, propagation="Foreground"
            )
        except NotFound:
            pass
        return None


def _candidate(job: Job) -> tuple[Key, ...]:
    if job.spec.ttl_seconds_after_finished is None or job.metadata.deletion_timestamp:
        return ()
    return (Key(job.metadata.namespace, job.metadata.name),) if finished_at(job) else ()


def finished_at(job: Job) -> float | None:
    """When the job became Complete or Failed."""
    for condition in job.status.conditions:
        if condition.type in ("Complete", "Failed") and condition.status == "True":
            return parse_rfc3339(condition.last_transition_time)
    return None
