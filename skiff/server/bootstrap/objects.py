"""The objects, apart from policy, that every cluster has. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
SERVICE_NAME = "kubernetes"
DEFAULT = "default"
_SYSTEM = "kube-system"
HTTPS_PORT = 443
# System priority classes: https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
_CRITICAL = (
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        (
            "Used for system critical pods that must run in the cluster, but can be moved to another"
            " node if necessary."
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What of this server goes into objects."""

    advertise_address: str
    secure_port: int
    service_address: str
    service_cidrs: tuple[str, ...] = ()
    client_ca: str = ""
    front_proxy_ca: str = ""
    cluster_ca: str = ""
    server_url: str = ""
    """Where clients outside reach the server, for the cluster-info document; empty for none."""


def namespaces() -> Iterator[dict[str, Any]]:
    """The four namespaces."""
    for name in NAMESPACES:
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def priority_classes() -> Iterator[dict[str, Any]]:
    """The two system classes."""
    for name, value, description in _CRITICAL:
        yield {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "description": description,
        }


def service(facts: Facts) -> dict[str, Any]:
    """The Service by which pods reach this server."""
    family = "IPv6" if ":" in facts.service_address else "IPv4"
    port = {"name": "https", "port": HTTPS_PORT, "protocol": "TCP", "targetPort": facts.secure_port}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": SERVICE_NAME,
            "namespace": DEFAULT,
            "labels": {"component": "apiserver", "provider": SERVICE_NAME},
        },
        "spec": {
            "clusterIP": facts.service_address,
            "clusterIPs": [facts.service_address],
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": [family],
            "ipFamilyPolicy": "SingleStack",
            "ports": [port],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
    }


def service_cidr(facts: Facts) -> Iterator[dict[str, Any]]:
    """The range that Services get their addresses from, and that it is in use."""
    if facts.service_cidrs:
        yield {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {
                "name": SERVICE_NAME,
                "finalizers": ["networking.k8s.io/service-cidr-finalizer"],
            },
            "spec": {"cidrs": list(facts.service_cidrs)},
            "status": {
                "conditions": [
                    {
                        "type": "Ready",
                        "status": "True",
                        "reason": "",
                        "message": "Kubernetes default Service CIDR is ready",
                    }
                ]
            },
        }


def endpoints(facts: Facts) -> dict[str, Any]:
    """The Service's Endpoints: this server's address."""
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": SERVICE_NAME,
            "namespace": DEFAULT,
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [
            {
                "addresses": [{"ip": facts.advertise_address}],
                "ports": [{"name": "https", "port": facts.secure_port, "protocol": "TCP"}],
            }
        ],
    }


def endpoint_slice(facts: Facts) -> dict[str, Any]:
    """The same as an EndpointSlice."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": SERVICE_NAME,
            "namespace": DEFAULT,
            "labels": {"kubernetes.io/service-name": SERVICE_NAME},
        },
        "addressType": "IPv6" if ":" in facts.advertise_address else "IPv4",
        "endpoints": [{"addresses": [facts.advertise_address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": facts.secure_port, "protocol": "TCP"}],
    }


def config_maps(facts: Facts) -> Iterator[dict[str, Any]]:
    """What extension API servers and joining machines read."""
    yield {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": _SYSTEM},
        "data": {
            "client-ca-file": facts.client_ca,
            "requestheader-allowed-names": '["front-proxy-client"]',
            "requestheader-client-ca-file": facts.front_proxy_ca,
            "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
            "requestheader-group-headers": '["X-Remote-Group"]',
            "requestheader-uid-headers": '["X-Remote-Uid"]',
            "requestheader-username-headers": '["X-Remote-User"]',
        },
    }
    if facts.server_url:
        yield {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "cluster-info", "namespace": "kube-public"},
            "data": {"kubeconfig": _cluster_info(facts)},
        }


def _cluster_info(facts: Facts) -> str:
    import base64

    authority = base64.b64encode(facts.cluster_ca.encode()).decode()
    return f"""\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {authority}
    server: {facts.server_url}
  name: ""
contexts: null
current-context: ""
kind: Config
preferences: {{}}
users: null
"""
