"""What scheduling needs to know of a pod, worked out once for all pods that are alike.

Pods of one ReplicaSet differ in name only: what filters and scores read (requests, selectors,
affinity, tolerations, ports, spread constraints) is a `Shape`, shared by all of them, and filters
remember their answers by it. Pure.
Source: https://kubernetes.io/docs/concepts/scheduling-eviction/ and pod resource rules of KEP-753.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import msgspec

from skiff.api import quantity
from skiff.api.selectors import LabelSelector, structured
from skiff.api.views.affinity import (
    NodeSelector,
    NodeSelectorTerm,
    PodAffinityTerm,
    Toleration,
    TopologySpreadConstraint,
)
from skiff.api.views.core import Pod
from skiff.api.views.pod import PodSpec

SPREAD_OWNERS = ("ReplicaSet", "ReplicationController", "StatefulSet")
CPU, MEMORY, STORAGE = "cpu", "memory", "ephemeral-storage"
DEFAULT_CPU_MILLI = 100
DEFAULT_MEMORY_BYTES = 200 * 1024 * 1024
"""What a container without requests counts as when nodes are scored (not when they are filtered)."""


@dataclass(frozen=True, slots=True)
class Term:
    """A pod (anti-)affinity term or spread selector: pods in some namespaces with some labels.

    `namespaces` None means those that `namespace_selector` picks.
    """

    selector: LabelSelector | None
    topology_key: str
    namespaces: frozenset[str] | None
    namespace_selector: LabelSelector | None = None
    weight: int = 0


@dataclass(frozen=True, slots=True)
class Spread:
    """One topology spread constraint, its defaults filled in."""

    selector: LabelSelector
    topology_key: str
    max_skew: int
    hard: bool
    min_domains: int
    honor_affinity: bool
    honor_taints: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """A persistent volume claim that a pod uses. `ephemeral`: made for this very pod."""

    name: str
    ephemeral: bool = False
    pod: str = ""
    pod_uid: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Shape:
    """See the module's text. Compared by identity: `Shapes` makes one for each kind of pod."""

    namespace: str
    labels: Mapping[str, str]
    requests: Mapping[str, int]
    """CPU in millicores, everything else in units (bytes)."""
    scored_cpu: int
    scored_memory: int
    node_selector: Mapping[str, str]
    required: NodeSelector | None
    required_names: frozenset[str] | None
    """The only nodes that `required` can mean, by name; None where it does not name them."""
    preferred: tuple[tuple[int, NodeSelectorTerm], ...]
    tolerations: tuple[Toleration, ...]
    ports: frozenset[tuple[str, str, int]]
    affinity: tuple[Term, ...]
    anti_affinity: tuple[Term, ...]
    preferred_affinity: tuple[Term, ...]
    preferred_anti_affinity: tuple[Term, ...]
    spread: tuple[Spread, ...]
    priority: int
    preempts: bool
    images: tuple[str, ...]
    owner: str
    """The uid of the ReplicaSet, ReplicationController or StatefulSet: its pods are spread where
    nothing else is asked for."""
    claims: tuple[Claim, ...] = ()

    @property
    def touches_others(self) -> bool:
        """Whether pods already placed bear on where this one may go, or would rather go."""
        return bool(
            self.affinity
            or self.anti_affinity
            or self.preferred_affinity
            or self.preferred_anti_affinity
            or self.spread
        )


class Shapes:
    """Makes shapes and keeps those that are in use together (bounded)."""

    KEPT = 2048

    def __init__(self) -> None:
        self._kept: dict[bytes, Shape] = {}
        self._encoder = msgspec.msgpack.Encoder()

    def of(self, pod: Pod) -> Shape:
        """The shape of `pod`."""
        key = self._key(pod)
        shape = self._kept.get(key)
        if shape is None:
            if len(self._kept) >= self.KEPT:
                self._kept.clear()
            shape = self._kept[key] = _make(pod)
        return shape

    def _key(self, pod: Pod) -> bytes:
        spec, meta = pod.spec, pod.metadata
        return self._encoder.encode(
            (
                meta.namespace,
                meta.labels,
                _owner(pod),
                spec.priority,
                spec.preemption_policy,
                spec.node_selector,
                spec.affinity,
                spec.tolerations,
                spec.topology_spread_constraints,
                spec.overhead,
                spec.resources,
                [(c.image, c.resources, c.ports, c.restart_policy) for c in spec.containers],
                [(c.image, c.resources, c.ports, c.restart_policy) for c in spec.init_containers],
                claims(pod),
                resized(pod),
            )
        )


def _owner(pod: Pod) -> str:
    owners = pod.metadata.owner_references
    return next((o.uid for o in owners if o.controller and o.kind in SPREAD_OWNERS), "")


def _make(pod: Pod) -> Shape:
    spec = pod.spec
    requests = pod_requests(spec, resized(pod))
    affinity = spec.affinity
    node_affinity = affinity.node_affinity if affinity else None
    pod_affinity = affinity.pod_affinity if affinity else None
    anti = affinity.pod_anti_affinity if affinity else None
    scored_cpu, scored_memory = _scored(spec, requests)
    required = (
        node_affinity.required_during_scheduling_ignored_during_execution if node_affinity else None
    )
    return Shape(
        namespace=pod.metadata.namespace,
        labels=pod.metadata.labels,
        requests=requests,
        scored_cpu=scored_cpu,
        scored_memory=scored_memory,
        node_selector=spec.node_selector,
        required=required,
        required_names=_names(required),
        preferred=tuple(
            (p.weight, p.preference)
            for p in node_affinity.preferred_during_scheduling_ignored_during_execution
            if p.preference is not None
        )
        if node_affinity
        else (),
        tolerations=spec.tolerations,
        ports=host_ports(spec),
        affinity=_terms(pod, pod_affinity.required_during_scheduling_ignored_during_execution)
        if pod_affinity
        else (),
        anti_affinity=_terms(pod, anti.required_during_scheduling_ignored_during_execution)
        if anti
        else (),
        preferred_affinity=_weighted(
            pod, pod_affinity.preferred_during_scheduling_ignored_during_execution
        )
        if pod_affinity
        else (),
        preferred_anti_affinity=_weighted(
            pod, anti.preferred_during_scheduling_ignored_during_execution
        )
        if anti
        else (),
        spread=tuple(_spread(pod, c) for c in spec.topology_spread_constraints),
        priority=spec.priority or 0,
        preempts=spec.preemption_policy != "Never",
        images=tuple(c.image for c in (*spec.init_containers, *spec.containers)),
        owner=_owner(pod),
        claims=claims(pod),
    )


def claims(pod: Pod) -> tuple[Claim, ...]:
    """The claims behind the pod's volumes."""
    meta = pod.metadata
    found = []
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            found.append(Claim(volume.persistent_volume_claim.claim_name))
        elif volume.ephemeral is not None:
            found.append(Claim(f"{meta.name}-{volume.name}", True, meta.name, meta.uid))
    return tuple(found)


def _names(required: NodeSelector | None) -> frozenset[str] | None:
    """The node names that every term asks for by `metadata.name`; None where a term does not."""
    if required is None or not required.node_selector_terms:
        return None
    names: frozenset[str] = frozenset()
    for term in required.node_selector_terms:
        asked = [
            frozenset(f.values)
            for f in term.match_fields
            if f.key == "metadata.name" and f.operator == "In"
        ]
        if not asked:
            return None
        names |= frozenset.intersection(*asked)
    return names


@lru_cache(maxsize=4096)
def amount(resource: str, text: str) -> int:
    """A quantity as a whole number: millicores for CPU, units otherwise, rounded up."""
    if resource == CPU:
        return quantity.to_milli(text)
    return quantity.to_int(text)


def _requests(resources: Any) -> dict[str, int]:
    if resources is None:
        return {}
    merged = {**resources.limits, **resources.requests}
    return {name: amount(name, text) for name, text in merged.items()}


def resized(pod: Pod) -> dict[str, dict[str, int]]:
    """Containers that are being resized in place, with the larger of what they ask for and what they
    have: until the node has done it, both may be in use (KEP-1287)."""
    statuses = pod.status.container_statuses
    if not any(s.resources or s.allocated_resources for s in statuses):
        return {}
    asked = {c.name: _requests(c.resources) for c in pod.spec.containers}
    found = {}
    for status in statuses:
        wanted = asked.get(status.name, {})
        larger = dict(wanted)
        for have in (_requests(status.resources), _amounts(status.allocated_resources)):
            for name, value in have.items():
                larger[name] = max(larger.get(name, 0), value)
        if larger != wanted:
            found[status.name] = larger
    return found


def _amounts(texts: Mapping[str, str]) -> dict[str, int]:
    return {name: amount(name, text) for name, text in texts.items()}


def pod_requests(
    spec: PodSpec, larger: Mapping[str, Mapping[str, int]] = MappingProxyType({})
) -> dict[str, int]:
    """What a pod takes of a node: the larger of what its containers need together (sidecars with
    them) and of each init container with the sidecars started before it, plus overhead. `larger`
    stands in for containers that are being resized."""
    total: dict[str, int] = {}
    for container in spec.containers:
        _add(total, larger.get(container.name) or _requests(container.resources))
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.init_containers:
        need = _requests(container.resources)
        if container.restart_policy == "Always":
            _add(sidecars, need)
            need = dict(sidecars)
        else:
            need = dict(need)
            _add(need, sidecars)
        for name, value in need.items():
            peak[name] = max(peak.get(name, 0), value)
    _add(total, sidecars)
    for name, value in peak.items():
        total[name] = max(total.get(name, 0), value)
    if spec.resources is not None:
        total.update(_requests(spec.resources))
    _add(total, _amounts(spec.overhead))
    return total


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _scored(spec: PodSpec, requests: Mapping[str, int]) -> tuple[int, int]:
    cpu, memory = requests.get(CPU, 0), requests.get(MEMORY, 0)
    whole = _requests(spec.resources)
    for container in spec.containers:
        need = _requests(container.resources)
        if CPU not in need and CPU not in whole:
            cpu += DEFAULT_CPU_MILLI
        if MEMORY not in need and MEMORY not in whole:
            memory += DEFAULT_MEMORY_BYTES
    return cpu, memory


def host_ports(spec: PodSpec) -> frozenset[tuple[str, str, int]]:
    """(host address, protocol, port) that the pod wants of its node."""
    sidecars = [c for c in spec.init_containers if c.restart_policy == "Always"]
    return frozenset(
        (p.host_ip or "0.0.0.0", p.protocol or "TCP", p.host_port)  # noqa: S104 - the wildcard
        for c in (*spec.containers, *sidecars)
        for p in c.ports
        if p.host_port
    )


def _selector(view: Any) -> LabelSelector | None:
    return None if view is None else structured(msgspec.to_builtins(view))


def _terms(pod: Pod, terms: tuple[PodAffinityTerm, ...]) -> tuple[Term, ...]:
    return tuple(_term(pod, t, 0) for t in terms)


def _weighted(pod: Pod, terms: Any) -> tuple[Term, ...]:
    return tuple(_term(pod, t.pod_affinity_term, t.weight) for t in terms if t.pod_affinity_term)


def _term(pod: Pod, term: PodAffinityTerm, weight: int) -> Term:
    everywhere = term.namespace_selector
    namespaces: frozenset[str] | None = frozenset(term.namespaces)
    selector: LabelSelector | None = None
    if everywhere is not None:
        selector = _selector(everywhere)
    elif not namespaces:
        namespaces = frozenset({pod.metadata.namespace})
    return Term(
        selector=_with_label_keys(pod, term),
        topology_key=term.topology_key,
        namespaces=namespaces,
        namespace_selector=selector,
        weight=weight,
    )


def _with_label_keys(pod: Pod, term: Any) -> LabelSelector | None:
    """The term's selector, narrowed by matchLabelKeys and mismatchLabelKeys (KEP-3633, KEP-3243)."""
    view = term.label_selector
    if view is None:
        return None
    plain = msgspec.to_builtins(view)
    labels = pod.metadata.labels
    asked = [(key, "In") for key in term.match_label_keys]
    asked += [(key, "NotIn") for key in getattr(term, "mismatch_label_keys", ())]
    more = [
        {"key": key, "operator": operator, "values": [labels[key]]}
        for key, operator in asked
        if key in labels
    ]
    return structured({**plain, "matchExpressions": [*plain.get("matchExpressions", ()), *more]})


def _spread(pod: Pod, constraint: TopologySpreadConstraint) -> Spread:
    return Spread(
        selector=_with_label_keys(pod, constraint) or structured(None),
        topology_key=constraint.topology_key,
        max_skew=constraint.max_skew,
        hard=constraint.when_unsatisfiable != "ScheduleAnyway",
        min_domains=constraint.min_domains or 1,
        honor_affinity=constraint.node_affinity_policy != "Ignore",
        honor_taints=constraint.node_taints_policy == "Honor",
    )
