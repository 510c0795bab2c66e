"""Validation of a pod spec as a whole: used by pods and by every pod template.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#PodSpec
"""

from typing import Any, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.containers import Context, validate_containers
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.metadata import validate_annotations, validate_finalizers, validate_labels
from skiff.api.kinds.pod_annotations import validate_annotations_of_pod
from skiff.api.kinds.resource_amounts import (
    NOT_NEGATIVE,
    validate_amounts,
    validate_requirements,
)
from skiff.api.kinds.scheduling_rules import (
    validate_affinity,
    validate_spread,
    validate_tolerations,
)
from skiff.api.kinds.security_context import validate_pod_context
from skiff.api.kinds.volumes import validate_volumes

Spec = dict[str, Any]

_RESTART: Final = ("Always", "OnFailure", "Never")
_DNS: Final = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_SECONDS_MAX: Final = (1 << 31) - 1
# A spec's fields that most specs have, or that need no check: the rest are looked at one by one.
_PLAIN: Final = frozenset(
    (
        "containers", "initContainers", "ephemeralContainers", "volumes", "restartPolicy",
        "dnsPolicy", "schedulerName", "securityContext", "terminationGracePeriodSeconds",
        "enableServiceLinks", "hostNetwork", "serviceAccount", "priority", "hostIPC", "hostPID",
        "automountServiceAccountToken", "shareProcessNamespace", "setHostnameAsFQDN",
    )
)  # fmt: skip


def validate_template(template: dict[str, Any], path: str) -> FieldErrors:
    """A pod template: its labels and annotations, its spec."""
    meta = template.get("metadata", {})
    errors = validate_labels(meta.get("labels", {}), f"{path}.labels")
    errors += validate_annotations(meta.get("annotations", {}), f"{path}.annotations")
    errors += validate_finalizers(meta.get("finalizers", []), f"{path}.finalizers")
    spec = template.get("spec", {})
    annotations = meta.get("annotations") or {}
    errors += validate_annotations_of_pod(annotations, spec, f"{path}.annotations")
    errors += validate_pod_spec(spec, f"{path}.spec")
    if spec.get("ephemeralContainers"):
        message = "ephemeral containers not allowed in pod template"
        errors.append(fe.forbidden(f"{path}.spec.ephemeralContainers", message))
    return errors


def validate_pod_spec(spec: Spec, path: str) -> FieldErrors:
    errors: FieldErrors = []
    volumes: dict[str, dict[str, Any]] = {}
    if "volumes" in spec:
        errors, volumes = validate_volumes(spec["volumes"], f"{path}.volumes")
    context = Context(spec, volumes)
    errors += validate_containers(spec, path, context)
    policy = spec.get("restartPolicy")
    if policy not in _RESTART:
        if not policy:
            errors.append(fe.required(f"{path}.restartPolicy"))
        else:
            errors.append(fe.not_supported(f"{path}.restartPolicy", policy, _RESTART))
    policy = spec.get("dnsPolicy")
    if policy not in _DNS:
        if not policy:
            errors.append(fe.required(f"{path}.dnsPolicy"))
        else:
            errors.append(fe.not_supported(f"{path}.dnsPolicy", policy, _DNS))
    elif policy == "None" and not (spec.get("dnsConfig") or {}).get("nameservers"):
        message = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        errors.append(fe.required(f"{path}.dnsConfig.nameservers", message))
    if spec.get("securityContext"):
        errors += validate_pod_context(spec["securityContext"], f"{path}.securityContext")
    grace = spec.get("terminationGracePeriodSeconds", 0)
    if grace < 0:
        at = f"{path}.terminationGracePeriodSeconds"
        errors.append(fe.invalid(at, grace, NOT_NEGATIVE))
    if spec.keys() - _PLAIN:
        errors += _validate_rest(spec, path)
    if spec.get("hostPID") and spec.get("shareProcessNamespace"):
        message = "ShareProcessNamespace and HostPID cannot both be enabled"
        at = f"{path}.securityContext.shareProcessNamespace"
        errors.append(fe.invalid(at, spec["shareProcessNamespace"], message))
    return errors


def _validate_rest(spec: Spec, path: str) -> FieldErrors:
    errors = _validate_names(spec, path)
    if "nodeSelector" in spec:
        errors += validate_labels(spec["nodeSelector"], f"{path}.nodeSelector")
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _SECONDS_MAX:
        message = f"must be between 1 and {_SECONDS_MAX}, inclusive"
        errors.append(fe.invalid(f"{path}.activeDeadlineSeconds", deadline, message))
    if "affinity" in spec:
        errors += validate_affinity(spec["affinity"], f"{path}.affinity")
    if "tolerations" in spec:
        errors += validate_tolerations(spec["tolerations"], f"{path}.tolerations")
    if "topologySpreadConstraints" in spec:
        at = f"{path}.topologySpreadConstraints"
        errors += validate_spread(spec["topologySpreadConstraints"], at)
    for i, alias in enumerate(spec.get("hostAliases", ())):
        ip = alias.get("ip", "")
        if not names.is_ip(ip):
            at = f"{path}.hostAliases[{i}].ip"
            errors.append(fe.invalid(at, ip, names.IP_MESSAGE))
        for host in alias.get("hostnames", ()):
            at = f"{path}.hostAliases[{i}].hostnames"
            errors += [fe.invalid(at, host, m) for m in names.dns1123_subdomain(host)]
    if "dnsConfig" in spec:
        errors += _validate_dns(spec["dnsConfig"], f"{path}.dnsConfig")
    if "overhead" in spec:
        errors += validate_amounts(spec["overhead"], f"{path}.overhead")
    if "resources" in spec:
        errors += validate_requirements(spec["resources"], f"{path}.resources")
    if "schedulingGates" in spec:
        errors += _validate_gates(spec["schedulingGates"], f"{path}.schedulingGates")
    return errors + _validate_rare(spec, path)


def _validate_names(spec: Spec, path: str) -> FieldErrors:
    errors: FieldErrors = []
    for field, rule in _NAMED.items():
        value = spec.get(field)
        if value:
            errors += [fe.invalid(f"{path}.{field}", value, m) for m in rule(value)]
    return errors


_NAMED: Final = {
    "serviceAccountName": names.dns1123_subdomain,
    "nodeName": names.dns1123_subdomain,
    "priorityClassName": names.dns1123_subdomain,
    "runtimeClassName": names.dns1123_subdomain,
    "hostname": names.dns1123_label,
    "subdomain": names.dns1123_label,
}


def _validate_dns(config: dict[str, Any], path: str) -> FieldErrors:
    errors: FieldErrors = []
    servers, searches = config.get("nameservers", ()), config.get("searches", ())
    if len(servers) > 3:
        message = "must not have more than 3 nameservers"
        errors.append(fe.invalid(f"{path}.nameservers", servers, message))
    for i, server in enumerate(servers):
        if not names.is_ip(server):
            errors.append(fe.invalid(f"{path}.nameservers[{i}]", server, names.IP_MESSAGE))
    if len(searches) > 32:
        message = "must not have more than 32 search paths"
        errors.append(fe.invalid(f"{path}.searches", searches, message))
    if sum(map(len, searches)) + max(len(searches) - 1, 0) > 2048:
        message = "must not have more than 2048 characters (including spaces) in the search list"
        errors.append(fe.invalid(f"{path}.searches", searches, message))
    for i, search in enumerate(searches):
        name = search.removesuffix(".") if search != "." else "a"
        name = name.replace("_", "a")  # underscores are allowed in search paths
        at = f"{path}.searches[{i}]"
        errors += [fe.invalid(at, search, m) for m in names.dns1123_subdomain(name)]
    for i, option in enumerate(config.get("options", ())):
        if not option.get("name"):
            errors.append(fe.required(f"{path}.options[{i}]", "must not be empty"))
    return errors


def _validate_gates(gates: list[dict[str, Any]], path: str) -> FieldErrors:
    errors: FieldErrors = []
    seen: set[str] = set()
    for i, gate in enumerate(gates):
        name = gate.get("name", "")
        errors += [fe.invalid(f"{path}[{i}]", name, m) for m in names.qualified_name(name)]
        if name in seen:
            errors.append(fe.duplicate(f"{path}[{i}]", name))
        seen.add(name)
    return errors


_NO_OS: Final = {
    "windows": ("hostPID", "hostIPC", "shareProcessNamespace"),
    "linux": (),
}


def _validate_rare(spec: Spec, path: str) -> FieldErrors:
    errors: FieldErrors = []
    policy = spec.get("preemptionPolicy")
    if policy is not None and policy not in ("Never", "PreemptLowerPriority"):
        supported = ("Never", "PreemptLowerPriority")
        errors.append(fe.not_supported(f"{path}.preemptionPolicy", policy, supported))
    system = spec.get("os")
    if system is not None:
        name = system.get("name", "")
        if not name:
            errors.append(fe.required(f"{path}.os.name", "cannot be empty"))
        elif name not in _NO_OS:
            errors.append(fe.not_supported(f"{path}.os", name, ("linux", "windows")))
        message = "cannot be set for a windows pod"
        errors += [
            fe.forbidden(f"{path}.{f}", message) for f in _NO_OS.get(name, ()) if spec.get(f)
        ]
    for i, gate in enumerate(spec.get("readinessGates", ())):
        kind = gate.get("conditionType", "")
        at = f"{path}.readinessGates[{i}].conditionType"
        errors += [fe.invalid(at, kind, m) for m in names.qualified_name(kind)]
    seen: set[str] = set()
    for i, claim in enumerate(spec.get("resourceClaims", ())):
        at = f"{path}.resourceClaims[{i}]"
        name = claim.get("name", "")
        if not name:
            errors.append(fe.required(f"{at}.name"))
        elif name in seen:
            errors.append(fe.duplicate(f"{at}.name", name))
        seen.add(name)
        given = [k for k in ("resourceClaimName", "resourceClaimTemplateName") if claim.get(k)]
        if len(given) != 1:
            message = (
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            )
            if not given:
                message = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            errors.append(fe.invalid(at, claim, message))
    return errors
