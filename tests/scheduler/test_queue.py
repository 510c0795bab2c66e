"""The scheduling queue: order, backoff, rest and waking."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from skiff.scheduler.queue import UNSCHEDULABLE_MAX_S, SchedulingQueue


def drain(queue: SchedulingQueue, now: float) -> list[str]:
    keys = []
    while (key := queue.pop(now)) is not None:
        keys.append(key)
    return keys


def test_priority_then_age() -> None:
    queue = SchedulingQueue()
    for key, priority, since in [("a", 0, 1), ("b", 5, 3), ("c", 5, 2), ("d", -1, 0)]:
        queue.add(key, priority, since)
    assert drain(queue, 9) == ["c", "b", "a", "d"]
    assert len(queue) == 4, "they stay known until they are removed"


def test_backoff_doubles_to_ten_seconds() -> None:
    queue = SchedulingQueue()
    queue.add("a", 0, 0)
    now, waits = 0.0, []
    for _ in range(6):
        assert queue.pop(now) == "a"
        queue.failed("a", now, unschedulable=False)
        due = queue.next_at()
        assert due is not None
        assert queue.pop(due - 0.001) is None
        waits.append(due - now)
        now = due
    assert waits == [1, 2, 4, 8, 10, 10]


def test_an_unschedulable_pod_rests_until_something_changes() -> None:
    queue = SchedulingQueue()
    queue.add("a", 0, 0)
    queue.pop(0)
    queue.failed("a", 0, unschedulable=True)
    assert queue.pop(100) is None
    queue.something_changed(100)
    assert queue.pop(100) == "a", "its backoff was over long ago"


def test_a_change_does_not_shorten_the_backoff() -> None:
    queue = SchedulingQueue()
    queue.add("a", 0, 0)
    queue.pop(0)
    queue.failed("a", 0, unschedulable=True)
    queue.something_changed(0.2)
    assert queue.pop(0.5) is None
    assert queue.next_at() == 1.0
    assert queue.pop(1.0) == "a"


def test_five_minutes_are_a_change() -> None:
    queue = SchedulingQueue()
    queue.add("a", 0, 0)
    queue.pop(0)
    queue.failed("a", 7, unschedulable=True)
    assert queue.next_at() == 7 + UNSCHEDULABLE_MAX_S
    assert queue.pop(7 + UNSCHEDULABLE_MAX_S) == "a"


def test_a_change_while_it_was_tried_forbids_rest() -> None:
    queue = SchedulingQueue()
    queue.add("a", 0, 0)
    queue.pop(0)
    queue.something_changed(0)
    queue.failed("a", 0, unschedulable=True)
    assert queue.pop(1) == "a"


def test_a_change_may_concern_some_only() -> None:
    queue = SchedulingQueue()
    for key in "ab":
        queue.add(key, 0, 0)
        queue.pop(0)
        queue.failed(key, 0, unschedulable=True)
    queue.something_changed(50, ["b", "unknown"])
    assert drain(queue, 50) == ["b"]


def test_its_own_change_wakes_it() -> None:
    queue = SchedulingQueue()
    queue.add("a", 0, 0)
    queue.pop(0)
    queue.failed("a", 0, unschedulable=True)
    queue.add("a", 9, 50)
    assert queue.pop(50) == "a"


def test_what_is_removed_does_not_come_back() -> None:
    queue = SchedulingQueue()
    for key in "abc":
        queue.add(key, 0, 0)
    queue.remove("a")
    assert queue.pop(0) == "b"
    queue.failed("b", 0, unschedulable=False)
    queue.remove("b")
    assert queue.pop(0) == "c"
    queue.failed("c", 0, unschedulable=True)
    queue.remove("c")
    queue.something_changed(50)
    assert drain(queue, 1000) == []
    assert queue.next_at() is None


class QueueMachine(RuleBasedStateMachine):
    """Whatever happens: no pod is lost, none is given out twice, the best due one comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = SchedulingQueue()
        self.now = 0.0
        self.known: dict[str, int] = {}
        self.trying: set[str] = set()

    keys = st.sampled_from("abcdef")

    @rule(key=keys, priority=st.integers(-2, 2))
    def add(self, key: str, priority: int) -> None:
        if key not in self.known:
            self.known[key] = priority
            self.queue.add(key, priority, self.now)

    @rule(key=keys)
    def remove(self, key: str) -> None:
        self.known.pop(key, None)
        self.trying.discard(key)
        self.queue.remove(key)

    @rule()
    def pop(self) -> None:
        key = self.queue.pop(self.now)
        if key is not None:
            assert key in self.known
            assert key not in self.trying
            self.trying.add(key)

    @rule(key=keys, unschedulable=st.booleans())
    def fail(self, key: str, unschedulable: bool) -> None:
        if key in self.trying:
            self.trying.discard(key)
            self.queue.failed(key, self.now, unschedulable=unschedulable)

    @rule()
    def change(self) -> None:
        self.queue.something_changed(self.now)

    @rule(seconds=st.floats(0, 400))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def nobody_is_lost(self) -> None:
        assert len(self.queue) == len(self.known)
        resting = set(self.queue.resting)
        assert resting <= set(self.known) - self.trying

    def teardown(self) -> None:
        later = self.now + UNSCHEDULABLE_MAX_S + 20
        assert set(drain(self.queue, later)) == set(self.known) - self.trying


QueueMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestQueueMachine = QueueMachine.TestCase


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 5)), max_size=30))
def test_order_is_total(pods: list[tuple[int, int]]) -> None:
    queue = SchedulingQueue()
    for i, (priority, since) in enumerate(pods):
        queue.add(str(i), priority, since)
    order = [pods[int(key)] for key in drain(queue, 9)]
    assert order == sorted(pods, key=lambda p: (-p[0], p[1]))
