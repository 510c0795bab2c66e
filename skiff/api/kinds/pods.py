"""Pods: defaults, what a server sets on create, and the few fields that an update may change.

Source: https://kubernetes.io/docs/concepts/workloads/pods/#pod-update-and-replacement and
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from typing import Any, ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import known_specs, pod_columns, pod_warnings
from skiff.api.kinds.columns import Columns
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.pod_annotations import (
    validate_annotations_of_pod,
    validate_annotations_update,
)
from skiff.api.kinds.pod_defaults import default_pod, default_template
from skiff.api.kinds.pod_spec import validate_pod_spec, validate_template
from skiff.api.kinds.resource_amounts import amount
from skiff.api.kinds.strategy import Object, Strategy
from skiff.api.kinds.template_columns import POD_TEMPLATE

UPDATE_FORBIDDEN: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions "
    "to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
    "previously negative)"
)
_GATED: Final = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
}


class PodStrategy(Strategy):
    columns: ClassVar[Columns] = pod_columns.COLUMNS
    has_generation: ClassVar[bool] = True
    selectable_fields: ClassVar[tuple[str, ...]] = (
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
        "spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs",
        "status.nominatedNodeName",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        default_pod(obj)

    def prepare_create(self, obj: Object) -> None:
        obj["metadata"]["generation"] = 1
        spec = obj["spec"]
        status: Object = {"phase": "Pending", "qosClass": qos_class(spec)}
        if spec.get("schedulingGates"):
            status["conditions"] = [dict(_GATED)]
        obj["status"] = status
        if "affinity" in spec or "topologySpreadConstraints" in spec:
            _apply_label_keys(obj)

    def prepare_update(self, new: Object, old: Object, subresource: str = "") -> None:
        if subresource == "ephemeralcontainers":
            _keep_but(new, old, lambda spec: spec.get("ephemeralContainers"))
        elif subresource == "resize":
            _keep_but_resources(new, old)
        elif subresource == "status":
            new["metadata"]["ownerReferences"] = old["metadata"].get("ownerReferences")
            if new["metadata"]["ownerReferences"] is None:
                del new["metadata"]["ownerReferences"]
            qos = old.get("status", {}).get("qosClass")
            if qos:
                new.setdefault("status", {})["qosClass"] = qos
        super().prepare_update(new, old, subresource)

    def reset_fields(self, subresource: str = "") -> tuple[str, ...]:
        return ("status",) if subresource != "status" else ("spec",)

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        annotations = obj["metadata"].get("annotations") or {}
        told = validate_annotations_of_pod(annotations, spec, "metadata.annotations")
        key = known_specs.key_of(spec)
        if known_specs.FAULTLESS.knows(key):
            return told
        errors = validate_pod_spec(spec, "spec")
        if spec.get("nodeName") and spec.get("schedulingGates"):
            message = "cannot be set until all schedulingGates have been cleared"
            errors.append(fe.forbidden("spec.nodeName", message))
        if not errors:
            known_specs.FAULTLESS.note(key)
        return told + errors

    def validate_new(self, obj: Object) -> FieldErrors:
        """The faults that only a new pod can have."""
        if obj.get("spec", {}).get("ephemeralContainers"):
            return [fe.forbidden("spec.ephemeralContainers", "cannot be set on create")]
        return []

    def validate_update(self, new: Object, old: Object, subresource: str = "") -> FieldErrors:
        errors = super().validate_update(new, old, subresource)
        if subresource == "ephemeralcontainers":
            return errors + _validate_ephemeral_update(new["spec"], old["spec"])
        if subresource == "resize":
            return errors + _validate_resize(new, old)
        if subresource == "":
            before, after = (o["metadata"].get("annotations") or {} for o in (old, new))
            errors += validate_annotations_update(after, before, "metadata.annotations")
            errors += _validate_spec_update(new["spec"], old["spec"])
        return errors

    def warnings(self, obj: Object, old: Object | None = None) -> list[str]:
        if old is not None and old.get("spec") == obj.get("spec"):
            return []
        about_name = pod_warnings.of_name(obj, "the Pod's hostname") if old is None else []
        spec = obj.get("spec", {})
        key = known_specs.key_of(spec)
        if known_specs.HARMLESS.knows(key):
            return about_name
        found = pod_warnings.of_spec(spec, "spec")
        if not found:
            known_specs.HARMLESS.note(key)
        return about_name + found

    def selectable(self, obj: Object) -> dict[str, str]:
        spec, status = obj.get("spec", {}), obj.get("status", {})
        ips = [i.get("ip", "") for i in status.get("podIPs", ())]
        found = {
            "spec.nodeName": spec.get("nodeName"),
            "spec.restartPolicy": spec.get("restartPolicy"),
            "spec.schedulerName": spec.get("schedulerName"),
            "spec.serviceAccountName": spec.get("serviceAccountName"),
            "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
            "status.phase": status.get("phase"),
            "status.podIP": ips[0] if ips else status.get("podIP"),
            "status.podIPs": ",".join(ips),
            "status.nominatedNodeName": status.get("nominatedNodeName"),
        }
        # What is left out matches as "": there are many pods, and most lack some of these.
        return {k: v for k, v in found.items() if v}


class PodTemplateStrategy(Strategy):
    columns: ClassVar[Columns] = POD_TEMPLATE
    has_generation: ClassVar[bool] = True

    def default(self, obj: Object) -> None:
        default_template(obj.setdefault("template", {}))

    def validate_body(self, obj: Object) -> FieldErrors:
        return validate_template(obj.get("template", {}), "template")

    def warnings(self, obj: Object, old: Object | None = None) -> list[str]:
        del old
        return pod_warnings.of_spec(obj.get("template", {}).get("spec", {}), "template.spec")


def qos_class(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort, by cpu and memory requests and limits.

    Source: https://kubernetes.io/docs/tasks/configure-pod-container/quality-service-pod/
    """
    given = spec.get("resources")
    if given and (given.get("requests") or given.get("limits")):
        found = [given]
    else:
        found = [
            c.get("resources", {})
            for k in ("containers", "initContainers")
            for c in spec.get(k, ())
        ]
    asked = False
    guaranteed = True
    for resources in found:
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        for name in ("cpu", "memory"):
            if name not in requests and name not in limits:
                guaranteed = False
                continue
            request, limit = amount(requests.get(name, "0")), amount(limits.get(name, "0"))
            asked = asked or request != 0 or limit != 0
            guaranteed = guaranteed and limit != 0 and request == limit
    if not asked:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _apply_label_keys(pod: Object) -> None:
    """matchLabelKeys become requirements of the term's selector, with this pod's label values."""
    labels = pod["metadata"].get("labels", {})
    affinity = pod["spec"].get("affinity", {})
    terms: list[Object] = []
    for kind in ("podAffinity", "podAntiAffinity"):
        found = affinity.get(kind) or {}
        terms += found.get("requiredDuringSchedulingIgnoredDuringExecution", ())
        preferred = found.get("preferredDuringSchedulingIgnoredDuringExecution", ())
        terms += [t["podAffinityTerm"] for t in preferred if "podAffinityTerm" in t]
    terms += pod["spec"].get("topologySpreadConstraints", ())
    for term in terms:
        selector = term.get("labelSelector")
        if selector is None:
            continue
        for field, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
            for key in term.get(field, ()):
                if key in labels:
                    requirement = {"key": key, "operator": operator, "values": [labels[key]]}
                    expressions = selector.setdefault("matchExpressions", [])
                    if requirement not in expressions:
                        expressions.append(requirement)


def _keep_but(new: Object, old: Object, pick: Any) -> None:
    picked = pick(new.get("spec", {}))
    meta = new["metadata"]
    spec = dict(old["spec"])
    if picked:
        spec["ephemeralContainers"] = picked
    else:
        spec.pop("ephemeralContainers", None)
    new.clear()
    new.update({**old, "metadata": _kept_meta(meta, old["metadata"]), "spec": spec})


def _kept_meta(new: Object, old: Object) -> Object:
    """The old metadata, at the new one's resourceVersion."""
    kept = dict(old)
    for field in ("resourceVersion", "managedFields"):
        if field in new:
            kept[field] = new[field]
    return kept


def _keep_but_resources(new: Object, old: Object) -> None:
    spec = dict(old["spec"])
    for key in ("containers", "initContainers"):
        if key not in spec:
            continue
        wanted = {c.get("name"): c for c in new.get("spec", {}).get(key, ())}
        merged = []
        for container in spec[key]:
            other = wanted.get(container.get("name"), {})
            taken = {f: other[f] for f in ("resources", "resizePolicy") if f in other}
            merged.append({**container, **taken})
        spec[key] = merged
    if "resources" in new.get("spec", {}):
        spec["resources"] = new["spec"]["resources"]
    meta = new["metadata"]
    new.clear()
    new.update({**old, "metadata": _kept_meta(meta, old["metadata"]), "spec": spec})


def _validate_resize(new: Object, old: Object) -> FieldErrors:
    errors: FieldErrors = []
    if old.get("status", {}).get("phase") in ("Failed", "Succeeded"):
        errors.append(fe.forbidden("spec", "Pod running status is required for resize"))
    if qos_class(new["spec"]) != old.get("status", {}).get("qosClass", qos_class(old["spec"])):
        value = qos_class(new["spec"])
        message = "Pod QOS Class may not change as a result of resizing"
        errors.append(fe.invalid("metadata", value, message))
    for key in ("containers", "initContainers"):
        pairs = zip(new["spec"].get(key, ()), old["spec"].get(key, ()), strict=False)
        for i, (after, before) in enumerate(pairs):
            for kind in ("requests", "limits"):
                had = before.get("resources", {}).get(kind) or {}
                has = after.get("resources", {}).get(kind) or {}
                at = f"spec.{key}[{i}].resources.{kind}"
                if set(had) - set(has):
                    errors.append(fe.forbidden(at, f"resource {kind} cannot be removed"))
                changed = {n for n in has if has[n] != had.get(n)} - {"cpu", "memory"}
                if changed:
                    message = "only cpu and memory resources are mutable"
                    errors.append(fe.forbidden(f"spec.{key}[{i}].resources", message))
    return errors


def _validate_ephemeral_update(new: Object, old: Object) -> FieldErrors:
    errors: FieldErrors = []
    found = {c.get("name"): c for c in new.get("ephemeralContainers", ())}
    for i, before in enumerate(old.get("ephemeralContainers", ())):
        name = before.get("name")
        if name not in found:
            message = f"existing ephemeral containers {fe.quote(name)} may not be removed\n"
            errors.append(fe.forbidden("spec.ephemeralContainers", message))
        elif found[name] != before:
            message = f"existing ephemeral containers {fe.quote(name)} may not be changed\n"
            errors.append(fe.forbidden(f"spec.ephemeralContainers[{i}]", message))
    return errors


def _validate_spec_update(new: Object, old: Object) -> FieldErrors:
    errors: FieldErrors = []
    for key in ("containers", "initContainers"):
        if len(new.get(key, ())) != len(old.get(key, ())):
            message = "pod updates may not add or remove containers"
            return [fe.forbidden(f"spec.{key}", message)]
    errors += _validate_deadline(new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds"))
    if "tolerations" in old:
        errors += _validate_added_tolerations(new.get("tolerations", []), old["tolerations"])
    gates = {g.get("name") for g in old.get("schedulingGates", ())}
    for gate in new.get("schedulingGates", ()):
        if gate.get("name") not in gates:
            message = (
                f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            )
            errors.append(fe.forbidden("spec.schedulingGates", message))
    if errors:
        return errors
    masked = _masked(new, old, bool(gates))
    if masked != old:
        changed = _changes(masked, old, "spec")
        errors.append(fe.forbidden("spec", f"{UPDATE_FORBIDDEN}\n{changed}"))
    return errors


def _validate_deadline(new: int | None, old: int | None) -> FieldErrors:
    path = "spec.activeDeadlineSeconds"
    if new is not None and old is not None and new > old:
        return [fe.invalid(path, new, "must be less than or equal to previous value")]
    if new is None and old is not None:
        return [fe.invalid(path, None, "must not update from a positive integer to nil value")]
    return []


def _validate_added_tolerations(new: list[Object], old: list[Object]) -> FieldErrors:
    for before in old:
        key = {k: v for k, v in before.items() if k != "tolerationSeconds"}
        if not any({k: v for k, v in t.items() if k != "tolerationSeconds"} == key for t in new):
            message = "existing toleration can not be modified except its tolerationSeconds"
            return [fe.forbidden("spec.tolerations", message)]
    return []


def _masked(new: Object, old: Object, gated: bool) -> Object:
    """The new spec with what may change set back: equal to the old one when the update is allowed."""
    masked = dict(new)
    for key in ("containers", "initContainers"):
        if key in masked:
            masked[key] = [
                {**c, "image": o["image"]} if "image" in o else c
                for c, o in zip(masked[key], old.get(key, ()), strict=True)
            ]
    free = ["activeDeadlineSeconds", "tolerations", "schedulingGates"]
    if (
        old.get("terminationGracePeriodSeconds", 0) < 0
        and new.get("terminationGracePeriodSeconds") == 1
    ):
        free.append("terminationGracePeriodSeconds")
    if gated:
        if _only_added(new.get("nodeSelector", {}), old.get("nodeSelector", {})):
            free.append("nodeSelector")
        if _affinity_narrowed(new.get("affinity", {}), old.get("affinity", {})):
            free.append("affinity")
    for field in free:
        if field in old:
            masked[field] = old[field]
        else:
            masked.pop(field, None)
    return masked


def _only_added(new: Object, old: Object) -> bool:
    return all(new.get(k) == v for k, v in old.items())


def _affinity_narrowed(new: Object, old: Object) -> bool:
    """A gated pod's node affinity may only get narrower; pod affinities may not change."""
    rest = ("podAffinity", "podAntiAffinity")
    if any(new.get(k) != old.get(k) for k in rest):
        return False
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    before = (old.get("nodeAffinity") or {}).get(required)
    after = (new.get("nodeAffinity") or {}).get(required)
    if before is None:
        return True
    if after is None or len(after["nodeSelectorTerms"]) != len(before["nodeSelectorTerms"]):
        return False
    return all(
        all(r in a.get(field, ()) for r in b.get(field, ()))
        for a, b in zip(after["nodeSelectorTerms"], before["nodeSelectorTerms"], strict=True)
        for field in ("matchExpressions", "matchFields")
    )


def _changes(new: Any, old: Any, path: str) -> str:
    """The fields that differ, one a line: `spec.hostname: "a" → "b"`."""
    if isinstance(new, dict) and isinstance(old, dict):
        keys = sorted(k for k in new.keys() | old.keys() if new.get(k) != old.get(k))
        return "".join(_changes(new.get(k), old.get(k), f"{path}.{k}") for k in keys)
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        pairs = enumerate(zip(new, old, strict=True))
        return "".join(_changes(a, b, f"{path}[{i}]") for i, (a, b) in pairs if a != b)
    return f"- {path}: {fe.value_text(old)}\n+ {path}: {fe.value_text(new)}\n"
