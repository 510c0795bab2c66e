"""Views of the API group coordination/v1.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from typing import ClassVar

from skiff.api.resources import RESOURCES, Resource
from skiff.api.views.base import View
from skiff.api.views.meta import ObjectMeta


class LeaseSpec(View, frozen=True, kw_only=True):
    acquire_time: str = ""
    holder_identity: str = ""
    lease_duration_seconds: int | None = None
    lease_transitions: int | None = None
    preferred_holder: str = ""
    renew_time: str = ""
    strategy: str = ""


class Lease(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["coordination.k8s.io", "v1", "leases"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: LeaseSpec = LeaseSpec()
