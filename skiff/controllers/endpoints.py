"""Endpoints: the older, single-object form of a Service's endpoints. `subsets_of` is pure.

Source: https://kubernetes.io/docs/concepts/services-networking/service/#endpoints; core/v1
Endpoints (its comments define the packing into subsets).
"""

from collections.abc import Iterable
from typing import Any, ClassVar, Final

from skiff.aio.clock import rfc3339
from skiff.api.errors import AlreadyExists, ApiError, NotFound
from skiff.api.resources import ENDPOINTS
from skiff.api.views.base import as_json
from skiff.api.views.core import Endpoints, Pod, Service
from skiff.client.events import WARNING
from skiff.client.reconciler import Key, Reconciler, Result
from skiff.controllers import pods, services
from skiff.controllers.context import Context
from skiff.controllers.podcontrol import namespace_ends
from skiff.controllers.services import HEADLESS_LABEL, TRIGGER_TIME, ServicePods

MANAGED_BY: Final = "endpoints.kubernetes.io/managed-by"
CONTROLLER: Final = "endpoint-controller"
OVER_CAPACITY: Final = "endpoints.kubernetes.io/over-capacity"
MAX_ADDRESSES: Final = 1000
LEADER: Final = "control-plane.alpha.kubernetes.io/leader"

Subset = dict[str, Any]


class EndpointsReconciler(Reconciler):
    """Keys are Services, whose Endpoints have the same name."""

    name: ClassVar[str] = "endpoints"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=5)
        self._clock = context.clock
        self._client = context.client
        self._events = context.events.of(CONTROLLER)
        self._endpoints = context.informers.of(Endpoints)
        self._world = ServicePods(context.informers, self.queue)
        self.needs(self._world.services, self._world.pods)
        self.follow(self._endpoints)

    async def reconcile(self, key: Key) -> Result | None:
        """Make the Endpoints match the Service's pods."""
        service = self._world.services.get(key.name, key.namespace)
        current = self._endpoints.get(key.name, key.namespace)
        if service is None:
            if current is not None and LEADER not in current.metadata.annotations:
                await self._delete(current)
            return None
        if not services.selects(service):
            return None
        matching = self._world.of(service)
        subsets, truncated = truncate(subsets_of(service, matching))
        labels = _labels(service)
        if current is not None and _same(current, subsets, labels, truncated):
            return None
        body = self._body(service, current, subsets, labels, truncated)
        body_meta = body["metadata"]
        body_meta["annotations"] |= trigger_annotation(service, matching, self._clock.now())
        await self._write(service, current, body)
        return None

    async def _delete(self, current: Endpoints) -> None:
        meta = current.metadata
        try:
            await self._client.delete(ENDPOINTS, meta.name, meta.namespace, uid=meta.uid)
        except NotFound:
            pass

    async def _write(
        self, service: Service, current: Endpoints | None, body: dict[str, Any]
    ) -> None:
        try:
            if current is None:
                await self._client.create(ENDPOINTS, body)
            else:
                await self._client.replace(ENDPOINTS, body)
        except AlreadyExists:
            raise
        except ApiError as e:
            if current is None and namespace_ends(e):
                return
            verb = "create" if current is None else "update"
            message = f"Failed to {verb} endpoint {_name(service)}: {e.message}"
            self._events.record(service, WARNING, f"FailedTo{verb.title()}Endpoint", message)
            raise

    def _body(
        self,
        service: Service,
        current: Endpoints | None,
        subsets: list[Subset],
        labels: dict[str, str],
        truncated: bool,
    ) -> dict[str, Any]:
        meta = service.metadata
        annotations = dict(current.metadata.annotations) if current else {}
        annotations.pop(TRIGGER_TIME, None)
        annotations.pop(OVER_CAPACITY, None)
        if truncated:
            annotations[OVER_CAPACITY] = "truncated"
        metadata: dict[str, Any] = {
            "name": meta.name,
            "namespace": meta.namespace,
            "labels": labels,
            "annotations": annotations,
        }
        if current is not None:
            metadata["resourceVersion"] = current.metadata.resource_version
            metadata["uid"] = current.metadata.uid
            if current.metadata.owner_references:
                metadata["ownerReferences"] = as_json(current.metadata.owner_references)
        body = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata}
        return body | {"subsets": subsets} if subsets else body


def _name(service: Service) -> str:
    return f"{service.metadata.namespace}/{service.metadata.name}"


def _labels(service: Service) -> dict[str, str]:
    labels = {k: v for k, v in service.metadata.labels.items() if k != HEADLESS_LABEL}
    if services.is_headless(service):
        labels[HEADLESS_LABEL] = ""
    return labels | {MANAGED_BY: CONTROLLER}


def _same(
    current: Endpoints, subsets: list[Subset], labels: dict[str, str], truncated: bool
) -> bool:
    stored = [as_json(subset) for subset in current.subsets]
    return (
        stored == subsets
        and current.metadata.labels == labels
        and (OVER_CAPACITY in current.metadata.annotations) == truncated
    )


def trigger_annotation(service: Service, matching: Iterable[Pod], now: float) -> dict[str, str]:
    """When the change that led here happened: the newest readiness change of a pod, or the
    Service's creation; for measuring how long programming takes."""
    newest = ""
    for pod in matching:
        ready = pods.condition(pod, "Ready")
        if ready is not None and ready.last_transition_time > newest:
            newest = ready.last_transition_time
    return {TRIGGER_TIME: newest or service.metadata.creation_timestamp or rfc3339(now)}


def subsets_of(service: Service, matching: Iterable[Pod]) -> list[Subset]:
    """The subsets that these pods give, packed: addresses with the same ports share a subset.

    A pod is in `addresses` where it is ready (or the Service publishes all), else in
    `notReadyAddresses`.
    """
    publish = service.spec.publish_not_ready_addresses
    subsets: dict[tuple[tuple[str, int, str], ...], Subset] = {}
    for pod in matching:
        if not services.belongs(pod, include_terminating=publish):
            continue
        address = _address(service, pod)
        ports = list(_ports(service, pod))
        if address is None or (service.spec.ports and not ports):
            continue
        key = tuple(sorted((p.get("name", ""), p["port"], p["protocol"]) for p in ports))
        subset = subsets.setdefault(key, {"ports": ports})
        field = "addresses" if publish or pods.is_ready(pod) else "notReadyAddresses"
        subset.setdefault(field, []).append(address)
    return [_sorted(subsets[key]) for key in sorted(subsets)]


def _sorted(subset: Subset) -> Subset:
    """The subset in a canonical order, so that equal ones compare equal."""
    result: Subset = {}
    for field in ("addresses", "notReadyAddresses"):
        if field in subset:
            result[field] = sorted(subset[field], key=lambda a: (a["ip"], a["targetRef"]["uid"]))
    if subset["ports"]:
        result["ports"] = sorted(subset["ports"], key=lambda p: (p.get("name", ""), p["port"]))
    return result


def _address(service: Service, pod: Pod) -> dict[str, Any] | None:
    families = service.spec.ip_families
    want_v6 = bool(families) and families[0] == "IPv6"
    ip = next((ip for ip in services.pod_ips(pod) if (":" in ip) == want_v6), None)
    if ip is None:
        return None
    address: dict[str, Any] = {"ip": ip}
    if hostname := services.hostname_in(pod, service):
        address["hostname"] = hostname
    if pod.spec.node_name:
        address["nodeName"] = pod.spec.node_name
    address["targetRef"] = {
        "kind": "Pod",
        "namespace": pod.metadata.namespace,
        "name": pod.metadata.name,
        "uid": pod.metadata.uid,
    }
    return address


def _ports(service: Service, pod: Pod) -> Iterable[dict[str, Any]]:
    for port in service.spec.ports:
        number = services.find_port(pod, port)
        if number is None:
            continue
        found: dict[str, Any] = {"port": number, "protocol": port.protocol or "TCP"}
        if port.name:
            found["name"] = port.name
        if port.app_protocol:
            found["appProtocol"] = port.app_protocol
        yield found


def truncate(subsets: list[Subset]) -> tuple[list[Subset], bool]:
    """At most 1000 addresses in all, ready ones before others; whether some were left out."""
    total = sum(len(s.get(k, ())) for s in subsets for k in ("addresses", "notReadyAddresses"))
    if total <= MAX_ADDRESSES:
        return subsets, False
    room = MAX_ADDRESSES
    kept = [dict(subset) for subset in subsets]
    for name in ("addresses", "notReadyAddresses"):
        for subset in kept:
            if name in subset:
                subset[name] = subset[name][:room]
                room -= len(subset[name])
                if not subset[name]:
                    del subset[name]
    return [s for s in kept if "addresses" in s or "notReadyAddresses" in s], True
