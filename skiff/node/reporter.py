"""Writing a pod's status: what changed, in order, until it is written.

Only fields that differ from what was last written are sent, as a strategic merge patch, so that
conditions of other writers stay. A newer status replaces one that waits.
"""

import logging
from typing import Any

from skiff.aio.clock import Clock
from skiff.api.errors import ApiError, Conflict, Forbidden, NotFound
from skiff.api.resources import PODS
from skiff.api.views.pod import Pod
from skiff.client.client import Client
from skiff.node.lifecycle.conditions import OWNED, is_ours

RETRY_S = 1.0
RETRY_CAP_S = 10.0
# Lists that merge by a key, where a patch would add to what is there.
_REPLACED = ("podIPs", "hostIPs")

Status = dict[str, Any]

log = logging.getLogger(__name__)


def status_patch(old: Status, new: Status) -> Status:
    """The patch of `status` that makes `new` of `old`; empty where they are the same."""
    patch: Status = {key: None for key in old if key not in new}
    for key, value in new.items():
        if old.get(key) == value:
            continue
        if key == "conditions":
            before = {c["type"]: c for c in old.get(key, ())}
            after = {c["type"] for c in value}
            changed = [
                _with_removals(before.get(c["type"], {}), c)
                for c in value
                if is_ours(c) and before.get(c["type"]) != c
            ]
            changed += [
                {"type": t, "$patch": "delete"} for t in before if t in OWNED and t not in after
            ]
            if changed:
                patch[key] = changed
        elif key in _REPLACED and old.get(key):
            patch[key] = [*value, {"$patch": "replace"}]
        else:
            patch[key] = value
    return patch


def _with_removals(old: Status, new: Status) -> Status:
    """A condition that also takes away what its former self had (reason, message)."""
    return {key: None for key in ("reason", "message") if key in old and key not in new} | new


class Reporter:
    """The status of one pod."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self.sent: Status = {}
        self._client = client
        self._clock = clock
        self._wanted: Status | None = None
        self._writing = False
        self._revision = ""

    def want(self, status: Status) -> bool:
        """Note the status to write; True where a writer must be started (`write`)."""
        if not self._writing and status == self.sent:
            return False
        self._wanted = status
        return not self._writing

    def reconcile(self, pod: Pod) -> bool:
        """Whether somebody else changed, after our last write, what is ours to say: then it is written
        again."""
        if (
            self._writing
            or not self.sent
            or not _later(pod.metadata.resource_version, self._revision)
        ):
            return False
        there = {c.type: c.status for c in pod.status.conditions}
        kept = [c for c in self.sent["conditions"] if there.get(c["type"]) == c["status"]] if (
            "conditions" in self.sent) else []  # fmt: skip
        changed = len(kept) != len(self.sent.get("conditions", ()))
        if changed:
            self.sent = self.sent | {"conditions": kept}
        if pod.status.phase != self.sent.get("phase"):
            self.sent = {k: v for k, v in self.sent.items() if k != "phase"}
            changed = True
        return changed

    def forget(self) -> None:
        """The object that was written to is another one: all of the status is news to it."""
        self.sent, self._revision = {}, ""

    @property
    def idle(self) -> bool:
        """Everything wanted is written."""
        return not self._writing and self._wanted is None

    async def write(self, pod: Pod) -> None:
        """Write what is wanted, trying again while the server cannot be reached."""
        self._writing = True
        delay = RETRY_S
        try:
            while self._wanted is not None:
                status, self._wanted = self._wanted, None
                patch = status_patch(self.sent, status)
                if not patch:
                    continue
                try:
                    await self._send(pod, patch)
                except (NotFound, Conflict):
                    self._wanted = None  # deleted, or another pod took the name
                except Forbidden as e:
                    if "is being terminated" not in e.message:
                        log.warning("pod %s/%s: %s", pod.metadata.namespace, pod.metadata.name, e)
                    await self._again(status, delay)
                except ApiError as e:
                    log.debug("status of %s/%s: %s", pod.metadata.namespace, pod.metadata.name, e)
                    await self._again(status, delay)
                    delay = min(delay * 2, RETRY_CAP_S)
                else:
                    self.sent = status
        finally:
            self._writing = False

    async def _again(self, status: Status, delay_s: float) -> None:
        await self._clock.sleep(delay_s)
        if self._wanted is None:
            self._wanted = status

    async def _send(self, pod: Pod, patch: Status) -> None:
        written = await self._client.patch(
            PODS,
            pod.metadata.name,
            pod.metadata.namespace,
            {"metadata": {"uid": pod.metadata.uid}, "status": patch},
            kind="strategic",
            subresource="status",
        )
        self._revision = written["metadata"].get("resourceVersion", "")


def _later(revision: str, other: str) -> bool:
    """Whether `revision` came after `other`; not where one is unknown."""
    return revision.isdecimal() and other.isdecimal() and int(revision) > int(other)
