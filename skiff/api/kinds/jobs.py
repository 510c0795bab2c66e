"""Jobs.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/
"""

from typing import Any, ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import job_status, names, pod_warnings
from skiff.api.kinds.columns import (
    AGE,
    NAME,
    Columns,
    columns,
    containers_text,
    human_duration,
    seconds_of,
    selector_text,
    since,
)
from skiff.api.kinds.errors import FieldErrors, immutable
from skiff.api.kinds.job_spec import (
    COMPLETIONS_SOFT_LIMIT,
    template_may_change,
    validate_job_spec,
)
from skiff.api.kinds.job_status import has_condition
from skiff.api.kinds.metadata import validate_label_selector
from skiff.api.kinds.pod_defaults import default_template
from skiff.api.kinds.strategy import Object, Strategy
from skiff.api.kinds.workloads import selector_matches

_PARALLELISM_SOFT_LIMIT: Final = 10_000
UID_LABEL: Final = "batch.kubernetes.io/controller-uid"
NAME_LABEL: Final = "batch.kubernetes.io/job-name"
_LEGACY_UID: Final = "controller-uid"
_LEGACY_NAME: Final = "job-name"


def _job_status(job: Object) -> str:
    for kind, word in (
        ("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"), ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):  # fmt: skip
        if has_condition(job, kind):
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
        errors = _validate_generated_selector(obj)
        errors += validate_job_spec(spec, "spec")
        selector = spec.get("selector")
        labels = spec.get("template", {}).get("metadata", {}).get("labels", {})
        if selector is None:
            errors.append(fe.required("spec.selector"))
        else:
            errors += validate_label_selector(selector, "spec.selector")
            if not selector_matches(selector, labels):
                message = "`selector` does not match template `labels`"
                errors.append(fe.invalid("spec.template.metadata.labels", labels, message))
        return errors + _validate_hostnames(obj)

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        after, before = new["spec"], old["spec"]
        errors = _validate_completions(after, before)
        errors += immutable("spec.selector", after.get("selector"), before.get("selector"))
        if after.get("template") != before.get("template") and not template_may_change(
            after, before, old.get("status", {})
        ):
            errors.append(fe.invalid("spec.template", after.get("template"), fe.IMMUTABLE))
        for field in (
            "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy",
            "successPolicy",
        ):  # fmt: skip
            errors += immutable(f"spec.{field}", after.get(field), before.get(field))
        return errors

    def validate_status_update(self, new: Object, old: Object) -> FieldErrors:
        return job_status.validate_status_update(new, old)

    def warnings(self, obj: Object, old: Object | None = None) -> list[str]:
        if old is not None and old.get("spec") == obj.get("spec"):
            return []
        out = pod_warnings.of_name(obj) if old is None else []
        return out + spec_warnings(obj.get("spec", {}), "spec")

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
    # What the client set is kept: if it does not fit, it is refused.
    for label in (_LEGACY_NAME, NAME_LABEL):
        labels.setdefault(label, name)
    for label in (_LEGACY_UID, UID_LABEL):
        labels.setdefault(label, uid)
    spec.setdefault("selector", {}).setdefault("matchLabels", {}).setdefault(UID_LABEL, uid)


def _validate_generated_selector(job: Object) -> FieldErrors:
    """A selector that was not made by hand is this very job's."""
    meta, spec = job["metadata"], job.get("spec", {})
    if spec.get("manualSelector") or spec.get("selector") is None:
        return []
    name, uid = meta.get("name", ""), meta.get("uid", "")
    expected = {_LEGACY_UID: uid, _LEGACY_NAME: name, UID_LABEL: uid, NAME_LABEL: name}
    at = "spec.template.metadata.labels"
    labels = spec.get("template", {}).get("metadata", {}).get("labels", {})
    errors: FieldErrors = []
    for label, value in expected.items():
        if label not in labels:
            errors.append(fe.required(f"{at}[{label}]", f"must be '{value}'"))
        elif labels[label] != value:
            errors.append(fe.invalid(f"{at}[{label}]", labels, f"must be '{value}'"))
    if not selector_matches(spec["selector"], expected):
        message = "`selector` not auto-generated"
        errors.append(fe.invalid("spec.selector", spec["selector"], message))
    return errors


def _validate_hostnames(job: Object) -> FieldErrors:
    """Pods of an indexed job have its name and their index as their host name."""
    spec, name = job.get("spec", {}), job["metadata"].get("name", "")
    completions = spec.get("completions") or 0
    if spec.get("completionMode") != "Indexed" or completions <= 0:
        return []
    longest = f"{name}-{completions - 1}"
    if not names.dns1123_label(longest):
        return []
    message = f"will not able to create pod with invalid DNS label: {longest}"
    return [fe.invalid("metadata.name", name, message)]


def _validate_completions(new: Object, old: Object) -> FieldErrors:
    after, before = new.get("completions"), old.get("completions")
    if new.get("completionMode") != "Indexed":
        return immutable("spec.completions", after, before)
    if after in (before, None) or after == new.get("parallelism"):
        return []
    message = "can only be modified in tandem with spec.parallelism"
    return [fe.invalid("spec.completions", after, message)]


def spec_warnings(spec: Object, path: str) -> list[str]:
    """The warnings about a job's spec."""
    out = []
    many = (spec.get("completions") or 0) > COMPLETIONS_SOFT_LIMIT
    wide = (spec.get("parallelism") or 0) > _PARALLELISM_SOFT_LIMIT
    if spec.get("completionMode") == "Indexed" and many and wide:
        out.append(
            f"{path}: In Indexed Jobs with a number of completions higher than 10^5 and a "
            "parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes "
            "when a big number of indexes fail"
        )
    pod = spec.get("template", {}).get("spec", {})
    return out + pod_warnings.of_spec(pod, f"{path}.template.spec")
