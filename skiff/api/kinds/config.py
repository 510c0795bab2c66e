"""ConfigMaps, Secrets and ServiceAccounts.

Source: https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/
"""

from base64 import b64decode, b64encode
from typing import Any, ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import AGE, NAME, Columns, columns, since
from skiff.api.kinds.errors import FieldErrors, immutable
from skiff.api.kinds.strategy import Object, Strategy

DATA_MAX_BYTES: Final = 1024 * 1024
_IMMUTABLE: Final = "field is immutable when `immutable` is set"
ACCOUNT_NAME: Final = "kubernetes.io/service-account.name"
# What a Secret of each type must hold, and of which any one (or all) must be there.
_REQUIRED_KEYS: Final = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def _config_map_cells(obj: Object, now: float) -> list[Any]:
    meta = obj["metadata"]
    count = len(obj.get("data", ())) + len(obj.get("binaryData", ()))
    return [meta.get("name", ""), count, since(meta.get("creationTimestamp"), now)]


class ConfigMapStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(columns(NAME, "Data", AGE), _config_map_cells)

    def validate_body(self, obj: Object) -> FieldErrors:
        errors: FieldErrors = []
        data, binary = obj.get("data", {}), obj.get("binaryData", {})
        total = 0
        for key, value in data.items():
            errors += [fe.invalid(f"data[{key}]", key, m) for m in names.config_key(key)]
            if key in binary:
                message = "duplicate of key present in binaryData"
                errors.append(fe.invalid(f"data[{key}]", key, message))
            total += len(value) if value.isascii() else len(value.encode())
        for key, value in binary.items():
            errors += [fe.invalid(f"binaryData[{key}]", key, m) for m in names.config_key(key)]
            total += _decoded_length(value)
        if total > DATA_MAX_BYTES:
            errors.append(fe.too_long("", DATA_MAX_BYTES))
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        if not old.get("immutable"):
            return []
        return _frozen(new, old, "data", "binaryData")


def _frozen(new: Object, old: Object, *fields: str) -> FieldErrors:
    errors: FieldErrors = []
    if not new.get("immutable"):
        errors.append(fe.forbidden("immutable", _IMMUTABLE))
    errors += [fe.forbidden(f, _IMMUTABLE) for f in fields if new.get(f, {}) != old.get(f, {})]
    return errors


def _decoded_length(value: str) -> int:
    """The bytes that a base64 text stands for."""
    return len(value) * 3 // 4 - value.count("=", -2) if value else 0


def _secret_cells(obj: Object, now: float) -> list[Any]:
    meta = obj["metadata"]
    return [
        meta.get("name", ""),
        obj.get("type", ""),
        len(obj.get("data", ())),
        since(meta.get("creationTimestamp"), now),
    ]


class SecretStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(columns(NAME, "Type", "Data:integer", AGE), _secret_cells)
    selectable_fields: ClassVar[tuple[str, ...]] = ("type",)

    def default(self, obj: Object) -> None:
        if not obj.get("type"):
            obj["type"] = "Opaque"
        plain = obj.pop("stringData", None)
        if plain:  # write-only: it goes into data
            data = obj.setdefault("data", {})
            for key, value in plain.items():
                data[key] = b64encode(value.encode()).decode()

    def validate_body(self, obj: Object) -> FieldErrors:
        errors: FieldErrors = []
        data = obj.get("data", {})
        total = 0
        for key, value in data.items():
            errors += [fe.invalid(f"data[{key}]", key, m) for m in names.config_key(key)]
            total += _decoded_length(value)
        if total > DATA_MAX_BYTES:
            errors.append(fe.too_long("data", DATA_MAX_BYTES))
        kind = obj.get("type", "")
        if kind == "kubernetes.io/service-account-token":
            annotations = obj["metadata"].get("annotations", {})
            if not annotations.get(ACCOUNT_NAME):
                errors.append(fe.required(f"metadata.annotations[{ACCOUNT_NAME}]"))
        elif kind == "kubernetes.io/basic-auth":
            if not data.keys() & {"username", "password"}:
                errors.append(fe.required("data[username]"))
                errors.append(fe.required("data[password]"))
        else:
            for key in _REQUIRED_KEYS.get(kind, ()):
                if key not in data:
                    errors.append(fe.required(f"data[{key}]"))
                elif kind.startswith("kubernetes.io/dockerc"):
                    errors += _validate_json(data[key], f"data[{key}]")
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        errors = immutable("type", new.get("type"), old.get("type"))
        if old.get("immutable"):
            errors += _frozen(new, old, "data")
        return errors

    def selectable(self, obj: Object) -> dict[str, str]:
        return {"type": obj.get("type", "")}


def _validate_json(value: str, path: str) -> FieldErrors:
    import msgspec  # here: two types of Secret alone need it

    try:
        msgspec.json.decode(b64decode(value))
    except (ValueError, msgspec.DecodeError) as e:
        return [fe.invalid(path, "<secret contents redacted>", str(e))]
    return []


def _account_cells(obj: Object, now: float) -> list[Any]:
    meta = obj["metadata"]
    count = len(obj.get("secrets", ()))
    return [meta.get("name", ""), count, since(meta.get("creationTimestamp"), now)]


class ServiceAccountStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(columns(NAME, "Secrets", AGE), _account_cells)
