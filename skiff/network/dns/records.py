"""What one Service adds to the zone: names and their records. Pure.

Source: the Kubernetes DNS specification, sections 2.3 to 2.5.
"""

from collections.abc import Iterator, Sequence

from skiff.api.views.discovery import Endpoint, EndpointSlice
from skiff.api.views.service import Service
from skiff.network.dns import wire

SRV_WEIGHT = 100

Records = dict[bytes, list[tuple[int, bytes]]]
"""Owner name → (type, data); a name without records exists all the same."""


def service_records(service: Service, slices: Sequence[EndpointSlice], domain: str) -> Records:
    """The records of `service`. What cannot be a DNS name or an address is left out."""
    records: Records = {}
    spec = service.spec
    try:
        owner = wire.encode_name(
            f"{service.metadata.name}.{service.metadata.namespace}.svc.{domain}"
        )
    except ValueError:
        return records
    if spec.type == "ExternalName":
        _external(records, owner, spec.external_name)
    elif spec.cluster_ip == "None":
        _headless(records, owner, slices, spec.publish_not_ready_addresses)
    elif spec.cluster_ip:
        _cluster_ip(records, owner, service)
        _host_names(records, owner, slices, spec.publish_not_ready_addresses)
    return records


def endpoint_addresses(service: Service, slices: Sequence[EndpointSlice]) -> frozenset[str]:
    """The addresses that a Service with a cluster IP has names for, made of the address itself. They
    may be many and are rarely asked for: `Zone` answers when it is asked."""
    if service.spec.type == "ExternalName" or service.spec.cluster_ip in ("", "None"):
        return frozenset()
    unready = service.spec.publish_not_ready_addresses
    return frozenset(
        address
        for _, endpoint in _endpoints(slices, publish_not_ready=unready)
        if not endpoint.hostname
        for address in endpoint.addresses
    )


def _add(records: Records, name: bytes, rtype: int, data: bytes) -> None:
    records.setdefault(name, []).append((rtype, data))


def _external(records: Records, owner: bytes, target: str) -> None:
    """An address is no name to refer to: CoreDNS has nothing for it, either."""
    try:
        wire.address_data(target)
    except ValueError:
        pass
    else:
        return
    try:
        _add(records, owner, wire.CNAME, wire.encode_name(target))
    except ValueError:
        records[owner] = []


def _cluster_ip(records: Records, owner: bytes, service: Service) -> None:
    spec = service.spec
    for address in spec.cluster_ips or (spec.cluster_ip,):
        try:
            rtype, data = wire.address_data(address)
        except ValueError:
            continue
        _add(records, owner, rtype, data)
        _add(records, wire.reverse_name(address), wire.PTR, owner)
    for port in spec.ports:
        data = wire.srv_data(0, SRV_WEIGHT, port.port, owner)
        _add(records, owner, wire.SRV, data)
        if port.name:
            _add(records, _srv_name(port.name, port.protocol, owner), wire.SRV, data)


def _srv_name(port: str, protocol: str, owner: bytes) -> bytes:
    return wire.encode_name(f"_{port}._{(protocol or 'TCP').lower()}")[:-1] + owner


def _headless(
    records: Records, owner: bytes, slices: Sequence[EndpointSlice], publish_not_ready: bool
) -> None:
    """Each published endpoint's addresses, under the Service's name and under a name of its own. A
    Service without any has no name either."""
    for piece, endpoint in _endpoints(slices, publish_not_ready=publish_not_ready):
        for address in endpoint.addresses:
            _endpoint(records, owner, piece, endpoint.hostname, address)


def _host_names(
    records: Records, owner: bytes, slices: Sequence[EndpointSlice], publish_not_ready: bool
) -> None:
    """Pods' own names below a Service that has a cluster IP too."""
    for _, endpoint in _endpoints(slices, publish_not_ready=publish_not_ready):
        for address in endpoint.addresses if endpoint.hostname else ():
            try:
                rtype, data = wire.address_data(address)
                name = wire.encode_name(endpoint.hostname)[:-1] + owner
            except ValueError:
                continue
            _add(records, name, rtype, data)
            _add(records, wire.reverse_name(address), wire.PTR, name)


def _endpoints(
    slices: Sequence[EndpointSlice], *, publish_not_ready: bool
) -> Iterator[tuple[EndpointSlice, Endpoint]]:
    for piece in slices:
        if piece.address_type in ("IPv4", "IPv6"):
            for endpoint in piece.endpoints:
                if publish_not_ready or _published(endpoint):
                    yield piece, endpoint


def _endpoint(
    records: Records, owner: bytes, piece: EndpointSlice, hostname: str, address: str
) -> None:
    label = hostname or address.replace(".", "-").replace(":", "-")
    try:
        rtype, data = wire.address_data(address)
        name = wire.encode_name(label)[:-1] + owner
    except ValueError:
        return
    _add(records, owner, rtype, data)
    _add(records, name, rtype, data)
    if hostname:
        _add(records, wire.reverse_name(address), wire.PTR, name)
    for port in piece.ports:
        if port.port is None:
            continue
        srv = wire.srv_data(0, SRV_WEIGHT, port.port, name)
        _add(records, owner, wire.SRV, srv)
        if port.name:
            _add(records, _srv_name(port.name, port.protocol, owner), wire.SRV, srv)


def _published(endpoint: Endpoint) -> bool:
    return endpoint.conditions is None or endpoint.conditions.ready is not False
