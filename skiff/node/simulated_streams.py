"""What runs behind exec, attach and port-forward of a simulated pod.

A command gives what the runtime's `exec_sync` gives (tests set its `exec_handler`); without a handler
`echo` prints, `cat` returns its input and everything else ends at once with 0. Attaching shows what
the container logs from then on. Nothing listens in a simulated pod unless a test says what does.
"""

from collections.abc import Awaitable, Callable, Sequence

from skiff.aio.clock import Clock
from skiff.node.local_streams import Forward, PortStream, Process, Terminal
from skiff.node.log_format import LogFilter, LogOptions
from skiff.node.runtime import ContainerState, Runtime, RuntimeRemoteError

ATTACH_LOOK_S = 0.5

ForwardHandler = Callable[[str, int, PortStream], Awaitable[None]]


def command(
    runtime: Runtime, container_id: str, argv: Sequence[str], *, scripted: bool, stdin: bool
) -> Process:
    """A command in a container."""

    async def run(terminal: Terminal) -> int:
        if not scripted and argv[:1] == ["echo"]:
            await terminal.write(" ".join(argv[1:]).encode() + b"\n")
            return 0
        if not scripted and list(argv) == ["cat"] and stdin:
            while data := await terminal.read():
                await terminal.write(data)
            return 0
        result = await runtime.exec_sync(container_id, argv, 0)
        await terminal.write(result.stdout)
        await terminal.write(result.stderr, error=True)
        return result.exit_code

    return run


def attach(
    runtime: Runtime, container_id: str, log: Callable[[str], bytes], clock: Clock
) -> Process:
    """A container's main process; its end ends this."""
    attached_at = len(log(container_id))

    async def run(terminal: Terminal) -> int:
        outputs = {s: LogFilter(LogOptions(stream=s)) for s in ("stdout", "stderr")}
        seen = attached_at
        while True:
            try:
                status = await runtime.container_status(container_id)
                entries = log(container_id)
            except RuntimeRemoteError:
                return 0
            for stream, output in outputs.items():
                await terminal.write(output.feed(entries[seen:]), error=stream == "stderr")
            seen = len(entries)
            if status.state is not ContainerState.RUNNING:
                return 0
            await clock.sleep(ATTACH_LOOK_S)

    return run


def forward(sandbox_id: str, handler: Callable[[], ForwardHandler | None]) -> Forward:
    """Connections to ports of a pod; refused without a handler."""

    async def connect(port: int, stream: PortStream) -> None:
        found = handler()
        if found is None:
            raise ConnectionRefusedError(f"dial tcp4 127.0.0.1:{port}: connect: connection refused")
        await found(sandbox_id, port, stream)

    return connect
