"""PodTopologyLabels: a pod that gets a node gets the node's zone and region as labels.

Source: KEP-4742, https://kubernetes.io/docs/reference/labels-annotations-taints/#topologykubernetesiozone.
"""

from skiff.api.resources import NODES, Resource
from skiff.server.admission.rule import CREATE, Object, Rule
from skiff.server.seams import Attributes, Objects

LABELS = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


class PodTopologyLabels(Rule):
    """See the module's text. On a binding the labels go into its metadata; binding copies them."""

    name = "PodTopologyLabels"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        pods = resource.plural == "pods" and not resource.group
        return pods and operation == CREATE and subresource in ("", "binding")

    def admit(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        if attributes.subresource:
            target = obj.get("target") or {}
            node = target.get("name", "") if target.get("kind", "Node") in ("", "Node") else ""
        else:
            node = obj["spec"].get("nodeName") or ""
        if not node:
            return
        raw = self._objects.get_bytes(NODES, node)
        if raw is None or b'"topology.kubernetes.io/' not in raw:
            return
        found = self._objects.get(NODES, node) or {}
        labels = found["metadata"].get("labels") or {}
        copied = {k: labels[k] for k in LABELS if k in labels}
        if copied:
            meta = obj.setdefault("metadata", {})
            meta["labels"] = {**(meta.get("labels") or {}), **copied}
