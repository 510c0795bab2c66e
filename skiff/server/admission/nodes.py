"""TaintNodesByCondition and NodeRestriction: how nodes come in, and what a kubelet may not write.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from skiff.api.resources import PODS, Resource
from skiff.server.admission.rule import CREATE, DELETE, UPDATE, Object, Rule, refuse
from skiff.server.admission.service_account import MIRROR_ANNOTATION
from skiff.server.authz.node import node_name, pod_references
from skiff.server.seams import Attributes, Objects

NOT_READY_TAINT = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
_OWN_LEASES = "kube-node-lease"

# Labels that a kubelet may set on its own node, besides those outside kubernetes.io and k8s.io.
_KUBELET_LABELS = frozenset(
    {
        "kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os",
        "beta.kubernetes.io/arch", "beta.kubernetes.io/os", "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type", "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone", "failure-domain.kubernetes.io/region",
        "failure-domain.kubernetes.io/zone", "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    }
)  # fmt: skip
_KUBELET_LABEL_NAMESPACES = ("kubelet.kubernetes.io", "node.kubernetes.io")
_RESTRICTED_NAMESPACE = "node-restriction.kubernetes.io"


class TaintNodesByCondition(Rule):
    """A new node is tainted until it is known to be ready."""

    name = "TaintNodesByCondition"

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        nodes = resource.plural == "nodes" and not resource.group
        return nodes and operation == CREATE and not subresource

    def admit(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        spec = obj.setdefault("spec", {})
        taints = spec.get("taints") or []
        if not any(
            t.get("key") == NOT_READY_TAINT["key"] and t.get("effect") == NOT_READY_TAINT["effect"]
            for t in taints
        ):
            spec["taints"] = [*taints, dict(NOT_READY_TAINT)]


class NodeRestriction(Rule):
    """A kubelet writes its own node, its pods' status, its leases; nothing else."""

    name = "NodeRestriction"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        return (resource.group, resource.plural) in _WATCHED

    def admit(self, attributes: Attributes, obj: Any, old: Any) -> None:
        name = node_name(attributes.user)
        if not name:
            return
        resource = (attributes.resource.group, attributes.resource.plural)
        if resource == ("", "pods"):
            self._pod(attributes, obj, name)
        elif resource == ("", "nodes"):
            self._node(attributes, obj, old, name)
        elif resource == ("", "serviceaccounts"):
            self._token(attributes, obj, name)
        elif resource == ("coordination.k8s.io", "leases"):
            self._lease(attributes, obj, name)
        elif resource == ("storage.k8s.io", "csinodes"):
            self._named(attributes, obj, name, "CSINode")
        elif resource == ("resource.k8s.io", "resourceslices"):
            self._slice(attributes, obj, old, name)

    def _pod(self, attributes: Attributes, obj: Any, node: str) -> None:
        subresource, operation = attributes.subresource, attributes.operation
        if operation == CREATE and not subresource:
            self._mirror(attributes, obj, node)
            return
        pod = self._objects.get(PODS, attributes.name, attributes.namespace)
        own = pod is not None and (pod.get("spec") or {}).get("nodeName") == node
        if operation == DELETE and not subresource:
            if pod is not None and not own:
                raise refuse(
                    attributes,
                    pod,
                    f'node "{node}" can only delete pods with spec.nodeName set to itself',
                )
        elif operation == UPDATE and subresource == "status":
            if pod is not None and not own:
                raise refuse(
                    attributes,
                    pod,
                    f'node "{node}" can only update pod status for pods with spec.nodeName set to itself',  # noqa: S608 - no SQL: a message
                )
            before = ((pod or {}).get("metadata") or {}).get("labels") or {}
            if (obj["metadata"].get("labels") or {}) != before:
                raise refuse(
                    attributes, obj, f'node "{node}" cannot update labels through pod status'
                )
        elif operation == CREATE and subresource == "eviction":
            if pod is not None and not own:
                raise refuse(
                    attributes,
                    pod,
                    f'node "{node}" can only evict pods with spec.nodeName set to itself',
                )
        else:
            raise refuse(
                attributes,
                obj,
                f'unexpected pod subresource "{subresource}", only "status" and "eviction" are allowed',
            )

    def _mirror(self, attributes: Attributes, pod: Mapping[str, Any], node: str) -> None:
        meta, spec = pod["metadata"], pod["spec"]
        if MIRROR_ANNOTATION not in (meta.get("annotations") or {}):
            raise refuse(
                attributes,
                pod,
                f'pod does not have "{MIRROR_ANNOTATION}" annotation, node "{node}" can only create mirror pods',
            )
        if spec.get("nodeName") != node:
            raise refuse(
                attributes,
                pod,
                f'node "{node}" can only create pods with spec.nodeName set to itself',
            )
        owners = meta.get("ownerReferences") or []
        if len(owners) > 1:
            raise refuse(
                attributes,
                pod,
                f'node "{node}" can only create pods with a single owner reference set to itself',
            )
        for owner in owners:
            if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != (
                "v1",
                "Node",
                node,
            ):
                raise refuse(
                    attributes,
                    pod,
                    f'node "{node}" can only create pods with an owner reference set to itself',
                )
        if spec.get("serviceAccountName"):
            raise refuse(
                attributes,
                pod,
                f'node "{node}" can not create pods that reference a service account',
            )
        plain = {**pod, "metadata": {**meta, "annotations": {}}}
        words = {"secret": "secrets", "configmap": "configmaps", "pvc": "persistentvolumeclaims", "claim": "resourceclaims"}  # fmt: skip
        for kind, _, _ in pod_references(
            {**plain, "metadata": {"namespace": attributes.namespace, "name": meta.get("name", "")}}
        ):
            raise refuse(
                attributes,
                pod,
                f'node "{node}" can not create pods that reference {words.get(kind, kind)}',
            )

    def _node(self, attributes: Attributes, obj: Any, old: Any, node: str) -> None:
        asked = attributes.name or ((obj or {}).get("metadata") or {}).get("name", "")
        if attributes.operation == CREATE:
            if (obj.get("spec") or {}).get("configSource") is not None:
                raise refuse(
                    attributes,
                    obj,
                    f'node "{node}" is not allowed to create pods with a non-nil configSource',
                )
            wrong = _forbidden_labels(obj["metadata"].get("labels") or {})
            if wrong:
                raise refuse(
                    attributes,
                    obj,
                    f'node "{node}" is not allowed to set the following labels: {", ".join(wrong)}',
                )
        if asked != node:
            raise refuse(attributes, obj, f'node "{node}" is not allowed to modify node "{asked}"')
        if attributes.operation != UPDATE or old is None:
            return
        after, before = obj["metadata"].get("labels") or {}, old["metadata"].get("labels") or {}
        changed = {k: "" for k in after.keys() | before.keys() if after.get(k) != before.get(k)}
        wrong = _forbidden_labels(changed)
        if wrong:
            raise refuse(attributes, obj, f"is not allowed to modify labels: {', '.join(wrong)}")
        if (obj.get("spec") or {}).get("taints") != (old.get("spec") or {}).get("taints"):
            raise refuse(attributes, obj, f'node "{node}" is not allowed to modify taints')
        if obj["metadata"].get("ownerReferences") != old["metadata"].get("ownerReferences"):
            raise refuse(attributes, obj, f'node "{node}" is not allowed to modify ownerReferences')

    def _token(self, attributes: Attributes, obj: Any, node: str) -> None:
        if attributes.subresource != "token" or attributes.operation != CREATE:
            return
        reference = (obj.get("spec") or {}).get("boundObjectRef")
        if not reference or (reference.get("apiVersion"), reference.get("kind")) != ("v1", "Pod"):
            raise refuse(attributes, obj, "node requested token not bound to a pod")
        if not reference.get("uid"):
            raise refuse(attributes, obj, "node requested token with a pod binding without a uid")
        raw = self._objects.get_bytes(PODS, reference.get("name", ""), attributes.namespace)
        if raw is None:
            raise refuse(attributes, obj, f'pod "{reference.get("name", "")}" not found')
        pod = orjson.loads(raw)
        if pod["metadata"]["uid"] != reference["uid"]:
            raise refuse(
                attributes,
                obj,
                f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. The object might have been deleted and then recreated",
            )
        if (pod.get("spec") or {}).get("nodeName") != node:
            raise refuse(
                attributes, obj, "node requested token bound to a pod scheduled on a different node"
            )

    def _lease(self, attributes: Attributes, obj: Any, node: str) -> None:
        if attributes.namespace != _OWN_LEASES:
            raise refuse(
                attributes, obj, f'can only access leases in the "{_OWN_LEASES}" system namespace'
            )
        self._named(attributes, obj, node, "node lease")

    @staticmethod
    def _named(attributes: Attributes, obj: Any, node: str, what: str) -> None:
        asked = attributes.name or ((obj or {}).get("metadata") or {}).get("name", "")
        if asked != node:
            raise refuse(
                attributes, obj, f"can only access {what} with the same name as the requesting node"
            )

    @staticmethod
    def _slice(attributes: Attributes, obj: Any, old: Any, node: str) -> None:
        if attributes.operation not in (CREATE, DELETE):
            return
        spec = ((obj if attributes.operation == CREATE else old) or {}).get("spec") or {}
        if spec.get("nodeName") != node:
            verb = "create" if attributes.operation == CREATE else "delete"
            raise refuse(
                attributes,
                obj or old,
                f"can only {verb} ResourceSlice with the same NodeName as the requesting node",
            )


_WATCHED = frozenset(
    {
        ("", "pods"), ("", "nodes"), ("", "serviceaccounts"), ("coordination.k8s.io", "leases"),
        ("storage.k8s.io", "csinodes"), ("resource.k8s.io", "resourceslices"),
    }
)  # fmt: skip


def _forbidden_labels(labels: Mapping[str, str]) -> list[str]:
    return sorted(label for label in labels if not _allowed_label(label))


def _allowed_label(label: str) -> bool:
    prefix, sep, _ = label.partition("/")
    if not sep:
        return True
    if _under(prefix, _RESTRICTED_NAMESPACE):
        return False
    if label in _KUBELET_LABELS:
        return True
    if not (_under(prefix, "kubernetes.io") or _under(prefix, "k8s.io")):
        return True
    return any(_under(prefix, n) for n in _KUBELET_LABEL_NAMESPACES)


def _under(prefix: str, domain: str) -> bool:
    return prefix == domain or prefix.endswith("." + domain)
