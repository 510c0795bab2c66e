"""Priority levels: seats, borrowing, queues.

A level's seats are its share of the server's; of these it may lend some and borrow others' idle ones. A seat
that is free goes at once to whoever waits: first to the level's own queues, in turns, then to other levels
that may borrow it. A flow (a user's, a namespace's requests under one schema) is dealt a few of its level's
queues by its hash, and stands in the shortest: a flow that floods fills its own few.

Source: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#concepts.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any, Final

from skiff.api.errors import TooManyRequests

SEATS: Final = 600
"""Requests under way at once (--max-requests-inflight and --max-mutating-requests-inflight together)."""
WAIT_S: Final = 15.0
"""How long a request stands in a queue before it is refused."""
UNLIMITED: Final = 1 << 62


class Rejected(TooManyRequests):
    """No seat, and no place to wait for one. `why` is the metric's."""

    def __init__(self, reason: str) -> None:
        super().__init__("Too many requests, please try again later.", retry_after_s=1)
        self.why = reason


class Level:
    """One PriorityLevelConfiguration at work."""

    __slots__ = (
        "ceiling", "executing", "floor", "hand", "name", "places", "queues", "seats", "shares",
        "turns", "uid", "waiting",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.uid = ""
        self.shares = 0
        self.seats = UNLIMITED
        """What is its own: above that it borrows."""
        self.floor = 0
        """What it keeps whatever others ask for."""
        self.ceiling = UNLIMITED
        """The most that it may have with what it borrows."""
        self.executing = 0
        self.waiting = 0
        self.queues: list[deque[asyncio.Future[None]]] = []
        self.turns: deque[int] = deque()
        """The queues that hold somebody, in the order of their turns."""
        self.hand = 0
        self.places = 0
        """A queue's length at most."""

    def configure(self, obj: Mapping[str, Any], total_shares: int) -> None:
        """Take over what a PriorityLevelConfiguration says."""
        self.uid = obj["metadata"].get("uid", "")
        spec = obj["spec"]
        if spec.get("type") == "Exempt":
            self.seats, self.floor, self.ceiling = UNLIMITED, 0, UNLIMITED
            return
        limited = spec.get("limited") or {}
        self.shares = shares_of(obj)
        self.seats = ceil(SEATS * self.shares / total_shares) if total_shares else 0
        self.floor = self.seats - round(self.seats * limited.get("lendablePercent", 0) / 100)
        percent = limited.get("borrowingLimitPercent")
        self.ceiling = UNLIMITED if percent is None else self.seats + self.seats * percent // 100
        response = limited.get("limitResponse") or {}
        queuing = response.get("queuing") or {}
        count = queuing.get("queues", 64) if response.get("type") == "Queue" else 0
        self.hand = queuing.get("handSize", 8)
        self.places = queuing.get("queueLengthLimit", 50)
        if not self.waiting and count != len(self.queues):
            self.queues = [deque() for _ in range(count)]

    @property
    def exempt(self) -> bool:
        return self.seats == UNLIMITED


class Flow:
    """One FlowSchema at work."""

    __slots__ = (
        "dispatched", "distinguish", "executing", "headers", "level", "name", "rejected", "uid",
        "waiting",
    )  # fmt: skip

    def __init__(self, name: str, uid: str, level: Level, distinguish: str) -> None:
        self.name = name
        self.uid = uid
        self.level = level
        self.distinguish = distinguish
        self.headers = (
            ("X-Kubernetes-PF-FlowSchema-UID", uid),
            ("X-Kubernetes-PF-PriorityLevel-UID", level.uid),
        )
        self.dispatched = 0
        self.executing = 0
        self.waiting = 0
        self.rejected: dict[str, int] = {}


class Hall:
    """All levels, and who waits for their seats."""

    def __init__(self) -> None:
        self.levels: dict[str, Level] = {}
        self.waiting = 0

    def configure(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Take over the PriorityLevelConfigurations; what is under way goes on."""
        found = list(objects)
        total = sum(shares_of(o) for o in found)
        names = {o["metadata"]["name"] for o in found}
        for name in [n for n, lv in self.levels.items() if n not in names and not lv.waiting]:
            del self.levels[name]
        for obj in found:
            name = obj["metadata"]["name"]
            self.levels.setdefault(name, Level(name)).configure(obj, total)
        if self.waiting:
            self.dispatch()

    async def seat(self, flow: Flow, distinguished: str) -> None:
        """Take a seat for a request of `flow`, waiting for it if it must be. Raises Rejected."""
        level = flow.level
        if not level.waiting and self._free(level):
            level.executing += 1
            flow.executing += 1
            return
        try:
            await self._wait(flow, distinguished)
        except Rejected as e:
            flow.rejected[e.why] = flow.rejected.get(e.why, 0) + 1
            raise
        flow.executing += 1

    def leave(self, flow: Flow) -> None:
        """Give a seat back."""
        flow.executing -= 1
        flow.level.executing -= 1
        if self.waiting:
            self.dispatch()

    def dispatch(self) -> None:
        """Give free seats to those who wait."""
        for level in list(self.levels.values()):
            while level.waiting and self._free(level):
                waiter = _next(level)
                if waiter is None:
                    break
                level.executing += 1
                waiter.set_result(None)

    def _free(self, level: Level) -> bool:
        """Whether a level has a seat left, its own or one that others lend."""
        if level.executing < level.seats:
            return True
        if level.executing >= level.ceiling:
            return False
        others = sum(
            max(o.executing, o.floor)
            for o in self.levels.values()
            if o is not level and not o.exempt
        )
        return others + level.executing < SEATS

    async def _wait(self, flow: Flow, distinguished: str) -> None:
        """Stand in a queue until `dispatch` gives a seat. Raises Rejected."""
        level = flow.level
        if not level.queues:
            raise Rejected("concurrency-limit")
        deal = hand(flow.name, distinguished, len(level.queues), level.hand)
        index = min(deal, key=lambda i: len(level.queues[i]))
        queue = level.queues[index]
        if len(queue) >= level.places:
            raise Rejected("queue-full")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not queue:
            level.turns.append(index)
        queue.append(waiter)
        self._count(flow, 1)
        try:
            async with asyncio.timeout(WAIT_S):
                await waiter
        except BaseException as e:
            if waiter.done() and not waiter.cancelled():
                level.executing -= 1  # the seat came too late
                self.dispatch()
            else:
                queue.remove(waiter)
            if isinstance(e, TimeoutError):
                raise Rejected("time-out") from None
            raise
        finally:
            self._count(flow, -1)

    def _count(self, flow: Flow, by: int) -> None:
        self.waiting += by
        flow.waiting += by
        flow.level.waiting += by


def _next(level: Level) -> "asyncio.Future[None] | None":
    """Whose turn it is."""
    while level.turns:
        index = level.turns.popleft()
        queue = level.queues[index]
        while queue:
            waiter = queue.popleft()
            if not waiter.done():
                if queue:
                    level.turns.append(index)
                return waiter
    return None


def shares_of(obj: Mapping[str, Any]) -> int:
    """A level's share of the seats."""
    spec = obj["spec"]
    part = spec.get("exempt") if spec.get("type") == "Exempt" else spec.get("limited")
    default = 0 if spec.get("type") == "Exempt" else 30
    found: int = (part or {}).get("nominalConcurrencyShares", default)
    return found


def hand(schema: str, distinguished: str, queues: int, size: int) -> list[int]:
    """The queues that a flow is dealt: `size` different ones of `queues`, by its hash."""
    digest = hashlib.sha256(f"{len(schema)},{schema}{distinguished}".encode()).digest()
    value = int.from_bytes(digest[:16], "little")
    left = list(range(queues))
    out = []
    for _ in range(min(size, queues)):
        value, index = divmod(value, len(left))
        out.append(left.pop(index))
    return out
