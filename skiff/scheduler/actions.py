"""What a decision becomes: requests to the API server, and events."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skiff.aio.clock import Clock, rfc3339
from skiff.api.errors import ApiError, Conflict, NotFound
from skiff.api.resources import PODS, RESOURCES
from skiff.api.views.core import Pod
from skiff.api.volume_match import BOUND_BY_CONTROLLER, SELECTED_NODE
from skiff.client.client import Client
from skiff.client.events import NORMAL, EventRecorder

CLAIMS = RESOURCES["", "v1", "persistentvolumeclaims"]
VOLUMES = RESOURCES["", "v1", "persistentvolumes"]
PREEMPTED = "PreemptionByScheduler"
"""Why a victim is disrupted, as its condition says it."""

log = logging.getLogger("skiff.scheduler")


@dataclass(frozen=True, slots=True)
class Bind:
    """The pod goes to `node`; `volumes` are claims to be bound first (see `volumes.choose`)."""

    node: str
    volumes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Refuse:
    """No node will do. `victims` are pods to be evicted from `nominated`, where it may go then;
    `displaced` are pods that were nominated there and lose it."""

    message: str
    nominated: str = ""
    victims: Sequence[Pod] = ()
    displaced: Sequence[Pod] = ()


class Actions:
    """See the module's text. Everything raises what the client raises."""

    def __init__(
        self, client: Client, recorder: EventRecorder, clock: Clock, scheduler: str
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._scheduler = scheduler

    async def bind(self, pod: Pod, node: str) -> None:
        """Bind the pod and say so. Raises NotFound, Conflict where it is not to be bound."""
        meta = pod.metadata
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        await self._client.create(PODS, binding, meta.namespace, subresource="binding")
        message = f"Successfully assigned {meta.namespace}/{meta.name} to {node}"
        self._recorder.record(pod, NORMAL, "Scheduled", message)

    async def prepare_volumes(
        self, namespace: str, node: str, choices: Sequence[tuple[str, str]]
    ) -> None:
        """Write on each claim's volume whose it is, or on the claim where its volume is to be made."""
        for claim, volume in choices:
            if volume:
                await self._reserve(namespace, claim, volume)
            else:
                chosen = {"metadata": {"annotations": {SELECTED_NODE: node}}}
                await self._client.patch(CLAIMS, claim, namespace, chosen)

    async def _reserve(self, namespace: str, claim: str, volume: str) -> None:
        uid = (await self._client.get(CLAIMS, claim, namespace))["metadata"]["uid"]

        def reserve(obj: dict[str, Any]) -> dict[str, Any] | None:
            reference = obj["spec"].get("claimRef") or {}
            if reference.get("uid") == uid:
                return None
            known = (reference.get("namespace", namespace), reference.get("name", claim))
            if reference.get("uid") or known != (namespace, claim):
                raise Conflict(f'persistentvolume "{volume}" was bound to another claim')
            obj["spec"]["claimRef"] = {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": namespace,
                "name": claim,
                "uid": uid,
            }
            obj["metadata"].setdefault("annotations", {})[BOUND_BY_CONTROLLER] = "yes"
            return obj

        await self._client.update(VOLUMES, volume, "", reserve)

    async def refuse(self, pod: Pod, refusal: Refuse) -> None:
        """Write why the pod has no node, and make room for it."""
        for other in refusal.displaced:
            await self._clear_nomination(other)
        await self._tell(pod, refusal)
        async with asyncio.TaskGroup() as group:
            for victim in refusal.victims:
                name = f"evict {victim.metadata.name}"
                group.create_task(self._evict(victim, pod, refusal.nominated), name=name)

    async def _tell(self, pod: Pod, refusal: Refuse) -> None:
        """Write the condition PodScheduled=False where it does not say so already."""
        old = next((c for c in pod.status.conditions if c.type == "PodScheduled"), None)
        generation = pod.metadata.generation
        same = (
            old is not None
            and (old.status, old.reason, old.message) == ("False", "Unschedulable", refusal.message)
            and old.observed_generation == (generation or 0)
        )
        if same and refusal.nominated == pod.status.nominated_node_name:
            return
        unchanged = old is not None and old.status == "False" and old.last_transition_time
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": refusal.message,
            "lastProbeTime": None,
            "lastTransitionTime": unchanged or rfc3339(self._clock.now()),
            "observedGeneration": generation,
        }
        status: dict[str, Any] = {"conditions": [condition]}
        if refusal.nominated != pod.status.nominated_node_name:
            status["nominatedNodeName"] = refusal.nominated or None
        await self._patch_status(pod, status)

    async def _clear_nomination(self, pod: Pod) -> None:
        await self._patch_status(pod, {"nominatedNodeName": None})

    async def _evict(self, victim: Pod, pod: Pod, node: str) -> None:
        """Mark the victim as disrupted, delete it, say so."""
        meta = victim.metadata
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": PREEMPTED,
            "message": f"{self._scheduler}: preempting to accommodate a higher priority pod",
            "lastTransitionTime": rfc3339(self._clock.now()),
            "observedGeneration": meta.generation,
        }
        try:
            await self._patch_status(victim, {"conditions": [condition]})
            await self._client.delete(PODS, meta.name, meta.namespace, uid=meta.uid)
        except NotFound:
            return
        except ApiError as e:
            log.warning("%s/%s: not preempted: %s", meta.namespace, meta.name, e)
            return
        message = f"Preempted by pod {pod.metadata.uid} on node {node}"
        self._recorder.record(victim, NORMAL, "Preempted", message)

    async def _patch_status(self, pod: Pod, status: dict[str, Any]) -> None:
        meta = pod.metadata
        patch = {"metadata": {"uid": meta.uid}, "status": status}
        await self._client.patch(
            PODS, meta.name, meta.namespace, patch, kind="strategic", subresource="status"
        )
