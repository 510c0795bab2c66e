"""Where a proxied request goes: the name in the path, read with what is stored. Pure but for the
choice among endpoints, which is handed in.

Source: https://kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services/
"""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from skiff.api.errors import BadRequest, ServiceUnavailable

Choose = Callable[[int], int]
"""A random number below its argument."""


@dataclass(frozen=True, slots=True)
class Location:
    """A server to pass a request to."""

    scheme: str
    host: str
    port: int


def split_name(text: str, what: str) -> tuple[str, str, str]:
    """Scheme, name and port of `name`, `name:port` or `scheme:name:port`. Raises BadRequest."""
    parts = text.split(":")
    scheme, name, port = "", text, ""
    if len(parts) == 2:
        name, port = parts
    elif len(parts) == 3:
        scheme, name, port = parts
    if len(parts) > 3 or not name or scheme not in ("", "http", "https"):
        raise BadRequest(f'invalid {what} request "{text}"')
    return scheme, name, port


def default_port(scheme: str) -> int:
    """Where a scheme's servers listen."""
    return 443 if scheme == "https" else 80


def pod_location(pod: Mapping[str, Any], scheme: str, port: str) -> Location:
    """A pod's address; without a port, its first declared one. Raises BadRequest."""
    if not port:
        for container in (pod.get("spec") or {}).get("containers") or ():
            if container.get("ports"):
                port = str(container["ports"][0]["containerPort"])
                break
    address = (pod.get("status") or {}).get("podIP", "")
    check_address(address)
    if port and not port.isdigit():
        raise BadRequest(f'invalid pod port "{port}"')
    return Location(scheme or "http", address, int(port) if port else default_port(scheme))


def check_address(address: str) -> None:
    """Only addresses of the pod network may be reached this way. Raises BadRequest."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        raise BadRequest("address not allowed") from None
    if ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        raise BadRequest("address not allowed")


def service_port_name(service: Mapping[str, Any], name: str, port: str) -> str:
    """The endpoint port's name for a port that is given by number or name. Raises ServiceUnavailable."""
    if not port.isdigit():
        return port
    for declared in (service.get("spec") or {}).get("ports") or ():
        if declared["port"] == int(port):
            return str(declared.get("name") or "")
    raise ServiceUnavailable(f'no service port {port} found for service "{name}"')


def service_location(
    endpoints: Mapping[str, Any] | None, identity: str, scheme: str, port_name: str, choose: Choose
) -> Location:
    """One ready endpoint of a service. `identity` is the name as the request gave it. Raises
    ServiceUnavailable where there is none."""
    subsets = (endpoints or {}).get("subsets") or []
    first = choose(len(subsets)) if subsets else 0
    for offset in range(len(subsets)):
        subset = subsets[(first + offset) % len(subsets)]
        addresses = subset.get("addresses") or []
        for port in subset.get("ports") or ():
            if (port.get("name") or "") == port_name and addresses:
                address = addresses[choose(len(addresses))]["ip"]
                return Location(scheme or "http", address, port["port"])
    raise ServiceUnavailable(f'no endpoints available for service "{identity}"')
