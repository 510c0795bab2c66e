"""The authorization modes, in the order of `--authorization-mode`: the first that allows wins.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authorization/.
"""

from collections.abc import Iterator, Sequence

from skiff.server.authz.node import NodeAuthorizer, node_name
from skiff.server.authz.rbac import MASTERS, RbacAuthorizer
from skiff.server.authz.rules import Rule
from skiff.server.request import RequestInfo
from skiff.server.seams import Authorizer, Decision, Objects, User

DEFAULT_MODES = ("Node", "RBAC")
_UNRESOLVABLE = "node authorizer does not support user rule resolution"


class AlwaysAllow:
    """Allows everything."""

    def allowed(self, user: User, attributes: RequestInfo) -> Decision:
        return Decision(True)


class AlwaysDeny:
    """Allows nothing."""

    def allowed(self, user: User, attributes: RequestInfo) -> Decision:
        return Decision(False, "Everything is forbidden.")


class AuthorizationChain:
    """The server's `Authorizer`. `system:masters` may do anything, whatever the modes."""

    def __init__(self, objects: Objects, modes: Sequence[str] = DEFAULT_MODES) -> None:
        """Raises ValueError for a mode that is unknown."""
        self.rbac = RbacAuthorizer(objects)
        self._uses_rbac = "RBAC" in modes
        self._open = "AlwaysAllow" in modes
        self._authorizers: list[Authorizer] = []
        for mode in modes:
            if mode == "Node":
                self._authorizers.append(NodeAuthorizer(objects))
            elif mode == "RBAC":
                self._authorizers.append(self.rbac)
            elif mode == "AlwaysAllow":
                self._authorizers.append(AlwaysAllow())
            elif mode == "AlwaysDeny":
                self._authorizers.append(AlwaysDeny())
            else:
                raise ValueError(
                    f'authorization mode "{mode}" is not supported:'
                    " use Node, RBAC, AlwaysAllow or AlwaysDeny"
                )

    @property
    def uses_rbac(self) -> bool:
        """Whether roles count: without them there is no escalation to check."""
        return self._uses_rbac and not self._open

    def allowed(self, user: User, attributes: RequestInfo) -> Decision:
        """Whether one of the modes allows it; a refusal carries all their reasons."""
        if MASTERS in user.groups:
            return Decision(True)
        reasons = ""
        for authorizer in self._authorizers:
            decision = authorizer.allowed(user, attributes)
            if decision.allowed:
                return decision
            if decision.reason:
                reasons = f"{reasons}, {decision.reason}" if reasons else decision.reason
        return Decision(False, reasons)

    def rules(self, user: User, namespace: str) -> tuple[Iterator[Rule], str]:
        """The rules that `user` has in `namespace`, and why the list may not be complete."""
        everything = (Rule.of(_ALL_RESOURCES), Rule.of(_ALL_PATHS))
        if self._open or MASTERS in user.groups:
            return iter(everything), ""
        return self.rbac.rules(user, namespace), _UNRESOLVABLE if node_name(user) else ""


_ALL_RESOURCES = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
_ALL_PATHS = {"verbs": ["*"], "nonResourceURLs": ["*"]}
FULL_AUTHORITY = (Rule.of(_ALL_RESOURCES), Rule.of(_ALL_PATHS))
