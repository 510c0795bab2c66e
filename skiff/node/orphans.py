"""Removing what nobody wants: pods of the runtime that the API no longer knows, and their cgroups.

They are left when a pod is deleted for good while the kubelet is away, or when a sandbox came to be
after its pod was given up. They are stopped with the grace period that they were started with.
"""

import logging
from collections.abc import Callable

from skiff.node.inputs import InputsNotReady
from skiff.node.lifecycle.model import Observed
from skiff.node.runtime import ANNOTATION_GRACE_PERIOD, RuntimeRemoteError
from skiff.node.tools import PodTools

PERIOD_S = 30.0
DEFAULT_GRACE_S = 30

log = logging.getLogger(__name__)


class Orphans:
    """See the module's text."""

    def __init__(self, tools: PodTools) -> None:
        self._tools = tools

    async def run(self, alive: Callable[[], frozenset[str]]) -> None:
        """Look every half minute, until cancelled. `alive` gives the uids of the pods that are wanted."""
        suspects: set[str] = set()
        while True:
            # Only what was unwanted twice: a pod may have ended since the picture was taken.
            unwanted = self._unwanted(alive())
            confirmed = suspects & unwanted
            for uid in sorted(confirmed):
                await self._remove(uid)
            suspects = unwanted
            # Soon again for new suspects; what could not be removed waits its period.
            await self._tools.clock.sleep(1.0 if suspects - confirmed else PERIOD_S)

    def _unwanted(self, alive: frozenset[str]) -> set[str]:
        return self._tools.observer.uids() - alive

    async def _remove(self, uid: str) -> None:
        tools = self._tools
        observed = tools.observer.pod(uid)
        try:
            for container in observed.running():
                await tools.runtime.stop_container(container.status.id, _grace_s(observed))
            for sandbox in observed.sandboxes:
                await tools.runtime.stop_sandbox(sandbox.id)
            for container in observed.containers:
                await tools.runtime.remove_container(container.status.id)
            for sandbox in observed.sandboxes:
                await tools.runtime.remove_sandbox(sandbox.id)
            await tools.observer.refresh()
            await tools.inputs.tear_down(uid)
        except (RuntimeRemoteError, InputsNotReady) as e:
            log.warning("orphaned pod %s: %s", uid, e)
            return
        if tools.cgroups is not None:
            tools.cgroups.remove_pod(uid)


def _grace_s(observed: Observed) -> int:
    for container in observed.running():
        grace = container.status.annotations.get(ANNOTATION_GRACE_PERIOD, "")
        if grace.isdecimal():
            return int(grace)
    return DEFAULT_GRACE_S
