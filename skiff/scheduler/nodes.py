"""The nodes as columns: what each has, what is taken, which labels and taints it carries.

One row a node; a column is a NumPy array over all rows, so that a filter or a score is a few vector
operations whether there are five nodes or five thousand. Rows are freed and used again. Labels are
columns of small integers, made for a key when it is first asked about. `version` counts changes of
what a node is (labels, taints, capacity), `placement` those of which pods sit where: filters keep
their answers under these. Pure.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from skiff.api.views.core import Node
from skiff.api.views.node import Taint
from skiff.scheduler.shape import CPU, MEMORY, Shape, Term, amount

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]

K = TypeVar("K")

PODS = "pods"
ABSENT = -1
FIRST_ROWS = 64
ANSWERS_KEPT = 4096
HARD_AFFINITY_WEIGHT = 1
"""How much a placed pod's required affinity draws others near."""


@dataclass(slots=True)
class Placed:
    """A pod on a node (bound, or about to be). `start` is when it began to run (infinity: not yet)."""

    key: str
    shape: Shape
    row: int
    name: str
    start: float = math.inf
    terminating: bool = False


@dataclass(slots=True)
class Group:
    """How many placed pods match something, node by node; kept up to date as pods come and go."""

    matches: Callable[[Shape], bool]
    counts: Ints
    terminating: bool = True
    """Whether pods that are being deleted count."""
    answers: dict[Shape, bool] = field(default_factory=dict)
    total: int = 0

    def wants(self, placed: Placed) -> bool:
        """Whether `placed` is counted."""
        if placed.terminating and not self.terminating:
            return False
        known = self.answers.get(placed.shape)
        if known is None:
            if len(self.answers) >= ANSWERS_KEPT:
                self.answers.clear()
            known = self.answers[placed.shape] = self.matches(placed.shape)
        return known


class Nodes:
    """See the module's text."""

    GROUPS_KEPT = 256

    def __init__(self) -> None:
        self.version = 0
        self.placement = 0
        self.names: list[str] = []
        self.rows: dict[str, int] = {}
        self.views: list[Node | None] = []
        self.pods: dict[str, Placed] = {}
        self.on: list[dict[str, Placed]] = []
        self._free: list[int] = []
        self._capacity = 0
        self.alive: Mask = np.zeros(0, np.bool_)
        self.unschedulable: Mask = np.zeros(0, np.bool_)
        self.allocatable: dict[str, Ints] = {}
        self.requested: dict[str, Ints] = {}
        self.scored_cpu: Ints = np.zeros(0, np.int64)
        self.scored_memory: Ints = np.zeros(0, np.int64)
        self.taint_class: NDArray[np.int32] = np.zeros(0, np.int32)
        self.taints: list[tuple[Taint, ...]] = [()]
        self._taint_ids: dict[tuple[Taint, ...], int] = {(): 0}
        self._labels: dict[str, tuple[NDArray[np.int32], dict[str, int]]] = {}
        self._groups: dict[object, Group] = {}
        self._anti: dict[Term, int] = {}
        self._preferred: dict[tuple[Term, int], int] = {}
        self._priorities: dict[int, int] = {}
        self._ports_used: dict[int, set[tuple[str, str, int]]] = {}
        for resource in (CPU, MEMORY, PODS):
            self._column(self.allocatable, resource)
            self._column(self.requested, resource)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        """The number of rows, dead ones included: the length of every column."""
        return self._capacity

    # Nodes

    def put(self, node: Node) -> bool:
        """Add or refresh a node; whether anything changed that scheduling looks at."""
        name = node.metadata.name
        row = self.rows.get(name)
        if row is None:
            row = self._new_row()
            self.rows[name] = row
            self.names[row] = name
        else:
            old = self.views[row]
            if old is not None and _same(old, node):
                self.views[row] = node
                return False
        self.views[row] = node
        self.alive[row] = True
        self.unschedulable[row] = node.spec.unschedulable
        for column in self.allocatable.values():
            column[row] = 0
        for resource, text in node.status.allocatable.items():
            self._column(self.allocatable, resource)[row] = amount(resource, text)
        self.taint_class[row] = self._taint_id(_timeless(node.spec.taints))
        self._label_row(row, node.metadata.labels)
        self.version += 1
        return True

    def remove(self, name: str) -> list[Placed]:
        """Take a node away; returns its pods, which are counted nowhere any more."""
        row = self.rows.pop(name, None)
        if row is None:
            return []
        lost = list(self.on[row].values())
        for placed in lost:
            self.take(placed.key)
        self.alive[row] = False
        self.views[row] = None
        self.names[row] = ""
        self._label_row(row, {})
        self._free.append(row)
        self.version += 1
        return lost

    # Pods

    def place(
        self,
        key: str,
        shape: Shape,
        node_name: str,
        name: str,
        start: float = math.inf,
        terminating: bool = False,
    ) -> None:
        """Count a pod (its name: `name`) on a node; a pod that was elsewhere moves. On a node that is
        unknown it counts for nothing: the caller places it again when the node comes."""
        before = self.pods.get(key)
        row = self.rows.get(node_name)
        if before is not None:
            if (before.row, before.shape, before.terminating) == (row, shape, terminating):
                before.start = start
                return
            self.take(key)
        if row is None:
            return
        placed = Placed(key, shape, row, name, start, terminating)
        self.pods[key] = placed
        self.on[row][key] = placed
        self._count(placed, 1)

    def take(self, key: str) -> None:
        """A pod is gone from its node."""
        placed = self.pods.pop(key, None)
        if placed is not None:
            del self.on[placed.row][key]
            self._count(placed, -1)

    def _count(self, placed: Placed, sign: int) -> None:
        shape, row = placed.shape, placed.row
        for resource, value in shape.requests.items():
            self._column(self.requested, resource)[row] += sign * value
        self.requested[PODS][row] += sign
        self.scored_cpu[row] += sign * shape.scored_cpu
        self.scored_memory[row] += sign * shape.scored_memory
        _tally(self._priorities, shape.priority, sign)
        if shape.ports:
            used = {p for other in self.on[row].values() for p in other.shape.ports}
            if used:
                self._ports_used[row] = used
            else:
                self._ports_used.pop(row, None)
        for term in shape.anti_affinity:
            _tally(self._anti, term, sign)
        for term in shape.affinity:
            _tally(self._preferred, (term, HARD_AFFINITY_WEIGHT), sign)
        for term in shape.preferred_affinity:
            _tally(self._preferred, (term, term.weight), sign)
        for term in shape.preferred_anti_affinity:
            _tally(self._preferred, (term, -term.weight), sign)
        for group in self._groups.values():
            if group.wants(placed):
                group.counts[row] += sign
                group.total += sign
        self.placement += 1

    def anti_terms(self) -> list[Term]:
        """The required anti-affinity terms of placed pods, each once."""
        return list(self._anti)

    def preferred_terms(self) -> list[tuple[Term, int]]:
        """The preferred terms of placed pods with their weight, negative for anti-affinity; required
        affinity (whose terms have no weight of their own) is among them."""
        return list(self._preferred)

    def has_below(self, priority: int) -> bool:
        """Whether any placed pod has a lower priority."""
        return any(p < priority for p in self._priorities)

    def ports_used(self) -> Mapping[int, set[tuple[str, str, int]]]:
        """Host ports in use, by row; rows without any are absent."""
        return self._ports_used

    def group(
        self, key: object, matches: Callable[[Shape], bool], *, terminating: bool = True
    ) -> Group:
        """How many placed pods match, node by node. `key` says what `matches` asks."""
        found = self._groups.get(key)
        if found is None:
            if len(self._groups) >= self.GROUPS_KEPT:
                self._groups.pop(next(iter(self._groups)))
            found = Group(matches, np.zeros(self._capacity, np.int64), terminating)
            for placed in self.pods.values():
                if found.wants(placed):
                    found.counts[placed.row] += 1
                    found.total += 1
            self._groups[key] = found
        return found

    def forget_groups(self) -> None:
        """Drop all counts: what they depend on beyond pods (namespaces' labels) has changed."""
        self._groups.clear()
        self.placement += 1

    # Labels and taints

    def label(self, key: str) -> tuple[NDArray[np.int32], Mapping[str, int]]:
        """The column of a label key: each row's value as a number (ABSENT without), and the numbers."""
        found = self._labels.get(key)
        if found is None:
            column = np.full(self._capacity, ABSENT, np.int32)
            found = self._labels[key] = (column, {})
            for row in self.rows.values():
                view = self.views[row]
                if view is not None and key in view.metadata.labels:
                    self._set_label(found, row, view.metadata.labels[key])
        return found

    def labels_of(self, row: int) -> Mapping[str, str]:
        """A node's labels."""
        view = self.views[row]
        return view.metadata.labels if view is not None else {}

    def taint_mask(self, tolerated: Callable[[tuple[Taint, ...]], bool]) -> Mask:
        """Rows whose taints are `tolerated`: asked once for each distinct list of taints."""
        answers = np.fromiter((tolerated(t) for t in self.taints), np.bool_, len(self.taints))
        return answers[self.taint_class]

    def _taint_id(self, taints: tuple[Taint, ...]) -> int:
        found = self._taint_ids.get(taints)
        if found is None:
            found = self._taint_ids[taints] = len(self.taints)
            self.taints.append(taints)
        return found

    def _label_row(self, row: int, labels: Mapping[str, str]) -> None:
        for key, column in self._labels.items():
            if key in labels:
                self._set_label(column, row, labels[key])
            else:
                column[0][row] = ABSENT

    @staticmethod
    def _set_label(column: tuple[NDArray[np.int32], dict[str, int]], row: int, value: str) -> None:
        column[0][row] = column[1].setdefault(value, len(column[1]))

    # Rows

    def _column(self, columns: dict[str, Ints], resource: str) -> Ints:
        found = columns.get(resource)
        if found is None:
            found = columns[resource] = np.zeros(self._capacity, np.int64)
        return found

    def _new_row(self) -> int:
        if not self._free:
            self._grow()
        return self._free.pop()

    def _grow(self) -> None:
        old = self._capacity
        new = max(FIRST_ROWS, old * 2)
        more = new - old
        self._capacity = new
        self.alive = np.concatenate([self.alive, np.zeros(more, np.bool_)])
        self.unschedulable = np.concatenate([self.unschedulable, np.zeros(more, np.bool_)])
        self.scored_cpu = _longer(self.scored_cpu, more)
        self.scored_memory = _longer(self.scored_memory, more)
        self.taint_class = np.concatenate([self.taint_class, np.zeros(more, np.int32)])
        for columns in (self.allocatable, self.requested):
            for resource, column in columns.items():
                columns[resource] = _longer(column, more)
        for key, (labels, numbers) in self._labels.items():
            grown = np.concatenate([labels, np.full(more, ABSENT, np.int32)])
            self._labels[key] = (grown, numbers)
        for group in self._groups.values():
            group.counts = _longer(group.counts, more)
        self.names += [""] * more
        self.views += [None] * more
        self.on += [{} for _ in range(more)]
        self._free += range(new - 1, old - 1, -1)


def _tally(counts: dict[K, int], key: K, sign: int) -> None:
    counts[key] = counts.get(key, 0) + sign
    if not counts[key]:
        del counts[key]


def _longer(column: Ints, more: int) -> Ints:
    return np.concatenate([column, np.zeros(more, np.int64)])


def _same(old: Node, new: Node) -> bool:
    return (
        old.metadata.labels == new.metadata.labels
        and old.spec.taints == new.spec.taints
        and old.spec.unschedulable == new.spec.unschedulable
        and old.status.allocatable == new.status.allocatable
        and old.status.images == new.status.images
    )


def _timeless(taints: tuple[Taint, ...]) -> tuple[Taint, ...]:
    """Taints without when they were added: alike wherever they say the same."""
    return tuple(Taint(key=t.key, value=t.value, effect=t.effect) for t in taints)
