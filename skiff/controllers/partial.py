"""Objects of any kind, seen by their metadata alone. Labels and annotations are left out: these
views are kept for every object of the cluster."""

from typing import ClassVar

from msgspec import field

from skiff.api.resources import PODS, Resource
from skiff.api.views.base import View
from skiff.api.views.meta import ObjectMeta


class PartialMeta(ObjectMeta, frozen=True, kw_only=True):
    """An ObjectMeta that decodes only what ownership needs (fields not named keep their zero)."""

    annotations: dict[str, str] = field(default_factory=dict, name="-annotations")
    labels: dict[str, str] = field(default_factory=dict, name="-labels")
    creation_timestamp: str = field(default="", name="-creationTimestamp")
    generate_name: str = field(default="", name="-generateName")


class Partial(View, frozen=True, kw_only=True):
    """Pass the resource with every call: the view's own is only a placeholder."""

    RESOURCE: ClassVar[Resource] = PODS
    metadata: PartialMeta = PartialMeta()
