"""What Services and the pods behind them have to do with each other. Pure, but for `ServicePods`.

Source: https://kubernetes.io/docs/concepts/services-networking/service/.
"""

from typing import Final

from skiff.aio.queue import WorkQueue
from skiff.api.selectors import labels_selector
from skiff.api.views.core import Container, Pod, Service, ServicePort
from skiff.client.informer import Informer, InformerFactory
from skiff.client.reconciler import Key, key_of
from skiff.controllers import pods
from skiff.controllers.pace import settle_s

HEADLESS_LABEL: Final = "service.kubernetes.io/headless"
TRIGGER_TIME: Final = "endpoints.kubernetes.io/last-change-trigger-time"


def is_headless(service: Service) -> bool:
    """No virtual IP: DNS names the pods themselves."""
    return service.spec.cluster_ip == "None"


def selects(service: Service) -> bool:
    """Whether controllers find the Service's endpoints (else the user gives them)."""
    return bool(service.spec.selector) and service.spec.type != "ExternalName"


def find_port(pod: Pod, port: ServicePort) -> int | None:
    """The pod's port behind a Service's port; None where the pod has no port of that name."""
    target = port.target_port
    if target is None:
        return port.port
    if isinstance(target, int):
        return target or port.port
    sidecars = (c for c in pod.spec.init_containers if c.restart_policy == "Always")
    for container in (*pod.spec.containers, *sidecars):
        if (found := _named_port(container, target, port.protocol)) is not None:
            return found
    return None


def _named_port(container: Container, name: str, protocol: str) -> int | None:
    for candidate in container.ports:
        if candidate.name == name and (candidate.protocol or "TCP") == (protocol or "TCP"):
            return candidate.container_port
    return None


def hostname_in(pod: Pod, service: Service) -> str:
    """The hostname under which the pod has a DNS name of its own in the Service's domain."""
    if pod.spec.hostname and pod.spec.subdomain == service.metadata.name:
        return pod.spec.hostname
    return ""


def pod_ips(pod: Pod) -> tuple[str, ...]:
    """Every address of the pod."""
    if pod.status.pod_ips:
        return tuple(entry.ip for entry in pod.status.pod_ips if entry.ip)
    return (pod.status.pod_ip,) if pod.status.pod_ip else ()


def belongs(pod: Pod, *, include_terminating: bool) -> bool:
    """Whether the pod is an endpoint at all, ready or not."""
    if not pod_ips(pod) or pods.is_terminal(pod):
        return False
    return include_terminating or not pod.metadata.deletion_timestamp


def differs(old: Pod, new: Pod) -> bool:
    """Whether a change of the pod can change endpoints."""
    return (
        pods.is_ready(old) != pods.is_ready(new)
        or old.status.pod_ip != new.status.pod_ip
        or old.status.pod_ips != new.status.pod_ips
        or old.spec.node_name != new.spec.node_name
        or old.status.phase != new.status.phase
        or old.metadata.labels != new.metadata.labels
        or bool(old.metadata.deletion_timestamp) != bool(new.metadata.deletion_timestamp)
        or old.metadata.uid != new.metadata.uid
    )


class ServicePods:
    """Services and pods, and which keys a changed pod concerns."""

    def __init__(self, informers: InformerFactory, queue: WorkQueue[Key]) -> None:
        self.services: Informer[Service] = informers.of(Service)
        self.pods: Informer[Pod] = informers.of(Pod)
        self._queue = queue
        # How many pods each Service had when it was last looked at.
        self._sizes: dict[Key, int] = {}
        self.services.subscribe(self._service_changed)
        self.pods.subscribe(self._pod_changed)

    def of(self, service: Service) -> list[Pod]:
        """The pods that the Service selects."""
        selector = labels_selector(service.spec.selector)
        namespace = service.metadata.namespace
        found = [pod for pod in self.pods.list(namespace) if selector.matches(pod.metadata.labels)]
        self._sizes[key_of(service)] = len(found)
        return found

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        changed = new or old
        assert changed is not None
        if new is None:
            self._sizes.pop(key_of(changed), None)
        self._queue.add(key_of(changed))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is not None and not differs(old, new):
            return
        changed = new or old
        assert changed is not None
        labels = [pod.metadata.labels for pod in (old, new) if pod is not None]
        for service in self.services.list(changed.metadata.namespace):
            wanted = service.spec.selector.items()
            if wanted and any(wanted <= have.items() for have in labels):
                key = key_of(service)
                self._queue.add_after(key, settle_s(self._sizes.get(key, 0)))
