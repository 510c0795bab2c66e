"""EndpointSlices for Endpoints that a user made by hand, for a Service without a selector.

Source: https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#endpointslice-mirroring.
"""

from collections.abc import Iterable
from typing import Any, ClassVar, Final

from skiff.api.errors import ApiError
from skiff.api.views.base import as_json
from skiff.api.views.core import EndpointAddress, Endpoints, Service
from skiff.api.views.discovery import EndpointSlice
from skiff.client.events import WARNING
from skiff.client.reconciler import Key, Reconciler, Result
from skiff.controllers.context import Context
from skiff.controllers.endpoints import LEADER
from skiff.controllers.endpoints import MANAGED_BY as ENDPOINTS_MANAGED_BY
from skiff.controllers.endpointslice import plan
from skiff.controllers.endpointslice.run import (
    MANAGED_BY,
    SERVICE_NAME,
    SliceTracker,
    SliceWriter,
    service_of,
)
from skiff.controllers.podcontrol import namespace_ends
from skiff.controllers.services import TRIGGER_TIME

CONTROLLER: Final = "endpointslicemirroring-controller.k8s.io"
SKIP_MIRROR: Final = "endpointslice.kubernetes.io/skip-mirror"
MAX_ENDPOINTS: Final = 1000
NOT_COPIED: Final = frozenset({TRIGGER_TIME, "kubectl.kubernetes.io/last-applied-configuration"})


class MirrorReconciler(Reconciler):
    """Keys are Endpoints, and the Services of the same name."""

    name: ClassVar[str] = "endpointslice-mirroring"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=5)
        self._client = context.client
        self._events = context.events.of("endpoint-slice-mirroring-controller")
        self._endpoints = context.informers.of(Endpoints)
        self._services = context.informers.of(Service)
        self._slices = context.informers.of(EndpointSlice)
        self._slices.add_index("service", service_of)
        self._tracker = SliceTracker(self._slices)
        self.follow(self._endpoints)
        self.follow(self._services)
        self.follow(self._slices, self._mirrored)

    def _mirrored(self, found: EndpointSlice) -> Iterable[Key]:
        labels = found.metadata.labels
        if labels.get(MANAGED_BY) == CONTROLLER and labels.get(SERVICE_NAME):
            yield Key(found.metadata.namespace, labels[SERVICE_NAME])

    async def reconcile(self, key: Key) -> Result | None:
        """Make the mirror slices match the Endpoints."""
        existing = [
            found
            for found in self._slices.by_index("service", (key.namespace, key.name))
            if found.metadata.labels.get(MANAGED_BY) == CONTROLLER
        ]
        endpoints = self._endpoints.get(key.name, key.namespace)
        service = self._services.get(key.name, key.namespace)
        writer = SliceWriter(self._client, self._tracker, key, CONTROLLER)
        if endpoints is None or service is None or not is_mirrored(endpoints, service):
            self._tracker.forget(key)
            await writer.delete(existing)
            return None
        if not self._tracker.up_to_date(key, existing):
            return None  # the slice that is missing brings the key back
        annotations = {
            k: v for k, v in endpoints.metadata.annotations.items() if k not in NOT_COPIED
        }
        try:
            for family, wanted in desired(endpoints).items():
                changes = plan.pack(wanted, existing, family, MAX_ENDPOINTS)
                if not wanted.endpoints:
                    changes.create.clear()  # nothing to mirror: no placeholder
                await writer.write(endpoints, _labels(endpoints), annotations, family, changes)
        except ApiError as e:
            if namespace_ends(e):
                return None
            message = f"Error updating EndpointSlices for {key}: {e.message}"
            self._events.record(endpoints, WARNING, "FailedToUpdateEndpointSlices", message)
            raise
        return None


def is_mirrored(endpoints: Endpoints, service: Service) -> bool:
    """Hand-made, not opted out, and for a Service that selects nothing."""
    meta = endpoints.metadata
    return (
        meta.labels.get(SKIP_MIRROR, "").lower() != "true"
        and LEADER not in meta.annotations
        and not service.spec.selector
        and not meta.deletion_timestamp
    )


def _labels(endpoints: Endpoints) -> dict[str, str]:
    labels = {k: v for k, v in endpoints.metadata.labels.items() if k != ENDPOINTS_MANAGED_BY}
    return labels | {SERVICE_NAME: endpoints.metadata.name, MANAGED_BY: CONTROLLER}


def desired(endpoints: Endpoints) -> dict[str, plan.Desired]:
    """The endpoints of each family that the subsets give. Pure."""
    result = {"IPv4": plan.Desired(), "IPv6": plan.Desired()}
    for subset in endpoints.subsets:
        ports = [as_json(port) for port in subset.ports]
        for port in ports:
            port.setdefault("name", "")
            port.setdefault("protocol", "TCP")
        for addresses, ready in ((subset.addresses, True), (subset.not_ready_addresses, False)):
            for address in addresses:
                family = "IPv6" if ":" in address.ip else "IPv4"
                result[family].add(ports, _endpoint(address, ready))
    return result


def _endpoint(address: EndpointAddress, ready: bool) -> dict[str, Any]:
    endpoint: dict[str, Any] = {"addresses": [address.ip], "conditions": {"ready": ready}}
    if address.hostname:
        endpoint["hostname"] = address.hostname
    if address.node_name:
        endpoint["nodeName"] = address.node_name
    if address.target_ref is not None:
        endpoint["targetRef"] = as_json(address.target_ref)
    return endpoint
