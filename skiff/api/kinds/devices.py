"""resource.k8s.io: device classes, claims, claim templates, slices.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
"""

from typing import Any, ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import AGE, NAME, Columns, columns, since
from skiff.api.kinds.errors import FieldErrors, immutable
from skiff.api.kinds.strategy import Object, Strategy
from skiff.api.kinds.volumes import validate_driver_name

_REQUESTS_MAX: Final = 32
_SELECTORS_MAX: Final = 32
_DEVICES_MAX: Final = 128


def _validate_selectors(selectors: list[Object], path: str) -> FieldErrors:
    errors: FieldErrors = []
    if len(selectors) > _SELECTORS_MAX:
        errors.append(fe.too_many(path, len(selectors), _SELECTORS_MAX))
    for i, selector in enumerate(selectors):
        if selector.get("cel") is None:
            errors.append(fe.required(f"{path}[{i}].cel"))
        elif not selector["cel"].get("expression"):
            errors.append(fe.required(f"{path}[{i}].cel.expression"))
    return errors


class DeviceClassStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(NAME, AGE),
        lambda obj, now: [
            obj["metadata"].get("name", ""),
            since(obj["metadata"].get("creationTimestamp"), now),
        ],
    )
    has_generation: ClassVar[bool] = True

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def validate_body(self, obj: Object) -> FieldErrors:
        return _validate_selectors(obj.get("spec", {}).get("selectors", []), "spec.selectors")


def _default_requests(spec: Object) -> None:
    for request in spec.get("devices", {}).get("requests", ()):
        exact = request.get("exactly")
        alternatives = request.get("firstAvailable", ())
        for found in [*([exact] if exact is not None else ()), *alternatives]:
            found.setdefault("allocationMode", "ExactCount")
            if found["allocationMode"] == "ExactCount":
                found.setdefault("count", 1)
            for toleration in found.get("tolerations", ()):
                toleration.setdefault("operator", "Equal")


def _validate_claim_spec(spec: Object, path: str) -> FieldErrors:
    errors: FieldErrors = []
    requests = spec.get("devices", {}).get("requests", ())
    at = f"{path}.devices.requests"
    if len(requests) > _REQUESTS_MAX:
        errors.append(fe.too_many(at, len(requests), _REQUESTS_MAX))
    seen: set[str] = set()
    for i, request in enumerate(requests):
        where, name = f"{at}[{i}]", request.get("name", "")
        if not name:
            errors.append(fe.required(f"{where}.name"))
        else:
            errors += [fe.invalid(f"{where}.name", name, m) for m in names.dns1123_label(name)]
        if name in seen:
            errors.append(fe.duplicate(f"{where}.name", name))
        seen.add(name)
        exact, first = request.get("exactly"), request.get("firstAvailable")
        if exact is None and not first:
            message = "exactly one of `exactly` or `firstAvailable` is required"
            errors.append(fe.required(where, message))
        elif exact is not None and first:
            message = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"
            errors.append(fe.invalid(where, None, message))
        for field, found in [
            *([(f"{where}.exactly", exact)] if exact is not None else ()),
            *((f"{where}.firstAvailable[{j}]", f) for j, f in enumerate(first or ())),
        ]:
            errors += _validate_exact(found, field)
    for i, constraint in enumerate(spec.get("devices", {}).get("constraints", ())):
        for j, name in enumerate(constraint.get("requests", ())):
            if name.partition("/")[0] not in seen:
                message = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
                where = f"{path}.devices.constraints[{i}].requests[{j}]"
                errors.append(fe.invalid(where, name, message))
    return errors


def _validate_exact(request: Object, path: str) -> FieldErrors:
    errors: FieldErrors = []
    if not request.get("deviceClassName"):
        errors.append(fe.required(f"{path}.deviceClassName"))
    else:
        name = request["deviceClassName"]
        at = f"{path}.deviceClassName"
        errors += [fe.invalid(at, name, m) for m in names.dns1123_subdomain(name)]
    errors += _validate_selectors(request.get("selectors", []), f"{path}.selectors")
    mode, count = request.get("allocationMode"), request.get("count")
    if mode == "All":
        if count:
            message = "must not be specified when allocationMode is 'All'"
            errors.append(fe.invalid(f"{path}.count", count, message))
    elif mode == "ExactCount":
        if (count or 0) <= 0:
            errors.append(fe.invalid(f"{path}.count", count, "must be greater than zero"))
    else:
        errors.append(fe.not_supported(f"{path}.allocationMode", mode, ("All", "ExactCount")))
    return errors


def _claim_cells(obj: Object, now: float) -> list[Any]:
    meta, status = obj["metadata"], obj.get("status", {})
    states = []
    if meta.get("deletionTimestamp"):
        states.append("deleted")
    if status.get("allocation") is None:
        if not meta.get("deletionTimestamp"):
            states.append("pending")
    else:
        states += ["allocated"] + (["reserved"] if status.get("reservedFor") else [])
    return [meta.get("name", ""), ",".join(states), since(meta.get("creationTimestamp"), now)]


class ResourceClaimStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(columns(NAME, "State", AGE), _claim_cells)

    def default(self, obj: Object) -> None:
        _default_requests(obj.setdefault("spec", {}))

    def validate_body(self, obj: Object) -> FieldErrors:
        return _validate_claim_spec(obj.get("spec", {}), "spec")

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        return immutable("spec", new.get("spec"), old.get("spec"))

    def validate_status_update(self, new: Object, old: Object) -> FieldErrors:
        has, had = new.get("status", {}).get("allocation"), old.get("status", {}).get("allocation")
        if had is not None and has is not None:
            return immutable("status.allocation", has, had)
        if has is None and new.get("status", {}).get("reservedFor"):
            message = "may not be specified when `allocated` is not set"
            return [fe.forbidden("status.reservedFor", message)]
        return []


class ResourceClaimTemplateStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(NAME, AGE),
        lambda obj, now: [
            obj["metadata"].get("name", ""),
            since(obj["metadata"].get("creationTimestamp"), now),
        ],
    )

    def default(self, obj: Object) -> None:
        _default_requests(obj.setdefault("spec", {}).setdefault("spec", {}))

    def validate_body(self, obj: Object) -> FieldErrors:
        return _validate_claim_spec(obj.get("spec", {}).get("spec", {}), "spec.spec")

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        return immutable("spec", new.get("spec"), old.get("spec"))


def _slice_cells(obj: Object, now: float) -> list[Any]:
    meta, spec = obj["metadata"], obj.get("spec", {})
    return [
        meta.get("name", ""),
        spec.get("nodeName", ""),
        spec.get("driver", ""),
        spec.get("pool", {}).get("name", ""),
        since(meta.get("creationTimestamp"), now),
    ]


class ResourceSliceStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(columns(NAME, "Node", "Driver", "Pool", AGE), _slice_cells)
    has_generation: ClassVar[bool] = True
    selectable_fields: ClassVar[tuple[str, ...]] = ("spec.driver", "spec.nodeName")

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors = validate_driver_name(spec.get("driver", ""), "spec.driver")
        pool = spec.get("pool", {})
        if not pool.get("name"):
            errors.append(fe.required("spec.pool.name"))
        if pool.get("resourceSliceCount", 0) <= 0:
            value = pool.get("resourceSliceCount", 0)
            message = "must be greater than zero"
            errors.append(fe.invalid("spec.pool.resourceSliceCount", value, message))
        where = [
            f
            for f in ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
            if spec.get(f)
        ]
        if len(where) != 1:
            message = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
            errors.append(fe.required("spec", message))
        devices = spec.get("devices", ())
        if len(devices) > _DEVICES_MAX:
            errors.append(fe.too_many("spec.devices", len(devices), _DEVICES_MAX))
        seen: set[str] = set()
        for i, device in enumerate(devices):
            at, name = f"spec.devices[{i}].name", device.get("name", "")
            errors += [fe.invalid(at, name, m) for m in names.dns1123_label(name)]
            if name in seen:
                errors.append(fe.duplicate(at, name))
            seen.add(name)
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        after, before = new["spec"], old["spec"]
        errors = immutable("spec.driver", after.get("driver"), before.get("driver"))
        errors += immutable("spec.nodeName", after.get("nodeName"), before.get("nodeName"))
        has, had = after.get("pool", {}).get("name"), before.get("pool", {}).get("name")
        return errors + immutable("spec.pool.name", has, had)

    def selectable(self, obj: Object) -> dict[str, str]:
        spec = obj.get("spec", {})
        return {
            "spec.driver": spec.get("driver", ""),
            "spec.nodeName": spec.get("nodeName", ""),
        }
