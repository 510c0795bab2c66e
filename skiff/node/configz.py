"""/configz: the kubelet's settings in the words of its configuration file. Pure.

Source: https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/
"""

from typing import Any

from skiff.api.quantity import BINARY_SI, NANO, Quantity
from skiff.node.config import KubeletConfig
from skiff.node.eviction.plan import TRANSITION_S
from skiff.node.lifecycle.backoff import CAP_S, go_duration
from skiff.node.node_status import MAX_IMAGES


def configuration(config: KubeletConfig) -> dict[str, Any]:
    """The settings as a KubeletConfiguration: those that this kubelet has."""
    log_size = Quantity(config.container_log_max_size_bytes * NANO, BINARY_SI)
    found = {
        "enableServer": True,
        "staticPodPath": config.static_pod_path,
        "podLogsDir": str(config.pod_logs_dir),
        "syncFrequency": go_duration(config.sync_frequency_s),
        "address": config.bind_address,
        "port": config.port,
        "tlsCertFile": config.tls_cert_file,
        "tlsPrivateKeyFile": config.tls_private_key_file,
        "authentication": {
            "x509": {"clientCAFile": config.client_ca_file},
            "webhook": {"enabled": True},
            "anonymous": {"enabled": config.anonymous_auth},
        },
        "authorization": {"mode": "Webhook"},
        "enableDebuggingHandlers": True,
        "clusterDomain": config.cluster_domain,
        "clusterDNS": list(config.cluster_dns),
        "streamingConnectionIdleTimeout": go_duration(config.streaming_idle_timeout_s),
        "nodeStatusUpdateFrequency": go_duration(config.node_status_update_frequency_s),
        "nodeStatusReportFrequency": go_duration(config.node_status_report_frequency_s),
        "nodeLeaseDurationSeconds": config.node_lease_duration_s,
        "cgroupRoot": config.cgroup_root,
        "cgroupsPerQOS": config.manage_cgroups,
        "cgroupDriver": config.cgroup_driver,
        "cpuManagerPolicy": "none",
        "memoryManagerPolicy": "None",
        "topologyManagerPolicy": "none",
        "runtimeRequestTimeout": go_duration(config.runtime_request_timeout_s),
        "maxPods": config.max_pods,
        "podPidsLimit": -1,
        "resolvConf": config.resolv_conf,
        "cpuCFSQuota": True,
        "cpuCFSQuotaPeriod": "100ms",
        "nodeStatusMaxImages": MAX_IMAGES,
        "serializeImagePulls": False,
        "evictionHard": dict(config.eviction_hard),
        "evictionPressureTransitionPeriod": go_duration(TRANSITION_S),
        "enableControllerAttachDetach": True,
        "failSwapOn": False,
        "containerLogMaxSize": str(log_size),
        "containerLogMaxFiles": config.container_log_max_files,
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "systemReserved": dict(config.system_reserved),
        "crashLoopBackOff": {"maxContainerRestartPeriod": go_duration(CAP_S)},
        "allowedUnsafeSysctls": list(config.allowed_unsafe_sysctls),
        "registerWithTaints": [dict(t) for t in config.register_with_taints],
        "registerNode": config.register_node,
        "localStorageCapacityIsolation": True,
        "providerID": config.provider_id,
        "containerRuntimeEndpoint": config.runtime_endpoint,
    }
    # What is empty is left out, as in JSON of the original; false and 0 are said.
    return {k: v for k, v in found.items() if v not in ("", [], {})}
