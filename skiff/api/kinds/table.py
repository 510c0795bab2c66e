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
    ("discovery.k8s.io", "EndpointSlice"): "endpoints:EndpointSliceStrategy",
    ("rbac.authorization.k8s.io", "ClusterRole"): "rbac:RbacStrategy",
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): "rbac:RbacStrategy",
    ("rbac.authorization.k8s.io", "Role"): "rbac:RbacStrategy",
    ("rbac.authorization.k8s.io", "RoleBinding"): "rbac:RbacStrategy",
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
