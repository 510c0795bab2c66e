"""Kubernetes' default roles and bindings, written compactly; `objects()` gives them all.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
and the roles that a v1.36 cluster shows (`kubectl get clusterroles -o yaml`).
"""

from collections.abc import Iterator
from typing import Any

from skiff.server.authz.policy import components, controllers, users
from skiff.server.authz.policy.notation import Binding, Role, binding_object, role_object

ROLES: tuple[Role, ...] = (*users.ROLES, *components.ROLES, *controllers.ROLES)
BINDINGS: tuple[Binding, ...] = (*users.BINDINGS, *components.BINDINGS, *controllers.BINDINGS)


def objects() -> Iterator[dict[str, Any]]:
    """Every default role, then every default binding, as API objects without uid or times."""
    for role in ROLES:
        yield role_object(role)
    for binding in BINDINGS:
        yield binding_object(binding)
