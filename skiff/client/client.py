"""The API client: typed reads, writes on plain dicts, watches. Every component has one.

Reads decode straight from bytes into views (`skiff.api.views`). Writes send dicts, patches, or a
pure function on the full object (`update`), so that fields the client does not know survive. Every
failure is an `ApiError`; a server that cannot be reached is `transport.Unreachable`. There is no
throttling here: fairness is the server's job. A request that the server turned away with
Retry-After is sent again after that long, a few times, as client-go does.
"""

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
import orjson

from skiff.aio.clock import Clock
from skiff.aio.entropy import Entropy
from skiff.aio.http.connection import ClientResponse
from skiff.api.errors import ApiError, Conflict, from_status
from skiff.api.resources import Resource
from skiff.api.views.base import ObjectView
from skiff.api.views.meta import ListMeta
from skiff.client.request import (
    PATCH_TYPES,
    Selection,
    delete_options,
    error_of,
    target,
    without_nulls,
)
from skiff.client.transport import Transport

V = TypeVar("V", bound=ObjectView)

Object = dict[str, Any]

PAGE_SIZE = 500
MAX_RETRY_AFTERS = 10
MAX_UPDATE_CONFLICTS = 10
UPDATE_CONFLICT_PAUSE_S = 0.01
# Servers end watches after this long (client-go asks for 5 to 10 minutes), so that they spread.
WATCH_TIMEOUT_S = 300
WATCH_TIMEOUT_JITTER = 1.0


class Undecodable(ApiError):
    """The server sent an object that does not fit the view."""


@dataclass(frozen=True, slots=True)
class Listing(Generic[V]):
    """Objects as of `revision`; `continue_token` is set where more follow."""

    items: list[V]
    revision: str
    continue_token: str = ""


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[V]):
    """One change: ADDED, MODIFIED, DELETED, or BOOKMARK (only metadata in `object`)."""

    type: str
    object: V
    raw: bytes


class _ListBody(msgspec.Struct, gc=False):
    metadata: ListMeta = msgspec.field(default_factory=ListMeta)
    items: list[msgspec.Raw] = msgspec.field(default_factory=list)


class _EventBody(msgspec.Struct, gc=False):
    type: str
    object: msgspec.Raw


_list_decoder = msgspec.json.Decoder(_ListBody)
_event_decoder = msgspec.json.Decoder(_EventBody)
_decoders: dict[type, msgspec.json.Decoder[Any]] = {}


def decoder(view: type[V]) -> msgspec.json.Decoder[V]:
    """The decoder of `view` (made once)."""
    found = _decoders.get(view)
    if found is None:
        found = _decoders[view] = msgspec.json.Decoder(view)
    return found


class Client:
    """See the module's text. `user_agent` up to its first "/" is the field manager of writes."""

    def __init__(
        self, transport: Transport, clock: Clock, entropy: Entropy, user_agent: str
    ) -> None:
        self.clock = clock
        self.entropy = entropy
        self._transport = transport
        self._read_headers = {"user-agent": user_agent, "accept": "application/json"}
        self._write_headers = self._read_headers | {"content-type": "application/json"}
        self._patch_headers = {
            kind: self._read_headers | {"content-type": content_type}
            for kind, content_type in PATCH_TYPES.items()
        }

    def close(self) -> None:
        """Let go of connections."""
        self._transport.close()

    # Reads

    async def get(
        self, resource: Resource, name: str, namespace: str = "", subresource: str = ""
    ) -> Object:
        """The full object. Raises NotFound."""
        path = target(resource, namespace, name, subresource)
        return _loads(await self._call("GET", path, b"", self._read_headers))

    async def read(self, view: type[V], name: str, namespace: str = "") -> V:
        """The object as a view. Raises NotFound."""
        path = target(view.RESOURCE, namespace, name)
        response = await self._call("GET", path, b"", self._read_headers)
        return _decode(decoder(view), response.body)

    async def read_as(self, view: type[V], resource: Resource, name: str, namespace: str = "") -> V:
        """An object of any resource as a view of your own (its metadata, say)."""
        path = target(resource, namespace, name)
        response = await self._call("GET", path, b"", self._read_headers)
        return _decode(decoder(view), response.body)

    async def list_page(
        self,
        view: type[V],
        selection: Selection,
        *,
        limit: int = PAGE_SIZE,
        continue_token: str = "",
        resource: Resource | None = None,
    ) -> Listing[V]:
        """One page of a list. Raises Expired where `continue_token` is too old."""
        query = selection.query()
        if limit:
            query["limit"] = str(limit)
        if continue_token:
            query["continue"] = continue_token
        path = target(resource or view.RESOURCE, selection.namespace, query=query)
        response = await self._call("GET", path, b"", self._read_headers)
        body = _decode(_list_decoder, response.body)
        decode = decoder(view)
        # Each from bytes of its own: a view may keep a part as it is, which would hold the whole page.
        items = [_decode(decode, bytes(item)) for item in body.items]
        return Listing(items, body.metadata.resource_version, body.metadata.continue_)

    async def list(
        self,
        view: type[V],
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        *,
        resource: Resource | None = None,
    ) -> Listing[V]:
        """All objects that match, read in pages."""
        selection = Selection(namespace, label_selector, field_selector)
        page = await self.list_page(view, selection, resource=resource)
        items = page.items
        while page.continue_token:
            page = await self.list_page(
                view, selection, continue_token=page.continue_token, resource=resource
            )
            items += page.items
        return Listing(items, page.revision)

    async def watch_batches(
        self,
        view: type[V],
        selection: Selection,
        revision: str,
        *,
        resource: Resource | None = None,
    ) -> AsyncGenerator[Sequence[WatchEvent[V]], None]:
        """Changes after `revision`, in batches as they arrive; ends when the server ends it.

        Close it with `contextlib.aclosing`. Raises Expired where `revision` is too old.
        """
        timeout_s = self.entropy.jitter(WATCH_TIMEOUT_S, WATCH_TIMEOUT_JITTER)
        query = selection.query() | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(int(timeout_s)),
        }
        if revision:
            query["resourceVersion"] = revision
        path = target(resource or view.RESOURCE, selection.namespace, query=query)
        decode = decoder(view)
        async with self._transport.stream("GET", path, b"", self._read_headers) as response:
            if response.status != 200:
                body = b"".join([chunk async for chunk in response])
                raise error_of(response.status, response.headers, body)
            rest = b""
            async for chunk in response:
                lines = (rest + chunk if rest else chunk).split(b"\n")
                rest = lines.pop()
                batch = [_event(decode, line) for line in lines if line.strip()]
                if batch:
                    yield batch

    async def watch(
        self,
        view: type[V],
        namespace: str = "",
        revision: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncGenerator[WatchEvent[V], None]:
        """Changes after `revision` (empty: current objects first), one by one."""
        selection = Selection(namespace, label_selector, field_selector)
        async with contextlib.aclosing(self.watch_batches(view, selection, revision)) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    async def raw_get(self, path_and_query: str, accept: str = "") -> ClientResponse:
        """Any path: discovery, health, logs."""
        headers = self._read_headers | {"accept": accept} if accept else self._read_headers
        return await self._call("GET", path_and_query, b"", headers)

    # Writes

    async def create_encoded(
        self, resource: Resource, body: bytes, namespace: str = "", subresource: str = "",
        name: str = "",
    ) -> bytes:  # fmt: skip
        """Create the object whose JSON is `body`; the created object's JSON."""
        path = target(resource, namespace, name if subresource else "", subresource)
        return (await self._call("POST", path, body, self._write_headers)).body

    async def create(
        self, resource: Resource, obj: Mapping[str, Any], namespace: str = "",
        subresource: str = "", name: str = "",
    ) -> Object:  # fmt: skip
        """Create `obj` (or POST it to a subresource of the object `name`)."""
        metadata = obj.get("metadata") or {}
        if subresource and not name:
            name = metadata["name"]
        namespace = namespace or metadata.get("namespace", "")
        path = target(resource, namespace, name if subresource else "", subresource)
        return _loads(await self._call("POST", path, orjson.dumps(obj), self._write_headers))

    async def replace(
        self, resource: Resource, obj: Mapping[str, Any], subresource: str = ""
    ) -> Object:
        """Put `obj` in the place of the stored one. Raises Conflict where its version is not."""
        metadata = obj["metadata"]
        path = target(resource, metadata.get("namespace", ""), metadata["name"], subresource)
        return _loads(await self._call("PUT", path, orjson.dumps(obj), self._write_headers))

    async def update(
        self,
        resource: Resource,
        name: str,
        namespace: str,
        change: Callable[[Object], Object | None],
        subresource: str = "",
    ) -> Object:
        """Put `change(object)`, reading the object anew after each conflict.

        `change` may alter what it is given; None means that nothing needs changing, and the object
        as read is returned. Raises NotFound, and Conflict after ten in a row.
        """
        for attempt in range(MAX_UPDATE_CONFLICTS):
            current = await self.get(resource, name, namespace)
            changed = change(current)
            if changed is None:
                return current
            try:
                return await self.replace(resource, changed, subresource)
            except Conflict:
                if attempt == MAX_UPDATE_CONFLICTS - 1:
                    raise
                await self.clock.sleep(self.entropy.jitter(UPDATE_CONFLICT_PAUSE_S, 1.0))
        raise AssertionError("unreachable")

    async def patch(
        self,
        resource: Resource,
        name: str,
        namespace: str,
        patch: Mapping[str, Any] | Sequence[Any],
        kind: str = "merge",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> Object:
        """Patch the object: `kind` is merge, json, strategic or apply (which needs a manager)."""
        query = {}
        if field_manager:
            query["fieldManager"] = field_manager
        if force:
            query["force"] = "true"
        path = target(resource, namespace, name, subresource, query)
        body = orjson.dumps(patch)
        return _loads(await self._call("PATCH", path, body, self._patch_headers[kind]))

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        uid: str = "",
        grace_period_s: int | None = None,
        propagation: str = "",
        resource_version: str = "",
    ) -> None:
        """Delete the object. Raises NotFound; Conflict where `uid` is not the object's."""
        body = delete_options(
            uid=uid,
            resource_version=resource_version,
            grace_period_s=grace_period_s,
            propagation=propagation,
        )
        path = target(resource, namespace, name)
        await self._call("DELETE", path, body, self._write_headers)

    async def delete_collection(
        self,
        resource: Resource,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        grace_period_s: int | None = None,
        propagation: str = "",
    ) -> None:
        """Delete all objects that match."""
        query = Selection(namespace, label_selector, field_selector).query()
        body = delete_options(grace_period_s=grace_period_s, propagation=propagation)
        path = target(resource, namespace, query=query)
        await self._call("DELETE", path, body, self._write_headers)

    # Inner workings

    async def _call(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> ClientResponse:
        for _ in range(MAX_RETRY_AFTERS):
            response = await self._transport.request(method, path, body, headers)
            if response.status < 400:
                return response
            wait = response.headers.get("retry-after", "")
            if response.status not in (429, 503) or not wait.isdecimal():
                break
            await self.clock.sleep(int(wait))
        raise error_of(response.status, response.headers, response.body)


def _loads(response: ClientResponse) -> Object:
    try:
        obj: Object = orjson.loads(response.body)
    except orjson.JSONDecodeError as e:
        raise Undecodable(f"the server's answer is not JSON: {e}") from e
    return obj


D = TypeVar("D")


def _decode(decode: msgspec.json.Decoder[D], data: bytes | msgspec.Raw) -> D:
    try:
        return decode.decode(data)
    except msgspec.ValidationError:
        return _decode_without_nulls(decode, data)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise Undecodable(f"the server's answer cannot be read: {e}") from e


def _decode_without_nulls(decode: msgspec.json.Decoder[D], data: bytes | msgspec.Raw) -> D:
    """Go writes some absent values as null (times above all); to views they are absent. Rare on the
    wire, so that only what does not decode at first is looked through."""
    try:
        return decode.decode(orjson.dumps(without_nulls(orjson.loads(bytes(data)))))
    except (msgspec.DecodeError, ValueError) as e:
        raise Undecodable(f"the server's answer cannot be read: {e}") from e


def _event(decode: msgspec.json.Decoder[V], line: bytes) -> WatchEvent[V]:
    body = _decode(_event_decoder, line)
    if body.type == "ERROR":
        status = orjson.loads(bytes(body.object))
        raise from_status(status, int(status.get("code") or 500))
    return WatchEvent(body.type, _decode(decode, body.object), line)
