"""Every controller, in the order in which they are made and started.

To add one is to write its file and add a row. Controllers share informers and nothing else, so the
order carries only what is said beside it. Names are kube-controller-manager's.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from skiff.aio.run import Component
from skiff.controllers.certificates.approver import CertificateApprover
from skiff.controllers.certificates.run import CertificateCleaner, CertificateSigner
from skiff.controllers.context import Context
from skiff.controllers.cronjob.run import CronJobReconciler
from skiff.controllers.daemonset.run import DaemonSetReconciler
from skiff.controllers.deployment.run import DeploymentReconciler
from skiff.controllers.disruption import DisruptionReconciler
from skiff.controllers.endpoints import EndpointsReconciler
from skiff.controllers.endpointslice.mirror import MirrorReconciler
from skiff.controllers.endpointslice.run import EndpointSliceReconciler
from skiff.controllers.ephemeral import EphemeralVolumes
from skiff.controllers.garbage.run import GarbageCollector
from skiff.controllers.job.run import JobReconciler
from skiff.controllers.job.ttl import JobTtl
from skiff.controllers.namespace import NamespaceReconciler
from skiff.controllers.nodes.eviction import TaintEviction
from skiff.controllers.nodes.ipam import NodeIpam
from skiff.controllers.nodes.lifecycle import NodeLifecycle
from skiff.controllers.nodes.podgc import PodCollector
from skiff.controllers.nodes.ttl import NodeTtl
from skiff.controllers.protection import (
    AttributesProtection,
    ClaimProtection,
    VolumeProtection,
)
from skiff.controllers.replicaset import (
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    ReplicaReconciler,
)
from skiff.controllers.rootca import RootCaReconciler
from skiff.controllers.serviceaccount import ServiceAccountReconciler
from skiff.controllers.serviceaccounttokens import ServiceAccountTokens
from skiff.controllers.servicecidr import ServiceCidrReconciler
from skiff.controllers.statefulset.run import StatefulSetReconciler
from skiff.controllers.volumebinder.run import VolumeBinder


class Row(NamedTuple):
    """A controller's name and how it is made."""

    name: str
    make: Callable[[Context], Component]


CONTROLLERS: Final[tuple[Row, ...]] = (
    # Pods are admitted only where the namespace has these two: first.
    Row("serviceaccount-controller", ServiceAccountReconciler),
    Row("root-ca-certificate-publisher-controller", RootCaReconciler),
    Row("serviceaccount-token-controller", ServiceAccountTokens),
    Row("namespace-controller", NamespaceReconciler),
    Row("replicaset-controller", lambda c: ReplicaReconciler(c, REPLICA_SET)),
    Row("replicationcontroller-controller", lambda c: ReplicaReconciler(c, REPLICATION_CONTROLLER)),
    Row("deployment-controller", DeploymentReconciler),
    Row("daemonset-controller", DaemonSetReconciler),
    Row("statefulset-controller", StatefulSetReconciler),
    Row("job-controller", JobReconciler),
    Row("ttl-after-finished-controller", JobTtl),
    Row("cronjob-controller", CronJobReconciler),
    Row("endpoints-controller", EndpointsReconciler),
    Row("endpointslice-controller", EndpointSliceReconciler),
    Row("endpointslice-mirroring-controller", MirrorReconciler),
    Row("disruption-controller", DisruptionReconciler),
    Row("service-cidr-controller", ServiceCidrReconciler),
    Row("certificatesigningrequest-approving-controller", CertificateApprover),
    Row("certificatesigningrequest-signing-controller", CertificateSigner),
    Row("certificatesigningrequest-cleaner-controller", CertificateCleaner),
    Row("node-ipam-controller", NodeIpam),
    Row("node-lifecycle-controller", NodeLifecycle),
    Row("taint-eviction-controller", TaintEviction),
    Row("ttl-controller", NodeTtl),
    Row("pod-garbage-collector-controller", PodCollector),
    Row("persistentvolume-binder-controller", VolumeBinder),
    Row("ephemeral-volume-controller", EphemeralVolumes),
    Row("persistentvolumeclaim-protection-controller", ClaimProtection),
    Row("persistentvolume-protection-controller", VolumeProtection),
    Row("volumeattributesclass-protection-controller", AttributesProtection),
    # Last: it watches every resource, and shares the informers that those above asked for.
    Row("garbage-collector-controller", GarbageCollector),
)
