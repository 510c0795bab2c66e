"""Scores: which of the nodes that may take a pod is best. One row a score, with its weight.

A score gives 0 to 100 for each candidate row (or None: it has no opinion). Pure.
Source: https://kubernetes.io/docs/reference/scheduling/config/#scheduling-plugins, weights as the
default profile's.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from skiff.api.selectors import structured
from skiff.scheduler.context import Context
from skiff.scheduler.filters import eligible, tolerates
from skiff.scheduler.nodes import ABSENT, Ints
from skiff.scheduler.shape import CPU, MEMORY, Shape, Spread, Term

MAX = 100.0
IMAGE_SMALL_BYTES = 23 * 1024 * 1024
IMAGE_LARGE_BYTES = 1000 * 1024 * 1024
HOSTNAME = "kubernetes.io/hostname"
DEFAULT_SPREAD = tuple(
    Spread(
        structured({}),
        key,
        skew,
        hard=False,
        min_domains=1,
        honor_affinity=True,
        honor_taints=False,
    )
    for key, skew in (("topology.kubernetes.io/zone", 3), (HOSTNAME, 5))
)
"""How pods are spread that say nothing of it (their selector is that of their like)."""

Rows = NDArray[np.int64]
Points = NDArray[np.float64]
Score = Callable[[Context, Shape, Rows], Points | None]


def least_allocated(context: Context, shape: Shape, rows: Rows) -> Points | None:
    """NodeResourcesFit: the more is free after the pod, the better."""
    nodes = context.nodes
    total = np.zeros(len(rows), np.int64)
    counted = np.zeros(len(rows), np.int64)
    for have, used, wanted in (
        (nodes.allocatable[CPU], nodes.scored_cpu, shape.scored_cpu),
        (nodes.allocatable[MEMORY], nodes.scored_memory, shape.scored_memory),
    ):
        there = have[rows]
        left = np.maximum(there - used[rows] - wanted, 0)
        total += np.where(there > 0, left * int(MAX) // np.maximum(there, 1), 0)
        counted += there > 0
    return (total // np.maximum(counted, 1)).astype(np.float64)


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
    # A resource that the node has none of is not weighed: one alone is always in balance.
    both = (nodes.allocatable[CPU][rows] > 0) & (nodes.allocatable[MEMORY][rows] > 0)
    return (1.0 - np.where(both, np.abs(cpu - memory) / 2, 0.0)) * MAX


def _used_share(have: Ints, used: Ints) -> Points:
    return np.minimum(used / np.maximum(have, 1), 1.0)


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
    """Soft spread constraints; where the pod has none at all, it is spread from its like."""
    if shape.spread:
        soft = [c for c in shape.spread if not c.hard]
        counts = [context.spread_counts(shape, c) for c in soft]
        return _spread(context, shape, soft, counts, rows, everywhere=False) if soft else None
    siblings = context.siblings(shape)
    if siblings is None:
        return None
    alike = [siblings] * len(DEFAULT_SPREAD)
    return _spread(context, shape, DEFAULT_SPREAD, alike, rows, everywhere=True)


def _spread(
    context: Context,
    shape: Shape,
    constraints: Sequence[Spread],
    counts: Sequence[Ints],
    rows: Rows,
    *,
    everywhere: bool,
) -> Points:
    """`everywhere`: nodes that lack a label are judged by the others; else they are worth nothing."""
    columns = [context.nodes.label(c.topology_key)[0] for c in constraints]
    labelled = np.ones(context.nodes.size, np.bool_)
    if not everywhere:
        for column in columns:
            labelled &= column != ABSENT
    judged = labelled[rows]
    cost = np.zeros(len(rows), np.float64)
    for constraint, column, count in zip(constraints, columns, counts, strict=True):
        here = column[rows]
        if constraint.topology_key == HOSTNAME:
            by_row, domains = count, int(judged.sum())
        else:
            counted = eligible(context, shape, constraint) & labelled
            by_row, _ = context.by_domain(count, constraint.topology_key, counted)
            domains = len(np.unique(here[judged]))
        weight = np.log(domains + 2)
        cost += np.where(here == ABSENT, 0.0, by_row[rows] * weight + (constraint.max_skew - 1))
    found = np.rint(cost[judged])
    points = np.zeros(len(rows), np.float64)
    if not len(found):
        return points
    low, high = found.min(), found.max()
    points[judged] = MAX if high == 0 else np.floor(MAX * (high + low - found) / high)
    return points


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
    if not term.weight:
        return lambda s: term in s.affinity
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
    """What each node has of the images, an image that few nodes have counting for less: else the
    node that pulled it first would get all its pods."""
    wanted = [_tagged(image) for image in shape.images]
    have: dict[str, dict[int, int]] = {image: {} for image in wanted}
    for row in context.nodes.rows.values():
        view = context.nodes.views[row]
        for image in view.status.images if view is not None else ():
            for name in image.names:
                if name in have:
                    have[name][row] = image.size_bytes or 0
    total = np.zeros(context.nodes.size, np.int64)
    for name in wanted:
        for row, size in have[name].items():
            total[row] += int(size * (len(have[name]) / len(context.nodes)))
    return total


def _tagged(image: str) -> str:
    return image if image.rfind(":") > image.rfind("/") else f"{image}:latest"


def _normalized(values: Points, *, reverse: bool = False) -> Points:
    highest = values.max(initial=0.0)
    if highest == 0:
        return np.full(len(values), MAX if reverse else 0.0)
    points: Points = np.floor(values * MAX / highest)
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
