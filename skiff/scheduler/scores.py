"""Scores: which of the nodes that may take a pod is best. One row a score, with its weight.

A score gives 0 to 100 for each candidate row (or None: it has no opinion). Pure.
Source: https://kubernetes.io/docs/reference/scheduling/config/#scheduling-plugins, weights as the
default profile's.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from skiff.scheduler.context import Context
from skiff.scheduler.filters import eligible, tolerates
from skiff.scheduler.nodes import ABSENT, Ints
from skiff.scheduler.shape import CPU, MEMORY, Shape, Spread, Term

MAX = 100.0
IMAGE_SMALL_BYTES = 23 * 1024 * 1024
IMAGE_LARGE_BYTES = 1000 * 1024 * 1024
HOSTNAME = "kubernetes.io/hostname"

Rows = NDArray[np.int64]
Points = NDArray[np.float64]
Score = Callable[[Context, Shape, Rows], Points | None]


def least_allocated(context: Context, shape: Shape, rows: Rows) -> Points | None:
    """NodeResourcesFit: the more is free after the pod, the better."""
    nodes = context.nodes
    cpu = _free_share(nodes.allocatable[CPU][rows], nodes.scored_cpu[rows] + shape.scored_cpu)
    memory = _free_share(
        nodes.allocatable[MEMORY][rows], nodes.scored_memory[rows] + shape.scored_memory
    )
    return (cpu + memory) * (MAX / 2)


def _free_share(have: Ints, used: Ints) -> Points:
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(have > 0, (have - used) / have, 0.0)
    return np.maximum(share, 0.0)


def balanced(context: Context, shape: Shape, rows: Rows) -> Points | None:
    """NodeResourcesBalancedAllocation: CPU and memory used in like shares."""
    nodes = context.nodes
    want_cpu, want_memory = shape.requests.get(CPU, 0), shape.requests.get(MEMORY, 0)
    if not want_cpu and not want_memory:
        return None
    cpu = _used_share(nodes.allocatable[CPU][rows], nodes.requested[CPU][rows] + want_cpu)
    memory = _used_share(
        nodes.allocatable[MEMORY][rows], nodes.requested[MEMORY][rows] + want_memory
    )
    return (1.0 - np.abs(cpu - memory) / 2) * MAX


def _used_share(have: Ints, used: Ints) -> Points:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.minimum(np.where(have > 0, used / have, 1.0), 1.0)


def taint_toleration(context: Context, shape: Shape, rows: Rows) -> Points | None:
    """Fewer PreferNoSchedule taints that the pod does not tolerate."""
    nodes = context.nodes
    if len(nodes.taints) == 1:
        return None
    bad = [
        sum(t.effect == "PreferNoSchedule" and not tolerates(shape.tolerations, t) for t in taints)
        for taints in nodes.taints
    ]
    if not any(bad):
        return None
    return _normalized(np.array(bad, np.float64)[nodes.taint_class[rows]], reverse=True)


def node_affinity(context: Context, shape: Shape, rows: Rows) -> Points | None:
    """Preferred node affinity, by weight."""
    if not shape.preferred:
        return None

    def make() -> Ints:
        total = np.zeros(context.nodes.size, np.int64)
        for weight, term in shape.preferred:
            total += weight * context.term(term)
        return total

    return _normalized(context.kept("preferred", shape, make)[rows].astype(np.float64))


def topology_spread(context: Context, shape: Shape, rows: Rows) -> Points | None:
    """Soft spread constraints; pods of one owner spread over hosts where the pod asks for nothing."""
    constraints = [c for c in shape.spread if not c.hard]
    if constraints:
        return _soft_spread(context, shape, constraints, rows)
    if shape.spread or not shape.owner:
        return None
    owner = shape.owner
    group = context.nodes.group(("owner", owner), lambda s: s.owner == owner, terminating=False)
    if group.total == 0:
        return None
    return _normalized(group.counts[rows].astype(np.float64), reverse=True)


def _soft_spread(
    context: Context, shape: Shape, constraints: list[Spread], rows: Rows
) -> Points | None:
    cost = np.zeros(len(rows), np.float64)
    ignored = np.zeros(len(rows), np.bool_)
    for constraint in constraints:
        counted = eligible(context, shape, constraint)
        counts = context.spread_counts(shape, constraint)
        by_row, _ = context.by_domain(counts, constraint.topology_key, counted)
        column, _ = context.nodes.label(constraint.topology_key)
        domains = len(np.unique(column[rows][column[rows] != ABSENT]))
        weight = np.log(domains + 2)
        cost += by_row[rows] * weight + (constraint.max_skew - 1)
        ignored |= column[rows] == ABSENT
    points = _normalized(np.where(ignored, cost.max(initial=0.0), cost), reverse=True)
    return np.where(ignored, 0.0, points)


def pod_affinity(context: Context, shape: Shape, rows: Rows) -> Points | None:
    """Preferred pod affinity and anti-affinity: this pod's, and that of the pods already placed."""
    total: Points | None = None
    terms = [(t, t.weight) for t in shape.preferred_affinity]
    terms += [(t, -t.weight) for t in shape.preferred_anti_affinity]
    for term, weight in terms:
        total = _plus(total, _near(context, context.matching(term).counts, term, rows) * weight)
    for term, weight in context.nodes.preferred_terms():
        if not context.selects(term, shape):
            continue
        holders = context.nodes.group(("prefers", term, weight), _holding(term, weight))
        if holders.total:
            total = _plus(total, _near(context, holders.counts, term, rows) * weight)
    if total is None:
        return None
    low, high = total.min(), total.max()
    if high <= low:
        return None
    points: Points = (total - low) / (high - low) * MAX
    return points


def _holding(term: Term, weight: int) -> Callable[[Shape], bool]:
    return lambda s: term in (s.preferred_affinity if weight > 0 else s.preferred_anti_affinity)


def _near(context: Context, counts: Ints, term: Term, rows: Rows) -> Points:
    by_row, _ = context.by_domain(counts, term.topology_key)
    return by_row[rows].astype(np.float64)


def _plus(total: Points | None, more: Points) -> Points:
    return more if total is None else total + more


def image_locality(context: Context, shape: Shape, rows: Rows) -> Points | None:
    """Nodes that have the pod's images already, by size."""
    sizes = context.kept("images", shape, lambda: _image_bytes(context, shape))[rows]
    if not sizes.any():
        return None
    limit = IMAGE_LARGE_BYTES * max(1, len(shape.images))
    clipped = np.clip(sizes, IMAGE_SMALL_BYTES, limit)
    points: Points = (clipped - IMAGE_SMALL_BYTES) / (limit - IMAGE_SMALL_BYTES) * MAX
    return points


def _image_bytes(context: Context, shape: Shape) -> Ints:
    total = np.zeros(context.nodes.size, np.int64)
    wanted = set(shape.images)
    for row in context.nodes.rows.values():
        view = context.nodes.views[row]
        for image in view.status.images if view is not None else ():
            if not wanted.isdisjoint(image.names):
                total[row] += image.size_bytes or 0
    return total


def _normalized(values: Points, *, reverse: bool = False) -> Points:
    highest = values.max(initial=0.0)
    if highest == 0:
        return np.full(len(values), MAX if reverse else 0.0)
    points: Points = values / highest * MAX
    return MAX - points if reverse else points


SCORES: tuple[tuple[str, Score, float], ...] = (
    ("TaintToleration", taint_toleration, 3.0),
    ("NodeAffinity", node_affinity, 2.0),
    ("PodTopologySpread", topology_spread, 2.0),
    ("InterPodAffinity", pod_affinity, 2.0),
    ("NodeResourcesFit", least_allocated, 1.0),
    ("NodeResourcesBalancedAllocation", balanced, 1.0),
    ("ImageLocality", image_locality, 1.0),
)
