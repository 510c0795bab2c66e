"""What a client's upgrade request asks for, and the answers to it. Pure.

Subprotocols that clients of Kubernetes use over WebSocket:
- `v4.channel.k8s.io`, `channel.k8s.io`, `base64.channel.k8s.io` and their old siblings: one byte
  (or digit) of channel number before each message. The runtimes' streaming servers speak them, so
  their bytes pass raw.
- `v5.channel.k8s.io`: v4 and a signal that closes one channel. Nodes do not speak it.
- `SPDY/3.1+portforward.k8s.io`: the bytes of a SPDY connection inside binary messages.

Source: KEP-4006 (https://github.com/kubernetes/enhancements, Transition from SPDY to WebSockets)
"""

from collections.abc import Mapping

from skiff.aio import websocket
from skiff.aio.http.message import Response, Upgrade

V5 = "v5.channel.k8s.io"
V4 = "v4.channel.k8s.io"
TUNNEL_PREFIX = "SPDY/3.1+"
PORT_FORWARD_PROTOCOL = "portforward.k8s.io"


def wants_upgrade(headers: Mapping[str, str]) -> bool:
    """Whether the connection is to be upgraded, to anything."""
    return "upgrade" in headers.get("connection", "").lower() and "upgrade" in headers


def wants_websocket(headers: Mapping[str, str]) -> bool:
    """Whether it is to become a WebSocket."""
    return wants_upgrade(headers) and headers["upgrade"].strip().lower() == "websocket"


def protocols(headers: Mapping[str, str]) -> list[str]:
    """The WebSocket subprotocols offered, the client's favourite first."""
    return [p.strip() for p in headers.get("sec-websocket-protocol", "").split(",") if p.strip()]


def accept_websocket(headers: Mapping[str, str], protocol: str, upgrade: Upgrade) -> Response:
    """The 101 that makes the connection a WebSocket with `protocol`."""
    if headers.get("sec-websocket-version", "").strip() != "13":
        return Response(
            426,
            b"unsupported WebSocket version\n",
            "text/plain",
            (("Sec-WebSocket-Version", "13"),),
        )
    key = headers.get("sec-websocket-key", "").strip()
    if not key:
        return Response(400, b"Sec-WebSocket-Key is missing\n", "text/plain")
    answer = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", websocket.accept_key(key)),
    ]
    if protocol:
        answer.append(("Sec-WebSocket-Protocol", protocol))
    return Response(101, headers=tuple(answer), upgrade=upgrade)


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """The fields of an upgrade request that a node gets to see: not the client's credentials."""
    dropped = ("authorization", "cookie", "host", "origin")
    return {
        k: v for k, v in headers.items() if k not in dropped and not k.startswith("impersonate-")
    }
