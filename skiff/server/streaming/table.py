"""The table of streaming subresources: who answers what."""

from collections.abc import Awaitable, Callable

from skiff.aio.entropy import Entropy
from skiff.aio.http.message import Response
from skiff.server.seams import Call, Connector, Objects
from skiff.server.streaming.kubelets import Kubelets
from skiff.server.streaming.log import pod_log
from skiff.server.streaming.proxy import Dial, Proxy, dial
from skiff.server.streaming.remote import pod_exec, pod_port_forward

_Answer = Callable[[Call, Objects, Kubelets], Awaitable[Response]]


def connectors(
    objects: Objects,
    kubelets: Kubelets,
    *,
    entropy: Entropy | None = None,
    dial_backend: Dial = dial,
) -> dict[tuple[str, str, str], Connector]:
    """Connectors by (group, plural, subresource). `dial_backend` connects proxied requests."""
    proxy = Proxy(objects, kubelets, entropy or Entropy(), dial_backend)

    def bound(answer: _Answer) -> Connector:
        return lambda call: answer(call, objects, kubelets)

    return {
        ("", "pods", "log"): bound(pod_log),
        ("", "pods", "exec"): bound(pod_exec),
        ("", "pods", "attach"): bound(pod_exec),
        ("", "pods", "portforward"): bound(pod_port_forward),
        ("", "pods", "proxy"): proxy.pod,
        ("", "services", "proxy"): proxy.service,
        ("", "nodes", "proxy"): proxy.node,
    }
