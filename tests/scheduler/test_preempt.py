"""Preemption: whose going is chosen, and that trying leaves no traces."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from skiff.scheduler import preempt
from skiff.scheduler.nodes import Placed
from skiff.scheduler.nominated import Nominations
from skiff.scheduler.plan import Refusal
from skiff.scheduler.preempt import Victims
from tests.scheduler.objects import Columns, node, pod


def find(
    columns: Columns, priority: int, cpu: str, protected: Sequence[str] = ()
) -> tuple[str, set[str]] | str:
    """The node and the names of those who must go, or why nobody."""
    asks = pod("asks", requests={"cpu": cpu}, priority=priority)
    refusal = columns.decide(asks)
    assert isinstance(refusal, Refusal)

    def violating(pods: Sequence[Placed]) -> frozenset[str]:
        return frozenset(p.key for p in pods if p.name in protected)

    found = preempt.find(
        columns.context,
        columns.planner,
        columns.shape(asks),
        refusal.resolvable,
        columns.entropy,
        violating,
    )
    if isinstance(found, Victims):
        return columns.nodes.names[found.row], {p.name for p in found.pods}
    return found


def full(*pods: tuple[str, str, str, int], start: float = 0.0) -> Columns:
    """Nodes with these pods: (node, pod, cpu, priority)."""
    columns = Columns(*(node(name) for name in dict.fromkeys(p[0] for p in pods)))
    for i, (on, name, cpu, priority) in enumerate(pods):
        placed = pod(name, requests={"cpu": cpu}, priority=priority)
        columns.place(on, placed, start=start + i)
    return columns


def test_only_as_many_as_needed_and_the_least_important() -> None:
    columns = full(("n", "a", "2", 3), ("n", "b", "1", 2), ("n", "c", "1", 1))
    assert find(columns, 10, "1") == ("n", {"c"})
    assert find(columns, 10, "2") == ("n", {"b", "c"})
    assert find(columns, 10, "3") == ("n", {"a", "c"}), "b may stay"


def test_equal_and_higher_pods_stay() -> None:
    columns = full(("n", "a", "4", 10))
    assert find(columns, 10, "1") == (
        "0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )


def test_the_node_whose_most_important_victim_is_least() -> None:
    columns = full(("n1", "a", "4", 5), ("n2", "b", "4", 4), ("n3", "c", "4", 6))
    assert find(columns, 10, "1") == ("n2", {"b"})


def test_then_the_fewest_and_then_the_youngest() -> None:
    columns = full(("n1", "a", "2", 1), ("n1", "b", "2", 1), ("n2", "c", "4", 1))
    assert find(columns, 10, "4") == ("n2", {"c"})
    columns = full(("n1", "old", "4", 1), ("n2", "young", "4", 1))
    assert find(columns, 10, "4") == ("n2", {"young"})


def test_disruption_budgets_come_first() -> None:
    columns = full(("n1", "guarded", "4", 1), ("n2", "free", "4", 5))
    assert find(columns, 10, "1", protected=["guarded"]) == ("n2", {"free"})
    columns = full(("n", "guarded", "2", 1), ("n", "free", "2", 5))
    assert find(columns, 10, "2", protected=["guarded"]) == ("n", {"free"})
    columns = full(("n", "guarded", "4", 1))
    assert find(columns, 10, "2", protected=["guarded"]) == ("n", {"guarded"}), "the last resort"


def test_a_node_that_would_not_do_even_when_empty_is_left_alone() -> None:
    columns = full(("n", "a", "4", 1))
    assert find(columns, 10, "5") == (
        "0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(0, 4)), max_size=12),
    st.integers(1, 5),
    st.integers(1, 4),
)
def test_trying_leaves_no_traces_and_the_result_works(
    placed: list[tuple[int, int, int]], priority: int, cpu: int
) -> None:
    columns = Columns(*(node(f"n{i}", cpu="4", pods="100") for i in range(3)))
    for i, (on, wants, level) in enumerate(placed):
        columns.place(f"n{on}", pod(f"p{i}", requests={"cpu": str(wants)}, priority=level))
    asks = pod("asks", requests={"cpu": str(cpu)}, priority=priority)
    refusal = columns.decide(asks)
    if not isinstance(refusal, Refusal):
        return
    before = {r: c.copy() for r, c in columns.nodes.requested.items()}
    found = find(columns, priority, str(cpu))
    for resource, column in columns.nodes.requested.items():
        assert (column == before[resource]).all()
    assert len(columns.nodes.pods) == len(placed)
    if isinstance(found, str):
        for i in range(3):
            stays = sum(w for on, w, level in placed if on == i and level >= priority)
            lower = any(level < priority for on, _, level in placed if on == i)
            assert not lower or stays + cpu > 4
        return
    on, names = found
    for name in names:
        columns.nodes.take(f"uid-default-{name}")
    assert on in columns.feasible(asks)
    for name in names:
        _, wants, level = placed[int(name[1:])]
        assert level < priority
        columns.place(on, pod(name, requests={"cpu": str(wants)}, priority=level))
        assert on not in columns.feasible(asks), f"{name} could have stayed"
        columns.nodes.take(f"uid-default-{name}")


def test_a_nomination_holds_the_room_against_equals_and_lower_but_not_higher() -> None:
    columns = Columns(node("n", cpu="1"))
    nominations = Nominations(columns.nodes)
    waits = pod("waits", requests={"cpu": "1"}, priority=5)
    nominations.make("waits", columns.shape(waits), "n")

    def fits(key: str, priority: int) -> bool:
        with nominations.aside(key, priority):
            other = pod(key, requests={"cpu": "1"}, priority=priority)
            return bool(columns.feasible(other))

    assert not fits("low", 1)
    assert not fits("equal", 5)
    assert fits("high", 6)
    assert fits("waits", 5), "its own does not stand in its way"
    assert nominations.on("n", below=6) == ["waits"]
    nominations.drop("waits")
    assert fits("low", 1)


def test_a_nomination_on_a_node_that_comes_back() -> None:
    columns = Columns(node("n", cpu="1"))
    nominations = Nominations(columns.nodes)
    waits = columns.shape(pod("waits", requests={"cpu": "1"}, priority=5))
    nominations.make("waits", waits, "n")
    columns.nodes.remove("n")
    columns.nodes.put(node("n", cpu="1"))
    assert columns.feasible(pod("low", requests={"cpu": "1"}))
    nominations.place_again("n")
    assert not columns.feasible(pod("low", requests={"cpu": "1"}))
