"""The Job reconciler."""

import logging
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec

from skiff.aio.backoff import Backoff
from skiff.api.errors import ApiError, Conflict, NotFound
from skiff.api.resources import PODS
from skiff.api.views.batch import Job
from skiff.api.views.core import Pod
from skiff.api.views.matching import matcher
from skiff.client.events import NORMAL, WARNING
from skiff.client.reconciler import Key, Reconciler, Result, all_of, key_of
from skiff.client.references import controller_of
from skiff.controllers import pods, status, template
from skiff.controllers.context import Context
from skiff.controllers.expectations import Expectations
from skiff.controllers.job import account
from skiff.controllers.job.account import FINALIZER, Account
from skiff.controllers.ownership import AdoptionRefused, claim
from skiff.controllers.pace import settle_s
from skiff.controllers.podcontrol import PodControl
from skiff.controllers.replicaset import pod_controllers

CONTROLLER: Final = "kubernetes.io/job-controller"
RETRY_BACKOFF: Final = Backoff(base_s=10.0, cap_s=600.0)
BURST: Final = 500
MAX_IN_FLIGHT: Final = 64
MAX_HOSTNAME: Final = 63
# Fields of the status that are pointers on the wire: they are there even when they are zero.
_POINTERS: Final = ("ready", "terminating", "uncountedTerminatedPods", "failedIndexes")
# Keys of pods whose job is gone: their finalizer must still go.
ORPHAN: Final = "pod/"

log = logging.getLogger(__name__)


class JobReconciler(Reconciler):
    """See the package's text."""

    name: ClassVar[str] = "job"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=10)
        self._clock = context.clock
        self._client = context.client
        self._events = context.events.of("job-controller")
        self._pod_control = PodControl(context.client, self._events)
        self._expectations = Expectations()
        self._jobs = context.informers.of(Job)
        self._pods = context.informers.of(Pod)
        self._pods.add_index("controller", pod_controllers)
        # For each job: failures since the last success, and when the last one was.
        self._retries: dict[str, tuple[int, float]] = {}
        self.needs(self._jobs, self._pods)
        self._jobs.subscribe(self._job_changed)
        self._pods.subscribe(self._pod_changed)

    # Changes

    def _job_changed(self, old: Job | None, new: Job | None) -> None:
        if new is not None:
            self.queue.add(key_of(new))
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._expectations.forget(old.metadata.uid)
            self._retries.pop(old.metadata.uid, None)
            for pod in self._pods.by_index("controller", old.metadata.uid):
                self._enqueue_orphan(pod)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        assert pod is not None
        reference = controller_of(pod.metadata)
        if reference is None or reference.kind != Job.RESOURCE.kind:
            if new is not None and reference is None:
                self._enqueue_orphan(new)  # its job was deleted, and left it behind
                self._enqueue_adopters(new)
            return
        if new is None or new.metadata.deletion_timestamp:
            self._expectations.deleted(reference.uid, pod.metadata.uid)
        elif old is None:
            self._expectations.created(reference.uid)
        job = self._jobs.get(reference.name, pod.metadata.namespace)
        if job is not None and job.metadata.uid == reference.uid:
            self.queue.add_after(key_of(job), settle_s(job.status.active))
        elif new is not None:
            self._enqueue_orphan(new)

    def _enqueue_orphan(self, pod: Pod) -> None:
        if account.is_tracked(pod):
            self.queue.add(Key(pod.metadata.namespace, ORPHAN + pod.metadata.name))

    def _enqueue_adopters(self, pod: Pod) -> None:
        for job in self._jobs.list(pod.metadata.namespace):
            if matcher(job.spec.selector).matches(pod.metadata.labels):
                self.queue.add(key_of(job))

    # Reconciling

    async def reconcile(self, key: Key) -> Result | None:
        """Bring one job's pods and books up to date."""
        if key.name.startswith(ORPHAN):
            await self._release_orphan(key)
            return None
        job = self._jobs.get(key.name, key.namespace)
        if job is None or (job.spec.managed_by or CONTROLLER) != CONTROLLER:
            return None
        if is_finished(job):
            await self._release([p for p in self._controlled(job) if account.is_tracked(p)])
            return None
        try:
            found = await self._claim(job)
        except AdoptionRefused as e:
            log.debug("%s: %s", key, e)
            return None
        if job.metadata.deletion_timestamp:
            await self._release([p for p in found if account.is_tracked(p)])
            return None
        return await self._sync(job, found)

    def _controlled(self, job: Job) -> list[Pod]:
        return self._pods.by_index("controller", job.metadata.uid)

    async def _claim(self, job: Job) -> list[Pod]:
        orphans = self._pods.by_index("controller", ("", job.metadata.namespace))
        selector = matcher(job.spec.selector)
        candidates = self._controlled(job) + orphans
        return await claim(self._client, job, selector, candidates, finalizer=FINALIZER)

    async def _sync(self, job: Job, found: list[Pod]) -> Result | None:
        now = self._clock.now()
        books = account.open_account(job)
        counts: dict[str, Any] = {"startTime": job.status.start_time}
        if not job.spec.suspend and not counts["startTime"]:
            counts["startTime"] = account.stamp(now)
        account.count(books, found, failing=books.has("FailureTarget"))
        self._note_retries(books, now)
        active = [p for p in found if pods.is_active(p)]
        decided = account.verdict(books, active, now)
        failure: ApiError | None = None
        if decided is not None:
            kind, (reason, message) = decided
            _set_condition(books.conditions, kind, "True", reason, message, now)
            failure = await self._stop(job, active)
        elif self._expectations.satisfied(job.metadata.uid, now):
            if job.spec.suspend:
                failure = await self._remove(job, active)
            else:
                failure = await self._manage(books, found, active)
            self._note_suspension(books, counts, now)
        found = self._controlled(job)
        if decided is not None and self._all_done(books, found):
            self._conclude(books, decided, counts, now)
        self._fill(counts, found)
        new_status = account.status_of(books, counts)
        await status.write(
            self._client, job, job.status, new_status, precise=True, present=_POINTERS
        )
        self._tell(job, books)
        await self._release(self._may_release(books, found))
        if failure is not None:
            raise failure
        return self._next_look(job, books, found, now)

    def _note_suspension(self, books: Account, counts: dict[str, Any], now: float) -> None:
        """The Suspended condition; a job's time runs only while it is not suspended."""
        conditions, before = books.conditions, books.has("Suspended")
        if books.job.spec.suspend and not before:
            _set_condition(conditions, "Suspended", "True", "JobSuspended", "Job suspended", now)
            counts["startTime"] = ""
        elif before and not books.job.spec.suspend:
            _set_condition(conditions, "Suspended", "False", "JobResumed", "Job resumed", now)
            counts["startTime"] = account.stamp(now)

    def _note_retries(self, books: Account, now: float) -> None:
        """Count failures since the last success: they set how long the next try waits."""
        ended = [(account.finished_at(p, now), True) for p in books.newly_failed]
        ended += [(account.finished_at(p, now), False) for p in books.newly_succeeded]
        uid = books.job.metadata.uid
        failures, last = self._retries.get(uid, (0, 0.0))
        for at, failed in sorted(ended):
            failures, last = (failures + 1, at) if failed else (0, at)
        if ended:
            self._retries[uid] = (failures, last)

    def _retry_in_s(self, job: Job, now: float) -> float:
        failures, last = self._retries.get(job.metadata.uid, (0, 0.0))
        if failures == 0 or job.spec.backoff_limit_per_index is not None:
            return 0.0
        return max(0.0, last + RETRY_BACKOFF.delay_s(failures) - now)

    # Pods

    async def _manage(
        self, books: Account, found: Sequence[Pod], active: Sequence[Pod]
    ) -> ApiError | None:
        """Create or delete pods so that as many run as should."""
        job, now = books.job, self._clock.now()
        parallelism = 1 if job.spec.parallelism is None else job.spec.parallelism
        want = parallelism
        if job.spec.completions is None:
            if books.total_succeeded > 0:
                want = len(active)
        else:
            left = job.spec.completions - books.total_succeeded - len(books.failed_indexes)
            want = min(parallelism, left)
        want = max(0, want)
        gone, kept = account.surplus(job, active)
        beyond = max(0, len(active) - want - len(gone))
        gone += pods.cheapest_first(kept)[:beyond]
        if gone:
            return await self._remove(job, gone[:BURST])
        if account.only_replaces_failed(job):
            want -= sum(pods.is_terminating(p) for p in found)
        missing = min(want - len(active), BURST)
        if missing <= 0 or self._retry_in_s(job, now) > 0:
            return None
        return await self._create(books, found, active, missing)

    async def _create(
        self, books: Account, found: Sequence[Pod], active: Sequence[Pod], missing: int
    ) -> ApiError | None:
        job = books.job
        pod_template = template.parse(job.spec.template)
        if account.is_indexed(job):
            bodies = self._indexed_bodies(books, found, active, pod_template, missing)
        else:
            bodies = [msgspec.json.encode(pod_for(job, pod_template))] * missing
        if not bodies:
            return None
        now = self._clock.now()
        self._expectations.expect(job.metadata.uid, now, creations=len(bodies))
        return await self._pod_control.create(job, bodies, self._expectations)

    def _indexed_bodies(
        self,
        books: Account,
        found: Sequence[Pod],
        active: Sequence[Pod],
        pod_template: template.Template,
        missing: int,
    ) -> list[bytes]:
        job, now = books.job, self._clock.now()
        holding = active
        if account.only_replaces_failed(job):
            holding = [*active, *(p for p in found if pods.is_terminating(p))]
        taken = {i for p in holding if (i := account.index_of(p)) is not None}
        bodies = []
        failures = last_failures(job, found)
        for index in account.missing_indexes(job.spec.completions or 0, taken, books, missing):
            failed, ignored, due = failures.get(index, (0, 0, 0.0))
            if job.spec.backoff_limit_per_index is None or due <= now:
                body = pod_for(job, pod_template, index, failed, ignored)
                bodies.append(msgspec.json.encode(body))
        return bodies

    async def _stop(self, job: Job, chosen: Sequence[Pod]) -> ApiError | None:
        if not chosen:
            return None
        uids = frozenset(pod.metadata.uid for pod in chosen)
        self._expectations.expect(job.metadata.uid, self._clock.now(), deletions=uids)
        return await self._pod_control.delete(job, chosen, self._expectations)

    async def _remove(self, job: Job, chosen: Sequence[Pod]) -> ApiError | None:
        """Delete pods that are not wanted any more: they are no failures, so nobody counts them."""
        await self._release([pod for pod in chosen if account.is_tracked(pod)])
        return await self._stop(job, chosen)

    # Finalizers

    def _may_release(self, books: Account, found: Sequence[Pod]) -> list[Pod]:
        """The counted pods, save the newest failed one of an index that will be tried again: it
        remembers how often the index has failed."""
        if books.job.spec.backoff_limit_per_index is None or is_concluded(books):
            return books.release
        newest: dict[int, Pod] = {}
        for pod in found:
            index = account.index_of(pod)
            if index is None:
                continue
            known = newest.get(index)
            if known is None or _age_key(pod) > _age_key(known):
                newest[index] = pod
        done = books.completed | books.failed_indexes
        kept = {pod.metadata.uid for index, pod in newest.items() if index not in done}
        return [pod for pod in books.release if pod.metadata.uid not in kept]

    async def _release(self, chosen: Sequence[Pod]) -> None:
        errors = await all_of(
            *((lambda p=p: self._unfinalize(p)) for p in chosen), limit=MAX_IN_FLIGHT
        )
        for error in errors:
            if error is not None and not isinstance(error, (NotFound, Conflict)):
                raise error

    async def _release_orphan(self, key: Key) -> None:
        pod = self._pods.get(key.name.removeprefix(ORPHAN), key.namespace)
        if pod is None or not account.is_tracked(pod):
            return
        reference = controller_of(pod.metadata)
        if reference is not None:
            job = self._jobs.get(reference.name, key.namespace)
            if job is not None and job.metadata.uid == reference.uid:
                return
        await self._release([pod])

    async def _unfinalize(self, pod: Pod) -> None:
        meta = pod.metadata
        left = [f for f in meta.finalizers if f != FINALIZER]
        patch = {
            "metadata": {
                "uid": meta.uid,
                "resourceVersion": meta.resource_version,
                "finalizers": left or None,
            }
        }
        await self._client.patch(PODS, meta.name, meta.namespace, patch)

    # The end

    def _all_done(self, books: Account, found: Sequence[Pod]) -> bool:
        """Every pod has ended and is counted."""
        return not (
            books.uncounted_failed
            or books.uncounted_succeeded
            or any(not _ended(pod) for pod in found)
            or any(account.is_tracked(p) and p not in books.release for p in found)
        )

    def _conclude(
        self,
        books: Account,
        decided: tuple[str, account.Verdict],
        counts: dict[str, Any],
        now: float,
    ) -> None:
        kind, (reason, message) = decided
        final = "Failed" if kind == "FailureTarget" else "Complete"
        _set_condition(books.conditions, final, "True", reason, message, now)
        if final == "Complete":
            counts["completionTime"] = account.stamp(now)

    def _fill(self, counts: dict[str, Any], found: Sequence[Pod]) -> None:
        active = [p for p in found if pods.is_active(p)]
        counts["active"] = len(active)
        counts["ready"] = sum(pods.is_ready(p) for p in active)
        counts["terminating"] = sum(pods.is_terminating(p) for p in found)

    def _tell(self, job: Job, books: Account) -> None:
        """Events for what is new in the conditions."""
        old = {(c.type, c.status) for c in job.status.conditions}
        for condition in books.conditions:
            kind, state = condition["type"], condition["status"]
            if (kind, state) in old:
                continue
            if kind == "Complete":
                if books.succeeded > (job.spec.completions or books.succeeded):
                    message = "Too many succeeded pods running after completion count reached"
                    self._events.record(job, WARNING, "TooManySucceededPods", message)
                self._events.record(job, NORMAL, "Completed", "Job completed")
            elif kind == "Failed":
                reason, message = condition.get("reason", ""), condition.get("message", "")
                self._events.record(job, WARNING, reason, message)
            elif kind == "Suspended":
                word = "suspended" if state == "True" else "resumed"
                self._events.record(job, NORMAL, word.title(), f"Job {word}")

    def _next_look(
        self, job: Job, books: Account, found: Sequence[Pod], now: float
    ) -> Result | None:
        """When something is due that no change will announce: the deadline, a retry."""
        waits = []
        deadline = account.deadline_in_s(job, now)
        if deadline is not None and not is_concluded(books):
            waits.append(max(deadline, 0.01))
        if (retry := self._retry_in_s(job, now)) > 0:
            waits.append(retry)
        if job.spec.backoff_limit_per_index is not None:
            waits += [due - now for *_, due in last_failures(job, found).values() if due > now]
        return Result(min(waits)) if waits else None


def _set_condition(
    conditions: list[status.Condition], kind: str, state: str, reason: str, message: str, now: float
) -> None:
    """As a job's conditions are kept: with the time when they were last looked at."""
    if status.set_condition(conditions, kind, state, reason, message, now):
        found = status.find(conditions, kind)
        assert found is not None
        found["lastProbeTime"] = found["lastTransitionTime"] = account.stamp(now)


def is_finished(job: Job) -> bool:
    """Complete or Failed."""
    return any(
        c.type in ("Complete", "Failed") and c.status == "True" for c in job.status.conditions
    )


def is_concluded(books: Account) -> bool:
    """The books say that the job is finished."""
    return books.has("Complete") or books.has("Failed")


def _ended(pod: Pod) -> bool:
    return pods.is_terminal(pod)


def _age_key(pod: Pod) -> tuple[int, str, str]:
    return account.attempts(pod), pod.metadata.creation_timestamp, pod.metadata.name


def last_failures(job: Job, found: Sequence[Pod]) -> dict[int, tuple[int, int, float]]:
    """For each index whose newest pod failed: how often it has failed now, how often its failures
    were ignored, and when it may be tried again."""
    newest: dict[int, Pod] = {}
    for pod in found:
        index = account.index_of(pod)
        if index is not None and (index not in newest or _age_key(pod) > _age_key(newest[index])):
            newest[index] = pod
    result = {}
    for index, pod in newest.items():
        if pod.status.phase == "Failed":
            failed, ignored = account.failures_with(job, pod)
            delay_s = RETRY_BACKOFF.delay_s(failed + ignored)
            result[index] = (failed, ignored, account.finished_at(pod, 0.0) + delay_s)
    return result


def pod_for(
    job: Job,
    pod_template: template.Template,
    index: int | None = None,
    failures: int = 0,
    ignored: int = 0,
) -> dict[str, Any]:
    """A pod of the job, for `index` where the job is indexed. Pure."""
    pod = template.pod_of_template(job, pod_template)
    metadata = pod["metadata"]
    metadata["finalizers"] = [*metadata.get("finalizers", ()), FINALIZER]
    if index is None:
        return pod
    text = str(index)
    name = job.metadata.name
    metadata["generateName"] = f"{name}-{text}-"
    metadata["labels"] = {**(metadata.get("labels") or {}), account.INDEX: text}
    annotations = {**(metadata.get("annotations") or {}), account.INDEX: text}
    if job.spec.backoff_limit_per_index is not None:
        annotations[account.INDEX_FAILURES] = str(failures)
        if ignored:
            annotations[account.IGNORED_FAILURES] = str(ignored)
    metadata["annotations"] = annotations
    spec = dict(pod["spec"])
    spec["hostname"] = f"{name}-{text}"[:MAX_HOSTNAME]
    for field in ("containers", "initContainers"):
        if spec.get(field):
            spec[field] = [_with_index(container) for container in spec[field]]
    pod["spec"] = spec
    return pod


def _with_index(container: dict[str, Any]) -> dict[str, Any]:
    env = container.get("env") or []
    if any(variable["name"] == "JOB_COMPLETION_INDEX" for variable in env):
        return container
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{account.INDEX}']"}}
    return {**container, "env": [*env, {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}]}
