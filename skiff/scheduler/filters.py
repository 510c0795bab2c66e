"""Filters: which nodes may take a pod. One row a filter, cheap and decisive ones first.

A filter gives a mask over all rows (or None: every node will do) and the words for those it turns
down, which are Kubernetes' own. `resolvable` says whether deleting other pods could help: preemption
looks only at nodes that failed for such reasons. Pure.
Source: https://kubernetes.io/docs/reference/scheduling/config/#scheduling-plugins.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from skiff.api.views.affinity import Toleration
from skiff.api.views.node import Taint
from skiff.scheduler.context import Context
from skiff.scheduler.nodes import ABSENT, PODS, Ints, Mask
from skiff.scheduler.shape import Shape, Spread
from skiff.scheduler.volumes import placements

UNSCHEDULABLE_TAINT = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one filter says: rows that pass; the reason of each group of rows that do not."""

    passed: Mask
    reason: str
    resolvable: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """A row of the table. `tells_all`: a node is told every reason, not only the first."""

    name: str
    run: Callable[[Context, Shape], Iterable[Verdict]]
    tells_all: bool = False


def tolerates(tolerations: tuple[Toleration, ...], taint: Taint) -> bool:
    """Whether one of `tolerations` tolerates `taint`. Source: core/v1 Toleration."""
    return any(_tolerates(t, taint) for t in tolerations)


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    if toleration.operator in ("Gt", "Lt"):
        try:
            have, bound = int(taint.value), int(toleration.value)
        except ValueError:
            return False
        return have > bound if toleration.operator == "Gt" else have < bound
    return bool(toleration.key) and toleration.value == taint.value


def node_unschedulable(context: Context, shape: Shape) -> Iterable[Verdict]:
    """Cordoned nodes take only pods that tolerate it."""
    nodes = context.nodes
    if nodes.unschedulable.any() and not tolerates(shape.tolerations, UNSCHEDULABLE_TAINT):
        yield Verdict(~nodes.unschedulable, "node(s) were unschedulable")


def taint_toleration(context: Context, shape: Shape) -> Iterable[Verdict]:
    """Taints NoSchedule and NoExecute must be tolerated."""

    def accepted(taints: tuple[Taint, ...]) -> bool:
        return all(
            t.effect == "PreferNoSchedule" or tolerates(shape.tolerations, t) for t in taints
        )

    nodes = context.nodes
    if len(nodes.taints) > 1:
        mask = context.kept("taints", shape, lambda: nodes.taint_mask(accepted))
        yield Verdict(mask.astype(np.bool_, copy=False), "node(s) had untolerated taint(s)")


def node_affinity(context: Context, shape: Shape) -> Iterable[Verdict]:
    """nodeSelector and required node affinity."""
    if shape.node_selector or shape.required is not None:
        words = "node(s) didn't match Pod's node affinity/selector"
        yield Verdict(context.node_affinity(shape), words)


def node_names(context: Context, shape: Shape) -> Iterable[Verdict]:
    """A pod that asks for nodes by name, as a DaemonSet's do, is offered no other."""
    names = shape.required_names
    if names is None:
        return
    mask = np.zeros(context.nodes.size, np.bool_)
    for name in names:
        if name in context.nodes.rows:
            mask[context.nodes.rows[name]] = True
    yield Verdict(mask, "node(s) didn't satisfy plugin(s) [NodeAffinity]")


def node_ports(context: Context, shape: Shape) -> Iterable[Verdict]:
    """Host ports must be free."""
    if not shape.ports:
        return
    mask = np.ones(context.nodes.size, np.bool_)
    for row, used in context.nodes.ports_used().items():
        if any(_clash(want, have) for want in shape.ports for have in used):
            mask[row] = False
    yield Verdict(mask, "node(s) didn't have free ports for the requested pod ports", True)


def _clash(want: tuple[str, str, int], have: tuple[str, str, int]) -> bool:
    wildcard = "0.0.0.0"  # noqa: S104 - compared, not listened on
    same_address = want[0] == have[0] or wildcard in (want[0], have[0])
    return want[1:] == have[1:] and same_address


def node_resources(context: Context, shape: Shape) -> Iterable[Verdict]:
    """What the pod requests must be free. A node that could not hold it even when empty is beyond help."""
    nodes = context.nodes
    zeros = np.zeros(nodes.size, np.int64)
    pods = nodes.allocatable.get(PODS, zeros)
    yield Verdict(nodes.requested[PODS] + 1 <= pods, "Too many pods", True)
    for resource, wanted in shape.requests.items():
        if wanted == 0:
            continue
        have = nodes.allocatable.get(resource, zeros)
        free = have - nodes.requested.get(resource, zeros)
        words = f"Insufficient {resource}"
        yield Verdict(wanted <= have, words)
        yield Verdict(wanted <= free, words, True)


def volume_restrictions(context: Context, shape: Shape) -> Iterable[Verdict]:
    """A claim that only one pod may use (ReadWriteOncePod) must not be in use anywhere (KEP-2485)."""
    for wanted in shape.claims:
        claim = context.claims.claim(shape.namespace, wanted.name)
        if claim is None or "ReadWriteOncePod" not in claim.spec.access_modes:
            continue
        if context.users(shape.namespace, wanted.name).total:
            nobody = np.zeros(context.nodes.size, np.bool_)
            words = (
                "node has pod using PersistentVolumeClaim with the same name and "
                "ReadWriteOncePod access mode"
            )
            yield Verdict(nobody, words, True)


def volume_binding(context: Context, shape: Shape) -> Iterable[Verdict]:
    """Volumes that the pod's claims are, or could be, bound to must be reachable."""
    if not shape.claims:
        return
    for placement in placements(context.claims, shape):
        mask = np.zeros(context.nodes.size, np.bool_)
        for selector in placement.selectors:
            mask |= context.nodes.alive if selector is None else context.any_term(selector)
        yield Verdict(mask, placement.reason)


def topology_spread(context: Context, shape: Shape) -> Iterable[Verdict]:
    """Hard topology spread constraints."""
    for constraint in shape.spread:
        if not constraint.hard:
            continue
        column, _numbers = context.nodes.label(constraint.topology_key)
        words = "node(s) didn't match pod topology spread constraints"
        yield Verdict(column != ABSENT, f"{words} (missing required label)")
        yield Verdict(_within_skew(context, shape, constraint), words, True)


def eligible(context: Context, shape: Shape, constraint: Spread) -> Mask:
    """Nodes whose pods a constraint counts (its node inclusion policies)."""
    mask = context.nodes.alive.copy()
    if constraint.honor_affinity:
        mask &= context.node_affinity(shape)
    if constraint.honor_taints:
        for verdict in taint_toleration(context, shape):
            mask &= verdict.passed
    for other in shape.spread:
        if other.hard == constraint.hard:
            mask &= context.nodes.label(other.topology_key)[0] != ABSENT
    return mask


def _within_skew(context: Context, shape: Shape, constraint: Spread) -> Mask:
    counted = eligible(context, shape, constraint)
    counts = context.spread_counts(shape, constraint)
    by_row, sums = context.by_domain(counts, constraint.topology_key, counted)
    column, _ = context.nodes.label(constraint.topology_key)
    domains = np.unique(column[counted & (column != ABSENT)])
    least = int(sums[domains].min()) if len(domains) else 0
    if len(domains) < constraint.min_domains:
        least = 0
    itself = int(constraint.selector.matches(shape.labels))
    return by_row + itself - least <= constraint.max_skew


def pod_affinity(context: Context, shape: Shape) -> Iterable[Verdict]:
    """Required pod affinity and anti-affinity, both ways."""
    if shape.affinity:
        yield Verdict(_near_enough(context, shape), "node(s) didn't match pod affinity rules")
    for term in shape.anti_affinity:
        by_row, _sums = context.by_domain(context.matching(term).counts, term.topology_key)
        yield Verdict(by_row == 0, "node(s) didn't match pod anti-affinity rules", True)
    unwelcome = _unwelcome(context, shape)
    if unwelcome is not None:
        yield Verdict(
            unwelcome == 0, "node(s) didn't satisfy existing pods anti-affinity rules", True
        )


def _near_enough(context: Context, shape: Shape) -> Mask:
    mask = np.ones(context.nodes.size, np.bool_)
    nobody = True
    counts = context.matching_all(shape.affinity).counts
    for term in shape.affinity:
        by_row, sums = context.by_domain(counts, term.topology_key)
        mask &= by_row > 0
        nobody &= not sums.any()
    if nobody and all(context.selects(t, shape) for t in shape.affinity):
        # The first of a group that wants its own kind near: any node with the topology will do.
        mask = np.ones(context.nodes.size, np.bool_)
        for term in shape.affinity:
            mask &= context.nodes.label(term.topology_key)[0] != ABSENT
    return mask


def _unwelcome(context: Context, shape: Shape) -> Ints | None:
    """Rows in a domain that holds a pod whose required anti-affinity speaks of this one."""
    result: Ints | None = None
    for term in context.nodes.anti_terms():
        if not context.selects(term, shape):
            continue
        holders = context.nodes.group(("holds", term), lambda s, t=term: t in s.anti_affinity)  # type: ignore[misc] # a default argument binds the loop's value
        if holders.total == 0:
            continue
        by_row, _ = context.by_domain(holders.counts, term.topology_key)
        result = by_row if result is None else result + by_row
    return result


# In the order in which nodes are turned down: each is told the reason of the first that does.
FILTERS: tuple[Filter, ...] = (
    # Before all others: the rest of the nodes is not looked at.
    Filter("NodeName", node_names),
    Filter("NodeUnschedulable", node_unschedulable),
    Filter("TaintToleration", taint_toleration),
    Filter("NodeAffinity", node_affinity),
    Filter("NodePorts", node_ports),
    Filter("NodeResourcesFit", node_resources, tells_all=True),
    Filter("VolumeRestrictions", volume_restrictions),
    Filter("VolumeBinding", volume_binding, tells_all=True),
    Filter("PodTopologySpread", topology_spread),
    Filter("InterPodAffinity", pod_affinity),
)
