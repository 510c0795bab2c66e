"""Services, slices and namespaces for tests, as views, in few words."""

from typing import Any

import msgspec

from skiff.api.views.core import Namespace
from skiff.api.views.discovery import EndpointSlice
from skiff.api.views.service import Service


def port(number: int = 80, **fields: Any) -> dict[str, Any]:
    return {"port": number, "protocol": "TCP", **fields}


def service(name: str = "web", namespace: str = "default", **spec: Any) -> Service:
    """`labels`, `status` and `created` are not spec; a field's name is camelCase."""
    labels, status = spec.pop("labels", {}), spec.pop("status", {})
    created = spec.pop("created", "2026-01-01T00:00:00Z")
    spec.setdefault("type", "ClusterIP")
    if spec["type"] != "ExternalName":
        spec.setdefault("clusterIP", "10.96.0.20")
    spec.setdefault("ports", [port()])
    return msgspec.convert(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": labels,
                "creationTimestamp": created,
                "uid": f"uid-{namespace}-{name}",
            },
            "spec": spec,
            "status": status,
        },
        Service,
    )


def endpoint(address: str, **fields: Any) -> dict[str, Any]:
    """`ready`, `serving` and `terminating` go into conditions; the rest as it is."""
    names = ("ready", "serving", "terminating")
    conditions = {k: fields.pop(k) for k in names if k in fields}
    return {"addresses": [address], "conditions": conditions, **fields}


def endpoint_slice(
    *endpoints: dict[str, Any] | str,
    of: str = "web",
    namespace: str = "default",
    name: str = "",
    ports: list[dict[str, Any]] | None = None,
    family: str = "IPv4",
) -> EndpointSlice:
    made = [endpoint(e) if isinstance(e, str) else e for e in endpoints]
    return msgspec.convert(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": name or f"{of}-abcde",
                "namespace": namespace,
                "labels": {"kubernetes.io/service-name": of},
            },
            "addressType": family,
            "endpoints": made,
            "ports": [port(8080)] if ports is None else ports,
        },
        EndpointSlice,
    )


def namespace(name: str) -> Namespace:
    return msgspec.convert({"metadata": {"name": name}}, Namespace)
