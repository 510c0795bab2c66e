"""The node's own objects: its Node, kept true, and its Lease, renewed.

The status is looked at every ten seconds and written where something changed, or after five minutes
anyway; the lease is what says that the node lives.

Source: https://kubernetes.io/docs/concepts/architecture/nodes/#node-heartbeats
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from skiff.aio.clock import Clock, rfc3339_micro
from skiff.api.errors import AlreadyExists, ApiError, Conflict, NotFound
from skiff.api.resources import LEASES, NODES
from skiff.api.views.node import Node
from skiff.client.client import Client
from skiff.node.config import KubeletConfig
from skiff.node.machine import Machine
from skiff.node.node_status import (
    RuntimeHealth,
    new_node,
    node_labels,
    node_status,
    transitions,
    without_heartbeat,
)
from skiff.node.runtime import Runtime, RuntimeRemoteError, RuntimeVersion

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SHARE = 0.25  # of the lease's duration between two renewals
RETRY_S = 0.5
UNHEALTHY_PERIOD_S = 0.5  # how often a runtime that is not ready is asked
FIRST_UNREADY_S = 0.1
"""How soon the status is looked at again while the node is not Ready; then ever longer."""
RETRY_CAP_S = 7.0

log = logging.getLogger(__name__)

Object = dict[str, Any]


class Registration:
    """See the module's text. `recovered` is called when runtime and network are ready again;
    `pressures` tells which conditions of eviction hold; `tell(reason, message)` records an event about
    the node."""

    def __init__(
        self,
        config: KubeletConfig,
        client: Client,
        runtime: Runtime,
        machine: Machine,
        clock: Clock,
        recovered: Callable[[], None] = lambda: None,
        pressures: Callable[[], Collection[str]] = tuple,
        tell: Callable[[str, str], None] = lambda reason, message: None,
    ) -> None:
        self._tell = tell
        self._pressures = pressures
        self.registered = asyncio.Event()
        self.health = RuntimeHealth()
        self._recovered = recovered
        self.version: RuntimeVersion | None = None
        self.node = Node()
        self._config = config
        self._client = client
        self._runtime = runtime
        self._machine = machine
        self._clock = clock
        self._written: Object = {}
        self._written_at = 0.0
        self._wake = asyncio.Event()
        self._cidr = ""

    def hurry(self) -> None:
        """Look at the status now: something changed."""
        self._wake.set()

    async def run(self) -> None:
        """Register, then keep Node and Lease current until cancelled."""
        self._tell("Starting", "Starting kubelet.")
        if self._config.register_node:
            await self._register()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_status(), name="node status")
            group.create_task(self._keep_lease(), name="node lease")

    async def see(self, node: Node) -> None:
        """The Node changed in the API (also by our own writes)."""
        self.node = node
        if node.spec.pod_cidr and node.spec.pod_cidr != self._cidr:
            try:
                await self._runtime.update_pod_cidr(node.spec.pod_cidr)
                self._cidr = node.spec.pod_cidr
            except RuntimeRemoteError as e:
                log.debug("pod CIDR: %s", e)

    # ---- the Node

    async def _register(self) -> None:
        delay = RETRY_S
        while True:
            try:
                await self._register_once()
                return
            except ApiError as e:
                log.info("cannot register node %s yet: %s", self._config.node_name, e)
            await self._clock.sleep(delay)
            delay = min(delay * 1.5, RETRY_CAP_S)

    async def _register_once(self) -> None:
        wanted = new_node(self._config, self._machine)
        with contextlib.suppress(RuntimeRemoteError):
            self.version = await self._runtime.version()
        wanted["status"] = await self._status()
        try:
            made = await self._client.create(NODES, wanted)
            self._tell_changes({}, made["status"]["conditions"])
        except AlreadyExists:
            await self._client.update(NODES, self._config.node_name, "", self._reconciled)
        self.node = await self._client.read(Node, self._config.node_name)

    def _reconciled(self, node: Object) -> Object | None:
        """An older registration with the labels of today."""
        labels = node["metadata"].setdefault("labels", {})
        wanted = node_labels(self._config, self._machine)
        if all(labels.get(k) == v for k, v in wanted.items()):
            return None
        labels |= wanted
        return node

    async def _keep_status(self) -> None:
        unready_s = FIRST_UNREADY_S
        while True:
            period = self._config.node_status_update_frequency_s
            try:
                await self._write_status()
                if self._ready():
                    unready_s = FIRST_UNREADY_S
                else:  # what is missing (runtime, network) is usually about to come
                    period = min(unready_s, period)
                    unready_s *= 1.5
                if self._config.register_node or self._written:
                    self.registered.set()
            except NotFound:
                if self._config.register_node:
                    log.warning("node %s is gone: registering it anew", self._config.node_name)
                    self._written = {}
                    await self._register()
                    continue
            except ApiError as e:
                log.debug("node status: %s", e)
                period = RETRY_S
            await self._pause(period)

    def _ready(self) -> bool:
        conditions = self._written.get("conditions", ())
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    async def _write_status(self) -> None:
        status = await self._status()
        now = self._clock.now()
        same = without_heartbeat(status) == without_heartbeat(self._written)
        if same and now - self._written_at < self._config.node_status_report_frequency_s:
            return
        patch: Object = {k: v for k, v in status.items() if self._written.get(k) != v}
        if "addresses" in patch:
            patch["addresses"] = [*patch["addresses"], {"$patch": "replace"}]
        await self._client.patch(
            NODES, self._config.node_name, "", {"status": patch}, kind="strategic", subresource="status"
        )  # fmt: skip
        before = {c["type"]: c["status"] for c in self._written.get("conditions", ())}
        if not before:
            before = {c.type: c.status for c in self.node.status.conditions}
        self._tell_changes(before, status["conditions"])
        self._written, self._written_at = status, now

    def _tell_changes(self, before: Mapping[str, str], now: Sequence[Object]) -> None:
        for reason in transitions(before, now):
            self._tell(reason, f"Node {self._config.node_name} status is now: {reason}")

    async def _status(self) -> Object:
        """The status as it is now, asking the runtime."""
        health, images = RuntimeHealth(), []
        try:
            health = await self._health()
            images = await self._runtime.list_images()
            if self.version is None:
                self.version = await self._runtime.version()
        except RuntimeRemoteError as e:
            health = RuntimeHealth(f"container runtime is down: {e.message}")
        before, self.health = self.health, health
        if before != health == RuntimeHealth():
            self._recovered()
        return node_status(
            self._config,
            self._machine,
            self.version,
            health,
            images,
            self.node.status.conditions,
            self._clock.now(),
            self._pressures(),
        )

    async def _health(self) -> RuntimeHealth:
        problem = network = ""
        for condition in await self._runtime.status():
            if condition.status:
                continue
            words = f"reason:{condition.reason} message:{condition.message}"
            if condition.type == "NetworkReady":
                network = f"container runtime network not ready: NetworkReady=false {words}"
            elif condition.type == "RuntimeReady":
                problem = f"container runtime not ready: RuntimeReady=false {words}"
        return RuntimeHealth(problem, network)

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        timer = asyncio.get_running_loop().call_later(seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    # ---- the Lease

    async def _keep_lease(self) -> None:
        period = self._config.node_lease_duration_s * LEASE_SHARE
        while True:
            try:
                await self._renew()
                delay = period
            except ApiError as e:
                log.debug("node lease: %s", e)
                delay = RETRY_S
            await self._clock.sleep(delay)

    async def _renew(self) -> None:
        name = self._config.node_name
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": self._config.node_lease_duration_s,
            "renewTime": rfc3339_micro(self._clock.now()),
        }
        try:
            await self._client.patch(LEASES, name, LEASE_NAMESPACE, {"spec": spec})
        except NotFound:
            owner = {
                "apiVersion": "v1",
                "kind": "Node",
                "name": name,
                "uid": self.node.metadata.uid,
            }
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {
                    "name": name,
                    "namespace": LEASE_NAMESPACE,
                    "ownerReferences": [owner] if owner["uid"] else [],
                },
                "spec": spec,
            }
            with contextlib.suppress(AlreadyExists, Conflict):
                await self._client.create(LEASES, lease, LEASE_NAMESPACE)
