"""Waiting longer after each failure. Pure: the caller waits and hands in the randomness.

Source: client-go `workqueue` item exponential limiter and `wait.Backoff` (factor, cap, jitter).
"""

from dataclasses import dataclass

from skiff.aio.entropy import Entropy

MAX_DOUBLINGS = 62


@dataclass(frozen=True, slots=True)
class Backoff:
    """`base_s`, then `factor` times more after each failure, never above `cap_s`; `jitter` is the
    share by which a delay is lengthened at most (0: exact)."""

    base_s: float = 0.005
    cap_s: float = 120.0
    factor: float = 2.0
    jitter: float = 0.0

    def delay_s(self, failures: int, entropy: Entropy | None = None) -> float:
        """How long to wait after `failures` failures in a row (1 is the first)."""
        exact = min(self.base_s * self.factor ** min(failures - 1, MAX_DOUBLINGS), self.cap_s)
        return entropy.jitter(exact, self.jitter) if entropy and self.jitter else exact
