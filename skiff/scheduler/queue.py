"""Which pod next: the scheduling queue.

Three places. *Active*: by priority, then by when the pod came. *Backing off*: pods that failed and
may be tried again at a known time (1 s, doubling to 10 s). *Unschedulable*: pods that wait for the
cluster to change; an event that could help moves them on, and five minutes do so in any case.
Holds keys and what orders them, never objects. Pure: times are handed in.
Source: https://github.com/kubernetes/community/tree/master/contributors/devel/sig-scheduling
"""

import heapq
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 10.0
UNSCHEDULABLE_MAX_S = 300.0


@dataclass(slots=True)
class Waiting:
    """A pod in the queue. `attempts` counts failures; `moved` says that something changed while it
    was being tried, so that it must not rest."""

    key: str
    priority: int
    since: float
    attempts: int = 0
    place: str = ""
    at: float = 0.0
    ticket: int = 0
    moved: bool = False


class SchedulingQueue:
    """See the module's text."""

    def __init__(self) -> None:
        self._pods: dict[str, Waiting] = {}
        self._active: list[tuple[int, float, int, str]] = []
        self._backoff: list[tuple[float, int, str]] = []
        self._unschedulable: dict[str, None] = {}
        self._trying: set[str] = set()
        self._tickets = itertools.count(1)

    def __len__(self) -> int:
        return len(self._pods)

    def __contains__(self, key: str) -> bool:
        return key in self._pods

    def add(self, key: str, priority: int, now: float) -> None:
        """A pod that wants a node. One that is known keeps its place, unless it waits for a change:
        its own change may be the one."""
        pod = self._pods.get(key)
        if pod is None:
            pod = self._pods[key] = Waiting(key, priority, now)
            self._activate(pod)
        else:
            pod.priority = priority
            if pod.place == "unschedulable":
                self._leave_rest(pod, now)
            elif pod.place == "trying":
                pod.moved = True

    def remove(self, key: str) -> None:
        """A pod that needs no node any more."""
        self._pods.pop(key, None)
        self._unschedulable.pop(key, None)
        self._trying.discard(key)

    def pop(self, now: float) -> str | None:
        """The next pod to try, or None. It stays known until `remove`, or comes back by `failed`."""
        self._wake(now)
        while self._active:
            _, _, ticket, key = heapq.heappop(self._active)
            pod = self._pods.get(key)
            if pod is not None and pod.ticket == ticket and pod.place == "active":
                pod.place = "trying"
                pod.moved = False
                self._trying.add(key)
                return key
        return None

    def failed(self, key: str, now: float, *, unschedulable: bool) -> None:
        """The pod that was popped found no node (`unschedulable`), or an error came in between."""
        self._trying.discard(key)
        pod = self._pods.get(key)
        if pod is None:
            return
        pod.attempts += 1
        if unschedulable and not pod.moved:
            pod.place, pod.at = "unschedulable", now
            self._unschedulable[key] = None
        else:
            self._back_off(pod, now, now)

    def something_changed(self, now: float, keys: Iterable[str] | None = None) -> None:
        """An event that may let an unschedulable pod go: all of them (or `keys`) get another chance."""
        for key in list(self._unschedulable) if keys is None else keys:
            if key in self._unschedulable:
                self._leave_rest(self._pods[key], now)
        for key in self._trying if keys is None else self._trying.intersection(keys):
            self._pods[key].moved = True

    @property
    def resting(self) -> Iterable[str]:
        """The pods that wait for a change."""
        return self._unschedulable

    def next_at(self) -> float | None:
        """When a pod becomes due by time alone; None for never."""
        due = [self._backoff[0][0]] if self._backoff else []
        if self._unschedulable:
            oldest = next(iter(self._unschedulable))
            due.append(self._pods[oldest].at + UNSCHEDULABLE_MAX_S)
        return min(due, default=None)

    def _wake(self, now: float) -> None:
        while self._backoff and self._backoff[0][0] <= now:
            _, ticket, key = heapq.heappop(self._backoff)
            pod = self._pods.get(key)
            if pod is not None and pod.ticket == ticket and pod.place == "backoff":
                self._activate(pod)
        for key in list(itertools.islice(self._unschedulable, 64)):
            pod = self._pods[key]
            if pod.at + UNSCHEDULABLE_MAX_S > now:
                break
            self._leave_rest(pod, now)

    def _leave_rest(self, pod: Waiting, now: float) -> None:
        self._unschedulable.pop(pod.key, None)
        self._back_off(pod, pod.at, now)

    def _back_off(self, pod: Waiting, failed_at: float, now: float) -> None:
        delay_s = min(FIRST_BACKOFF_S * 2 ** (pod.attempts - 1), MAX_BACKOFF_S)
        due = failed_at + delay_s
        if due <= now:
            self._activate(pod)
            return
        pod.place, pod.ticket = "backoff", next(self._tickets)
        heapq.heappush(self._backoff, (due, pod.ticket, pod.key))

    def _activate(self, pod: Waiting) -> None:
        pod.place, pod.ticket = "active", next(self._tickets)
        heapq.heappush(self._active, (-pod.priority, pod.since, pod.ticket, pod.key))
