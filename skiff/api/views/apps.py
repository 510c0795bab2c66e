"""Views of the API group apps/v1.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from typing import Any, ClassVar

from msgspec import Raw

from skiff.api.resources import RESOURCES, Resource
from skiff.api.views.base import NO_TEMPLATE, View
from skiff.api.views.meta import LabelSelector, ObjectMeta
from skiff.api.views.volume import PersistentVolumeClaim


class ControllerRevision(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["apps", "v1", "controllerrevisions"]
    api_version: str = ""
    data: dict[str, Any] | None = None
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    revision: int = 0


class RollingUpdateDaemonSet(View, frozen=True, kw_only=True):
    max_surge: int | str | None = None
    max_unavailable: int | str | None = None


class DaemonSetUpdateStrategy(View, frozen=True, kw_only=True):
    rolling_update: RollingUpdateDaemonSet | None = None
    type: str = ""


class DaemonSetSpec(View, frozen=True, kw_only=True):
    min_ready_seconds: int = 0
    revision_history_limit: int | None = None
    selector: LabelSelector | None = None
    template: Raw = NO_TEMPLATE
    update_strategy: DaemonSetUpdateStrategy | None = None


class DaemonSetCondition(View, frozen=True, kw_only=True):
    last_transition_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class DaemonSetStatus(View, frozen=True, kw_only=True):
    collision_count: int = 0
    conditions: tuple[DaemonSetCondition, ...] = ()
    current_number_scheduled: int = 0
    desired_number_scheduled: int = 0
    number_available: int = 0
    number_misscheduled: int = 0
    number_ready: int = 0
    number_unavailable: int = 0
    observed_generation: int = 0
    updated_number_scheduled: int = 0


class DaemonSet(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["apps", "v1", "daemonsets"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: DaemonSetSpec = DaemonSetSpec()
    status: DaemonSetStatus = DaemonSetStatus()


class RollingUpdateDeployment(View, frozen=True, kw_only=True):
    max_surge: int | str | None = None
    max_unavailable: int | str | None = None


class DeploymentStrategy(View, frozen=True, kw_only=True):
    rolling_update: RollingUpdateDeployment | None = None
    type: str = ""


class DeploymentSpec(View, frozen=True, kw_only=True):
    min_ready_seconds: int = 0
    paused: bool = False
    progress_deadline_seconds: int | None = None
    replicas: int | None = None
    revision_history_limit: int | None = None
    selector: LabelSelector | None = None
    strategy: DeploymentStrategy | None = None
    template: Raw = NO_TEMPLATE


class DeploymentCondition(View, frozen=True, kw_only=True):
    last_transition_time: str = ""
    last_update_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class DeploymentStatus(View, frozen=True, kw_only=True):
    available_replicas: int = 0
    collision_count: int = 0
    conditions: tuple[DeploymentCondition, ...] = ()
    observed_generation: int = 0
    ready_replicas: int = 0
    replicas: int = 0
    terminating_replicas: int = 0
    unavailable_replicas: int = 0
    updated_replicas: int = 0


class Deployment(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["apps", "v1", "deployments"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()


class ReplicaSetSpec(View, frozen=True, kw_only=True):
    min_ready_seconds: int = 0
    replicas: int | None = None
    selector: LabelSelector | None = None
    template: Raw = NO_TEMPLATE


class ReplicaSetCondition(View, frozen=True, kw_only=True):
    last_transition_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class ReplicaSetStatus(View, frozen=True, kw_only=True):
    available_replicas: int = 0
    conditions: tuple[ReplicaSetCondition, ...] = ()
    fully_labeled_replicas: int = 0
    observed_generation: int = 0
    ready_replicas: int = 0
    replicas: int = 0
    terminating_replicas: int = 0


class ReplicaSet(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["apps", "v1", "replicasets"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: ReplicaSetStatus = ReplicaSetStatus()


class RollingUpdateStatefulSetStrategy(View, frozen=True, kw_only=True):
    max_unavailable: int | str | None = None
    partition: int | None = None


class StatefulSetOrdinals(View, frozen=True, kw_only=True):
    start: int | None = None


class StatefulSetPersistentVolumeClaimRetentionPolicy(View, frozen=True, kw_only=True):
    when_deleted: str = ""
    when_scaled: str = ""


class StatefulSetUpdateStrategy(View, frozen=True, kw_only=True):
    rolling_update: RollingUpdateStatefulSetStrategy | None = None
    type: str = ""


class StatefulSetSpec(View, frozen=True, kw_only=True):
    min_ready_seconds: int = 0
    ordinals: StatefulSetOrdinals | None = None
    persistent_volume_claim_retention_policy: (
        StatefulSetPersistentVolumeClaimRetentionPolicy | None
    ) = None
    pod_management_policy: str = ""
    replicas: int | None = None
    revision_history_limit: int | None = None
    selector: LabelSelector | None = None
    service_name: str = ""
    template: Raw = NO_TEMPLATE
    update_strategy: StatefulSetUpdateStrategy | None = None
    volume_claim_templates: tuple[PersistentVolumeClaim, ...] = ()


class StatefulSetCondition(View, frozen=True, kw_only=True):
    last_transition_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class StatefulSetStatus(View, frozen=True, kw_only=True):
    available_replicas: int = 0
    collision_count: int = 0
    conditions: tuple[StatefulSetCondition, ...] = ()
    current_replicas: int = 0
    current_revision: str = ""
    observed_generation: int = 0
    ready_replicas: int = 0
    replicas: int = 0
    update_revision: str = ""
    updated_replicas: int = 0


class StatefulSet(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["apps", "v1", "statefulsets"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: StatefulSetSpec = StatefulSetSpec()
    status: StatefulSetStatus = StatefulSetStatus()
