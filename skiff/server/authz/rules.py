"""What one RBAC rule means: matching a request, and whether rules cover other rules. Pure.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/. A rule is the wire's
PolicyRule (`apiGroups`, `resources`, `verbs`, `resourceNames`, `nonResourceURLs`), read once into
frozen sets.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

ALL = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """One PolicyRule."""

    verbs: frozenset[str]
    groups: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    urls: tuple[str, ...] = ()

    @classmethod
    def of(cls, rule: Mapping[str, Any]) -> "Rule":
        """From the wire's form."""
        return cls(
            frozenset(rule.get("verbs") or ()),
            frozenset(rule.get("apiGroups") or ()),
            frozenset(rule.get("resources") or ()),
            frozenset(rule.get("resourceNames") or ()),
            tuple(rule.get("nonResourceURLs") or ()),
        )

    def wire(self) -> dict[str, Any]:
        """Back to the wire's form, sorted."""
        out: dict[str, Any] = {"verbs": sorted(self.verbs)}
        if self.groups:
            out["apiGroups"] = sorted(self.groups)
        if self.resources:
            out["resources"] = sorted(self.resources)
        if self.names:
            out["resourceNames"] = sorted(self.names)
        if self.urls:
            out["nonResourceURLs"] = list(self.urls)
        return out

    def matches_resource(self, verb: str, group: str, resource: str, subresource: str) -> bool:
        """Whether the rule is about this verb and resource (its names are not looked at)."""
        if verb not in self.verbs and ALL not in self.verbs:
            return False
        if group not in self.groups and ALL not in self.groups:
            return False
        if ALL in self.resources:
            return True
        if not subresource:
            return resource in self.resources
        return f"{resource}/{subresource}" in self.resources or f"*/{subresource}" in self.resources

    def matches_path(self, verb: str, path: str) -> bool:
        """Whether the rule allows a non-resource request."""
        if verb not in self.verbs and ALL not in self.verbs:
            return False
        return any(url_matches(url, path) for url in self.urls)


def url_matches(pattern: str, path: str) -> bool:
    """A rule's URL covers the same path; with a trailing `*`, all that start so."""
    if pattern in (ALL, path):
        return True
    return pattern.endswith(ALL) and path.startswith(pattern.rstrip(ALL))


def names_allowed(
    rules: Iterable[Rule], verb: str, group: str, resource: str, subresource: str
) -> frozenset[str] | None:
    """Which object names the rules allow for this verb and resource: None for all of them."""
    names: set[str] = set()
    for rule in rules:
        if rule.matches_resource(verb, group, resource, subresource):
            if not rule.names:
                return None
            names |= rule.names
    return frozenset(names)


def uncovered(owned: Sequence[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """Those single permissions of `wanted` that `owned` does not give, one rule each.

    Every rule is broken into its single (verb, group, resource, name) and (verb, URL) parts, as
    Kubernetes' escalation check does, for a list of rules may cover one rule together.
    """
    return [part for rule in wanted for part in _parts(rule) if not _covered(owned, part)]


def _parts(rule: Rule) -> Iterable[Rule]:
    verbs = sorted(rule.verbs)
    for group, resource, verb in product(sorted(rule.groups), sorted(rule.resources), verbs):
        for name in sorted(rule.names) or ("",):
            yield Rule(
                frozenset((verb,)),
                frozenset((group,)),
                frozenset((resource,)),
                frozenset((name,) if name else ()),
            )
    for url, verb in product(rule.urls, verbs):
        yield Rule(frozenset((verb,)), urls=(url,))


def _covered(owned: Sequence[Rule], part: Rule) -> bool:
    (verb,) = part.verbs
    if part.urls:
        (url,) = part.urls
        return any(
            (ALL in r.verbs or verb in r.verbs) and any(_url_covers(o, url) for o in r.urls)
            for r in owned
        )
    (group,) = part.groups
    (resource,) = part.resources
    return any(
        (ALL in r.verbs or verb in r.verbs)
        and (ALL in r.groups or group in r.groups)
        and _resource_covers(r.resources, resource)
        and (not r.names or (bool(part.names) and part.names <= r.names))
        for r in owned
    )


def _resource_covers(owned: frozenset[str], resource: str) -> bool:
    if ALL in owned or resource in owned:
        return True
    _, sep, subresource = resource.partition("/")
    return bool(sep) and f"*/{subresource}" in owned


def _url_covers(owned: str, url: str) -> bool:
    if owned in (ALL, url):
        return True
    return owned.endswith(ALL) and url.startswith(owned.rstrip(ALL))


def describe(rule: Rule) -> str:
    """A rule as Kubernetes prints it in messages: `{APIGroups:[""], Resources:["pods"], …}`."""
    parts = []
    for title, values in (
        ("APIGroups", sorted(rule.groups)),
        ("Resources", sorted(rule.resources)),
        ("NonResourceURLs", rule.urls),
        ("ResourceNames", sorted(rule.names)),
        ("Verbs", sorted(rule.verbs)),
    ):
        if values:
            shown = " ".join(f'"{v}"' for v in values)
            parts.append(f"{title}:[{shown}]")
    return "{" + ", ".join(parts) + "}"


def compact(rules: Iterable[Rule]) -> list[Rule]:
    """The same permissions in fewer rules: single-permission rules on one group, resource and set
    of names are joined into one with all their verbs."""
    by_target: dict[Rule, set[str]] = {}
    for rule in rules:
        target = replace(rule, verbs=frozenset())
        by_target.setdefault(target, set()).update(rule.verbs)
    return [replace(target, verbs=frozenset(verbs)) for target, verbs in by_target.items()]
