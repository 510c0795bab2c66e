"""Namespaces: when one is deleted, everything in it goes first; then its finalizer.

Pods go before all else, because what they use should outlive them. The rest is found by discovery,
so custom resources go too. The namespace's conditions say what is left and what hinders.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/; KEP-5080
(ordered namespace deletion); the conditions are those of Kubernetes' namespace controller.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from skiff.aio.clock import parse_rfc3339
from skiff.api.errors import ApiError, Conflict, MethodNotAllowed, NotFound
from skiff.api.resources import NAMESPACES, PODS, Resource
from skiff.api.views.core import Namespace, Pod
from skiff.client.catalog import discover
from skiff.client.client import Client
from skiff.client.reconciler import Key, Reconciler, Result, all_of
from skiff.controllers import status
from skiff.controllers.context import Context
from skiff.controllers.partial import Partial

FINALIZER: Final = "kubernetes"
MAX_IN_FLIGHT: Final = 16
# How soon to look again where something is left: at first quickly, then as pods need.
FIRST_WAIT_S: Final = 0.05
MAX_WAIT_S: Final = 15.0

Text = tuple[str, str]
_GOOD: Final[dict[str, Text]] = {
    "NamespaceDeletionDiscoveryFailure": (
        "ResourcesDiscovered",
        "All resources successfully discovered",
    ),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": (
        "ContentHasNoFinalizers",
        "All content-preserving finalizers finished",
    ),
}


@dataclass(slots=True)
class Remains:
    """What was found in a namespace after deleting: objects and finalizers, by resource."""

    objects: Counter[str] = field(default_factory=Counter)
    finalizers: Counter[str] = field(default_factory=Counter)
    undiscovered: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    wait_s: float = 0.0

    @property
    def nothing(self) -> bool:
        return not (self.objects or self.undiscovered or self.errors)

    def bad(self) -> dict[str, Text]:
        """The conditions that are true, with reason and message. Pure."""
        result: dict[str, Text] = {}
        if self.undiscovered:
            message = (
                f"Discovery failed for some groups, {len(self.undiscovered)} failing: unable to "
                "retrieve the complete list of server APIs: "
                + ", ".join(f"{gv}: stale GroupVersion discovery: {gv}" for gv in self.undiscovered)
            )
            result["NamespaceDeletionDiscoveryFailure"] = ("DiscoveryFailed", message)
        if self.errors:
            message = "Failed to delete all resource types, "
            message += f"{len(self.errors)} remaining: {', '.join(sorted(self.errors))}"
            result["NamespaceDeletionContentFailure"] = ("ContentDeletionFailed", message)
        if self.objects:
            parts = [
                f"{name} has {n} resource instances" for name, n in sorted(self.objects.items())
            ]
            message = f"Some resources are remaining: {', '.join(parts)}"
            result["NamespaceContentRemaining"] = ("SomeResourcesRemain", message)
        if self.finalizers:
            parts = [
                f"{name} in {n} resource instances" for name, n in sorted(self.finalizers.items())
            ]
            message = f"Some content in the namespace has finalizers remaining: {', '.join(parts)}"
            result["NamespaceFinalizersRemaining"] = ("SomeFinalizersRemain", message)
        return result


class NamespaceReconciler(Reconciler):
    """See the module's text. Keys are namespaces."""

    name: ClassVar[str] = "namespace"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=10)
        self._clock = context.clock
        self._client = context.client
        self._namespaces = context.informers.of(Namespace)
        self._waits: dict[str, float] = {}
        self.follow(self._namespaces)
        context.informers.of(Pod).subscribe(self._pod_changed)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """A pod is gone: a namespace that is being deleted may go on."""
        if new is None and old is not None:
            namespace = self._namespaces.get(old.metadata.namespace)
            if namespace is not None and namespace.metadata.deletion_timestamp:
                self.queue.add(Key("", old.metadata.namespace))

    async def reconcile(self, key: Key) -> Result | None:
        """Empty a namespace that is being deleted, then let it go."""
        namespace = self._namespaces.get(key.name)
        if namespace is None or not namespace.metadata.deletion_timestamp:
            self._waits.pop(key.name, None)
            return None
        if FINALIZER not in namespace.spec.finalizers:
            return None
        remains = await self._empty(namespace)
        await self._report(namespace, remains)
        if remains.nothing:
            await self._finalize(namespace)
            return None
        # Finalizers take their time; what was deleted plainly is gone at the second look.
        wait_s = min(self._waits.get(key.name, FIRST_WAIT_S) * 2, MAX_WAIT_S)
        self._waits[key.name] = wait_s
        return Result(
            max(wait_s, min(remains.wait_s / 2, MAX_WAIT_S)) if remains.wait_s else wait_s
        )

    async def _empty(self, namespace: Namespace) -> Remains:
        remains = Remains()
        name = namespace.metadata.name
        await self._delete_all(PODS, name, remains)
        if remains.objects or remains.errors:
            return remains
        catalog = await discover(self._client)
        remains.undiscovered = list(catalog.stale)
        kinds = [r for r in catalog.resources if _is_content(r)]
        await all_of(*(self._deletion(r, name, remains) for r in kinds), limit=MAX_IN_FLIGHT)
        return remains

    def _deletion(self, resource: Resource, namespace: str, remains: Remains) -> Any:
        return lambda: self._delete_all(resource, namespace, remains)

    async def _delete_all(self, resource: Resource, namespace: str, remains: Remains) -> None:
        """Delete every object of one kind and note what is left."""
        try:
            found = await self._list(resource, namespace)
            if not found:
                return
            await self._delete_found(resource, namespace, found)
            self._note(resource, await self._list(resource, namespace), remains)
        except (NotFound, MethodNotAllowed):
            return  # the kind went meanwhile
        except ApiError as e:
            remains.errors.append(e.message)

    async def _list(self, resource: Resource, namespace: str) -> list[Partial]:
        listing = await self._client.list(Partial, namespace, resource=resource)
        return listing.items

    async def _delete_found(
        self, resource: Resource, namespace: str, found: Sequence[Partial]
    ) -> None:
        client = self._client
        if "deletecollection" in resource.verbs:
            await client.delete_collection(resource, namespace, propagation="Background")
            return

        def deletion(name: str) -> Any:
            return lambda: client.delete(resource, name, namespace, propagation="Background")

        names = [obj.metadata.name for obj in found if not obj.metadata.deletion_timestamp]
        errors = await all_of(*map(deletion, names), limit=MAX_IN_FLIGHT)
        for error in errors:
            if error is not None and not isinstance(error, NotFound):
                raise error

    def _note(self, resource: Resource, left: Iterable[Partial], remains: Remains) -> None:
        now = self._clock.now()
        for obj in left:
            meta = obj.metadata
            remains.objects[_name(resource)] += 1
            remains.finalizers.update(meta.finalizers)
            if meta.deletion_timestamp:
                ends_in_s = parse_rfc3339(meta.deletion_timestamp) - now
                remains.wait_s = max(remains.wait_s, ends_in_s)

    async def _report(self, namespace: Namespace, remains: Remains) -> None:
        conditions = status.conditions_of(namespace.status.conditions)
        bad = remains.bad()
        now = self._clock.now()
        changed = False
        for kind, good in _GOOD.items():
            reason, message = bad.get(kind, good)
            state = "True" if kind in bad else "False"
            if kind not in bad and status.find(conditions, kind) is None and remains.nothing:
                continue  # about to go: a new condition tells nobody anything
            changed |= status.set_condition(conditions, kind, state, reason, message, now)
        if changed:
            meta = namespace.metadata
            patch = {"metadata": {"uid": meta.uid}, "status": {"conditions": conditions}}
            try:
                await self._client.patch(NAMESPACES, meta.name, "", patch, subresource="status")
            except (NotFound, Conflict):
                pass

    async def _finalize(self, namespace: Namespace) -> None:
        """Take our finalizer off `spec.finalizers`: with the last one the namespace goes."""
        await finalize(self._client, namespace.metadata.name, namespace.metadata.uid)
        self._waits.pop(namespace.metadata.name, None)


async def finalize(client: Client, name: str, uid: str) -> None:
    """PUT …/finalize without our finalizer."""
    try:
        live = await client.get(NAMESPACES, name)
        if live["metadata"]["uid"] != uid:
            return
        finalizers = [f for f in live["spec"].get("finalizers", ()) if f != FINALIZER]
        live["spec"] = {**live["spec"], "finalizers": finalizers}
        await client.replace(NAMESPACES, live, "finalize")
    except NotFound:
        pass


def _is_content(resource: Resource) -> bool:
    # Both groups of events are the same objects.
    return (
        resource.namespaced
        and "delete" in resource.verbs
        and "list" in resource.verbs
        and resource.group != "events.k8s.io"
    )


def _name(resource: Resource) -> str:
    """`pods.` and `deployments.apps`: as Kubernetes writes them in these messages."""
    return f"{resource.plural}.{resource.group}"
