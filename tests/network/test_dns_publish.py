"""The cluster is told where its DNS is, on the real API server in process."""

import asyncio

from skiff.api.resources import ENDPOINTSLICES, NODES, SERVICES
from skiff.network.dns.publish import RENEW_S, DnsPublisher
from skiff.testing.cluster import Cluster
from tests.cluster.world import run


def test_service_and_slice_are_made_kept_and_brought_back() -> None:
    async def scenario(cluster: Cluster) -> None:
        node = cluster.list(NODES)[0]["metadata"]
        publisher = DnsPublisher(
            cluster.client,
            cluster_ip="10.96.0.10",
            address="10.244.0.1",
            port=53,
            node=node["name"],
            node_uid=node["uid"],
        )
        name = f"kube-dns-{node['name']}"
        started = asyncio.Event()
        task = asyncio.create_task(publisher.run(started.set))
        await started.wait()

        def service() -> dict:
            return cluster.get(SERVICES, "kube-dns", "kube-system") or {}

        def piece() -> dict:
            return cluster.get(ENDPOINTSLICES, name, "kube-system") or {}

        assert service()["spec"]["clusterIP"] == "10.96.0.10"
        assert service()["spec"]["internalTrafficPolicy"] == "Local"
        assert [(p["name"], p["protocol"]) for p in service()["spec"]["ports"]] == [
            ("dns", "UDP"),
            ("dns-tcp", "TCP"),
        ]
        assert piece()["endpoints"][0]["addresses"] == ["10.244.0.1"]
        assert piece()["metadata"]["ownerReferences"][0]["name"] == node["name"]
        revision = piece()["metadata"]["resourceVersion"]
        await cluster.advance(2 * RENEW_S)
        assert piece()["metadata"]["resourceVersion"] == revision  # nothing to say: nothing written
        await cluster.client.delete(SERVICES, "kube-dns", "kube-system")
        await cluster.client.delete(ENDPOINTSLICES, name, "kube-system")
        await cluster.advance(RENEW_S + 5)
        assert service()["spec"]["clusterIP"] == "10.96.0.10"
        assert piece()
        task.cancel()
        await asyncio.wait([task])

    run(scenario, nodes=1)
