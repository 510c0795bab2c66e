"""Rules on storage: the default class of a claim, and claims and volumes in use being protected.

Source: https://kubernetes.io/docs/concepts/storage/storage-classes/#default-storageclass and
https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection.
"""

from typing import Any

from skiff.api.quantity import compare
from skiff.api.resources import PERSISTENTVOLUMECLAIMS, STORAGECLASSES, Resource
from skiff.server.admission.rule import CREATE, UPDATE, Object, Rule, refuse
from skiff.server.seams import Attributes, Objects

_DEFAULT = "storageclass.kubernetes.io/is-default-class"
_DEFAULT_BETA = "storageclass.beta.kubernetes.io/is-default-class"
_CLASS_BETA = "volume.beta.kubernetes.io/storage-class"
_PROTECTION = {
    "persistentvolumes": "kubernetes.io/pv-protection",
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "volumeattributesclasses": "kubernetes.io/vac-protection",
}
_PROTECTED_GROUPS = ("", "storage.k8s.io")


class DefaultStorageClass(Rule):
    """A claim that names no class gets the default one: the newest that is marked."""

    name = "DefaultStorageClass"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        return (
            resource.plural == PERSISTENTVOLUMECLAIMS.plural
            and not resource.group
            and not subresource
            and operation == CREATE
        )

    def admit(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        annotations = obj["metadata"].get("annotations") or {}
        if _CLASS_BETA in annotations or obj["spec"].get("storageClassName") is not None:
            return
        marked = [c for c in self._objects.list(STORAGECLASSES) if is_default(c)]
        if not marked:
            return
        # Newest first; equally new ones by name.
        marked.sort(key=lambda c: c["metadata"]["name"])
        marked.sort(key=lambda c: str(c["metadata"].get("creationTimestamp", "")), reverse=True)
        obj["spec"]["storageClassName"] = marked[0]["metadata"]["name"]


def is_default(storage_class: dict[str, Any]) -> bool:
    """Whether a StorageClass is marked as the default."""
    annotations = storage_class["metadata"].get("annotations") or {}
    return "true" in (annotations.get(_DEFAULT), annotations.get(_DEFAULT_BETA))


class StorageObjectInUseProtection(Rule):
    """Claims and volumes carry a finalizer until nothing uses them."""

    name = "StorageObjectInUseProtection"

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        return (
            operation == CREATE
            and not subresource
            and resource.plural in _PROTECTION
            and resource.group in _PROTECTED_GROUPS
        )

    def admit(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        finalizers = obj["metadata"].setdefault("finalizers", [])
        finalizer = _PROTECTION[attributes.resource.plural]
        if finalizer not in finalizers:
            finalizers.append(finalizer)


class PersistentVolumeClaimResize(Rule):
    """A claim grows only where its class says that it may."""

    name = "PersistentVolumeClaimResize"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        claims = resource.plural == PERSISTENTVOLUMECLAIMS.plural and not resource.group
        return claims and not subresource and operation == UPDATE

    def validate(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        assert old is not None
        size, before = _storage(obj), _storage(old)
        if not size or not before or compare(size, before) <= 0:
            return
        if (old.get("status") or {}).get("phase") != "Bound":
            raise refuse(attributes, obj, "Only bound persistent volume claims can be expanded")
        name = old["spec"].get("storageClassName") or ""
        found = self._objects.get(STORAGECLASSES, name) if name else None
        if found is None or not found.get("allowVolumeExpansion"):
            raise refuse(
                attributes,
                obj,
                "only dynamically provisioned pvc can be resized and the storageclass that"
                " provisions the pvc must support resize",
            )


def _storage(claim: Object) -> str:
    requests = (claim["spec"].get("resources") or {}).get("requests") or {}
    return str(requests.get("storage", ""))
