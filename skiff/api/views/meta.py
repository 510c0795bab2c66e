# ruff: noqa: RUF012 - msgspec makes a new dict of an empty default for each struct
"""Views: metadata that every object carries, selectors, conditions.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from skiff.api.views.base import View


class OwnerReference(View, frozen=True, kw_only=True):
    api_version: str = ""
    block_owner_deletion: bool = False
    controller: bool = False
    kind: str = ""
    name: str = ""
    uid: str = ""


class ObjectMeta(View, frozen=True, kw_only=True):
    annotations: dict[str, str] = {}
    creation_timestamp: str = ""
    deletion_grace_period_seconds: int | None = None
    deletion_timestamp: str = ""
    finalizers: tuple[str, ...] = ()
    generate_name: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    name: str = ""
    namespace: str = ""
    owner_references: tuple[OwnerReference, ...] = ()
    resource_version: str = ""
    uid: str = ""


class ListMeta(View, frozen=True, kw_only=True):
    continue_: str = ""
    remaining_item_count: int | None = None
    resource_version: str = ""


class LabelSelectorRequirement(View, frozen=True, kw_only=True):
    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class LabelSelector(View, frozen=True, kw_only=True):
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()
    match_labels: dict[str, str] = {}


class Condition(View, frozen=True, kw_only=True):
    last_transition_time: str = ""
    message: str = ""
    observed_generation: int = 0
    reason: str = ""
    status: str = ""
    type: str = ""
