"""Recording events: what happened to which object, for people to read.

`record` never waits and never fails: occurrences go through the correlator (`correlate.py`) into a
bounded queue, and the recorder's own tasks write them. Where the queue is full, or the server
refuses, the event is dropped: events are best effort.

Source: client-go `tools/record`; core/v1 Event.
"""

import asyncio
import logging
from collections import deque
from typing import Any

from skiff.aio.clock import rfc3339
from skiff.aio.run import Started
from skiff.api.errors import AlreadyExists, ApiError, NotFound
from skiff.api.resources import EVENTS
from skiff.api.views.base import ObjectView
from skiff.api.views.container import ObjectReference
from skiff.client.client import Client
from skiff.client.correlate import Correlator, Occurrence, Recorded
from skiff.client.references import Reference, object_reference
from skiff.client.transport import Unreachable

MAX_QUEUED = 5000
WRITERS = 4
MAX_TRIES = 12
RETRY_S = 10.0

NORMAL = "Normal"
WARNING = "Warning"

log = logging.getLogger(__name__)


class EventRecorder:
    """A component. `component` names the source (`kubelet`, `deployment-controller`); `host` the
    node it runs on, if it is one node's."""

    def __init__(self, client: Client, component: str, host: str = "") -> None:
        self._client = client
        self._source = {"component": component} | ({"host": host} if host else {})
        self._host = host
        self._correlator = Correlator()
        self._queue: deque[tuple[Recorded, dict[str, Any]]] = deque(maxlen=MAX_QUEUED)
        self._more = asyncio.Event()
        self._last_stamp = 0

    def of(self, component: str) -> "SourcedRecorder":
        """A recorder of another source that shares this one's queue and tasks."""
        return SourcedRecorder(self, component)

    def record(
        self,
        about: ObjectView | ObjectReference,
        type: str,  # noqa: A002 - the field's own name
        reason: str,
        message: str,
        *,
        component: str = "",
    ) -> None:
        """Note that something happened to `about`: `type` is Normal or Warning."""
        reference = object_reference(about)
        source = self._source | {"component": component} if component else self._source
        now = self._client.clock.now()
        identity = (
            source["component"],
            *(reference.get(k, "") for k in ("kind", "namespace", "name", "uid", "apiVersion")),
        )
        seen = self._correlator.observe(
            Occurrence((*identity, reference.get("fieldPath", "")), type, reason, message), now
        )
        if seen is None:
            return
        text, recorded = seen
        event = self._event(reference, source, type, reason, text, recorded, now)
        self._queue.append((recorded, event))
        self._more.set()

    async def run(self, started: Started) -> None:
        """Write what is recorded, until cancelled."""
        async with asyncio.TaskGroup() as group:
            started()
            slots = asyncio.Semaphore(WRITERS)
            while True:
                while not self._queue:
                    self._more.clear()
                    await self._more.wait()
                await slots.acquire()
                recorded, event = self._queue.popleft()
                group.create_task(self._write(recorded, event, slots), name="event")

    def _event(
        self,
        reference: Reference,
        source: dict[str, str],
        type: str,  # noqa: A002 - the field's own name
        reason: str,
        message: str,
        recorded: Recorded,
        now: float,
    ) -> dict[str, Any]:
        namespace = reference.get("namespace", "default")
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": self._name(reference, now),
                "namespace": namespace,
            },
            "involvedObject": reference,
            "reason": reason,
            "message": message,
            "source": source,
            "firstTimestamp": rfc3339(recorded.first_at),
            "lastTimestamp": rfc3339(now),
            "count": recorded.count,
            "type": type,
            "reportingComponent": source["component"],
            "reportingInstance": self._host,
        }

    def _name(self, reference: Reference, now: float) -> str:
        """Names carry the time in nanoseconds; two events of one moment still need two names."""
        self._last_stamp = max(int(now * 1e9), self._last_stamp + 1)
        return f"{reference.get('name', '')}.{self._last_stamp:x}"

    async def _write(
        self, recorded: Recorded, event: dict[str, Any], slots: asyncio.Semaphore
    ) -> None:
        try:
            if recorded.writing:
                recorded.waiting = event
                return
            recorded.writing = True
            following: dict[str, Any] | None = event
            while following is not None:
                await self._write_in_time(recorded, following)
                following, recorded.waiting = recorded.waiting, None
            recorded.writing = False
        finally:
            slots.release()

    async def _write_in_time(self, recorded: Recorded, event: dict[str, Any]) -> None:
        try:
            for _ in range(MAX_TRIES):
                try:
                    await self._write_once(recorded, event)
                    return
                except Unreachable:
                    await self._client.clock.sleep(RETRY_S)
        except ApiError as e:
            log.debug("event %s on %s dropped: %s", event["reason"], event["involvedObject"], e)

    async def _write_once(self, recorded: Recorded, event: dict[str, Any]) -> None:
        namespace = event["metadata"]["namespace"]
        if recorded.name:
            changed = {k: event[k] for k in ("count", "message", "lastTimestamp")}
            try:
                await self._client.patch(EVENTS, recorded.name, namespace, changed)
                return
            except NotFound:
                recorded.name = ""  # expired, or its namespace was emptied
        try:
            await self._client.create(EVENTS, event, namespace)
        except AlreadyExists:
            # Another component spoke of the same object in the same nanosecond.
            event["metadata"]["name"] = self._name(event["involvedObject"], 0.0)
            await self._client.create(EVENTS, event, namespace)
        recorded.name = event["metadata"]["name"]


class SourcedRecorder:
    """An EventRecorder's face for one source."""

    def __init__(self, recorder: EventRecorder, component: str) -> None:
        self._recorder = recorder
        self._component = component

    def record(
        self,
        about: ObjectView | ObjectReference,
        type: str,  # noqa: A002 - the field's own name
        reason: str,
        message: str,
    ) -> None:
        """As `EventRecorder.record`."""
        self._recorder.record(about, type, reason, message, component=self._component)
