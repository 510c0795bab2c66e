"""Nodes and pods for the scheduler's tests, as short as the test's point."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from skiff.aio.entropy import Entropy
from skiff.api.views.core import Node, Pod
from skiff.scheduler.context import Context, Memory
from skiff.scheduler.nodes import Nodes
from skiff.scheduler.plan import Planner, Refusal
from skiff.scheduler.shape import Shape, Shapes
from skiff.scheduler.volumes import Storage

ROOM = {"cpu": "4", "memory": "8Gi", "pods": "10", "ephemeral-storage": "50Gi"}


def node(
    name: str,
    labels: Mapping[str, str] | None = None,
    *,
    taints: Sequence[Mapping[str, str]] = (),
    unschedulable: bool = False,
    images: Mapping[str, int] | None = None,
    **room: str,
) -> Node:
    """A node; `room` overrides what it has (`cpu="1"`)."""
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "uid": f"uid-{name}",
                "labels": {"kubernetes.io/hostname": name, **(labels or {})},
            },
            "spec": {"taints": list(taints), "unschedulable": unschedulable},
            "status": {
                "allocatable": ROOM | {k.replace("_", "-"): v for k, v in room.items()},
                "images": [{"names": [n], "sizeBytes": s} for n, s in (images or {}).items()],
            },
        },
        Node,
    )


def pod(
    name: str = "p",
    *,
    labels: Mapping[str, str] | None = None,
    namespace: str = "default",
    image: str = "web:1",
    ports: Sequence[Mapping[str, Any]] = (),
    limits: Mapping[str, str] | None = None,
    owner: str = "",
    status: Mapping[str, Any] | None = None,
    requests: Mapping[str, str] | None = None,
    **spec: Any,
) -> Pod:
    """A pod with one container; `spec` are fields of its spec, in Kubernetes' spelling."""
    container = {
        "name": "c",
        "image": image,
        "ports": list(ports),
        "resources": {"requests": dict(requests or {}), "limits": dict(limits or {})},
    }
    owners = [{"uid": owner, "controller": True, "kind": "ReplicaSet", "name": owner}]
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": f"uid-{namespace}-{name}",
                "labels": dict(labels or {}),
                "ownerReferences": owners if owner else [],
            },
            "spec": {"containers": [container], **spec},
            "status": dict(status or {}),
        },
        Pod,
    )


class Columns:
    """Nodes with pods on them, and decisions over them."""

    def __init__(
        self,
        *nodes: Node,
        namespaces: Mapping[str, Mapping[str, str]] | None = None,
        storage: Storage | None = None,
        services: Sequence[Mapping[str, str]] = (),
        seed: int = 1,
    ) -> None:
        self.nodes = Nodes()
        self.shapes = Shapes()
        self.entropy = Entropy(seed)
        self.planner = Planner(self.entropy)
        labels = namespaces or {}
        self.context = Context(
            self.nodes, lambda n: labels.get(n, {}), Memory(), storage, lambda _: services
        )
        for each in nodes:
            self.nodes.put(each)

    def place(self, on: str, *pods: Pod, start: float = 0.0) -> None:
        for each in pods:
            gone = bool(each.metadata.deletion_timestamp)
            key, name = each.metadata.uid, each.metadata.name
            self.nodes.place(key, self.shapes.of(each), on, name, start, gone)

    def shape(self, each: Pod) -> Shape:
        return self.shapes.of(each)

    def feasible(self, each: Pod) -> set[str]:
        """The names of the nodes that may take the pod."""
        mask = self.planner.feasible(self.context, self.shapes.of(each))
        return {name for name, row in self.nodes.rows.items() if mask[row]}

    def decide(self, each: Pod) -> str | Refusal:
        """The chosen node's name, or the refusal."""
        decision = self.planner.decide(self.context, self.shapes.of(each))
        return decision if isinstance(decision, Refusal) else self.nodes.names[decision]

    def reasons(self, each: Pod) -> dict[str, int]:
        """How many nodes gave which reason."""
        decision = self.decide(each)
        assert isinstance(decision, Refusal), decision
        return decision.reasons


def affinity(kind: str, *terms: Mapping[str, Any], preferred: bool = False) -> dict[str, Any]:
    """`affinity` of a pod spec: `kind` is nodeAffinity, podAffinity or podAntiAffinity."""
    if preferred:
        return {kind: {"preferredDuringSchedulingIgnoredDuringExecution": list(terms)}}
    required: Any = list(terms)
    if kind == "nodeAffinity":
        required = {"nodeSelectorTerms": required}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def near(
    labels: Mapping[str, str], topology: str = "kubernetes.io/hostname", **more: Any
) -> dict[str, Any]:
    """A pod affinity term."""
    return {"labelSelector": {"matchLabels": dict(labels)}, "topologyKey": topology, **more}


def spread(
    skew: int, topology: str, labels: Mapping[str, str], *, soft: bool = False, **more: Any
) -> dict[str, Any]:
    """A topology spread constraint."""
    return {
        "maxSkew": skew,
        "topologyKey": topology,
        "whenUnsatisfiable": "ScheduleAnyway" if soft else "DoNotSchedule",
        "labelSelector": {"matchLabels": dict(labels)},
        **more,
    }
