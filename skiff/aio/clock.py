"""Time, as a thing that is handed in.

Every component reads time and sleeps through a `Clock`. The real clock follows the machine; the
loop clock follows the running event loop, whose own time may be virtual (`skiff.testing`), so that
asyncio's timers, timeouts and sleeps all obey the same time.

This module is the one place that calls `time.time` and `asyncio.sleep`.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What time it is, and how to wait."""

    def now(self) -> float:
        """Seconds since the Unix epoch."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` (0 yields to the loop once)."""


class RealClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class LoopClock:
    """The running event loop's own time, counted from `epoch` (Unix seconds): virtual where the loop is."""

    def __init__(self, epoch: float) -> None:
        self._epoch = epoch

    def now(self) -> float:
        return self._epoch + self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def rfc3339(seconds: float) -> str:
    """`seconds` since the epoch as Kubernetes writes `metav1.Time`: `2026-01-31T09:08:07Z`."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(seconds: float) -> str:
    """`seconds` since the epoch as Kubernetes writes `metav1.MicroTime`, six decimals."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time; raises ValueError where it is none."""
    return datetime.fromisoformat(text).timestamp()
