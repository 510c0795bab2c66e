"""Telling the cluster where its DNS is: the Service `kube-dns` and this node's EndpointSlice of it.

The Service has the address that pods find in resolv.conf; it has no selector, because no pod serves
it: each node's own server does. A slice goes with its Node (owner reference).
"""

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
MANAGED_BY = "dns.skiff"


class DnsPublisher:
    """A component: writes both objects once, then has nothing more to do."""

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
        """Ready once both stand; then waits to be cancelled."""
        while True:
            try:
                await self._publish()
                break
            except (ApiError, Unreachable):
                await self._client.clock.sleep(RETRY_S)
        started()
        while True:
            await self._client.clock.sleep(86400.0)

    async def _publish(self) -> None:
        try:
            await self._client.get(SERVICES, NAME, NAMESPACE)
        except NotFound:
            await self._client.create(SERVICES, self._service())
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
            "spec": {"clusterIP": self._cluster_ip, "ports": ports},
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
