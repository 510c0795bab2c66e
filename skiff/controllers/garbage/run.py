"""The collector's loops: informers of every resource feed the graph; workers act on what it says."""

import logging
from collections.abc import Callable
from typing import Any, ClassVar, Final

from skiff.aio.run import Started
from skiff.api.errors import ApiError, Conflict, NotFound
from skiff.api.resources import CUSTOMRESOURCEDEFINITIONS, RESOURCES, Resource
from skiff.api.views.base import ObjectView
from skiff.api.views.meta import OwnerReference
from skiff.client.catalog import Catalog, discover
from skiff.client.client import Object
from skiff.client.informer import Informer
from skiff.client.reconciler import Key, Reconciler, Result
from skiff.controllers.context import Context
from skiff.controllers.garbage.graph import FOREGROUND, ORPHAN, Graph, Node, Work, is_misplaced
from skiff.controllers.pace import settle_s
from skiff.controllers.partial import Partial

# Kinds that own nothing, are owned by nothing, and come in great numbers.
IGNORED: Final = frozenset({("", "events"), ("events.k8s.io", "events")})
# After a custom resource definition changed, discovery follows within moments.
REDISCOVER_AFTER_S: Final = 1.0
MAX_CONFLICTS: Final = 5
APISERVICES: Final = ("apiregistration.k8s.io", "v1", "apiservices")

CHECK: Final = "check"
FREE: Final = "orphan"
DISCOVER: Final = Key("discover", "")

log = logging.getLogger(__name__)


class GarbageCollector(Reconciler):
    """See the package's text. Keys: (check | orphan, uid), and one for discovery."""

    name: ClassVar[str] = "garbage-collector"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=64)
        self._clock = context.clock
        self._client = context.client
        self._informers = context.informers
        self._graph = Graph()
        self._catalog = Catalog((), ())
        self._watched: dict[Resource, Informer[Any]] = {}
        definitions = context.informers.of(Partial, resource=CUSTOMRESOURCEDEFINITIONS)
        definitions.subscribe(self._definitions_changed)
        if (services := RESOURCES.get(APISERVICES)) is not None:
            context.informers.of(Partial, resource=services).subscribe(self._definitions_changed)

    async def run(self, started: Started) -> None:
        """Watch everything; once it is all known, collect."""
        await self._rediscover_until_known()
        for informer in list(self._watched.values()):
            await informer.synced.wait()
        await super().run(started)

    async def reconcile(self, key: Key) -> Result | None:
        """Look at one object again."""
        if key == DISCOVER:
            await self._rediscover()
            return None
        node = self._graph.nodes.get(key.name)
        if node is None:
            return None
        if key.namespace == FREE:
            await self._orphan_dependents(node)
            return None
        return await self._check(node)

    # Observing

    def _definitions_changed(self, old: object, new: object) -> None:
        self.queue.add_after(DISCOVER, REDISCOVER_AFTER_S)

    async def _rediscover_until_known(self) -> None:
        while True:
            try:
                await self._rediscover()
            except ApiError as e:
                log.debug("garbage collector: discovery: %s", e)
                await self._clock.sleep(REDISCOVER_AFTER_S)
            else:
                return

    async def _rediscover(self) -> None:
        """Watch what is served now, and forget what no longer is."""
        catalog = await discover(self._client)
        wanted = {r for r in catalog.resources if _is_collected(r)}
        self._catalog = catalog
        for resource in wanted - self._watched.keys():
            self._watch(resource)
        groups = {stale.rpartition("/")[0] for stale in catalog.stale}
        for resource in self._watched.keys() - wanted:
            if resource.group not in groups:
                self._forget(resource)

    def _watch(self, resource: Resource) -> None:
        informer: Informer[Any] | None = self._informers.existing(resource)
        if informer is None:
            informer = self._informers.of(Partial, resource=resource)
        self._watched[resource] = informer
        informer.subscribe(self._observer(resource))

    def _observer(
        self, resource: Resource
    ) -> Callable[[ObjectView | None, ObjectView | None], None]:
        def changed(old: ObjectView | None, new: ObjectView | None) -> None:
            if resource not in self._watched:
                return
            if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
                self._enqueue(self._graph.vanished(old.metadata.uid))
            if new is not None:
                self._enqueue(self._graph.observe(resource, new.metadata))

        return changed

    def _forget(self, resource: Resource) -> None:
        """The resource is no longer served: its objects are gone."""
        informer = self._watched.pop(resource)
        for obj in informer.list():
            self._enqueue(self._graph.vanished(obj.metadata.uid))
        self._informers.drop(Partial, resource)

    def _enqueue(self, work: Work) -> None:
        for uid in work.check:
            node = self._graph.nodes.get(uid)
            waiting = len(node.dependents) if node is not None and node.foreground else 0
            self.queue.add_after(Key(CHECK, uid), settle_s(waiting))
        for uid in work.orphan:
            self.queue.add(Key(FREE, uid))

    # Deciding

    async def _check(self, node: Node) -> Result | None:
        if node.virtual:
            await self._verify(node)
            return None
        if node.deleting and not node.foreground:
            return None
        if node.foreground:
            await self._advance_foreground(node)
            return None
        if not node.owners:
            return None
        solid, dangling, waiting = await self._classify(node)
        if solid:
            if dangling or waiting:
                await self._drop_owners(node, {r.uid for r in (*dangling, *waiting)})
            return None
        if waiting and node.dependents:
            # What a waiting owner waits for may itself have dependents that wait: a circle is
            # broken by not letting this one block.
            if any(dependent.foreground for dependent in node.dependents.values()):
                await self._unblock_owners(node)
            await self._delete(node, "Foreground")
            return None
        policy = "Background"
        if ORPHAN in node.finalizers:
            policy = "Orphan"
        elif FOREGROUND in node.finalizers:
            policy = "Foreground"
        await self._delete(node, policy)
        return None

    async def _advance_foreground(self, node: Node) -> None:
        """Let the owner go when nothing blocks it; else see that what blocks it goes."""
        blocking = self._graph.blocking(node)
        if not blocking:
            await self._remove_finalizer(node, FOREGROUND)
            return
        for dependent in blocking:
            if not dependent.deleting:
                self.queue.add(Key(CHECK, dependent.uid))

    async def _classify(
        self, node: Node
    ) -> tuple[list[OwnerReference], list[OwnerReference], list[OwnerReference]]:
        """The node's references to owners that exist, that do not, and that wait to be deleted."""
        solid: list[OwnerReference] = []
        dangling: list[OwnerReference] = []
        waiting: list[OwnerReference] = []
        for reference in node.owners:
            owner = self._graph.nodes.get(reference.uid)
            if owner is not None and not owner.virtual:
                if is_misplaced(owner, node):
                    dangling.append(reference)
                elif owner.foreground:
                    waiting.append(reference)
                else:
                    solid.append(reference)
            elif self._graph.is_absent(reference.uid) or not await self._exists(reference, node):
                dangling.append(reference)
            else:
                solid.append(reference)
        return solid, dangling, waiting

    async def _verify(self, node: Node) -> None:
        """Whether a virtual node exists: its informer will bring it, or it is gone."""
        dependent = next(iter(node.dependents.values()), None)
        if dependent is None:
            return
        reference = next(r for r in dependent.owners if r.uid == node.uid)
        if not await self._exists(reference, dependent) and node.virtual:
            self._enqueue(self._graph.vanished(node.uid))

    async def _exists(self, reference: OwnerReference, dependent: Node) -> bool:
        """Ask the server for the owner that a reference names."""
        resource = self._catalog.of_kind(reference.api_version, reference.kind)
        if resource is None:
            raise NotFound(f"no resource serves {reference.api_version} {reference.kind}")
        namespace = dependent.namespace if resource.namespaced else ""
        if resource.namespaced and not namespace:
            return False
        try:
            live = await self._client.read_as(Partial, resource, reference.name, namespace)
        except NotFound:
            return False
        return live.metadata.uid == reference.uid

    # Acting

    async def _delete(self, node: Node, policy: str) -> None:
        assert node.resource is not None
        try:
            await self._client.delete(
                node.resource,
                node.name,
                node.namespace,
                uid=node.uid,
                resource_version=node.revision,
                propagation=policy,
            )
        except NotFound:
            self._enqueue(self._graph.vanished(node.uid))

    async def _drop_owners(self, node: Node, uids: set[str]) -> None:
        def change(metadata: Object) -> Object:
            owners = metadata.get("ownerReferences") or ()
            return {"ownerReferences": [r for r in owners if r["uid"] not in uids] or None}

        await self._change_metadata(node, change)

    async def _unblock_owners(self, node: Node) -> None:
        def change(metadata: Object) -> Object:
            owners = metadata.get("ownerReferences") or ()
            return {"ownerReferences": [r | {"blockOwnerDeletion": False} for r in owners] or None}

        await self._change_metadata(node, change)

    async def _remove_finalizer(self, node: Node, finalizer: str) -> None:
        def change(metadata: Object) -> Object | None:
            finalizers = metadata.get("finalizers") or ()
            if finalizer not in finalizers:
                return None
            return {"finalizers": [f for f in finalizers if f != finalizer] or None}

        await self._change_metadata(node, change)

    async def _orphan_dependents(self, node: Node) -> None:
        for dependent in list(node.dependents.values()):
            await self._drop_owners(dependent, {node.uid})
        await self._remove_finalizer(node, ORPHAN)

    async def _change_metadata(self, node: Node, change: Callable[[Object], Object | None]) -> None:
        """Patch the live object's metadata with what `change` makes of it, at that revision."""
        assert node.resource is not None
        for attempt in range(MAX_CONFLICTS):
            try:
                live = await self._client.get(node.resource, node.name, node.namespace)
                metadata = live["metadata"]
                if metadata["uid"] != node.uid or (patch := change(metadata)) is None:
                    return
                precise = {"uid": node.uid, "resourceVersion": metadata["resourceVersion"]}
                await self._client.patch(
                    node.resource, node.name, node.namespace, {"metadata": patch | precise}
                )
            except NotFound:
                return
            except Conflict:
                if attempt == MAX_CONFLICTS - 1:
                    raise
            else:
                return


def _is_collected(resource: Resource) -> bool:
    return {"delete", "list", "watch"} <= set(resource.verbs) and (
        resource.group,
        resource.plural,
    ) not in IGNORED
