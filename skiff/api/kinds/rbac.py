"""Roles, ClusterRoles and their bindings.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from typing import Any, ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import AGE, CREATED_AT, NAME, Columns, columns, since
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.metadata import validate_label_selector
from skiff.api.kinds.strategy import Object, Strategy

GROUP: Final = "rbac.authorization.k8s.io"


def _created(obj: Object, _now: float) -> list[Any]:
    meta = obj["metadata"]
    return [meta.get("name", ""), meta.get("creationTimestamp")]


class RoleStrategy(Strategy):
    columns: ClassVar[Columns] = Columns((NAME, CREATED_AT), _created)
    name_rule = staticmethod(names.path_segment)

    def validate_body(self, obj: Object) -> FieldErrors:
        errors: FieldErrors = []
        for i, rule in enumerate(obj.get("rules") or ()):
            errors += _validate_rule(rule, f"rules[{i}]", self.resource.namespaced)
        for i, selector in enumerate(
            (obj.get("aggregationRule") or {}).get("clusterRoleSelectors", ())
        ):
            at = f"aggregationRule.clusterRoleSelectors[{i}]"
            errors += validate_label_selector(selector, at)
        return errors


def _validate_rule(rule: Object, path: str, namespaced: bool) -> FieldErrors:
    errors: FieldErrors = []
    if not rule.get("verbs"):
        errors.append(fe.required(f"{path}.verbs", "verbs must contain at least one value"))
    urls = rule.get("nonResourceURLs")
    if urls:
        if namespaced:
            message = "namespaced rules cannot apply to non-resource URLs"
            errors.append(fe.invalid(f"{path}.nonResourceURLs", urls, message))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            message = "rules cannot apply to both regular resources and non-resource URLs"
            errors.append(fe.invalid(f"{path}.nonResourceURLs", urls, message))
        return errors
    if not rule.get("apiGroups"):
        message = "resource rules must supply at least one api group"
        errors.append(fe.required(f"{path}.apiGroups", message))
    if not rule.get("resources"):
        message = "resource rules must supply at least one resource"
        errors.append(fe.required(f"{path}.resources", message))
    return errors


def _subjects_text(subjects: list[Object], kind: str) -> str:
    found = [s for s in subjects if s.get("kind") == kind]
    if kind == "ServiceAccount":
        return ", ".join(f"{s.get('namespace', '')}/{s.get('name', '')}" for s in found)
    return ", ".join(s.get("name", "") for s in found)


def _binding_cells(obj: Object, now: float) -> list[Any]:
    meta, role = obj["metadata"], obj.get("roleRef", {})
    subjects = obj.get("subjects") or []
    return [
        meta.get("name", ""),
        f"{role.get('kind', '')}/{role.get('name', '')}",
        since(meta.get("creationTimestamp"), now),
        _subjects_text(subjects, "User"),
        _subjects_text(subjects, "Group"),
        _subjects_text(subjects, "ServiceAccount"),
    ]


class BindingStrategy(Strategy):
    """RoleBindings and ClusterRoleBindings."""

    columns: ClassVar[Columns] = Columns(
        columns(NAME, "Role", AGE, "Users*", "Groups*", "ServiceAccounts*"), _binding_cells
    )
    name_rule = staticmethod(names.path_segment)

    def default(self, obj: Object) -> None:
        role = obj.setdefault("roleRef", {})
        if not role.get("apiGroup"):
            role["apiGroup"] = GROUP
        for subject in obj.get("subjects") or ():
            if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
                subject["apiGroup"] = GROUP

    def validate_body(self, obj: Object) -> FieldErrors:
        errors: FieldErrors = []
        role = obj.get("roleRef", {})
        kinds = ("Role", "ClusterRole") if self.resource.namespaced else ("ClusterRole",)
        if role.get("apiGroup") != GROUP:
            errors.append(fe.not_supported("roleRef.apiGroup", role.get("apiGroup", ""), (GROUP,)))
        if role.get("kind") not in kinds:
            errors.append(fe.not_supported("roleRef.kind", role.get("kind", ""), kinds))
        if not role.get("name"):
            errors.append(fe.required("roleRef.name"))
        else:
            name = role["name"]
            errors += [fe.invalid("roleRef.name", name, m) for m in names.path_segment(name)]
        for i, subject in enumerate(obj.get("subjects") or ()):
            errors += self._validate_subject(subject, f"subjects[{i}]")
        return errors

    def _validate_subject(self, subject: Object, path: str) -> FieldErrors:
        errors: FieldErrors = []
        kind, name, group = (
            subject.get("kind", ""), subject.get("name", ""), subject.get("apiGroup", ""),
        )  # fmt: skip
        if not name:
            errors.append(fe.required(f"{path}.name"))
        if kind == "ServiceAccount":
            errors += [fe.invalid(f"{path}.name", name, m) for m in names.dns1123_subdomain(name)]
            if group:
                errors.append(fe.not_supported(f"{path}.apiGroup", group, ("",)))
            if not self.resource.namespaced and not subject.get("namespace"):
                errors.append(fe.required(f"{path}.namespace"))
        elif kind in ("User", "Group"):
            if group != GROUP:
                errors.append(fe.not_supported(f"{path}.apiGroup", group, (GROUP,)))
        else:
            supported = ("ServiceAccount", "User", "Group")
            errors.append(fe.not_supported(f"{path}.kind", kind, supported))
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        if new.get("roleRef") == old.get("roleRef"):
            return []
        return [fe.invalid("roleRef", new.get("roleRef"), "cannot change roleRef")]
