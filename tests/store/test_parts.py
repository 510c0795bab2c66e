"""The pure parts of a local store, each against a simple twin."""

import struct
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.store import history, index, wal
from skiff.store.fanout import Fanout
from skiff.store.history import History
from skiff.store.index import KeyIndex, prefix_end
from skiff.store.mvcc import Mvcc, Row, obsolete
from skiff.store.protocol import Entry, Event

KEYS = st.text("ab/\U0010ffff", max_size=4)


def entry(key: str, revision: int = 1) -> Entry:
    return Entry(key, b"", revision, revision)


@given(
    st.lists(st.tuples(st.booleans(), KEYS), max_size=80),
    st.lists(KEYS),
    KEYS,
    KEYS,
    st.integers(0, 5),
)
def test_index_is_a_sorted_dict(steps, initial, low, high, limit):
    with mock.patch.object(index, "CHUNK_ENTRIES", 4):
        model = {key: entry(key) for key in initial}
        tested = KeyIndex(model[key] for key in sorted(model))
        for number, (adds, key) in enumerate(steps):
            if adds:
                model[key] = entry(key, number)
                tested.put(model[key])
            elif key in model:
                del model[key]
                tested.remove(key)
            assert len(tested) == len(model)
        for end in (high, None):
            inside = [model[k] for k in sorted(model) if low <= k and (end is None or k < end)]
            shown = inside[: limit or None]
            assert tested.range(low, end, limit) == (shown, len(inside) - len(shown))
            assert tested.count(low, end) == len(inside)
        sizes = [len(chunk) for chunk in tested._keys]
        assert all(0 < size <= 4 for size in sizes)


@given(KEYS, KEYS)
def test_prefix_end_bounds_exactly_the_prefix(prefix, key):
    end = prefix_end(prefix)
    assert key.startswith(prefix) == (key >= prefix and (end is None or key < end))


@given(st.lists(st.one_of(st.integers(0, 40), st.just("trim"), st.none()), max_size=120))
def test_history_is_the_list_of_events_after_the_compacted_revision(steps):
    with mock.patch.object(history, "SEGMENT_EVENTS", 4):
        tested = History(7, events_max=20, bytes_max=20 * 400)
        model: list[Event] = []
        for step in steps:
            if step is None:
                revision = tested.newest + 1
                previous = Entry("k", bytes(revision % 5 * 50), revision - 1, 1)
                tested.append(Event(revision, "k", b"", previous, meta=object()))
                model.append(Event(revision, "k", b"", previous))
                continue
            dropped = tested.trim() if step == "trim" else tested.drop(min(step, tested.newest))
            gone = [event for part in dropped for event in part]
            assert gone == model[: len(gone)]
            model = model[len(gone) :]
            if step == "trim":
                assert len(model) <= 20
                assert tested.cost <= tested.bytes_max
        assert list(tested.after(tested.compacted)) == model
        assert tested.newest - tested.compacted == len(model)
        for event in model:
            assert list(tested.after(event.revision)) == [
                e for e in model if e.revision > event.revision
            ]
        assert tested.cost == sum(
            history.EVENT_BYTES + len(e.previous.value) for e in model if e.previous
        )


@given(st.lists(KEYS, max_size=8), st.lists(KEYS, max_size=8), st.sets(st.integers(0, 7)))
def test_fanout_finds_the_watchers_by_prefix(prefixes, keys, closed):
    fanout = Fanout()
    seen: list[list[str]] = [[] for _ in prefixes]
    subscriptions = [
        fanout.add(prefix, lambda events, into=into: into.extend(e.key for e in events))
        for prefix, into in zip(prefixes, seen, strict=True)
    ]
    for number in closed & set(range(len(prefixes))):
        subscriptions[number].close()
        subscriptions[number].close()
    assert fanout.publish([Event(i, key, b"", None) for i, key in enumerate(keys)]) == []
    for number, prefix in enumerate(prefixes):
        expected = [] if number in closed else [key for key in keys if key.startswith(prefix)]
        assert seen[number] == expected
    for subscription in subscriptions:
        subscription.close()
    assert len(fanout) == 0
    assert not fanout._lengths


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([Row(12, "/a", 12, b"")], "revision 11 is missing"),
        ([Row(3, "/a", 3, b""), Row(11, "/b", 11, b""), Row(13, "/b", 11, b"")], "revision 12"),
        ([Row(3, "/a", 3, b""), Row(5, "/a", 3, b"")], "revision 5 should have been compacted"),
        ([Row(3, "/a", 0, None)], "revision 3 should have been compacted"),
        ([Row(11, "/a", 0, None)], "revision 11 deletes a key that does not exist"),
        ([Row(3, "/a", 3, b""), Row(11, "/a", 11, b"")], "revision 11 is of another creation"),
    ],
)
def test_restore_refuses_what_no_store_could_have_written(rows, message):
    with pytest.raises(ValueError, match=message):
        Mvcc(lambda value, _: value).restore(10, rows)


def test_rows_that_nothing_needs_are_obsolete():
    before = Entry("/a", b"", 3, 3)
    events = [
        Event(7, "/a", b"", before),
        Event(8, "/b", b"", None),
        Event(9, "/b", None, Entry("/b", b"", 8, 8)),
    ]
    assert obsolete(events) == [3, 8, 9]


def log_of(frames: list[int], salt: bytes = b"saltsalt", magic: int = 0x377F0682) -> bytes:
    """A log whose frames end a transaction where the number (the database's size) is not 0."""
    head = struct.pack(">4I", magic, 3007000, 512, 0) + salt
    first = second = 0
    words = struct.unpack("<6I" if magic == 0x377F0682 else ">6I", head)
    for i in range(0, 6, 2):
        first = (first + words[i] + second) % 2**32
        second = (second + words[i + 1] + first) % 2**32
    body = b"".join(struct.pack(">2I", 1, size) + salt + bytes(8 + 512) for size in frames)
    return head + struct.pack(">2I", first, second) + body


@pytest.mark.parametrize("magic", [0x377F0682, 0x377F0683])
@pytest.mark.parametrize(
    ("frames", "valid", "damaged"),
    [
        ([], 0, False),
        ([5, 5], 2, False),
        ([5, 0], 1, False),  # an interrupted transaction
        ([5, 0, 5], 1, False),  # the last one, torn
        ([5, 5, 5], 1, True),  # torn in the middle: the next had begun
        ([5, 0, 5, 0], 1, True),
        ([5, 0, 0], 0, True),
    ],
)
def test_a_torn_end_is_told_from_damage(magic, frames, valid, damaged):
    log = log_of(frames, magic=magic)
    read = lambda offset, length: log[offset : offset + length]  # noqa: E731
    assert bool(wal.damage(read, len(log), 512, valid)) == damaged
    stale = log + log_of([5, 5, 5], salt=b"olderold")[32:]
    read = lambda offset, length: stale[offset : offset + length]  # noqa: E731
    assert bool(wal.damage(read, len(stale), 512, valid)) == damaged


@given(st.integers(0, 31), st.integers(1, 255))
def test_a_damaged_header_is_seen(at, flip):
    log = bytearray(log_of([5]))
    log[at] ^= flip
    assert wal.damage(lambda o, n: bytes(log[o : o + n]), len(log), 512, 0)
    assert not wal.damage(lambda o, n: b"", 0, 512, 0)
