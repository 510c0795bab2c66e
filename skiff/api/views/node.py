# ruff: noqa: RUF012 - msgspec makes a new dict of an empty default for each struct
"""Views: nodes.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from typing import ClassVar

from msgspec import field

from skiff.api.resources import RESOURCES, Resource
from skiff.api.views.base import View
from skiff.api.views.meta import ObjectMeta


class Taint(View, frozen=True, kw_only=True):
    effect: str = ""
    key: str = ""
    time_added: str = ""
    value: str = ""


class NodeSpec(View, frozen=True, kw_only=True):
    external_id: str = field(default="", name="externalID")
    pod_cidr: str = field(default="", name="podCIDR")
    pod_cidrs: tuple[str, ...] = field(default=(), name="podCIDRs")
    provider_id: str = field(default="", name="providerID")
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False


class NodeCondition(View, frozen=True, kw_only=True):
    last_heartbeat_time: str = ""
    last_transition_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class NodeAddress(View, frozen=True, kw_only=True):
    address: str = ""
    type: str = ""


class DaemonEndpoint(View, frozen=True, kw_only=True):
    port: int = field(default=0, name="Port")


class NodeDaemonEndpoints(View, frozen=True, kw_only=True):
    kubelet_endpoint: DaemonEndpoint | None = None


class NodeSystemInfo(View, frozen=True, kw_only=True):
    architecture: str = ""
    boot_id: str = field(default="", name="bootID")
    container_runtime_version: str = ""
    kernel_version: str = ""
    kube_proxy_version: str = ""
    kubelet_version: str = ""
    machine_id: str = field(default="", name="machineID")
    operating_system: str = ""
    os_image: str = ""
    system_uuid: str = field(default="", name="systemUUID")


class ContainerImage(View, frozen=True, kw_only=True):
    names: tuple[str, ...] = ()
    size_bytes: int | None = None


class AttachedVolume(View, frozen=True, kw_only=True):
    device_path: str = ""
    name: str = ""


class NodeRuntimeHandlerFeatures(View, frozen=True, kw_only=True):
    recursive_read_only_mounts: bool = False
    user_namespaces: bool = False


class NodeRuntimeHandler(View, frozen=True, kw_only=True):
    features: NodeRuntimeHandlerFeatures | None = None
    name: str = ""


class NodeFeatures(View, frozen=True, kw_only=True):
    supplemental_groups_policy: bool = False


class NodeStatus(View, frozen=True, kw_only=True):
    addresses: tuple[NodeAddress, ...] = ()
    allocatable: dict[str, str] = {}
    capacity: dict[str, str] = {}
    conditions: tuple[NodeCondition, ...] = ()
    daemon_endpoints: NodeDaemonEndpoints | None = None
    declared_features: tuple[str, ...] = ()
    features: NodeFeatures | None = None
    images: tuple[ContainerImage, ...] = ()
    node_info: NodeSystemInfo | None = None
    phase: str = ""
    runtime_handlers: tuple[NodeRuntimeHandler, ...] = ()
    volumes_attached: tuple[AttachedVolume, ...] = ()
    volumes_in_use: tuple[str, ...] = ()


class Node(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["", "v1", "nodes"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()
