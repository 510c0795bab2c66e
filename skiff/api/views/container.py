# ruff: noqa: RUF012 - msgspec makes a new dict of an empty default for each struct
"""Views: containers: environment, probes, hooks, security context.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from msgspec import field

from skiff.api.views.base import View


class LocalObjectReference(View, frozen=True, kw_only=True):
    name: str = ""


class ObjectReference(View, frozen=True, kw_only=True):
    api_version: str = ""
    field_path: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    uid: str = ""


class TypedLocalObjectReference(View, frozen=True, kw_only=True):
    api_group: str = ""
    kind: str = ""
    name: str = ""


class TypedObjectReference(View, frozen=True, kw_only=True):
    api_group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""


class ObjectFieldSelector(View, frozen=True, kw_only=True):
    api_version: str = ""
    field_path: str = ""


class ResourceFieldSelector(View, frozen=True, kw_only=True):
    container_name: str = ""
    divisor: str = ""
    resource: str = ""


class ConfigMapKeySelector(View, frozen=True, kw_only=True):
    key: str = ""
    name: str = ""
    optional: bool | None = None


class SecretKeySelector(View, frozen=True, kw_only=True):
    key: str = ""
    name: str = ""
    optional: bool | None = None


class FileKeySelector(View, frozen=True, kw_only=True):
    key: str = ""
    optional: bool | None = None
    path: str = ""
    volume_name: str = ""


class EnvVarSource(View, frozen=True, kw_only=True):
    config_map_key_ref: ConfigMapKeySelector | None = None
    field_ref: ObjectFieldSelector | None = None
    file_key_ref: FileKeySelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    secret_key_ref: SecretKeySelector | None = None


class EnvVar(View, frozen=True, kw_only=True):
    name: str = ""
    value: str = ""
    value_from: EnvVarSource | None = None


class ConfigMapEnvSource(View, frozen=True, kw_only=True):
    name: str = ""
    optional: bool | None = None


class SecretEnvSource(View, frozen=True, kw_only=True):
    name: str = ""
    optional: bool | None = None


class EnvFromSource(View, frozen=True, kw_only=True):
    config_map_ref: ConfigMapEnvSource | None = None
    prefix: str = ""
    secret_ref: SecretEnvSource | None = None


class ContainerPort(View, frozen=True, kw_only=True):
    container_port: int = 0
    host_ip: str = field(default="", name="hostIP")
    host_port: int = 0
    name: str = ""
    protocol: str = ""


class ResourceClaim(View, frozen=True, kw_only=True):
    name: str = ""
    request: str = ""


class ResourceRequirements(View, frozen=True, kw_only=True):
    claims: tuple[ResourceClaim, ...] = ()
    limits: dict[str, str] = {}
    requests: dict[str, str] = {}


class VolumeMount(View, frozen=True, kw_only=True):
    mount_path: str = ""
    mount_propagation: str = ""
    name: str = ""
    read_only: bool = False
    recursive_read_only: str = ""
    sub_path: str = ""
    sub_path_expr: str = ""


class VolumeDevice(View, frozen=True, kw_only=True):
    device_path: str = ""
    name: str = ""


class HTTPHeader(View, frozen=True, kw_only=True):
    name: str = ""
    value: str = ""


class HTTPGetAction(View, frozen=True, kw_only=True):
    host: str = ""
    http_headers: tuple[HTTPHeader, ...] = ()
    path: str = ""
    port: int | str | None = None
    scheme: str = ""


class TCPSocketAction(View, frozen=True, kw_only=True):
    host: str = ""
    port: int | str | None = None


class ExecAction(View, frozen=True, kw_only=True):
    command: tuple[str, ...] = ()


class GRPCAction(View, frozen=True, kw_only=True):
    port: int = 0
    service: str = ""


class SleepAction(View, frozen=True, kw_only=True):
    seconds: int = 0


class LifecycleHandler(View, frozen=True, kw_only=True):
    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    sleep: SleepAction | None = None
    tcp_socket: TCPSocketAction | None = None


class Lifecycle(View, frozen=True, kw_only=True):
    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None
    stop_signal: str = ""


class Probe(View, frozen=True, kw_only=True):
    exec: ExecAction | None = None
    failure_threshold: int = 0
    grpc: GRPCAction | None = None
    http_get: HTTPGetAction | None = None
    initial_delay_seconds: int = 0
    period_seconds: int = 0
    success_threshold: int = 0
    tcp_socket: TCPSocketAction | None = None
    termination_grace_period_seconds: int | None = None
    timeout_seconds: int = 0


class Capabilities(View, frozen=True, kw_only=True):
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SELinuxOptions(View, frozen=True, kw_only=True):
    level: str = ""
    role: str = ""
    type: str = ""
    user: str = ""


class WindowsSecurityContextOptions(View, frozen=True, kw_only=True):
    gmsa_credential_spec: str = ""
    gmsa_credential_spec_name: str = ""
    host_process: bool = False
    run_as_user_name: str = ""


class SeccompProfile(View, frozen=True, kw_only=True):
    localhost_profile: str = ""
    type: str = ""


class AppArmorProfile(View, frozen=True, kw_only=True):
    localhost_profile: str = ""
    type: str = ""


class SecurityContext(View, frozen=True, kw_only=True):
    allow_privilege_escalation: bool | None = None
    app_armor_profile: AppArmorProfile | None = None
    capabilities: Capabilities | None = None
    privileged: bool | None = None
    proc_mount: str = ""
    read_only_root_filesystem: bool | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    run_as_user: int | None = None
    se_linux_options: SELinuxOptions | None = None
    seccomp_profile: SeccompProfile | None = None
    windows_options: WindowsSecurityContextOptions | None = None


class ContainerResizePolicy(View, frozen=True, kw_only=True):
    resource_name: str = ""
    restart_policy: str = ""


class ContainerRestartRuleOnExitCodes(View, frozen=True, kw_only=True):
    operator: str = ""
    values: tuple[int, ...] = ()


class ContainerRestartRule(View, frozen=True, kw_only=True):
    action: str = ""
    exit_codes: ContainerRestartRuleOnExitCodes | None = None


class Container(View, frozen=True, kw_only=True):
    args: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFromSource, ...] = ()
    image: str = ""
    image_pull_policy: str = ""
    lifecycle: Lifecycle | None = None
    liveness_probe: Probe | None = None
    name: str = ""
    ports: tuple[ContainerPort, ...] = ()
    readiness_probe: Probe | None = None
    resize_policy: tuple[ContainerResizePolicy, ...] = ()
    resources: ResourceRequirements | None = None
    restart_policy: str = ""
    restart_policy_rules: tuple[ContainerRestartRule, ...] = ()
    security_context: SecurityContext | None = None
    startup_probe: Probe | None = None
    stdin: bool = False
    stdin_once: bool = False
    termination_message_path: str = ""
    termination_message_policy: str = ""
    tty: bool = False
    volume_devices: tuple[VolumeDevice, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()
    working_dir: str = ""


class EphemeralContainer(View, frozen=True, kw_only=True):
    args: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFromSource, ...] = ()
    image: str = ""
    image_pull_policy: str = ""
    lifecycle: Lifecycle | None = None
    liveness_probe: Probe | None = None
    name: str = ""
    ports: tuple[ContainerPort, ...] = ()
    readiness_probe: Probe | None = None
    resize_policy: tuple[ContainerResizePolicy, ...] = ()
    resources: ResourceRequirements | None = None
    restart_policy: str = ""
    restart_policy_rules: tuple[ContainerRestartRule, ...] = ()
    security_context: SecurityContext | None = None
    startup_probe: Probe | None = None
    stdin: bool = False
    stdin_once: bool = False
    target_container_name: str = ""
    termination_message_path: str = ""
    termination_message_policy: str = ""
    tty: bool = False
    volume_devices: tuple[VolumeDevice, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()
    working_dir: str = ""
