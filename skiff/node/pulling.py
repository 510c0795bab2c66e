"""Getting a container's image: is it there, may it be pulled, pull it, back off.

Concurrent pulls of one image share one call. Failures are counted per image, so that all pods
that want it wait together.

Source: https://kubernetes.io/docs/concepts/containers/images/#updating-images
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from skiff.aio.clock import Clock
from skiff.api.views.pod import Pod
from skiff.node.credentials import credentials_for
from skiff.node.images import InvalidImageName, normalize
from skiff.node.lifecycle.backoff import Backoffs
from skiff.node.lifecycle.model import AnyContainer
from skiff.node.runtime import Image, RegistryAuth, Runtime, RuntimeRemoteError, SandboxConfig

NEVER = "Never"
ALWAYS = "Always"

SecretData = tuple[str, Mapping[str, str]]
ReadSecrets = Callable[[Pod], Awaitable[Sequence[SecretData]]]


class ContainerEvents(Protocol):
    """Records an event about a container of a pod."""

    def __call__(self, pod: Pod, container: str, kind: str, reason: str, message: str) -> None: ...


class ImageProblem(Exception):
    """The image is not there: `reason` and message are those of the container's waiting state;
    `retry_at` says when trying again makes sense."""

    def __init__(self, reason: str, message: str, retry_at: float = 0.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_at = retry_at


class Puller:
    """See the module's text."""

    def __init__(
        self, runtime: Runtime, clock: Clock, events: ContainerEvents, secrets: ReadSecrets
    ) -> None:
        self._runtime = runtime
        self._clock = clock
        self._events = events
        self._secrets = secrets
        self._backoffs = Backoffs()
        self._failures: dict[str, tuple[float, str]] = {}
        self._pulls: dict[str, asyncio.Future[None]] = {}

    async def ensure(self, pod: Pod, container: AnyContainer, sandbox: SandboxConfig) -> Image:
        """The image of `container`, pulled where its policy says so. Raises ImageProblem."""
        policy = container.image_pull_policy
        return await self.ensure_image(pod, container.name, container.image, policy, sandbox)

    async def ensure_image(
        self, pod: Pod, container: str, name: str, policy: str, sandbox: SandboxConfig
    ) -> Image:
        """The same for any image that a container needs."""

        def tell(kind: str, reason: str, message: str) -> None:
            self._events(pod, container, kind, reason, message)

        try:
            full = normalize(name)
        except InvalidImageName as e:
            message = f"Failed to apply default image tag {json.dumps(name)}: {e}"
            tell("Warning", "InspectFailed", message)
            raise ImageProblem("InvalidImageName", message) from e
        image = await self._runtime.image_status(full)
        policy = policy or _default_policy(full)
        if image is not None and policy != ALWAYS:
            tell(
                "Normal",
                "Pulled",
                f'Container image "{name}" already present on machine and can be accessed by the pod',
            )
            return image
        if policy == NEVER:
            message = f'Container image "{name}" is not present with pull policy of Never'
            tell("Warning", "ErrImageNeverPull", message)
            raise ImageProblem("ErrImageNeverPull", message)
        self._check_backoff(name, full, tell)
        return await self._pull(pod, name, full, sandbox, tell)

    def _check_backoff(self, name: str, full: str, tell: Callable[[str, str, str], None]) -> None:
        failed_at, error = self._failures.get(full, (0.0, ""))
        until = self._backoffs.until(full, failed_at)
        if error and until > self._clock.now():
            message = f'Back-off pulling image "{name}"'
            tell("Normal", "BackOff", message)
            raise ImageProblem("ImagePullBackOff", f"{message}: ErrImagePull: {error}", until)

    async def _pull(
        self,
        pod: Pod,
        name: str,
        full: str,
        sandbox: SandboxConfig,
        tell: Callable[[str, str, str], None],
    ) -> Image:
        tell("Normal", "Pulling", f'Pulling image "{name}"')
        asked_at = self._clock.monotonic()
        try:
            started_at = await self._pull_once(pod, full, sandbox)
            image = await self._runtime.image_status(full)
            if image is None:
                raise RuntimeRemoteError(f'failed to get image status of "{name}" after pull')
        except RuntimeRemoteError as e:
            now = self._clock.now()
            self._backoffs.next(full, now)
            self._failures[full] = (now, e.wire())
            tell("Warning", "Failed", f'Failed to pull image "{name}": {e.wire()}')
            until = self._backoffs.until(full, now)
            raise ImageProblem("ErrImagePull", e.wire(), until) from e
        self._failures.pop(full, None)
        self._backoffs.forget(full)
        now = self._clock.monotonic()
        tell(
            "Normal",
            "Pulled",
            f'Successfully pulled image "{name}" in {_short(now - started_at)} '
            f"({_short(now - asked_at)} including waiting). Image size: {image.size_bytes} bytes.",
        )
        return image

    async def _pull_once(self, pod: Pod, full: str, sandbox: SandboxConfig) -> float:
        """Pull, or share a pull of the same image that is under way; when the pull began."""
        if not pod.spec.image_pull_secrets:
            while (running := self._pulls.get(full)) is not None:
                began = self._clock.monotonic()
                await asyncio.wait([running])
                if not running.cancelled():
                    running.result()
                    return began
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pulls.setdefault(full, done)
        began = self._clock.monotonic()
        try:
            await self._pull_with_credentials(pod, full, sandbox)
        except RuntimeRemoteError as e:
            done.set_exception(e)
            done.exception()  # seen: nobody may be waiting
            raise
        except BaseException:
            done.cancel()  # whoever waits pulls himself
            raise
        else:
            done.set_result(None)
        finally:
            if self._pulls.get(full) is done:
                del self._pulls[full]
        return began

    async def _pull_with_credentials(self, pod: Pod, full: str, sandbox: SandboxConfig) -> None:
        secrets = await self._secrets(pod) if pod.spec.image_pull_secrets else ()
        choices: list[RegistryAuth | None] = [*credentials_for(full, secrets)] or [None]
        for index, auth in enumerate(choices):
            try:
                await self._runtime.pull_image(full, auth, sandbox)
                return
            except RuntimeRemoteError:
                if index == len(choices) - 1:
                    raise


def _default_policy(full: str) -> str:
    return ALWAYS if full.endswith(":latest") else "IfNotPresent"


def _short(seconds: float) -> str:
    """A duration as Go prints it, rounded to milliseconds: `1.234s`, `87ms`."""
    milli = round(seconds * 1000)
    if milli < 1000:
        return f"{milli}ms"
    minutes, rest = divmod(milli, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{text}s" if minutes else f"{text}s"
