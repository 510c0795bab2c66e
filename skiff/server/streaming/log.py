"""pods/log: the kubelet's answer, with Kubernetes' errors around it.

A client may ask for the log over a WebSocket too: each piece is then a binary message, or a text
message in base64, as the subprotocol says.

Source: https://kubernetes.io/docs/concepts/cluster-administration/logging/
"""

import base64

from skiff.aio.channels import WebSocketConnection
from skiff.aio.http.message import RawConnection, Request, Response
from skiff.aio.http.upstream import UpstreamError
from skiff.api.errors import ApiError, BadRequest, Cause, InternalError, NotFound
from skiff.api.resources import PODS
from skiff.server.seams import Call, Objects
from skiff.server.streaming.kubelets import Kubelets, Unexplained
from skiff.server.streaming.options import choose_container, flag, log_query, text
from skiff.server.streaming.upgrade import accept_websocket, protocols, wants_websocket

BASE64 = "base64.binary.k8s.io"
LOG_PROTOCOLS = ("binary.k8s.io", BASE64)


async def pod_log(call: Call, objects: Objects, kubelets: Kubelets) -> Response:
    """Answer GET pods/log."""
    info = call.info
    query = info.all_options
    options = log_query(info.name, query)
    pod = objects.get(PODS, info.name, info.namespace)
    if pod is None:
        raise NotFound(f'pods "{info.name}" not found', kind="pods", name=info.name)
    container = choose_container(pod, text(query, "container"))
    node = (pod.get("spec") or {}).get("nodeName")
    if not node:
        return Response(204, content_type="")
    skip = flag(query, "insecureSkipTLSVerifyBackend")
    kubelet = kubelets.of(node, skip_verification=skip)
    path = f"/containerLogs/{info.namespace}/{info.name}/{container}"
    request = Request("GET", path, options)
    try:
        answer = await kubelet.send(request)
    except UpstreamError as e:
        raise Unexplained(f'Get "{kubelet.url(request)}": {e}') from e
    if 200 <= answer.status <= 206:
        if wants_websocket(call.request.headers):
            return _over_websocket(call.request, answer)
        return Response(200, answer.body, "text/plain", stream=answer.stream)
    raise _refused(answer, info.name)


class _Messages:
    """A stream's writer that sends each piece as a message."""

    def __init__(self, client: WebSocketConnection, *, base64_text: bool) -> None:
        self._client = client
        self._base64 = base64_text

    def write(self, data: bytes) -> None:
        message = base64.b64encode(data) if self._base64 else data
        self._client.queue(message, text=self._base64)

    @property
    def buffered(self) -> int:
        return self._client.buffered

    async def drain(self) -> None:
        await self._client.drain()

    async def gone(self) -> None:
        while await self._client.receive() is not None:
            pass


def _over_websocket(request: Request, answer: Response) -> Response:
    offered = protocols(request.headers)
    chosen = next((p for p in offered if p in LOG_PROTOCOLS), "")
    if offered and not chosen:
        raise BadRequest(f"unsupported WebSocket subprotocols: {', '.join(offered)}")

    async def upgrade(raw: RawConnection) -> None:
        client = WebSocketConnection(raw)
        writer = _Messages(client, base64_text=chosen == BASE64)
        if answer.stream is not None:
            await answer.stream(writer)
        elif answer.body:
            writer.write(_body(answer))
            await writer.drain()
        client.close()

    return accept_websocket(request.headers, chosen, upgrade)


def _body(answer: Response) -> bytes:
    return answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)


def _refused(answer: Response, name: str) -> ApiError:
    """The kubelet's refusal as a Status."""
    message = _body(answer).decode(errors="replace").rstrip("\n")
    if answer.status == 500:
        return InternalError(f"Internal error occurred: {message}", causes=[Cause("", message)])
    if answer.status == 400:
        return BadRequest(message)
    error = (
        NotFound(f"the server could not find the requested resource ( pods/log {name})")
        if answer.status == 404
        else Unexplained(
            f"the server responded with status code {answer.status} ( pods/log {name})"
        )
    )
    error.kind, error.name = "pods/log", name
    error.causes = (Cause("UnexpectedServerResponse", message),)
    return error
