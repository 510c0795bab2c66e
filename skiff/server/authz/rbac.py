"""RBAC, evaluated from what the server holds in memory.

Theory: bindings are indexed by subject (a user's name, a group, a service account's user name); a
change of one takes its old entries out and puts its new ones in. Roles are read when first needed. A
decision for (user, verb, group, resource, subresource, namespace) is the set of object names that
are allowed (None: all); it is computed once and kept in a dict until any role or binding changes,
which clears the decisions. A cached decision costs a dict look-up.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from skiff.api.resources import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    ROLEBINDINGS,
    ROLES,
)
from skiff.server.authn.tokens import service_account_name, split_service_account
from skiff.server.authz.rules import Rule, names_allowed
from skiff.server.request import RequestInfo
from skiff.server.seams import Change, Decision, Objects, User

# Decisions kept; past that all are dropped and recomputed (some hundred users times their verbs).
CACHED_DECISIONS = 20_000
MASTERS = "system:masters"

ALLOWED = Decision(True)
DENIED = Decision(False)

_EVERYTHING: frozenset[str] | None = None


Key = tuple[str, str]
"""(namespace, name) of a role or binding; the namespace is empty for cluster-wide ones."""


class Grant(NamedTuple):
    """One binding, from a subject's side. `namespace` is empty for a ClusterRoleBinding."""

    namespace: str
    role_kind: str
    role_name: str
    binding: str


_NO_GRANTS: dict[Key, Grant] = {}


class RbacAuthorizer:
    """The RBAC authorizer."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        # Subject → binding's key → grant; None until the first question.
        self._grants: dict[str, dict[Key, Grant]] | None = None
        self._subjects: dict[Key, tuple[str, ...]] = {}
        self._roles: dict[Key, tuple[Rule, ...]] = {}
        self._decisions: dict[tuple[object, ...], frozenset[str] | None] = {}
        self._unsubscribe: list[Callable[[], None]] = [
            *(objects.subscribe(r, self._roles_changed) for r in (CLUSTERROLES, ROLES)),
            *(
                objects.subscribe(r, self._bindings_changed)
                for r in (CLUSTERROLEBINDINGS, ROLEBINDINGS)
            ),
        ]

    def close(self) -> None:
        """Stop following changes."""
        for end in self._unsubscribe:
            end()

    def allowed(self, user: User, attributes: RequestInfo) -> Decision:
        """Whether `user`'s roles allow the request."""
        if MASTERS in user.groups:
            return ALLOWED
        if not attributes.is_resource:
            return self._path_allowed(user, attributes.verb, attributes.path)
        key = (
            user.name, user.groups, attributes.verb, attributes.group, attributes.resource,
            attributes.subresource, attributes.namespace,
        )  # fmt: skip
        try:
            names = self._decisions[key]
        except KeyError:
            names = names_allowed(
                self.rules(user, attributes.namespace),
                attributes.verb,
                attributes.group,
                attributes.resource,
                attributes.subresource,
            )
            self._remember(key, names)
        if names is None or (names and attributes.name in names):
            return ALLOWED
        return DENIED

    def rules(self, user: User, namespace: str) -> Iterator[Rule]:
        """Every rule that `user` has, cluster-wide and in `namespace` ("" for cluster only)."""
        for grant in self._grants_of(user):
            if not grant.namespace or grant.namespace == namespace:
                yield from self.role_rules(grant.role_kind, grant.role_name, grant.namespace)

    def role_rules(self, kind: str, name: str, namespace: str) -> tuple[Rule, ...]:
        """The rules of a Role (of `namespace`) or ClusterRole; none where it does not exist."""
        key = (namespace if kind == "Role" else "", name)
        rules = self._roles.get(key)
        if rules is None:
            if kind == "Role":
                role = self._objects.get(ROLES, name, namespace)
            else:
                role = self._objects.get(CLUSTERROLES, name)
            rules = tuple(Rule.of(r) for r in (role or {}).get("rules") or ())
            self._roles[key] = rules
        return rules

    def explain(self, user: User, attributes: RequestInfo) -> str:
        """Which binding allows the request, as access reviews tell it; "" where none does."""
        for key, grant in self._keyed_grants(user):
            if grant.namespace and grant.namespace != attributes.namespace:
                continue
            rules = self.role_rules(grant.role_kind, grant.role_name, grant.namespace)
            if any(_allows(rule, attributes) for rule in rules):
                kind, _, name = key.partition(":")
                binding = "RoleBinding" if grant.namespace else "ClusterRoleBinding"
                of = f"{grant.namespace}/{grant.binding}" if grant.namespace else grant.binding
                account = split_service_account(name) if kind == "User" else None
                if account:
                    kind, name = "ServiceAccount", f"{account[1]}/{account[0]}"
                return (
                    f'RBAC: allowed by {binding} "{of}" of {grant.role_kind}'
                    f' "{grant.role_name}" to {kind} "{name}"'
                )
        return ""

    def _path_allowed(self, user: User, verb: str, path: str) -> Decision:
        key = (user.name, user.groups, verb, path)
        try:
            names = self._decisions[key]
        except KeyError:
            found = any(rule.matches_path(verb, path) for rule in self.rules(user, ""))
            names = _EVERYTHING if found else frozenset()
            self._remember(key, names)
        return ALLOWED if names is None else DENIED

    def _remember(self, key: tuple[object, ...], names: frozenset[str] | None) -> None:
        if len(self._decisions) >= CACHED_DECISIONS:
            self._decisions.clear()
        self._decisions[key] = names

    def _grants_of(self, user: User) -> Iterator[Grant]:
        return (grant for _, grant in self._keyed_grants(user))

    def _keyed_grants(self, user: User) -> Iterator[tuple[str, Grant]]:
        grants = self._grants
        if grants is None:
            grants = self._grants = {}
            for resource in (CLUSTERROLEBINDINGS, ROLEBINDINGS):
                for binding in self._objects.list(resource):
                    self._add(grants, binding)
        for key in ("User:" + user.name, *("Group:" + group for group in user.groups)):
            for grant in grants.get(key, _NO_GRANTS).values():
                yield key, grant

    def _add(self, grants: dict[str, dict[Key, Grant]], binding: Mapping[str, Any]) -> None:
        meta = binding["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        role = binding.get("roleRef") or {}
        grant = Grant(key[0], role.get("kind", ""), role.get("name", ""), key[1])
        subjects = tuple(dict.fromkeys(subject_keys(binding.get("subjects") or (), key[0])))
        self._subjects[key] = subjects
        for subject in subjects:
            grants.setdefault(subject, {})[key] = grant

    def _bindings_changed(self, changes: Sequence[Change]) -> None:
        self._decisions.clear()
        grants = self._grants
        if grants is None:
            return
        for change in changes:
            key = (change.namespace, change.name)
            for subject in self._subjects.pop(key, ()):
                granted = grants[subject]
                granted.pop(key, None)
                if not granted:
                    del grants[subject]
            if change.value is not None:
                self._add(grants, orjson.loads(change.value))

    def _roles_changed(self, changes: Sequence[Change]) -> None:
        self._decisions.clear()
        for change in changes:
            self._roles.pop((change.namespace, change.name), None)


def _allows(rule: Rule, info: RequestInfo) -> bool:
    if not info.is_resource:
        return rule.matches_path(info.verb, info.path)
    if not rule.matches_resource(info.verb, info.group, info.resource, info.subresource):
        return False
    return not rule.names or info.name in rule.names


def subject_keys(subjects: Iterable[Mapping[str, Any]], namespace: str) -> Iterator[str]:
    """The index keys of a binding's subjects; a service account is known by its user name."""
    for subject in subjects:
        kind, name = subject.get("kind"), subject.get("name", "")
        if kind == "ServiceAccount":
            # A RoleBinding's own namespace stands in for one left out.
            yield "User:" + service_account_name(subject.get("namespace") or namespace, name)
        elif kind in ("User", "Group"):
            yield f"{kind}:{name}"
