"""Validation of security contexts, of pods and of containers.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/security-context/
"""

import re
from typing import Any, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds.errors import FieldErrors

_ID_RANGE: Final = "must be between 0 and 2147483647, inclusive"
_ID_MAX: Final = (1 << 31) - 1
_PROFILES: Final = ("Localhost", "RuntimeDefault", "Unconfined")


def _validate_ids(context: dict[str, Any], path: str) -> FieldErrors:
    errors: FieldErrors = []
    for field in ("runAsUser", "runAsGroup", "fsGroup"):
        value = context.get(field)
        if value is not None and not 0 <= value <= _ID_MAX:
            errors.append(fe.invalid(f"{path}.{field}", value, _ID_RANGE))
    return errors


def _validate_profiles(context: dict[str, Any], path: str) -> FieldErrors:
    errors: FieldErrors = []
    for field in ("seccompProfile", "appArmorProfile"):
        profile = context.get(field)
        if profile is None:
            continue
        at = f"{path}.{field}"
        kind, local = profile.get("type"), profile.get("localhostProfile")
        if not kind:
            errors.append(fe.required(f"{at}.type"))
        elif kind not in _PROFILES:
            errors.append(fe.not_supported(f"{at}.type", kind, _PROFILES))
        if kind == "Localhost":
            if not local:
                message = f"must be set when {field.removesuffix('Profile')} type is Localhost"
                errors.append(fe.required(f"{at}.localhostProfile", message))
            elif field == "seccompProfile" and (local.startswith("/") or ".." in local.split("/")):
                message = "must be a relative path" if local[0] == "/" else "must not contain '..'"
                errors.append(fe.invalid(f"{at}.localhostProfile", local, message))
        elif local is not None:
            word = "can only be set when seccomp type is Localhost"
            if field == "appArmorProfile":
                word = "can only be set when AppArmor type is Localhost"
            errors.append(fe.invalid(f"{at}.localhostProfile", local, word))
    return errors


def validate_container_context(context: dict[str, Any], path: str) -> FieldErrors:
    errors = _validate_ids(context, path)
    errors += _validate_profiles(context, path)
    proc = context.get("procMount")
    if proc is not None and proc not in ("Default", "Unmasked"):
        errors.append(fe.not_supported(f"{path}.procMount", proc, ("Default", "Unmasked")))
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            message = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            errors.append(fe.invalid(path, context, message))
        added = (context.get("capabilities") or {}).get("add", ())
        if "CAP_SYS_ADMIN" in added:
            message = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(fe.invalid(path, context, message))
    return errors


def validate_pod_context(context: dict[str, Any], path: str) -> FieldErrors:
    errors = _validate_ids(context, path)
    errors += _validate_profiles(context, path)
    for i, group in enumerate(context.get("supplementalGroups", ())):
        if not 0 <= group <= _ID_MAX:
            errors.append(fe.invalid(f"{path}.supplementalGroups[{i}]", group, _ID_RANGE))
    policy = context.get("fsGroupChangePolicy")
    if policy is not None and policy not in ("Always", "OnRootMismatch"):
        at = f"{path}.fsGroupChangePolicy"
        errors.append(fe.not_supported(at, policy, ("Always", "OnRootMismatch")))
    policy = context.get("supplementalGroupsPolicy")
    if policy is not None and policy not in ("Merge", "Strict"):
        at = f"{path}.supplementalGroupsPolicy"
        errors.append(fe.not_supported(at, policy, ("Merge", "Strict")))
    seen: set[str] = set()
    for i, sysctl in enumerate(context.get("sysctls", ())):
        name = sysctl.get("name", "")
        at = f"{path}.sysctls[{i}].name"
        if not name:
            errors.append(fe.required(at))
        elif not _sysctl(name):
            message = f"must have at most 253 characters and match regex {_SYSCTL}"
            errors.append(fe.invalid(at, name, message))
        elif name in seen:
            errors.append(fe.duplicate(at, name))
        seen.add(name)
    return errors


_SYSCTL: Final = r"^[a-z0-9]([-_a-z0-9]*[a-z0-9])?([\./][a-z0-9]([-_a-z0-9]*[a-z0-9])?)*$"


def _sysctl(name: str) -> bool:
    return len(name) <= 253 and re.match(_SYSCTL, name) is not None
