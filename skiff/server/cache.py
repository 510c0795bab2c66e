"""Every live object's bytes, indexed: what gets, lists and watches are served from.

A `Cache` follows the store with one subscription and keeps one `Index` per stored resource. An index
holds an `Item` per object (key, stamped bytes, revision) and its keys in order, so that a get is a
dictionary look-up and a list is a slice. Labels and selectable fields are worked out once: by the
writer, who hands them along with the commit, or on the first selector that asks (so that start-up
decodes nothing). Exact-match labels and the fields in `POSTED_FIELDS` have posting lists, built when
first used and kept up from then on.

Nothing here waits and nothing touches the disk. Objects become visible here when they are durable.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import orjson

from skiff.store.protocol import Event, Store

Selectable = Callable[[dict[str, Any]], Mapping[str, str]]
Fields = Mapping[str, str]

POSTED_FIELDS = ("spec.nodeName",)
"""Fields, beside the labels, on which an index keeps posting lists."""

_NO_LABELS: dict[str, str] = {}
_NO_FIELDS: dict[str, str] = {}


class Extract(NamedTuple):
    """What the writer knows of the object that it commits: spares the index from decoding it."""

    labels: Mapping[str, str]
    fields: Fields


class Item:
    """One live object."""

    __slots__ = ("fields", "key", "labels", "revision", "value")

    def __init__(
        self,
        key: str,
        value: bytes,
        revision: int,
        labels: Mapping[str, str] | None = None,
        fields: Fields | None = None,
    ) -> None:
        self.key = key
        self.value = value
        self.revision = revision
        self.labels = labels
        self.fields = fields


class Change(NamedTuple):
    """One visible write of one object. `new` is None for a delete, `old` None for a create."""

    revision: int
    old: Item | None
    new: Item | None


class _Meta(msgspec.Struct):
    labels: dict[str, str] | None = None


class _Labelled(msgspec.Struct):
    metadata: _Meta


_decode_labelled = msgspec.json.Decoder(_Labelled).decode


def storage_prefix(storage: tuple[str, str]) -> str:
    """The store's key prefix of a resource: `/core/pods/`, `/apps/deployments/`."""
    group, plural = storage
    return f"/{group or 'core'}/{plural}/"


class Index:
    """The live objects of one stored resource. `changed` is the revision of its newest change."""

    def __init__(self, storage: tuple[str, str], selectable: Selectable | None = None) -> None:
        self.storage = storage
        self.prefix = storage_prefix(storage)
        self.items: dict[str, Item] = {}
        self.keys: list[str] = []
        self.changed = 0
        self.selectable: Selectable | None = selectable
        self.snapshots: dict[Any, Any] = {}
        """Answers worked out for the present content (`listing.py`); emptied by every change."""
        self.sinks: list[Callable[[Sequence[Change]], None]] = []
        self._labels: dict[tuple[str, str], dict[str, Item]] | None = None
        self._fields: dict[str, dict[str, dict[str, Item]]] = {}

    def key(self, namespace: str, name: str) -> str:
        """The store's key of an object; `namespace` is empty for cluster scope."""
        return f"{self.prefix}{namespace}/{name}" if namespace else self.prefix + name

    def names(self, key: str) -> tuple[str, str]:
        """(namespace, name) of a key."""
        namespace, _, name = key[len(self.prefix) :].rpartition("/")
        return namespace, name

    def get(self, namespace: str, name: str) -> Item | None:
        return self.items.get(self.key(namespace, name))

    def range(self, namespace: str = "", start: str = "") -> tuple[int, int]:
        """The slice of `keys` under a namespace (all if empty), from key `start` on."""
        keys = self.keys
        if not namespace:
            return (bisect_left(keys, start) if start else 0), len(keys)
        prefix = f"{self.prefix}{namespace}/"
        low = bisect_left(keys, max(prefix, start))
        return low, bisect_left(keys, f"{self.prefix}{namespace}0", low)

    # --- labels and fields -----------------------------------------------------------------

    def labels_of(self, item: Item) -> Mapping[str, str]:
        """An item's labels, read from its bytes the first time."""
        labels = item.labels
        if labels is None:
            labels = item.labels = _decode_labelled(item.value).metadata.labels or _NO_LABELS
        return labels

    def fields_of(self, item: Item) -> Fields:
        """An item's selectable fields beyond its name and namespace."""
        fields = item.fields
        if fields is None:
            fields = _NO_FIELDS
            if self.selectable is not None:
                fields = self.selectable(orjson.loads(item.value))
            item.fields = fields
        return fields

    def labelled(self, key: str, value: str) -> Mapping[str, Item]:
        """The objects that carry one label, by key (in no order)."""
        postings = self._labels
        if postings is None:
            postings = self._labels = {}
            for item in self.items.values():
                self._post_labels(item)
        return postings.get((key, value), {})

    def with_field(self, field: str, value: str) -> Mapping[str, Item]:
        """The objects with one value of a field of POSTED_FIELDS."""
        postings = self._fields.get(field)
        if postings is None:
            postings = self._fields[field] = {}
            for item in self.items.values():
                postings.setdefault(self.fields_of(item).get(field, ""), {})[item.key] = item
        return postings.get(value, {})

    def _post_labels(self, item: Item) -> None:
        assert self._labels is not None
        for pair in self.labels_of(item).items():
            posting = self._labels.get(pair)
            if posting is None:
                self._labels[pair] = {item.key: item}
            else:
                posting[item.key] = item

    def _unpost(self, item: Item) -> None:
        if self._labels is not None:
            for pair in self.labels_of(item).items():
                posting = self._labels[pair]
                del posting[item.key]
                if not posting:
                    del self._labels[pair]
        for field, postings in self._fields.items():
            value = self.fields_of(item).get(field, "")
            posting = postings[value]
            del posting[item.key]
            if not posting:
                del postings[value]

    def _post(self, item: Item) -> None:
        if self._labels is not None:
            self._post_labels(item)
        for field, postings in self._fields.items():
            value = self.fields_of(item).get(field, "")
            postings.setdefault(value, {})[item.key] = item

    # --- changes ---------------------------------------------------------------------------

    def load(self, items: Iterable[Item]) -> None:
        """Take in objects at start-up, in key order."""
        for item in items:
            self.items[item.key] = item
            self.keys.append(item.key)

    def apply(self, event: Event) -> Change:
        """Take in one write; returns it as a change."""
        key = event.key
        old = self.items.get(key)
        posted = self._labels is not None or bool(self._fields)
        if old is not None and posted:
            self._unpost(old)
        if event.value is None:
            new = None
            if old is not None:
                del self.items[key]
                at = bisect_left(self.keys, key)
                del self.keys[at]
        else:
            extract: Extract | None = event.meta
            new = (
                Item(key, event.value, event.revision, extract.labels, extract.fields)
                if extract is not None
                else Item(key, event.value, event.revision)
            )
            self.items[key] = new
            if old is None:
                insort(self.keys, key)
            if posted:
                self._post(new)
        self.changed = event.revision
        return Change(event.revision, old, new)


class Cache:
    """The indexes of all stored resources, kept up with the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._indexes: dict[str, Index] = {}
        self.revision = store.revision
        """The revision up to which the indexes are current."""
        self.applied: list[Callable[[], None]] = []
        """Called after each batch is in (waiting readers, watch fan-out)."""
        self.on_failure: Callable[[Exception], None] | None = None
        """Told that a change could not be taken in, or that one of `sinks` failed: our own bug, after
        which the indexes stand still. Whoever runs the server has to end it."""
        self._load()
        self._watch = store.watch("/", self.revision, self._take)

    def of(self, storage: tuple[str, str]) -> Index:
        """The index of a (group, plural); empty where nothing is stored."""
        name = f"{storage[0] or 'core'}/{storage[1]}"
        index = self._indexes.get(name)
        if index is None:
            index = self._indexes[name] = Index(storage)
            index.changed = self.revision
        return index

    def counts(self) -> dict[tuple[str, str], int]:
        """How many objects are stored of each (group, plural)."""
        return {i.storage: len(i.items) for i in self._indexes.values()}

    def close(self) -> None:
        """Stop following the store."""
        self._watch.close()

    def _load(self) -> None:
        page = self._store.list("/")
        self.revision = page.revision
        loaded: dict[str, list[Item]] = {}
        for entry in page.entries:
            item = Item(entry.key, entry.value, entry.revision)
            loaded.setdefault(_resource_part(entry.key), []).append(item)
        for name, items in loaded.items():
            group, _, plural = name.partition("/")
            index = self._indexes[name] = Index(("" if group == "core" else group, plural))
            index.load(items)
            index.changed = self.revision

    def _take(self, events: Sequence[Event]) -> None:
        try:
            self._apply(events)
        except Exception as e:
            if self.on_failure is not None:
                self.on_failure(e)
            raise

    def _apply(self, events: Sequence[Event]) -> None:
        batches: dict[Index, list[Change]] = {}
        for event in events:
            index = self._indexes.get(_resource_part(event.key))
            if index is None:
                group, plural = _resource_part(event.key).split("/")
                index = self.of(("" if group == "core" else group, plural))
            batch = batches.get(index)
            if batch is None:
                batch = batches[index] = []
            batch.append(index.apply(event))
        if events:
            self.revision = events[-1].revision
        for index, batch in batches.items():
            index.snapshots.clear()
            for sink in tuple(index.sinks):
                sink(batch)
        for call in tuple(self.applied):
            call()


def _resource_part(key: str) -> str:
    """`core/pods` of `/core/pods/default/web`."""
    return key[1 : key.index("/", key.index("/", 1) + 1)]
