"""CronJobs.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/cron-job-v1/
"""

from typing import Any, ClassVar

from skiff.api import cron
from skiff.api.kinds import errors as fe
from skiff.api.kinds import names, pod_warnings
from skiff.api.kinds.columns import (
    AGE,
    NAME,
    NONE,
    Columns,
    columns,
    containers_text,
    selector_text,
    since,
)
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.job_spec import validate_job_spec
from skiff.api.kinds.jobs import spec_warnings
from skiff.api.kinds.metadata import validate_annotations, validate_labels
from skiff.api.kinds.pod_defaults import default_template
from skiff.api.kinds.strategy import Object, Strategy
from skiff.api.kinds.workloads import validate_not_negative


def _cron_cells(obj: Object, now: float) -> list[Any]:
    meta, spec, status = obj["metadata"], obj.get("spec", {}), obj.get("status", {})
    last = status.get("lastScheduleTime")
    pod = spec.get("jobTemplate", {}).get("spec", {}).get("template", {}).get("spec", {})
    found, images = containers_text(pod)
    selector = spec.get("jobTemplate", {}).get("spec", {}).get("selector")
    return [
        meta.get("name", ""),
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        "True" if spec.get("suspend") else "False",
        len(status.get("active", ())),
        since(last, now) if last else NONE,
        since(meta.get("creationTimestamp"), now),
        found,
        images,
        selector_text(selector),
    ]


class CronJobStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(
            NAME, "Schedule", "Timezone", "Suspend:boolean", "Active:integer", "Last Schedule", AGE,
            "Containers*", "Images*", "Selector*",
        ),
        _cron_cells,
    )  # fmt: skip
    has_generation: ClassVar[bool] = True
    name_rule = staticmethod(names.dns1123_subdomain)

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        if not spec.get("concurrencyPolicy"):
            spec["concurrencyPolicy"] = "Allow"
        spec.setdefault("suspend", False)
        spec.setdefault("successfulJobsHistoryLimit", 3)
        spec.setdefault("failedJobsHistoryLimit", 1)
        job = spec.setdefault("jobTemplate", {})
        job.setdefault("metadata", {})
        template = job.setdefault("spec", {}).setdefault("template", {})
        default_template(template)

    def validate_new(self, obj: Object) -> FieldErrors:
        name = obj["metadata"].get("name", "")
        errors = _validate_zone_in_schedule(obj["spec"], None)
        if len(name) > names.LABEL_MAX - 11:
            message = names.max_length(names.LABEL_MAX - 11).replace("bytes", "characters")
            errors.append(fe.invalid("metadata.name", name, message))
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        return _validate_zone_in_schedule(new["spec"], old["spec"])

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors: FieldErrors = []
        schedule = spec.get("schedule", "")
        if not schedule:
            errors.append(fe.required("spec.schedule"))
        elif fault := cron.fault(schedule):
            errors.append(fe.invalid("spec.schedule", schedule, fault))
        zone = spec.get("timeZone")
        if zone is not None:
            errors += _validate_zone(zone)
        policy = spec.get("concurrencyPolicy", "")
        if not policy:
            errors.append(fe.required("spec.concurrencyPolicy"))
        elif policy not in ("Allow", "Forbid", "Replace"):
            supported = ("Allow", "Forbid", "Replace")
            errors.append(fe.not_supported("spec.concurrencyPolicy", policy, supported))
        errors += validate_not_negative(
            spec, "spec", "startingDeadlineSeconds", "successfulJobsHistoryLimit",
            "failedJobsHistoryLimit",
        )  # fmt: skip
        template = spec.get("jobTemplate", {})
        meta = template.get("metadata", {})
        errors += validate_labels(meta.get("labels", {}), "spec.jobTemplate.labels")
        at = "spec.jobTemplate.annotations"
        errors += validate_annotations(meta.get("annotations", {}), at)
        job = template.get("spec", {})
        errors += validate_job_spec(job, "spec.jobTemplate.spec")
        if job.get("selector") is not None:
            at, message = "spec.jobTemplate.spec.selector", "`selector` will be auto-generated"
            errors.append(fe.invalid(at, job["selector"], message))
        if job.get("manualSelector"):
            value = job["manualSelector"]
            at = "spec.jobTemplate.spec.manualSelector"
            errors.append(fe.not_supported(at, value, ("nil", "false")))
        return errors

    def warnings(self, obj: Object, old: Object | None = None) -> list[str]:
        if old is not None and old.get("spec") == obj.get("spec"):
            return []
        spec = obj.get("spec", {})
        out = pod_warnings.of_name(obj) if old is None else []
        out += spec_warnings(spec.get("jobTemplate", {}).get("spec", {}), "spec.jobTemplate.spec")
        if "TZ" in spec.get("schedule", ""):
            out.append(
                "cannot use TZ or CRON_TZ in spec.schedule, use timeZone instead, see "
                "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more "
                "details"
            )
        return out


def _validate_zone_in_schedule(spec: Object, old: Object | None) -> FieldErrors:
    """A time zone has its own field; schedules that had one in their text before may keep it."""
    schedule = spec.get("schedule", "")
    if "TZ" not in schedule:
        return []
    message = ""
    if old is None or "TZ" not in old.get("schedule", ""):
        message = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
    elif spec.get("timeZone") is not None:
        message = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
    return [fe.invalid("spec.schedule", schedule, message)] if message else []


def _validate_zone(zone: str) -> FieldErrors:
    at = "spec.timeZone"
    if not zone:
        return [fe.invalid(at, zone, "timeZone must be nil or non-empty string")]
    if any(part in (".", "..") or part.startswith("-") for part in zone.split("/")):
        return [fe.invalid(at, zone, f"unknown time zone {zone}")]
    errors: FieldErrors = []
    if zone.lower() == "local":
        message = (
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        )
        errors.append(fe.invalid(at, zone, message))
    try:
        if zone != "Local":
            cron.location(zone)
    except LookupError as e:
        errors.append(fe.invalid(at, zone, str(e)))
    return errors
