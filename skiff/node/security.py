"""Security contexts as runtime settings, and the checks that need the image. Pure.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/security-context/
"""

from typing import TypeVar

from skiff.api.views.container import AppArmorProfile, SeccompProfile, SecurityContext
from skiff.api.views.pod import Pod, PodSecurityContext
from skiff.node.lifecycle.model import AnyContainer, Kind
from skiff.node.runtime import (
    ContainerSecurity,
    Image,
    NamespaceMode,
    Namespaces,
    Profile,
    ProfileType,
)

MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
UNMASKED = "Unmasked"
APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"
_TYPES = {
    "RuntimeDefault": ProfileType.RUNTIME_DEFAULT,
    "Unconfined": ProfileType.UNCONFINED,
    "Localhost": ProfileType.LOCALHOST,
}


class SecurityRefused(Exception):
    """The container may not run as it would: the message is that of CreateContainerConfigError."""


def pod_namespaces(pod: Pod) -> Namespaces:
    """The namespaces of the pod's sandbox."""
    return Namespaces(
        network=NamespaceMode.NODE if pod.spec.host_network else NamespaceMode.POD,
        pid=_pid_mode(pod),
        ipc=NamespaceMode.NODE if pod.spec.host_ipc else NamespaceMode.POD,
    )


def _pid_mode(pod: Pod) -> NamespaceMode:
    if pod.spec.host_pid:
        return NamespaceMode.NODE
    return NamespaceMode.POD if pod.spec.share_process_namespace else NamespaceMode.CONTAINER


def container_security(
    pod: Pod,
    kind: Kind,
    container: AnyContainer,
    image: Image,
    *,
    target_id: str = "",
    seccomp_root: str = "/var/lib/kubelet/seccomp",
) -> ContainerSecurity:
    """One container's settings. `target_id` is the container whose processes an ephemeral one shares.

    Raises SecurityRefused where runAsNonRoot forbids the user."""
    own = container.security_context or SecurityContext()
    shared = pod.spec.security_context or PodSecurityContext()
    _check_non_root(pod, container, image)
    user = _first(own.run_as_user, shared.run_as_user)
    username = ""
    if user is None:
        if image.uid is not None:
            user = image.uid
        else:
            username = image.username
    capabilities = own.capabilities
    namespaces = pod_namespaces(pod)
    if kind is Kind.EPHEMERAL and target_id:
        namespaces = Namespaces(
            network=namespaces.network,
            pid=NamespaceMode.TARGET,
            ipc=namespaces.ipc,
            target_id=target_id,
        )
    groups = shared.supplemental_groups
    if shared.fs_group is not None:
        groups = (*groups, shared.fs_group)
    unmasked = own.proc_mount == UNMASKED
    return ContainerSecurity(
        privileged=bool(own.privileged),
        run_as_user=user,
        run_as_username=username,
        run_as_group=_first(own.run_as_group, shared.run_as_group),
        supplemental_groups=groups,
        readonly_rootfs=bool(own.read_only_root_filesystem),
        no_new_privs=own.allow_privilege_escalation is False,
        add_capabilities=capabilities.add if capabilities else (),
        drop_capabilities=capabilities.drop if capabilities else (),
        namespaces=namespaces,
        masked_paths=() if unmasked else MASKED_PATHS,
        readonly_paths=() if unmasked else READONLY_PATHS,
        seccomp=_seccomp(own.seccomp_profile or shared.seccomp_profile, seccomp_root),
        apparmor=_apparmor(pod, container, own.app_armor_profile or shared.app_armor_profile),
    )


def pod_seccomp(pod: Pod, seccomp_root: str = "/var/lib/kubelet/seccomp") -> Profile:
    """The sandbox's own profile: the runtime's default, unless the pod says otherwise."""
    shared = pod.spec.security_context
    profile = shared.seccomp_profile if shared else None
    if profile is None:
        return Profile(ProfileType.RUNTIME_DEFAULT)
    return _seccomp(profile, seccomp_root)


def is_privileged(pod: Pod) -> bool:
    """Whether some container is privileged: the sandbox must be, too."""
    containers = (*pod.spec.init_containers, *pod.spec.containers)
    return any(bool(c.security_context and c.security_context.privileged) for c in containers)


def _check_non_root(pod: Pod, container: AnyContainer, image: Image) -> None:
    own = container.security_context or SecurityContext()
    shared = pod.spec.security_context or PodSecurityContext()
    if not _first(own.run_as_non_root, shared.run_as_non_root):
        return
    user = _first(own.run_as_user, shared.run_as_user)
    where = f"pod: {_quoted_pod(pod)}, container: {container.name}"
    if user is not None:
        if user == 0:
            raise SecurityRefused(f"container's runAsUser breaks non-root policy ({where})")
        return
    if image.uid == 0 or (image.uid is None and image.username in ("", "root")):
        raise SecurityRefused(f"container has runAsNonRoot and image will run as root ({where})")
    if image.uid is None:
        raise SecurityRefused(
            f"container has runAsNonRoot and image has non-numeric user ({image.username}), "
            f"cannot verify user is non-root ({where})"
        )


def _quoted_pod(pod: Pod) -> str:
    return f'"{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"'


def _seccomp(profile: SeccompProfile | None, root: str) -> Profile:
    if profile is None or profile.type not in _TYPES:
        return Profile(ProfileType.UNCONFINED)
    if profile.type == "Localhost":
        return Profile(ProfileType.LOCALHOST, f"{root}/{profile.localhost_profile}")
    return Profile(_TYPES[profile.type])


def _apparmor(pod: Pod, container: AnyContainer, profile: AppArmorProfile | None) -> Profile | None:
    if profile is not None and profile.type in _TYPES:
        return Profile(_TYPES[profile.type], profile.localhost_profile)
    old = pod.metadata.annotations.get(APPARMOR_ANNOTATION + container.name, "")
    if old == "unconfined":
        return Profile(ProfileType.UNCONFINED)
    if old == "runtime/default":
        return Profile(ProfileType.RUNTIME_DEFAULT)
    if old.startswith("localhost/"):
        return Profile(ProfileType.LOCALHOST, old.removeprefix("localhost/"))
    return None


T = TypeVar("T")


def _first(*values: T | None) -> T | None:
    return next((v for v in values if v is not None), None)
