"""EndpointSlices of Services that select pods."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final

from skiff.api.errors import ApiError, NotFound
from skiff.api.resources import ENDPOINTSLICES
from skiff.api.views.core import Node, Service
from skiff.api.views.discovery import EndpointSlice
from skiff.client.client import Client
from skiff.client.events import WARNING
from skiff.client.informer import Informer
from skiff.client.reconciler import Key, Reconciler, Result
from skiff.client.references import controller_reference
from skiff.controllers import services
from skiff.controllers.context import Context
from skiff.controllers.endpoints import trigger_annotation
from skiff.controllers.endpointslice import plan
from skiff.controllers.podcontrol import namespace_ends
from skiff.controllers.services import HEADLESS_LABEL, TRIGGER_TIME, ServicePods

SERVICE_NAME: Final = "kubernetes.io/service-name"
MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
CONTROLLER: Final = "endpointslice-controller.k8s.io"
MAX_ENDPOINTS: Final = 100
GENERATE_NAME_ROOM: Final = 57


class EndpointSliceReconciler(Reconciler):
    """Keys are Services."""

    name: ClassVar[str] = "endpointslice"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=5)
        self._clock = context.clock
        self._client = context.client
        self._events = context.events.of("endpoint-slice-controller")
        self._slices = context.informers.of(EndpointSlice)
        self._nodes = context.informers.of(Node)
        self._world = ServicePods(context.informers, self.queue)
        self._slices.add_index("service", service_of)
        self._tracker = SliceTracker(self._slices)
        self.needs(self._world.services, self._world.pods, self._nodes)
        self.follow(self._slices, self._service_keys)

    def _service_keys(self, found: EndpointSlice) -> Iterable[Key]:
        labels = found.metadata.labels
        if labels.get(MANAGED_BY) == CONTROLLER and labels.get(SERVICE_NAME):
            yield Key(found.metadata.namespace, labels[SERVICE_NAME])

    async def reconcile(self, key: Key) -> Result | None:
        """Make the slices match the Service's pods."""
        service = self._world.services.get(key.name, key.namespace)
        if service is None:
            self._tracker.forget(key)
            return None  # the garbage collector deletes the slices with their owner
        if not services.selects(service):
            return None
        existing = [
            found
            for found in self._slices.by_index("service", (key.namespace, key.name))
            if found.metadata.labels.get(MANAGED_BY) == CONTROLLER
            and not found.metadata.deletion_timestamp
        ]
        if not self._tracker.up_to_date(key, existing):
            return None  # the slice that is missing brings the key back
        matching = self._world.of(service)
        trigger = trigger_annotation(service, matching, self._clock.now())
        writer = SliceWriter(self._client, self._tracker, key, CONTROLLER)
        types = plan.address_types(service)
        try:
            for address_type in types:
                wanted = plan.desired(service, matching, self._nodes.get, address_type)
                changes = plan.pack(wanted, existing, address_type, MAX_ENDPOINTS)
                await writer.write(service, _labels(service), trigger, address_type, changes)
            await writer.delete([s for s in existing if s.address_type not in types])
        except ApiError as e:
            if namespace_ends(e):
                return None
            message = f"Error updating Endpoint Slices for Service {key.namespace}/{key.name}: {e.message}"
            self._events.record(service, WARNING, "FailedToUpdateEndpointSlices", message)
            raise
        return None


def _labels(service: Service) -> dict[str, str]:
    own = (SERVICE_NAME, MANAGED_BY, HEADLESS_LABEL)
    labels = {k: v for k, v in service.metadata.labels.items() if k not in own}
    if services.is_headless(service):
        labels[HEADLESS_LABEL] = ""
    return labels | {SERVICE_NAME: service.metadata.name, MANAGED_BY: CONTROLLER}


def service_of(found: EndpointSlice) -> tuple[tuple[str, str], ...]:
    """Index key: the namespace and name of the slice's Service."""
    name = found.metadata.labels.get(SERVICE_NAME)
    return ((found.metadata.namespace, name),) if name else ()


class SliceTracker:
    """The slices that were written, until the informer shows them: a sync on an older cache would
    create them twice."""

    def __init__(self, slices: Informer[EndpointSlice]) -> None:
        self._written: dict[Key, dict[str, str]] = defaultdict(dict)
        slices.subscribe(self._changed)

    def _changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        if new is None and old is not None:
            for namespace, name in service_of(old):
                self.deleted(Key(namespace, name), old.metadata.name)

    def wrote(self, key: Key, name: str, generation: str) -> None:
        self._written[key][name] = generation

    def deleted(self, key: Key, name: str) -> None:
        if (written := self._written.get(key)) is not None:
            written.pop(name, None)

    def forget(self, key: Key) -> None:
        self._written.pop(key, None)

    def up_to_date(self, key: Key, existing: Sequence[EndpointSlice]) -> bool:
        """Whether the cache shows at least what was written. What it shows is ticked off."""
        written = self._written.get(key)
        if not written:
            return True
        for found in existing:
            expected = written.get(found.metadata.name)
            if expected is not None and int(found.metadata.resource_version) >= int(expected):
                del written[found.metadata.name]
        return not written


class SliceWriter:
    """Writes what `plan.pack` decided, for one owner."""

    def __init__(self, client: Client, tracker: SliceTracker, key: Key, manager: str) -> None:
        self._client = client
        self._tracker = tracker
        self._key = key
        self._manager = manager

    async def write(
        self,
        owner: Any,
        labels: dict[str, str],
        annotations: dict[str, str],
        address_type: str,
        changes: plan.Changes,
    ) -> None:
        """Create and update before deleting, so that no endpoint is missing meanwhile."""
        for new in changes.create:
            body = self._body(owner, labels, annotations, address_type, new)
            body["metadata"]["generateName"] = f"{owner.metadata.name[:GENERATE_NAME_ROOM]}-"
            written = await self._client.create(ENDPOINTSLICES, body, self._key.namespace)
            self._note(written)
        for new in (*changes.update, *changes.kept):
            assert new.existing is not None
            meta = new.existing.metadata
            if new in changes.kept and meta.labels == labels and self._owned(owner, new.existing):
                continue
            body = self._body(owner, labels, annotations, address_type, new)
            kept = {k: v for k, v in meta.annotations.items() if k != TRIGGER_TIME}
            body["metadata"]["annotations"] = kept | annotations
            if meta.generate_name:
                body["metadata"]["generateName"] = meta.generate_name
            body["metadata"] |= {
                "name": meta.name,
                "uid": meta.uid,
                "resourceVersion": meta.resource_version,
            }
            try:
                self._note(await self._client.replace(ENDPOINTSLICES, body))
            except NotFound:
                self._tracker.deleted(self._key, meta.name)
                raise
        await self.delete(changes.delete)

    async def delete(self, slices: Sequence[EndpointSlice]) -> None:
        """Delete these; one that is gone is as good."""
        for found in slices:
            meta = found.metadata
            try:
                await self._client.delete(ENDPOINTSLICES, meta.name, meta.namespace, uid=meta.uid)
            except NotFound:
                pass
            self._tracker.deleted(self._key, meta.name)

    def _owned(self, owner: Any, found: EndpointSlice) -> bool:
        return any(r.uid == owner.metadata.uid for r in found.metadata.owner_references)

    def _note(self, written: dict[str, Any]) -> None:
        meta = written["metadata"]
        self._tracker.wrote(self._key, meta["name"], meta["resourceVersion"])

    def _body(
        self,
        owner: Any,
        labels: dict[str, str],
        annotations: dict[str, str],
        address_type: str,
        new: plan.Slice,
    ) -> dict[str, Any]:
        return {
            "apiVersion": ENDPOINTSLICES.api_version,
            "kind": ENDPOINTSLICES.kind,
            "metadata": {
                "namespace": self._key.namespace,
                "labels": labels,
                "annotations": dict(annotations),
                "ownerReferences": [controller_reference(owner)],
            },
            "addressType": address_type,
            "endpoints": new.endpoints,
            "ports": new.ports,
        }
