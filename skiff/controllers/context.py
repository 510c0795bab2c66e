"""What every controller is given."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from skiff.aio.clock import Clock
from skiff.aio.entropy import Entropy
from skiff.client.client import Client
from skiff.client.events import EventRecorder
from skiff.client.informer import InformerFactory
from skiff.controllers.certificates.authority import Authority

Sign = Callable[[dict[str, Any]], str]
"""Claims in, the signed token out."""


@dataclass(frozen=True, slots=True)
class Options:
    """Settings, with kube-controller-manager's defaults (flag names in comments)."""

    ca_pem: str = ""  # --root-ca-file
    sign_token: Sign | None = None  # --service-account-private-key-file; None: no such tokens
    signing_authority: Authority | None = None  # --cluster-signing-*-file; None: nothing is issued
    signing_duration_s: float = 365 * 24 * 3600.0  # --cluster-signing-duration
    pod_cidr: str = "10.244.0.0/16"  # --cluster-cidr; empty: nodes get no podCIDR
    node_cidr_mask: int = 24  # --node-cidr-mask-size
    node_monitor_grace_s: float = 40.0  # --node-monitor-grace-period
    node_startup_grace_s: float = 60.0  # --node-startup-grace-period
    terminated_pod_threshold: int = 12500  # --terminated-pod-gc-threshold
    node_eviction_rate: float = 0.1  # --node-eviction-rate, nodes a second
    secondary_eviction_rate: float = 0.01  # --secondary-node-eviction-rate
    unhealthy_zone_threshold: float = 0.55  # --unhealthy-zone-threshold
    large_cluster_size: int = 50  # --large-cluster-size-threshold


@dataclass(frozen=True, slots=True)
class Context:
    """Handed to each controller's factory, most general first."""

    clock: Clock
    entropy: Entropy
    client: Client
    informers: InformerFactory
    events: EventRecorder
    options: Options = field(default_factory=Options)
