"""Decisions: the message of a refusal, word for word, and ties."""

import pytest

from skiff.api.views.core import Node, Pod
from skiff.scheduler import preempt
from skiff.scheduler.plan import Refusal
from tests.scheduler.objects import Columns, affinity, node, pod

BUSY = pod("busy", requests={"cpu": "4"})


def message(columns: Columns, asks: Pod) -> str:
    """What the event says, preemption included (no budgets)."""
    refusal = columns.decide(asks)
    assert isinstance(refusal, Refusal)
    if not refusal.nodes:
        return refusal.message()
    found = preempt.find(
        columns.context,
        columns.planner,
        columns.shape(asks),
        refusal.resolvable,
        columns.entropy,
        lambda _: frozenset(),
    )
    return refusal.message(found if isinstance(found, str) else "")


def test_no_nodes() -> None:
    assert message(Columns(), pod()) == "no nodes available to schedule pods"


def test_a_full_node() -> None:
    columns = Columns(node("n"))
    columns.place("n", BUSY)
    assert message(columns, pod(requests={"cpu": "1"})) == (
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: "
        "0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )


def test_a_node_that_is_too_small_even_when_empty() -> None:
    assert message(Columns(node("n")), pod(requests={"cpu": "5"})) == (
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: "
        "0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )


def test_several_reasons_are_counted_and_sorted_as_text() -> None:
    nodes: list[Node] = [node(f"big{i}") for i in range(11)]
    columns = Columns(
        *nodes,
        node("tainted", taints=[{"key": "k", "effect": "NoSchedule"}]),
        node("small", cpu="1"),
    )
    for i in range(11):
        columns.place(f"big{i}", pod(f"busy{i}", requests={"cpu": "3"}))
    assert message(columns, pod(requests={"cpu": "2"})) == (
        "0/13 nodes are available: 1 node(s) had untolerated taint(s), 12 Insufficient cpu. "
        "no new claims to deallocate, preemption: 0/13 nodes are available: "
        "11 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
    )


def test_one_that_may_not_preempt() -> None:
    columns = Columns(node("n"))
    columns.place("n", BUSY)
    asks = pod(requests={"cpu": "1"}, priority=10, preemptionPolicy="Never")
    assert message(columns, asks) == (
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: "
        "not eligible due to preemptionPolicy=Never."
    )


def test_lower_pods_whose_going_would_not_be_enough() -> None:
    columns = Columns(node("n"))
    columns.place("n", pod("high", requests={"cpu": "3"}, priority=100))
    columns.place("n", pod("low", requests={"cpu": "500m"}, priority=1))
    assert message(columns, pod(requests={"cpu": "2"}, priority=50)) == (
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: "
        "0/1 nodes are available: 1 Insufficient cpu."
    )


def test_where_room_is_made_nothing_is_said_of_preemption() -> None:
    columns = Columns(node("n"))
    columns.place("n", BUSY)
    assert message(columns, pod(requests={"cpu": "1"}, priority=1)) == (
        "0/1 nodes are available: 1 Insufficient cpu."
    )


def test_names_that_no_node_can_have() -> None:
    def by_name(*names: str) -> dict[str, object]:
        return {"key": "metadata.name", "operator": "In", "values": list(names)}

    term = {"matchFields": [by_name("a"), by_name("b")]}
    asks = pod(affinity=affinity("nodeAffinity", term))
    assert message(Columns(node("a"), node("b")), asks) == (
        "0/2 nodes are available: pod affinity terms conflict. no new claims to deallocate, "
        "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )


def test_equal_nodes_are_chosen_by_the_seed() -> None:
    def chosen(seed: int) -> list[str]:
        columns = Columns(*(node(f"n{i}") for i in range(5)), seed=seed)
        return [str(columns.decide(pod(f"p{i}"))) for i in range(40)]

    assert chosen(3) == chosen(3)
    assert set(chosen(3)) == {f"n{i}" for i in range(5)}
    assert chosen(3) != chosen(4)


@pytest.mark.parametrize("count", [1, 64, 65, 200])
def test_columns_grow(count: int) -> None:
    columns = Columns(*(node(f"n{i}", {"i": str(i)}) for i in range(count)))
    columns.place("n0", pod("x", requests={"cpu": "1"}))
    assert columns.feasible(pod(nodeSelector={"i": str(count - 1)})) == {f"n{count - 1}"}
    columns.nodes.put(node("late", {"i": "late"}))
    assert columns.feasible(pod(nodeSelector={"i": "late"})) == {"late"}
    assert len(columns.feasible(pod(requests={"cpu": "4"}))) == count
