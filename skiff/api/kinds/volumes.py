"""Validation of a pod's volumes.

Source: https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/volume/
"""

from collections.abc import Callable
from typing import Any, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.containers import (
    FILE_FIELDS,
    validate_field_ref,
    validate_local_path,
    validate_resource_field,
)
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.metadata import validate_annotations, validate_labels
from skiff.api.kinds.resource_amounts import amount

_MODE: Final = "must be a number between 0 and 0777 (octal), both inclusive"
HOST_PATH_TYPES: Final = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate",
    "Socket",
)  # fmt: skip


def validate_volumes(
    volumes: list[dict[str, Any]], path: str
) -> tuple[FieldErrors, dict[str, dict[str, Any]]]:
    """The faults, and the volumes by name."""
    errors: FieldErrors = []
    found: dict[str, dict[str, Any]] = {}
    for i, volume in enumerate(volumes):
        at = f"{path}[{i}]"
        name = volume.get("name")
        errors += validate_source(volume, at)
        if not name:
            errors.append(fe.required(f"{at}.name"))
            continue
        messages = names.dns1123_label(name)
        for message in messages:
            errors.append(fe.invalid(f"{at}.name", name, message))
        if name in found:
            errors.append(fe.duplicate(f"{at}.name", name))
        elif not messages:
            found[name] = volume
    return errors, found


def validate_source(volume: dict[str, Any], path: str) -> FieldErrors:
    """Exactly one source, itself valid."""
    errors: FieldErrors = []
    sources = [k for k in volume if k != "name"]
    if not sources:
        return [fe.required(path, "must specify a volume type")]
    for extra in sources[1:]:
        errors.append(fe.forbidden(f"{path}.{extra}", "may not specify more than 1 volume type"))
    kind = sources[0]
    check = _SOURCES.get(kind)
    if check is not None:
        errors += check(volume[kind] or {}, f"{path}.{kind}")
    return errors


def _host_path(source: dict[str, Any], path: str) -> FieldErrors:
    where = source.get("path")
    if not where:
        return [fe.required(f"{path}.path")]
    errors: FieldErrors = []
    if ".." in where.split("/"):
        errors.append(fe.invalid(f"{path}.path", where, "must not contain '..'"))
    kind = source.get("type", "")
    if kind not in HOST_PATH_TYPES:
        errors.append(fe.not_supported(f"{path}.type", kind, HOST_PATH_TYPES))
    return errors


def _empty_dir(source: dict[str, Any], path: str) -> FieldErrors:
    limit = source.get("sizeLimit")
    if limit is not None and amount(limit) < 0:
        message = "SizeLimit field must be a valid resource quantity"
        return [fe.forbidden(f"{path}.sizeLimit", message)]
    return []


def _validate_mode(source: dict[str, Any], field: str, path: str) -> FieldErrors:
    mode = source.get(field)
    if mode is not None and not 0 <= mode <= 0o777:
        return [fe.invalid(f"{path}.{field}", mode, _MODE)]
    return []


def validate_key_paths(items: list[dict[str, Any]], path: str) -> FieldErrors:
    """`items` of a configMap or secret volume: keys, and paths that stay in the volume."""
    errors: FieldErrors = []
    for i, item in enumerate(items):
        at = f"{path}[{i}]"
        if not item.get("key"):
            errors.append(fe.required(f"{at}.key"))
        errors += _relative_path(item.get("path", ""), f"{at}.path")
        errors += _validate_mode(item, "mode", at)
    return errors


def _relative_path(value: str, path: str) -> FieldErrors:
    if not value:
        return [fe.required(path)]
    errors = validate_local_path(value, path)
    if not errors and value.startswith(".."):
        errors.append(fe.invalid(path, value, "must not start with '..'"))
    return errors


def _secret(source: dict[str, Any], path: str) -> FieldErrors:
    errors: FieldErrors = []
    if not source.get("secretName"):
        errors.append(fe.required(f"{path}.secretName"))
    errors += _validate_mode(source, "defaultMode", path)
    return errors + validate_key_paths(source.get("items", []), f"{path}.items")


def _config_map(source: dict[str, Any], path: str) -> FieldErrors:
    errors: FieldErrors = []
    if not source.get("name"):
        errors.append(fe.required(f"{path}.name"))
    errors += _validate_mode(source, "defaultMode", path)
    return errors + validate_key_paths(source.get("items", []), f"{path}.items")


def _downward_items(source: dict[str, Any], path: str) -> FieldErrors:
    errors: FieldErrors = []
    for i, item in enumerate(source.get("items", ())):
        at = f"{path}.items[{i}]" if path.endswith("downwardAPI") else path
        errors += _relative_path(item.get("path", ""), f"{at}.path")
        field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
        if field is not None:
            errors += validate_field_ref(field, f"{at}.fieldRef", FILE_FIELDS)
            if resource is not None:
                message = "fieldRef and resourceFieldRef can not be specified simultaneously"
                errors.append(fe.invalid(at, "resource", message))
        elif resource is not None:
            errors += validate_resource_field(resource, f"{at}.resourceFieldRef", in_file=True)
        else:
            errors.append(fe.required(at, "one of fieldRef and resourceFieldRef is required"))
        errors += _validate_mode(item, "mode", at)
    return errors


def _downward(source: dict[str, Any], path: str) -> FieldErrors:
    return _validate_mode(source, "defaultMode", path) + _downward_items(source, path)


def _projected(source: dict[str, Any], path: str) -> FieldErrors:
    errors = _validate_mode(source, "defaultMode", path)
    paths: set[str] = set()
    for i, projection in enumerate(source.get("sources", ())):
        at = f"{path}.sources[{i}]"
        kinds = [k for k, v in projection.items() if v is not None]
        if not kinds:
            errors.append(fe.required(at, "must specify a projection type"))
            continue
        for extra in kinds[1:]:
            message = "may not specify more than 1 volume type"
            errors.append(fe.forbidden(f"{at}.{extra}", message))
        errors += _projection(kinds[0], projection[kinds[0]], at)
        for found in _projected_paths(kinds[0], projection[kinds[0]]):
            if found in paths:
                errors.append(fe.invalid(f"{at}.{kinds[0]}", found, "conflicting duplicate paths"))
            paths.add(found)
    return errors


def _projected_paths(kind: str, source: dict[str, Any]) -> list[str]:
    if kind in ("serviceAccountToken", "clusterTrustBundle"):
        return [source["path"]] if source.get("path") else []
    return [i["path"] for i in source.get("items", ()) if i.get("path")]


def _projection(kind: str, source: dict[str, Any], at: str) -> FieldErrors:
    path = f"{at}.{kind}"
    errors: FieldErrors = []
    if kind in ("secret", "configMap"):
        if not source.get("name"):
            errors.append(fe.required(f"{path}.name"))
        errors += validate_key_paths(source.get("items", []), f"{path}.items")
    elif kind == "downwardAPI":
        errors += _downward_items(source, path)
    elif kind == "serviceAccountToken":
        seconds = source.get("expirationSeconds", 3600)
        if seconds < 600:
            message = "may not specify a duration less than 10 minutes"
            errors.append(fe.invalid(f"{path}.expirationSeconds", seconds, message))
        if seconds > 1 << 32:
            message = "may not specify a duration larger than 2^32 seconds"
            errors.append(fe.invalid(f"{path}.expirationSeconds", seconds, message))
        errors += _relative_path(source.get("path", ""), f"{path}.path")
    elif kind == "clusterTrustBundle":
        if not source.get("name") and not source.get("signerName"):
            errors.append(fe.required(path, "either name or signerName must be specified"))
        errors += _relative_path(source.get("path", ""), f"{path}.path")
    return errors


def _claim(source: dict[str, Any], path: str) -> FieldErrors:
    return [] if source.get("claimName") else [fe.required(f"{path}.claimName")]


def _nfs(source: dict[str, Any], path: str) -> FieldErrors:
    errors: FieldErrors = []
    if not source.get("server"):
        errors.append(fe.required(f"{path}.server"))
    where = source.get("path", "")
    if not where:
        errors.append(fe.required(f"{path}.path"))
    elif not where.startswith("/"):
        errors.append(fe.invalid(f"{path}.path", where, "must be an absolute path"))
    return errors


def _csi(source: dict[str, Any], path: str) -> FieldErrors:
    errors = validate_driver_name(source.get("driver", ""), f"{path}.driver")
    secret = source.get("nodePublishSecretRef")
    if secret is not None and not secret.get("name"):
        errors.append(fe.required(f"{path}.nodePublishSecretRef.name"))
    return errors


def validate_driver_name(name: str, path: str) -> FieldErrors:
    """A CSI driver's name."""
    if not name:
        return [fe.required(path)]
    errors: FieldErrors = []
    if len(name) > 63:
        errors.append(fe.too_long(path, 63))
    errors += [fe.invalid(path, name, m) for m in names.dns1123_subdomain(name.lower())]
    return errors


def _ephemeral(source: dict[str, Any], path: str) -> FieldErrors:
    from skiff.api.kinds.volume_claims import validate_claim_spec  # here: it needs this module

    template = source.get("volumeClaimTemplate")
    if template is None:
        return [fe.required(f"{path}.volumeClaimTemplate")]
    at = f"{path}.volumeClaimTemplate"
    meta = template.get("metadata", {})
    errors = validate_annotations(meta.get("annotations", {}), f"{at}.annotations")
    errors += validate_labels(meta.get("labels", {}), f"{at}.labels")
    extra = [k for k in meta if k not in ("annotations", "labels")]
    errors += [fe.forbidden(f"{at}.metadata.{k}", "cannot be set") for k in extra]
    return errors + validate_claim_spec(template.get("spec", {}), f"{at}.spec")


def _image(source: dict[str, Any], path: str) -> FieldErrors:
    errors: FieldErrors = []
    if not source.get("reference"):
        errors.append(fe.required(f"{path}.reference"))
    policy = source.get("pullPolicy", "Always")
    supported = ("Always", "IfNotPresent", "Never")
    if policy not in supported:
        errors.append(fe.not_supported(f"{path}.pullPolicy", policy, supported))
    return errors


def _needs(*fields: str) -> Callable[[dict[str, Any], str], FieldErrors]:
    """A check that these fields are there."""

    def check(source: dict[str, Any], path: str) -> FieldErrors:
        return [fe.required(f"{path}.{f}") for f in fields if not source.get(f)]

    return check


_SOURCES: Final[dict[str, Callable[[dict[str, Any], str], FieldErrors]]] = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "secret": _secret,
    "configMap": _config_map,
    "downwardAPI": _downward,
    "projected": _projected,
    "persistentVolumeClaim": _claim,
    "nfs": _nfs,
    "csi": _csi,
    "ephemeral": _ephemeral,
    "image": _image,
    "gcePersistentDisk": _needs("pdName"),
    "awsElasticBlockStore": _needs("volumeID"),
    "gitRepo": _needs("repository"),
    "iscsi": _needs("targetPortal", "iqn"),
    "glusterfs": _needs("endpoints", "path"),
    "rbd": _needs("monitors", "image"),
    "quobyte": _needs("registry", "volume"),
    "cephfs": _needs("monitors"),
    "cinder": _needs("volumeID"),
    "flexVolume": _needs("driver"),
    "azureDisk": _needs("diskName", "diskURI"),
    "azureFile": _needs("secretName", "shareName"),
    "vsphereVolume": _needs("volumePath"),
    "photonPersistentDisk": _needs("pdID"),
    "portworxVolume": _needs("volumeID"),
    "scaleIO": _needs("gateway", "system", "volumeName"),
}
