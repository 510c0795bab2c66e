"""Conversion between two served versions of the same objects: events and autoscalers.

Each conversion is lossless from the stored version and back: what a version cannot say is carried in
annotations (autoscaling/v1), as Kubernetes does.

Source: the API references of both versions; https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

Object = dict[str, Any]

_PREFIX: Final = "autoscaling.alpha.kubernetes.io/"
METRICS: Final = _PREFIX + "metrics"
CURRENT: Final = _PREFIX + "current-metrics"
CONDITIONS: Final = _PREFIX + "conditions"
BEHAVIOR: Final = _PREFIX + "behavior"
_CARRIED: Final = (METRICS, CURRENT, CONDITIONS, BEHAVIOR)

# core/v1 field ↔ events.k8s.io/v1 field.
_EVENT_FIELDS: Final = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}


def convert(obj: Object, api_version: str) -> Object:
    """The object in another version: a new top level, parts shared where they are the same.

    Raises KeyError where the kind has no such conversion.
    """
    if obj.get("apiVersion") == api_version:
        return obj
    return _CONVERSIONS[obj.get("kind", ""), obj.get("apiVersion", ""), api_version](obj)


def event_to_new(event: Object) -> Object:
    """core/v1 → events.k8s.io/v1."""
    out = {_EVENT_FIELDS.get(k, k): v for k, v in event.items()}
    out["apiVersion"] = "events.k8s.io/v1"
    return out


def event_to_core(event: Object) -> Object:
    """events.k8s.io/v1 → core/v1."""
    back = {new: old for old, new in _EVENT_FIELDS.items()}
    out = {back.get(k, k): v for k, v in event.items()}
    out["apiVersion"] = "v1"
    out.setdefault("involvedObject", {})
    return out


def hpa_to_v1(hpa: Object) -> Object:
    """autoscaling/v2 → v1: the CPU utilization has a field, everything else goes into annotations."""
    spec, status = dict(hpa.get("spec", {})), dict(hpa.get("status", {}))
    annotations = {
        k: v for k, v in hpa["metadata"].get("annotations", {}).items() if k not in _CARRIED
    }
    target, rest = _split_cpu(spec.pop("metrics", []), "target")
    if target is not None:
        spec["targetCPUUtilizationPercentage"] = target
    if rest:
        annotations[METRICS] = _dump([_metric_to_v1(m, "target") for m in rest])
    behavior = spec.pop("behavior", None)
    if behavior:
        annotations[BEHAVIOR] = _dump(_capitalised(behavior))
    current, others = _split_cpu(status.pop("currentMetrics", None) or [], "current")
    if current is not None:
        status["currentCPUUtilizationPercentage"] = current
    if others or current is not None:
        everything = hpa.get("status", {}).get("currentMetrics") or []
        annotations[CURRENT] = _dump([_metric_to_v1(m, "current") for m in everything])
    conditions = status.pop("conditions", None)
    if conditions:
        annotations[CONDITIONS] = _dump(conditions)
    status.setdefault("currentReplicas", 0)
    status.setdefault("desiredReplicas", 0)
    return _rebuilt(hpa, "autoscaling/v1", annotations, spec, status)


def hpa_to_v2(hpa: Object) -> Object:
    """autoscaling/v1 → v2. Annotations that do not parse are left behind, as Kubernetes does."""
    spec, status = dict(hpa.get("spec", {})), dict(hpa.get("status", {}))
    given = hpa["metadata"].get("annotations", {})
    annotations = {k: v for k, v in given.items() if k not in _CARRIED}
    metrics = [_metric_to_v2(m, "target") for m in _load(given.get(METRICS), [])]
    cpu = spec.pop("targetCPUUtilizationPercentage", None)
    if cpu is not None:
        metrics.insert(0, cpu_metric(cpu))
    spec["metrics"] = metrics or [cpu_metric(DEFAULT_CPU_PERCENT)]
    behavior = _load(given.get(BEHAVIOR), {})
    if behavior:
        spec["behavior"] = _uncapitalised(behavior)
    current = [_metric_to_v2(m, "current") for m in _load(given.get(CURRENT), [])]
    percent = status.pop("currentCPUUtilizationPercentage", None)
    if percent is not None and not current:
        amount = {"averageUtilization": percent, "averageValue": "0"}
        current = [{"type": "Resource", "resource": {"name": "cpu", "current": amount}}]
    if current:
        status["currentMetrics"] = current
    conditions = _load(given.get(CONDITIONS), [])
    if conditions:
        status["conditions"] = conditions
    return _rebuilt(hpa, "autoscaling/v2", annotations, spec, status)


DEFAULT_CPU_PERCENT: Final = 80


def cpu_metric(percent: int) -> Object:
    """The metric that an autoscaler without metrics has."""
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def _rebuilt(
    hpa: Object, api_version: str, annotations: Object, spec: Object, status: Object
) -> Object:
    metadata = dict(hpa["metadata"])
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    out = {**hpa, "apiVersion": api_version, "metadata": metadata, "spec": spec}
    if "status" in hpa:
        out["status"] = status
    return out


def _split_cpu(metrics: list[Object], side: str) -> tuple[int | None, list[Object]]:
    """The CPU utilization among the metrics (the first such), and the other metrics."""
    for i, metric in enumerate(metrics):
        resource = metric.get("resource") or {}
        percent = (resource.get(side) or {}).get("averageUtilization")
        if (
            metric.get("type") == "Resource"
            and resource.get("name") == "cpu"
            and percent is not None
        ):
            return percent, metrics[:i] + metrics[i + 1 :]
    return None, metrics


def _dump(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _load(text: str | None, empty: Any) -> Any:
    if not text:
        return empty
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return empty
    return found if isinstance(found, type(empty)) else empty


# How v1 spells the parts of a v2 metric: source kind → {v2 path: v1 field}. "$" is the side, that is
# `target` in a spec and `current` in a status; "%" is its word in v1 (`target…`, `current…`).
_METRIC_FIELDS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "resource": (
        ("name", "name"), ("$.averageUtilization", "%AverageUtilization"),
        ("$.averageValue", "%AverageValue"),
    ),
    "containerResource": (
        ("name", "name"), ("container", "container"),
        ("$.averageUtilization", "%AverageUtilization"), ("$.averageValue", "%AverageValue"),
    ),
    "pods": (
        ("metric.name", "metricName"), ("metric.selector", "selector"),
        ("$.averageValue", "%AverageValue"),
    ),
    "object": (
        ("describedObject", "target"), ("metric.name", "metricName"),
        ("metric.selector", "selector"), ("$.value", "%Value"), ("$.averageValue", "averageValue"),
    ),
    "external": (
        ("metric.name", "metricName"), ("metric.selector", "metricSelector"),
        ("$.value", "%Value"), ("$.averageValue", "%AverageValue"),
    ),
}  # fmt: skip


def _metric_to_v1(metric: Object, side: str) -> Object:
    out: Object = {"type": metric.get("type", "")}
    for kind, fields in _METRIC_FIELDS.items():
        source = metric.get(kind)
        if source is None:
            continue
        flat: Object = {}
        for path, field in fields:
            value: Any = source
            for part in path.replace("$", side).split("."):
                value = (value or {}).get(part)
            if value is not None:
                flat[field.replace("%", side)] = value
        out[kind] = flat
    return out


def _metric_to_v2(metric: Object, side: str) -> Object:
    out: Object = {"type": metric.get("type", "")}
    for kind, fields in _METRIC_FIELDS.items():
        flat = metric.get(kind)
        if flat is None:
            continue
        source: Object = {}
        for path, field in fields:
            value = flat.get(field.replace("%", side))
            if value is None:
                continue
            at = source
            *parents, last = path.replace("$", side).split(".")
            for part in parents:
                at = at.setdefault(part, {})
            at[last] = value
        if side == "target" and "target" in source:
            source["target"] = {"type": _target_type(source["target"]), **source["target"]}
        out[kind] = source
    return out


def _target_type(target: Object) -> str:
    if "averageUtilization" in target:
        return "Utilization"
    return "AverageValue" if "averageValue" in target else "Value"


def _capitalised(value: Any) -> Any:
    """The behavior annotation has the field names of Go's structs."""
    if isinstance(value, dict):
        return {k[:1].upper() + k[1:]: _capitalised(v) for k, v in value.items()}
    return [_capitalised(v) for v in value] if isinstance(value, list) else value


def _uncapitalised(value: Any) -> Any:
    if isinstance(value, dict):
        return {k[:1].lower() + k[1:]: _uncapitalised(v) for k, v in value.items() if v is not None}
    return [_uncapitalised(v) for v in value] if isinstance(value, list) else value


_CONVERSIONS: Final[dict[tuple[str, str, str], Callable[[Object], Object]]] = {
    ("Event", "v1", "events.k8s.io/v1"): event_to_new,
    ("Event", "events.k8s.io/v1", "v1"): event_to_core,
    ("HorizontalPodAutoscaler", "autoscaling/v2", "autoscaling/v1"): hpa_to_v1,
    ("HorizontalPodAutoscaler", "autoscaling/v1", "autoscaling/v2"): hpa_to_v2,
}
