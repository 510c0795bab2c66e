"""Keeping what is there right without taking away what users added. Pure.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#auto-reconciliation: at each start
missing permissions and subjects are added, unless the annotation `autoupdate` says "false".
"""

import copy
from collections.abc import Mapping
from typing import Any

from skiff.server.authz.policy.notation import AUTOUPDATE
from skiff.server.authz.rules import Rule, compact, uncovered

_APF_AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"


def reconcile_role(expected: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any] | None:
    """The role with what it lacks, or None where it lacks nothing."""
    if _protected(live, AUTOUPDATE):
        return None
    out = _with_metadata(expected, live)
    if expected.get("aggregationRule"):
        wanted = expected["aggregationRule"]["clusterRoleSelectors"]
        present = (live.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
        lacking = [s for s in wanted if s not in present]
        if lacking:
            out["aggregationRule"] = {"clusterRoleSelectors": [*present, *lacking]}
    else:
        owned = [Rule.of(r) for r in live.get("rules") or ()]
        missing = uncovered(owned, (Rule.of(r) for r in expected.get("rules") or ()))
        if missing:
            out["rules"] = [*(live.get("rules") or ()), *(r.wire() for r in compact(missing))]
    return None if out == live else out


def reconcile_binding(
    expected: Mapping[str, Any], live: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The binding with the subjects that it lacks, or None. A binding whose roleRef differs must be
    deleted first: `live` then is not this binding, and the caller replaces it."""
    if _protected(live, AUTOUPDATE):
        return None
    out = _with_metadata(expected, live)
    present = live.get("subjects") or []
    lacking = [s for s in expected.get("subjects") or () if s not in present]
    if lacking:
        out["subjects"] = [*present, *lacking]
    return None if out == live else out


def reconcile_spec(expected: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any] | None:
    """Flow control: the spec is replaced while the annotation says that nobody took it over."""
    annotations = live["metadata"].get("annotations") or {}
    if annotations.get(_APF_AUTOUPDATE) != "true" or _includes(live.get("spec"), expected["spec"]):
        return None
    return {**copy.deepcopy(dict(live)), "spec": expected["spec"]}


def reconcile_fields(
    expected: Mapping[str, Any], live: Mapping[str, Any], *fields: str
) -> dict[str, Any] | None:
    """The object with these top fields and the expected labels, or None where they are right."""
    out = _with_metadata(expected, live)
    for field in fields:
        if not _includes(live.get(field), expected[field]):
            out[field] = expected[field]
    return None if out == live else out


def _protected(live: Mapping[str, Any], annotation: str) -> bool:
    return (live["metadata"].get("annotations") or {}).get(annotation) == "false"


def _with_metadata(expected: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    out = copy.deepcopy(dict(live))
    for field in ("labels", "annotations"):
        wanted = expected["metadata"].get(field) or {}
        if wanted:
            out["metadata"][field] = {**(out["metadata"].get(field) or {}), **wanted}
    return out


def _includes(live: Any, expected: Any) -> bool:
    """Whether `live` says everything that `expected` does (defaults may have added more)."""
    if isinstance(expected, Mapping):
        return isinstance(live, Mapping) and all(
            _includes(live.get(k), v) for k, v in expected.items()
        )
    if isinstance(expected, list):
        return (
            isinstance(live, list)
            and len(live) == len(expected)
            and all(_includes(a, b) for a, b in zip(live, expected, strict=True))
        )
    return bool(live == expected)
