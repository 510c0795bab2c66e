"""Telling of each FlowSchema whether the priority level that it names exists (condition Dangling).

Source: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#flowschema.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

import orjson

from skiff.aio.clock import Clock, rfc3339
from skiff.aio.http.message import Handler, Peer, Request
from skiff.aio.run import Started
from skiff.api.resources import FLOWSCHEMAS, PRIORITYLEVELCONFIGURATIONS
from skiff.server.seams import Objects

USER = ("system:apiserver", ("system:masters",))
CONDITION = "Dangling"


def dangling(schema: Mapping[str, Any], levels: set[str]) -> dict[str, str]:
    """The condition that a FlowSchema should have, without its time. Pure."""
    level = schema["spec"]["priorityLevelConfiguration"]["name"]
    head = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}"'
    if level in levels:
        return {
            "type": CONDITION,
            "status": "False",
            "reason": "Found",
            "message": f"{head} and it exists",
        }
    return {
        "type": CONDITION,
        "status": "True",
        "reason": "NotFound",
        "message": f"{head} but there is no such object",
    }


class FlowSchemaStatus:
    """Keeps the condition right, as a component."""

    def __init__(self, handler: Handler, stored: Objects, clock: Clock) -> None:
        self._handler = handler
        self._stored = stored
        self._clock = clock
        self._peer = Peer(("", 0), local=True, state={"user": USER})
        self._changed = asyncio.Event()

    async def run(self, started: Started) -> None:
        """Look at all of them whenever a schema or a level changes: there are few."""
        ends = [
            self._stored.subscribe(resource, self._noticed)
            for resource in (FLOWSCHEMAS, PRIORITYLEVELCONFIGURATIONS)
        ]
        self._changed.set()
        started()
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._look()
        finally:
            for end in ends:
                end()

    def _noticed(self, changes: object) -> None:
        self._changed.set()

    async def _look(self) -> None:
        levels = {o["metadata"]["name"] for o in self._stored.list(PRIORITYLEVELCONFIGURATIONS)}
        async with asyncio.TaskGroup() as group:  # the writes share a group commit
            for schema in self._stored.list(FLOWSCHEMAS):
                wanted = dangling(schema, levels)
                conditions = (schema.get("status") or {}).get("conditions") or []
                found: dict[str, Any] = next(
                    (c for c in conditions if c.get("type") == CONDITION), {}
                )
                if {k: found.get(k) for k in wanted} != wanted:
                    others = [c for c in conditions if c.get("type") != CONDITION]
                    name = schema["metadata"]["name"]
                    group.create_task(self._write(schema, others, wanted), name=f"dangling {name}")

    async def _write(
        self,
        schema: Mapping[str, Any],
        others: list[dict[str, Any]],
        condition: Mapping[str, str],
    ) -> None:
        """A failure needs no answer: what changed in between brings another look."""
        condition = {**condition, "lastTransitionTime": rfc3339(self._clock.now())}
        name, version = (schema["metadata"][k] for k in ("name", "resourceVersion"))
        patch = {
            # conditions that others wrote meanwhile are not to be lost
            "metadata": {"resourceVersion": version},
            "status": {"conditions": [*others, condition]},
        }
        headers = {
            "content-type": "application/merge-patch+json",
            "user-agent": "api-priority-and-fairness-config-consumer-v1",
        }
        path = FLOWSCHEMAS.path(name=name, subresource="status")
        outcome = self._handler(
            Request("PATCH", path, "", headers, orjson.dumps(patch), self._peer)
        )
        if isinstance(outcome, Awaitable):
            await outcome
