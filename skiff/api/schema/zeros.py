"""Which fields of a struct vanish where they are empty.

Kubernetes' types say of most optional fields that an empty one is not written: an empty string, list or
map, a zero, a false is the same as no field at all. The API server decodes what it is sent into those
types, so `labels: {}` or `hostNetwork: false` is gone from the object it stores, from its answers, and
from what field managers own. Pointers (`replicas`, `privileged`) keep their zero: there it says something.

The types' own marks for strings, numbers and booleans stand beside their field numbers
(`api/numbers.py`). Optional lists and maps all have the mark, but for those of `_KEPT`.

Source: the `omitempty` of the field tags in Kubernetes' API types,
https://kubernetes.io/docs/reference/kubernetes-api/
"""

from typing import Final

from skiff.api import numbers
from skiff.api.schema.model import Schema

_API: Final = "io.k8s.api."
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
_SCALARS: Final = ("string", "integer", "boolean", "number")
_NONE: Final[frozenset[str]] = frozenset()

# Optional lists that are written even when they are empty.
_KEPT: Final[dict[str, tuple[str, ...]]] = {
    "authentication.v1.TokenRequestSpec": ("audiences",),
    "autoscaling.v2.HorizontalPodAutoscalerStatus": ("currentMetrics",),
    "core.v1.ContainerImage": ("names",),
    "core.v1.ProjectedVolumeSource": ("sources",),
    "discovery.v1.EndpointSlice": ("endpoints", "ports"),
    "flowcontrol.v1.ResourcePolicyRule": ("namespaces",),
    "rbac.v1.ClusterRole": ("rules",),
    "rbac.v1.Role": ("rules",),
    "resource.v1.AllocatedDeviceStatus": ("conditions",),
    "resource.v1.DeviceClaim": ("requests",),
    "storage.v1.CSINodeDriver": ("topologyKeys",),
}

_found: dict[str, frozenset[str]] = {}


def vanishing(schema: Schema) -> frozenset[str]:
    """The fields of a struct that are dropped where they hold "", 0, false, [] or {}."""
    name = schema.name
    if not name:
        return _NONE
    found = _found.get(name)
    if found is None:
        found = _found[name] = _vanishing(schema)
    return found


def _vanishing(schema: Schema) -> frozenset[str]:
    name = schema.name
    package, _, message = name.rpartition(".")
    if not name.startswith((_API, _META)) or not numbers.known(package):
        return _NONE
    marked = {row.name for row in numbers.rows(package, message) if row.zero_is_absent}
    kept = _KEPT.get(name.removeprefix(_API), ())
    return frozenset(
        key
        for key, child in schema.properties.items()
        if key not in kept
        and (
            (key in marked and child.type in _SCALARS)
            or (key not in schema.required and _is_list_or_map(child))
        )
    )


def _is_list_or_map(schema: Schema) -> bool:
    return schema.type == "array" or (schema.type == "object" and schema.additional is not None)
