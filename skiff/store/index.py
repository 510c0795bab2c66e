"""Live entries in key order: a list of short sorted lists.

An insert shifts at most one chunk, a range is a few slices glued together, so that both stay in
microseconds with hundreds of thousands of keys. Entries lie beside their keys: a listing touches no
dictionary.
"""

from bisect import bisect_left
from collections.abc import Iterable

from skiff.store.protocol import Entry

CHUNK_ENTRIES = 1024
"""A chunk that grows beyond this is split in two; one below a quarter joins its neighbour."""

_Position = tuple[int, int]


class KeyIndex:
    """Invariants: no chunk is empty; `_last[i]` is the greatest key of chunk i; keys strictly ascend."""

    __slots__ = ("_entries", "_keys", "_last", "_size")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Starts with `entries`, which must come in key order without duplicates."""
        everything = list(entries)
        half = CHUNK_ENTRIES // 2
        self._entries = [everything[i : i + half] for i in range(0, len(everything), half)]
        self._keys = [[entry.key for entry in chunk] for chunk in self._entries]
        self._last = [keys[-1] for keys in self._keys]
        self._size = len(everything)

    def __len__(self) -> int:
        return self._size

    def put(self, entry: Entry) -> None:
        """Add `entry`, or replace the one under the same key."""
        key = entry.key
        if not self._last:
            self._keys.append([key])
            self._entries.append([entry])
            self._last.append(key)
            self._size = 1
            return
        i = bisect_left(self._last, key)
        if i == len(self._last):
            i -= 1
            self._last[i] = key
        keys, entries = self._keys[i], self._entries[i]
        j = bisect_left(keys, key)
        if j < len(keys) and keys[j] == key:
            entries[j] = entry
            return
        keys.insert(j, key)
        entries.insert(j, entry)
        self._size += 1
        if len(keys) > CHUNK_ENTRIES:
            self._split(i)

    def remove(self, key: str) -> None:
        """Take out `key`, which must be there."""
        i = bisect_left(self._last, key)
        keys, entries = self._keys[i], self._entries[i]
        j = bisect_left(keys, key)
        assert keys[j] == key, key
        del keys[j], entries[j]
        self._size -= 1
        if not keys:
            del self._keys[i], self._entries[i], self._last[i]
            return
        self._last[i] = keys[-1]
        if len(keys) < CHUNK_ENTRIES // 4 and len(self._keys) > 1:
            self._join(i if i + 1 < len(self._keys) else i - 1)

    def range(self, low: str, high: str | None, limit: int = 0) -> tuple[list[Entry], int]:
        """Entries with low <= key < high (None: no end), at most `limit` (0: all), and how many
        were cut."""
        first, end = self._position(low), self._end(high)
        total = self._count(first, end)
        if not 0 < limit < total:
            return self._slice(first, end), 0
        (i, j), left = first, limit
        found: list[Entry] = []
        while left > 0:
            part = self._entries[i][j : j + left]
            found += part
            left -= len(part)
            i, j = i + 1, 0
        return found, total - limit

    def count(self, low: str, high: str | None) -> int:
        """How many keys lie in low <= key < high."""
        return self._count(self._position(low), self._end(high))

    def _position(self, key: str) -> _Position:
        i = bisect_left(self._last, key)
        return (i, bisect_left(self._keys[i], key)) if i < len(self._keys) else (i, 0)

    def _end(self, high: str | None) -> _Position:
        return (len(self._keys), 0) if high is None else self._position(high)

    def _count(self, first: _Position, end: _Position) -> int:
        (i, j), (k, m) = first, end
        if i >= k:
            return max(m - j, 0) if i == k else 0
        return sum(map(len, self._keys[i:k])) - j + m

    def _slice(self, first: _Position, end: _Position) -> list[Entry]:
        (i, j), (k, m) = first, end
        if i >= k:
            return self._entries[i][j:m] if i == k and i < len(self._entries) else []
        found = self._entries[i][j:]
        for chunk in self._entries[i + 1 : k]:
            found += chunk
        if m:
            found += self._entries[k][:m]
        return found

    def _split(self, i: int) -> None:
        half = len(self._keys[i]) // 2
        self._keys.insert(i + 1, self._keys[i][half:])
        self._entries.insert(i + 1, self._entries[i][half:])
        del self._keys[i][half:], self._entries[i][half:]
        self._last.insert(i, self._keys[i][-1])

    def _join(self, i: int) -> None:
        """Join chunk i and the one after it, if they fit in one."""
        if len(self._keys[i]) + len(self._keys[i + 1]) > CHUNK_ENTRIES:
            return
        self._keys[i] += self._keys.pop(i + 1)
        self._entries[i] += self._entries.pop(i + 1)
        del self._last[i]


def prefix_end(prefix: str) -> str | None:
    """The least string above all that start with `prefix`; None where there is none."""
    trimmed = prefix.rstrip("\U0010ffff")
    return trimmed[:-1] + chr(ord(trimmed[-1]) + 1) if trimmed else None
