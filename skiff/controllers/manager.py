"""The controller manager: every controller of the table, over shared informers."""

import asyncio
from collections.abc import Collection
from typing import Final

from skiff.aio.clock import Clock
from skiff.aio.entropy import Entropy
from skiff.aio.run import Component, Started
from skiff.client.client import Client
from skiff.client.events import EventRecorder
from skiff.client.informer import InformerFactory
from skiff.controllers.context import Context, Options
from skiff.controllers.table import CONTROLLERS

NAME: Final = "kube-controller-manager"


class ControllerManager:
    """A component. `informers` may be shared with other components of the process, which then runs
    them; else the manager makes and runs its own. `without` names rows that are not to run."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        entropy: Entropy,
        *,
        informers: InformerFactory | None = None,
        options: Options | None = None,
        without: Collection[str] = (),
    ) -> None:
        self._events = EventRecorder(client, NAME)
        self._own_informers = None if informers else InformerFactory(client)
        context = Context(
            clock,
            entropy,
            client,
            informers or self._own_informers or InformerFactory(client),
            self._events,
            options or Options(),
        )
        self._controllers: list[tuple[str, Component]] = [
            (row.name, row.make(context)) for row in CONTROLLERS if row.name not in without
        ]

    async def run(self, started: Started) -> None:
        """Run all; `started` once every controller's informers are synced."""
        waiting = len(self._controllers)
        if not waiting:
            started()

        def one_started() -> None:
            nonlocal waiting
            waiting -= 1
            if waiting == 0:
                started()

        async with asyncio.TaskGroup() as group:
            if self._own_informers is not None:
                group.create_task(self._own_informers.run(_ignore), name="informers")
            group.create_task(self._events.run(_ignore), name="events")
            for name, controller in self._controllers:
                group.create_task(controller.run(one_started), name=name)


def _ignore() -> None:
    """Nobody waits for this one."""
