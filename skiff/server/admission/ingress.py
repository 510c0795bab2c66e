"""DefaultIngressClass: an Ingress that names no class gets the default one."""

from typing import Any

from skiff.api.resources import INGRESSCLASSES, INGRESSES, Resource
from skiff.server.admission.rule import CREATE, Object, Rule, refuse
from skiff.server.seams import Attributes, Objects

_DEFAULT = "ingressclass.kubernetes.io/is-default-class"
_CLASS_ANNOTATION = "kubernetes.io/ingress.class"


class DefaultIngressClass(Rule):
    """See the module's text."""

    name = "DefaultIngressClass"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        ingresses = (resource.group, resource.plural) == (INGRESSES.group, INGRESSES.plural)
        return ingresses and not subresource and operation == CREATE

    def admit(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        annotations = obj["metadata"].get("annotations") or {}
        spec = obj.setdefault("spec", {})
        if spec.get("ingressClassName") is not None or _CLASS_ANNOTATION in annotations:
            return
        marked = [c for c in self._objects.list(INGRESSCLASSES) if _is_default(c)]
        if not marked:
            return
        newest = max(str(c["metadata"].get("creationTimestamp", "")) for c in marked)
        newest_ones = [c for c in marked if c["metadata"].get("creationTimestamp", "") == newest]
        if len(marked) > 1 and not newest_ones:
            raise refuse(attributes, obj, f"{len(marked)} default IngressClasses were found")
        spec["ingressClassName"] = min(c["metadata"]["name"] for c in newest_ones)


def _is_default(ingress_class: dict[str, Any]) -> bool:
    return (ingress_class["metadata"].get("annotations") or {}).get(_DEFAULT) == "true"
