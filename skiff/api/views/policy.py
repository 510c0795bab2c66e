# ruff: noqa: RUF012 - msgspec makes a new dict of an empty default for each struct
"""Views of the API group policy/v1.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from typing import ClassVar

from skiff.api.resources import RESOURCES, Resource
from skiff.api.views.base import View
from skiff.api.views.meta import Condition, LabelSelector, ObjectMeta


class PodDisruptionBudgetSpec(View, frozen=True, kw_only=True):
    max_unavailable: int | str | None = None
    min_available: int | str | None = None
    selector: LabelSelector | None = None
    unhealthy_pod_eviction_policy: str = ""


class PodDisruptionBudgetStatus(View, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] = ()
    current_healthy: int = 0
    desired_healthy: int = 0
    disrupted_pods: dict[str, str] = {}
    disruptions_allowed: int = 0
    expected_pods: int = 0
    observed_generation: int = 0


class PodDisruptionBudget(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["policy", "v1", "poddisruptionbudgets"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: PodDisruptionBudgetSpec = PodDisruptionBudgetSpec()
    status: PodDisruptionBudgetStatus = PodDisruptionBudgetStatus()
