"""The kubelet's settings, with the fixed facts that several of its parts share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

KUBELET_PORT = 10250
MAX_PODS = 110


@dataclass(frozen=True, slots=True)
class KubeletConfig:
    """One node's settings. Names follow kubelet's flags and KubeletConfiguration where they exist there.

    `root_dir` holds `pods/<uid>/{volumes,etc-hosts,containers}`; `pod_logs_dir` the containers' logs as
    `<namespace>_<pod>_<uid>/<container>/<restart>.log`.
    """

    node_name: str
    root_dir: Path
    pod_logs_dir: Path
    node_ip: str = "127.0.0.1"
    bind_address: str = "0.0.0.0"  # noqa: S104 - the API server of another machine reaches it
    port: int = KUBELET_PORT
    cluster_dns: tuple[str, ...] = ("10.96.0.10",)
    cluster_domain: str = "cluster.local"
    resolv_conf: str = "/etc/resolv.conf"
    cgroup_driver: str = "cgroupfs"
    cgroup_root: str = "/kubepods"
    manage_cgroups: bool = True
    max_pods: int = MAX_PODS
    runtime_endpoint: str = ""
    runtime_request_timeout_s: float = 120.0
    static_pod_path: str = ""
    node_labels: Mapping[str, str] = field(default_factory=dict)
    register_with_taints: tuple[Mapping[str, str], ...] = ()
    register_node: bool = True
    node_status_update_frequency_s: float = 10.0
    node_status_report_frequency_s: float = 300.0
    node_lease_duration_s: int = 40
    sync_frequency_s: float = 60.0
    capacity: Mapping[str, str] = field(default_factory=dict)
    """What the node says it has (`cpu`, `memory`, …); empty means: as the machine is."""
    system_reserved: Mapping[str, str] = field(default_factory=dict)
    provider_id: str = ""
    allowed_unsafe_sysctls: tuple[str, ...] = ()
    # Of the disk Kubernetes wants 10 and 15 percent left. That suits machines that are nodes and
    # nothing else; on a laptop or in CI it would refuse pods while tens of GiB are free.
    eviction_hard: Mapping[str, str] = field(
        default_factory=lambda: {
            "memory.available": "100Mi",
            "nodefs.available": "500Mi",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "500Mi",
            "imagefs.inodesFree": "1%",
        }
    )
    """Signals and what must be left of each, as an amount or a percentage."""

    # The HTTPS API: serving certificate, and the CA that client certificates are checked against.
    tls_cert_file: str = ""
    tls_private_key_file: str = ""
    client_ca_file: str = ""
    anonymous_auth: bool = False
    streaming_idle_timeout_s: float = 4 * 3600.0

    # Container logs: CRI's rotation by size.
    container_log_max_size_bytes: int = 10 * 1024 * 1024
    container_log_max_files: int = 5

    def pod_dir(self, uid: str) -> Path:
        """Where the kubelet keeps what belongs to one pod."""
        return self.root_dir / "pods" / uid

    def pod_log_dir(self, namespace: str, name: str, uid: str) -> Path:
        """The sandbox's log directory."""
        return self.pod_logs_dir / f"{namespace}_{name}_{uid}"

    def container_log(
        self, namespace: str, name: str, uid: str, container: str, attempt: int
    ) -> Path:
        """One container's log file."""
        return self.pod_log_dir(namespace, name, uid) / container / f"{attempt}.log"
