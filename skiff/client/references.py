"""References from one object to another: ObjectReference and OwnerReference, as dicts. Pure."""

from typing import Any

from skiff.api.views.base import ObjectView
from skiff.api.views.container import ObjectReference
from skiff.api.views.meta import ObjectMeta, OwnerReference

Reference = dict[str, Any]


def object_reference(obj: ObjectView | ObjectReference) -> Reference:
    """What an event's `involvedObject` or an endpoint's `targetRef` says of `obj`."""
    if isinstance(obj, ObjectReference):
        pairs = (
            ("kind", obj.kind),
            ("namespace", obj.namespace),
            ("name", obj.name),
            ("uid", obj.uid),
            ("apiVersion", obj.api_version),
            ("resourceVersion", obj.resource_version),
            ("fieldPath", obj.field_path),
        )
    else:
        meta = obj.metadata
        pairs = (
            ("kind", obj.RESOURCE.kind),
            ("namespace", meta.namespace),
            ("name", meta.name),
            ("uid", meta.uid),
            ("apiVersion", obj.RESOURCE.api_version),
            ("resourceVersion", meta.resource_version),
            ("fieldPath", ""),
        )
    return {k: v for k, v in pairs if v}


def controller_reference(owner: ObjectView) -> Reference:
    """The ownerReference of something that `owner` controls."""
    return {
        "apiVersion": owner.RESOURCE.api_version,
        "kind": owner.RESOURCE.kind,
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controller_of(meta: ObjectMeta) -> OwnerReference | None:
    """The owner that controls the object, if one does."""
    for reference in meta.owner_references:
        if reference.controller:
            return reference
    return None
