# ruff: noqa: RUF012 - msgspec makes a new dict of an empty default for each struct
"""Views: the remaining kinds of the core group; re-exports the rest of it.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from typing import ClassVar

from msgspec import Raw

from skiff.api.resources import RESOURCES, Resource
from skiff.api.views.affinity import (
    Affinity,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    PreferredSchedulingTerm,
    Toleration,
    TopologySelectorLabelRequirement,
    TopologySelectorTerm,
    TopologySpreadConstraint,
    WeightedPodAffinityTerm,
)
from skiff.api.views.base import NO_TEMPLATE, View
from skiff.api.views.container import (
    AppArmorProfile,
    Capabilities,
    ConfigMapEnvSource,
    ConfigMapKeySelector,
    Container,
    ContainerPort,
    ContainerResizePolicy,
    ContainerRestartRule,
    ContainerRestartRuleOnExitCodes,
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    EphemeralContainer,
    ExecAction,
    FileKeySelector,
    GRPCAction,
    HTTPGetAction,
    HTTPHeader,
    Lifecycle,
    LifecycleHandler,
    LocalObjectReference,
    ObjectFieldSelector,
    ObjectReference,
    Probe,
    ResourceClaim,
    ResourceFieldSelector,
    ResourceRequirements,
    SeccompProfile,
    SecretEnvSource,
    SecretKeySelector,
    SecurityContext,
    SELinuxOptions,
    SleepAction,
    TCPSocketAction,
    TypedLocalObjectReference,
    TypedObjectReference,
    VolumeDevice,
    VolumeMount,
    WindowsSecurityContextOptions,
)
from skiff.api.views.meta import ObjectMeta
from skiff.api.views.node import (
    AttachedVolume,
    ContainerImage,
    DaemonEndpoint,
    Node,
    NodeAddress,
    NodeCondition,
    NodeDaemonEndpoints,
    NodeFeatures,
    NodeRuntimeHandler,
    NodeRuntimeHandlerFeatures,
    NodeSpec,
    NodeStatus,
    NodeSystemInfo,
    Taint,
)
from skiff.api.views.pod import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    ContainerUser,
    HostAlias,
    HostIP,
    LinuxContainerUser,
    Pod,
    PodCondition,
    PodDNSConfig,
    PodDNSConfigOption,
    PodIP,
    PodOS,
    PodReadinessGate,
    PodResourceClaim,
    PodResourceClaimStatus,
    PodSchedulingGate,
    PodSchedulingGroup,
    PodSecurityContext,
    PodSpec,
    PodStatus,
    PodTemplate,
    PodTemplateSpec,
    ResourceHealth,
    ResourceStatus,
    Sysctl,
    VolumeMountStatus,
)
from skiff.api.views.service import (
    ClientIPConfig,
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    LoadBalancerIngress,
    LoadBalancerStatus,
    PortStatus,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
    SessionAffinityConfig,
)
from skiff.api.views.volume import (
    ClusterTrustBundleProjection,
    ConfigMapProjection,
    ConfigMapVolumeSource,
    CSIPersistentVolumeSource,
    CSIVolumeSource,
    DownwardAPIProjection,
    DownwardAPIVolumeFile,
    DownwardAPIVolumeSource,
    EmptyDirVolumeSource,
    EphemeralVolumeSource,
    HostPathVolumeSource,
    ImageVolumeSource,
    KeyToPath,
    LocalVolumeSource,
    ModifyVolumeStatus,
    NFSVolumeSource,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimCondition,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimStatus,
    PersistentVolumeClaimTemplate,
    PersistentVolumeClaimVolumeSource,
    PersistentVolumeSpec,
    PersistentVolumeStatus,
    PodCertificateProjection,
    ProjectedVolumeSource,
    SecretProjection,
    SecretReference,
    SecretVolumeSource,
    ServiceAccountTokenProjection,
    Volume,
    VolumeNodeAffinity,
    VolumeProjection,
    VolumeResourceRequirements,
)


class ConfigMap(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["", "v1", "configmaps"]
    api_version: str = ""
    binary_data: dict[str, str] = {}
    data: dict[str, str] = {}
    immutable: bool | None = None
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()


class Secret(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["", "v1", "secrets"]
    api_version: str = ""
    data: dict[str, str] = {}
    immutable: bool | None = None
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    string_data: dict[str, str] = {}
    type: str = ""


class ServiceAccount(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["", "v1", "serviceaccounts"]
    api_version: str = ""
    automount_service_account_token: bool | None = None
    image_pull_secrets: tuple[LocalObjectReference, ...] = ()
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    secrets: tuple[ObjectReference, ...] = ()


class NamespaceSpec(View, frozen=True, kw_only=True):
    finalizers: tuple[str, ...] = ()


class NamespaceCondition(View, frozen=True, kw_only=True):
    last_transition_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class NamespaceStatus(View, frozen=True, kw_only=True):
    conditions: tuple[NamespaceCondition, ...] = ()
    phase: str = ""


class Namespace(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["", "v1", "namespaces"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()


class EventSource(View, frozen=True, kw_only=True):
    component: str = ""
    host: str = ""


class EventSeries(View, frozen=True, kw_only=True):
    count: int = 0
    last_observed_time: str = ""


class Event(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["", "v1", "events"]
    action: str = ""
    api_version: str = ""
    count: int = 0
    event_time: str = ""
    first_timestamp: str = ""
    involved_object: ObjectReference | None = None
    kind: str = ""
    last_timestamp: str = ""
    message: str = ""
    metadata: ObjectMeta = ObjectMeta()
    reason: str = ""
    related: ObjectReference | None = None
    reporting_component: str = ""
    reporting_instance: str = ""
    series: EventSeries | None = None
    source: EventSource | None = None
    type: str = ""


class ReplicationControllerSpec(View, frozen=True, kw_only=True):
    min_ready_seconds: int = 0
    replicas: int | None = None
    selector: dict[str, str] = {}
    template: Raw = NO_TEMPLATE


class ReplicationControllerCondition(View, frozen=True, kw_only=True):
    last_transition_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class ReplicationControllerStatus(View, frozen=True, kw_only=True):
    available_replicas: int = 0
    conditions: tuple[ReplicationControllerCondition, ...] = ()
    fully_labeled_replicas: int = 0
    observed_generation: int = 0
    ready_replicas: int = 0
    replicas: int = 0


class ReplicationController(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["", "v1", "replicationcontrollers"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: ReplicationControllerSpec = ReplicationControllerSpec()
    status: ReplicationControllerStatus = ReplicationControllerStatus()


class ScopedResourceSelectorRequirement(View, frozen=True, kw_only=True):
    operator: str = ""
    scope_name: str = ""
    values: tuple[str, ...] = ()


class ScopeSelector(View, frozen=True, kw_only=True):
    match_expressions: tuple[ScopedResourceSelectorRequirement, ...] = ()


class ResourceQuotaSpec(View, frozen=True, kw_only=True):
    hard: dict[str, str] = {}
    scope_selector: ScopeSelector | None = None
    scopes: tuple[str, ...] = ()


class ResourceQuotaStatus(View, frozen=True, kw_only=True):
    hard: dict[str, str] = {}
    used: dict[str, str] = {}


class ResourceQuota(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["", "v1", "resourcequotas"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: ResourceQuotaSpec = ResourceQuotaSpec()
    status: ResourceQuotaStatus = ResourceQuotaStatus()


class LimitRangeItem(View, frozen=True, kw_only=True):
    default: dict[str, str] = {}
    default_request: dict[str, str] = {}
    max: dict[str, str] = {}
    max_limit_request_ratio: dict[str, str] = {}
    min: dict[str, str] = {}
    type: str = ""


class LimitRangeSpec(View, frozen=True, kw_only=True):
    limits: tuple[LimitRangeItem, ...] = ()


class LimitRange(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["", "v1", "limitranges"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: LimitRangeSpec = LimitRangeSpec()


__all__ = [
    "Affinity",
    "AppArmorProfile",
    "AttachedVolume",
    "CSIPersistentVolumeSource",
    "CSIVolumeSource",
    "Capabilities",
    "ClientIPConfig",
    "ClusterTrustBundleProjection",
    "ConfigMap",
    "ConfigMapEnvSource",
    "ConfigMapKeySelector",
    "ConfigMapProjection",
    "ConfigMapVolumeSource",
    "Container",
    "ContainerImage",
    "ContainerPort",
    "ContainerResizePolicy",
    "ContainerRestartRule",
    "ContainerRestartRuleOnExitCodes",
    "ContainerState",
    "ContainerStateRunning",
    "ContainerStateTerminated",
    "ContainerStateWaiting",
    "ContainerStatus",
    "ContainerUser",
    "DaemonEndpoint",
    "DownwardAPIProjection",
    "DownwardAPIVolumeFile",
    "DownwardAPIVolumeSource",
    "EmptyDirVolumeSource",
    "EndpointAddress",
    "EndpointPort",
    "EndpointSubset",
    "Endpoints",
    "EnvFromSource",
    "EnvVar",
    "EnvVarSource",
    "EphemeralContainer",
    "EphemeralVolumeSource",
    "Event",
    "EventSeries",
    "EventSource",
    "ExecAction",
    "FileKeySelector",
    "GRPCAction",
    "HTTPGetAction",
    "HTTPHeader",
    "HostAlias",
    "HostIP",
    "HostPathVolumeSource",
    "ImageVolumeSource",
    "KeyToPath",
    "Lifecycle",
    "LifecycleHandler",
    "LimitRange",
    "LimitRangeItem",
    "LimitRangeSpec",
    "LinuxContainerUser",
    "LoadBalancerIngress",
    "LoadBalancerStatus",
    "LocalObjectReference",
    "LocalVolumeSource",
    "ModifyVolumeStatus",
    "NFSVolumeSource",
    "Namespace",
    "NamespaceCondition",
    "NamespaceSpec",
    "NamespaceStatus",
    "Node",
    "NodeAddress",
    "NodeAffinity",
    "NodeCondition",
    "NodeDaemonEndpoints",
    "NodeFeatures",
    "NodeRuntimeHandler",
    "NodeRuntimeHandlerFeatures",
    "NodeSelector",
    "NodeSelectorRequirement",
    "NodeSelectorTerm",
    "NodeSpec",
    "NodeStatus",
    "NodeSystemInfo",
    "ObjectFieldSelector",
    "ObjectReference",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "PersistentVolumeClaimCondition",
    "PersistentVolumeClaimSpec",
    "PersistentVolumeClaimStatus",
    "PersistentVolumeClaimTemplate",
    "PersistentVolumeClaimVolumeSource",
    "PersistentVolumeSpec",
    "PersistentVolumeStatus",
    "Pod",
    "PodAffinity",
    "PodAffinityTerm",
    "PodAntiAffinity",
    "PodCertificateProjection",
    "PodCondition",
    "PodDNSConfig",
    "PodDNSConfigOption",
    "PodIP",
    "PodOS",
    "PodReadinessGate",
    "PodResourceClaim",
    "PodResourceClaimStatus",
    "PodSchedulingGate",
    "PodSchedulingGroup",
    "PodSecurityContext",
    "PodSpec",
    "PodStatus",
    "PodTemplate",
    "PodTemplateSpec",
    "PortStatus",
    "PreferredSchedulingTerm",
    "Probe",
    "ProjectedVolumeSource",
    "ReplicationController",
    "ReplicationControllerCondition",
    "ReplicationControllerSpec",
    "ReplicationControllerStatus",
    "ResourceClaim",
    "ResourceFieldSelector",
    "ResourceHealth",
    "ResourceQuota",
    "ResourceQuotaSpec",
    "ResourceQuotaStatus",
    "ResourceRequirements",
    "ResourceStatus",
    "SELinuxOptions",
    "ScopeSelector",
    "ScopedResourceSelectorRequirement",
    "SeccompProfile",
    "Secret",
    "SecretEnvSource",
    "SecretKeySelector",
    "SecretProjection",
    "SecretReference",
    "SecretVolumeSource",
    "SecurityContext",
    "Service",
    "ServiceAccount",
    "ServiceAccountTokenProjection",
    "ServicePort",
    "ServiceSpec",
    "ServiceStatus",
    "SessionAffinityConfig",
    "SleepAction",
    "Sysctl",
    "TCPSocketAction",
    "Taint",
    "Toleration",
    "TopologySelectorLabelRequirement",
    "TopologySelectorTerm",
    "TopologySpreadConstraint",
    "TypedLocalObjectReference",
    "TypedObjectReference",
    "Volume",
    "VolumeDevice",
    "VolumeMount",
    "VolumeMountStatus",
    "VolumeNodeAffinity",
    "VolumeProjection",
    "VolumeResourceRequirements",
    "WeightedPodAffinityTerm",
    "WindowsSecurityContextOptions",
]
