"""Validation of amounts: a container's requests and limits, capacities, quotas.

Source: https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/
"""

from functools import lru_cache
from typing import Any, Final

from skiff.api import quantity
from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.errors import FieldErrors

NOT_NEGATIVE: Final = "must be greater than or equal to 0"
_CONTAINER: Final = frozenset(("cpu", "memory", "ephemeral-storage"))
_STANDARD: Final = _CONTAINER | frozenset(
    (
        "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps",
        "persistentvolumeclaims", "storage", "requests.cpu", "requests.memory", "requests.storage",
        "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage",
        "services.nodeports", "services.loadbalancers",
    )
)  # fmt: skip


@lru_cache(1024)
def amount(text: str) -> int:
    """A quantity's value in nano-units."""
    return quantity.parse(text).nano


def is_hugepages(name: str) -> bool:
    return name.startswith("hugepages-")


def is_native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    """Countable resources of a node beyond Kubernetes' own: `example.com/gpu`."""
    if is_native(name) or name.startswith("requests."):
        return False
    return not names.qualified_name("requests." + name)


def overcommits(name: str) -> bool:
    """Whether limits may exceed requests."""
    return is_native(name) and not is_hugepages(name)


def validate_resource_name(name: str, path: str) -> FieldErrors:
    errors = [fe.invalid(path, name, m) for m in names.qualified_name(name)]
    if not errors and "/" not in name and name not in _STANDARD and not is_hugepages(name):
        message = "must be a standard resource type or fully qualified"
        errors.append(fe.invalid(path, name, message))
    return errors


def validate_container_resource(name: str, path: str) -> FieldErrors:
    """A resource that containers may ask for."""
    if name in _CONTAINER:
        return []
    errors = validate_resource_name(name, path)
    if "/" not in name:
        if not is_hugepages(name):
            errors.append(fe.invalid(path, name, "must be a standard resource for containers"))
    elif not is_native(name) and not is_extended(name):
        message = "doesn't follow extended resource name standard"
        errors.append(fe.invalid(path, name, message))
    return errors


def validate_quantity(name: str, value: str, path: str) -> FieldErrors:
    """Not negative, and whole where the resource is counted."""
    nano = amount(value)
    if nano < 0:
        return [fe.invalid(path, value, NOT_NEGATIVE)]
    if nano % quantity.NANO and (is_extended(name) or name in _INTEGER):
        return [fe.invalid(path, value, "must be an integer")]
    return []


_INTEGER: Final = frozenset(
    (
        "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps",
        "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
    )
)  # fmt: skip


def validate_requirements(
    resources: dict[str, Any], path: str, claims: frozenset[str] = frozenset()
) -> FieldErrors:
    """A container's `resources`: names, amounts, requests within limits, claims that exist."""
    errors: FieldErrors = []
    limits = resources.get("limits") or {}
    requests = resources.get("requests") or {}
    hugepages = core = False
    for name, value in limits.items():
        if name in _CONTAINER and amount(value) >= 0:  # what nearly all are
            core = True
            continue
        at = f"{path}.limits[{name}]"
        errors += validate_container_resource(name, at)
        errors += validate_quantity(name, value, at)
        hugepages |= is_hugepages(name)
    for name, value in requests.items():
        limit = limits.get(name)
        if name in _CONTAINER:
            core = True
            asked = amount(value)
            if asked >= 0 and (limit is None or asked <= amount(limit)):
                continue
        at = f"{path}.requests[{name}]"
        errors += validate_container_resource(name, at)
        errors += validate_quantity(name, value, at)
        hugepages |= is_hugepages(name)
        errors += _validate_within(name, value, limit, path)
    if hugepages and not core:
        errors.append(fe.forbidden(path, "HugePages require cpu or memory"))
    if "claims" in resources:
        errors += _validate_claims(resources["claims"], f"{path}.claims", claims)
    return errors


def _validate_within(name: str, request: str, limit: str | None, path: str) -> FieldErrors:
    """A request is at most the limit; equal to it, where the resource cannot be overcommitted."""
    if limit is None:
        if overcommits(name):
            return []
        message = "Limit must be set for non overcommitable resources"
        return [fe.required(f"{path}.limits", message)]
    asked, most = amount(request), amount(limit)
    if asked != most and not overcommits(name):
        message = f"must be equal to {name} limit of {limit}"
        return [fe.invalid(f"{path}.requests", request, message)]
    if asked > most:
        message = f"must be less than or equal to {name} limit of {limit}"
        return [fe.invalid(f"{path}.requests", request, message)]
    return []


def _validate_claims(found: list[dict[str, Any]], path: str, claims: frozenset[str]) -> FieldErrors:
    errors: FieldErrors = []
    seen: set[tuple[str, str]] = set()
    for i, claim in enumerate(found):
        name, request = claim.get("name", ""), claim.get("request", "")
        if not name:
            errors.append(fe.required(f"{path}[{i}].name"))
            continue
        if (name, request) in seen:
            errors.append(fe.duplicate(f"{path}[{i}]", f"{name}/{request}" if request else name))
        seen.add((name, request))
        if name not in claims:
            message = "must be one of the names in pod.spec.resourceClaims"
            errors.append(
                fe.FieldError("FieldValueNotFound", f"{path}[{i}].name", message, name)
                if claims
                else fe.not_found(f"{path}[{i}].name", name)
            )
    return errors


def validate_amounts(found: dict[str, str], path: str) -> FieldErrors:
    """A resource list (capacity, overhead, quota): names and amounts."""
    errors: FieldErrors = []
    for name, value in found.items():
        at = f"{path}[{name}]"
        errors += validate_resource_name(name, at)
        errors += validate_quantity(name, value, at)
    return errors
