"""What one scheduling decision works with: the nodes, the pod's shape, and look-ups shared by filters
and scores. Answers that depend on nodes alone are kept until a node changes. Pure.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from skiff.api.selectors import LabelSelector
from skiff.api.views.affinity import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from skiff.scheduler.nodes import ABSENT, Group, Ints, Mask, Nodes
from skiff.scheduler.shape import Shape, Spread, Term
from skiff.scheduler.volumes import NoStorage, Storage

NamespaceLabels = Callable[[str], Mapping[str, str]]
ServiceSelectors = Callable[[str], Iterable[Mapping[str, str]]]


class Context:
    """One decision's view. `namespace_labels` gives a namespace's labels, `services` the selectors of
    its services."""

    def __init__(
        self,
        nodes: Nodes,
        namespace_labels: NamespaceLabels,
        memory: "Memory",
        claims: Storage | None = None,
        services: ServiceSelectors = lambda _: (),
    ) -> None:
        self.nodes = nodes
        self.claims: Storage = claims or NoStorage()
        self._namespace_labels = namespace_labels
        self._services = services
        self._memory = memory

    def kept(self, name: str, shape: Shape, make: Callable[[], Mask | Ints]) -> NDArray[np.generic]:
        """`make()`, remembered for this shape until a node changes."""
        return self._memory.kept(name, shape, self.nodes.version, make)

    # Node selection

    def node_affinity(self, shape: Shape) -> Mask:
        """Rows that the pod's nodeSelector and required node affinity allow."""

        def make() -> Mask:
            mask = self.nodes.alive.copy()
            for key, value in shape.node_selector.items():
                mask &= self._label_is(key, (value,))
            if shape.required is not None:
                mask &= self.any_term(shape.required)
            return mask

        return self.kept("affinity", shape, make).astype(np.bool_, copy=False)

    def any_term(self, selector: NodeSelector) -> Mask:
        """Rows that a node selector picks."""
        mask = np.zeros(self.nodes.size, np.bool_)
        for term in selector.node_selector_terms:
            mask |= self.term(term)
        return mask

    def term(self, term: NodeSelectorTerm) -> Mask:
        """Rows that match one node selector term; an empty term matches none."""
        if not term.match_expressions and not term.match_fields:
            return np.zeros(self.nodes.size, np.bool_)
        mask = self.nodes.alive.copy()
        for requirement in term.match_expressions:
            mask &= self._requirement(requirement)
        for requirement in term.match_fields:
            names = np.zeros(self.nodes.size, np.bool_)
            for name in requirement.values:
                if name in self.nodes.rows:
                    names[self.nodes.rows[name]] = True
            mask &= names if requirement.operator == "In" else ~names
        return mask

    def _requirement(self, requirement: NodeSelectorRequirement) -> Mask:
        """Source: core/v1 NodeSelectorOperator."""
        key, operator = requirement.key, requirement.operator
        column, numbers = self.nodes.label(key)
        if operator == "In":
            return self._label_is(key, requirement.values)
        if operator == "NotIn":
            return ~self._label_is(key, requirement.values)
        if operator == "Exists":
            return np.not_equal(column, ABSENT)
        if operator == "DoesNotExist":
            return np.equal(column, ABSENT)
        if operator in ("Gt", "Lt") and len(requirement.values) == 1:
            return _compared(column, numbers, operator, requirement.values[0])
        return np.zeros(self.nodes.size, np.bool_)

    def _label_is(self, key: str, values: tuple[str, ...]) -> Mask:
        column, numbers = self.nodes.label(key)
        wanted = [numbers[v] for v in values if v in numbers]
        if len(wanted) == 1:
            return np.equal(column, wanted[0])
        return np.isin(column, wanted)

    # Other pods

    def matching(self, term: Term) -> Group:
        """How many placed pods match an affinity term, node by node."""

        def matches(shape: Shape) -> bool:
            return self.selects(term, shape)

        key = ("term", term.selector, term.namespaces, term.namespace_selector)
        return self.nodes.group(key, matches)

    def matching_all(self, terms: tuple[Term, ...]) -> Group:
        """How many placed pods match every one of the affinity terms, node by node."""

        def matches(shape: Shape) -> bool:
            return all(self.selects(term, shape) for term in terms)

        asked = tuple((t.selector, t.namespaces, t.namespace_selector) for t in terms)
        return self.nodes.group(("terms", asked), matches)

    def selects(self, term: Term, shape: Shape) -> bool:
        """Whether a pod is one that `term` speaks of."""
        if term.selector is None or not term.selector.matches(shape.labels):
            return False
        if term.namespaces is not None and shape.namespace in term.namespaces:
            return True
        picks = term.namespace_selector
        return picks is not None and picks.matches(self._namespace_labels(shape.namespace))

    def users(self, namespace: str, claim: str) -> Group:
        """How many placed pods use a claim."""
        return self.nodes.group(("claim", namespace, claim), _using(namespace, claim))

    def spread_counts(self, shape: Shape, constraint: Spread) -> Ints:
        """How many pods that `constraint` counts sit on each node (none, where it selects all)."""
        namespace, selector = shape.namespace, constraint.selector
        if selector.everything:
            return np.zeros(self.nodes.size, np.int64)
        key = ("spread", namespace, selector)
        group = self.nodes.group(key, _selected(namespace, selector), terminating=False)
        return group.counts

    def siblings(self, shape: Shape) -> Ints | None:
        """How many pods of the same services and the same owner sit on each node: those among which
        a pod that asks for nothing is spread. None where nothing makes it one of many."""
        labels: dict[str, str] = {}
        for selector in self._services(shape.namespace):
            if selector and selector.items() <= shape.labels.items():
                labels.update(selector)
        namespace, owner = shape.namespace, shape.owner
        if not labels and not owner:
            return None

        def matches(other: Shape) -> bool:
            same = other.namespace == namespace and (not owner or other.owner == owner)
            return same and labels.items() <= other.labels.items()

        key = ("siblings", namespace, owner, tuple(sorted(labels.items())))
        return self.nodes.group(key, matches, terminating=False).counts

    def by_domain(
        self, counts: Ints, topology_key: str, within: Mask | None = None
    ) -> tuple[Ints, Ints]:
        """`counts` added up by the value of a label: the sum for each row's domain (0 without the
        label), and the sums of the domains themselves."""
        column, numbers = self.nodes.label(topology_key)
        labelled = column != ABSENT
        if within is not None:
            labelled &= within
        sums = np.bincount(
            column[labelled], weights=counts[labelled], minlength=len(numbers)
        ).astype(np.int64)
        if not len(sums):
            return np.zeros(self.nodes.size, np.int64), sums
        return np.where(column == ABSENT, 0, sums[np.maximum(column, 0)]), sums


class Memory:
    """Answers by shape, forgotten when nodes change; bounded."""

    KEPT = 4096

    def __init__(self) -> None:
        self._version = -1
        self._answers: dict[tuple[str, Shape], NDArray[np.generic]] = {}

    def kept(
        self, name: str, shape: Shape, version: int, make: Callable[[], Mask | Ints]
    ) -> NDArray[np.generic]:
        """`make()`, once for each name and shape while `version` stays."""
        if version != self._version or len(self._answers) >= self.KEPT:
            self._answers.clear()
            self._version = version
        found = self._answers.get((name, shape))
        if found is None:
            found = self._answers[name, shape] = make()
        return found


def _using(namespace: str, claim: str) -> Callable[[Shape], bool]:
    return lambda s: s.namespace == namespace and any(c.name == claim for c in s.claims)


def _selected(namespace: str, selector: LabelSelector) -> Callable[[Shape], bool]:
    return lambda shape: shape.namespace == namespace and selector.matches(shape.labels)


def _compared(
    column: NDArray[np.int32], numbers: Mapping[str, int], operator: str, bound: str
) -> Mask:
    try:
        limit = int(bound)
    except ValueError:
        return np.zeros(len(column), np.bool_)
    wanted = []
    for text, number in numbers.items():
        try:
            value = int(text)
        except ValueError:
            continue
        if value > limit if operator == "Gt" else value < limit:
            wanted.append(number)
    return np.isin(column, wanted)
