"""Revisions: which ReplicaSet is the new one, and the annotations that record history. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from skiff.api.views.apps import Deployment, ReplicaSet
from skiff.controllers import template
from skiff.controllers.deployment.plan import (
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    REVISION,
    limits_of,
    oldest_first,
    revision_of,
)

REVISION_HISTORY: Final = "deployment.kubernetes.io/revision-history"
MAX_HISTORY_CHARACTERS: Final = 2000

# Annotations of the Deployment that its ReplicaSets do not take over.
NOT_COPIED: Final = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
        "deprecated.deployment.rollback.to",
    }
)


def find_new(deployment: Deployment, replica_sets: Iterable[ReplicaSet]) -> ReplicaSet | None:
    """The oldest ReplicaSet whose template is the Deployment's, the hash label aside."""
    wanted = template.without_hash(template.parse(deployment.spec.template))
    for rs in oldest_first(replica_sets):
        if template.without_hash(template.parse(rs.spec.template)) == wanted:
            return rs
    return None


def next_revision(old: Iterable[ReplicaSet]) -> int:
    """The new ReplicaSet's revision."""
    return max(map(revision_of, old), default=0) + 1


def new_annotations(
    deployment: Deployment,
    current: Mapping[str, str],
    revision: int,
    *,
    exists: bool,
) -> dict[str, str]:
    """The new ReplicaSet's annotations: the Deployment's, the revision and, where the ReplicaSet
    was used before (a rollback), the revisions that it had."""
    result = dict(current)
    result |= {k: v for k, v in deployment.metadata.annotations.items() if k not in NOT_COPIED}
    text = current.get(REVISION, "")
    before = int(text) if text.isdecimal() else 0
    if before < revision:
        result[REVISION] = str(revision)
        if text:
            result[REVISION_HISTORY] = _history(current.get(REVISION_HISTORY, ""), text)
    if not exists:
        result |= size_annotations(deployment)
    return result


def size_annotations(deployment: Deployment) -> dict[str, str]:
    """The Deployment's size, as a ReplicaSet remembers it."""
    limits = limits_of(deployment)
    return {DESIRED_REPLICAS: str(limits.replicas), MAX_REPLICAS: str(limits.maximum)}


def _history(history: str, revision: str) -> str:
    entries = [entry for entry in history.split(",") if entry]
    if revision in entries:
        return history
    entries.append(revision)
    while len(",".join(entries)) > MAX_HISTORY_CHARACTERS:
        entries.pop(0)
    return ",".join(entries)
