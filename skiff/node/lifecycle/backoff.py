"""How long to wait before trying again: crashed containers and images that cannot be pulled.

A delay starts at 10 s and doubles up to 5 minutes. What then worked for 10 minutes starts anew.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy
"""

from dataclasses import dataclass

BASE_S = 10.0
CAP_S = 300.0
RESET_AFTER_S = 600.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One key's delay, and when it was last lengthened."""

    delay_s: float
    updated_at: float


class Backoffs:
    """Delays by key. `since` is when the last try ended."""

    def __init__(self, base_s: float = BASE_S, cap_s: float = CAP_S) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._entries: dict[str, Entry] = {}

    def until(self, key: str, since: float) -> float:
        """When the next try may be made (a time in the past: now)."""
        entry = self._current(key, since)
        return since + entry.delay_s if entry else 0.0

    def delay_s(self, key: str) -> float:
        """The key's delay as it stands."""
        entry = self._entries.get(key)
        return entry.delay_s if entry else 0.0

    def next(self, key: str, now: float, since: float | None = None) -> None:
        """A try is made, or has failed, now: the next waits longer."""
        entry = self._current(key, now if since is None else since)
        delay = min(entry.delay_s * 2, self._cap_s) if entry else self._base_s
        self._entries[key] = Entry(delay, now)

    def forget(self, key: str) -> None:
        """It worked."""
        self._entries.pop(key, None)

    def _current(self, key: str, since: float) -> Entry | None:
        entry = self._entries.get(key)
        return entry if entry and since - entry.updated_at <= RESET_AFTER_S else None


def go_duration(seconds: float) -> str:
    """Whole seconds as Go prints a duration: `10s`, `2m40s`, `1h0m0s`."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{secs}s"
    return f"{minutes}m{secs}s" if minutes else f"{secs}s"
