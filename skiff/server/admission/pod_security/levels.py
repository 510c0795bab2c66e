"""Levels and versions: which checks a namespace's labels ask for, and what they say of a pod. Pure."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from skiff.server.admission.pod_security.checks import BASELINE, RESTRICTED, Check, PodView

LABEL_PREFIX = "pod-security.kubernetes.io/"
MODES = ("enforce", "audit", "warn")
LEVELS = ("privileged", "baseline", "restricted")
LATEST = "latest"
_NEWEST_MINOR = 10_000


class Policy(NamedTuple):
    """One mode's level and version, as `restricted:latest`."""

    level: str = "privileged"
    version: str = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"

    @property
    def privileged(self) -> bool:
        """Whether everything is allowed."""
        return self.level == "privileged"


class Policies(NamedTuple):
    """What a namespace asks for."""

    enforce: Policy = Policy()
    audit: Policy = Policy()
    warn: Policy = Policy()

    @property
    def privileged(self) -> bool:
        """Whether there is nothing to check at all."""
        return self.enforce.privileged and self.audit.privileged and self.warn.privileged


class LabelError(NamedTuple):
    """A label whose value is none."""

    label: str
    value: str
    message: str


def policies_of(labels: Mapping[str, str]) -> tuple[Policies, list[LabelError]]:
    """The policies that a namespace's labels ask for; what is wrong counts as restricted for
    enforcement, so that a slip of the pen opens nothing, and as privileged elsewhere."""
    found: list[Policy] = []
    errors: list[LabelError] = []
    for mode in MODES:
        label = LABEL_PREFIX + mode
        level = labels.get(label, "privileged")
        if level not in LEVELS:
            text = f"must be one of {', '.join(LEVELS)}"
            errors.append(LabelError(label, level, text))
            level = "restricted" if mode == "enforce" else "privileged"
        version_label = f"{label}-version"
        version = labels.get(version_label, LATEST)
        if version != LATEST and _minor(version) < 0:
            errors.append(LabelError(version_label, version, 'must be "latest" or "v1.x"'))
            version = LATEST
        found.append(Policy(level, version))
    # Who says what is enforced, and nothing of warnings, is warned of the same.
    enforce, audit, warn = found
    if LABEL_PREFIX + "warn" not in labels and LABEL_PREFIX + "enforce" in labels:
        warn = enforce
    return Policies(enforce, audit, warn), errors


def violations(policy: Policy, metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    """What a pod does that the policy forbids: `reason (detail), …`; "" where nothing."""
    if policy.privileged:
        return ""
    pod = PodView(metadata, spec)
    findings = (check.run(pod) for check in _checks(policy.level, policy.version))
    return ", ".join(f"{f[0]} ({f[1]})" if f[1] else f[0] for f in findings if f)


@lru_cache(maxsize=256)
def _checks(level: str, version: str) -> tuple[Check, ...]:
    minor = _NEWEST_MINOR if version == LATEST else _minor(version)
    baseline = [c for c in BASELINE if c.since <= minor]
    if level == "baseline":
        return tuple(baseline)
    restricted = [c for c in RESTRICTED if c.since <= minor]
    replaced = {c.replaces for c in restricted}
    return (*(c for c in baseline if c.name not in replaced), *restricted)


def _minor(version: str) -> int:
    """The minor of `v1.N`; -1 where it is no version."""
    head, _, tail = version.partition(".")
    if (
        head != "v1"
        or not tail.isascii()
        or not tail.isdigit()
        or (len(tail) > 1 and tail[0] == "0")
    ):
        return -1
    return int(tail)
