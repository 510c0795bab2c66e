"""storage.k8s.io: classes, CSI drivers and nodes, attachments, capacities.

Source: https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/
"""

from typing import Any, ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import AGE, NAME, Columns, columns, since
from skiff.api.kinds.errors import FieldErrors, immutable
from skiff.api.kinds.metadata import validate_label_selector
from skiff.api.kinds.resource_amounts import amount
from skiff.api.kinds.strategy import Object, Strategy
from skiff.api.kinds.volumes import validate_driver_name

DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
_BETA_DEFAULT_CLASS: Final = "storageclass.beta.kubernetes.io/is-default-class"
_PARAMETERS_MAX: Final = 512
_PARAMETERS_MAX_BYTES: Final = 256 * 1024


def _class_cells(obj: Object, now: float) -> list[Any]:
    meta = obj["metadata"]
    annotations = meta.get("annotations", {})
    name = meta.get("name", "")
    if "true" in (annotations.get(DEFAULT_CLASS), annotations.get(_BETA_DEFAULT_CLASS)):
        name += " (default)"
    return [
        name,
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "Immediate"),
        bool(obj.get("allowVolumeExpansion")),
        since(meta.get("creationTimestamp"), now),
    ]


def _validate_parameters(parameters: dict[str, str], path: str) -> FieldErrors:
    if len(parameters) > _PARAMETERS_MAX:
        return [fe.too_long(path, _PARAMETERS_MAX)]
    errors: FieldErrors = []
    if "" in parameters:
        errors.append(fe.invalid(path, "", "field can not be empty."))
    if sum(len(k) + len(v) for k, v in parameters.items()) > _PARAMETERS_MAX_BYTES:
        errors.append(fe.too_long(path, _PARAMETERS_MAX_BYTES))
    return errors


class StorageClassStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(
            NAME, "Provisioner", "ReclaimPolicy", "VolumeBindingMode",
            "AllowVolumeExpansion:boolean", AGE,
        ),
        _class_cells,
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        obj.setdefault("reclaimPolicy", "Delete")
        obj.setdefault("volumeBindingMode", "Immediate")

    def validate_body(self, obj: Object) -> FieldErrors:
        errors: FieldErrors = []
        provisioner = obj.get("provisioner", "")
        if not provisioner:
            errors.append(fe.required("provisioner", provisioner))
        else:
            errors += [
                fe.invalid("provisioner", provisioner, m)
                for m in names.qualified_name(provisioner.lower())
            ]
        errors += _validate_parameters(obj.get("parameters", {}), "parameters")
        policy = obj.get("reclaimPolicy")
        if policy not in ("Delete", "Retain"):
            errors.append(fe.not_supported("reclaimPolicy", policy, ("Delete", "Retain")))
        mode = obj.get("volumeBindingMode")
        if mode not in ("Immediate", "WaitForFirstConsumer"):
            supported = ("Immediate", "WaitForFirstConsumer")
            errors.append(fe.not_supported("volumeBindingMode", mode, supported))
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        errors: FieldErrors = []
        if new.get("parameters", {}) != old.get("parameters", {}):
            message = "updates to parameters are forbidden."
            errors.append(fe.forbidden("parameters", message))
        if new.get("provisioner") != old.get("provisioner"):
            errors.append(fe.forbidden("provisioner", "updates to provisioner are forbidden."))
        if new.get("reclaimPolicy") != old.get("reclaimPolicy"):
            message = "updates to reclaimPolicy are forbidden."
            errors.append(fe.forbidden("reclaimPolicy", message))
        after, before = new.get("volumeBindingMode"), old.get("volumeBindingMode")
        return errors + immutable("volumeBindingMode", after, before)


def _attributes_cells(obj: Object, now: float) -> list[Any]:
    meta = obj["metadata"]
    age = since(meta.get("creationTimestamp"), now)
    return [meta.get("name", ""), obj.get("driverName", ""), age]


class VolumeAttributesClassStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(columns(NAME, "DriverName", AGE), _attributes_cells)

    def validate_body(self, obj: Object) -> FieldErrors:
        errors = validate_driver_name(obj.get("driverName", ""), "driverName")
        if not obj.get("parameters"):
            message = "must contain at least one key/value pair"
            return [*errors, fe.required("parameters", message)]
        return errors + _validate_parameters(obj["parameters"], "parameters")

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        errors: FieldErrors = []
        if new.get("driverName") != old.get("driverName"):
            errors.append(fe.forbidden("driverName", "updates to driverName are forbidden."))
        if new.get("parameters", {}) != old.get("parameters", {}):
            message = "updates to parameters are forbidden."
            errors.append(fe.forbidden("parameters", message))
        return errors


def _driver_cells(obj: Object, now: float) -> list[Any]:
    meta, spec = obj["metadata"], obj.get("spec", {})
    tokens = ",".join(t.get("audience", "") for t in spec.get("tokenRequests", ()))
    return [
        meta.get("name", ""),
        spec.get("attachRequired", True),
        spec.get("podInfoOnMount", False),
        spec.get("storageCapacity", False),
        tokens or "<unset>",
        spec.get("requiresRepublish", False),
        ",".join(spec.get("volumeLifecycleModes", ())) or "<none>",
        since(meta.get("creationTimestamp"), now),
    ]


class CSIDriverStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(
            NAME, "AttachRequired:boolean", "PodInfoOnMount:boolean", "StorageCapacity:boolean",
            "TokenRequests", "RequiresRepublish:boolean", "Modes", AGE,
        ),
        _driver_cells,
    )  # fmt: skip
    has_generation: ClassVar[bool] = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("attachRequired", True)
        spec.setdefault("podInfoOnMount", False)
        spec.setdefault("storageCapacity", False)
        spec.setdefault("fsGroupPolicy", "ReadWriteOnceWithFSType")
        if not spec.get("volumeLifecycleModes"):
            spec["volumeLifecycleModes"] = ["Persistent"]
        spec.setdefault("requiresRepublish", False)
        spec.setdefault("seLinuxMount", False)

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors: FieldErrors = []
        policy = spec.get("fsGroupPolicy")
        supported = ("ReadWriteOnceWithFSType", "File", "None")
        if policy not in supported:
            errors.append(fe.not_supported("spec.fsGroupPolicy", policy, supported))
        errors += [
            fe.not_supported("spec.volumeLifecycleModes", mode, ("Ephemeral", "Persistent"))
            for mode in spec.get("volumeLifecycleModes", ())
            if mode not in ("Ephemeral", "Persistent")
        ]
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        after, before = new["spec"], old["spec"]
        errors: FieldErrors = []
        for field in ("attachRequired", "volumeLifecycleModes"):
            errors += immutable(f"spec.{field}", after.get(field), before.get(field))
        return errors


def _csi_node_cells(obj: Object, now: float) -> list[Any]:
    meta = obj["metadata"]
    drivers = len(obj.get("spec", {}).get("drivers", ()))
    return [meta.get("name", ""), drivers, since(meta.get("creationTimestamp"), now)]


class CSINodeStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(columns(NAME, "Drivers:integer", AGE), _csi_node_cells)

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {}).setdefault("drivers", [])

    def validate_body(self, obj: Object) -> FieldErrors:
        errors: FieldErrors = []
        seen: set[str] = set()
        for i, driver in enumerate(obj.get("spec", {}).get("drivers") or ()):
            at = f"spec.drivers[{i}]"
            name, node = driver.get("name", ""), driver.get("nodeID", "")
            errors += validate_driver_name(name, f"{at}.name")
            if name in seen:
                errors.append(fe.duplicate(f"{at}.name", name))
            seen.add(name)
            if not node:
                errors.append(fe.required(f"{at}.nodeID"))
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        before = {d.get("name"): d for d in old.get("spec", {}).get("drivers") or ()}
        errors: FieldErrors = []
        for i, driver in enumerate(new.get("spec", {}).get("drivers") or ()):
            had = before.get(driver.get("name"))
            if had is not None:
                kept = ("nodeID", "topologyKeys")
                if any(driver.get(f) != had.get(f) for f in kept):
                    errors.append(fe.invalid(f"spec.drivers[{i}]", driver, fe.IMMUTABLE))
        return errors


def _attachment_cells(obj: Object, now: float) -> list[Any]:
    meta, spec = obj["metadata"], obj.get("spec", {})
    return [
        meta.get("name", ""),
        spec.get("attacher", ""),
        spec.get("source", {}).get("persistentVolumeName", ""),
        spec.get("nodeName", ""),
        bool(obj.get("status", {}).get("attached")),
        since(meta.get("creationTimestamp"), now),
    ]


class VolumeAttachmentStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(NAME, "Attacher", "PV", "Node", "Attached:boolean", AGE), _attachment_cells
    )
    empty_status: ClassVar[Object | None] = {"attached": False}

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors: FieldErrors = []
        attacher = spec.get("attacher", "")
        if not attacher:
            errors.append(fe.required("spec.attacher"))
        source = spec.get("source", {})
        if not source.get("persistentVolumeName") and not source.get("inlineVolumeSpec"):
            message = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
            errors.append(fe.required("spec.source", message))
        node = spec.get("nodeName", "")
        errors += [fe.invalid("spec.nodeName", node, m) for m in names.dns1123_subdomain(node)]
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        return immutable("spec", new.get("spec"), old.get("spec"))


def _capacity_cells(obj: Object, now: float) -> list[Any]:
    meta = obj["metadata"]
    return [
        meta.get("name", ""),
        obj.get("storageClassName", ""),
        obj.get("capacity") or "<unset>",
        since(meta.get("creationTimestamp"), now),
    ]


class CSIStorageCapacityStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(NAME, "StorageClassName", "Capacity", AGE), _capacity_cells
    )

    def validate_body(self, obj: Object) -> FieldErrors:
        errors = validate_label_selector(obj.get("nodeTopology"), "nodeTopology")
        name = obj.get("storageClassName", "")
        errors += [fe.invalid("storageClassName", name, m) for m in names.dns1123_subdomain(name)]
        errors += [
            fe.invalid(field, obj[field], "must be greater than or equal to zero")
            for field in ("capacity", "maximumVolumeSize")
            if obj.get(field) is not None and amount(obj[field]) < 0
        ]
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        errors = immutable("nodeTopology", new.get("nodeTopology"), old.get("nodeTopology"))
        after, before = new.get("storageClassName"), old.get("storageClassName")
        return errors + immutable("storageClassName", after, before)
