"""The CronJob reconciler."""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, ClassVar

from skiff.aio.clock import rfc3339
from skiff.api.cron import Schedule, ScheduleError, location, parse
from skiff.api.errors import AlreadyExists, ApiError, NotFound
from skiff.api.resources import JOBS
from skiff.api.views.base import as_json
from skiff.api.views.batch import CronJob, Job
from skiff.client.events import NORMAL, WARNING
from skiff.client.reconciler import Key, Reconciler, Result
from skiff.client.references import controller_of
from skiff.controllers import status, template
from skiff.controllers.context import Context
from skiff.controllers.cronjob import plan
from skiff.controllers.podcontrol import namespace_ends

# Timers may fire a moment early on another clock than the one that names the minute.
MARGIN_S = 0.1


class CronJobReconciler(Reconciler):
    """See the package's text."""

    name: ClassVar[str] = "cronjob"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=5)
        self._clock = context.clock
        self._client = context.client
        self._events = context.events.of("cronjob-controller")
        self._crons = context.informers.of(CronJob)
        self._jobs = context.informers.of(Job)
        self._jobs.add_index("controller", _controllers)
        self.follow(self._crons)
        self.follow(self._jobs, _cron_keys)

    async def reconcile(self, key: Key) -> Result | None:
        """Keep the books of one CronJob, and start what is due."""
        cached = self._crons.get(key.name, key.namespace)
        if cached is None:
            return None
        try:
            cron, jobs = await self._seen(cached)
        except NotFound:
            return None
        books = self._books(cron, jobs)
        await self._clean_up(cron, jobs)
        result: Result | None = None
        failure: ApiError | None = None
        if not cron.metadata.deletion_timestamp:
            try:
                result = await self._schedule(cron, jobs, books)
            except ApiError as e:
                failure = e
        # Removed fields stay absent; times are kept as they are.
        await status.write(self._client, cron, cron.status, books, precise=True)
        if failure is not None:
            raise failure
        return result

    # Books

    async def _seen(self, cron: CronJob) -> tuple[CronJob, list[Job]]:
        """The CronJob and its jobs. Each has its own watch, and one may be behind the other: what one
        knows of and the other does not is read from the server. Raises NotFound: the CronJob is gone."""
        jobs = list(self._jobs.by_index("controller", cron.metadata.uid))
        meta = cron.metadata
        listed = {reference.uid for reference in cron.status.active}
        known = {job.metadata.uid for job in jobs}
        going = {job.metadata.uid for job in jobs if not plan.is_finished(job)}
        if not going <= listed <= known:
            cron = await self._client.read(CronJob, meta.name, meta.namespace)
            if cron.metadata.uid != meta.uid:
                raise NotFound(f"{meta.name} is another one now")
        for reference in cron.status.active:
            if reference.uid not in known:
                with contextlib.suppress(NotFound):
                    job = await self._client.read(Job, reference.name, meta.namespace)
                    if job.metadata.uid == reference.uid:
                        jobs.append(job)
        return cron, jobs

    def _books(self, cron: CronJob, jobs: Sequence[Job]) -> dict[str, Any]:
        """The next status: jobs that ended are no longer active."""
        old: dict[str, Any] = as_json(cron.status)
        listed = {reference["uid"] for reference in old.get("active", ())}
        known = {job.metadata.uid for job in jobs}
        for job in jobs:
            ended = plan.is_finished(job)
            name, uid = job.metadata.name, job.metadata.uid
            if uid in listed and ended:
                message = f"Saw completed job: {name}, condition: {ended}"
                self._events.record(cron, NORMAL, "SawCompletedJob", message)
            elif uid not in listed and not ended:
                message = f"Saw a job that the controller did not create or forgot: {name}"
                self._events.record(cron, WARNING, "UnexpectedJob", message)
            if ended == "Complete":
                done_at = job.status.completion_time
                old["lastSuccessfulTime"] = max(old.get("lastSuccessfulTime", ""), done_at)
        for reference in old.get("active", ()):
            if reference["uid"] not in known:
                message = f"Active job went missing: {reference.get('name')}"
                self._events.record(cron, NORMAL, "MissingJob", message)
        old["active"] = plan.active_references(old.get("active", []), jobs)
        return old

    async def _clean_up(self, cron: CronJob, jobs: Sequence[Job]) -> None:
        for job in plan.history_to_delete(cron, jobs):
            await self._delete(cron, job)

    async def _delete(self, cron: CronJob, job: Job) -> None:
        meta = job.metadata
        try:
            await self._client.delete(
                JOBS, meta.name, meta.namespace, uid=meta.uid, propagation="Background"
            )
        except NotFound:
            return
        except ApiError as e:
            self._events.record(cron, WARNING, "FailedDelete", f"Deleted job: {e.message}")
            raise
        self._events.record(cron, NORMAL, "SuccessfulDelete", f"Deleted job {meta.name}")

    # Starting

    async def _schedule(
        self, cron: CronJob, jobs: Sequence[Job], books: dict[str, Any]
    ) -> Result | None:
        """Start the job of the newest time that is due, if it may start; when to look again."""
        if cron.spec.suspend:
            return None
        found = self._read_schedule(cron)
        if found is None:
            return None
        schedule, zone = found
        now = self._clock.now()
        try:
            due = plan.due(cron, schedule, zone, now)
        except ValueError as e:
            message = f"invalid schedule: {cron.spec.schedule} : {e}"
            self._events.record(cron, WARNING, "InvalidSchedule", message)
            return None
        again = None if due.following is None else Result(due.following - now + MARGIN_S)
        if due.missed is None:
            return again
        if due.many:
            message = (
                "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or "
                "check clock skew"
            )
            self._events.record(cron, WARNING, "TooManyMissedTimes", message)
        deadline = cron.spec.starting_deadline_seconds
        if deadline is not None and due.missed + deadline < now:
            text = datetime.fromtimestamp(due.missed, UTC).strftime("%a, %d %b %Y %H:%M:%S %z")
            message = f"Missed scheduled time to start a job: {text}"
            self._events.record(cron, WARNING, "MissSchedule", message)
            return again
        name = plan.job_name(cron, due.missed)
        if any(job.metadata.name == name for job in jobs):
            return again
        # Jobs that somebody else made of it (`kubectl create job --from`) are not in the list.
        listed = {reference.get("uid") for reference in books["active"]}
        active = [job for job in jobs if job.metadata.uid in listed]
        if active and cron.spec.concurrency_policy == "Forbid":
            message = (
                "Not starting job because prior execution is running and concurrency policy is "
                "Forbid"
            )
            self._events.record(cron, NORMAL, "JobAlreadyActive", message)
            return again
        if cron.spec.concurrency_policy == "Replace":
            for job in active:
                await self._delete(cron, job)
            gone = {job.metadata.uid for job in active}
            books["active"] = [r for r in books["active"] if r.get("uid") not in gone]
        await self._start(cron, due.missed, zone, books)
        return again

    def _read_schedule(self, cron: CronJob) -> tuple[Schedule, tzinfo] | None:
        name = cron.spec.time_zone
        try:
            zone = location(name)
        except LookupError as e:
            message = f'invalid timeZone: "{name}": {e}'
            self._events.record(cron, WARNING, "UnknownTimeZone", message)
            return None
        if "TZ" in cron.spec.schedule:
            message = (
                f'CRON_TZ or TZ used in schedule "{cron.spec.schedule}" is not officially supported,'
                " see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more"
                " details"
            )
            self._events.record(cron, WARNING, "UnsupportedSchedule", message)
        try:
            return parse(cron.spec.schedule), zone
        except ScheduleError as e:
            message = f'unparseable schedule: "{cron.spec.schedule}" : {e}'
            self._events.record(cron, WARNING, "UnparseableSchedule", message)
            return None

    async def _start(
        self, cron: CronJob, scheduled: float, zone: tzinfo, books: dict[str, Any]
    ) -> None:
        body = plan.job_for(cron, template.parse(cron.spec.job_template), scheduled, zone)
        name, namespace = body["metadata"]["name"], cron.metadata.namespace
        try:
            created = await self._client.create(JOBS, body, namespace)
        except AlreadyExists:
            created = await self._client.get(JOBS, name, namespace)
            owners = created["metadata"].get("ownerReferences") or ()
            if not any(r.get("uid") == cron.metadata.uid for r in owners):
                raise
        except ApiError as e:
            if namespace_ends(e):
                return
            self._events.record(cron, WARNING, "FailedCreate", f"Error creating job: {e.message}")
            raise
        else:
            self._events.record(cron, NORMAL, "SuccessfulCreate", f"Created job {name}")
        reference = {
            "kind": "Job",
            "namespace": namespace,
            "name": name,
            "uid": created["metadata"]["uid"],
            "apiVersion": "batch/v1",
            "resourceVersion": created["metadata"]["resourceVersion"],
        }
        books["active"] = [
            *(r for r in books["active"] if r.get("uid") != reference["uid"]),
            reference,
        ]
        books["lastScheduleTime"] = rfc3339(scheduled)


def _controllers(job: Job) -> tuple[str, ...]:
    reference = controller_of(job.metadata)
    return (reference.uid,) if reference else ()


def _cron_keys(job: Job) -> tuple[Key, ...]:
    reference = controller_of(job.metadata)
    if reference is None or reference.kind != CronJob.RESOURCE.kind:
        return ()
    return (Key(job.metadata.namespace, reference.name),)
