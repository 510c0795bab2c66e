"""The runtime's data to and from CRI's protobuf messages. Pure: no calls are made here."""

from collections.abc import Iterable

from skiff.node import cri_pb2 as pb
from skiff.node.runtime import (
    Container,
    ContainerConfig,
    ContainerSecurity,
    ContainerState,
    ContainerStats,
    ContainerStatus,
    DnsConfig,
    FilesystemUsage,
    Image,
    LinuxResources,
    Mount,
    Namespaces,
    Profile,
    Propagation,
    RegistryAuth,
    Sandbox,
    SandboxConfig,
    SandboxStatus,
)

NANOSECONDS = 1_000_000_000
_PROTOCOLS = {"TCP": pb.TCP, "UDP": pb.UDP, "SCTP": pb.SCTP}


def sandbox_config(config: SandboxConfig) -> pb.PodSandboxConfig:
    """PodSandboxConfig, as RunPodSandbox, CreateContainer and PullImage take it."""
    security = pb.LinuxSandboxSecurityContext(
        namespace_options=_namespaces(config.namespaces),
        readonly_rootfs=config.readonly_rootfs,
        supplemental_groups=config.supplemental_groups,
        privileged=config.privileged,
        seccomp=_profile(config.seccomp),
    )
    if config.run_as_user is not None:
        security.run_as_user.value = config.run_as_user
        if config.run_as_group is not None:
            security.run_as_group.value = config.run_as_group
    return pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(
            name=config.name, uid=config.uid, namespace=config.namespace, attempt=config.attempt
        ),
        hostname=config.hostname,
        log_directory=config.log_directory,
        dns_config=_dns(config.dns),
        port_mappings=[
            pb.PortMapping(
                protocol=_PROTOCOLS[p.protocol],
                container_port=p.container_port,
                host_port=p.host_port,
                host_ip=p.host_ip,
            )
            for p in config.port_mappings
        ],
        labels=dict(config.labels),
        annotations=dict(config.annotations),
        linux=pb.LinuxPodSandboxConfig(
            cgroup_parent=config.cgroup_parent,
            security_context=security,
            sysctls=dict(config.sysctls),
        ),
    )


def container_config(config: ContainerConfig) -> pb.ContainerConfig:
    """ContainerConfig, as CreateContainer takes it."""
    return pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name=config.name, attempt=config.attempt),
        image=pb.ImageSpec(image=config.image),
        command=config.command,
        args=config.args,
        working_dir=config.working_dir,
        envs=[pb.KeyValue(key=k, value=v) for k, v in config.env],
        mounts=[
            pb.Mount(
                container_path=m.container_path,
                host_path=m.host_path,
                readonly=m.readonly,
                propagation=pb.MountPropagation.Name(m.propagation.value),
            )
            for m in config.mounts
        ],
        devices=[
            pb.Device(container_path=c, host_path=h, permissions=p) for h, c, p in config.devices
        ],
        labels=dict(config.labels),
        annotations=dict(config.annotations),
        log_path=config.log_path,
        stdin=config.stdin,
        stdin_once=config.stdin_once,
        tty=config.tty,
        linux=pb.LinuxContainerConfig(
            resources=resources(config.resources), security_context=_security(config.security)
        ),
    )


def resources(limits: LinuxResources) -> pb.LinuxContainerResources:
    """LinuxContainerResources, of a new container or of an update."""
    return pb.LinuxContainerResources(
        cpu_period=limits.cpu_period_us,
        cpu_quota=limits.cpu_quota_us,
        cpu_shares=limits.cpu_shares,
        memory_limit_in_bytes=limits.memory_limit_bytes,
        oom_score_adj=limits.oom_score_adj,
        cpuset_cpus=limits.cpuset_cpus,
        hugepage_limits=[pb.HugepageLimit(page_size=s, limit=n) for s, n in limits.hugepage_limits],
        unified=dict(limits.unified),
    )


def auth_config(auth: RegistryAuth | None) -> pb.AuthConfig | None:
    """AuthConfig of PullImage."""
    if auth is None:
        return None
    return pb.AuthConfig(
        username=auth.username,
        password=auth.password,
        auth=auth.auth,
        server_address=auth.server_address,
        identity_token=auth.identity_token,
        registry_token=auth.registry_token,
    )


def sandbox(item: pb.PodSandbox) -> Sandbox:
    """A sandbox of ListPodSandbox."""
    return Sandbox(
        id=item.id,
        name=item.metadata.name,
        namespace=item.metadata.namespace,
        uid=item.metadata.uid,
        attempt=item.metadata.attempt,
        ready=item.state == pb.SANDBOX_READY,
        created_at=_seconds(item.created_at),
        labels=dict(item.labels),
        annotations=dict(item.annotations),
        runtime_handler=item.runtime_handler,
    )


def sandbox_status(status: pb.PodSandboxStatus) -> SandboxStatus:
    """The answer of PodSandboxStatus."""
    first = (status.network.ip,) if status.network.ip else ()
    return SandboxStatus(
        id=status.id,
        ready=status.state == pb.SANDBOX_READY,
        created_at=_seconds(status.created_at),
        ips=first + tuple(a.ip for a in status.network.additional_ips),
        host_network=status.linux.namespaces.options.network == pb.NODE,
    )


def container(item: pb.Container) -> Container:
    """A container of ListContainers."""
    return Container(
        id=item.id,
        sandbox_id=item.pod_sandbox_id,
        name=item.metadata.name,
        attempt=item.metadata.attempt,
        image=item.image.image,
        image_ref=item.image_ref,
        state=ContainerState(item.state),
        created_at=_seconds(item.created_at),
        labels=dict(item.labels),
        annotations=dict(item.annotations),
    )


def container_status(status: pb.ContainerStatus) -> ContainerStatus:
    """The answer of ContainerStatus."""
    return ContainerStatus(
        id=status.id,
        name=status.metadata.name,
        attempt=status.metadata.attempt,
        state=ContainerState(status.state),
        image=status.image.image,
        image_ref=status.image_ref,
        created_at=_seconds(status.created_at),
        started_at=_seconds(status.started_at),
        finished_at=_seconds(status.finished_at),
        exit_code=status.exit_code,
        reason=status.reason,
        message=status.message,
        labels=dict(status.labels),
        annotations=dict(status.annotations),
        mounts=tuple(
            Mount(m.container_path, m.host_path, m.readonly, Propagation(m.propagation))
            for m in status.mounts
        ),
        log_path=status.log_path,
    )


def image(item: pb.Image) -> Image:
    """An image of ListImages or ImageStatus."""
    return Image(
        id=item.id,
        tags=tuple(item.repo_tags),
        digests=tuple(item.repo_digests),
        size_bytes=item.size,
        uid=item.uid.value if item.HasField("uid") else None,
        username=item.username,
        pinned=item.pinned,
    )


def container_stats(stats: pb.ContainerStats) -> ContainerStats:
    """One entry of ListContainerStats."""
    memory = stats.memory
    return ContainerStats(
        id=stats.attributes.id,
        name=stats.attributes.metadata.name,
        labels=dict(stats.attributes.labels),
        timestamp=_seconds(stats.cpu.timestamp or memory.timestamp),
        cpu_nano_seconds=stats.cpu.usage_core_nano_seconds.value,
        memory_working_set_bytes=memory.working_set_bytes.value,
        memory_usage_bytes=memory.usage_bytes.value,
        memory_rss_bytes=memory.rss_bytes.value,
        memory_available_bytes=memory.available_bytes.value,
        memory_page_faults=memory.page_faults.value,
        memory_major_page_faults=memory.major_page_faults.value,
        rootfs_used_bytes=stats.writable_layer.used_bytes.value,
        rootfs_inodes_used=stats.writable_layer.inodes_used.value,
    )


def filesystems(items: Iterable[pb.FilesystemUsage]) -> list[FilesystemUsage]:
    """The answer of ImageFsInfo."""
    return [
        FilesystemUsage(
            mountpoint=f.fs_id.mountpoint,
            used_bytes=f.used_bytes.value,
            inodes_used=f.inodes_used.value,
            timestamp=_seconds(f.timestamp),
        )
        for f in items
    ]


def _seconds(nanoseconds: int) -> float:
    return nanoseconds / NANOSECONDS if nanoseconds > 0 else 0.0


def _dns(dns: DnsConfig | None) -> pb.DNSConfig | None:
    if dns is None:
        return None
    return pb.DNSConfig(servers=dns.servers, searches=dns.searches, options=dns.options)


def _namespaces(modes: Namespaces) -> pb.NamespaceOption:
    return pb.NamespaceOption(
        network=pb.NamespaceMode.Name(modes.network.value),
        pid=pb.NamespaceMode.Name(modes.pid.value),
        ipc=pb.NamespaceMode.Name(modes.ipc.value),
        target_id=modes.target_id,
    )


def _profile(profile: Profile | None) -> pb.SecurityProfile | None:
    if profile is None:
        return None
    return pb.SecurityProfile(
        profile_type=pb.SecurityProfile.ProfileType.Name(profile.type.value),
        localhost_ref=profile.path,
    )


def _security(security: ContainerSecurity) -> pb.LinuxContainerSecurityContext:
    message = pb.LinuxContainerSecurityContext(
        capabilities=pb.Capability(
            add_capabilities=security.add_capabilities, drop_capabilities=security.drop_capabilities
        ),
        privileged=security.privileged,
        namespace_options=_namespaces(security.namespaces),
        run_as_username=security.run_as_username,
        readonly_rootfs=security.readonly_rootfs,
        supplemental_groups=security.supplemental_groups,
        no_new_privs=security.no_new_privs,
        masked_paths=security.masked_paths,
        readonly_paths=security.readonly_paths,
        seccomp=_profile(security.seccomp),
        apparmor=_profile(security.apparmor),
    )
    if security.run_as_user is not None:
        message.run_as_user.value = security.run_as_user
    if security.run_as_group is not None:
        message.run_as_group.value = security.run_as_group
    return message
