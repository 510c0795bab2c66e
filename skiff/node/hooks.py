"""Container hooks: postStart right after the start, preStop right before the stop.

Source: https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/
"""

from skiff.aio.clock import Clock
from skiff.api.views.container import LifecycleHandler
from skiff.node.probers import InvalidPort, Target, http_get, resolve_port, tcp_connect
from skiff.node.runtime import Runtime, RuntimeRemoteError

HTTP_TIMEOUT_S = 30.0


class HookFailed(Exception):
    """The hook did not succeed; the message says why."""


async def run_hook(
    handler: LifecycleHandler, target: Target, runtime: Runtime, clock: Clock, timeout_s: float = 0
) -> None:
    """Run a hook to its end (at most `timeout_s`, 0: as long as it takes). Raises HookFailed."""
    if handler.exec is not None:
        try:
            done = await runtime.exec_sync(target.container_id, handler.exec.command, timeout_s)
        except RuntimeRemoteError as e:
            raise HookFailed(e.message) from e
        if done.exit_code != 0:
            output = (done.stdout + done.stderr).decode(errors="replace")
            command = " ".join(handler.exec.command)
            raise HookFailed(f"command '{command}' exited with {done.exit_code}: {output}")
    elif handler.sleep is not None:
        wanted = float(handler.sleep.seconds)
        await clock.sleep(min(wanted, timeout_s) if timeout_s else wanted)
    elif handler.http_get is not None or handler.tcp_socket is not None:
        await _network_hook(handler, target, timeout_s or HTTP_TIMEOUT_S)
    else:
        raise HookFailed("cannot run handler: it has no action")


async def _network_hook(handler: LifecycleHandler, target: Target, timeout_s: float) -> None:
    try:
        if handler.http_get is not None:
            port = resolve_port(target.container, handler.http_get.port)
            result = await http_get(handler.http_get, port, target.ip, timeout_s)
        else:
            assert handler.tcp_socket is not None
            port = resolve_port(target.container, handler.tcp_socket.port)
            host = handler.tcp_socket.host or target.ip
            result = await tcp_connect(host, port, timeout_s)
    except InvalidPort as e:
        raise HookFailed(str(e)) from e
    if not result.ok:
        raise HookFailed(result.output)
