"""Nodes and Namespaces, and the read-only ComponentStatus.

Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/node-v1/
"""

from typing import Any, ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    Columns,
    columns,
    since,
)
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.metadata import validate_finalizers
from skiff.api.kinds.resource_amounts import validate_quantity
from skiff.api.kinds.scheduling_rules import validate_taints
from skiff.api.kinds.strategy import Object, Strategy

_ROLE: Final = "node-role.kubernetes.io/"


def _roles_text(labels: dict[str, str]) -> str:
    roles = {k[len(_ROLE) :] for k in labels if k.startswith(_ROLE) and len(k) > len(_ROLE)}
    roles |= {v for k, v in labels.items() if k == "kubernetes.io/role" and v}
    return ",".join(sorted(roles)) or NONE


def _status_text(obj: Object) -> str:
    words = []
    for condition in obj.get("status", {}).get("conditions", ()):
        if condition.get("type") == "Ready":
            words = ["Ready" if condition.get("status") == "True" else "NotReady"]
    if not words:
        words = ["Unknown"]
    if obj.get("spec", {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _address(status: Object, kind: str) -> str:
    for address in status.get("addresses", ()):
        if address.get("type") == kind:
            return str(address.get("address"))
    return NONE


def _node_cells(obj: Object, now: float) -> list[Any]:
    meta, status = obj["metadata"], obj.get("status", {})
    info = status.get("nodeInfo", {})
    return [
        meta.get("name", ""),
        _status_text(obj),
        _roles_text(meta.get("labels", {})),
        since(meta.get("creationTimestamp"), now),
        info.get("kubeletVersion", ""),
        _address(status, "InternalIP"),
        _address(status, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


class NodeStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(
            NAME, "Status", "Roles", AGE, "Version", "Internal-IP*", "External-IP*", "OS-Image*",
            "Kernel-Version*", "Container-Runtime*",
        ),
        _node_cells,
    )  # fmt: skip
    selectable_fields: ClassVar[tuple[str, ...]] = ("spec.unschedulable",)
    created_with_status: ClassVar[bool] = True

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})
        status = obj.setdefault("status", {})
        if not status.get("allocatable") and status.get("capacity"):
            status["allocatable"] = dict(status["capacity"])

    def prepare_create(self, obj: Object) -> None:
        """A node comes with its status: the kubelet that registers itself sends it."""

    def validate_body(self, obj: Object) -> FieldErrors:
        spec, status = obj.get("spec", {}), obj.get("status", {})
        errors = validate_taints(spec.get("taints", []), "spec.taints")
        for i, cidr in enumerate(spec.get("podCIDRs", ())):
            if not names.is_cidr(cidr):
                errors.append(fe.invalid(f"spec.podCIDRs[{i}]", cidr, names.CIDR_MESSAGE))
        for field in ("capacity", "allocatable"):
            for name, value in status.get(field, {}).items():
                errors += validate_quantity(name, value, f"status.{field}[{name}]")
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        errors: FieldErrors = []
        after, before = new.get("spec", {}), old.get("spec", {})
        for field in ("podCIDRs", "podCIDR", "providerID"):
            if before.get(field) and after.get(field) != before.get(field):
                message = 'node updates may not change podCIDR except from "" to valid'
                if field == "providerID":
                    message = 'node updates may not change providerID except from "" to valid'
                errors.append(fe.forbidden(f"spec.{field}", message))
                break
        return errors

    def warnings(self, obj: Object, old: Object | None = None) -> list[str]:
        del old
        out = []
        if obj.get("spec", {}).get("configSource") is not None:
            out.append("spec.configSource: the feature is removed")
        if obj.get("spec", {}).get("externalID"):
            out.append("spec.externalID: this field is deprecated, and is unused by Kubernetes")
        return out

    def selectable(self, obj: Object) -> dict[str, str]:
        return {
            "spec.unschedulable": "true" if obj.get("spec", {}).get("unschedulable") else "false"
        }


def _namespace_cells(obj: Object, now: float) -> list[Any]:
    meta = obj["metadata"]
    return [
        meta.get("name", ""),
        obj.get("status", {}).get("phase", ""),
        since(meta.get("creationTimestamp"), now),
    ]


class NamespaceStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(columns(NAME, "Status", AGE), _namespace_cells)
    selectable_fields: ClassVar[tuple[str, ...]] = ("status.phase", "name")
    empty_status: ClassVar[Object | None] = {"phase": "Active"}
    name_rule = staticmethod(names.dns1123_label)

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})
        name = obj.setdefault("metadata", {}).get("name")
        if name:  # every namespace can be selected by its name
            labels = obj["metadata"].setdefault("labels", {})
            labels["kubernetes.io/metadata.name"] = name

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        finalizers = obj["spec"].setdefault("finalizers", [])
        if "kubernetes" not in finalizers:
            finalizers.append("kubernetes")
        name = obj["metadata"].get("name")
        if name:  # it may have been generated since the defaults
            obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name

    def prepare_update(self, new: Object, old: Object, subresource: str = "") -> None:
        super().prepare_update(new, old, subresource)
        if subresource != "finalize":
            kept = old.get("spec", {}).get("finalizers")
            if kept is not None:
                new.setdefault("spec", {})["finalizers"] = kept

    def validate_body(self, obj: Object) -> FieldErrors:
        return validate_finalizers(obj.get("spec", {}).get("finalizers", []), "spec.finalizers")

    def validate_status_update(self, new: Object, old: Object) -> FieldErrors:
        del old
        phase = new.get("status", {}).get("phase", "Active")
        deleted = bool(new["metadata"].get("deletionTimestamp"))
        if not deleted and phase != "Active":
            message = "may only be 'Active' if `deletionTimestamp` is empty"
            return [fe.invalid("status.phase", phase, message)]
        if deleted and phase != "Terminating":
            message = "may only be 'Terminating' if `deletionTimestamp` is not empty"
            return [fe.invalid("status.phase", phase, message)]
        return []

    def selectable(self, obj: Object) -> dict[str, str]:
        return {
            "status.phase": obj.get("status", {}).get("phase", ""),
            "name": obj["metadata"].get("name", ""),
        }


def _component_cells(obj: Object, _now: float) -> list[Any]:
    status, message, error = "Unknown", "", ""
    for condition in obj.get("conditions", ()):
        if condition.get("type") == "Healthy":
            status = "Healthy" if condition.get("status") == "True" else "Unhealthy"
            message, error = condition.get("message", ""), condition.get("error", "")
            break
    return [obj["metadata"].get("name", ""), status, message, error]


class ComponentStatusStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(NAME, "Status", "Message", "Error"), _component_cells
    )
