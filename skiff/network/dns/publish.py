"""Telling the cluster where its DNS is: the Service `kube-dns` and this node's EndpointSlice of it.

The Service has the address that pods find in resolv.conf; it has no selector, because no pod serves
it: each node's own server does, and each node's pods use that one (internalTrafficPolicy Local). A
slice goes with its Node (owner reference). Both are looked after: what somebody deletes comes back.
"""

import logging
from typing import Any

from skiff.aio.run import Started
from skiff.api.errors import AlreadyExists, ApiError, NotFound
from skiff.api.resources import ENDPOINTSLICES, SERVICES
from skiff.client.client import Client
from skiff.client.transport import Unreachable

NAMESPACE = "kube-system"
NAME = "kube-dns"
LABELS = {"k8s-app": NAME, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}
PORTS = (("dns", "UDP"), ("dns-tcp", "TCP"))
RETRY_S = 1.0
RENEW_S = 300.0
MANAGED_BY = "dns.skiff"

log = logging.getLogger("skiff.dns")


class DnsPublisher:
    """A component: writes both objects, and again now and then."""

    def __init__(
        self, client: Client, *, cluster_ip: str, address: str, port: int, node: str, node_uid: str
    ) -> None:
        self._client = client
        self._cluster_ip = cluster_ip
        self._address = address
        self._port = port
        self._node = node
        self._node_uid = node_uid

    async def run(self, started: Started) -> None:
        """Ready once both stand; then keeps them until it is cancelled."""
        while True:
            try:
                await self._publish()
            except (ApiError, Unreachable) as e:
                log.warning("cluster DNS is not published yet: %s", e)
                await self._client.clock.sleep(RETRY_S)
            else:
                started()
                await self._client.clock.sleep(RENEW_S)

    async def _publish(self) -> None:
        try:
            await self._client.get(SERVICES, NAME, NAMESPACE)
        except NotFound:
            try:
                await self._client.create(SERVICES, self._service())
            except AlreadyExists:
                pass  # another node was quicker
        wanted = self._slice()
        try:
            await self._client.create(ENDPOINTSLICES, wanted)
        except AlreadyExists:
            name = wanted["metadata"]["name"]
            await self._client.patch(ENDPOINTSLICES, name, NAMESPACE, wanted)

    def _service(self) -> dict[str, Any]:
        ports = [{"name": n, "port": 53, "protocol": p, "targetPort": 53} for n, p in PORTS]
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": LABELS},
            "spec": {
                "clusterIP": self._cluster_ip,
                "ports": ports,
                "internalTrafficPolicy": "Local",
            },
        }

    def _slice(self) -> dict[str, Any]:
        node = {"apiVersion": "v1", "kind": "Node", "name": self._node, "uid": self._node_uid}
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{NAME}-{self._node}",
                "namespace": NAMESPACE,
                "labels": {
                    "kubernetes.io/service-name": NAME,
                    "endpointslice.kubernetes.io/managed-by": MANAGED_BY,
                },
                "ownerReferences": [node],
            },
            "addressType": "IPv4",
            "endpoints": [
                {
                    "addresses": [self._address],
                    "conditions": {"ready": True},
                    "nodeName": self._node,
                }
            ],
            "ports": [{"name": n, "port": self._port, "protocol": p} for n, p in PORTS],
        }
