"""What the runtime has, by pod: the kubelet's eyes.

One listing of sandboxes and containers serves all pods. It is made when somebody asks (`refresh`:
concurrent wishes share a listing), when the runtime tells that a container ended, and now and then
anyway: rarely where the runtime tells of every end, each second where it does not. Containers whose
state changed are then looked at in full; all others are remembered. Subscribers hear of pods whose
picture changed.

A runtime that does not answer is asked again each second; `problem` says what is wrong meanwhile.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from skiff.aio.clock import Clock
from skiff.node.lifecycle.model import Observed, SeenContainer, SeenSandbox
from skiff.node.log_format import LogFilter, LogOptions
from skiff.node.runtime import (
    ANNOTATION_TERMINATION_PATH,
    ANNOTATION_TERMINATION_POLICY,
    LABEL_POD_UID,
    Container,
    ContainerState,
    ContainerStatus,
    Runtime,
    RuntimeNotFound,
    RuntimeRemoteError,
    Sandbox,
)

QUIET_PERIOD_S = 30.0  # where the runtime tells of ends
POLL_PERIOD_S = 1.0  # where it does not
RETRY_S = 1.0
SETTLE_S = 0.2  # an end is told a little before the listing shows it
MAX_SETTLES = 10
MAX_MESSAGE_BYTES = 4096
MAX_LOG_MESSAGE_BYTES = 2048
MAX_LOG_MESSAGE_LINES = 80
FALLBACK_TO_LOGS = "FallbackToLogsOnError"

log = logging.getLogger(__name__)

Changed = Callable[[str, Observed], None]


class Observer:
    """See the module's text. `changed(uid, observed)` is called for each pod whose picture changed."""

    def __init__(self, runtime: Runtime, clock: Clock, changed: Changed) -> None:
        self.synced = asyncio.Event()
        self.problem = ""
        self._runtime = runtime
        self._clock = clock
        self._changed = changed
        self._pods: dict[str, Observed] = {}
        self._seen: dict[str, SeenContainer] = {}
        self._sandboxes: dict[str, SeenSandbox] = {}
        self._wishes: list[asyncio.Future[None]] = []
        self._ended: set[str] = set()
        self._wake = asyncio.Event()

    def pod(self, uid: str) -> Observed:
        """The pod's picture, as last seen."""
        return self._pods.get(uid, Observed())

    def uids(self) -> set[str]:
        """The pods of which the runtime has something."""
        return set(self._pods)

    async def refresh(self) -> None:
        """Return after a listing that began after this call. Raises RuntimeRemoteError."""
        wish: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wishes.append(wish)
        self._wake.set()
        await wish

    # ---- the loop

    async def run(self) -> None:
        """Keep the pictures current until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._runtime.watch(self._on_end), name="runtime events")
            settles = 0
            while True:
                failed = not await self._list_for_all()
                settles = settles + 1 if self._unsettled() and settles < MAX_SETTLES else 0
                await self._pause(self._period(failed, settles))

    async def _list_for_all(self) -> bool:
        """List once, and answer all who wished for it before; False where the runtime does not."""
        wishes, self._wishes = self._wishes, []
        try:
            await self._list()
        except RuntimeRemoteError as e:
            self.problem = e.message
            for wish in wishes:
                if not wish.done():
                    wish.set_exception(e)
            return False
        except BaseException:
            for wish in wishes:
                wish.cancel()
            raise
        self.problem = ""
        self.synced.set()
        for wish in wishes:
            if not wish.done():
                wish.set_result(None)
        return True

    def _period(self, failed: bool, settles: int) -> float:
        if failed:
            return RETRY_S
        if settles:
            return SETTLE_S
        self._ended.clear()
        return QUIET_PERIOD_S if self._runtime.watches else POLL_PERIOD_S

    def _unsettled(self) -> bool:
        """Whether a container whose end was told still shows as running."""
        self._ended = {c for c in self._ended if c in self._seen and self._seen[c].running}
        return bool(self._ended)

    def _on_end(self, container_id: str) -> None:
        self._ended.add(container_id)
        self._wake.set()

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        if self._wishes:
            return
        loop = asyncio.get_running_loop()
        timer = loop.call_later(seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    # ---- listing

    async def _list(self) -> None:
        sandboxes = await self._runtime.list_sandboxes()
        containers = await self._runtime.list_containers()
        by_pod: dict[str, tuple[list[SeenSandbox], list[SeenContainer]]] = defaultdict(
            lambda: ([], [])
        )
        seen_sandboxes = {}
        for sandbox in sandboxes:
            known = await self._look_at_sandbox(sandbox)
            seen_sandboxes[sandbox.id] = known
            by_pod[sandbox.labels.get(LABEL_POD_UID, sandbox.uid)][0].append(known)
        self._sandboxes = seen_sandboxes
        seen = {}
        for container in containers:
            found = await self._look_at_container(container)
            if found is not None:
                seen[container.id] = found
                by_pod[container.labels.get(LABEL_POD_UID, "")][1].append(found)
        self._seen = seen
        by_pod.pop("", None)
        self._publish(by_pod)

    def _publish(self, by_pod: dict[str, tuple[list[SeenSandbox], list[SeenContainer]]]) -> None:
        before, self._pods = self._pods, {}
        for uid, (sandboxes, containers) in by_pod.items():
            sandboxes.sort(key=lambda s: (s.created_at, s.attempt), reverse=True)
            containers.sort(key=lambda c: (c.status.created_at, c.status.attempt), reverse=True)
            self._pods[uid] = Observed(tuple(sandboxes), tuple(containers))
        for uid in dict.fromkeys((*before, *self._pods)):
            now = self._pods.get(uid, Observed())
            if before.get(uid) != now:
                self._changed(uid, now)

    async def _look_at_sandbox(self, sandbox: Sandbox) -> SeenSandbox:
        known = self._sandboxes.get(sandbox.id)
        if known is not None and known.ready == sandbox.ready:
            return known
        ips = known.ips if known else ()
        if sandbox.ready:
            try:
                ips = (await self._runtime.sandbox_status(sandbox.id)).ips
            except RuntimeNotFound:
                ips = ()
        return SeenSandbox(sandbox.id, sandbox.attempt, sandbox.ready, sandbox.created_at, ips)

    async def _look_at_container(self, container: Container) -> SeenContainer | None:
        known = self._seen.get(container.id)
        if known is not None and known.status.state is container.state:
            return known
        try:
            status = await self._runtime.container_status(container.id)
        except RuntimeNotFound:
            return (
                None  # any other error fails the listing: what is only half seen is not decided on
            )
        message = ""
        if status.state is ContainerState.EXITED:
            message = termination_message(status) if status.mounts else ""  # a few KB at most
        return SeenContainer(container.sandbox_id, status, message)


def termination_message(status: ContainerStatus) -> str:
    """What the container left as its last words: the file at its termination message path, else (where
    its policy says so, and it failed) the end of its log.

    Source: https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
    """
    path = status.annotations.get(ANNOTATION_TERMINATION_PATH, "")
    host = next((m.host_path for m in status.mounts if m.container_path == path), "")
    text = _read_start(host, MAX_MESSAGE_BYTES) if host else ""
    policy = status.annotations.get(ANNOTATION_TERMINATION_POLICY, "")
    if text or policy != FALLBACK_TO_LOGS or status.exit_code == 0:
        return text
    return _log_end(status.log_path)


def _read_start(path: str, limit: int) -> str:
    try:
        with open(path, "rb") as f:
            return f.read(limit).decode(errors="replace")
    except OSError:
        return ""


def _log_end(path: str) -> str:
    """The last lines of a log, without their stamps."""
    try:
        size = Path(path).stat().st_size
        with open(path, "rb") as f:
            # Stamps make an entry some 45 bytes longer than its text.
            f.seek(max(0, size - MAX_LOG_MESSAGE_BYTES - 64 * MAX_LOG_MESSAGE_LINES))
            entries = f.read().splitlines(keepends=True)
    except OSError:
        return ""
    text = LogFilter(LogOptions()).feed(b"".join(entries[-MAX_LOG_MESSAGE_LINES:]))
    return text[-MAX_LOG_MESSAGE_BYTES:].decode(errors="replace")
