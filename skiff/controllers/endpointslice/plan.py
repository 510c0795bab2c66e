"""Endpoints out of pods, and packing them into slices with as few writes as possible. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from skiff.api.views.base import as_json
from skiff.api.views.core import Node, Pod, Service
from skiff.api.views.discovery import EndpointSlice
from skiff.controllers import pods, services

ZONE_LABEL: Final = "topology.kubernetes.io/zone"

Endpoint = dict[str, Any]
Port = dict[str, Any]
PortSet = tuple[tuple[str, int, str, str], ...]


@dataclass(slots=True)
class Desired:
    """What should be there: for an address type, endpoints by set of ports."""

    ports: dict[PortSet, list[Port]] = field(default_factory=dict)
    endpoints: dict[PortSet, list[Endpoint]] = field(default_factory=dict)

    def add(self, ports: list[Port], endpoint: Endpoint) -> None:
        key = port_set(ports)
        self.ports.setdefault(key, ports)
        self.endpoints.setdefault(key, []).append(endpoint)


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice as it should be; `existing` None means that it is to be created."""

    existing: EndpointSlice | None
    ports: list[Port]
    endpoints: list[Endpoint]


@dataclass(slots=True)
class Changes:
    """What to write. `kept` slices hold the right endpoints already."""

    create: list[Slice] = field(default_factory=list)
    update: list[Slice] = field(default_factory=list)
    delete: list[EndpointSlice] = field(default_factory=list)
    kept: list[Slice] = field(default_factory=list)


def address_types(service: Service) -> list[str]:
    """The families that the Service wants slices of."""
    return list(service.spec.ip_families) or ["IPv4"]


def desired(
    service: Service,
    matching: Iterable[Pod],
    node: Callable[[str], Node | None],
    address_type: str,
) -> Desired:
    """Endpoints of the pods, for one family."""
    result = Desired()
    for pod in matching:
        if not services.belongs(pod, include_terminating=True):
            continue
        addresses = [ip for ip in services.pod_ips(pod) if (":" in ip) == (address_type == "IPv6")]
        if addresses:
            endpoint = _endpoint(service, pod, node(pod.spec.node_name), addresses)
            result.add(_ports(service, pod), endpoint)
    _hint(service, result)
    return result


def _endpoint(service: Service, pod: Pod, node: Node | None, addresses: list[str]) -> Endpoint:
    serving = pods.is_ready(pod)
    terminating = bool(pod.metadata.deletion_timestamp)
    ready = service.spec.publish_not_ready_addresses or (serving and not terminating)
    endpoint: Endpoint = {
        "addresses": addresses,
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": {
            "kind": "Pod",
            "namespace": pod.metadata.namespace,
            "name": pod.metadata.name,
            "uid": pod.metadata.uid,
        },
    }
    if pod.spec.node_name:
        endpoint["nodeName"] = pod.spec.node_name
    zone = node.metadata.labels.get(ZONE_LABEL, "") if node else ""
    if zone:
        endpoint["zone"] = zone
    if hostname := services.hostname_in(pod, service):
        endpoint["hostname"] = hostname
    return endpoint


def _hint(service: Service, found: Desired) -> None:
    """`trafficDistribution`: hints that keep traffic in the zone, or on the node.

    Source: https://kubernetes.io/docs/concepts/services-networking/service/#traffic-distribution.
    """
    distribution = service.spec.traffic_distribution
    if distribution not in ("PreferClose", "PreferSameZone", "PreferSameNode"):
        return
    for endpoints in found.endpoints.values():
        for endpoint in endpoints:
            hints: dict[str, Any] = {}
            if not endpoint["conditions"]["ready"]:
                continue
            if endpoint.get("zone"):
                hints["forZones"] = [{"name": endpoint["zone"]}]
            if distribution == "PreferSameNode" and endpoint.get("nodeName"):
                hints["forNodes"] = [{"name": endpoint["nodeName"]}]
            if hints:
                endpoint["hints"] = hints


def _ports(service: Service, pod: Pod) -> list[Port]:
    result = []
    for port in service.spec.ports:
        number = services.find_port(pod, port)
        if number is None:
            continue
        found: Port = {"name": port.name, "port": number, "protocol": port.protocol or "TCP"}
        if port.app_protocol:
            found["appProtocol"] = port.app_protocol
        result.append(found)
    return result


def port_set(ports: Iterable[Mapping[str, Any]]) -> PortSet:
    """Ports as a key: two slices may hold the same endpoints only if theirs are equal."""
    return tuple(
        sorted(
            (
                p.get("name") or "",
                p.get("port") or 0,
                p.get("protocol") or "TCP",
                p.get("appProtocol") or "",
            )
            for p in ports
        )
    )


def pack(
    wanted: Desired, existing: Sequence[EndpointSlice], address_type: str, max_endpoints: int
) -> Changes:
    """Spread `wanted` over slices, changing as few as possible.

    Endpoints stay in the slice where they are; new ones fill the fullest slice with room among
    those that change anyway, then one other, then new slices; empty slices go.
    """
    changes = Changes()
    by_ports: dict[PortSet, list[EndpointSlice]] = {}
    for found in existing:
        if found.address_type != address_type:
            continue
        key = port_set(as_json(found.ports))
        if key in wanted.endpoints:
            by_ports.setdefault(key, []).append(found)
        else:
            changes.delete.append(found)
    for key, endpoints in wanted.endpoints.items():
        _pack_ports(wanted.ports[key], endpoints, by_ports.get(key, []), max_endpoints, changes)
    if not wanted.endpoints:
        _keep_placeholder(changes)
    return changes


def _keep_placeholder(changes: Changes) -> None:
    """A Service without endpoints keeps one empty slice, which says that there are none."""
    reused = next((s for s in changes.delete if not s.endpoints and not s.ports), None)
    reused = reused or (changes.delete[0] if changes.delete else None)
    empty = Slice(reused, [], [])
    if reused is None:
        changes.create.append(empty)
        return
    changes.delete.remove(reused)
    (changes.update if reused.endpoints or reused.ports else changes.kept).append(empty)


def _pack_ports(
    ports: list[Port],
    endpoints: list[Endpoint],
    existing: list[EndpointSlice],
    max_endpoints: int,
    changes: Changes,
) -> None:
    missing = {_identity(e): e for e in endpoints}
    held: list[tuple[EndpointSlice, list[Endpoint], bool]] = []
    for found in existing:
        kept, changed = [], False
        for old in as_json(found.endpoints):
            new = missing.pop(_identity(old), None)
            changed |= new != old
            if new is not None:
                kept.append(new)
        held.append((found, kept, changed))
    new_ones = list(missing.values())
    # Those that change anyway first, fullest first.
    held.sort(key=lambda h: (not h[2], -len(h[1]), h[0].metadata.name))
    for found, kept, already_changed in held:
        changed = already_changed
        if new_ones and len(kept) < max_endpoints and (kept or changed or not found.endpoints):
            room = max_endpoints - len(kept)
            kept, new_ones, changed = kept + new_ones[:room], new_ones[room:], True
        if not kept:
            changes.delete.append(found)
        else:
            (changes.update if changed else changes.kept).append(Slice(found, ports, kept))
    for start in range(0, len(new_ones), max_endpoints):
        changes.create.append(Slice(None, ports, new_ones[start : start + max_endpoints]))


def _identity(endpoint: Mapping[str, Any]) -> tuple[Any, ...]:
    reference = endpoint.get("targetRef") or {}
    return (*endpoint["addresses"], reference.get("uid", ""), endpoint.get("hostname", ""))
