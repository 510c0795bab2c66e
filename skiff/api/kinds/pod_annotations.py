"""Annotations of pods that mean something: what they may say, and which may not change.

Source: https://kubernetes.io/docs/reference/labels-annotations-taints/
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds.errors import FieldErrors

MIRROR: Final = "kubernetes.io/config.mirror"
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
APPARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"
_COST = re.compile(r"0|-\d+|[1-9]\d*")
_PROFILES = ("", "runtime/default", "unconfined")
_INT32: Final = 1 << 31

Annotations = Mapping[str, str]


def validate_annotations_of_pod(
    annotations: Annotations, spec: Mapping[str, Any], path: str
) -> FieldErrors:
    """What the annotations say. `path` is theirs."""
    errors: FieldErrors = []
    if MIRROR in annotations and not spec.get("nodeName"):
        message = "must set spec.nodeName if mirror pod annotation is set"
        errors.append(fe.invalid(f"{path}[{MIRROR}]", annotations[MIRROR], message))
    cost = annotations.get(DELETION_COST)
    if cost is not None and not (_COST.fullmatch(cost) and -_INT32 <= int(cost) < _INT32):
        errors.append(fe.invalid(f"{path}[{DELETION_COST}]", cost, "must be a 32bit integer"))
    for key, profile in annotations.items():
        if key.startswith(APPARMOR):
            errors += _validate_apparmor(key, profile, spec, path)
    return errors


def _validate_apparmor(key: str, profile: str, spec: Mapping[str, Any], path: str) -> FieldErrors:
    name = key.removeprefix(APPARMOR)
    groups = ("initContainers", "containers", "ephemeralContainers")
    errors: FieldErrors = []
    if not any(c.get("name") == name for group in groups for c in spec.get(group, ())):
        errors.append(fe.invalid(f"{path}[{key}]", name, "container not found"))
    if profile not in _PROFILES and not profile.startswith("localhost/"):
        message = f'invalid AppArmor profile name: "{profile}"'
        errors.append(fe.invalid(f"{path}[{key}]", profile, message))
    return errors


def validate_annotations_update(new: Annotations, old: Annotations, path: str) -> FieldErrors:
    """Which annotations may not come, change or go."""
    errors: FieldErrors = []
    for key, value in old.items():
        if new.get(key) == value:
            continue
        if key.startswith(APPARMOR):
            message = "may not remove or update AppArmor annotations"
            errors.append(fe.forbidden(f"{path}[{key}]", message))
        elif key == MIRROR:
            message = "may not remove or update mirror pod annotation"
            errors.append(fe.forbidden(f"{path}[{key}]", message))
    for key in new.keys() - old.keys():
        if key.startswith(APPARMOR):
            errors.append(fe.forbidden(f"{path}[{key}]", "may not add AppArmor annotations"))
        elif key == MIRROR:
            errors.append(fe.forbidden(f"{path}[{key}]", "may not add mirror pod annotation"))
    return errors
