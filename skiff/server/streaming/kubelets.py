"""Where the API server finds a node's kubelet.

The address is the first of the preferred types that the Node's status lists; the port is the one in
its `daemonEndpoints`. A kubelet in the same process is called directly, without a connection.

Source: kube-apiserver's `--kubelet-preferred-address-types` and `--kubelet-client-certificate`.
"""

import ssl
from collections.abc import Awaitable, Mapping, MutableMapping
from dataclasses import dataclass, field

from skiff.aio.http.message import Handler, Peer, Request, Response
from skiff.aio.http.upstream import Upstream
from skiff.api.errors import ApiError, NotFound
from skiff.api.resources import NODES
from skiff.server.seams import Objects

DEFAULT_KUBELET_PORT = 10250
PREFERRED_ADDRESS_TYPES = ("InternalIP", "ExternalIP", "InternalDNS", "ExternalDNS", "Hostname")
# Who the API server is to a kubelet in its own process.
SERVER_IDENTITY = ("kube-apiserver-kubelet-client", ("system:masters",))


class Unexplained(ApiError):
    """An error that has no reason of its own: Kubernetes answers 500 with the bare text."""

    code = 500
    reason = ""


@dataclass(frozen=True, slots=True)
class Kubelet:
    """One node's kubelet: where it is, and how to send it a request."""

    host: str
    port: int
    handler: Handler

    async def send(self, request: Request) -> Response:
        """Pass a request; raises UpstreamError where the kubelet cannot be reached."""
        response = self.handler(request)
        return await response if isinstance(response, Awaitable) else response

    def url(self, request: Request) -> str:
        """The request's address, for messages."""
        query = f"?{request.query}" if request.query else ""
        return f"https://{self.host}:{self.port}{request.path}{query}"


@dataclass(slots=True)
class Kubelets:
    """Finds kubelets. `tls` presents the server's client certificate and checks theirs; `unchecked`
    is the same without the check, for callers who ask to skip it. `local` holds the handlers of
    kubelets in this process, by node name."""

    objects: Objects
    tls: ssl.SSLContext | None = None
    unchecked: ssl.SSLContext | None = None
    preferred: tuple[str, ...] = PREFERRED_ADDRESS_TYPES
    local: MutableMapping[str, Handler] = field(default_factory=dict)

    def of(self, node_name: str, *, skip_verification: bool = False) -> Kubelet:
        """The kubelet of a node. Raises NotFound (no such node) or an error that says why not."""
        node = self.objects.get(NODES, node_name)
        if node is None:
            raise NotFound(f'nodes "{node_name}" not found', kind="nodes", name=node_name)
        status = node.get("status") or {}
        endpoint = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
        port = endpoint.get("Port") or DEFAULT_KUBELET_PORT
        if node_name in self.local:
            return Kubelet(node_name, port, _local(self.local[node_name]))
        addresses = status.get("addresses") or []
        by_type: Mapping[str, str] = {a["type"]: a["address"] for a in reversed(addresses)}
        host = next((by_type[t] for t in self.preferred if t in by_type), "")
        if not host:
            raise Unexplained(f"no preferred addresses found; known addresses: {addresses}")
        tls = self.unchecked if skip_verification else self.tls
        return Kubelet(host, port, Upstream(host, port, tls))


def _local(handler: Handler) -> Handler:
    peer = Peer(("127.0.0.1", 0), local=True, state={"user": SERVER_IDENTITY})

    def call(request: Request) -> Response | Awaitable[Response]:
        request.peer = peer
        return handler(request)

    return call
