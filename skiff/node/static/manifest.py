"""A static pod out of its manifest: read, defaulted, checked, and given a name and a uid of its own.

The uid is a hash of the node, the file and what it says: the same file is the same pod after a
restart, a changed one is another pod. The name carries the node's.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/
"""

import hashlib
from typing import Any

import msgspec

from skiff.api.errors import BadRequest
from skiff.api.resources import PODS
from skiff.api.views.pod import Pod

HASH = "kubernetes.io/config.hash"
MIRROR = "kubernetes.io/config.mirror"
SEEN = "kubernetes.io/config.seen"
SOURCE = "kubernetes.io/config.source"
DEFAULT_NAMESPACE = "default"
# A node's taints do not drive away what its own files ask for.
TOLERATION = {"operator": "Exists", "effect": "NoExecute"}
# What must be asked of the API server, which a static pod does without.
_REFERENCES = ("configMap", "secret", "persistentVolumeClaim")

Object = dict[str, Any]


class InvalidManifest(Exception):
    """The file holds no pod that can be run; the message says why."""


def read_pod(text: bytes, path: str, node_name: str, seen_at: str) -> Object:
    """The pod that the file at `path` asks for. Raises InvalidManifest."""
    from skiff.node.static.yaml import load  # PyYAML: only where there is a manifest

    try:
        found = load(text)
    except ValueError as e:
        raise InvalidManifest(f"couldn't parse: {e}") from e
    if not isinstance(found, dict) or (found.get("apiVersion"), found.get("kind")) != ("v1", "Pod"):
        raise InvalidManifest("couldn't parse as pod: it must be one v1 Pod")
    meta = found["metadata"] = dict(found.get("metadata") or {})
    if not meta.get("uid"):
        digest = hashlib.md5(repr(found).encode(), usedforsecurity=False)
        digest.update(f"host:{node_name}file:{path}".encode())
        meta["uid"] = digest.hexdigest()
    meta["name"] = f"{meta.get('name', '')}-{node_name.lower()}"
    meta["namespace"] = meta.get("namespace") or DEFAULT_NAMESPACE
    meta["annotations"] = {
        **(meta.get("annotations") or {}),
        HASH: meta["uid"],
        SEEN: seen_at,
        SOURCE: "file",
    }
    spec = found["spec"] = dict(found.get("spec") or {})
    spec["nodeName"] = node_name
    tolerations = list(spec.get("tolerations") or ())
    if TOLERATION not in tolerations:
        spec["tolerations"] = [*tolerations, TOLERATION]
    found["status"] = {"phase": "Pending"}
    return _checked(found)


def _checked(found: Object) -> Object:
    # Every kind's rules: loaded only where there is a manifest.
    from skiff.api.kinds import invalid_object, strategy_for
    from skiff.api.schema import decode

    strategy = strategy_for(PODS)
    try:
        decode(PODS, found, "Ignore", b"")
    except BadRequest as e:
        raise InvalidManifest(e.message) from e
    strategy.default(found)
    errors = strategy.validate_create(found)
    if errors:
        problem = invalid_object(PODS, found["metadata"]["name"], errors)
        raise InvalidManifest(f"invalid pod: {problem.message}")
    spec = found["spec"]
    if spec.get("serviceAccountName"):
        raise InvalidManifest("static pods may not reference serviceaccounts")
    for volume in spec.get("volumes", ()):
        for reference in _REFERENCES:
            if reference in volume:
                raise InvalidManifest(f"static pods may not reference {reference.lower()}s")
    return found


def mirror_of(static: Object, node_name: str, node_uid: str) -> Object:
    """What shows the static pod in the API."""
    meta = static["metadata"]
    annotations = {**meta["annotations"], MIRROR: meta["uid"]}
    owner = {
        "apiVersion": "v1",
        "kind": "Node",
        "name": node_name,
        "uid": node_uid,
        "controller": True,
    }
    kept = {k: v for k, v in meta.items() if k in ("name", "namespace", "labels")}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**kept, "annotations": annotations, "ownerReferences": [owner]},
        "spec": static["spec"],
    }


def is_mirror(pod: Pod) -> bool:
    """Whether the pod only shows a static one."""
    return MIRROR in pod.metadata.annotations


def shows(mirror: Pod, static: Pod) -> bool:
    """Whether the mirror is of this very static pod, and stays."""
    same = mirror.metadata.annotations.get(MIRROR) == static.metadata.uid
    return same and not mirror.metadata.deletion_timestamp


def as_view(static: Object) -> Pod:
    """The pod as workers read it."""
    return msgspec.convert(static, Pod)
