"""Port forwarding through `SPDY/3.1+portforward.k8s.io`: a SPDY connection in WebSocket messages.

The node sees plain SPDY: each binary message's payload is the next piece of that connection.

Source: KEP-4006 (Transition from SPDY to WebSockets), tunnelled port forwarding.
"""

from skiff.aio.channels import WebSocketConnection
from skiff.aio.http.message import RawConnection, Upgrade
from skiff.aio.pipe import attached
from skiff.aio.run import first


async def unwrap(raw: RawConnection, node: Upgrade) -> None:
    """Serve one client connection: messages in, raw bytes to the node, and back."""
    client = WebSocketConnection(raw)
    async with attached(node) as near:

        async def to_node() -> None:
            while (message := await client.receive()) is not None:
                near.write(message.data)
                await near.drain()

        async def to_client() -> None:
            while data := await near.read():
                await client.send(data)

        try:
            await first(to_node(), to_client())
        except ConnectionError:
            pass  # either end is gone: so is the other
        finally:
            client.close()
