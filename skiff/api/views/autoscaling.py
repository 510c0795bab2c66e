"""Views of the API group autoscaling/v1.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from typing import ClassVar

from skiff.api.resources import RESOURCES, Resource
from skiff.api.views.base import View
from skiff.api.views.meta import LabelSelector, ObjectMeta


class MetricTarget(View, frozen=True, kw_only=True):
    average_utilization: int | None = None
    average_value: str = ""
    type: str = ""
    value: str = ""


class ContainerResourceMetricSource(View, frozen=True, kw_only=True):
    container: str = ""
    name: str = ""
    target: MetricTarget | None = None


class MetricValueStatus(View, frozen=True, kw_only=True):
    average_utilization: int = 0
    average_value: str = ""
    value: str = ""


class ContainerResourceMetricStatus(View, frozen=True, kw_only=True):
    container: str = ""
    current: MetricValueStatus | None = None
    name: str = ""


class CrossVersionObjectReference(View, frozen=True, kw_only=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""


class MetricIdentifier(View, frozen=True, kw_only=True):
    name: str = ""
    selector: LabelSelector | None = None


class ExternalMetricSource(View, frozen=True, kw_only=True):
    metric: MetricIdentifier | None = None
    target: MetricTarget | None = None


class ExternalMetricStatus(View, frozen=True, kw_only=True):
    current: MetricValueStatus | None = None
    metric: MetricIdentifier | None = None


class HPAScalingPolicy(View, frozen=True, kw_only=True):
    period_seconds: int = 0
    type: str = ""
    value: int = 0


class HPAScalingRules(View, frozen=True, kw_only=True):
    policies: tuple[HPAScalingPolicy, ...] = ()
    select_policy: str = ""
    stabilization_window_seconds: int | None = None
    tolerance: str = ""


class HorizontalPodAutoscalerBehavior(View, frozen=True, kw_only=True):
    scale_down: HPAScalingRules | None = None
    scale_up: HPAScalingRules | None = None


class ObjectMetricSource(View, frozen=True, kw_only=True):
    described_object: CrossVersionObjectReference | None = None
    metric: MetricIdentifier | None = None
    target: MetricTarget | None = None


class PodsMetricSource(View, frozen=True, kw_only=True):
    metric: MetricIdentifier | None = None
    target: MetricTarget | None = None


class ResourceMetricSource(View, frozen=True, kw_only=True):
    name: str = ""
    target: MetricTarget | None = None


class MetricSpec(View, frozen=True, kw_only=True):
    container_resource: ContainerResourceMetricSource | None = None
    external: ExternalMetricSource | None = None
    object: ObjectMetricSource | None = None
    pods: PodsMetricSource | None = None
    resource: ResourceMetricSource | None = None
    type: str = ""


class HorizontalPodAutoscalerSpec(View, frozen=True, kw_only=True):
    behavior: HorizontalPodAutoscalerBehavior | None = None
    max_replicas: int = 0
    metrics: tuple[MetricSpec, ...] = ()
    min_replicas: int | None = None
    scale_target_ref: CrossVersionObjectReference | None = None


class HorizontalPodAutoscalerCondition(View, frozen=True, kw_only=True):
    last_transition_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class ObjectMetricStatus(View, frozen=True, kw_only=True):
    current: MetricValueStatus | None = None
    described_object: CrossVersionObjectReference | None = None
    metric: MetricIdentifier | None = None


class PodsMetricStatus(View, frozen=True, kw_only=True):
    current: MetricValueStatus | None = None
    metric: MetricIdentifier | None = None


class ResourceMetricStatus(View, frozen=True, kw_only=True):
    current: MetricValueStatus | None = None
    name: str = ""


class MetricStatus(View, frozen=True, kw_only=True):
    container_resource: ContainerResourceMetricStatus | None = None
    external: ExternalMetricStatus | None = None
    object: ObjectMetricStatus | None = None
    pods: PodsMetricStatus | None = None
    resource: ResourceMetricStatus | None = None
    type: str = ""


class HorizontalPodAutoscalerStatus(View, frozen=True, kw_only=True):
    conditions: tuple[HorizontalPodAutoscalerCondition, ...] = ()
    current_metrics: tuple[MetricStatus, ...] = ()
    current_replicas: int = 0
    desired_replicas: int = 0
    last_scale_time: str = ""
    observed_generation: int = 0


class HorizontalPodAutoscaler(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["autoscaling", "v2", "horizontalpodautoscalers"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: HorizontalPodAutoscalerSpec = HorizontalPodAutoscalerSpec()
    status: HorizontalPodAutoscalerStatus = HorizontalPodAutoscalerStatus()
