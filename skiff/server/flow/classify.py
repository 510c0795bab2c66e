"""Whether a FlowSchema matches a request. Pure.

Source: the FlowSchema API, https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/flow-schema-v1/.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from skiff.server.request import RequestInfo
from skiff.server.seams import User

_ANY = "*"


def order(schemas: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The order in which schemas are asked: by precedence, then by name."""
    return sorted(
        schemas,
        key=lambda s: (s["spec"].get("matchingPrecedence", 1000), s["metadata"]["name"]),
    )


def matches(schema: Mapping[str, Any], user: User, info: RequestInfo) -> bool:
    """Whether one of the schema's rules names the user and the request."""
    return any(
        any(_subject(s, user) for s in rule.get("subjects") or ()) and _request(rule, info)
        for rule in schema["spec"].get("rules") or ()
    )


def distinguisher(schema: Mapping[str, Any]) -> str:
    """ByUser, ByNamespace, or "" where all of the schema's requests are one flow."""
    found: str = (schema["spec"].get("distinguisherMethod") or {}).get("type", "")
    return found


def _subject(subject: Mapping[str, Any], user: User) -> bool:
    kind = subject.get("kind")
    if kind == "User":
        name = (subject.get("user") or {}).get("name", "")
        return name in (_ANY, user.name)
    if kind == "Group":
        name = (subject.get("group") or {}).get("name", "")
        return bool(name == _ANY or name in user.groups)
    account = subject.get("serviceAccount") or {}
    prefix = f"system:serviceaccount:{account.get('namespace', '')}:"
    if account.get("name") == _ANY:
        return user.name.startswith(prefix)
    return bool(user.name == prefix + account.get("name", ""))


def _request(rule: Mapping[str, Any], info: RequestInfo) -> bool:
    if info.is_resource:
        return any(_resource(r, info) for r in rule.get("resourceRules") or ())
    return any(_path(r, info) for r in rule.get("nonResourceRules") or ())


def _has(values: Sequence[str] | None, value: str) -> bool:
    return values is not None and (_ANY in values or value in values)


def _resource(rule: Mapping[str, Any], info: RequestInfo) -> bool:
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    if not (
        _has(rule.get("verbs"), info.verb)
        and _has(rule.get("apiGroups"), info.group)
        and _has(rule.get("resources"), resource)
    ):
        return False
    if not info.namespace:
        return bool(rule.get("clusterScope"))
    return _has(rule.get("namespaces"), info.namespace)


def _path(rule: Mapping[str, Any], info: RequestInfo) -> bool:
    return _has(rule.get("verbs"), info.verb) and any(
        url in (_ANY, info.path) or (url.endswith(_ANY) and info.path.startswith(url[:-1]))
        for url in rule.get("nonResourceURLs") or ()
    )
