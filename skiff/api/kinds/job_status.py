"""The rules of a job's status: whoever writes it, a job that is finished stays so, and nothing that
was counted is lost.

Most rules hold where what they speak of changes, so that a status that breaks one (since the spec
changed under it, say) can still be brought in order step by step.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/#delegation-of-managing-a-job-object-to-external-controller
"""

from typing import Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds.errors import FieldError, FieldErrors
from skiff.api.kinds.job_spec import read_indexes
from skiff.api.kinds.strategy import Object
from skiff.api.kinds.workloads import validate_not_negative

_AT: Final = "status"


def has_condition(job: Object, kind: str) -> bool:
    """Whether the condition is True."""
    found = (job.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == kind and c.get("status") == "True" for c in found)


def is_finished(job: Object) -> bool:
    return has_condition(job, "Complete") or has_condition(job, "Failed")


def validate_status_update(new: Object, old: Object) -> FieldErrors:
    """The faults of the new status, and of the way to it."""
    status = new.get("status") or {}
    errors = validate_not_negative(
        status, _AT, "active", "succeeded", "failed", "ready", "terminating"
    )
    errors += _uncounted(status)
    errors += _conditions(new, old)
    errors += _times(new, old)
    errors += _finished(new, old)
    errors += _indexes(new, old)
    return errors + _course(new, old)


def _changed(new: Object, old: Object, *fields: str) -> bool:
    before, after = old.get("status") or {}, new.get("status") or {}
    return any((before.get(f) or None) != (after.get(f) or None) for f in fields)


def _turned(new: Object, old: Object, *kinds: str) -> bool:
    return any(has_condition(new, kind) != has_condition(old, kind) for kind in kinds)


def _uncounted(status: Object) -> FieldErrors:
    errors: FieldErrors = []
    seen: set[str] = set()
    found = status.get("uncountedTerminatedPods") or {}
    for field in ("succeeded", "failed"):
        for i, uid in enumerate(found.get(field) or ()):
            at = f"{_AT}.uncountedTerminatedPods.{field}[{i}]"
            if not uid:
                errors.append(fe.invalid(at, uid, "must not be empty"))
            elif uid in seen:
                errors.append(fe.duplicate(at, uid))
            seen.add(uid)
    return errors


def _about_conditions(message: str) -> FieldError:
    return fe.invalid(f"{_AT}.conditions", fe.OMITTED, message)


def _conditions(new: Object, old: Object) -> FieldErrors:
    """Conditions that exclude each other, or that do not come alone."""
    complete, failed = has_condition(new, "Complete"), has_condition(new, "Failed")
    failing, met = has_condition(new, "FailureTarget"), has_condition(new, "SuccessCriteriaMet")
    rules = (
        (
            complete and failed and _turned(new, old, "Complete", "Failed"),
            "cannot set Complete=True and Failed=true conditions",
        ),
        (
            complete and failing and _turned(new, old, "Complete", "FailureTarget"),
            "cannot set Complete=True and FailureTarget=true conditions",
        ),
        (
            failed and not failing and _turned(new, old, "Failed", "FailureTarget"),
            "cannot set Failed=True condition without the FailureTarget=true condition",
        ),
        (
            complete and not met and _turned(new, old, "Complete", "SuccessCriteriaMet"),
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        ),
        (met and failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        (met and failing, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
        (
            complete and not met and (new.get("spec") or {}).get("successPolicy") is not None,
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        ),
    )
    return [_about_conditions(message) for broken, message in rules if broken]


def _times(new: Object, old: Object) -> FieldErrors:
    before, after = old.get("status") or {}, new.get("status") or {}
    started, ended = after.get("startTime"), after.get("completionTime")
    complete = has_condition(new, "Complete")
    errors: FieldErrors = []
    at = f"{_AT}.completionTime"
    if _turned(new, old, "Complete") or _changed(new, old, "completionTime"):
        if ended and not complete:
            message = "cannot set completionTime when there is no Complete=True condition"
            errors.append(fe.invalid(at, ended, message))
        if complete and not ended:
            errors.append(fe.required(at, "completionTime is required for Complete jobs"))
    if _changed(new, old, "startTime", "completionTime") and started and ended and ended < started:
        errors.append(fe.invalid(at, ended, "completionTime cannot be set before startTime"))
    if ended and before.get("completionTime") and _changed(new, old, "completionTime"):
        errors.append(fe.invalid(at, ended, "completionTime cannot be mutated"))
    suspended = (new.get("spec") or {}).get("suspend")
    if before.get("startTime") and _changed(new, old, "startTime") and not suspended:
        message = "startTime cannot be removed for unsuspended job"
        errors.append(fe.required(f"{_AT}.startTime", message))
    return errors


def _finished(new: Object, old: Object) -> FieldErrors:
    """What a finished job cannot have, or has to have; and readiness, which goes with activity."""
    status = new.get("status") or {}
    errors: FieldErrors = []
    active, ready = status.get("active") or 0, status.get("ready") or 0
    if ready > active and _changed(new, old, "ready", "active"):
        errors.append(fe.invalid(f"{_AT}.ready", ready, "cannot set more ready pods than active"))
    if not is_finished(new):
        return errors
    turned = not is_finished(old)
    for field in ("active", "terminating"):
        count = status.get(field) or 0
        if count > 0 and (turned or _changed(new, old, field)):
            message = f"{field}>0 is invalid for finished job"
            errors.append(fe.invalid(f"{_AT}.{field}", count, message))
    if not status.get("startTime") and (turned or _changed(new, old, "startTime")):
        errors.append(fe.required(f"{_AT}.startTime", "startTime is required for finished job"))
    uncounted = status.get("uncountedTerminatedPods") or {}
    if any(uncounted.values()) and (turned or _changed(new, old, "uncountedTerminatedPods")):
        message = "uncountedTerminatedPods needs to be empty for finished job"
        errors.append(fe.invalid(f"{_AT}.uncountedTerminatedPods", uncounted, message))
    return errors


def _indexes(new: Object, old: Object) -> FieldErrors:
    spec, status = new.get("spec") or {}, new.get("status") or {}
    completed, failed = status.get("completedIndexes") or "", status.get("failedIndexes")
    limited = spec.get("backoffLimitPerIndex") is not None
    errors: FieldErrors = []
    read: dict[str, list[range]] = {}
    told = {"completedIndexes": completed} | ({"failedIndexes": failed or ""} if limited else {})
    for field, text in told.items() if spec.get("completions") is not None else ():
        try:
            read[field] = read_indexes(text, spec["completions"])
        except ValueError as e:
            if _changed(new, old, field):
                at = f"{_AT}.{field}"
                errors.append(fe.invalid(at, text, f"error parsing {field}: {e}"))
    indexed = spec.get("completionMode") == "Indexed"
    if completed and not indexed and _changed(new, old, "completedIndexes"):
        message = "cannot set non-empty completedIndexes when non-indexed completion mode"
        errors.append(fe.invalid(f"{_AT}.completedIndexes", completed, message))
    if failed is not None and not limited and "failedIndexes" not in (old.get("status") or {}):
        message = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        errors.append(fe.invalid(f"{_AT}.failedIndexes", failed, message))
    both = _overlap(read)
    if both is not None and _changed(new, old, "completedIndexes", "failedIndexes"):
        message = f"failedIndexes and completedIndexes overlap at index: {both}"
        errors.append(fe.invalid(f"{_AT}.failedIndexes", failed, message))
    return errors


def _overlap(read: dict[str, list[range]]) -> int | None:
    """The first index that is in both lists."""
    for done in read.get("completedIndexes", ()):
        for lost in read.get("failedIndexes", ()):
            first = max(done[0], lost[0])
            if first <= min(done[-1], lost[-1]):
                return first
    return None


def _course(new: Object, old: Object) -> FieldErrors:
    """What never goes back."""
    spec, before, after = new.get("spec") or {}, old.get("status") or {}, new.get("status") or {}
    errors = [
        _about_conditions(f"cannot disable the terminal {kind}=True condition")
        for kind in ("Failed", "Complete", "FailureTarget")
        if has_condition(old, kind) and not has_condition(new, kind)
    ]
    # An indexed job whose size follows its parallelism may shrink.
    elastic = spec.get("completionMode") == "Indexed" and (
        spec.get("completions") == spec.get("parallelism")
    )
    for field in ("failed",) if elastic else ("failed", "succeeded"):
        count = after.get(field) or 0
        if count < (before.get(field) or 0):
            errors.append(
                fe.invalid(f"{_AT}.{field}", count, f"cannot decrease the {field} counter")
            )
    had, has = (has_condition(o, "SuccessCriteriaMet") for o in (old, new))
    if had and not has:
        errors.append(_about_conditions("cannot disable the SuccessCriteriaMet=True condition"))
    if has and not had and has_condition(old, "Complete"):
        message = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"
        errors.append(_about_conditions(message))
    return errors
