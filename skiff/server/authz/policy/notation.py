"""How the default policy is written down: one rule a line, `verbs | groups | resources | names`.

The core group is written `core`; a rule on paths is `verbs | /path /path`. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

API_VERSION = "rbac.authorization.k8s.io/v1"
API_GROUP = "rbac.authorization.k8s.io"
BOOTSTRAP_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"

READ = "get list watch"
WRITE = "create delete deletecollection patch update"
READ_WRITE = f"{WRITE} {READ}"
EVENTS = "create patch update | core events.k8s.io | events"


@dataclass(frozen=True, slots=True)
class Role:
    """A ClusterRole, or a Role where `namespace` is set."""

    name: str
    rules: tuple[str, ...] = ()
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    aggregate: str = ""
    """The label that this role's rules are collected by (aggregationRule)."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A binding of the role of the same scope; subjects are `User:x`, `Group:x` or `SA:ns/x`."""

    role: str
    subjects: tuple[str, ...]
    namespace: str = ""
    name: str = ""
    """The binding's name where it is not the role's."""


def rule(text: str) -> dict[str, Any]:
    """One rule in the wire's form."""
    parts = [part.split() for part in text.split("|")]
    verbs = sorted(parts[0])
    if parts[1][0].startswith("/") or (parts[1] == ["*"] and len(parts) == 2):
        return {"nonResourceURLs": parts[1], "verbs": verbs}
    out: dict[str, Any] = {
        "apiGroups": ["" if g == "core" else g for g in parts[1]],
        "resources": parts[2],
    }
    if len(parts) > 3:
        out["resourceNames"] = parts[3]
    out["verbs"] = verbs
    return out


def role_object(role: Role) -> dict[str, Any]:
    """The role as an API object."""
    meta: dict[str, Any] = {
        "annotations": {AUTOUPDATE: "true"},
        "labels": {**BOOTSTRAP_LABELS, **role.labels},
        "name": role.name,
    }
    if role.namespace:
        meta["namespace"] = role.namespace
    out: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": "Role" if role.namespace else "ClusterRole",
        "metadata": meta,
    }
    if role.aggregate:
        out["aggregationRule"] = {
            "clusterRoleSelectors": [{"matchLabels": {role.aggregate: "true"}}]
        }
    out["rules"] = [rule(r) for r in role.rules]
    return out


def binding_object(binding: Binding) -> dict[str, Any]:
    """The binding as an API object."""
    meta: dict[str, Any] = {
        "annotations": {AUTOUPDATE: "true"},
        "labels": dict(BOOTSTRAP_LABELS),
        "name": binding.name or binding.role,
    }
    if binding.namespace:
        meta["namespace"] = binding.namespace
    kind = "Role" if binding.namespace else "ClusterRole"
    out: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": kind + "Binding",
        "metadata": meta,
        "roleRef": {"apiGroup": API_GROUP, "kind": kind, "name": binding.role},
    }
    if binding.subjects:
        out["subjects"] = [_subject(s) for s in binding.subjects]
    return out


def _subject(text: str) -> dict[str, str]:
    kind, _, name = text.partition(":")
    if kind == "SA":
        namespace, _, name = name.partition("/")
        return {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    return {"apiGroup": API_GROUP, "kind": kind, "name": name}
