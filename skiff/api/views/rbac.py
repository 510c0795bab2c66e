"""Views of the API group rbac/v1.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from typing import ClassVar

from msgspec import field

from skiff.api.resources import RESOURCES, Resource
from skiff.api.views.base import View
from skiff.api.views.meta import LabelSelector, ObjectMeta


class AggregationRule(View, frozen=True, kw_only=True):
    cluster_role_selectors: tuple[LabelSelector, ...] = ()


class PolicyRule(View, frozen=True, kw_only=True):
    api_groups: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = field(default=(), name="nonResourceURLs")
    resource_names: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()


class ClusterRole(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["rbac.authorization.k8s.io", "v1", "clusterroles"]
    aggregation_rule: AggregationRule | None = None
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    rules: tuple[PolicyRule, ...] = ()


class RoleRef(View, frozen=True, kw_only=True):
    api_group: str = ""
    kind: str = ""
    name: str = ""


class Subject(View, frozen=True, kw_only=True):
    api_group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""


class ClusterRoleBinding(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES[
        "rbac.authorization.k8s.io", "v1", "clusterrolebindings"
    ]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    role_ref: RoleRef | None = None
    subjects: tuple[Subject, ...] = ()


class Role(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["rbac.authorization.k8s.io", "v1", "roles"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    rules: tuple[PolicyRule, ...] = ()


class RoleBinding(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["rbac.authorization.k8s.io", "v1", "rolebindings"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    role_ref: RoleRef | None = None
    subjects: tuple[Subject, ...] = ()
