"""Which rules a Service needs. Pure: views in, chains and map elements out.

How a packet goes: the nat hooks look the destination up in the verdict map `service-ips` (address,
protocol, port), or, where the destination is this machine, in `service-nodeports`. The verdict goes
to the service port's chain, which picks an endpoint at random (or by affinity) and goes to the
endpoint's chain, which rewrites the destination. A destination that has no endpoint is refused in
the filter hooks. Traffic that came from outside, from the machine's own loopback, or from the very
endpoint that was picked is marked, and masqueraded on its way out.

Source: https://kubernetes.io/docs/reference/networking/virtual-ips/ and KEP-3866 (nftables).
IPv4; the ruleset of another family is the same with other words.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from skiff.api.views.discovery import Endpoint, EndpointSlice
from skiff.api.views.service import Service, ServicePort
from skiff.network.proxy.model import Map, Ruleset

MASQUERADE_MARK = "0x4000"
AFFINITY_DEFAULT_S = 10800
SERVICE_NAME_LABEL = "kubernetes.io/service-name"
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"


@dataclass(frozen=True, slots=True)
class Target:
    """One endpoint of one service port."""

    address: str
    port: int
    local: bool
    ready: bool
    serving_terminating: bool


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """One Service's share of the ruleset."""

    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sets: Mapping[str, Map] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    node_ports: Mapping[str, str] = field(default_factory=dict)
    refused_addresses: Mapping[str, str] = field(default_factory=dict)
    refused_node_ports: Mapping[str, str] = field(default_factory=dict)
    udp_targets: frozenset[tuple[str, int]] = frozenset()
    """Endpoints behind UDP ports: where one goes away, its tracked flows must be forgotten."""


EMPTY = ServiceRules()


def is_proxied(service: Service) -> bool:
    """Whether the proxy has anything to do for `service`."""
    spec = service.spec
    if spec.type == "ExternalName" or spec.cluster_ip in ("", "None"):
        return False
    return PROXY_NAME_LABEL not in service.metadata.labels


def targets(port: ServicePort, slices: Iterable[EndpointSlice], node_name: str) -> list[Target]:
    """The endpoints of `port` in `slices` that may take traffic, sorted, without doubles."""
    found: dict[tuple[str, int], Target] = {}
    for piece in slices:
        if piece.address_type != "IPv4":
            continue
        for slice_port in piece.ports:
            if slice_port.name != port.name or (slice_port.protocol or "TCP") != port.protocol:
                continue
            if slice_port.port is None:
                continue
            for endpoint in piece.endpoints:
                target = _target(endpoint, slice_port.port, node_name)
                if target is not None:
                    found.setdefault((target.address, target.port), target)
    return [found[key] for key in sorted(found)]


def _target(endpoint: Endpoint, port: int, node_name: str) -> Target | None:
    conditions = endpoint.conditions
    ready = conditions is None or conditions.ready is not False
    terminating = bool(conditions and conditions.terminating)
    serving = ready if conditions is None or conditions.serving is None else conditions.serving
    if not endpoint.addresses or not (ready or (serving and terminating)):
        return None
    return Target(
        address=endpoint.addresses[0],
        port=port,
        local=endpoint.node_name == node_name,
        ready=ready,
        serving_terminating=serving and terminating,
    )


def usable(candidates: Sequence[Target]) -> list[Target]:
    """The ready ones; where none is ready, those that still serve while they terminate (KEP-1669)."""
    ready = [t for t in candidates if t.ready]
    return ready or [t for t in candidates if t.serving_terminating]


def plan_service(service: Service, slices: Sequence[EndpointSlice], node_name: str) -> ServiceRules:
    """The rules of one Service."""
    if not is_proxied(service):
        return EMPTY
    builder = _Builder(service, node_name)
    for port in service.spec.ports:
        builder.add(port, targets(port, slices, node_name))
    return builder.rules()


class _Builder:
    """Collects one Service's rules, port by port."""

    def __init__(self, service: Service, node_name: str) -> None:
        self._service = service
        self._chains: dict[str, tuple[str, ...]] = {}
        self._sets: dict[str, Map] = {}
        self._addresses: dict[str, str] = {}
        self._node_ports: dict[str, str] = {}
        self._refused_addresses: dict[str, str] = {}
        self._refused_node_ports: dict[str, str] = {}
        self._udp: set[tuple[str, int]] = set()

    def rules(self) -> ServiceRules:
        return ServiceRules(
            self._chains,
            self._sets,
            self._addresses,
            self._node_ports,
            self._refused_addresses,
            self._refused_node_ports,
            frozenset(self._udp),
        )

    def add(self, port: ServicePort, candidates: list[Target]) -> None:
        spec = self._service.spec
        protocol = (port.protocol or "TCP").lower()
        if protocol == "udp":
            self._udp.update((t.address, t.port) for t in candidates)
        local_only = [t for t in candidates if t.local]
        inside = usable(local_only if spec.internal_traffic_policy == "Local" else candidates)
        anywhere = usable(candidates)
        key = f"{spec.cluster_ip} . {protocol} . {port.port}"
        tag = _tag(self._service, port)
        chain = self._balance(f"svc-{tag}", tag, port, protocol, inside)
        if chain:
            self._addresses[key] = f"goto {chain}"
        elif spec.internal_traffic_policy == "Local" and anywhere:
            self._addresses[key] = "drop"
        else:
            self._refused_addresses[key] = "goto refuse"
        self._add_external(port, protocol, tag, chain, candidates)

    def _add_external(
        self, port: ServicePort, protocol: str, tag: str, inside: str, candidates: list[Target]
    ) -> None:
        """NodePort, externalIPs and the load balancer's addresses."""
        spec = self._service.spec
        outside = [*spec.external_ips, *_ingress_addresses(self._service)]
        if not port.node_port and not outside:
            return
        if spec.external_traffic_policy == "Local":
            verdict, some = self._local_chain(port, protocol, tag, inside, candidates)
        else:
            reachable = usable(candidates)
            some = bool(reachable)
            target = inside
            if spec.internal_traffic_policy == "Local":
                target = self._balance(f"all-{tag}", tag, port, protocol, reachable)
            chain = f"ext-{tag}"
            verdict = f"goto {chain}"
            if some:
                self._chains[chain] = (f"meta mark set mark or {MASQUERADE_MARK}", f"goto {target}")
        if some and spec.load_balancer_source_ranges and outside:
            verdict = self._guarded(tag, verdict)
        for address in outside:
            key = f"{address} . {protocol} . {port.port}"
            (self._addresses if some else self._refused_addresses)[key] = (
                verdict if some else "goto refuse"
            )
        if port.node_port:
            key = f"{protocol} . {port.node_port}"
            (self._node_ports if some else self._refused_node_ports)[key] = (
                verdict if some else "goto refuse"
            )

    def _local_chain(
        self, port: ServicePort, protocol: str, tag: str, inside: str, candidates: list[Target]
    ) -> tuple[str, bool]:
        """externalTrafficPolicy Local: this node's endpoints, the client's address kept; traffic that
        starts on this node or in its pods still reaches all of them."""
        here = usable([t for t in candidates if t.local])
        if not usable(candidates):
            return "", False
        rules = []
        if inside:
            rules.append(f"fib saddr type local meta mark set mark or {MASQUERADE_MARK}")
            rules.append(f"fib saddr type local goto {inside}")
        local = self._balance(f"local-{tag}", tag, port, protocol, here)
        rules.append(f"goto {local}" if local else "drop")
        self._chains[f"ext-{tag}"] = tuple(rules)
        return f"goto ext-{tag}", True

    def _guarded(self, tag: str, verdict: str) -> str:
        ranges = ", ".join(self._service.spec.load_balancer_source_ranges)
        self._chains[f"fw-{tag}"] = (f"ip saddr {{ {ranges} }} {verdict}", "drop")
        return f"goto fw-{tag}"

    def _balance(
        self, chain: str, tag: str, port: ServicePort, protocol: str, among: list[Target]
    ) -> str:
        """Write the chain that picks one of `among`; return its name, "" where there is none."""
        if not among:
            return ""
        sticky = self._service.spec.session_affinity == "ClientIP"
        names = [self._endpoint(tag, t, protocol, sticky) for t in among]
        rules = []
        if sticky:
            rules += [f"ip saddr @{_affinity(name)} goto {name}" for name in names]
        if len(names) == 1:
            rules.append(f"goto {names[0]}")
        else:
            choices = ", ".join(f"{i} : goto {name}" for i, name in enumerate(names))
            rules.append(f"numgen random mod {len(names)} vmap {{ {choices} }}")
        self._chains[chain] = tuple(rules)
        return chain

    def _endpoint(self, tag: str, target: Target, protocol: str, sticky: bool) -> str:
        name = f"ep-{tag}-{target.address.replace('.', '-')}-{target.port}"
        rules = [f"ip saddr {target.address} meta mark set mark or {MASQUERADE_MARK}"]
        if sticky:
            timeout_s = _affinity_timeout_s(self._service)
            rules.append(f"update @{_affinity(name)} {{ ip saddr }}")
            self._sets[_affinity(name)] = Map(
                "set", f"type ipv4_addr ; flags dynamic,timeout ; timeout {timeout_s}s"
            )
        rules.append(f"meta l4proto {protocol} dnat to {target.address}:{target.port}")
        self._chains[name] = tuple(rules)
        return name


def _affinity(endpoint_chain: str) -> str:
    return f"from-{endpoint_chain}"


def _affinity_timeout_s(service: Service) -> int:
    config = service.spec.session_affinity_config
    client = config.client_ip if config else None
    return (client.timeout_seconds if client else None) or AFFINITY_DEFAULT_S


def _ingress_addresses(service: Service) -> list[str]:
    balancer = service.status.load_balancer
    if service.spec.type != "LoadBalancer" or balancer is None:
        return []
    return [i.ip for i in balancer.ingress if i.ip and (i.ip_mode or "VIP") == "VIP"]


def _tag(service: Service, port: ServicePort) -> str:
    """A short name, unique for a service port, that a person can still read."""
    key = f"{service.metadata.namespace}/{service.metadata.name}/{port.protocol}/{port.name}"
    digest = hashlib.sha256(f"{key}/{port.port}".encode()).hexdigest()[:8]
    return f"{digest}-{service.metadata.name[:40]}"


def assemble(parts: Iterable[ServiceRules], pod_cidr: str) -> Ruleset:
    """The whole ruleset: the fixed chains and every Service's share."""
    chains: dict[str, tuple[str, ...]] = dict(_fixed_chains(pod_cidr))
    addresses: dict[str, str] = {}
    node_ports: dict[str, str] = {}
    refused_addresses: dict[str, str] = {}
    refused_node_ports: dict[str, str] = {}
    sets: dict[str, Map] = {}
    for part in parts:
        chains.update(part.chains)
        sets.update(part.sets)
        addresses.update(part.addresses)
        node_ports.update(part.node_ports)
        refused_addresses.update(part.refused_addresses)
        refused_node_ports.update(part.refused_node_ports)
    by_address = "type ipv4_addr . inet_proto . inet_service : verdict"
    by_port = "type inet_proto . inet_service : verdict"
    maps = {
        "service-ips": Map("map", by_address, addresses),
        "service-nodeports": Map("map", by_port, node_ports),
        "refused-ips": Map("map", by_address, refused_addresses),
        "refused-nodeports": Map("map", by_port, refused_node_ports),
        **sets,
    }
    return Ruleset(maps, chains)


def _fixed_chains(pod_cidr: str) -> Mapping[str, tuple[str, ...]]:
    """The chains that every packet meets. `refuse` answers as a closed port does."""
    look_up = (
        "ip daddr . meta l4proto . th dport vmap @service-ips",
        "fib daddr type local meta l4proto . th dport vmap @service-nodeports",
    )
    refuse = (
        "ip daddr . meta l4proto . th dport vmap @refused-ips",
        "fib daddr type local meta l4proto . th dport vmap @refused-nodeports",
    )
    return {
        "refuse": ("meta l4proto tcp reject with tcp reset", "reject with icmp port-unreachable"),
        "services": look_up,
        "refused": refuse,
        "prerouting": ("type nat hook prerouting priority dstnat", "jump services"),
        "output": ("type nat hook output priority -100", "jump services"),
        "postrouting": (
            "type nat hook postrouting priority srcnat",
            f"meta mark and {MASQUERADE_MARK} != 0 meta mark set mark and 0xffffbfff masquerade fully-random",
            "ip saddr 127.0.0.0/8 ip daddr != 127.0.0.0/8 masquerade fully-random",
            f"ip saddr {pod_cidr} ip daddr != {pod_cidr} ip daddr != 224.0.0.0/4 masquerade fully-random",
        ),
        "filter-input": ("type filter hook input priority filter", "ct state new jump refused"),
        "filter-forward": ("type filter hook forward priority filter", "ct state new jump refused"),
        "filter-output": ("type filter hook output priority filter", "ct state new jump refused"),
    }
