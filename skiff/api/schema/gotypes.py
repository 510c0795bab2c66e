"""The names that Kubernetes' decoder prints for types in its messages (`int32`, `[]v1.Container`).

Clients and tests match on these texts, so they are part of the wire behaviour. A type's name comes from
its definition; named string types, which a schema does not show, are in a table.

Source: messages of encoding/json's UnmarshalTypeError as the API server returns them.
"""

from typing import Any, Final

from skiff.api.schema.model import MICRO_TIME, QUANTITY, TIME, Schema

_CORE = "io.k8s.api.core.v1."
_NAMED: Final[dict[tuple[str, str], str]] = {
    (_CORE + "Container", "imagePullPolicy"): "v1.PullPolicy",
    (_CORE + "Container", "terminationMessagePolicy"): "v1.TerminationMessagePolicy",
    (_CORE + "ContainerPort", "protocol"): "v1.Protocol",
    (_CORE + "ServicePort", "protocol"): "v1.Protocol",
    (_CORE + "EndpointPort", "protocol"): "v1.Protocol",
    (_CORE + "PodSpec", "restartPolicy"): "v1.RestartPolicy",
    (_CORE + "PodSpec", "dnsPolicy"): "v1.DNSPolicy",
    (_CORE + "PodStatus", "phase"): "v1.PodPhase",
    (_CORE + "ServiceSpec", "type"): "v1.ServiceType",
    (_CORE + "ServiceSpec", "sessionAffinity"): "v1.ServiceAffinity",
    (_CORE + "ServiceSpec", "externalTrafficPolicy"): "v1.ServiceExternalTrafficPolicy",
    (_CORE + "Secret", "type"): "v1.SecretType",
    (_CORE + "Toleration", "operator"): "v1.TolerationOperator",
    (_CORE + "Toleration", "effect"): "v1.TaintEffect",
    (_CORE + "Taint", "effect"): "v1.TaintEffect",
    (_CORE + "HTTPGetAction", "scheme"): "v1.URIScheme",
    (_CORE + "HostPathVolumeSource", "type"): "v1.HostPathType",
    (_CORE + "EmptyDirVolumeSource", "medium"): "v1.StorageMedium",
    (_CORE + "NodeSelectorRequirement", "operator"): "v1.NodeSelectorOperator",
    (_CORE + "PersistentVolumeSpec", "persistentVolumeReclaimPolicy"): (
        "v1.PersistentVolumeReclaimPolicy"
    ),
    (_CORE + "PersistentVolumeClaimSpec", "volumeMode"): "v1.PersistentVolumeMode",
    (_CORE + "PersistentVolumeClaimSpec", "accessModes"): "[]v1.PersistentVolumeAccessMode",
    (_CORE + "PersistentVolumeSpec", "accessModes"): "[]v1.PersistentVolumeAccessMode",
    (_CORE + "ObjectReference", "uid"): "types.UID",
    ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "uid"): "types.UID",
    ("io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference", "uid"): "types.UID",
    ("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelectorRequirement", "operator"): (
        "v1.LabelSelectorOperator"
    ),
    ("io.k8s.api.apps.v1.DeploymentStrategy", "type"): "v1.DeploymentStrategyType",
    ("io.k8s.api.batch.v1.CronJobSpec", "concurrencyPolicy"): "v1.ConcurrencyPolicy",
}
_LEAVES: Final = {"string": "string", "boolean": "bool", "number": "float64"}


def type_name(schema: Schema, struct: str = "", field: str = "") -> str:
    """The decoder's name of a type; `struct` (definition) and `field` say where it stands."""
    named = _NAMED.get((struct, field))
    if named:
        return named
    if schema.name == QUANTITY:
        return "resource.Quantity"
    if schema.name in (TIME, MICRO_TIME):
        return "v1." + schema.name.rsplit(".", 1)[1]
    if schema.type == "object":
        if schema.additional is not None:
            if schema.additional.quantity:
                return "v1.ResourceList"
            return "map[string]" + type_name(schema.additional)
        return struct_name(schema) or "map[string]interface {}"
    if schema.type == "array":
        return "[]" + (type_name(schema.items) if schema.items else "interface {}")
    if schema.type == "integer":
        return schema.format or "int64"
    if schema.format == "byte":
        return "[]uint8"
    return _LEAVES.get(schema.type, "interface {}")


def struct_name(schema: Schema) -> str:
    """`v1.PodSpec` for `io.k8s.api.core.v1.PodSpec`."""
    return ".".join(schema.name.split(".")[-2:]) if schema.name else ""


def value_name(value: Any) -> str:
    """The decoder's word for a JSON value's type."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "array" if isinstance(value, list) else "object"
