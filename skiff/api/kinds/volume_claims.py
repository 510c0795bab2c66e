"""PersistentVolumeClaims, and claim templates inside other kinds.

Source: https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/persistent-volume-claim-v1/
"""

from typing import Any, ClassVar, Final

from skiff.api import quantity
from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import AGE, NAME, Columns, columns, since
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.metadata import validate_label_selector
from skiff.api.kinds.resource_amounts import amount
from skiff.api.kinds.strategy import Object, Strategy

ACCESS_MODES: Final = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_SHORT: Final = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
IMMUTABLE_SPEC: Final = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for "
    "bound claims"
)
_DATA_API_GROUPS: Final = {"VolumeSnapshot": "snapshot.storage.k8s.io", "PersistentVolumeClaim": ""}


_CLASS_ANNOTATION: Final = "volume.beta.kubernetes.io/storage-class"


def annotation_warnings(obj: Object) -> list[str]:
    """What to say where the storage class is named by the old annotation."""
    if _CLASS_ANNOTATION not in (obj["metadata"].get("annotations") or {}):
        return []
    text = 'deprecated since v1.8; use "storageClassName" attribute instead'
    return [f"metadata.annotations[{_CLASS_ANNOTATION}]: {text}"]


def access_modes_text(modes: list[str] | None) -> str:
    """`RWO,ROX`: in the order that kubectl prints."""
    return ",".join(short for mode, short in _SHORT.items() if mode in (modes or ()))


def storage_class_of(obj: Object) -> str:
    """The storage class of a claim or volume: the old annotation's, else the field's."""
    annotations = obj["metadata"].get("annotations", {})
    found = annotations.get(_CLASS_ANNOTATION)
    return str(found if found is not None else obj.get("spec", {}).get("storageClassName", ""))


def default_claim(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("volumeMode"):
        spec["volumeMode"] = "Filesystem"
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def _cells(obj: Object, now: float) -> list[Any]:
    meta, spec, status = obj["metadata"], obj.get("spec", {}), obj.get("status", {})
    phase = "Terminating" if meta.get("deletionTimestamp") else status.get("phase", "")
    capacity = modes = ""
    if spec.get("volumeName"):
        modes = access_modes_text(status.get("accessModes"))
        capacity = status.get("capacity", {}).get("storage", "0")
    return [
        meta.get("name", ""),
        phase,
        spec.get("volumeName", ""),
        capacity,
        modes,
        storage_class_of(obj),
        spec.get("volumeAttributesClassName") or "<unset>",
        since(meta.get("creationTimestamp"), now),
        spec.get("volumeMode") or "<unset>",
    ]


class PersistentVolumeClaimStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(
            NAME, "Status", "Volume", "Capacity", "Access Modes", "StorageClass",
            "VolumeAttributesClass", AGE, "VolumeMode*",
        ),
        _cells,
    )  # fmt: skip
    empty_status: ClassVar[Object | None] = {"phase": "Pending"}

    def default(self, obj: Object) -> None:
        default_claim(obj)

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        _default_data_source(obj["spec"])

    def validate_body(self, obj: Object) -> FieldErrors:
        return validate_claim_spec(obj.get("spec", {}), "spec")

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        errors: FieldErrors = []
        after, before = dict(new["spec"]), dict(old["spec"])
        bound = old.get("status", {}).get("phase") == "Bound"
        if not before.get("volumeName"):  # the binder sets it, once
            before["volumeName"] = after.get("volumeName", "")
            after.setdefault("volumeName", "")
        if "storageClassName" not in before and not bound:
            # A claim without class may get one while it is not bound (a default class came later).
            before["storageClassName"] = after.get("storageClassName")
            after.setdefault("storageClassName", None)
        asked, had = _requested(after), _requested(before)
        if bound and asked is not None and had is not None:
            if amount(asked) < amount(had):
                granted = old.get("status", {}).get("capacity", {}).get("storage", "0")
                if amount(asked) <= amount(granted):
                    message = "field can not be less than status.capacity"
                    errors.append(fe.forbidden("spec.resources.requests.storage", message))
            after["resources"] = before.get("resources", {})
            after["volumeAttributesClassName"] = before.get("volumeAttributesClassName")
            before["volumeAttributesClassName"] = before.get("volumeAttributesClassName")
        if after != before:
            changed = ", ".join(
                k for k in sorted(after.keys() | before.keys()) if after.get(k) != before.get(k)
            )
            errors.append(fe.forbidden("spec", f"{IMMUTABLE_SPEC}\nchanged: {changed}"))
        return errors

    def warnings(self, obj: Object, old: Object | None = None) -> list[str]:
        del old
        out = annotation_warnings(obj)
        resources = obj.get("spec", {}).get("resources") or {}
        for kind in ("requests", "limits"):
            value = (resources.get(kind) or {}).get("storage")
            if value is not None and amount(value) % quantity.NANO:
                at = f"spec.resources.{kind}[storage]"
                out.append(f'{at}: fractional byte value "{value}" is invalid, must be an integer')
        return out


def _requested(spec: Object) -> str | None:
    found: str | None = spec.get("resources", {}).get("requests", {}).get("storage")
    return found


def _default_data_source(spec: Object) -> None:
    """dataSource and dataSourceRef mirror each other where the reference stays in the namespace."""
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and reference is None:
        spec["dataSourceRef"] = dict(source)
    elif reference is not None and source is None and "namespace" not in reference:
        group, kind = reference.get("apiGroup") or "", reference.get("kind")
        if _DATA_API_GROUPS.get(kind) == group:
            spec["dataSource"] = dict(reference)


def validate_claim_spec(spec: Object, path: str) -> FieldErrors:
    errors: FieldErrors = []
    modes = spec.get("accessModes")
    if not modes:
        message = "at least 1 access mode is required"
        errors.append(fe.required(f"{path}.accessModes", message))
    else:
        errors += validate_access_modes(modes, f"{path}.accessModes")
    errors += validate_label_selector(spec.get("selector"), f"{path}.selector")
    asked = _requested(spec)
    if asked is None:
        errors.append(fe.required(f"{path}.resources[storage]"))
    elif amount(asked) <= 0:
        at = f"{path}.resources[storage]"
        errors.append(fe.invalid(at, asked, "must be greater than zero"))
    mode = spec.get("volumeMode")
    if mode is not None and mode not in ("Block", "Filesystem"):
        errors.append(fe.not_supported(f"{path}.volumeMode", mode, ("Block", "Filesystem")))
    for field in ("storageClassName", "volumeAttributesClassName"):
        name = spec.get(field)
        if name:
            errors += [
                fe.invalid(f"{path}.{field}", name, m) for m in names.dns1123_subdomain(name)
            ]
    for field in ("dataSource", "dataSourceRef"):
        if field in spec:
            errors += _validate_data_source(spec[field], f"{path}.{field}")
    return errors


def validate_access_modes(modes: list[str], path: str) -> FieldErrors:
    errors = [fe.not_supported(path, m, ACCESS_MODES) for m in modes if m not in ACCESS_MODES]
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        message = "may not use ReadWriteOncePod with other access modes"
        errors.append(fe.forbidden(path, message))
    return errors


def _validate_data_source(source: dict[str, Any], path: str) -> FieldErrors:
    errors: FieldErrors = []
    if not source.get("name"):
        errors.append(fe.required(f"{path}.name"))
    if not source.get("kind"):
        errors.append(fe.required(f"{path}.kind"))
    group = source.get("apiGroup") or ""
    if not group and source.get("kind") != "PersistentVolumeClaim":
        message = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        errors.append(fe.invalid(path, source.get("kind", ""), message))
    return errors
