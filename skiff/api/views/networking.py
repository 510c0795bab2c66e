"""Views of the API group networking/v1.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from typing import ClassVar

from skiff.api.resources import RESOURCES, Resource
from skiff.api.views.base import View
from skiff.api.views.container import TypedLocalObjectReference
from skiff.api.views.meta import Condition, LabelSelector, ObjectMeta


class ServiceBackendPort(View, frozen=True, kw_only=True):
    name: str = ""
    number: int | None = None


class IngressServiceBackend(View, frozen=True, kw_only=True):
    name: str = ""
    port: ServiceBackendPort | None = None


class IngressBackend(View, frozen=True, kw_only=True):
    resource: TypedLocalObjectReference | None = None
    service: IngressServiceBackend | None = None


class HTTPIngressPath(View, frozen=True, kw_only=True):
    backend: IngressBackend | None = None
    path: str = ""
    path_type: str = ""


class HTTPIngressRuleValue(View, frozen=True, kw_only=True):
    paths: tuple[HTTPIngressPath, ...] = ()


class ParentReference(View, frozen=True, kw_only=True):
    group: str = ""
    name: str = ""
    namespace: str = ""
    resource: str = ""


class IPAddressSpec(View, frozen=True, kw_only=True):
    parent_ref: ParentReference | None = None


class IPAddress(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["networking.k8s.io", "v1", "ipaddresses"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: IPAddressSpec = IPAddressSpec()


class IPBlock(View, frozen=True, kw_only=True):
    cidr: str = ""
    except_: tuple[str, ...] = ()


class IngressRule(View, frozen=True, kw_only=True):
    host: str = ""
    http: HTTPIngressRuleValue | None = None


class IngressTLS(View, frozen=True, kw_only=True):
    hosts: tuple[str, ...] = ()
    secret_name: str = ""


class IngressSpec(View, frozen=True, kw_only=True):
    default_backend: IngressBackend | None = None
    ingress_class_name: str = ""
    rules: tuple[IngressRule, ...] = ()
    tls: tuple[IngressTLS, ...] = ()


class IngressPortStatus(View, frozen=True, kw_only=True):
    error: str = ""
    port: int = 0
    protocol: str = ""


class IngressLoadBalancerIngress(View, frozen=True, kw_only=True):
    hostname: str = ""
    ip: str = ""
    ports: tuple[IngressPortStatus, ...] = ()


class IngressLoadBalancerStatus(View, frozen=True, kw_only=True):
    ingress: tuple[IngressLoadBalancerIngress, ...] = ()


class IngressStatus(View, frozen=True, kw_only=True):
    load_balancer: IngressLoadBalancerStatus | None = None


class Ingress(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["networking.k8s.io", "v1", "ingresses"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: IngressSpec = IngressSpec()
    status: IngressStatus = IngressStatus()


class IngressClassParametersReference(View, frozen=True, kw_only=True):
    api_group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""
    scope: str = ""


class IngressClassSpec(View, frozen=True, kw_only=True):
    controller: str = ""
    parameters: IngressClassParametersReference | None = None


class IngressClass(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["networking.k8s.io", "v1", "ingressclasses"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: IngressClassSpec = IngressClassSpec()


class NetworkPolicyPeer(View, frozen=True, kw_only=True):
    ip_block: IPBlock | None = None
    namespace_selector: LabelSelector | None = None
    pod_selector: LabelSelector | None = None


class NetworkPolicyPort(View, frozen=True, kw_only=True):
    end_port: int | None = None
    port: int | str | None = None
    protocol: str = ""


class NetworkPolicyEgressRule(View, frozen=True, kw_only=True):
    ports: tuple[NetworkPolicyPort, ...] = ()
    to: tuple[NetworkPolicyPeer, ...] = ()


class NetworkPolicyIngressRule(View, frozen=True, kw_only=True):
    from_: tuple[NetworkPolicyPeer, ...] = ()
    ports: tuple[NetworkPolicyPort, ...] = ()


class NetworkPolicySpec(View, frozen=True, kw_only=True):
    egress: tuple[NetworkPolicyEgressRule, ...] = ()
    ingress: tuple[NetworkPolicyIngressRule, ...] = ()
    pod_selector: LabelSelector | None = None
    policy_types: tuple[str, ...] = ()


class NetworkPolicy(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["networking.k8s.io", "v1", "networkpolicies"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: NetworkPolicySpec = NetworkPolicySpec()


class ServiceCIDRSpec(View, frozen=True, kw_only=True):
    cidrs: tuple[str, ...] = ()


class ServiceCIDRStatus(View, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] = ()


class ServiceCIDR(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["networking.k8s.io", "v1", "servicecidrs"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: ServiceCIDRSpec = ServiceCIDRSpec()
    status: ServiceCIDRStatus = ServiceCIDRStatus()
