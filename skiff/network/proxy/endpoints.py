"""Which endpoints a service port's traffic may go to, as seen from one node. Pure.

Ready endpoints, or, where there is none, those that still serve while they terminate (KEP-1669);
those that are near, where the control plane gave every one of them a hint (traffic distribution).
Source: https://kubernetes.io/docs/reference/networking/virtual-ips/
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from skiff.api.views.discovery import Endpoint, EndpointSlice
from skiff.api.views.service import ServicePort


@dataclass(frozen=True, slots=True)
class Place:
    """Where the proxy runs, as far as it matters for choosing endpoints."""

    node_name: str
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """One endpoint of one service port. `for_nodes` and `for_zones`: whom hints keep it for."""

    address: str
    port: int
    local: bool = False
    ready: bool = True
    serving_terminating: bool = False
    for_nodes: frozenset[str] = frozenset()
    for_zones: frozenset[str] = frozenset()


def ipv4(text: str) -> str:
    """`text` if it is an IPv4 address, else "": nothing else may become part of a rule."""
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        return ""


def targets(port: ServicePort, slices: Iterable[EndpointSlice], place: Place) -> list[Target]:
    """The endpoints of `port` in `slices` that may take traffic, sorted, without doubles.

    Ports meet by name and protocol, as the slice's author set them."""
    protocol = port.protocol or "TCP"
    found: dict[tuple[str, int], Target] = {}
    for piece in slices:
        if piece.address_type != "IPv4":
            continue
        for slice_port in piece.ports:
            if slice_port.name != port.name or (slice_port.protocol or "TCP") != protocol:
                continue
            if not slice_port.port:
                continue
            for endpoint in piece.endpoints:
                target = _target(endpoint, slice_port.port, place)
                if target is None:
                    continue
                key = (target.address, target.port)
                # A pod on its way from one slice to another is in both.
                if key not in found or (target.ready and not found[key].ready):
                    found[key] = target
    return [found[key] for key in sorted(found)]


def _target(endpoint: Endpoint, port: int, place: Place) -> Target | None:
    conditions = endpoint.conditions
    ready = conditions is None or conditions.ready is not False
    terminating = bool(conditions and conditions.terminating)
    serving = ready if conditions is None or conditions.serving is None else conditions.serving
    address = ipv4(endpoint.addresses[0]) if endpoint.addresses else ""
    if not address or not (ready or (serving and terminating)):
        return None
    hints = endpoint.hints
    return Target(
        address=address,
        port=port,
        local=bool(place.node_name) and endpoint.node_name == place.node_name,
        ready=ready,
        serving_terminating=serving and terminating,
        for_nodes=frozenset(n.name for n in hints.for_nodes) if hints else frozenset(),
        for_zones=frozenset(z.name for z in hints.for_zones) if hints else frozenset(),
    )


def usable(candidates: Sequence[Target]) -> list[Target]:
    """The ready ones; where none is ready, those that still serve while they terminate."""
    ready = [t for t in candidates if t.ready]
    return ready or [t for t in candidates if t.serving_terminating]


def on_node(candidates: Sequence[Target]) -> list[Target]:
    """The usable ones among those of this node (traffic policy Local)."""
    return usable([t for t in candidates if t.local])


def in_cluster(candidates: Sequence[Target], place: Place) -> list[Target]:
    """The usable ones of the cluster (traffic policy Cluster): near ones only, where all ready ones have
    hints and at least one of them is for here."""
    ready = [t for t in candidates if t.ready]
    if ready and all(t.for_nodes for t in ready):
        near = [t for t in ready if place.node_name in t.for_nodes]
        if near:
            return near
    if ready and place.zone and all(t.for_zones for t in ready):
        near = [t for t in ready if place.zone in t.for_zones]
        if near:
            return near
    return usable(candidates)
