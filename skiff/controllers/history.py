"""ControllerRevisions: the history of a DaemonSet's or StatefulSet's template.

Source: https://kubernetes.io/docs/tasks/manage-daemon/rollback-daemon-set/#understanding-daemonset-revisions.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from skiff.api.errors import AlreadyExists, NotFound
from skiff.api.resources import CONTROLLERREVISIONS
from skiff.api.selectors import LabelSelector
from skiff.api.views.apps import ControllerRevision, DaemonSet, StatefulSet
from skiff.client.client import Client
from skiff.client.informer import Informer, InformerFactory
from skiff.client.references import controller_of, controller_reference
from skiff.controllers import template
from skiff.controllers.ownership import claim

HASH_LABEL: Final = "controller-revision-hash"
REVISION_HASH_LABEL: Final = "controller.kubernetes.io/hash"
MAX_NAME: Final = 223

Owner = DaemonSet | StatefulSet


@dataclass(frozen=True, slots=True)
class Revisions:
    """An owner's history: `current` is its template as it is now, `old` the rest, oldest first.
    `collisions` is the count to store where it differs from the owner's."""

    current: ControllerRevision
    old: tuple[ControllerRevision, ...]
    collisions: int = 0


class History:
    """Keeps ControllerRevisions. `hash_label` is the label on them that holds the hash."""

    def __init__(self, client: Client, informers: InformerFactory, hash_label: str) -> None:
        self._client = client
        self._hash_label = hash_label
        self.informer: Informer[ControllerRevision] = informers.of(ControllerRevision)
        self.informer.add_index("controller", _controllers)

    async def list(self, owner: Owner, selector: LabelSelector) -> list[ControllerRevision]:
        """The owner's revisions, orphans that match adopted, oldest first."""
        candidates = self.informer.by_index("controller", owner.metadata.uid)
        candidates += self.informer.by_index("controller", ("", owner.metadata.namespace))
        found = await claim(self._client, owner, selector, candidates)
        return sorted(found, key=lambda r: (r.revision, r.metadata.creation_timestamp))

    async def sync(
        self, owner: Owner, pod_template: template.Template, found: Sequence[ControllerRevision]
    ) -> Revisions:
        """Make sure that the template has a revision, and that its number is the highest."""
        data = patch_of(pod_template)
        collisions = owner.status.collision_count
        newest = max((r.revision for r in found), default=0)
        equal = [r for r in found if r.data == data]
        if not equal:
            current, collisions = await self._create(owner, pod_template, data, newest + 1)
        else:
            current = equal[-1]
            if current.revision < newest:
                await self._renumber(current, newest + 1)
                current = msgspec.structs.replace(current, revision=newest + 1)
        old = tuple(r for r in found if r.metadata.uid != current.metadata.uid)
        return Revisions(current, old, collisions)

    async def clean_up(self, revisions: Revisions, limit: int, in_use: frozenset[str]) -> None:
        """Delete the oldest beyond `limit`, except those whose hash (or name) pods still carry."""
        idle = [
            r
            for r in revisions.old
            if r.metadata.name not in in_use and self.hash_of(r) not in in_use
        ]
        for revision in idle[: max(0, len(idle) - limit)]:
            meta = revision.metadata
            try:
                await self._client.delete(
                    CONTROLLERREVISIONS, meta.name, meta.namespace, uid=meta.uid
                )
            except NotFound:
                pass

    def hash_of(self, revision: ControllerRevision) -> str:
        """The hash that the revision is labelled with."""
        return revision.metadata.labels.get(self._hash_label, "")

    async def _create(
        self, owner: Owner, pod_template: template.Template, data: dict[str, Any], number: int
    ) -> tuple[ControllerRevision, int]:
        meta = owner.metadata
        collisions = owner.status.collision_count
        labels = dict((pod_template.get("metadata") or {}).get("labels") or {})
        while True:
            digest = _hash(data, collisions)
            name = f"{meta.name[:MAX_NAME]}-{digest}"
            body = {
                "apiVersion": CONTROLLERREVISIONS.api_version,
                "kind": CONTROLLERREVISIONS.kind,
                "metadata": {
                    "name": name,
                    "namespace": meta.namespace,
                    "labels": labels | {self._hash_label: digest},
                    "annotations": meta.annotations,
                    "ownerReferences": [controller_reference(owner)],
                },
                "data": data,
                "revision": number,
            }
            try:
                await self._client.create(CONTROLLERREVISIONS, body)
            except AlreadyExists:
                found = await self._client.read(ControllerRevision, name, meta.namespace)
                if found.data == data:
                    return found, collisions
                collisions += 1
            else:
                found = await self._client.read(ControllerRevision, name, meta.namespace)
                return found, collisions

    async def _renumber(self, revision: ControllerRevision, number: int) -> None:
        meta = revision.metadata
        patch = {"metadata": {"uid": meta.uid}, "revision": number}
        await self._client.patch(CONTROLLERREVISIONS, meta.name, meta.namespace, patch)


def patch_of(pod_template: template.Template) -> dict[str, Any]:
    """The strategic merge patch that puts the template back: what a revision holds."""
    return {"spec": {"template": {**pod_template, "$patch": "replace"}}}


def template_of(revision: ControllerRevision) -> template.Template:
    """The template that a revision holds."""
    held = dict(((revision.data or {}).get("spec") or {}).get("template") or {})
    held.pop("$patch", None)
    return held


def _hash(data: dict[str, Any], collisions: int) -> str:
    encoded = msgspec.json.encode(data, order="deterministic") + str(collisions or "").encode()
    number = int.from_bytes(hashlib.sha256(encoded).digest()[:4], "big")
    return template.safe_encode(str(number))


def _controllers(revision: ControllerRevision) -> tuple[object, ...]:
    reference = controller_of(revision.metadata)
    return (reference.uid,) if reference else (("", revision.metadata.namespace),)
