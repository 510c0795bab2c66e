"""HorizontalPodAutoscalers, stored as autoscaling/v2; v1 is converted (`api/convert.py`).

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/horizontal-pod-autoscaler-v2/
"""

from typing import Any, ClassVar, Final

from skiff.api.convert import DEFAULT_CPU_PERCENT, convert, cpu_metric
from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import AGE, NAME, NONE, UNKNOWN, Columns, columns, since
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.resource_amounts import amount
from skiff.api.kinds.strategy import Object, Strategy

_METRIC_TYPES: Final = ("ContainerResource", "External", "Object", "Pods", "Resource")
_SELECT: Final = ("Disabled", "Max", "Min")
_V2: Final = "autoscaling/v2"
_SHOWN: Final = 2


def _metric_texts(hpa: Object) -> list[str]:
    current = (hpa.get("status", {}).get("currentMetrics")) or []
    out = []
    for i, metric in enumerate(hpa.get("spec", {}).get("metrics", ())):
        kind = metric.get("type", "")
        field = kind[:1].lower() + kind[1:]
        source = metric.get(field) or {}
        found = ((current[i].get(field) or {}).get("current") or {}) if i < len(current) else {}
        target = source.get("target") or {}
        if kind in ("Resource", "ContainerResource"):
            out.append(f"{source.get('name', '')}: {_resource_text(target, found)}")
        elif kind == "Pods" or (kind in ("External", "Object") and "averageValue" in target):
            suffix = " (avg)" if kind != "Pods" else ""
            shown = found.get("averageValue", UNKNOWN)
            out.append(f"{shown}/{target.get('averageValue', '')}{suffix}")
        elif kind in ("External", "Object"):
            out.append(f"{found.get('value', UNKNOWN)}/{target.get('value', '')}")
        else:
            out.append("<unknown type>")
    return out


def _resource_text(target: Object, found: Object) -> str:
    if target.get("averageValue") is not None:
        return f"{found.get('averageValue', UNKNOWN)}/{target['averageValue']}"
    percent = found.get("averageUtilization")
    shown = f"{percent}%" if percent is not None else UNKNOWN
    wanted = target.get("averageUtilization")
    return f"{shown}/{wanted}%" if wanted is not None else f"{shown}/<auto>"


def _cells(obj: Object, now: float) -> list[Any]:
    hpa = convert({"kind": "HorizontalPodAutoscaler", **obj}, _V2) if _is_v1(obj) else obj
    meta, spec, status = hpa["metadata"], hpa.get("spec", {}), hpa.get("status", {})
    reference = spec.get("scaleTargetRef", {})
    texts = _metric_texts(hpa)
    shown = ", ".join(texts[:_SHOWN]) or NONE
    if len(texts) > _SHOWN:
        shown += f" + {len(texts) - _SHOWN} more..."
    least = spec.get("minReplicas")
    return [
        meta.get("name", ""),
        f"{reference.get('kind', '')}/{reference.get('name', '')}",
        shown,
        str(least) if least is not None else "<unset>",
        spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0),
        since(meta.get("creationTimestamp"), now),
    ]


def _is_v1(obj: Object) -> bool:
    return bool(obj.get("apiVersion") == "autoscaling/v1")


class HorizontalPodAutoscalerStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(
            NAME, "Reference", "Targets", "MinPods", "MaxPods:integer", "Replicas:integer", AGE
        ),
        _cells,
    )
    empty_status: ClassVar[Object | None] = {"desiredReplicas": 0, "currentMetrics": None}

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("minReplicas", 1)
        if self.resource.version == "v1":
            return
        if not spec.get("metrics"):
            spec["metrics"] = [cpu_metric(DEFAULT_CPU_PERCENT)]
        behavior = spec.get("behavior")
        if behavior is not None:
            _default_behavior(behavior)

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors: FieldErrors = []
        least, most = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
        if least < 1:
            message = "must be greater than or equal to 1"
            errors.append(fe.invalid("spec.minReplicas", least, message))
        if most < 1:
            errors.append(fe.invalid("spec.maxReplicas", most, "must be greater than 0"))
        if most < least:
            message = "must be greater than or equal to `minReplicas`"
            errors.append(fe.invalid("spec.maxReplicas", most, message))
        errors += _validate_reference(spec.get("scaleTargetRef", {}), "spec.scaleTargetRef")
        for i, metric in enumerate(spec.get("metrics", ())):
            errors += _validate_metric(metric, f"spec.metrics[{i}]")
        for side in ("scaleUp", "scaleDown"):
            rules = (spec.get("behavior") or {}).get(side)
            if rules is not None:
                errors += _validate_rules(rules, f"spec.behavior.{side}")
        return errors


_DEFAULT_UP: Final = (
    {"type": "Pods", "value": 4, "periodSeconds": 15},
    {"type": "Percent", "value": 100, "periodSeconds": 15},
)
_DEFAULT_DOWN: Final = ({"type": "Percent", "value": 100, "periodSeconds": 15},)


def _default_behavior(behavior: Object) -> None:
    up = behavior.setdefault("scaleUp", {})
    up.setdefault("stabilizationWindowSeconds", 0)
    down = behavior.setdefault("scaleDown", {})
    for rules, policies in ((up, _DEFAULT_UP), (down, _DEFAULT_DOWN)):
        rules.setdefault("selectPolicy", "Max")
        if not rules.get("policies"):
            rules["policies"] = [dict(p) for p in policies]


def _validate_reference(reference: Object, path: str) -> FieldErrors:
    errors: FieldErrors = []
    for field in ("kind", "name"):
        value = reference.get(field, "")
        if not value:
            errors.append(fe.required(f"{path}.{field}"))
        else:
            errors += [fe.invalid(f"{path}.{field}", value, m) for m in names.path_segment(value)]
    return errors


def _validate_metric(metric: Object, path: str) -> FieldErrors:
    kind = metric.get("type", "")
    if not kind:
        return [fe.required(f"{path}.type", "must specify a metric source type")]
    if kind not in _METRIC_TYPES:
        return [fe.not_supported(f"{path}.type", kind, _METRIC_TYPES)]
    field = kind[:1].lower() + kind[1:]
    source = metric.get(field)
    if source is None:
        message = "must populate information for the given metric source"
        errors = [fe.required(f"{path}.{field}", message)]
        others = [k for k in metric if k not in ("type", field)]
        message = "must populate the given metric source only"
        return errors + [fe.forbidden(f"{path}.{k}", message) for k in others]
    at = f"{path}.{field}"
    errors = []
    if kind in ("Resource", "ContainerResource"):
        if not source.get("name"):
            errors.append(fe.required(f"{at}.name", "must specify a resource name"))
        if kind == "ContainerResource" and not source.get("container"):
            errors.append(fe.required(f"{at}.container", "must specify a container name"))
    else:
        name = (source.get("metric") or {}).get("name", "")
        if not name:
            errors.append(fe.required(f"{at}.metric.name", "must specify a metric name"))
        else:
            errors += [fe.invalid(f"{at}.metric.name", name, m) for m in names.path_segment(name)]
        if kind == "Object":
            errors += _validate_reference(
                source.get("describedObject", {}), f"{at}.describedObject"
            )
    return errors + _validate_target(source.get("target", {}), f"{at}.target", kind)


def _validate_target(target: Object, path: str, kind: str) -> FieldErrors:
    errors: FieldErrors = []
    form = target.get("type", "")
    if not form:
        errors.append(fe.required(f"{path}.type", "must specify a metric target type"))
    elif form not in ("Utilization", "Value", "AverageValue"):
        message = "must be either Utilization, Value, or AverageValue"
        errors.append(fe.invalid(f"{path}.type", form, message))
    for field in ("value", "averageValue"):
        value = target.get(field)
        if value is not None and amount(value) <= 0:
            errors.append(fe.invalid(f"{path}.{field}", value, "must be positive"))
    percent = target.get("averageUtilization")
    if percent is not None and percent < 1:
        errors.append(fe.invalid(f"{path}.averageUtilization", percent, "must be greater than 0"))
    given = [
        f for f in ("averageUtilization", "averageValue", "value") if target.get(f) is not None
    ]
    if kind in ("Resource", "ContainerResource"):
        if not set(given) & {"averageUtilization", "averageValue"}:
            message = "must set either a target raw value or a target utilization"
            errors.append(fe.required(f"{path}.averageUtilization", message))
        elif {"averageUtilization", "averageValue"} <= set(given):
            message = "may not set both a target raw value and a target utilization"
            errors.append(fe.forbidden(f"{path}.averageValue", message))
    elif kind == "Pods" and "averageValue" not in given:
        message = "must specify a positive target averageValue"
        errors.append(fe.required(f"{path}.averageValue", message))
    elif kind in ("External", "Object") and not set(given) & {"value", "averageValue"}:
        message = "must set either a target value or averageValue"
        if kind == "External":
            message = "must set either a target value for metric or a per-pod target"
        errors.append(fe.required(f"{path}.averageValue", message))
    return errors


def _validate_rules(rules: Object, path: str) -> FieldErrors:
    errors: FieldErrors = []
    window = rules.get("stabilizationWindowSeconds")
    if window is not None and window < 0:
        message = "must be greater than or equal to zero"
        errors.append(fe.invalid(f"{path}.stabilizationWindowSeconds", window, message))
    if window is not None and window > 3600:
        message = "must be less than or equal to 3600"
        errors.append(fe.invalid(f"{path}.stabilizationWindowSeconds", window, message))
    select = rules.get("selectPolicy", "Max")
    if select not in _SELECT:
        errors.append(fe.not_supported(f"{path}.selectPolicy", select, _SELECT))
    policies = rules.get("policies", ())
    if not policies:
        errors.append(fe.required(f"{path}.policies", "must specify at least one Policy"))
    for i, policy in enumerate(policies):
        at = f"{path}.policies[{i}]"
        if policy.get("type") not in ("Percent", "Pods"):
            kind = policy.get("type", "")
            errors.append(fe.not_supported(f"{at}.type", kind, ("Percent", "Pods")))
        if policy.get("value", 0) <= 0:
            errors.append(
                fe.invalid(f"{at}.value", policy.get("value", 0), "must be greater than zero")
            )
        period = policy.get("periodSeconds", 0)
        if period <= 0:
            errors.append(fe.invalid(f"{at}.periodSeconds", period, "must be greater than zero"))
        elif period > 1800:
            message = "must be less than or equal to 1800"
            errors.append(fe.invalid(f"{at}.periodSeconds", period, message))
    return errors
