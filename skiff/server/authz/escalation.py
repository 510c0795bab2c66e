"""Nobody hands out more than they have: the check on writes of roles and bindings.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from skiff.api.errors import Forbidden
from skiff.server.authz.chain import FULL_AUTHORITY, AuthorizationChain
from skiff.server.authz.rbac import MASTERS
from skiff.server.authz.rules import Rule, compact, describe, uncovered
from skiff.server.request import RequestInfo
from skiff.server.seams import Attributes, User

GROUP = "rbac.authorization.k8s.io"
_ROLES = frozenset({"roles", "clusterroles"})
_COLLECTED_BY_GC = frozenset({"ownerReferences", "finalizers", "managedFields", "resourceVersion"})


class EscalationCheck:
    """Refuses a role or binding that would give its writer's rights a growth."""

    def __init__(self, authorizer: AuthorizationChain) -> None:
        self._authorizer = authorizer

    def check(
        self, attributes: Attributes, obj: Mapping[str, Any], old: Mapping[str, Any] | None
    ) -> None:
        """Raises Forbidden."""
        user = attributes.user
        if MASTERS in user.groups or not self._authorizer.uses_rbac:
            return
        if old is not None and _only_for_deletion(obj, old):
            return
        if attributes.resource.plural in _ROLES:
            self._check_role(attributes, user, obj, old)
        else:
            self._check_binding(attributes, user, obj)

    def _check_role(
        self,
        attributes: Attributes,
        user: User,
        obj: Mapping[str, Any],
        old: Mapping[str, Any] | None,
    ) -> None:
        name = obj["metadata"].get("name", "")
        if self._may(user, "escalate", attributes.resource.plural, name, attributes.namespace):
            return
        if obj.get("aggregationRule") or (old or {}).get("aggregationRule"):
            owned = list(self._authorizer.rbac.rules(user, ""))
            if uncovered(owned, FULL_AUTHORITY):
                raise _forbidden(
                    attributes, name, "must have cluster-admin privileges to use an aggregationRule"
                )
        self._confirm(attributes, name, (Rule.of(r) for r in obj.get("rules") or ()))

    def _check_binding(self, attributes: Attributes, user: User, obj: Mapping[str, Any]) -> None:
        role = obj.get("roleRef") or {}
        kind, name = role.get("kind", ""), role.get("name", "")
        plural = "roles" if kind == "Role" else "clusterroles"
        if self._may(user, "bind", plural, name, attributes.namespace):
            return
        rules = self._authorizer.rbac.role_rules(kind, name, attributes.namespace)
        self._confirm(attributes, obj["metadata"].get("name", ""), rules)

    def _may(self, user: User, verb: str, plural: str, name: str, namespace: str) -> bool:
        info = RequestInfo.of_resource(verb, GROUP, "v1", plural, namespace=namespace, name=name)
        return self._authorizer.allowed(user, info).allowed

    def _confirm(self, attributes: Attributes, name: str, wanted: Iterable[Rule]) -> None:
        owned = list(self._authorizer.rbac.rules(attributes.user, attributes.namespace))
        missing = uncovered(owned, wanted)
        if not missing:
            return
        user = attributes.user
        groups = " ".join(f'"{g}"' for g in user.groups)
        lines = "\n".join(sorted(describe(r) for r in compact(missing)))
        raise _forbidden(
            attributes,
            name,
            f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions'
            f" not currently held:\n{lines}",
        )


def _forbidden(attributes: Attributes, name: str, text: str) -> Forbidden:
    plural = attributes.resource.plural
    return Forbidden(
        f'{plural}.{GROUP} "{name}" is forbidden: {text}', group=GROUP, kind=plural, name=name
    )


def _only_for_deletion(obj: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether nothing changed but what the garbage collector needs to delete the object."""

    def rest(value: Mapping[str, Any]) -> dict[str, Any]:
        meta = {k: v for k, v in value["metadata"].items() if k not in _COLLECTED_BY_GC}
        return {**value, "metadata": meta}

    return rest(obj) == rest(old)
