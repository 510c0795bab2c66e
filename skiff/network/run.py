"""One node's network as a component: the bridge, the proxy and DNS, in the order in which they need each other.

The node's pod addresses come from its Node object (`spec.podCIDR`), which the node IPAM controller
fills in; until then there is nothing to set up, and the container runtime reports that its network
is not ready, which keeps the node NotReady.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from skiff.aio.clock import Clock
from skiff.aio.entropy import Entropy
from skiff.aio.run import Group, Started
from skiff.api.views.core import Namespace, Node
from skiff.api.views.discovery import EndpointSlice
from skiff.api.views.service import Service
from skiff.client.client import Client
from skiff.client.informer import Informer, InformerFactory
from skiff.network.cni import NetworkError, PodNetwork
from skiff.network.dns.forward import Forwarder, ResolvConf
from skiff.network.dns.publish import DnsPublisher
from skiff.network.dns.run import DnsServer
from skiff.network.proxy.conntrack import ConntrackFlows
from skiff.network.proxy.endpoints import Place
from skiff.network.proxy.nft import PacketFilter
from skiff.network.proxy.run import Proxy

RETRY_S = 2.0
DNS_PORT = 53
ZONE_LABEL = "topology.kubernetes.io/zone"
DNS_HOST_NUMBER = 10
"""The cluster DNS has the tenth address of the Service range, by convention."""

log = logging.getLogger("skiff.network")


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What a node's network is told."""

    node_name: str
    bridge: str
    table: str
    service_cidr: str
    cluster_cidr: str
    cluster_domain: str
    cni_configuration: Path
    cni_addresses: Path
    resolv_conf: Path = Path("/etc/resolv.conf")

    @property
    def cluster_dns(self) -> str:
        """The cluster IP of DNS."""
        return str(ipaddress.ip_network(self.service_cidr)[DNS_HOST_NUMBER])


class NodeNetwork:
    """See the module's text. Ready once Services are proxied and DNS answers."""

    def __init__(
        self,
        config: NetworkConfig,
        client: Client,
        packet_filter: Callable[[], PacketFilter],
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._config = config
        self._client = client
        self._make_filter = packet_filter
        self._clock = clock
        self._entropy = entropy

    async def run(self, started: Started) -> None:
        """Wait for the node's pod addresses, set up, then run proxy and DNS."""
        config = self._config
        informers = InformerFactory(self._client)
        own = informers.of(Node, field_selector=f"metadata.name={config.node_name}")
        services, slices = informers.of(Service), informers.of(EndpointSlice)
        namespaces = informers.of(Namespace)
        async with asyncio.TaskGroup() as group:
            group.create_task(informers.run(lambda: None), name="network informers")
            node = await self._pod_addresses(own)
            network = PodNetwork(
                config.bridge,
                node.spec.pod_cidr,
                config.service_cidr,
                config.cni_configuration,
                config.cni_addresses,
            )
            await self._prepare(network)
            proxy = Proxy(
                services,
                slices,
                self._make_filter(),
                ConntrackFlows(),
                self._clock,
                place=_place(node),
                table=config.table,
                pod_cidr=config.cluster_cidr,
                service_cidr=config.service_cidr,
            )
            own.subscribe(lambda _, now: proxy.move(_place(now)) if now is not None else None)
            upstreams = ResolvConf(config.resolv_conf, (config.cluster_dns, network.gateway))
            dns = DnsServer(
                services,
                slices,
                namespaces,
                Forwarder(upstreams, self._clock, self._entropy),
                domain=config.cluster_domain,
                address=network.gateway,
                port=DNS_PORT,
                cluster_ip=config.cluster_dns,
                ranges=(config.service_cidr, config.cluster_cidr),
            )
            publisher = DnsPublisher(
                self._client,
                cluster_ip=config.cluster_dns,
                address=network.gateway,
                port=DNS_PORT,
                node=config.node_name,
                node_uid=node.metadata.uid,
            )
            parts = Group([("proxy", proxy), ("dns", dns), ("dns service", publisher)])
            await parts.run(started)

    async def _pod_addresses(self, own: Informer[Node]) -> Node:
        """Wait until the node has its pod addresses."""
        found: asyncio.Future[Node] = asyncio.get_running_loop().create_future()

        def look(_: Node | None, node: Node | None) -> None:
            if node is not None and node.spec.pod_cidr and not found.done():
                found.set_result(node)

        own.subscribe(look)
        return await found

    async def _prepare(self, network: PodNetwork) -> None:
        while True:
            try:
                await asyncio.to_thread(network.prepare)
            except NetworkError as e:
                log.error("the pod network cannot be set up, again in %.0f s: %s", RETRY_S, e)
                await self._clock.sleep(RETRY_S)
            else:
                return


def _place(node: Node) -> Place:
    return Place(node.metadata.name, node.metadata.labels.get(ZONE_LABEL, ""))
