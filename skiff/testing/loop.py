"""An event loop whose time is virtual: when nothing is ready, it jumps to the next timer.

Everything that waits through asyncio (sleeps, timeouts, `call_later`) obeys it, so an hour of a
cluster's life takes as long as its work does, and the same program does the same things in the same
order. No real I/O and no threads: what would wait for the outside world for ever is reported.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

TURNS_MAX = 500_000
"""More turns of the loop at one moment of virtual time are an endless loop."""


class NothingLeft(RuntimeError):
    """Every task waits for something that no timer will bring about: the program is stuck."""


class Spinning(RuntimeError):
    """Tasks wake each other for ever, and time does not pass."""


class _NoInput(selectors.BaseSelector):
    """A selector on which nothing ever happens; waiting moves the clock."""

    def __init__(self, advance: Callable[[float], None]) -> None:
        self._advance = advance
        self._keys: dict[Any, selectors.SelectorKey] = {}
        self._turns = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, 0, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise NothingLeft("all tasks wait, and no timer is set")
        if timeout > 0:
            self._advance(timeout)
            self._turns = 0
        else:
            self._turns += 1
            if self._turns > TURNS_MAX:
                self._turns = 0
                raise Spinning(f"{TURNS_MAX} turns of the loop at one moment")
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module's text. Time starts at 0."""

    def __init__(self) -> None:
        self._virtual_time = 0.0
        super().__init__(_NoInput(self._advance))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual_time

    def _advance(self, seconds: float) -> None:
        self._virtual_time += seconds

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> NoReturn:  # type: ignore[override] # what takes nothing gives nothing
        """Refused: threads know no virtual time."""
        del executor, func, args
        raise RuntimeError("a virtual loop has no threads")


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on a virtual loop, as `asyncio.run` does on a real one."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
