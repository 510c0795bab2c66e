# ruff: noqa: RUF012 - msgspec makes a new dict of an empty default for each struct
"""Views of the API group node.k8s.io/v1.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from typing import ClassVar

from skiff.api.resources import RESOURCES, Resource
from skiff.api.views.affinity import Toleration
from skiff.api.views.base import View
from skiff.api.views.meta import ObjectMeta


class Overhead(View, frozen=True, kw_only=True):
    pod_fixed: dict[str, str] = {}


class Scheduling(View, frozen=True, kw_only=True):
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()


class RuntimeClass(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["node.k8s.io", "v1", "runtimeclasses"]
    api_version: str = ""
    handler: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    overhead: Overhead | None = None
    scheduling: Scheduling | None = None
