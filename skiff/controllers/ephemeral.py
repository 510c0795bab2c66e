"""Claims for pods' own volumes: each generic ephemeral volume gets a claim that goes with its pod.

Source: https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#generic-ephemeral-volumes
"""

from collections.abc import Iterator
from typing import ClassVar

from skiff.api.errors import AlreadyExists
from skiff.api.resources import PERSISTENTVOLUMECLAIMS
from skiff.api.views.base import as_json
from skiff.api.views.core import PersistentVolumeClaim, Pod, Volume
from skiff.client.client import Object
from skiff.client.reconciler import Key, Reconciler, Result, key_of
from skiff.client.references import controller_of, controller_reference
from skiff.controllers.context import Context


class EphemeralVolumes(Reconciler):
    """Keys are pods."""

    name: ClassVar[str] = "ephemeral-volume"

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._client = context.client
        self._pods = context.informers.of(Pod)
        self._claims = context.informers.of(PersistentVolumeClaim)
        self.follow(self._pods, lambda pod: (key_of(pod),) if _wanted(pod) else ())
        self.follow(self._claims, _owner)

    async def reconcile(self, key: Key) -> Result | None:
        """Make the claims that are missing."""
        pod = self._pods.get(key.name, key.namespace)
        if pod is None or pod.metadata.deletion_timestamp:
            return None
        for volume in _wanted(pod):
            name = f"{key.name}-{volume.name}"
            if self._claims.get(name, key.namespace) is not None:
                continue  # somebody else's stays so: the scheduler tells of it
            try:
                await self._client.create(PERSISTENTVOLUMECLAIMS, claim_for(pod, volume))
            except AlreadyExists:
                pass
        return None


def claim_for(pod: Pod, volume: Volume) -> Object:
    """The claim of a pod's volume, after the volume's template. Pure."""
    assert volume.ephemeral is not None
    template = volume.ephemeral.volume_claim_template
    assert template is not None
    metadata: Object = {
        "name": f"{pod.metadata.name}-{volume.name}",
        "namespace": pod.metadata.namespace,
        "ownerReferences": [controller_reference(pod)],
    }
    for field, found in (
        ("labels", template.metadata.labels),
        ("annotations", template.metadata.annotations),
    ):
        if found:
            metadata[field] = dict(found)
    return {
        "apiVersion": PERSISTENTVOLUMECLAIMS.api_version,
        "kind": PERSISTENTVOLUMECLAIMS.kind,
        "metadata": metadata,
        "spec": as_json(template.spec),
    }


def _wanted(pod: Pod) -> list[Volume]:
    return [
        v for v in pod.spec.volumes
        if v.ephemeral is not None and v.ephemeral.volume_claim_template is not None
    ]  # fmt: skip


def _owner(claim: PersistentVolumeClaim) -> Iterator[Key]:
    owner = controller_of(claim.metadata)
    if owner is not None and owner.kind == "Pod":
        yield Key(claim.metadata.namespace, owner.name)
