"""Who owns whom. Pure: observations in, uids to look at again out.

A node stands for an object, by uid. An owner that is referred to and was never observed is a
virtual node: whether it exists must be asked of the server. A node whose deletion waits for its
dependents (finalizer foregroundDeletion) is `foreground`.

Invariants: `a in b.dependents` if and only if a reference of `a` names `b.uid`; a virtual node has
dependents.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from skiff.api.resources import Resource
from skiff.api.views.meta import ObjectMeta, OwnerReference

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"
MAX_ABSENT: Final = 2000


class Node:
    """An object, as far as ownership is concerned."""

    __slots__ = (
        "deleting", "dependents", "finalizers", "foreground", "name", "namespace", "orphaning",
        "owners", "resource", "revision", "uid", "virtual",
    )  # fmt: skip

    def __init__(self, uid: str, name: str, namespace: str, resource: Resource | None) -> None:
        self.uid = uid
        self.name = name
        self.namespace = namespace
        self.resource = resource
        self.owners: tuple[OwnerReference, ...] = ()
        self.dependents: dict[str, Node] = {}
        self.finalizers: tuple[str, ...] = ()
        self.revision = ""
        self.deleting = False
        self.foreground = False
        self.orphaning = False
        self.virtual = False


@dataclass(slots=True)
class Work:
    """Uids to look at again: may they go (`check`), must their dependents be let free (`orphan`)."""

    check: dict[str, None] = field(default_factory=dict)
    orphan: dict[str, None] = field(default_factory=dict)

    def add(self, nodes: Iterable[Node]) -> None:
        self.check.update((node.uid, None) for node in nodes)


class Graph:
    """See the module's text."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        # Uids that surely do not exist (any more); bounded, the oldest is forgotten.
        self._absent: OrderedDict[str, None] = OrderedDict()

    def is_absent(self, uid: str) -> bool:
        """Whether the uid is known not to exist."""
        return uid in self._absent

    def observe(self, resource: Resource, meta: ObjectMeta) -> Work:
        """An object as it is now."""
        work = Work()
        self._absent.pop(meta.uid, None)
        node = self.nodes.get(meta.uid)
        if node is None:
            node = self.nodes[meta.uid] = Node(meta.uid, meta.name, meta.namespace, resource)
        elif node.virtual:
            self._realize(node, resource, meta, work)
        node.revision = meta.resource_version
        node.finalizers = meta.finalizers
        if meta.owner_references != node.owners:
            self._change_owners(node, meta.owner_references, work)
        self._transition(node, meta, work)
        return work

    def vanished(self, uid: str) -> Work:
        """The object is gone, or turned out never to have been."""
        work = Work()
        self._absent[uid] = None
        if len(self._absent) > MAX_ABSENT:
            self._absent.popitem(last=False)
        node = self.nodes.pop(uid, None)
        if node is None:
            return work
        for reference in node.owners:
            self._unlink(node, reference.uid, work)
        work.add(node.dependents.values())
        return work

    def blocking(self, node: Node) -> list[Node]:
        """The dependents that a foreground deletion of `node` waits for."""
        return [
            dependent
            for dependent in node.dependents.values()
            if any(r.uid == node.uid and r.block_owner_deletion for r in dependent.owners)
        ]

    def _realize(self, node: Node, resource: Resource, meta: ObjectMeta, work: Work) -> None:
        node.virtual = False
        node.resource, node.name, node.namespace = resource, meta.name, meta.namespace
        # References may have named it wrongly: those look again.
        work.add(
            d for d in node.dependents.values() if d.namespace != meta.namespace and meta.namespace
        )

    def _change_owners(self, node: Node, new: tuple[OwnerReference, ...], work: Work) -> None:
        old = {reference.uid: reference for reference in node.owners}
        kept = {reference.uid: reference for reference in new}
        node.owners = new
        for uid, reference in old.items():
            if uid not in kept:
                self._unlink(node, uid, work)
            elif reference.block_owner_deletion and not kept[uid].block_owner_deletion:
                owner = self.nodes.get(uid)
                if owner is not None and owner.foreground:
                    work.add((owner,))
        for uid, reference in kept.items():
            if uid not in old:
                self._link(node, reference, work)
        if len(kept) < len(old):
            work.add((node,))

    def _link(self, node: Node, reference: OwnerReference, work: Work) -> None:
        owner = self.nodes.get(reference.uid)
        if owner is None:
            if self.is_absent(reference.uid):
                work.add((node,))
                return
            owner = Node(reference.uid, reference.name, node.namespace, None)
            owner.virtual = True
            self.nodes[reference.uid] = owner
            work.add((owner,))
        owner.dependents[node.uid] = node
        misplaced = owner.resource is not None and is_misplaced(owner, node)
        if owner.foreground or misplaced:
            work.add((node, owner))

    def _unlink(self, node: Node, owner_uid: str, work: Work) -> None:
        owner = self.nodes.get(owner_uid)
        if owner is None:
            return
        owner.dependents.pop(node.uid, None)
        if owner.virtual and not owner.dependents:
            del self.nodes[owner_uid]
        elif owner.foreground:
            work.add((owner,))

    def _transition(self, node: Node, meta: ObjectMeta, work: Work) -> None:
        deleting = bool(meta.deletion_timestamp)
        if deleting and ORPHAN in meta.finalizers and not node.orphaning:
            node.orphaning = True
            work.orphan[node.uid] = None
        if deleting and FOREGROUND in meta.finalizers and not node.foreground:
            node.foreground = True
            work.add(node.dependents.values())
            work.add((node,))
        node.deleting = deleting


def is_misplaced(owner: Node, dependent: Node) -> bool:
    """A namespaced owner owns only in its own namespace; elsewhere it counts as absent."""
    return (
        owner.resource is not None
        and owner.resource.namespaced
        and owner.namespace != dependent.namespace
    )
