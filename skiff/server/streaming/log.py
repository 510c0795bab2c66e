"""pods/log: the kubelet's answer, with Kubernetes' errors around it.

Source: https://kubernetes.io/docs/concepts/cluster-administration/logging/
"""

from skiff.aio.http.message import Request, Response
from skiff.aio.http.upstream import UpstreamError
from skiff.api.errors import ApiError, BadRequest, Cause, InternalError, NotFound
from skiff.api.resources import PODS
from skiff.server.seams import Call, Objects
from skiff.server.streaming.kubelets import Kubelets, Unexplained
from skiff.server.streaming.options import choose_container, flag, log_query, text


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
        return Response(200, answer.body, "text/plain", stream=answer.stream)
    raise _refused(answer, info.name)


def _refused(answer: Response, name: str) -> ApiError:
    """The kubelet's refusal as a Status."""
    body = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)
    message = body.decode(errors="replace").rstrip("\n")
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
