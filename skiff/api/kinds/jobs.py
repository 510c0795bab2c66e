"""Jobs and CronJobs.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/ and .../cron-job-v1/
"""

from typing import Any, ClassVar, Final

from skiff.api.kinds import cron, names, pod_warnings
from skiff.api.kinds import errors as fe
from skiff.api.kinds.columns import (
    AGE,
    NAME,
    NONE,
    Columns,
    columns,
    containers_text,
    human_duration,
    seconds_of,
    selector_text,
    since,
)
from skiff.api.kinds.errors import FieldErrors, immutable
from skiff.api.kinds.metadata import validate_annotations, validate_labels
from skiff.api.kinds.pod_defaults import default_template
from skiff.api.kinds.pod_spec import validate_template
from skiff.api.kinds.strategy import Object, Strategy
from skiff.api.kinds.workloads import selector_matches, validate_not_negative

_POLICIES: Final = ("Never", "OnFailure")
_INDEXED_MAX: Final = 100000
UID_LABEL: Final = "batch.kubernetes.io/controller-uid"
NAME_LABEL: Final = "batch.kubernetes.io/job-name"
_LEGACY_UID: Final = "controller-uid"
_LEGACY_NAME: Final = "job-name"


def _condition(job: Object, kind: str) -> bool:
    found = job.get("status", {}).get("conditions", ())
    return any(c.get("type") == kind and c.get("status") == "True" for c in found)


def _job_status(job: Object) -> str:
    for kind, word in (
        ("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"), ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):  # fmt: skip
        if _condition(job, kind):
            return word
    return "Terminating" if job["metadata"].get("deletionTimestamp") else "Running"


def _job_cells(obj: Object, now: float) -> list[Any]:
    meta, spec, status = obj["metadata"], obj.get("spec", {}), obj.get("status", {})
    succeeded, wanted = status.get("succeeded", 0), spec.get("completions")
    if wanted is not None:
        completions = f"{succeeded}/{wanted}"
    elif spec.get("parallelism", 1) > 1:
        completions = f"{succeeded}/1 of {spec['parallelism']}"
    else:
        completions = f"{succeeded}/1"
    duration = ""
    if status.get("startTime"):
        end = seconds_of(status["completionTime"]) if status.get("completionTime") else now
        duration = human_duration(end - seconds_of(status["startTime"]))
    found, images = containers_text(spec.get("template", {}).get("spec", {}))
    return [
        meta.get("name", ""),
        _job_status(obj),
        completions,
        duration,
        since(meta.get("creationTimestamp"), now),
        found,
        images,
        selector_text(spec.get("selector")),
    ]


class JobStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(
            NAME, "Status", "Completions", "Duration", AGE, "Containers*", "Images*", "Selector*"
        ),
        _job_cells,
    )
    has_generation: ClassVar[bool] = True
    selectable_fields: ClassVar[tuple[str, ...]] = ("status.successful",)

    def default(self, obj: Object) -> None:
        default_job(obj)

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        if not obj["spec"].get("manualSelector"):
            generate_selector(obj)

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors = validate_job_spec(spec, "spec")
        selector = spec.get("selector")
        labels = spec.get("template", {}).get("metadata", {}).get("labels", {})
        if selector is None:
            errors.append(fe.required("spec.selector"))
        elif not selector_matches(selector, labels):
            message = "`selector` does not match template `labels`"
            errors.append(fe.invalid("spec.template.metadata.labels", labels, message))
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        after, before = new["spec"], old["spec"]
        errors: FieldErrors = []
        indexed = before.get("completionMode") == "Indexed"
        if not (indexed and after.get("completions") == after.get("parallelism")):
            errors += immutable(
                "spec.completions", after.get("completions"), before.get("completions")
            )
        errors += immutable("spec.selector", after.get("selector"), before.get("selector"))
        if after.get("template") != before.get("template") and not _template_may_change(
            after, before, old.get("status", {})
        ):
            errors.append(fe.invalid("spec.template", after.get("template"), fe.IMMUTABLE))
        for field in (
            "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy",
            "successPolicy",
        ):  # fmt: skip
            errors += immutable(f"spec.{field}", after.get(field), before.get(field))
        return errors

    def warnings(self, obj: Object, old: Object | None = None) -> list[str]:
        if old is not None and old.get("spec") == obj.get("spec"):
            return []
        pod = obj.get("spec", {}).get("template", {}).get("spec", {})
        return pod_warnings.of_spec(pod, "spec.template.spec")

    def selectable(self, obj: Object) -> dict[str, str]:
        return {"status.successful": str(obj.get("status", {}).get("succeeded", 0))}


def default_job(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    spec.setdefault("parallelism", 1)
    if spec.get("backoffLimit") is None:
        spec["backoffLimit"] = 6 if spec.get("backoffLimitPerIndex") is None else (1 << 31) - 1
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    failure = spec.get("podFailurePolicy")
    if spec.get("podReplacementPolicy") is None:
        spec["podReplacementPolicy"] = "TerminatingOrFailed" if failure is None else "Failed"
    if failure is not None:
        for rule in failure.get("rules", ()):
            for pattern in rule.get("onPodConditions", ()):
                pattern.setdefault("status", "True")
    spec.setdefault("manualSelector", False)
    template = spec.setdefault("template", {})
    default_template(template)
    labels = template["metadata"].get("labels")
    if labels and not obj.setdefault("metadata", {}).get("labels"):
        obj["metadata"]["labels"] = dict(labels)


def generate_selector(job: Object) -> None:
    """The selector and template labels that tie a job's pods to it. They need its uid."""
    meta, spec = job["metadata"], job["spec"]
    labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    name, uid = meta.get("name", ""), meta.get("uid", "")
    labels[_LEGACY_NAME] = labels[NAME_LABEL] = name
    labels[_LEGACY_UID] = labels[UID_LABEL] = uid
    spec.setdefault("selector", {}).setdefault("matchLabels", {})[UID_LABEL] = uid


def _template_may_change(new: Object, old: Object, status: Object) -> bool:
    """A suspended job that has not started may change where its pods go."""
    if not old.get("suspend") or status.get("startTime"):
        return False
    fields = ("nodeSelector", "affinity", "tolerations", "schedulingGates")

    def rest(template: Object) -> Object:
        kept = {k: v for k, v in template.get("spec", {}).items() if k not in fields}
        kept["containers"] = [
            {k: v for k, v in c.items() if k != "resources"} for c in kept.get("containers", ())
        ]
        kept["initContainers"] = [
            {k: v for k, v in c.items() if k != "resources"} for c in kept.get("initContainers", ())
        ]
        return {"spec": kept}

    return rest(new.get("template", {})) == rest(old.get("template", {}))


def validate_job_spec(spec: Object, path: str) -> FieldErrors:
    """The rules of a job's spec but for its selector (a CronJob's jobs have none yet)."""
    errors = validate_not_negative(
        spec, path, "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit",
        "ttlSecondsAfterFinished", "backoffLimitPerIndex", "maxFailedIndexes",
    )  # fmt: skip
    mode = spec.get("completionMode")
    if mode not in ("NonIndexed", "Indexed"):
        at = f"{path}.completionMode"
        errors.append(fe.not_supported(at, mode, ("NonIndexed", "Indexed")))
    elif mode == "Indexed":
        if spec.get("completions") is None:
            message = "when completion mode is Indexed"
            errors.append(fe.required(f"{path}.completions", message))
        if spec.get("parallelism", 1) > _INDEXED_MAX:
            message = (
                f"must be less than or equal to {_INDEXED_MAX} when completion mode is Indexed"
            )
            errors.append(fe.invalid(f"{path}.parallelism", spec["parallelism"], message))
    elif spec.get("backoffLimitPerIndex") is not None:
        at, value = f"{path}.backoffLimitPerIndex", spec["backoffLimitPerIndex"]
        errors.append(fe.invalid(at, value, "requires indexed completion mode"))
    policy = spec.get("podReplacementPolicy")
    if policy not in (None, "Failed", "TerminatingOrFailed"):
        at = f"{path}.podReplacementPolicy"
        errors.append(fe.not_supported(at, policy, ("Failed", "TerminatingOrFailed")))
    template = spec.get("template", {})
    errors += validate_template(template, f"{path}.template")
    restart = template.get("spec", {}).get("restartPolicy", "")
    at = f"{path}.template.spec.restartPolicy"
    if restart == "Always":
        # A job's pods end: the default of pods does not fit.
        errors.append(fe.required(at, 'valid values: "OnFailure", "Never"'))
    elif restart and restart not in _POLICIES:
        errors.append(fe.not_supported(at, restart, ("OnFailure", "Never")))
    if spec.get("podFailurePolicy") is not None:
        if restart != "Never":
            message = 'only "Never" is supported when podFailurePolicy is specified'
            errors.append(fe.invalid(at, restart, message))
        errors += _validate_failure_policy(spec["podFailurePolicy"], f"{path}.podFailurePolicy")
    return errors


_ACTIONS: Final = ("Count", "FailIndex", "FailJob", "Ignore")


def _validate_failure_policy(policy: Object, path: str) -> FieldErrors:
    errors: FieldErrors = []
    for i, rule in enumerate(policy.get("rules", ())):
        at = f"{path}.rules[{i}]"
        action = rule.get("action", "")
        if not action:
            errors.append(
                fe.required(
                    f"{at}.action", 'valid values: "Count", "FailIndex", "FailJob", "Ignore"'
                )
            )
        elif action not in _ACTIONS:
            errors.append(fe.not_supported(f"{at}.action", action, _ACTIONS))
        codes, patterns = rule.get("onExitCodes"), rule.get("onPodConditions")
        if codes is None and not patterns:
            message = "specifying one of OnExitCodes and OnPodConditions is required"
            errors.append(fe.invalid(at, rule, message))
        elif codes is not None and patterns:
            message = "specifying both OnExitCodes and OnPodConditions is not supported"
            errors.append(fe.invalid(at, rule, message))
        if codes is not None:
            operator, values = codes.get("operator", ""), codes.get("values", [])
            if operator not in ("In", "NotIn"):
                where = f"{at}.onExitCodes.operator"
                errors.append(fe.not_supported(where, operator, ("In", "NotIn")))
            if not values:
                message = "at least one value is required"
                errors.append(fe.invalid(f"{at}.onExitCodes.values", values, message))
            if operator == "In" and 0 in values:
                message = "must not be 0 for the In operator"
                where = f"{at}.onExitCodes.values[{values.index(0)}]"
                errors.append(fe.invalid(where, 0, message))
    return errors


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
        if len(name) > names.LABEL_MAX - 11:
            message = names.max_length(names.LABEL_MAX - 11).replace("bytes", "characters")
            return [fe.invalid("metadata.name", name, message)]
        return []

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors: FieldErrors = []
        schedule = spec.get("schedule", "")
        if not schedule:
            errors.append(fe.required("spec.schedule"))
        else:
            fault = cron.fault(schedule)
            if fault:
                errors.append(fe.invalid("spec.schedule", schedule, fault))
            if "TZ" in schedule:
                message = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
                errors.append(fe.invalid("spec.schedule", schedule, message))
        zone = spec.get("timeZone")
        if zone is not None:
            errors += _validate_zone(zone)
        policy = spec.get("concurrencyPolicy", "")
        if policy not in ("Allow", "Forbid", "Replace"):
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
        job = dict(template.get("spec", {}))
        job.setdefault("completionMode", "NonIndexed")
        errors += validate_job_spec(job, "spec.jobTemplate.spec")
        if job.get("manualSelector"):
            value = job["manualSelector"]
            at = "spec.jobTemplate.spec.manualSelector"
            errors.append(fe.not_supported(at, value, ("nil", "false")))
        return errors

    def warnings(self, obj: Object, old: Object | None = None) -> list[str]:
        if old is not None and old.get("spec") == obj.get("spec"):
            return []
        template = obj.get("spec", {}).get("jobTemplate", {}).get("spec", {}).get("template", {})
        return pod_warnings.of_spec(template.get("spec", {}), "spec.jobTemplate.spec.template.spec")


def _validate_zone(zone: str) -> FieldErrors:
    at = "spec.timeZone"
    if not zone:
        return [fe.invalid(at, zone, "timeZone must be nil or non-empty string")]
    if zone.lower() == "local":
        return [
            fe.invalid(
                at,
                zone,
                "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
            )
        ]
    return [] if cron.is_zone(zone) else [fe.invalid(at, zone, f"unknown time zone {zone}")]
