"""Runtime configurations of a pod's sandbox and containers. Pure, given what goes in."""

import json
from dataclasses import dataclass

from skiff.api.views.pod import Pod, PodSecurityContext
from skiff.node.config import KubeletConfig
from skiff.node.inputs import ContainerInputs
from skiff.node.lifecycle.model import AnyContainer, Kind, definition_hash, grace_period_s
from skiff.node.resolver import sandbox_host_name
from skiff.node.resources import container_resources
from skiff.node.runtime import (
    ANNOTATION_CONTAINER_TYPE,
    ANNOTATION_GRACE_PERIOD,
    ANNOTATION_HASH,
    ANNOTATION_RESTART_COUNT,
    ANNOTATION_TERMINATION_PATH,
    ANNOTATION_TERMINATION_POLICY,
    LABEL_CONTAINER_NAME,
    LABEL_POD_NAME,
    LABEL_POD_NAMESPACE,
    LABEL_POD_UID,
    ContainerConfig,
    DnsConfig,
    Image,
    PortMapping,
    SandboxConfig,
)
from skiff.node.security import container_security, is_privileged, pod_namespaces, pod_seccomp

DEFAULT_TERMINATION_PATH = "/dev/termination-log"


@dataclass(frozen=True, slots=True)
class Built:
    """What one container is made for: everything that is not in the spec."""

    attempt: int
    image: Image
    inputs: ContainerInputs
    target_id: str = ""
    memory_capacity_bytes: int = 0


def pod_labels(pod: Pod) -> dict[str, str]:
    """By which sandboxes and containers are known as the pod's."""
    return {
        LABEL_POD_NAME: pod.metadata.name,
        LABEL_POD_NAMESPACE: pod.metadata.namespace,
        LABEL_POD_UID: pod.metadata.uid,
    }


def sandbox_config(
    pod: Pod, config: KubeletConfig, attempt: int, dns: DnsConfig | None, cgroup_parent: str
) -> SandboxConfig:
    """The sandbox of a pod. Raises ValueError where its host name is too long."""
    shared = pod.spec.security_context or PodSecurityContext()
    groups = shared.supplemental_groups
    if shared.fs_group is not None:
        groups = (*groups, shared.fs_group)
    return SandboxConfig(
        name=pod.metadata.name,
        namespace=pod.metadata.namespace,
        uid=pod.metadata.uid,
        attempt=attempt,
        hostname="" if pod.spec.host_network else sandbox_host_name(pod, config.cluster_domain),
        log_directory=str(
            config.pod_log_dir(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid)
        ),
        dns=dns,
        port_mappings=port_mappings(pod),
        labels=pod.metadata.labels | pod_labels(pod),
        annotations=pod.metadata.annotations,
        cgroup_parent=cgroup_parent,
        namespaces=pod_namespaces(pod),
        run_as_user=shared.run_as_user,
        run_as_group=shared.run_as_group,
        supplemental_groups=groups,
        privileged=is_privileged(pod),
        seccomp=pod_seccomp(pod),
        sysctls={s.name.replace("/", "."): s.value for s in shared.sysctls},
    )


def port_mappings(pod: Pod) -> tuple[PortMapping, ...]:
    """The pod's host ports (with the host's network, its ports are the host's already)."""
    if pod.spec.host_network:
        return ()
    return tuple(
        PortMapping(p.container_port, p.host_port, p.protocol or "TCP", p.host_ip)
        for c in (*pod.spec.init_containers, *pod.spec.containers)
        for p in c.ports
        if p.host_port
    )


def container_config(
    pod: Pod, kind: Kind, container: AnyContainer, built: Built
) -> ContainerConfig:
    """One container of a pod. Raises SecurityRefused."""
    path = container.termination_message_path or DEFAULT_TERMINATION_PATH
    return ContainerConfig(
        name=container.name,
        image=built.image.id,
        attempt=built.attempt,
        command=built.inputs.command,
        args=built.inputs.args,
        working_dir=container.working_dir,
        env=built.inputs.env,
        mounts=built.inputs.mounts,
        devices=built.inputs.devices,
        labels=pod_labels(pod) | {LABEL_CONTAINER_NAME: container.name},
        annotations={
            ANNOTATION_HASH: definition_hash(container),
            ANNOTATION_RESTART_COUNT: str(built.attempt),
            ANNOTATION_TERMINATION_PATH: path,
            ANNOTATION_TERMINATION_POLICY: container.termination_message_policy or "File",
            ANNOTATION_GRACE_PERIOD: str(grace_period_s(pod)),
            ANNOTATION_CONTAINER_TYPE: kind.value,
            "io.kubernetes.container.ports": json.dumps(
                [
                    {"containerPort": p.container_port, "name": p.name, "protocol": p.protocol}
                    for p in container.ports
                ]
            ),
        },
        log_path=f"{container.name}/{built.attempt}.log",
        stdin=container.stdin,
        stdin_once=container.stdin_once,
        tty=container.tty,
        resources=container_resources(pod, container, built.memory_capacity_bytes),
        security=container_security(pod, kind, container, built.image, target_id=built.target_id),
    )
