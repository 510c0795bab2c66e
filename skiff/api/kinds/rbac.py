"""Roles and bindings.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from skiff.api.kinds import names
from skiff.api.kinds.strategy import Strategy


class RbacStrategy(Strategy):
    """Names may hold anything that a path segment may, such as colons."""

    name_rule = staticmethod(names.path_segment)
