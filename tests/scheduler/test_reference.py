"""The vector filters against a naive reference that looks at one node after the other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scheduler.objects import Columns, near, node, pod

ZONES = ["a", "b", None]
APPS = ["web", "db"]


@dataclass
class PlainPod:
    """A pod as the reference sees it."""

    app: str
    cpu: int = 0
    port: int = 0
    zone: str | None = None
    tolerates: bool = False
    near: str | None = None
    far: str | None = None
    topology: str = "zone"
    spread: int = 0

    def view(self, name: str) -> Any:
        spec: dict[str, Any] = {}
        affinity: dict[str, Any] = {}
        rule = "requiredDuringSchedulingIgnoredDuringExecution"
        if self.near:
            affinity["podAffinity"] = {rule: [near({"app": self.near}, self.topology)]}
        if self.far:
            affinity["podAntiAffinity"] = {rule: [near({"app": self.far}, self.topology)]}
        if affinity:
            spec["affinity"] = affinity
        if self.zone:
            spec["nodeSelector"] = {"zone": self.zone}
        if self.tolerates:
            spec["tolerations"] = [{"key": "t", "operator": "Exists"}]
        if self.spread:
            spec["topologySpreadConstraints"] = [
                {
                    "maxSkew": self.spread,
                    "topologyKey": self.topology,
                    "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": {"matchLabels": {"app": self.app}},
                }
            ]
        ports = [{"hostPort": self.port}] if self.port else []
        requests = {"cpu": str(self.cpu)}
        return pod(name, labels={"app": self.app}, requests=requests, ports=ports, **spec)


@dataclass
class PlainNode:
    """A node as the reference sees it."""

    name: str
    cpu: int
    zone: str | None
    tainted: bool
    cordoned: bool
    pods: list[PlainPod] = field(default_factory=list)

    @property
    def labels(self) -> Mapping[str, str]:
        return {"kubernetes.io/hostname": self.name} | ({"zone": self.zone} if self.zone else {})


def fits(asks: PlainPod, one: PlainNode, nodes: list[PlainNode]) -> bool:
    """Whether `one` may take `asks`: the rules, spelled out."""

    def domain(key: str, value: str | None) -> list[PlainNode]:
        return [n for n in nodes if value is not None and n.labels.get(key) == value]

    key = asks.topology
    here = one.labels.get(key)
    peers = domain(key, here)
    everybody = [(n, p) for n in nodes for p in n.pods]
    if one.cordoned or (one.tainted and not asks.tolerates):
        return False
    if asks.zone and one.zone != asks.zone:
        return False
    if asks.port and any(p.port == asks.port for p in one.pods):
        return False
    if asks.cpu and sum(p.cpu for p in one.pods) + asks.cpu > one.cpu:
        return False
    if len(one.pods) >= 10:
        return False
    if asks.near:
        found = any(p.app == asks.near for n, p in everybody if key in n.labels)
        alone = asks.near == asks.app and not found
        if here is None:
            return False
        if not alone and not any(p.app == asks.near for n in peers for p in n.pods):
            return False
    if asks.far and any(p.app == asks.far for n in peers for p in n.pods):
        return False
    for holder, other in everybody:
        value = holder.labels.get(other.topology)
        if other.far == asks.app and value is not None and one.labels.get(other.topology) == value:
            return False
    return not asks.spread or within_skew(asks, one, nodes)


def within_skew(asks: PlainPod, one: PlainNode, nodes: list[PlainNode]) -> bool:
    key = asks.topology
    if key not in one.labels:
        return False
    counts: dict[str, int] = {}
    for n in nodes:
        if key in n.labels and (not asks.zone or n.zone == asks.zone):
            here = sum(p.app == asks.app for p in n.pods)
            counts[n.labels[key]] = counts.get(n.labels[key], 0) + here
    least = min(counts.values(), default=0)
    return counts.get(one.labels[key], 0) + 1 - least <= asks.spread


pods = st.builds(
    PlainPod,
    app=st.sampled_from(APPS),
    cpu=st.integers(0, 3),
    port=st.sampled_from([0, 0, 0, 80]),
    zone=st.sampled_from([None, None, "a"]),
    tolerates=st.booleans(),
    near=st.sampled_from([None, None, *APPS]),
    far=st.sampled_from([None, None, *APPS]),
    topology=st.sampled_from(["zone", "kubernetes.io/hostname"]),
    spread=st.sampled_from([0, 0, 1, 2]),
)


@st.composite
def clusters(draw: st.DrawFn) -> list[PlainNode]:
    count = draw(st.integers(1, 5))
    return [
        PlainNode(
            f"n{i}",
            draw(st.integers(1, 6)),
            draw(st.sampled_from(ZONES)),
            draw(st.sampled_from([False, False, True])),
            draw(st.sampled_from([False, False, False, True])),
        )
        for i in range(count)
    ]


@settings(max_examples=300, deadline=None)
@given(clusters(), st.lists(pods, min_size=1, max_size=8), st.data())
def test_vectors_say_what_the_rules_say(
    nodes: list[PlainNode], coming: list[PlainPod], data: st.DataObject
) -> None:
    taint = [{"key": "t", "effect": "NoSchedule"}]
    columns = Columns(
        *(
            node(
                n.name,
                {"zone": n.zone} if n.zone else {},
                cpu=str(n.cpu),
                taints=taint if n.tainted else (),
                unschedulable=n.cordoned,
            )
            for n in nodes
        )
    )
    by_name = {n.name: n for n in nodes}
    for i, asks in enumerate(coming):
        view = asks.view(f"p{i}")
        expected = {n.name for n in nodes if fits(asks, n, nodes)}
        assert columns.feasible(view) == expected
        decision = columns.decide(view)
        if expected:
            assert decision in expected
            chosen = str(decision)
            columns.place(chosen, view)
            by_name[chosen].pods.append(asks)
        else:
            assert sum(columns.reasons(view).values()) >= len(nodes)
        filled = [n for n in nodes if n.pods]
        if filled and data.draw(st.booleans()):
            leaving = data.draw(st.sampled_from(filled))
            gone = leaving.pods.pop()
            keys = [
                k
                for k, p in columns.nodes.pods.items()
                if p.row == columns.nodes.rows[leaving.name]
            ]
            key = next(k for k in reversed(keys) if coming[int(k.rsplit("p", 1)[1])] is gone)
            columns.nodes.take(key)
