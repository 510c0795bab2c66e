"""What a kubelet may do: read what its own pods use, write its own node and what hangs on it.

Source: https://kubernetes.io/docs/reference/access-authn-authz/node/. The authorizer knows users
`system:node:<name>` in the group `system:nodes`. Verbs that do not depend on a relation are the
rules of the role `system:node`; secrets, config maps, claims, volumes and service accounts need a pod
on the node that refers to them. Admission (`admission/node_restriction.py`) limits the writes.

Relations come from an index, kept up to date from the pods' changes: node → (kind, namespace, name)
→ how many of its pods refer to it. It is built when a node first asks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from skiff.api.resources import PERSISTENTVOLUMECLAIMS, PODS, SERVICEACCOUNTS, VOLUMEATTACHMENTS
from skiff.server.authz.policy.nodes import NODE_RULES
from skiff.server.authz.rules import Rule
from skiff.server.request import RequestInfo
from skiff.server.seams import Change, Decision, Objects, User

NODE_PREFIX = "system:node:"
NODES_GROUP = "system:nodes"

_ALLOWED = Decision(True)
_READ = frozenset({"get", "list", "watch"})
_OWN_LEASES = "kube-node-lease"

Reference = tuple[str, str, str]
"""(kind, namespace, name): one of configmap, secret, pvc, sa, claim."""


def node_name(user: User) -> str:
    """The node that a user is, or "" where it is none."""
    if user.name.startswith(NODE_PREFIX) and NODES_GROUP in user.groups:
        return user.name[len(NODE_PREFIX) :]
    return ""


class NodeAuthorizer:
    """Decides for nodes only; has no opinion on others."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._rules = tuple(Rule.of(r) for r in NODE_RULES)
        self._graph: PodGraph | None = None
        self._fixed: dict[tuple[str, ...], bool] = {}

    def allowed(self, user: User, attributes: RequestInfo) -> Decision:
        """As the module's text."""
        name = node_name(user)
        if not name:
            return Decision(False)
        if not attributes.is_resource:
            return Decision(False)
        special = _SPECIAL.get((attributes.group, attributes.resource))
        if special is not None:
            reason = special(self, name, attributes)
            return Decision(not reason, reason)
        key = (attributes.verb, attributes.group, attributes.resource, attributes.subresource)
        known = self._fixed.get(key)
        if known is None:
            known = any(rule.matches_resource(*key) for rule in self._rules)
            if len(self._fixed) < 1000:  # the table of all verbs and resources is smaller
                self._fixed[key] = known
        return _ALLOWED if known else Decision(False)

    @property
    def graph(self) -> "PodGraph":
        """The relations; built on the first use."""
        if self._graph is None:
            self._graph = PodGraph(self._objects)
        return self._graph

    def _related(self, kind: str, node: str, info: RequestInfo, verbs: frozenset[str]) -> str:
        if info.verb not in verbs:
            return f"can only {'/'.join(sorted(verbs))} resources of this type"
        if info.subresource:
            return "cannot read subresource"
        if not info.name:
            return f"no relationship found between node '{node}' and this object"
        if self.graph.has(node, (kind, info.namespace, info.name)):
            return ""
        return f"no relationship found between node '{node}' and this object"

    def _configmap(self, node: str, info: RequestInfo) -> str:
        return self._related("configmap", node, info, _READ)

    def _secret(self, node: str, info: RequestInfo) -> str:
        return self._related("secret", node, info, _READ)

    def _claim(self, node: str, info: RequestInfo) -> str:
        if info.subresource == "status" and info.verb in ("update", "patch"):
            related = self.graph.has(node, ("pvc", info.namespace, info.name))
            return "" if related else f"no relationship found between node '{node}' and this object"
        return self._related("pvc", node, info, frozenset({"get"}))

    def _volume(self, node: str, info: RequestInfo) -> str:
        if info.verb != "get" or info.subresource or not info.name:
            return "can only get individual resources of this type"
        for namespace, claim in self.graph.claims(node):
            found = self._objects.get(PERSISTENTVOLUMECLAIMS, claim, namespace)
            if found and (found.get("spec") or {}).get("volumeName") == info.name:
                return ""
        return f"no relationship found between node '{node}' and this object"

    def _attachment(self, node: str, info: RequestInfo) -> str:
        if info.verb != "get" or info.subresource or not info.name:
            return "can only get individual resources of this type"
        found = self._objects.get(VOLUMEATTACHMENTS, info.name)
        if found and (found.get("spec") or {}).get("nodeName") == node:
            return ""
        return f"no relationship found between node '{node}' and this object"

    def _resource_claim(self, node: str, info: RequestInfo) -> str:
        return self._related("claim", node, info, frozenset({"get"}))

    def _service_account(self, node: str, info: RequestInfo) -> str:
        if info.verb == "get" and not info.subresource and info.name:
            return self._related("sa", node, info, frozenset({"get"}))
        if info.subresource != "token":
            return "can only create tokens for individual service accounts"
        if info.verb != "create" or not info.name:
            return "can only create tokens for individual service accounts"
        if self.graph.has(node, ("sa", info.namespace, info.name)):
            return ""
        return f"no relationship found between node '{node}' and this object"

    def _lease(self, node: str, info: RequestInfo) -> str:
        if info.namespace != _OWN_LEASES:
            return f'can only access leases in the "{_OWN_LEASES}" system namespace'
        if info.verb not in ("get", "create", "update", "patch", "delete"):
            return "can only get, create, update, patch, or delete a node lease"
        if info.verb != "create" and info.name != node:
            return "can only access node lease with the same name as the requesting node"
        return ""

    def _csi_node(self, node: str, info: RequestInfo) -> str:
        if info.subresource:
            return "cannot authorize CSINode subresources"
        if info.verb not in ("get", "create", "update", "patch", "delete"):
            return "can only get, create, update, patch, or delete a CSINode"
        if info.verb != "create" and info.name != node:
            return "can only access CSINode with the same name as the requesting node"
        return ""

    def _pod(self, node: str, info: RequestInfo) -> str:
        """Reading is the role's (a kubelet selects spec.nodeName); one pod by name only its own."""
        if info.verb == "get" and info.name:
            if not info.subresource and self._on_node(info, node):
                return ""
            return f"no relationship found between node '{node}' and this object"
        if info.verb in ("list", "watch") and not info.subresource:
            selector = info.options.get("fieldSelector", "")
            wanted = {f"spec.nodeName={node}", f"spec.nodeName=={node}"}
            if wanted & set(selector.split(",")):
                return ""
            if info.name and self._on_node(info, node):
                return ""
            return "can only list/watch pods with spec.nodeName field selector"
        key = (info.verb, info.group, info.resource, info.subresource)
        ok = any(rule.matches_resource(*key) for rule in self._rules)
        return "" if ok else "not allowed for nodes"

    def _on_node(self, info: RequestInfo, node: str) -> bool:
        # A pod that is gone may be asked for: the kubelet learns that it is gone.
        stored = self._objects.get_bytes(PODS, info.name, info.namespace)
        return stored is None or orjson.loads(stored).get("spec", {}).get("nodeName") == node

    def _node(self, node: str, info: RequestInfo) -> str:
        if info.verb in ("get", "list", "watch") and not info.subresource:
            if info.verb == "get" or info.name:
                own = not info.name or info.name == node
                return (
                    ""
                    if own
                    else f"node '{node}' cannot read '{info.name}', only its own Node object"
                )
            return f"node '{node}' cannot read all nodes, only its own Node object"
        key = (info.verb, info.group, info.resource, info.subresource)
        ok = any(rule.matches_resource(*key) for rule in self._rules)
        return "" if ok else "not allowed for nodes"


_SPECIAL: Mapping[tuple[str, str], Callable[[NodeAuthorizer, str, RequestInfo], str]] = {
    ("", "configmaps"): NodeAuthorizer._configmap,
    ("", "secrets"): NodeAuthorizer._secret,
    ("", "persistentvolumeclaims"): NodeAuthorizer._claim,
    ("", "persistentvolumes"): NodeAuthorizer._volume,
    ("", "serviceaccounts"): NodeAuthorizer._service_account,
    ("", "pods"): NodeAuthorizer._pod,
    ("", "nodes"): NodeAuthorizer._node,
    ("storage.k8s.io", "volumeattachments"): NodeAuthorizer._attachment,
    ("storage.k8s.io", "csinodes"): NodeAuthorizer._csi_node,
    ("resource.k8s.io", "resourceclaims"): NodeAuthorizer._resource_claim,
    ("coordination.k8s.io", "leases"): NodeAuthorizer._lease,
}
"""Resources with a rule of their own: each function gives the reason for a refusal, "" allows."""


class PodGraph:
    """Node → what its pods refer to."""

    def __init__(self, objects: Objects) -> None:
        self._pods: dict[tuple[str, str], tuple[str, frozenset[Reference]]] = {}
        self._nodes: dict[str, dict[Reference, int]] = {}
        for raw in objects.list_bytes(PODS):
            self._set(orjson.loads(raw))
        self.close = objects.subscribe(PODS, self._changed)
        self._objects = objects

    def has(self, node: str, reference: Reference) -> bool:
        """Whether a pod on `node` refers to the object."""
        references = self._nodes.get(node)
        if references is None:
            return False
        if reference in references:
            return True
        return reference[0] == "secret" and self._pull_secret(references, reference)

    def claims(self, node: str) -> Iterator[tuple[str, str]]:
        """The persistent volume claims of a node's pods: (namespace, name)."""
        for kind, namespace, name in self._nodes.get(node, ()):
            if kind == "pvc":
                yield namespace, name

    def _pull_secret(self, references: Mapping[Reference, int], reference: Reference) -> bool:
        """A service account's own secrets count for its pods, as `secrets` in its object lists them."""
        _, namespace, name = reference
        for kind, space, account in references:
            if kind == "sa" and space == namespace:
                found = self._objects.get(SERVICEACCOUNTS, account, namespace) or {}
                if any(s.get("name") == name for s in found.get("secrets") or ()):
                    return True
        return False

    def _changed(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.value is None:
                self._drop((change.namespace, change.name))
            elif b'"nodeName":"' in change.value:
                known = self._pods.get((change.namespace, change.name))
                # A bound pod's references never change, save for ephemeral containers.
                if known is None or b'"ephemeralContainers"' in change.value:
                    self._set(orjson.loads(change.value))

    def _set(self, pod: Mapping[str, Any]) -> None:
        node = (pod.get("spec") or {}).get("nodeName")
        if not node:
            return
        meta = pod["metadata"]
        key = (meta["namespace"], meta["name"])
        self._drop(key)
        references = frozenset(pod_references(pod))
        if not references:
            return  # a mirror pod: nothing is counted for it
        self._pods[key] = (node, references)
        counts = self._nodes.setdefault(node, {})
        for reference in references:
            counts[reference] = counts.get(reference, 0) + 1

    def _drop(self, key: tuple[str, str]) -> None:
        known = self._pods.pop(key, None)
        if known is None:
            return
        node, references = known
        counts = self._nodes[node]
        for reference in references:
            counts[reference] -= 1
            if not counts[reference]:
                del counts[reference]
        if not counts:
            del self._nodes[node]


def pod_references(pod: Mapping[str, Any]) -> Iterator[Reference]:
    """The objects that a pod's kubelet must read for it. Pure."""
    namespace = pod["metadata"]["namespace"]
    spec = pod["spec"]
    annotations = pod["metadata"].get("annotations") or {}
    if "kubernetes.io/config.mirror" in annotations:
        return
    account = spec.get("serviceAccountName")
    if account:
        yield "sa", namespace, account
    for secret in spec.get("imagePullSecrets") or ():
        yield "secret", namespace, secret.get("name", "")
    for part in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(part) or ():
            yield from _container_references(namespace, container)
    for volume in spec.get("volumes") or ():
        yield from _volume_references(namespace, pod["metadata"]["name"], volume)
    statuses = {
        s.get("name"): s.get("resourceClaimName")
        for s in (pod.get("status") or {}).get("resourceClaimStatuses") or ()
    }
    for claim in spec.get("resourceClaims") or ():
        name = claim.get("resourceClaimName") or statuses.get(claim.get("name"))
        if name:
            yield "claim", namespace, name


def _container_references(namespace: str, container: Mapping[str, Any]) -> Iterator[Reference]:
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        for field, kind in (("configMapKeyRef", "configmap"), ("secretKeyRef", "secret")):
            if source.get(field):
                yield kind, namespace, source[field].get("name", "")
    for source in container.get("envFrom") or ():
        for field, kind in (("configMapRef", "configmap"), ("secretRef", "secret")):
            if source.get(field):
                yield kind, namespace, source[field].get("name", "")


# Where a volume source names a secret: (field of the volume, path to the secret's name).
_VOLUME_SECRETS = (
    ("secret", ("secretName",)),
    ("azureFile", ("secretName",)),
    ("cephfs", ("secretRef", "name")),
    ("csi", ("nodePublishSecretRef", "name")),
    ("flexVolume", ("secretRef", "name")),
    ("iscsi", ("secretRef", "name")),
    ("rbd", ("secretRef", "name")),
    ("scaleIO", ("secretRef", "name")),
    ("storageos", ("secretRef", "name")),
)


def _volume_references(namespace: str, pod: str, volume: Mapping[str, Any]) -> Iterator[Reference]:
    for field, path in _VOLUME_SECRETS:
        value: Any = volume.get(field)
        for step in path:
            value = (value or {}).get(step)
        if value:
            yield "secret", namespace, value
    if volume.get("configMap"):
        yield "configmap", namespace, volume["configMap"].get("name", "")
    if volume.get("persistentVolumeClaim"):
        yield "pvc", namespace, volume["persistentVolumeClaim"].get("claimName", "")
    if volume.get("ephemeral"):
        yield "pvc", namespace, f"{pod}-{volume['name']}"
    for source in (volume.get("projected") or {}).get("sources") or ():
        for field, kind in (("configMap", "configmap"), ("secret", "secret")):
            if source.get(field):
                yield kind, namespace, source[field].get("name", "")
