"""PersistentVolumes.

Source: https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/persistent-volume-v1/
"""

from typing import Any, ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import AGE, NAME, Columns, columns, since
from skiff.api.kinds.errors import FieldErrors, immutable
from skiff.api.kinds.pod_defaults import RARE_SOURCES
from skiff.api.kinds.pod_warnings import DEPRECATED_LABELS, DEPRECATED_VOLUMES
from skiff.api.kinds.resource_amounts import amount, validate_amounts
from skiff.api.kinds.scheduling_rules import validate_node_selector
from skiff.api.kinds.strategy import Object, Strategy
from skiff.api.kinds.volume_claims import (
    access_modes_text,
    annotation_warnings,
    storage_class_of,
    validate_access_modes,
)
from skiff.api.kinds.volumes import HOST_PATH_TYPES, validate_driver_name

SOURCES: Final = (
    "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "fc",
    "flexVolume", "flocker", "gcePersistentDisk", "glusterfs", "hostPath", "iscsi", "local", "nfs",
    "photonPersistentDisk", "portworxVolume", "quobyte", "rbd", "scaleIO", "storageos",
    "vsphereVolume",
)  # fmt: skip
_WARNED_SOURCES: Final = (
    "cephfs", "glusterfs", "photonPersistentDisk", "rbd", "scaleIO", "storageos",
)  # fmt: skip
_RECLAIM: Final = ("Delete", "Recycle", "Retain")


def _cells(obj: Object, now: float) -> list[Any]:
    meta, spec, status = obj["metadata"], obj.get("spec", {}), obj.get("status", {})
    claim = spec.get("claimRef")
    phase = "Terminating" if meta.get("deletionTimestamp") else status.get("phase", "")
    return [
        meta.get("name", ""),
        spec.get("capacity", {}).get("storage", "0"),
        access_modes_text(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        phase,
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        storage_class_of(obj),
        spec.get("volumeAttributesClassName") or "<unset>",
        status.get("reason", ""),
        since(meta.get("creationTimestamp"), now),
        spec.get("volumeMode") or "<unset>",
    ]


class PersistentVolumeStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(
            NAME, "Capacity", "Access Modes", "Reclaim Policy", "Status", "Claim", "StorageClass",
            "VolumeAttributesClass", "Reason", AGE, "VolumeMode*",
        ),
        _cells,
    )  # fmt: skip
    empty_status: ClassVar[Object | None] = {"phase": "Pending"}

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        if not spec.get("persistentVolumeReclaimPolicy"):
            spec["persistentVolumeReclaimPolicy"] = "Retain"
        if not spec.get("volumeMode"):
            spec["volumeMode"] = "Filesystem"
        if "hostPath" in spec:
            spec["hostPath"].setdefault("type", "")
        for key, defaults in RARE_SOURCES.items():
            for field, value in defaults.items() if key in spec else ():
                spec[key].setdefault(field, value)
        obj.setdefault("status", {}).setdefault("phase", "Pending")

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors: FieldErrors = []
        modes = spec.get("accessModes")
        if not modes:
            errors.append(fe.required("spec.accessModes"))
        else:
            errors += validate_access_modes(modes, "spec.accessModes")
        capacity = spec.get("capacity")
        if not capacity:
            errors.append(fe.required("spec.capacity"))
        if set(capacity or ()) != {"storage"}:
            errors.append(fe.not_supported("spec.capacity", capacity, ("storage",)))
        elif amount(capacity["storage"]) <= 0:
            value = capacity["storage"]
            errors.append(fe.invalid("spec.capacity[storage]", value, "must be greater than zero"))
        else:
            errors += validate_amounts(capacity, "spec.capacity")
        policy = spec.get("persistentVolumeReclaimPolicy", "")
        if policy not in _RECLAIM:
            at = "spec.persistentVolumeReclaimPolicy"
            errors.append(fe.not_supported(at, policy, _RECLAIM))
        mode = spec.get("volumeMode")
        if mode not in ("Block", "Filesystem"):
            errors.append(fe.not_supported("spec.volumeMode", mode, ("Block", "Filesystem")))
        name = spec.get("storageClassName")
        if name:
            at = "spec.storageClassName"
            errors += [fe.invalid(at, name, m) for m in names.dns1123_subdomain(name)]
        affinity = spec.get("nodeAffinity")
        if affinity is not None and affinity.get("required") is None:
            message = "must specify required node constraints"
            errors.append(fe.required("spec.nodeAffinity.required", message))
        elif affinity is not None:
            errors += validate_node_selector(affinity["required"], "spec.nodeAffinity.required")
        return errors + _validate_source(spec)

    def warnings(self, obj: Object, old: Object | None = None) -> list[str]:
        del old
        spec, out = obj.get("spec", {}), annotation_warnings(obj)
        if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
            out.append(
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. "
                "Instead, the recommended approach is to use dynamic provisioning."
            )
        affinity = (spec.get("nodeAffinity") or {}).get("required") or {}
        for i, term in enumerate(affinity.get("nodeSelectorTerms") or ()):
            at = f"spec.nodeAffinity.required.nodeSelectorTerms[{i}].matchExpressions"
            for j, expression in enumerate(term.get("matchExpressions") or ()):
                key = expression.get("key", "")
                if key in DEPRECATED_LABELS:
                    out.append(f"{at}[{j}].key: {key} is {DEPRECATED_LABELS[key]}")
        return out + [
            f"spec.{source}: {text}"
            for source, text in DEPRECATED_VOLUMES.items()
            if source in spec and source in _WARNED_SOURCES
        ]

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        after, before = new["spec"], old["spec"]
        errors: FieldErrors = []
        for source in SOURCES:
            if after.get(source) != before.get(source) and not (
                source == "csi" and _only_secrets_changed(after.get(source), before.get(source))
            ):
                message = "spec.persistentvolumesource is immutable after creation"
                changed = fe.value_text({source: after.get(source)})
                errors.append(fe.forbidden("spec.persistentvolumesource", f"{message}\n{changed}"))
                break
        errors += immutable("spec.volumeMode", after.get("volumeMode"), before.get("volumeMode"))
        if before.get("nodeAffinity") is not None:
            errors += immutable(
                "spec.nodeAffinity", after.get("nodeAffinity"), before.get("nodeAffinity")
            )
        return errors


def _only_secrets_changed(new: Object | None, old: Object | None) -> bool:
    if not new or not old:
        return False
    rest = [k for k in new.keys() | old.keys() if not k.endswith("SecretRef")]
    return all(new.get(k) == old.get(k) for k in rest)


def _validate_source(spec: Object) -> FieldErrors:
    found = [s for s in SOURCES if s in spec]
    if not found:
        return [fe.required("spec", "must specify a volume type")]
    message = "may not specify more than 1 volume type"
    errors = [fe.forbidden(f"spec.{extra}", message) for extra in found[1:]]
    kind, source = found[0], spec[found[0]] or {}
    at = f"spec.{kind}"
    if kind == "hostPath":
        if not source.get("path"):
            errors.append(fe.required(f"{at}.path"))
        elif ".." in source["path"].split("/"):
            errors.append(fe.invalid(f"{at}.path", source["path"], "must not contain '..'"))
        if source.get("type", "") not in HOST_PATH_TYPES:
            errors.append(fe.not_supported(f"{at}.type", source["type"], HOST_PATH_TYPES))
        if source.get("path") == "/" and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
            message = "may not be 'recycle' for a hostPath mount of '/'"
            errors.append(fe.forbidden("spec.persistentVolumeReclaimPolicy", message))
    elif kind == "local":
        if not source.get("path"):
            errors.append(fe.required(f"{at}.path"))
        if not (spec.get("nodeAffinity") or {}).get("required"):
            message = "Local volume requires node affinity"
            errors.append(fe.required("metadata.annotations", message))
    elif kind == "nfs":
        errors += [fe.required(f"{at}.{f}") for f in ("server", "path") if not source.get(f)]
    elif kind == "csi":
        errors += validate_driver_name(source.get("driver", ""), f"{at}.driver")
        if not source.get("volumeHandle"):
            errors.append(fe.required(f"{at}.volumeHandle"))
    return errors
