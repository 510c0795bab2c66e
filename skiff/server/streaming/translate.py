"""Remote commands: `v5.channel.k8s.io` on the client's side, SPDY/3.1 on the node's.

Channels 0 to 4 are stdin, stdout, stderr, error and resize; a message on channel 255 closes the
channel that it names (only stdin's closing means anything). On the node's side each is a SPDY
stream with a `streamtype` header. The error stream carries one Status in JSON (protocol v4), which
is passed on as it is: exit codes reach the client unchanged.

Source: KEP-4006 (Transition from SPDY to WebSockets).
"""

import asyncio
import json

from skiff.aio.channels import SpdyConnection, SpdyStream, WebSocketConnection
from skiff.aio.http.message import RawConnection, Request, Response
from skiff.aio.http.upstream import UpstreamError
from skiff.aio.pipe import attached
from skiff.aio.run import first
from skiff.api.errors import Cause, InternalError
from skiff.server.streaming.kubelets import Kubelet
from skiff.server.streaming.options import Streams
from skiff.server.streaming.upgrade import V4

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
MAX_STATUS_BYTES = 64 * 1024
SUCCESS = b'{"metadata":{},"status":"Success"}'


async def remote_command(raw: RawConnection, streams: Streams, kubelet: Kubelet, path: str) -> None:
    """Serve one upgraded client connection until either side ends."""
    client = WebSocketConnection(raw)
    try:
        await _serve(client, streams, kubelet, path)
    except* ConnectionError:
        pass  # the client has gone: nobody is left to tell
    finally:
        client.close()


async def _serve(
    client: WebSocketConnection, streams: Streams, kubelet: Kubelet, path: str
) -> None:
    # The first message, empty, on the lowest channel that the client reads says "connected".
    lowest = STDOUT if streams.stdout else STDERR if streams.stderr else ERROR
    await client.send(bytes((lowest,)))
    request = Request(
        "POST",
        path,
        streams.node_query(),
        {"connection": "Upgrade", "upgrade": "SPDY/3.1", "x-stream-protocol-version": V4},
    )
    try:
        answer = await kubelet.send(request)
    except UpstreamError as e:
        await _fail(client, f"error dialing backend: {e}")
        return
    if answer.upgrade is None:
        await _fail(client, f"unable to upgrade connection: {_body(answer)}")
        return
    status: list[bytes] = []
    async with attached(answer.upgrade) as near:
        node = SpdyConnection(near, client=True)
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(node.run(), name="node connection")
            try:
                opened = await _open(node, streams)
            except ConnectionError as e:
                await _fail(client, f"unable to upgrade connection: {e}")
            else:
                await _pump(client, opened, status)
                await client.send(bytes((ERROR,)) + (b"".join(status) or SUCCESS))
            reader.cancel()


async def _open(node: SpdyConnection, streams: Streams) -> dict[int, SpdyStream]:
    """The node's streams by channel, opened in the order that every client uses."""
    kinds = [
        (ERROR, "error", True),
        (STDIN, "stdin", streams.stdin),
        (STDOUT, "stdout", streams.stdout),
        (STDERR, "stderr", streams.stderr and not streams.tty),
        (RESIZE, "resize", streams.tty),
    ]
    return {channel: await node.open((("streamtype", kind),)) for channel, kind, on in kinds if on}


async def _pump(
    client: WebSocketConnection, streams: dict[int, SpdyStream], status: list[bytes]
) -> None:
    """Copy until the command's output and status have ended; ConnectionError where the client has
    gone before."""

    async def output() -> None:
        async with asyncio.TaskGroup() as group:
            for channel in (STDOUT, STDERR):
                if channel in streams:
                    copy = _copy(streams[channel], client, channel)
                    group.create_task(copy, name=f"channel {channel}")
            status.append(await streams[ERROR].read_all(MAX_STATUS_BYTES))

    try:
        await first(output(), _input(client, streams))
    except ExceptionGroup as e:
        raise ConnectionResetError("the client has gone") from e


async def _copy(stream: SpdyStream, client: WebSocketConnection, channel: int) -> None:
    prefix = bytes((channel,))
    while data := await stream.read():
        await client.send(prefix + data)


async def _input(client: WebSocketConnection, streams: dict[int, SpdyStream]) -> None:
    stdin = streams.get(STDIN)
    while (message := await client.receive()) is not None:
        channel, rest = message.data[:1], message.data[1:]
        if not rest:
            continue
        if channel[0] in (STDIN, RESIZE) and channel[0] in streams:
            await streams[channel[0]].write(rest)
        elif channel[0] == CLOSE and rest[0] == STDIN and stdin is not None:
            stdin.close()
    raise ConnectionResetError("the client has gone")


async def _fail(client: WebSocketConnection, message: str) -> None:
    """Tell the client on the error channel, as a Status."""
    error = InternalError(f"Internal error occurred: {message}", causes=[Cause("", message)])
    await client.send(bytes((ERROR,)) + json.dumps(error.status()).encode())


def _body(answer: Response) -> str:
    body = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)
    return body.decode(errors="replace").rstrip("\n") or f"status {answer.status}"
