# ruff: noqa: RUF012 - msgspec makes a new dict of an empty default for each struct
"""Views: services and endpoints.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from typing import ClassVar

from msgspec import field

from skiff.api.resources import RESOURCES, Resource
from skiff.api.views.base import View
from skiff.api.views.container import ObjectReference
from skiff.api.views.meta import Condition, ObjectMeta


class ServicePort(View, frozen=True, kw_only=True):
    app_protocol: str = ""
    name: str = ""
    node_port: int = 0
    port: int = 0
    protocol: str = ""
    target_port: int | str | None = None


class ClientIPConfig(View, frozen=True, kw_only=True):
    timeout_seconds: int = 0


class SessionAffinityConfig(View, frozen=True, kw_only=True):
    client_ip: ClientIPConfig | None = field(default=None, name="clientIP")


class ServiceSpec(View, frozen=True, kw_only=True):
    allocate_load_balancer_node_ports: bool | None = None
    cluster_ip: str = field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = field(default=(), name="clusterIPs")
    external_ips: tuple[str, ...] = field(default=(), name="externalIPs")
    external_name: str = ""
    external_traffic_policy: str = ""
    health_check_node_port: int | None = None
    internal_traffic_policy: str = ""
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str = ""
    load_balancer_class: str = ""
    load_balancer_ip: str = field(default="", name="loadBalancerIP")
    load_balancer_source_ranges: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    publish_not_ready_addresses: bool = False
    selector: dict[str, str] = {}
    session_affinity: str = ""
    session_affinity_config: SessionAffinityConfig | None = None
    traffic_distribution: str = ""
    type: str = ""


class PortStatus(View, frozen=True, kw_only=True):
    error: str = ""
    port: int = 0
    protocol: str = ""


class LoadBalancerIngress(View, frozen=True, kw_only=True):
    hostname: str = ""
    ip: str = ""
    ip_mode: str = ""
    ports: tuple[PortStatus, ...] = ()


class LoadBalancerStatus(View, frozen=True, kw_only=True):
    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(View, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] = ()
    load_balancer: LoadBalancerStatus | None = None


class Service(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["", "v1", "services"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class EndpointAddress(View, frozen=True, kw_only=True):
    hostname: str = ""
    ip: str = ""
    node_name: str = ""
    target_ref: ObjectReference | None = None


class EndpointPort(View, frozen=True, kw_only=True):
    app_protocol: str = ""
    name: str = ""
    port: int = 0
    protocol: str = ""


class EndpointSubset(View, frozen=True, kw_only=True):
    addresses: tuple[EndpointAddress, ...] = ()
    not_ready_addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class Endpoints(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["", "v1", "endpoints"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    subsets: tuple[EndpointSubset, ...] = ()
