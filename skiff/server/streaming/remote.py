"""pods/exec, pods/attach and pods/portforward: the client's connection led to the node's.

SPDY/3.1 and the WebSocket protocols up to v4 pass as raw bytes; v5 and tunnelled port-forward are
translated.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/ (operations).
"""

from skiff.aio.http.message import RawConnection, Request, Response
from skiff.aio.http.upstream import UpstreamError
from skiff.api.errors import BadRequest, NotFound
from skiff.api.resources import PODS
from skiff.server.seams import Call, Objects
from skiff.server.streaming.kubelets import Kubelet, Kubelets, Unexplained
from skiff.server.streaming.options import attach_streams, choose_container, exec_streams, ports
from skiff.server.streaming.translate import remote_command
from skiff.server.streaming.tunnel import unwrap
from skiff.server.streaming.upgrade import (
    TUNNEL_PREFIX,
    V5,
    accept_websocket,
    passed_on,
    protocols,
    wants_upgrade,
    wants_websocket,
)


async def pod_exec(call: Call, objects: Objects, kubelets: Kubelets) -> Response:
    """Answer pods/exec and pods/attach, GET or POST."""
    info = call.info
    read = exec_streams if info.subresource == "exec" else attach_streams
    streams = read(info.all_options)
    pod = _pod(call, objects)
    container = choose_container(pod, streams.container)
    kubelet = _kubelet(pod, kubelets)
    path = f"/{info.subresource}/{info.namespace}/{info.name}/{container}"
    headers = call.request.headers
    _require_upgrade(call)
    if wants_websocket(headers) and V5 in protocols(headers):

        async def translated(raw: RawConnection) -> None:
            await remote_command(raw, streams, kubelet, path)

        return accept_websocket(headers, V5, translated)
    return await _pass(call, kubelet, path, streams.node_query())


async def pod_port_forward(call: Call, objects: Objects, kubelets: Kubelets) -> Response:
    """Answer pods/portforward, GET or POST."""
    info = call.info
    wanted = ports(info.all_options)
    kubelet = _kubelet(_pod(call, objects), kubelets)
    path = f"/portForward/{info.namespace}/{info.name}"
    query = f"port={'%2C'.join(map(str, wanted))}" if wanted else ""
    headers = call.request.headers
    _require_upgrade(call)
    offered = protocols(headers) if wants_websocket(headers) else []
    tunnel = next((p for p in offered if p.startswith(TUNNEL_PREFIX)), "")
    if not tunnel:
        return await _pass(call, kubelet, path, query)
    request = Request(
        "POST",
        path,
        query,
        {
            "connection": "Upgrade",
            "upgrade": "SPDY/3.1",
            "x-stream-protocol-version": tunnel.removeprefix(TUNNEL_PREFIX),
        },
    )
    answer = await _send(kubelet, request)
    node = answer.upgrade
    if node is None:
        return answer
    return accept_websocket(headers, tunnel, lambda raw: unwrap(raw, node))


def _pod(call: Call, objects: Objects) -> dict[str, object]:
    info = call.info
    pod = objects.get(PODS, info.name, info.namespace)
    if pod is None:
        raise NotFound(f'pods "{info.name}" not found', kind="pods", name=info.name)
    return pod


def _kubelet(pod: dict[str, object], kubelets: Kubelets) -> Kubelet:
    spec, metadata = pod.get("spec"), pod["metadata"]
    node = spec.get("nodeName") if isinstance(spec, dict) else ""
    if not node:
        assert isinstance(metadata, dict)
        raise BadRequest(f"pod {metadata['name']} does not have a host assigned")
    return kubelets.of(node)


def _require_upgrade(call: Call) -> None:
    if not wants_upgrade(call.request.headers):
        raise BadRequest("Upgrade request required")


async def _pass(call: Call, kubelet: Kubelet, path: str, query: str) -> Response:
    """Send the client's own request on; a 101 makes both connections one."""
    request = Request(call.request.method, path, query, passed_on(call.request.headers))
    return await _send(kubelet, request)


async def _send(kubelet: Kubelet, request: Request) -> Response:
    try:
        return await kubelet.send(request)
    except UpstreamError as e:
        raise Unexplained(f"error dialing backend: {e}") from e
