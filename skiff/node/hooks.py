"""Container hooks: postStart right after the start, preStop right before the stop.

A hook over HTTP has done its work once anything was answered, whatever the status; where the server
turns out not to speak TLS, it is asked in plain text. Kubernetes never ran hooks that open a port,
though the API takes them.

Source: https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/
"""

import json

from skiff.aio.clock import Clock
from skiff.api.views.container import LifecycleHandler
from skiff.node.probers import (
    HOOK_USER_AGENT,
    InvalidPort,
    Target,
    http_answer,
    resolve_port,
)
from skiff.node.runtime import Runtime, RuntimeRemoteError


class HookFailed(Exception):
    """The hook did not succeed; the message says why."""

    def __init__(self, what: str, error: str, output: str | None = None) -> None:
        super().__init__(error)
        self._what = what
        self._error = error
        self._output = output

    def told(self, where: str) -> str:
        """As the container's waiting state tells it; `where` names container and pod."""
        if not self._what:
            return f"Cannot run handler: {self._error}"
        text = f"{self._what} for {where} failed - error: {self._error}"
        return text if self._output is None else f"{text}, message: {json.dumps(self._output)}"


async def run_hook(
    handler: LifecycleHandler, target: Target, runtime: Runtime, clock: Clock, timeout_s: float = 0
) -> None:
    """Run a hook to its end (at most `timeout_s`, 0: as long as it takes). Raises HookFailed."""
    if handler.exec is not None:
        what = f"Exec lifecycle hook ([{' '.join(handler.exec.command)}])"
        try:
            done = await runtime.exec_sync(target.container_id, handler.exec.command, timeout_s)
        except RuntimeRemoteError as e:
            raise HookFailed(what, e.message, "") from e
        if done.exit_code != 0:
            output = (done.stdout + done.stderr).decode(errors="replace")
            error = done.stderr.decode(errors="replace")
            command = " ".join(handler.exec.command)
            raise HookFailed(
                what, f"command '{command}' exited with {done.exit_code}: {error}", output
            )
    elif handler.sleep is not None:
        wanted = float(handler.sleep.seconds)
        await clock.sleep(min(wanted, timeout_s) if timeout_s else wanted)
    elif handler.http_get is not None:
        await _http_hook(handler, target, timeout_s)
    else:
        raise HookFailed("", "invalid handler")


async def _http_hook(handler: LifecycleHandler, target: Target, timeout_s: float) -> None:
    action = handler.http_get
    assert action is not None
    what = f"HTTP lifecycle hook ({action.path})"
    try:
        port = resolve_port(target.container, action.port)
    except InvalidPort as e:
        raise HookFailed(what, str(e)) from e
    problem = await http_answer(action, port, target.ip, timeout_s or None, HOOK_USER_AGENT)
    if problem:
        raise HookFailed(what, problem)
