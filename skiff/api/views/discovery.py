"""Views of the API group discovery/v1.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from typing import ClassVar

from skiff.api.resources import RESOURCES, Resource
from skiff.api.views.base import View
from skiff.api.views.container import ObjectReference
from skiff.api.views.meta import ObjectMeta


class EndpointConditions(View, frozen=True, kw_only=True):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForNode(View, frozen=True, kw_only=True):
    name: str = ""


class ForZone(View, frozen=True, kw_only=True):
    name: str = ""


class EndpointHints(View, frozen=True, kw_only=True):
    for_nodes: tuple[ForNode, ...] = ()
    for_zones: tuple[ForZone, ...] = ()


class Endpoint(View, frozen=True, kw_only=True):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions | None = None
    hints: EndpointHints | None = None
    hostname: str = ""
    node_name: str = ""
    target_ref: ObjectReference | None = None
    zone: str = ""


class EndpointPort(View, frozen=True, kw_only=True):
    app_protocol: str = ""
    name: str = ""
    port: int | None = None
    protocol: str = ""


class EndpointSlice(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["discovery.k8s.io", "v1", "endpointslices"]
    address_type: str = ""
    api_version: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    ports: tuple[EndpointPort, ...] = ()
