"""Events. They are stored as core/v1; events.k8s.io/v1 is converted (`api/convert.py`).

Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from typing import Any, ClassVar

from skiff.api.convert import event_to_core
from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import NAME, UNKNOWN, Column, Columns, columns, since
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.strategy import Object, Strategy


def _object_text(reference: Object) -> str:
    kind = reference.get("kind", "").lower()
    return f"{kind}/{reference.get('name', '')}"


def _source_text(obj: Object) -> str:
    source = obj.get("source") or {}
    component = source.get("component") or obj.get("reportingComponent", "")
    host = source.get("host") or obj.get("reportingInstance", "")
    return f"{component}, {host}" if host else str(component)


def _cells(obj: Object, now: float) -> list[Any]:
    if obj.get("apiVersion") == "events.k8s.io/v1":
        obj = event_to_core(obj)
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    last = obj.get("lastTimestamp") or first
    count = obj.get("count", 0)
    series = obj.get("series")
    if series:
        last, count = series.get("lastObservedTime"), series.get("count", 0)
    elif not count:
        count = 1  # a single event of the new kind
    return [
        since(last, now) if last else UNKNOWN,
        obj.get("type", ""),
        obj.get("reason", ""),
        _object_text(obj.get("involvedObject", {})),
        obj.get("involvedObject", {}).get("fieldPath", ""),
        _source_text(obj),
        obj.get("message", "").strip(),
        since(first, now) if first else UNKNOWN,
        count,
        obj["metadata"].get("name", ""),
    ]


_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_WIDE_NAME = Column(NAME.name, NAME.type, NAME.format, 1, NAME.description)


class EventStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(
            "Last Seen", "Type", "Reason", "Object", "Subobject*", "Source*", "Message",
            "First Seen*", "Count*", _WIDE_NAME,
        ),
        _cells,
    )  # fmt: skip
    create_on_update: ClassVar[bool] = True
    selectable_fields: ClassVar[tuple[str, ...]] = (
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name",
        "involvedObject.uid", "involvedObject.apiVersion", "involvedObject.resourceVersion",
        "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type",
    )  # fmt: skip

    def validate_body(self, obj: Object) -> FieldErrors:
        errors: FieldErrors = []
        namespace = obj["metadata"].get("namespace", "")
        involved = obj.get("involvedObject", {}).get("namespace", "")
        if not involved:
            # A cluster-scoped object's events live in "default" (or, of old components, elsewhere).
            if namespace not in ("default", "kube-system") and "eventTime" not in obj:
                message = "does not match event.namespace"
                errors.append(fe.invalid("involvedObject.namespace", involved, message))
        elif involved != namespace:
            message = "does not match event.namespace"
            errors.append(fe.invalid("involvedObject.namespace", involved, message))
        if obj.get("eventTime"):
            errors += _validate_new_style(obj)
        return errors

    def selectable(self, obj: Object) -> dict[str, str]:
        involved = obj.get("involvedObject", {})
        found = {}
        for field in _REFERENCE:  # under both versions' words; what is empty matches as ""
            value = involved.get(field)
            if value:
                found[f"involvedObject.{field}"] = found[f"regarding.{field}"] = value
        component = obj.get("reportingComponent", "")
        source = (obj.get("source") or {}).get("component") or component
        if component:
            found["reportingComponent"] = found["reportingController"] = component
        if source:
            found["source"] = source
        found["reason"] = obj.get("reason", "")
        found["type"] = obj.get("type", "")
        return found

    def check_field_label(self, label: str) -> None:
        if self.resource.group:  # events.k8s.io has its own words for the same fields
            known = {f"regarding.{f}" for f in _REFERENCE} | {"reportingController"}
            if label in known:
                return
        super().check_field_label(label)


def _validate_new_style(obj: Object) -> FieldErrors:
    """An event with a time of its own says who reports it and what was done."""
    errors: FieldErrors = []
    component = obj.get("reportingComponent", "")
    if not component:
        errors.append(fe.required("reportingController"))
    else:
        errors += [
            fe.invalid("reportingController", component, m) for m in names.qualified_name(component)
        ]
    for field, most in (("reportingInstance", 128), ("action", 128), ("reason", 128)):
        value = obj.get(field, "")
        if not value:
            errors.append(fe.required(field))
        elif len(value) > most:
            errors.append(fe.invalid(field, "", f"can have at most {most} characters"))
    if len(obj.get("message", "")) > 1024:
        errors.append(fe.invalid("message", "", "can have at most 1024 characters"))
    return errors
