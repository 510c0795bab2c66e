"""What a controller did and has not seen yet: it must not act on a cache that lags. Pure.

Before creating or deleting pods, a controller notes how many to expect; each one that the informer
shows is ticked off. Only when all are seen (or five minutes passed: something was missed) may it
act again for the same owner. Creations are counted, deletions are named, because a pod that is
being deleted changes several times.

Source: kubernetes pkg/controller `ControllerExpectations` (behaviour).
"""

from dataclasses import dataclass, field
from typing import Final

EXPIRE_AFTER_S: Final = 300.0


@dataclass(slots=True)
class _Expected:
    creations: int = 0
    deletions: set[str] = field(default_factory=set)
    since: float = 0.0


class Expectations:
    """By the owner's uid."""

    def __init__(self) -> None:
        self._expected: dict[str, _Expected] = {}

    def expect(
        self, owner: str, now: float, *, creations: int = 0, deletions: frozenset[str] = frozenset()
    ) -> None:
        """From now on expect these: the count of pods created, the uids of pods deleted."""
        self._expected[owner] = _Expected(creations, set(deletions), now)

    def created(self, owner: str, count: int = 1) -> None:
        """Pods were seen, or will never come."""
        if (expected := self._expected.get(owner)) is not None:
            expected.creations -= count

    def deleted(self, owner: str, uid: str) -> None:
        """A pod's deletion was seen, or will never come."""
        if (expected := self._expected.get(owner)) is not None:
            expected.deletions.discard(uid)

    def forget(self, owner: str) -> None:
        """The owner is gone."""
        self._expected.pop(owner, None)

    def satisfied(self, owner: str, now: float) -> bool:
        """Whether everything expected was seen."""
        expected = self._expected.get(owner)
        if expected is None:
            return True
        if (expected.creations <= 0 and not expected.deletions) or (
            now - expected.since > EXPIRE_AFTER_S
        ):
            del self._expected[owner]
            return True
        return False
