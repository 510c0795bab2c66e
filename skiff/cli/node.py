"""`skiff node`: the kubelet with the node's network (service proxy, DNS), alone.

With `--container-runtime-endpoint simulated` nodes have no containers and no network: pods are said
to run. Source: https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/
"""

import argparse
import asyncio
import ipaddress
import logging
from dataclasses import replace
from pathlib import Path

from skiff.aio.clock import RealClock
from skiff.aio.entropy import Entropy
from skiff.aio.run import Component, Group, Started
from skiff.api.views.node import Node
from skiff.cli.access import advertise_address, connect, kubeconfig_path, node_name, settings_of
from skiff.cli.exits import CommandError
from skiff.cli.layout import Layout, Settings
from skiff.cli.process import run_process
from skiff.client.client import Client
from skiff.client.informer import Informer
from skiff.network.proxy.nft import kernel_filter
from skiff.network.run import NetworkConfig, NodeNetwork
from skiff.node.config import KubeletConfig
from skiff.node.eviction.model import thresholds
from skiff.node.images import ensure_pause_image
from skiff.node.run import Kubelet
from skiff.node.runtime import Runtime, RuntimeRemoteError

SIMULATED = "simulated"
RUNTIME_RETRY_S = 0.05

log = logging.getLogger("skiff.node")


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    add = parser.add_argument
    add("--kubeconfig", type=Path, metavar="FILE", help="how the kubelet reaches the API server")
    add("--proxy-kubeconfig", type=Path, metavar="FILE", help="how proxy and DNS reach it")
    add(
        "--hostname-override",
        dest="node_name",
        default="",
        metavar="NAME",
        help="the node's name (the host name)",
    )
    add(
        "--node-ip", default="", metavar="IP", help="the node's address (that of the default route)"
    )
    add("--port", type=int, metavar="PORT", help="the kubelet's HTTPS port (10250)")
    add(
        "--container-runtime-endpoint",
        default="",
        metavar="ENDPOINT",
        help="unix:///… of a CRI runtime, or `simulated`",
    )
    add("--nodes", type=int, metavar="N", help="how many nodes, simulated only (1)")
    add(
        "--pod-manifest-path",
        default="",
        metavar="DIR",
        help="manifests of static pods (the state directory's `manifests`)",
    )
    add(
        "--eviction-hard",
        default="",
        metavar="SIGNAL<AMOUNT,…",
        help="what must be left of the machine, e.g. memory.available<1Gi,nodefs.available<10%%",
    )
    add("--max-pods", type=int, default=110, metavar="N", help="how many pods the node takes (110)")


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM."""
    layout, settings = settings_of(arguments)
    endpoint = arguments.container_runtime_endpoint or settings.runtime
    if endpoint == SIMULATED:
        count = arguments.nodes or settings.nodes
        component: Component = SimulatedNodes(layout, settings, arguments, count)
        return run_process("node", component, f"{count} simulated")
    if endpoint == "containerd":
        endpoint = f"unix://{layout.containerd_socket}"
    if not endpoint.startswith("unix://"):
        raise CommandError(
            f"--container-runtime-endpoint {endpoint!r}: give unix:///path/to/socket or simulated",
            2,
        )
    name = arguments.node_name or node_name(settings)
    return run_process("node", RealNode(layout, settings, arguments, endpoint), f"{name} is Ready")


def kubelet_config(
    layout: Layout, settings: Settings, arguments: argparse.Namespace, endpoint: str
) -> KubeletConfig:
    """The kubelet's settings on this machine."""
    made = KubeletConfig(
        node_name=arguments.node_name or node_name(settings),
        root_dir=layout.node_root,
        pod_logs_dir=layout.pod_logs,
        node_ip=arguments.node_ip or advertise_address(settings, None),
        bind_address=settings.bind_address,
        port=arguments.port or settings.kubelet_port,
        cluster_dns=(network_config(layout, settings, "").cluster_dns,),
        cluster_domain=settings.cluster_domain,
        cgroup_root=f"/kubepods-{layout.tag}" if layout.tag else "/kubepods",
        max_pods=arguments.max_pods,
        static_pod_path=arguments.pod_manifest_path or str(layout.root / "manifests"),
        runtime_endpoint=endpoint,
        tls_cert_file=str(layout.pki / "node-server.crt"),
        tls_private_key_file=str(layout.pki / "node-server.key"),
        client_ca_file=str(layout.pki / "ca.crt"),
    )
    if not arguments.eviction_hard:
        return made
    pairs = [part.partition("<") for part in arguments.eviction_hard.split(",")]
    settings_of_eviction = {signal.strip(): amount.strip() for signal, _, amount in pairs}
    try:
        thresholds(settings_of_eviction)
    except ValueError as e:
        raise CommandError(f"--eviction-hard: {e}", 2) from e
    return replace(made, eviction_hard=settings_of_eviction)


def network_config(layout: Layout, settings: Settings, name: str) -> NetworkConfig:
    """The node's network on this machine."""
    return NetworkConfig(
        node_name=name,
        bridge=layout.bridge,
        table=f"ip {layout.name}",
        service_cidr=settings.service_cidr.split(",")[0],
        cluster_cidr=settings.cluster_cidr,
        cluster_domain=settings.cluster_domain,
        cni_configuration=layout.root / "cni",
        cni_addresses=layout.root / "cni-addresses",
    )


class RealNode:
    """This machine as a node. Ready once the Node is Ready, Services are proxied and DNS answers."""

    def __init__(
        self, layout: Layout, settings: Settings, arguments: argparse.Namespace, endpoint: str
    ) -> None:
        self._layout = layout
        self._settings = settings
        self._arguments = arguments
        self._endpoint = endpoint

    async def run(self, started: Started) -> None:
        """Wait for the runtime and the API server, then run everything."""
        from skiff.node.cri import CriRuntime  # gRPC: real nodes only

        clock, entropy, arguments, layout = RealClock(), Entropy(), self._arguments, self._layout
        config = kubelet_config(layout, self._settings, arguments, self._endpoint)
        runtime = CriRuntime(self._endpoint, clock)
        client = await connect(
            kubeconfig_path(layout, "node", arguments.kubeconfig), clock, entropy, "kubelet"
        )
        proxy = await connect(
            kubeconfig_path(layout, "proxy", arguments.proxy_kubeconfig),
            clock,
            entropy,
            "kube-proxy",
        )
        await self._runtime_answers(runtime)
        network = NodeNetwork(
            network_config(layout, self._settings, config.node_name),
            proxy,
            kernel_filter,
            clock,
            entropy,
        )
        kubelet = Kubelet(config, client, runtime, clock, entropy)
        ready = NodeReady(proxy, config.node_name)
        try:
            parts: list[tuple[str, Component]] = [
                ("kubelet", kubelet),
                ("network", network),
                ("node ready", ready),
            ]
            await Group(parts).run(started)
        finally:
            await runtime.close()

    async def _runtime_answers(self, runtime: Runtime) -> None:
        clock = RealClock()
        while True:
            try:
                await runtime.version()
            except RuntimeRemoteError as e:
                log.debug("waiting for the container runtime: %s", e)
                await clock.sleep(RUNTIME_RETRY_S)
            else:
                break
        if self._endpoint == f"unix://{self._layout.containerd_socket}":
            await ensure_pause_image(runtime, str(self._layout.containerd_socket))


class NodeReady:
    """A component that is ready once the Node object says so; then it has nothing to do."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    async def run(self, started: Started) -> None:
        """See the class."""
        seen = asyncio.Event()

        def look(_: Node | None, node: Node | None) -> None:
            conditions = node.status.conditions if node is not None else ()
            if any(c.type == "Ready" and c.status == "True" for c in conditions):
                seen.set()

        own = Informer(self._client, Node, field_selector=f"metadata.name={self._name}")
        own.subscribe(look)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(own.run(lambda: None), name="waiting for Ready")
            await seen.wait()
            watching.cancel()
        started()
        await asyncio.get_running_loop().create_future()


class SimulatedNodes:
    """Nodes without containers: the first one serves the kubelet's API."""

    def __init__(
        self, layout: Layout, settings: Settings, arguments: argparse.Namespace, count: int
    ) -> None:
        self._layout = layout
        self._settings = settings
        self._arguments = arguments
        self._count = count

    async def run(self, started: Started) -> None:
        """Run all nodes."""
        from skiff.node.simulated import SimulatedRuntime

        clock, entropy, settings = RealClock(), Entropy(), self._settings
        path = kubeconfig_path(self._layout, "admin", self._arguments.kubeconfig)
        client = await connect(path, clock, entropy, "kubelet")
        base = kubelet_config(self._layout, settings, self._arguments, "")
        subnets = ipaddress.ip_network(settings.cluster_cidr).subnets(new_prefix=24)
        parts: list[tuple[str, Component]] = []
        for number, subnet in zip(range(self._count), subnets, strict=False):
            name = base.node_name if number == 0 else f"{base.node_name}-{number}"
            config = _simulated(base, name, serve=number == 0)
            runtime = SimulatedRuntime(clock, entropy, str(subnet))
            parts.append((name, Kubelet(config, client, runtime, clock, entropy)))
        await Group(parts).run(started)


def _simulated(base: KubeletConfig, name: str, *, serve: bool) -> KubeletConfig:
    base = replace(base, node_name=name, static_pod_path="")
    return base if serve else replace(base, tls_cert_file="", tls_private_key_file="")
