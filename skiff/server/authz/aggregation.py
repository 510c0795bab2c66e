"""Aggregated ClusterRoles: roles whose rules are collected from the roles that their selectors match.

`aggregate` is the pure part. `Aggregation` is a component that follows the ClusterRoles and writes the
collected rules where they are not right; it lives in the server, beside the cache that it reads.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from skiff.aio.http.message import Handler, Peer, Request
from skiff.aio.run import Started
from skiff.api.resources import CLUSTERROLES
from skiff.api.selectors import structured
from skiff.server.seams import Objects

USER = (
    "system:serviceaccount:kube-system:clusterrole-aggregation-controller",
    ("system:masters",),
)
# Views on views on views: more rounds than there are roles would be a cycle.
_ROUNDS_MAX = 100


def collected(role: Mapping[str, Any], roles: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rules that an aggregated role should have: those of matching roles, by name, each once."""
    own = role["metadata"]["name"]
    selectors = [structured(s) for s in role["aggregationRule"].get("clusterRoleSelectors") or ()]
    rules: list[dict[str, Any]] = []
    for other in sorted(roles, key=lambda r: str(r["metadata"]["name"])):
        if other["metadata"]["name"] == own:
            continue
        if any(s.matches(other["metadata"].get("labels")) for s in selectors):
            rules += [r for r in other.get("rules") or () if r not in rules]
    return rules


def aggregate(roles: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fill in the rules of all aggregated roles, in place; gives back those that changed."""
    aggregated = [r for r in roles if r.get("aggregationRule")]
    changed: dict[str, dict[str, Any]] = {}
    for _ in range(_ROUNDS_MAX):
        stable = True
        for role in aggregated:
            rules = collected(role, roles)
            if rules != (role.get("rules") or []):
                role["rules"] = rules
                changed[role["metadata"]["name"]] = role
                stable = False
        if stable:
            break
    return list(changed.values())


class Aggregation:
    """Keeps the stored aggregated roles right."""

    def __init__(self, handler: Handler, stored: Objects) -> None:
        self._handler = handler
        self._stored = stored
        self._peer = Peer(("", 0), local=True, state={"user": USER})
        self._changed = asyncio.Event()

    async def run(self, started: Started) -> None:
        """As a component."""
        end = self._stored.subscribe(CLUSTERROLES, self._noticed)
        self._changed.set()
        started()
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                for role in aggregate(self._stored.list(CLUSTERROLES)):
                    await self._write(role)
        finally:
            end()

    def _noticed(self, changes: object) -> None:
        self._changed.set()

    async def _write(self, role: Mapping[str, Any]) -> None:
        """A conflict needs no answer: whoever wrote in between has woken this up again."""
        patch = {
            "metadata": {"resourceVersion": role["metadata"].get("resourceVersion")},
            "rules": role["rules"],
        }
        headers = {
            "content-type": "application/merge-patch+json",
            "user-agent": "clusterrole-aggregation-controller",
        }
        path = CLUSTERROLES.path(name=role["metadata"]["name"])
        outcome = self._handler(
            Request("PATCH", path, "", headers, orjson.dumps(patch), self._peer)
        )
        if isinstance(outcome, Awaitable):
            await outcome
