"""Creating and deleting the pods of an owner: many at once, in slow-start batches, with events.

Source: kubernetes pkg/controller `RealPodControl` and `slowStartBatch` (behaviour).
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from skiff.api.errors import ApiError, NotFound
from skiff.api.resources import PODS
from skiff.api.views.base import ObjectView
from skiff.api.views.core import Pod
from skiff.client.client import Client
from skiff.client.events import NORMAL, WARNING, SourcedRecorder
from skiff.client.reconciler import all_of
from skiff.controllers.expectations import Expectations

SLOW_START_BATCH: Final = 1
MAX_IN_FLIGHT: Final = 64

Call = Callable[[], Awaitable[None]]


class _Meta(msgspec.Struct):
    name: str


class _Created(msgspec.Struct):
    metadata: _Meta


class PodControl:
    """See the module's text. The caller has set its expectations; what will not come to pass is
    taken off them here."""

    def __init__(self, client: Client, events: SourcedRecorder) -> None:
        self._client = client
        self._events = events

    async def create(
        self, owner: ObjectView, bodies: Sequence[bytes], expectations: Expectations
    ) -> ApiError | None:
        """Create these pods (encoded), in batches of 1, 2, 4, …, while all goes well. The first
        thing that went wrong; that the namespace is going is not wrong."""
        uid = owner.metadata.uid
        done, size = 0, SLOW_START_BATCH
        failure: ApiError | None = None
        while done < len(bodies):
            batch = bodies[done : done + size]
            errors = await all_of(*(self._creation(owner, b) for b in batch), limit=MAX_IN_FLIGHT)
            failed = [e for e in errors if isinstance(e, ApiError)]
            expectations.created(uid, len(failed))
            done += len(batch)
            size *= 2
            if failed:
                failure = next((e for e in failed if not namespace_ends(e)), None)
                break
        expectations.created(uid, len(bodies) - done)
        return failure

    async def delete(
        self, owner: ObjectView, chosen: Sequence[Pod], expectations: Expectations
    ) -> ApiError | None:
        """Delete these pods. The first thing that went wrong."""
        calls = (self._deletion(owner, pod, expectations) for pod in chosen)
        errors = await all_of(*calls, limit=MAX_IN_FLIGHT)
        return next((e for e in errors if isinstance(e, ApiError)), None)

    def _creation(self, owner: ObjectView, body: bytes) -> Call:
        async def call() -> None:
            try:
                created = await self._client.create_encoded(PODS, body, owner.metadata.namespace)
            except ApiError as e:
                if not namespace_ends(e):
                    message = f"Error creating: {e.message}"
                    self._events.record(owner, WARNING, "FailedCreate", message)
                raise
            name = msgspec.json.decode(created, type=_Created).metadata.name
            self._events.record(owner, NORMAL, "SuccessfulCreate", f"Created pod: {name}")

        return call

    def _deletion(self, owner: ObjectView, pod: Pod, expectations: Expectations) -> Call:
        async def call() -> None:
            meta = pod.metadata
            try:
                await self._client.delete(PODS, meta.name, meta.namespace, uid=meta.uid)
            except NotFound:
                expectations.deleted(owner.metadata.uid, meta.uid)
                return
            except ApiError as e:
                expectations.deleted(owner.metadata.uid, meta.uid)
                self._events.record(owner, WARNING, "FailedDelete", f"Error deleting: {e.message}")
                raise
            self._events.record(owner, NORMAL, "SuccessfulDelete", f"Deleted pod: {meta.name}")

        return call


def namespace_ends(error: ApiError) -> bool:
    """The refusal says that the namespace is being deleted."""
    return any(cause.reason == "NamespaceTerminating" for cause in error.causes)
