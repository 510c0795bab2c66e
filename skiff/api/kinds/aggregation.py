"""APIServices: which API group versions another server answers.

Source: https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/
"""

from typing import Any, ClassVar

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import AGE, NAME, Columns, columns, since
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.strategy import Object, Strategy


def _cells(obj: Object, now: float) -> list[Any]:
    meta, service = obj["metadata"], obj.get("spec", {}).get("service")
    where = f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"
    available = "Unknown"
    for condition in obj.get("status", {}).get("conditions", ()):
        if condition.get("type") == "Available":
            available = condition.get("status", "Unknown")
            if available != "True" and condition.get("reason"):
                available += f" ({condition['reason']})"
    return [meta.get("name", ""), where, available, since(meta.get("creationTimestamp"), now)]


class APIServiceStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(columns(NAME, "Service", "Available", AGE), _cells)

    def default(self, obj: Object) -> None:
        service = obj.setdefault("spec", {}).get("service")
        if service is not None:
            service.setdefault("port", 443)

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        if obj["spec"].get("service") is None:  # served here: available from the start
            obj["status"] = {
                "conditions": [
                    {
                        "type": "Available",
                        "status": "True",
                        "reason": "Local",
                        "message": "Local APIServices are always available",
                    }
                ]
            }

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        group, version = spec.get("group", ""), spec.get("version", "")
        errors: FieldErrors = []
        name, expected = obj["metadata"].get("name", ""), f"{version}.{group}"
        if name != expected:
            message = f'must be `spec.version+"."+spec.group`: {fe.quote(expected)}'
            errors.append(fe.invalid("metadata.name", name, message))
        if group:
            errors += [fe.invalid("spec.group", group, m) for m in names.dns1123_subdomain(group)]
        errors += [fe.invalid("spec.version", version, m) for m in names.dns1035_label(version)]
        least, group_least = spec.get("versionPriority", 0), spec.get("groupPriorityMinimum", 0)
        if not 0 < group_least <= 20000:
            message = "must be positive and less than 20000"
            errors.append(fe.invalid("spec.groupPriorityMinimum", group_least, message))
        if not 0 < least <= 1000:
            message = "must be positive and less than 1000"
            errors.append(fe.invalid("spec.versionPriority", least, message))
        service = spec.get("service")
        if service is None:
            if spec.get("caBundle"):
                message = "local APIServices may not have a caBundle"
                errors.append(fe.invalid("spec.caBundle", "caBundle", message))
            if spec.get("insecureSkipTLSVerify"):
                message = "local APIServices may not have insecureSkipTLSVerify"
                errors.append(fe.invalid("spec.insecureSkipTLSVerify", True, message))
            return errors
        errors += [
            fe.required(f"spec.service.{f}") for f in ("namespace", "name") if not service.get(f)
        ]
        port = service.get("port", 443)
        errors += [
            fe.invalid("spec.service.port", port, "port is not valid: " + m)
            for m in names.port_number(port)
        ]
        if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
            message = "may not be true if caBundle is present"
            errors.append(fe.invalid("spec.insecureSkipTLSVerify", True, message))
        return errors
