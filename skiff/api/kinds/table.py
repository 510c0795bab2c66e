"""The table of strategies: one row per kind that has rules of its own; the rest are generic.

`strategy_for(resource)` makes each strategy once. A kind's file is imported when it is first asked for.
"""

from functools import cache
from importlib import import_module
from typing import Final

from skiff.api.kinds.strategy import Strategy
from skiff.api.resources import Resource

# (group, kind) → "module:class" under skiff.api.kinds.
TABLE: Final[dict[tuple[str, str], str]] = {
    ("", "ComponentStatus"): "nodes:ComponentStatusStrategy",
    ("", "ConfigMap"): "config:ConfigMapStrategy",
    ("", "Endpoints"): "endpoints:EndpointsStrategy",
    ("", "Event"): "events:EventStrategy",
    ("", "LimitRange"): "quotas:LimitRangeStrategy",
    ("", "Namespace"): "nodes:NamespaceStrategy",
    ("", "Node"): "nodes:NodeStrategy",
    ("", "PersistentVolume"): "persistent_volumes:PersistentVolumeStrategy",
    ("", "PersistentVolumeClaim"): "volume_claims:PersistentVolumeClaimStrategy",
    ("", "Pod"): "pods:PodStrategy",
    ("", "PodTemplate"): "pods:PodTemplateStrategy",
    ("", "ReplicationController"): "replicas:ReplicationControllerStrategy",
    ("", "ResourceQuota"): "quotas:ResourceQuotaStrategy",
    ("", "Secret"): "config:SecretStrategy",
    ("", "Service"): "services:ServiceStrategy",
    ("", "ServiceAccount"): "config:ServiceAccountStrategy",
    ("apps", "ControllerRevision"): "revisions:ControllerRevisionStrategy",
    ("apps", "DaemonSet"): "daemon_sets:DaemonSetStrategy",
    ("apps", "Deployment"): "deployments:DeploymentStrategy",
    ("apps", "ReplicaSet"): "replicas:ReplicaSetStrategy",
    ("apps", "StatefulSet"): "stateful_sets:StatefulSetStrategy",
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"): (
        "admission:AdmissionPolicyStrategy"
    ),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"): (
        "admission:AdmissionBindingStrategy"
    ),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): (
        "admission:WebhookConfigurationStrategy"
    ),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): (
        "admission:AdmissionPolicyStrategy"
    ),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): (
        "admission:AdmissionBindingStrategy"
    ),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): (
        "admission:WebhookConfigurationStrategy"
    ),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): "crds:CustomResourceDefinitionStrategy",
    ("apiregistration.k8s.io", "APIService"): "aggregation:APIServiceStrategy",
    ("autoscaling", "HorizontalPodAutoscaler"): "autoscalers:HorizontalPodAutoscalerStrategy",
    ("batch", "CronJob"): "cron_jobs:CronJobStrategy",
    ("batch", "Job"): "jobs:JobStrategy",
    ("certificates.k8s.io", "CertificateSigningRequest"): (
        "certificates:CertificateSigningRequestStrategy"
    ),
    ("coordination.k8s.io", "Lease"): "scheduling:LeaseStrategy",
    ("discovery.k8s.io", "EndpointSlice"): "endpoints:EndpointSliceStrategy",
    ("events.k8s.io", "Event"): "events:EventStrategy",
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"): "flow_control:FlowSchemaStrategy",
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): (
        "flow_control:PriorityLevelConfigurationStrategy"
    ),
    ("networking.k8s.io", "IPAddress"): "ingresses:IPAddressStrategy",
    ("networking.k8s.io", "Ingress"): "ingresses:IngressStrategy",
    ("networking.k8s.io", "IngressClass"): "ingresses:IngressClassStrategy",
    ("networking.k8s.io", "NetworkPolicy"): "ingresses:NetworkPolicyStrategy",
    ("networking.k8s.io", "ServiceCIDR"): "ingresses:ServiceCIDRStrategy",
    ("node.k8s.io", "RuntimeClass"): "scheduling:RuntimeClassStrategy",
    ("policy", "PodDisruptionBudget"): "disruption:PodDisruptionBudgetStrategy",
    ("rbac.authorization.k8s.io", "ClusterRole"): "rbac:RoleStrategy",
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): "rbac:BindingStrategy",
    ("rbac.authorization.k8s.io", "Role"): "rbac:RoleStrategy",
    ("rbac.authorization.k8s.io", "RoleBinding"): "rbac:BindingStrategy",
    ("resource.k8s.io", "DeviceClass"): "devices:DeviceClassStrategy",
    ("resource.k8s.io", "ResourceClaim"): "devices:ResourceClaimStrategy",
    ("resource.k8s.io", "ResourceClaimTemplate"): "devices:ResourceClaimTemplateStrategy",
    ("resource.k8s.io", "ResourceSlice"): "devices:ResourceSliceStrategy",
    ("scheduling.k8s.io", "PriorityClass"): "scheduling:PriorityClassStrategy",
    ("storage.k8s.io", "CSIDriver"): "storage:CSIDriverStrategy",
    ("storage.k8s.io", "CSINode"): "storage:CSINodeStrategy",
    ("storage.k8s.io", "CSIStorageCapacity"): "storage:CSIStorageCapacityStrategy",
    ("storage.k8s.io", "StorageClass"): "storage:StorageClassStrategy",
    ("storage.k8s.io", "VolumeAttachment"): "storage:VolumeAttachmentStrategy",
    ("storage.k8s.io", "VolumeAttributesClass"): "storage:VolumeAttributesClassStrategy",
}

_made: dict[tuple[str, str, str], Strategy] = {}


def strategy_for(resource: Resource) -> Strategy:
    """The strategy of a resource's kind."""
    key = (resource.group, resource.version, resource.kind)
    found = _made.get(key)
    if found is None:
        found = _made[key] = _class_for(resource.group, resource.kind)(resource)
    return found


@cache
def _class_for(group: str, kind: str) -> type[Strategy]:
    row = TABLE.get((group, kind))
    if row is None:
        return Strategy
    module, name = row.split(":")
    found: type[Strategy] = getattr(import_module(f"skiff.api.kinds.{module}"), name)
    return found
