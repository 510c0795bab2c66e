"""Endpoints and EndpointSlices.

Source: https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/
"""

from typing import Any, ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import AGE, NAME, NONE, Columns, columns, since
from skiff.api.kinds.errors import FieldErrors, immutable
from skiff.api.kinds.strategy import Object, Strategy

_PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_ENDPOINTS_MAX: Final = 1000
_PORTS_MAX: Final = 20000
_SHOWN: Final = 3
_UNSET: Final = "<unset>"
UNSPECIFIED: Final = ("0.0.0.0", "::")  # noqa: S104 nothing is bound: it is what is refused


def _endpoints_text(endpoints: Object) -> str:
    """The first three addresses with ports, and how many more there are."""
    found: list[str] = []
    count = 0
    for subset in endpoints.get("subsets", ()):
        ports = subset.get("ports", ())
        addresses = subset.get("addresses", ())
        if not ports:
            found += [a.get("ip", "") for a in addresses[: _SHOWN - len(found)]]
            count += len(addresses)
        for port in ports:
            for address in addresses:
                if len(found) < _SHOWN:
                    ip = address.get("ip", "")
                    shown = f"[{ip}]" if ":" in ip else ip
                    found.append(f"{shown}:{port.get('port', 0)}")
                count += 1
    text = ",".join(found) or NONE
    return f"{text} + {count - len(found)} more..." if count > len(found) else text


def _cells(obj: Object, now: float) -> list[Any]:
    meta = obj["metadata"]
    return [meta.get("name", ""), _endpoints_text(obj), since(meta.get("creationTimestamp"), now)]


class EndpointsStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(columns(NAME, "Endpoints", AGE), _cells)
    create_on_update: ClassVar[bool] = True

    def default(self, obj: Object) -> None:
        for subset in obj.get("subsets", ()):
            for port in subset.get("ports", ()):
                if not port.get("protocol"):
                    port["protocol"] = "TCP"

    def validate_body(self, obj: Object) -> FieldErrors:
        errors: FieldErrors = []
        for i, subset in enumerate(obj.get("subsets", ())):
            at = f"subsets[{i}]"
            if not subset.get("addresses") and not subset.get("notReadyAddresses"):
                message = "must specify `addresses` or `notReadyAddresses`"
                errors.append(fe.required(at, message))
            for field in ("addresses", "notReadyAddresses"):
                for j, address in enumerate(subset.get(field, ())):
                    errors += _validate_address(address, f"{at}.{field}[{j}]")
            ports = subset.get("ports", ())
            for j, port in enumerate(ports):
                errors += _validate_port(port, f"{at}.ports[{j}]", named=len(ports) > 1)
        return errors


def _validate_address(address: Object, path: str) -> FieldErrors:
    errors: FieldErrors = []
    ip = address.get("ip", "")
    if not names.is_ip(ip):
        errors.append(fe.invalid(f"{path}.ip", ip, names.IP_MESSAGE))
    else:
        errors += validate_special_ip(ip, f"{path}.ip")
    hostname = address.get("hostname")
    if hostname:
        errors += [
            fe.invalid(f"{path}.hostname", hostname, m) for m in names.dns1123_label(hostname)
        ]
    return errors


def validate_special_ip(ip: str, path: str) -> FieldErrors:
    """An endpoint may not be this host, nobody, or a group."""
    if ip in UNSPECIFIED:
        return [fe.invalid(path, ip, "may not be unspecified (0.0.0.0 or ::)")]
    if ip.startswith("127.") or ip == "::1":
        return [fe.invalid(path, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)")]
    if ip.startswith("169.254.") or ip.lower().startswith("fe80:"):
        message = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
        return [fe.invalid(path, ip, message)]
    if ip.startswith("224.0.0.") or ip.lower().startswith("ff02:"):
        message = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        return [fe.invalid(path, ip, message)]
    return []


def _validate_port(port: Object, path: str, *, named: bool) -> FieldErrors:
    errors: FieldErrors = []
    name = port.get("name", "")
    if named and not name:
        errors.append(fe.required(f"{path}.name"))
    elif name:
        errors += [fe.invalid(f"{path}.name", name, m) for m in names.dns1123_label(name)]
    number = port.get("port", 0)
    errors += [fe.invalid(f"{path}.port", number, m) for m in names.port_number(number)]
    protocol = port.get("protocol", "")
    if not protocol:
        errors.append(fe.required(f"{path}.protocol"))
    elif protocol not in _PROTOCOLS:
        errors.append(fe.not_supported(f"{path}.protocol", protocol, _PROTOCOLS))
    application = port.get("appProtocol")
    if application:
        at = f"{path}.appProtocol"
        errors += [fe.invalid(at, application, m) for m in names.qualified_name(application)]
    return errors


def _slice_cells(obj: Object, now: float) -> list[Any]:
    meta = obj["metadata"]
    found = [a for e in obj.get("endpoints", ()) for a in e.get("addresses", ())]
    ports = [str(p["port"]) if p.get("port") is not None else "*" for p in obj.get("ports", ())]
    return [
        meta.get("name", ""),
        obj.get("addressType", ""),
        _first_and_more(ports),
        _first_and_more(found),
        since(meta.get("creationTimestamp"), now),
    ]


def _first_and_more(values: list[str]) -> str:
    if not values:
        return _UNSET
    text = ",".join(values[:_SHOWN])
    return f"{text} + {len(values) - _SHOWN} more..." if len(values) > _SHOWN else text


class EndpointSliceStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(NAME, "AddressType", "Ports", "Endpoints", AGE), _slice_cells
    )
    has_generation: ClassVar[bool] = True

    def default(self, obj: Object) -> None:
        for port in obj.get("ports", ()):
            port.setdefault("name", "")
            if not port.get("protocol"):
                port["protocol"] = "TCP"

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        obj.setdefault("endpoints", [])
        obj.setdefault("ports", [])

    def validate_body(self, obj: Object) -> FieldErrors:
        errors: FieldErrors = []
        kind = obj.get("addressType", "")
        if not kind:
            errors.append(fe.required("addressType"))
        elif kind not in ("FQDN", "IPv4", "IPv6"):
            errors.append(fe.not_supported("addressType", kind, ("FQDN", "IPv4", "IPv6")))
        endpoints, ports = obj.get("endpoints", ()), obj.get("ports", ())
        if len(endpoints) > _ENDPOINTS_MAX:
            errors.append(fe.too_many("endpoints", len(endpoints), _ENDPOINTS_MAX))
        for i, endpoint in enumerate(endpoints):
            errors += _validate_endpoint(endpoint, f"endpoints[{i}]", kind)
        if len(ports) > _PORTS_MAX:
            errors.append(fe.too_many("ports", len(ports), _PORTS_MAX))
        seen: set[str] = set()
        for i, port in enumerate(ports):
            errors += _validate_slice_port(port, f"ports[{i}]", seen)
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        return immutable("addressType", new.get("addressType"), old.get("addressType"))


def _validate_endpoint(endpoint: Object, path: str, kind: str) -> FieldErrors:
    errors: FieldErrors = []
    addresses = endpoint.get("addresses", ())
    if not addresses:
        errors.append(fe.required(f"{path}.addresses", "must contain at least 1 address"))
    elif len(addresses) > 100:
        errors.append(fe.too_many(f"{path}.addresses", len(addresses), 100))
    for i, address in enumerate(addresses):
        at = f"{path}.addresses[{i}]"
        if kind == "FQDN":
            errors += [fe.invalid(at, address, m) for m in names.dns1123_subdomain(address)]
        elif not names.is_ip(address):
            errors.append(fe.invalid(at, address, names.IP_MESSAGE))
        elif (":" in address) != (kind == "IPv6"):
            errors.append(fe.invalid(at, address, f"must be a valid {kind} address"))
        else:
            errors += validate_special_ip(address, at)
    hostname = endpoint.get("hostname")
    if hostname is not None:
        errors += [
            fe.invalid(f"{path}.hostname", hostname, m) for m in names.dns1123_label(hostname)
        ]
    node = endpoint.get("nodeName")
    if node is not None:
        errors += [fe.invalid(f"{path}.nodeName", node, m) for m in names.dns1123_subdomain(node)]
    topology = endpoint.get("deprecatedTopology", {})
    if len(topology) > 16:
        errors.append(fe.too_many(f"{path}.deprecatedTopology", len(topology), 16))
    return errors


def _validate_slice_port(port: Object, path: str, seen: set[str]) -> FieldErrors:
    errors: FieldErrors = []
    name = port.get("name", "")
    if name:
        errors += [fe.invalid(f"{path}.name", name, m) for m in names.dns1123_label(name)]
    if name in seen:
        errors.append(fe.duplicate(f"{path}.name", name))
    seen.add(name)
    number = port.get("port")
    if number is not None:
        errors += [fe.invalid(f"{path}.port", number, m) for m in names.port_number(number)]
    protocol = port.get("protocol", "TCP")
    if protocol not in _PROTOCOLS:
        errors.append(fe.not_supported(f"{path}.protocol", protocol, _PROTOCOLS))
    application = port.get("appProtocol")
    if application:
        at = f"{path}.appProtocol"
        errors += [fe.invalid(at, application, m) for m in names.qualified_name(application)]
    return errors
