"""Scores: which of the nodes that may take a pod is taken."""

from typing import Any

import pytest

from skiff.api.views.core import Pod
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
