"""Scores: which of the nodes that may take a pod is taken."""

from typing import Any

import numpy as np
import pytest

from skiff.api.views.core import Pod
from skiff.scheduler.scores import SCORES
from tests.scheduler.objects import Columns, affinity, near, node, pod, spread

GIB = 1024**3


def best(columns: Columns, asks: Pod) -> set[str]:
    """Everything that ever wins."""
    return {str(columns.decide(asks)) for _ in range(20)}


def test_the_emptier_node() -> None:
    columns = Columns(node("empty"), node("busy"))
    columns.place("busy", pod("x", requests={"cpu": "2", "memory": "4Gi"}))
    assert best(columns, pod(requests={"cpu": "100m", "memory": "100Mi"})) == {"empty"}


def test_pods_without_requests_weigh_something() -> None:
    columns = Columns(node("a"), node("b"))
    columns.place("a", pod("x"))
    assert best(columns, pod()) == {"b"}


def test_balance_of_cpu_and_memory() -> None:
    columns = Columns(node("even"), node("lopsided"))
    columns.place("even", pod("x", requests={"cpu": "1", "memory": "2Gi"}))
    columns.place("lopsided", pod("y", requests={"cpu": "2", "memory": "1Mi"}))
    assert best(columns, pod(requests={"cpu": "1", "memory": "2Gi"})) == {"even"}


def test_fewer_taints_that_are_not_wanted() -> None:
    soft = [{"key": "k", "effect": "PreferNoSchedule"}]
    columns = Columns(node("clean"), node("tainted", taints=soft))
    assert best(columns, pod()) == {"clean"}
    tolerates = pod(tolerations=[{"key": "k", "operator": "Exists"}])
    assert best(columns, tolerates) == {"clean", "tainted"}


def test_preferred_node_affinity_by_weight() -> None:
    def prefers(weight: int, zone: str) -> dict[str, Any]:
        expressions = [{"key": "zone", "operator": "In", "values": [zone]}]
        return {"weight": weight, "preference": {"matchExpressions": expressions}}

    columns = Columns(*(node(z, {"zone": z}) for z in "abc"))
    asks = pod(affinity=affinity("nodeAffinity", prefers(1, "a"), prefers(9, "b"), preferred=True))
    assert best(columns, asks) == {"b"}


@pytest.mark.parametrize(("kind", "expected"), [("podAffinity", "a"), ("podAntiAffinity", "b")])
def test_preferred_pod_affinity(kind: str, expected: str) -> None:
    columns = Columns(node("a", {"zone": "a"}), node("b", {"zone": "b"}))
    columns.place("a", pod("db", labels={"app": "db"}))
    term = {"weight": 100, "podAffinityTerm": near({"app": "db"}, "zone")}
    assert best(columns, pod(affinity=affinity(kind, term, preferred=True))) == {expected}


def test_pods_already_there_say_whom_they_like() -> None:
    columns = Columns(node("a", {"zone": "a"}), node("b", {"zone": "b"}))
    term = {"weight": 100, "podAffinityTerm": near({"app": "web"}, "zone")}
    columns.place("a", pod("fond", affinity=affinity("podAffinity", term, preferred=True)))
    assert best(columns, pod(labels={"app": "web"})) == {"a"}
    columns.nodes.take("uid-default-fond")
    assert best(columns, pod(labels={"app": "web"})) == {"a", "b"}
    columns.place("a", pod("shy", affinity=affinity("podAntiAffinity", term, preferred=True)))
    assert best(columns, pod(labels={"app": "web"})) == {"b"}


def test_soft_spreading() -> None:
    columns = Columns(node("a", {"zone": "a"}), node("b", {"zone": "b"}), node("without"))
    columns.place("a", pod("w0", labels={"app": "w"}))
    soft = spread(1, "zone", {"app": "w"}, soft=True)
    assert best(columns, pod(labels={"app": "w"}, topologySpreadConstraints=[soft])) == {"b"}


def test_pods_of_one_owner_spread_where_nothing_is_said() -> None:
    columns = Columns(node("a"), node("b", cpu="40", memory="80Gi"))
    columns.place("b", pod("one", owner="rs"))
    assert best(columns, pod("two", owner="rs")) == {"a"}
    assert best(columns, pod("other", owner="else")) == {"b"}


def test_nodes_that_have_the_image() -> None:
    columns = Columns(node("has", images={"web:1": GIB}), node("has-not"))
    assert best(columns, pod(image="web:1")) == {"has"}
    assert best(columns, pod(image="other:1")) == {"has", "has-not"}


def points(columns: Columns, asks: Pod, name: str) -> dict[str, float]:
    """What one score gives each node."""
    (score,) = [s for n, s, _ in SCORES if n == name]
    rows = np.array(sorted(columns.nodes.rows.values()))
    found = score(columns.context, columns.shape(asks), rows)
    assert found is not None
    return {columns.nodes.names[r]: float(p) for r, p in zip(rows, found, strict=True)}


def test_least_allocated_counts_in_whole_points() -> None:
    columns = Columns(
        node("a", cpu="4", memory="10000"),
        node("b", cpu="6", memory="10000"),
        node("c", cpu="10", memory="0"),
    )
    asks = pod(requests={"cpu": "3", "memory": "5000"})
    assert points(columns, asks, "NodeResourcesFit") == {"a": 37.0, "b": 50.0, "c": 70.0}


def test_balance_is_of_what_the_node_has() -> None:
    columns = Columns(node("a", cpu="4", memory="10000"), node("b", cpu="4", memory="0"))
    asks = pod(requests={"cpu": "3", "memory": "5000"})
    assert points(columns, asks, "NodeResourcesBalancedAllocation") == {"a": 87.5, "b": 100.0}


def test_an_image_that_one_node_has_counts_little() -> None:
    size = {"docker.io/library/web:latest": GIB}
    asks = pod(image="docker.io/library/web")
    alone = Columns(node("a", images=size), node("b"), node("c"), node("d"))
    both = Columns(node("a", images=size), node("b", images=size))
    first = points(alone, asks, "ImageLocality")
    assert int(first["a"]) == 23 and first["b"] == 0
    assert points(both, asks, "ImageLocality") == {"a": 100.0, "b": 100.0}


def test_required_affinity_of_placed_pods_draws_others_near() -> None:
    columns = Columns(node("a", {"zone": "a"}), node("b", {"zone": "b"}))
    columns.place("a", pod("db", affinity=affinity("podAffinity", near({"app": "web"}, "zone"))))
    found = points(columns, pod(labels={"app": "web"}), "InterPodAffinity")
    assert found == {"a": 100.0, "b": 0.0}


def test_pods_of_a_service_spread_over_zones_and_hosts() -> None:
    zone = "topology.kubernetes.io/zone"
    columns = Columns(
        node("a1", {zone: "a"}), node("a2", {zone: "a"}), node("b1", {zone: "b"}),
        services=[{"app": "web"}],
    )  # fmt: skip
    columns.place("a1", pod("w0", labels={"app": "web", "v": "1"}))
    found = points(columns, pod(labels={"app": "web"}), "PodTopologySpread")
    assert found["b1"] == 100.0 > found["a2"] > found["a1"]
    shape = columns.shape(pod(labels={"app": "other"}))
    assert columns.context.siblings(shape) is None
    # Of two ReplicaSets behind one service, each is spread for itself.
    columns.place("b1", pod("x0", labels={"app": "web"}, owner="x"))
    found = points(columns, pod(labels={"app": "web"}, owner="y"), "PodTopologySpread")
    assert set(found.values()) == {100.0}


def test_soft_spreading_in_points() -> None:
    columns = Columns(
        node("a", {"zone": "1"}), node("b", {"zone": "1"}), node("c", {"zone": "2"}), node("x")
    )
    columns.place("a", *(pod(f"w{i}", labels={"app": "w"}) for i in range(2)))
    columns.place("c", pod("w9", labels={"app": "w"}))
    soft = spread(1, "zone", {"app": "w"}, soft=True)
    asks = pod(labels={"app": "w"}, topologySpreadConstraints=[soft])
    # Two and one pods at a weight of log(4): rounded to 3 and 1.
    assert points(columns, asks, "PodTopologySpread") == {
        "a": 33.0,
        "b": 33.0,
        "c": 100.0,
        "x": 0.0,
    }
