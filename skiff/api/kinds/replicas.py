"""ReplicaSets and ReplicationControllers.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/replica-set-v1/
"""

from typing import ClassVar

from skiff.api.kinds import errors as fe
from skiff.api.kinds import pod_warnings
from skiff.api.kinds.columns import Columns
from skiff.api.kinds.errors import FieldErrors, immutable
from skiff.api.kinds.pod_defaults import default_template
from skiff.api.kinds.strategy import Object, Strategy
from skiff.api.kinds.template_columns import REPLICA_SET, REPLICATION_CONTROLLER
from skiff.api.kinds.workloads import (
    validate_not_negative,
    validate_selector,
    validate_status_counts,
    validate_workload_template,
)

_COUNTS = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas")


class ReplicaSetStrategy(Strategy):
    columns: ClassVar[Columns] = REPLICA_SET
    has_generation: ClassVar[bool] = True
    empty_status: ClassVar[Object | None] = {"replicas": 0}
    selectable_fields: ClassVar[tuple[str, ...]] = ("status.replicas",)

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("replicas", 1)
        default_template(spec.setdefault("template", {}))

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors = validate_not_negative(spec, "spec", "replicas", "minReadySeconds")
        errors += validate_selector(spec, "spec", "empty selector is invalid for deployment")
        return errors + validate_workload_template(spec, "spec", kind="ReplicaSet")

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        return immutable("spec.selector", new["spec"].get("selector"), old["spec"].get("selector"))

    def validate_status_update(self, new: Object, old: Object) -> FieldErrors:
        del old
        status = new.get("status", {})
        errors = validate_not_negative(status, "status", "observedGeneration")
        return errors + validate_status_counts(status, *_COUNTS)

    def warnings(self, obj: Object, old: Object | None = None) -> list[str]:
        if old is not None and old.get("spec") == obj.get("spec"):
            return []
        pod = obj.get("spec", {}).get("template", {}).get("spec", {})
        out = pod_warnings.of_name(obj) if old is None else []
        return out + pod_warnings.of_spec(pod, "spec.template.spec")

    def selectable(self, obj: Object) -> dict[str, str]:
        return {"status.replicas": str(obj.get("status", {}).get("replicas", 0))}


class ReplicationControllerStrategy(ReplicaSetStrategy):
    columns: ClassVar[Columns] = REPLICATION_CONTROLLER

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("replicas", 1)
        template = spec.get("template")
        if template is None:
            return
        default_template(template)
        labels = template["metadata"].get("labels")
        if labels:  # the template's labels stand in for the selector and the controller's own
            if not spec.get("selector"):
                spec["selector"] = dict(labels)
            if not obj.setdefault("metadata", {}).get("labels"):
                obj["metadata"]["labels"] = dict(labels)

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors = validate_not_negative(spec, "spec", "minReadySeconds", "replicas")
        selector = spec.get("selector")
        if not selector:
            errors.append(fe.required("spec.selector"))
        if "template" not in spec:
            return [*errors, fe.required("spec.template")]
        as_labels = {**spec, "selector": {"matchLabels": selector or {}}}
        return errors + validate_workload_template(as_labels, "spec", kind="ReplicationController")

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        del new, old
        return []
