"""LimitRanger: a namespace's LimitRanges give containers their defaults, and bound what is asked for.

Source: https://kubernetes.io/docs/concepts/policy/limit-range/.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from skiff.api.quantity import parse
from skiff.api.resources import LIMITRANGES, Resource
from skiff.server.admission.by_namespace import ByNamespace
from skiff.server.admission.pod_resources import pod_totals
from skiff.server.admission.rule import CREATE, UPDATE, Object, Rule, refuse
from skiff.server.seams import Attributes, Objects

ANNOTATION = "kubernetes.io/limit-ranger"

Amounts = Mapping[str, str]


class Limits(NamedTuple):
    """A LimitRange: its items, and the defaults for containers."""

    items: tuple[dict[str, Any], ...]
    default_requests: dict[str, str]
    default_limits: dict[str, str]

    @classmethod
    def of(cls, obj: Object) -> "Limits":
        items = tuple((obj.get("spec") or {}).get("limits") or ())
        requests: dict[str, str] = {}
        limits: dict[str, str] = {}
        for item in items:
            if item.get("type") == "Container":
                requests.update(item.get("defaultRequest") or {})
                limits.update(item.get("default") or {})
        return cls(items, requests, limits)


class LimitRanger(Rule):
    """See the module's text."""

    name = "LimitRanger"

    def __init__(self, objects: Objects) -> None:
        self._ranges = ByNamespace(objects, LIMITRANGES, Limits.of)

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        if resource.group or resource.plural not in ("pods", "persistentvolumeclaims"):
            return False
        if resource.plural == "pods" and subresource == "resize":
            return operation == UPDATE
        return operation == CREATE and not subresource

    def admit(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        if attributes.resource.plural != "pods" or attributes.subresource:
            return
        for limits in self._ranges.of(attributes.namespace):
            _set_defaults(obj, limits)

    def validate(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        for limits in self._ranges.of(attributes.namespace):
            if attributes.resource.plural == "pods":
                errors = list(_pod_errors(obj, limits))
            else:
                errors = list(_claim_errors(obj, limits))
            if errors:
                text = errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"
                raise refuse(attributes, obj, text)


def _set_defaults(pod: Object, limits: Limits) -> None:
    if not (limits.default_requests or limits.default_limits):
        return
    notes: list[str] = []
    spec = pod["spec"]
    for part, what in (("containers", "container"), ("initContainers", "init container")):
        for container in spec.get(part) or ():
            resources = container.setdefault("resources", {})
            for field, wanted, word in (
                ("requests", limits.default_requests, "request"),
                ("limits", limits.default_limits, "limit"),
            ):
                have = resources.get(field) or {}
                missing = sorted(k for k in wanted if k not in have)
                if missing:
                    resources[field] = {**have, **{k: wanted[k] for k in missing}}
                    notes.append(f"{', '.join(missing)} {word} for {what} {container['name']}")
    if notes:
        annotations = pod["metadata"].setdefault("annotations", {})
        annotations[ANNOTATION] = "LimitRanger plugin set: " + "; ".join(notes)


def _pod_errors(pod: Object, limits: Limits) -> Iterator[str]:
    spec = pod["spec"]
    for item in limits.items:
        kind = item.get("type", "")
        if kind == "Container":
            for part in ("containers", "initContainers"):
                for container in spec.get(part) or ():
                    resources = container.get("resources") or {}
                    requests = resources.get("requests") or {}
                    yield from _item_errors(kind, item, requests, resources.get("limits") or {})
        elif kind == "Pod":
            yield from _item_errors(kind, item, *pod_totals(spec))


def _item_errors(
    kind: str, item: Mapping[str, Any], requests: Amounts, limits: Amounts
) -> Iterator[str]:
    for name, bound in sorted((item.get("min") or {}).items()):
        yield from _minimum(kind, name, bound, requests.get(name), limits.get(name))
    for name, bound in sorted((item.get("max") or {}).items()):
        yield from _maximum(kind, name, bound, requests.get(name), limits.get(name))
    for name, bound in sorted((item.get("maxLimitRequestRatio") or {}).items()):
        yield from _ratio(kind, name, bound, requests.get(name), limits.get(name))


def _claim_errors(claim: Object, limits: Limits) -> Iterator[str]:
    requests = (claim["spec"].get("resources") or {}).get("requests") or {}
    kind = "PersistentVolumeClaim"
    for item in limits.items:
        if item.get("type") != kind:
            continue
        for name, bound in sorted((item.get("min") or {}).items()):
            yield from _minimum(kind, name, bound, requests.get(name), None)
        for name, bound in sorted((item.get("max") or {}).items()):
            request = requests.get(name)
            head = f"maximum {name} usage per {kind} is {bound}"
            if request is None:
                yield f"{head}.  No request is specified"
            elif parse(request) > parse(bound):
                yield f"{head}, but request is {request}"


def _minimum(
    kind: str, name: str, bound: str, request: str | None, limit: str | None
) -> Iterator[str]:
    head = f"minimum {name} usage per {kind} is {bound}"
    if request is None:
        yield f"{head}.  No request is specified"
    elif parse(request) < parse(bound):
        yield f"{head}, but request is {request}"
    elif limit is not None and parse(limit) < parse(bound):
        yield f"{head}, but limit is {limit}"


def _maximum(
    kind: str, name: str, bound: str, request: str | None, limit: str | None
) -> Iterator[str]:
    head = f"maximum {name} usage per {kind} is {bound}"
    if limit is None:
        yield f"{head}.  No limit is specified"
    elif parse(limit) > parse(bound):
        yield f"{head}, but limit is {limit}"
    elif request is not None and parse(request) > parse(bound):
        yield f"{head}, but request is {request}"


def _ratio(
    kind: str, name: str, bound: str, request: str | None, limit: str | None
) -> Iterator[str]:
    head = f"{name} max limit to request ratio per {kind} is {bound}"
    if request is None or not parse(request):
        yield f"{head}, but no request is specified or request is 0"
    elif limit is None or not parse(limit):
        yield f"{head}, but no limit is specified or limit is 0"
    else:
        ratio = parse(limit).nano / parse(request).nano
        if ratio > parse(bound).nano / 1e9:
            yield f"{head}, but provided ratio is {ratio:f}"
