"""Adopting and releasing: a controller owns what its selector matches, if nobody else does.

Source: https://kubernetes.io/docs/concepts/architecture/garbage-collection/ and the controllerRef
design (kubernetes/design-proposals-archive, api-machinery/controller-ref.md).
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from skiff.api.errors import Invalid, NotFound
from skiff.api.selectors import LabelSelector
from skiff.api.views.base import ObjectView
from skiff.client.client import Client
from skiff.client.references import controller_of, controller_reference

V = TypeVar("V", bound=ObjectView)

log = logging.getLogger(__name__)


class AdoptionRefused(Exception):
    """The owner is being deleted, or is another object by now: it adopts nothing."""


async def claim(
    client: Client,
    owner: ObjectView,
    selector: LabelSelector,
    candidates: Iterable[V],
    *,
    adoptable: Callable[[V], bool] = lambda _: True,
    finalizer: str = "",
) -> list[V]:
    """Those of `candidates` that `owner` controls, after adopting orphans that match `selector`
    (they get `finalizer`, if there is one) and releasing what it controls and no longer matches.

    Adoption is checked against the live owner first: a cache may not know yet that it is going.
    """
    mine: list[V] = []
    checked = False
    for obj in candidates:
        meta = obj.metadata
        reference = controller_of(meta)
        if reference is not None:
            if reference.uid != owner.metadata.uid:
                continue
            if selector.matches(meta.labels):
                mine.append(obj)
            elif not owner.metadata.deletion_timestamp:
                await _release(client, owner, obj)
            continue
        if (
            owner.metadata.deletion_timestamp
            or meta.deletion_timestamp
            or not selector.matches(meta.labels)
            or not adoptable(obj)
        ):
            continue
        if not checked:
            await _check_alive(client, owner)
            checked = True
        if await _adopt(client, owner, obj, finalizer):
            mine.append(obj)
    return mine


async def _check_alive(client: Client, owner: ObjectView) -> None:
    meta = owner.metadata
    live = (await client.get(owner.RESOURCE, meta.name, meta.namespace))["metadata"]
    if live["uid"] != meta.uid:
        raise AdoptionRefused(
            f"original {owner.RESOURCE.kind} {meta.namespace}/{meta.name} is gone"
        )
    if live.get("deletionTimestamp"):
        raise AdoptionRefused(f"{meta.namespace}/{meta.name} has just been deleted")


async def _adopt(client: Client, owner: ObjectView, obj: ObjectView, finalizer: str) -> bool:
    meta: dict[str, Any] = {
        "ownerReferences": [controller_reference(owner)],
        "uid": obj.metadata.uid,
    }
    if finalizer:
        meta["finalizers"] = [finalizer]
    patch = {"metadata": meta}
    try:
        await _patch(client, obj, patch)
    except NotFound:
        return False
    except Invalid as e:
        log.debug("%s not adopted: %s", obj.metadata.name, e)  # another was quicker
        return False
    return True


async def _release(client: Client, owner: ObjectView, obj: ObjectView) -> None:
    patch = {
        "metadata": {
            "ownerReferences": [{"$patch": "delete", "uid": owner.metadata.uid}],
            "uid": obj.metadata.uid,
        }
    }
    try:
        await _patch(client, obj, patch)
    except (NotFound, Invalid) as e:
        log.debug("%s not released: %s", obj.metadata.name, e)  # gone, or not ours any more


async def _patch(client: Client, obj: ObjectView, patch: Mapping[str, object]) -> None:
    meta = obj.metadata
    await client.patch(obj.RESOURCE, meta.name, meta.namespace, patch, "strategic")
