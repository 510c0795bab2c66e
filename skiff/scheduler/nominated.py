"""Pods that room was made for, and that wait until it is free: they count on their nodes meanwhile, so
that nobody less important takes the room. Pure.
Source: https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/#user-exposed-information
"""

from collections.abc import Iterator
from contextlib import contextmanager

from skiff.scheduler.nodes import Nodes
from skiff.scheduler.shape import Shape

PREFIX = "nominated:"


class Nominations:
    """Invariant: a nomination is placed on its node under PREFIX + key, except within `aside`."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._made: dict[str, tuple[Shape, str]] = {}

    def __len__(self) -> int:
        return len(self._made)

    def node_of(self, key: str) -> str:
        """Where the pod is nominated; empty for nowhere."""
        made = self._made.get(key)
        return made[1] if made else ""

    def make(self, key: str, shape: Shape, node: str) -> None:
        """The pod waits for room on `node`."""
        self._made[key] = (shape, node)
        self._nodes.place(PREFIX + key, shape, node, "")

    def drop(self, key: str) -> None:
        """The pod waits no more."""
        if self._made.pop(key, None) is not None:
            self._nodes.take(PREFIX + key)

    def place_again(self, node: str) -> None:
        """The node has come (back)."""
        for key, (shape, name) in self._made.items():
            if name == node:
                self._nodes.place(PREFIX + key, shape, name, "")

    def on(self, node: str, below: int) -> list[str]:
        """Keys nominated on `node` with a lower priority than `below`: they lose the room."""
        return [k for k, (s, n) in self._made.items() if n == node and s.priority < below]

    @contextmanager
    def aside(self, key: str, priority: int) -> Iterator[None]:
        """While a pod is decided, its own nomination and those below its priority do not count."""
        if not self._made:
            yield
            return
        lifted = [k for k, (s, _) in self._made.items() if k == key or s.priority < priority]
        for other in lifted:
            self._nodes.take(PREFIX + other)
        try:
            yield
        finally:
            for other in lifted:
                shape, node = self._made[other]
                self._nodes.place(PREFIX + other, shape, node, "")
