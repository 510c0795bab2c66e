"""Views of the API group scheduling/v1.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from typing import ClassVar

from skiff.api.resources import RESOURCES, Resource
from skiff.api.views.base import View
from skiff.api.views.meta import ObjectMeta


class PriorityClass(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["scheduling.k8s.io", "v1", "priorityclasses"]
    api_version: str = ""
    description: str = ""
    global_default: bool = False
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    preemption_policy: str = ""
    value: int = 0
