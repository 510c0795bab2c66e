"""How long a large object waits for more changes before it is looked at. Pure.

Each look costs time in proportion to the number of pods behind the object, and pods change in
crowds. Waiting in proportion as well bounds the share of time that goes into looking, whatever the
size; objects with few pods are looked at at once.
"""

from typing import Final

AT_ONCE: Final = 10
PER_POD_S: Final = 0.0001
MOST_S: Final = 0.5


def settle_s(pods: int) -> float:
    """Seconds to wait for an object with so many pods: 0 up to 10, 0.05 for 500."""
    return 0.0 if pods <= AT_ONCE else min(pods * PER_POD_S, MOST_S)
