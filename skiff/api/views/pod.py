# ruff: noqa: RUF012 - msgspec makes a new dict of an empty default for each struct
"""Views: pods and pod templates.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from typing import ClassVar

from msgspec import field

from skiff.api.resources import RESOURCES, Resource
from skiff.api.views.affinity import Affinity, Toleration, TopologySpreadConstraint
from skiff.api.views.base import View
from skiff.api.views.container import (
    AppArmorProfile,
    Container,
    EphemeralContainer,
    LocalObjectReference,
    ResourceRequirements,
    SeccompProfile,
    SELinuxOptions,
    WindowsSecurityContextOptions,
)
from skiff.api.views.meta import ObjectMeta
from skiff.api.views.volume import Volume


class Sysctl(View, frozen=True, kw_only=True):
    name: str = ""
    value: str = ""


class PodSecurityContext(View, frozen=True, kw_only=True):
    app_armor_profile: AppArmorProfile | None = None
    fs_group: int | None = None
    fs_group_change_policy: str = ""
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    run_as_user: int | None = None
    se_linux_change_policy: str = ""
    se_linux_options: SELinuxOptions | None = None
    seccomp_profile: SeccompProfile | None = None
    supplemental_groups: tuple[int, ...] = ()
    supplemental_groups_policy: str = ""
    sysctls: tuple[Sysctl, ...] = ()
    windows_options: WindowsSecurityContextOptions | None = None


class HostAlias(View, frozen=True, kw_only=True):
    hostnames: tuple[str, ...] = ()
    ip: str = ""


class PodDNSConfigOption(View, frozen=True, kw_only=True):
    name: str = ""
    value: str = ""


class PodDNSConfig(View, frozen=True, kw_only=True):
    nameservers: tuple[str, ...] = ()
    options: tuple[PodDNSConfigOption, ...] = ()
    searches: tuple[str, ...] = ()


class PodReadinessGate(View, frozen=True, kw_only=True):
    condition_type: str = ""


class PodOS(View, frozen=True, kw_only=True):
    name: str = ""


class PodSchedulingGate(View, frozen=True, kw_only=True):
    name: str = ""


class PodResourceClaim(View, frozen=True, kw_only=True):
    name: str = ""
    resource_claim_name: str = ""
    resource_claim_template_name: str = ""


class PodSchedulingGroup(View, frozen=True, kw_only=True):
    pod_group_name: str = ""


class PodSpec(View, frozen=True, kw_only=True):
    active_deadline_seconds: int | None = None
    affinity: Affinity | None = None
    automount_service_account_token: bool | None = None
    containers: tuple[Container, ...] = ()
    dns_config: PodDNSConfig | None = None
    dns_policy: str = ""
    enable_service_links: bool | None = None
    ephemeral_containers: tuple[EphemeralContainer, ...] = ()
    host_aliases: tuple[HostAlias, ...] = ()
    host_ipc: bool = field(default=False, name="hostIPC")
    host_network: bool = False
    host_pid: bool = field(default=False, name="hostPID")
    host_users: bool | None = None
    hostname: str = ""
    hostname_override: str = ""
    image_pull_secrets: tuple[LocalObjectReference, ...] = ()
    init_containers: tuple[Container, ...] = ()
    node_name: str = ""
    node_selector: dict[str, str] = {}
    os: PodOS | None = None
    overhead: dict[str, str] = {}
    preemption_policy: str = ""
    priority: int | None = None
    priority_class_name: str = ""
    readiness_gates: tuple[PodReadinessGate, ...] = ()
    resource_claims: tuple[PodResourceClaim, ...] = ()
    resources: ResourceRequirements | None = None
    restart_policy: str = ""
    runtime_class_name: str = ""
    scheduler_name: str = ""
    scheduling_gates: tuple[PodSchedulingGate, ...] = ()
    scheduling_group: PodSchedulingGroup | None = None
    security_context: PodSecurityContext | None = None
    service_account: str = ""
    service_account_name: str = ""
    set_hostname_as_fqdn: bool | None = field(default=None, name="setHostnameAsFQDN")
    share_process_namespace: bool | None = None
    subdomain: str = ""
    termination_grace_period_seconds: int | None = None
    tolerations: tuple[Toleration, ...] = ()
    topology_spread_constraints: tuple[TopologySpreadConstraint, ...] = ()
    volumes: tuple[Volume, ...] = ()


class PodTemplateSpec(View, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()


class ContainerStateWaiting(View, frozen=True, kw_only=True):
    message: str = ""
    reason: str = ""


class ContainerStateRunning(View, frozen=True, kw_only=True):
    started_at: str = ""


class ContainerStateTerminated(View, frozen=True, kw_only=True):
    container_id: str = field(default="", name="containerID")
    exit_code: int = 0
    finished_at: str = ""
    message: str = ""
    reason: str = ""
    signal: int = 0
    started_at: str = ""


class ContainerState(View, frozen=True, kw_only=True):
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None
    waiting: ContainerStateWaiting | None = None


class LinuxContainerUser(View, frozen=True, kw_only=True):
    gid: int = 0
    supplemental_groups: tuple[int, ...] = ()
    uid: int = 0


class ContainerUser(View, frozen=True, kw_only=True):
    linux: LinuxContainerUser | None = None


class VolumeMountStatus(View, frozen=True, kw_only=True):
    mount_path: str = ""
    name: str = ""
    read_only: bool = False
    recursive_read_only: str = ""


class ResourceHealth(View, frozen=True, kw_only=True):
    health: str = ""
    message: str = ""
    resource_id: str = field(default="", name="resourceID")


class ResourceStatus(View, frozen=True, kw_only=True):
    name: str = ""
    resources: tuple[ResourceHealth, ...] = ()


class ContainerStatus(View, frozen=True, kw_only=True):
    allocated_resources: dict[str, str] = {}
    allocated_resources_status: tuple[ResourceStatus, ...] = ()
    container_id: str = field(default="", name="containerID")
    image: str = ""
    image_id: str = field(default="", name="imageID")
    last_state: ContainerState | None = None
    name: str = ""
    ready: bool = False
    resources: ResourceRequirements | None = None
    restart_count: int = 0
    started: bool | None = None
    state: ContainerState | None = None
    stop_signal: str = ""
    user: ContainerUser | None = None
    volume_mounts: tuple[VolumeMountStatus, ...] = ()


class PodCondition(View, frozen=True, kw_only=True):
    last_probe_time: str | None = None  # Kubernetes writes null where it never was probed
    last_transition_time: str = ""
    message: str = ""
    observed_generation: int = 0
    reason: str = ""
    status: str = ""
    type: str = ""


class PodIP(View, frozen=True, kw_only=True):
    ip: str = ""


class HostIP(View, frozen=True, kw_only=True):
    ip: str = ""


class PodResourceClaimStatus(View, frozen=True, kw_only=True):
    name: str = ""
    resource_claim_name: str = ""


class PodStatus(View, frozen=True, kw_only=True):
    allocated_resources: dict[str, str] = {}
    conditions: tuple[PodCondition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    ephemeral_container_statuses: tuple[ContainerStatus, ...] = ()
    host_ip: str = field(default="", name="hostIP")
    host_ips: tuple[HostIP, ...] = field(default=(), name="hostIPs")
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    message: str = ""
    nominated_node_name: str = ""
    observed_generation: int = 0
    phase: str = ""
    pod_ip: str = field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = field(default=(), name="podIPs")
    qos_class: str = ""
    reason: str = ""
    resize: str = ""
    resource_claim_statuses: tuple[PodResourceClaimStatus, ...] = ()
    resources: ResourceRequirements | None = None
    start_time: str = ""


class Pod(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["", "v1", "pods"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class PodTemplate(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["", "v1", "podtemplates"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    template: PodTemplateSpec = PodTemplateSpec()
