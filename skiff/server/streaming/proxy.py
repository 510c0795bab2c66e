"""The HTTP proxies: nodes/proxy, pods/proxy, services/proxy.

The rest of the path, the query, the method, the body and upgrades are passed on; the client's
credentials are not. The answer comes back with its links rewritten, so that simple pages work
through the proxy.

Source: https://kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services/
"""

import ssl
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from skiff.aio.entropy import Entropy
from skiff.aio.http.message import Handler, Request, Response, Stream, Writer
from skiff.aio.http.upstream import Upstream, UpstreamError
from skiff.api.errors import BadRequest, NotFound, ServiceUnavailable
from skiff.api.resources import ENDPOINTS, PODS, SERVICES
from skiff.server.seams import Call, Objects
from skiff.server.streaming import locate
from skiff.server.streaming.kubelets import Kubelet, Kubelets
from skiff.server.streaming.locate import Location
from skiff.server.streaming.rewrite import Coding, page_coding, rewrite_url
from skiff.server.streaming.upgrade import wants_upgrade

Dial = Callable[[Location], Handler]

_NOT_PASSED = ("authorization", "x-remote-user", "x-remote-group")
# The proxy answers on the API server's origin: a backend's word on cross-origin access is not passed.
_CORS = "access-control-"


def _unchecked() -> ssl.SSLContext:
    """TLS towards pods and services: their certificates mean nothing to the API server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def dial(location: Location) -> Handler:
    """A real connection."""
    tls = _unchecked() if location.scheme == "https" else None
    return Upstream(location.host, location.port, tls)


@dataclass(slots=True)
class Proxy:
    """Answers the proxy subresources."""

    objects: Objects
    kubelets: Kubelets
    entropy: Entropy
    dial: Dial = field(default=dial)

    async def node(self, call: Call) -> Response:
        """nodes/proxy: the kubelet's API, or another port of the node."""
        scheme, name, port = locate.split_name(call.info.name, "node")
        kubelet = self.kubelets.of(name)
        if port in ("", str(kubelet.port)):
            return await self._pass(call, kubelet)
        if not port.isdigit():
            raise BadRequest(f'invalid node request "{call.info.name}"')
        locate.check_address(kubelet.host)
        location = Location(scheme or "http", kubelet.host, int(port))
        return await self._pass(call, self._backend(location))

    async def pod(self, call: Call) -> Response:
        """pods/proxy."""
        info = call.info
        scheme, name, port = locate.split_name(info.name, "pod")
        pod = self.objects.get(PODS, name, info.namespace)
        if pod is None:
            raise NotFound(f'pods "{name}" not found', kind="pods", name=name)
        return await self._pass(call, self._backend(locate.pod_location(pod, scheme, port)))

    async def service(self, call: Call) -> Response:
        """services/proxy."""
        info = call.info
        scheme, name, port = locate.split_name(info.name, "service")
        if port.isdigit():
            service = self.objects.get(SERVICES, name, info.namespace)
            if service is None:
                raise NotFound(f'services "{name}" not found', kind="services", name=name)
            port = locate.service_port_name(service, name, port)
        endpoints = self.objects.get(ENDPOINTS, name, info.namespace)
        if endpoints is None:
            if self.objects.get_bytes(SERVICES, name, info.namespace) is None:
                raise NotFound(f'services "{name}" not found', kind="services", name=name)
            raise ServiceUnavailable(f'no endpoints available for service "{name}"')
        choose = self.entropy.random.randrange
        identity = info.name if endpoints.get("subsets") else name
        location = locate.service_location(endpoints, identity, scheme, port, choose)
        return await self._pass(call, self._backend(location))

    def _backend(self, location: Location) -> Kubelet:
        return Kubelet(location.host, location.port, self.dial(location))

    async def _pass(self, call: Call, backend: Kubelet) -> Response:
        request = call.request
        prefix, path = split_path(request.path, call.info.name)
        if not path and request.method in ("GET", "HEAD") and not wants_upgrade(request.headers):
            where = request.path + "/" + (f"?{request.query}" if request.query else "")
            return Response(301, content_type="", headers=(("Location", where),))
        headers = {
            k: v
            for k, v in request.headers.items()
            if k not in _NOT_PASSED and not k.startswith("impersonate-")
        }
        headers["x-forwarded-uri"] = request.path
        headers["x-forwarded-for"] = ", ".join(
            filter(None, (headers.get("x-forwarded-for"), request.peer.address[0]))
        )
        if "host" in headers:
            headers["x-forwarded-host"] = headers["host"]
        headers["x-forwarded-proto"] = "https"
        headers.setdefault("accept-encoding", "identity")
        passed = Request(request.method, path or "/", request.query, headers, request.body)
        try:
            answer = await backend.send(passed)
        except UpstreamError as e:
            raise ServiceUnavailable(f"error trying to reach service: {e}") from e
        hosts = (f"{backend.host}:{backend.port}", backend.host, headers.get("host", ""))
        return _rewritten(answer, prefix, hosts)


def split_path(path: str, name: str) -> tuple[str, str]:
    """The proxy's own part of a request's path (up to and with `/proxy`) and the rest, both as sent."""
    for spelling in (name, quote(name, safe="")):
        marker = f"/{spelling}/proxy"
        at = path.find(marker)
        if at >= 0:
            end = at + len(marker)
            return path[:end], path[end:]
    end = path.index("/proxy") + len("/proxy")
    return path[:end], path[end:]


def _rewritten(answer: Response, prefix: str, hosts: tuple[str, ...]) -> Response:
    answer.headers = tuple(
        (k, rewrite_url(v, prefix, hosts) if k.lower() == "location" else v)
        for k, v in answer.headers
        if not k.lower().startswith(_CORS)
    )
    if answer.content_type.partition(";")[0].strip() != "text/html" or answer.upgrade is not None:
        return answer
    encoding = next((v for k, v in answer.headers if k.lower() == "content-encoding"), "")
    coding = page_coding(encoding.strip().lower(), prefix, hosts)
    if coding is None:
        return answer
    if answer.stream is not None:
        answer.stream = _recoded(answer.stream, coding())
    elif isinstance(answer.body, bytes) and answer.body:
        changed = coding()
        try:
            answer.body = changed.feed(answer.body) + changed.finish()
        except zlib.error as e:
            raise ServiceUnavailable(f"error trying to reach service: {encoding}: {e}") from e
    return answer


def _recoded(stream: Stream, coding: Coding) -> Stream:
    async def recoded(writer: Writer) -> None:
        await stream(_Recoding(writer, coding))
        writer.write(coding.finish())

    return recoded


class _Recoding:
    """A Writer whose bytes are changed on their way to another. A body that cannot be read ends the
    answer, as a backend's connection that breaks does."""

    def __init__(self, writer: Writer, coding: Coding) -> None:
        self._writer = writer
        self._coding = coding

    def write(self, data: bytes) -> None:
        try:
            changed = self._coding.feed(data)
        except zlib.error as e:
            raise ConnectionError(f"the page cannot be read: {e}") from e
        if changed:
            self._writer.write(changed)

    @property
    def buffered(self) -> int:
        return self._writer.buffered

    async def drain(self) -> None:
        await self._writer.drain()

    async def gone(self) -> None:
        await self._writer.gone()
