"""Lists: which objects, as of when, in which slice, as blocks of bytes to be written as they are.

The objects' bytes are joined in blocks. While nothing changes, a list that is asked for again is
answered from the blocks joined before (`Index.snapshots`). A page's continue token holds the
revision of its first page: the rest is served as of that revision, from the live index where nothing
changed since, else from the store's history.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/ (resource versions, chunks).
"""

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from skiff.api.errors import BadRequest, Cause, Expired, Timeout
from skiff.api.selectors import FieldSelector
from skiff.server.cache import POSTED_FIELDS, Index, Item
from skiff.server.options import ListOptions, list_revision_of
from skiff.store.protocol import Compacted, FutureRevision, Store

BLOCK_BYTES = 131_072
SNAPSHOT_BYTES = 32 * 1024 * 1024
"""A joined list larger than this is not kept."""
SNAPSHOTS_MAX = 32
"""Joined lists kept of one resource; when full, all are dropped."""
ANY = -1
"""As a token's revision: continue from now, consistent with nothing."""

_PAGE_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start "
    "a new list without the continue parameter, or use the continue token in this response to "
    "retrieve the remainder of the results. Continuing with the provided token results in an "
    "inconsistent list - objects that were created, modified, or deleted between the time the first "
    "chunk was returned and now may show up in the list."
)
_REVISION_TOO_OLD = "The resourceVersion for the provided list is too old."


class ExpiredToken(Expired):
    """410 that carries a token with which the client may go on inconsistently."""

    def __init__(self, message: str, token: str = "") -> None:
        super().__init__(message)
        self.token = token

    def status(self) -> dict[str, Any]:
        body = super().status()
        if self.token:
            body["metadata"] = {"continue": self.token}
        return body


class Page(NamedTuple):
    """A list: `items` in key order as of `revision`; `next_key` is where the next page starts
    ("" at the end), `remaining` what is left then (None where a selector hides it)."""

    items: Sequence[Item]
    revision: int
    next_key: str
    remaining: int | None


class Joined(NamedTuple):
    """A page as blocks of JSON, comma-separated objects."""

    blocks: tuple[bytes, ...]
    revision: int
    next_key: str
    remaining: int | None

    @property
    def size(self) -> int:
        """Bytes of all blocks."""
        return sum(map(len, self.blocks))


def too_large(wanted: int, current: int) -> Timeout:
    """The error for a resourceVersion that does not exist yet."""
    return Timeout(
        f"Timeout: Too large resource version: {wanted}, current: {current}",
        causes=[Cause("ResourceVersionTooLarge", "Too large resource version")],
        retry_after_s=1,
    )


def encode_token(revision: int, start: str) -> str:
    """A continue token: opaque to clients, in Kubernetes' form."""
    raw = orjson.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": start + "\0"})
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_token(token: str) -> tuple[int, str]:
    """(revision, start) of a continue token. Raises BadRequest."""
    try:
        raw = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        version, revision, start = raw["v"], raw["rv"], raw["start"]
    except (ValueError, binascii.Error, TypeError, KeyError):
        raise _bad_token("illegal base64 data or JSON") from None
    if version != "meta.k8s.io/v1" or type(revision) is not int or type(start) is not str:
        raise _bad_token(f"server does not recognize this encoded version {version}")
    if not start or start.startswith("/") or ".." in start.split("/"):
        raise _bad_token(f'invalid start key: "{start}"')
    if revision == 0:
        raise _bad_token("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    return revision, start


def _bad_token(why: str) -> BadRequest:
    return BadRequest(f"invalid continue token: continue key is not valid: {why}")


class Lister:
    """Answers lists over one store's indexes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def joined(self, index: Index, namespace: str, options: ListOptions, current: int) -> Joined:
        """The page that `options` ask for, as blocks. Raises Expired, Timeout, BadRequest."""
        revision, start = self._point(options)
        if revision > current:
            raise too_large(revision, current)
        live = self._is_live(index, options, revision)
        key = (namespace, str(options.labels), options.fields, start, options.limit)
        if live:
            known = index.snapshots.get(key)
            if known is not None:
                return Joined(known.blocks, self._answer(options, revision, current), *known[2:])
            asked = index.snapshots.get(("asked", key))
        page = self._page(index, namespace, options, start, revision, live)
        joined = Joined(
            _join(page.items),
            self._answer(options, revision, current) if live else page.revision,
            page.next_key,
            page.remaining,
        )
        if live:
            self._keep(index, key, joined, asked=bool(asked))
        return joined

    def page(self, index: Index, namespace: str, options: ListOptions, current: int) -> Page:
        """The same as items, for what has to look at each object."""
        revision, start = self._point(options)
        if revision > current:
            raise too_large(revision, current)
        live = self._is_live(index, options, revision)
        page = self._page(index, namespace, options, start, revision, live)
        if live:
            return page._replace(revision=self._answer(options, revision, current))
        return page

    def token(self, index: Index, page: Page | Joined) -> str:
        """The continue token behind a page, "" at the end."""
        if not page.next_key:
            return ""
        return encode_token(page.revision, page.next_key[len(index.prefix) :])

    def _point(self, options: ListOptions) -> tuple[int, str]:
        """The revision asked for (0: now) and the key to start behind ("" for the first)."""
        if not options.token:
            return list_revision_of(options.revision), ""
        if options.revision not in ("", "0"):
            raise BadRequest("specifying resource version is not allowed when using continue")
        return decode_token(options.token)

    def _is_live(self, index: Index, options: ListOptions, revision: int) -> bool:
        """Whether the present content is the answer."""
        if revision <= 0 or revision >= index.changed:
            return True
        if options.token or options.match == "Exact":
            return False
        # A revision with a limit and no match means that revision exactly (older clients' paging).
        return options.match == "NotOlderThan" or not options.limit

    def _answer(self, options: ListOptions, revision: int, current: int) -> int:
        """The revision that a live answer is labelled with: pages keep their first page's."""
        if revision > 0 and (options.token or options.match == "Exact"):
            return revision
        return current

    def _page(
        self,
        index: Index,
        namespace: str,
        options: ListOptions,
        start: str,
        revision: int,
        live: bool,
    ) -> Page:
        begin = index.prefix + start if start else ""
        if live:
            return _select_live(index, namespace, options, begin)
        prefix = f"{index.prefix}{namespace}/" if namespace else index.prefix
        try:
            found = self._store.list(prefix, start=begin, revision=revision)
        except Compacted:
            if options.token:
                raise ExpiredToken(_PAGE_TOO_OLD, encode_token(ANY, start.rstrip("\0"))) from None
            raise ExpiredToken(_REVISION_TOO_OLD) from None
        except FutureRevision:
            raise too_large(revision, self._store.revision) from None
        items = [Item(e.key, e.value, e.revision) for e in found.entries]
        return _cut(_filter(index, items, options), options, revision)

    def _keep(self, index: Index, key: Any, joined: Joined, *, asked: bool) -> None:
        """Keep a joined list on its second use; the first only leaves a mark."""
        snapshots = index.snapshots
        if len(snapshots) >= SNAPSHOTS_MAX:
            snapshots.clear()
        kept = sum(s.size for s in snapshots.values() if isinstance(s, Joined))
        if asked and kept + joined.size <= SNAPSHOT_BYTES:
            snapshots[key] = joined
        else:
            snapshots["asked", key] = True


def _join(items: Sequence[Item]) -> tuple[bytes, ...]:
    """The objects' bytes, comma-separated, in blocks of about BLOCK_BYTES."""
    blocks: list[bytes] = []
    batch: list[bytes] = []
    size = 0
    for item in items:
        value = item.value
        batch.append(value)
        size += len(value)
        if size >= BLOCK_BYTES:
            blocks.append(b",".join(batch))
            batch = []
            size = 0
    if batch:
        blocks.append(b",".join(batch))
    return tuple(blocks)


def _select_live(index: Index, namespace: str, options: ListOptions, begin: str) -> Page:
    """A page of the present content."""
    limit = options.limit
    if options.labels.everything and options.fields.everything:
        low, high = index.range(namespace, begin)
        cut = min(high, low + limit) if limit > 0 else high
        items = index.items
        chosen = [items[k] for k in index.keys[low:cut]]
        more = cut < high
        return Page(chosen, 0, index.keys[cut - 1] if more else "", high - cut if more else None)
    return _cut(_filter(index, _candidates(index, namespace, options, begin), options), options, 0)


def _cut(items: list[Item], options: ListOptions, revision: int) -> Page:
    limit = options.limit
    if limit <= 0 or len(items) <= limit:
        return Page(items, revision, "", None)
    plain = options.labels.everything and options.fields.everything
    remaining = len(items) - limit if plain else None
    return Page(items[:limit], revision, items[limit - 1].key, remaining)


def _candidates(index: Index, namespace: str, options: ListOptions, begin: str) -> Iterable[Item]:
    """The fewest objects, in key order, among which the selected ones are."""
    name = options.fields.exact("metadata.name")
    within = options.fields.exact("metadata.namespace")
    if name and (namespace or within or "/" not in _sample(index)):
        item = index.items.get(index.key(namespace or within or "", name))
        return [item] if item is not None and item.key >= begin else []
    postings = [index.labelled(*pair) for pair in options.labels.equalities]
    for field in POSTED_FIELDS:
        value = options.fields.exact(field)
        if value is not None:
            postings.append(index.with_field(field, value))
    if postings:
        smallest = min(postings, key=len)
        low = max(begin, f"{index.prefix}{namespace}/" if namespace else "")
        high = f"{index.prefix}{namespace}0" if namespace else "\U0010ffff"
        return [smallest[k] for k in sorted(smallest) if low <= k < high]
    at, end = index.range(namespace, begin)
    items = index.items
    return [items[k] for k in index.keys[at:end]]


def _sample(index: Index) -> str:
    """The name part of some key: tells whether the resource is namespaced."""
    return index.keys[0][len(index.prefix) :] if index.keys else "/"


def _filter(index: Index, items: Iterable[Item], options: ListOptions) -> list[Item]:
    labels, fields = options.labels, options.fields
    chosen = list(items)
    if not labels.everything:
        chosen = [i for i in chosen if labels.matches(index.labels_of(i))]
    if not fields.everything:
        chosen = [i for i in chosen if fields_match(index, i, fields)]
    return chosen


def fields_match(index: Index, item: Item, selector: FieldSelector) -> bool:
    """Whether a field selector selects an object. Names come from the key, without decoding."""
    namespace, name = index.names(item.key)
    for field, operator, wanted in selector.terms:
        if field == "metadata.name":
            value = name
        elif field == "metadata.namespace":
            value = namespace
        else:
            value = index.fields_of(item).get(field, "")
        if (value == wanted) != (operator == "="):
            return False
    return True
