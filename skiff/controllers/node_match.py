"""Whether a pod's spec lets it run on a node: selector, affinity, taints. Pure.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/.
"""

from collections.abc import Iterable, Mapping

from skiff.api.selectors import Requirement
from skiff.api.taints import tolerated
from skiff.api.views.core import (
    Node,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PodSpec,
    Taint,
    Toleration,
)

_OPERATORS = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "!",
    "Gt": "gt",
    "Lt": "lt",
}


def selects(spec: PodSpec, node: Node) -> bool:
    """nodeSelector and required node affinity."""
    labels = node.metadata.labels
    if not spec.node_selector.items() <= labels.items():
        return False
    affinity = spec.affinity.node_affinity if spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    if required is None:
        return True
    fields = {"metadata.name": node.metadata.name}
    return any(_term_matches(term, labels, fields) for term in required.node_selector_terms)


def _term_matches(
    term: NodeSelectorTerm, labels: Mapping[str, str], fields: Mapping[str, str]
) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False
    return _all_match(term.match_expressions, labels) and _all_match(term.match_fields, fields)


def _all_match(requirements: Iterable[NodeSelectorRequirement], values: Mapping[str, str]) -> bool:
    return all(
        Requirement(r.key, _OPERATORS[r.operator], r.values).matches(values) for r in requirements
    )


def untolerated(
    taints: Iterable[Taint], tolerations: Iterable[Toleration], effects: frozenset[str]
) -> Taint | None:
    """The first taint of one of `effects` that nothing tolerates."""
    known = tuple(tolerations)
    for taint in taints:
        if taint.effect in effects and not tolerated(known, taint):
            return taint
    return None
