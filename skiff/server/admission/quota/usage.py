"""What an object uses of a quota, and which quotas it counts for. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from skiff.aio.clock import parse_rfc3339
from skiff.api.quantity import Quantity, parse
from skiff.server.admission.pod_resources import pod_sum

Object = Mapping[str, Any]
Usage = dict[str, Quantity]
Storage = tuple[str, str]

ONE = Quantity(10**9)
ZERO = Quantity(0)
_CLASS_SUFFIX = ".storageclass.storage.k8s.io/"
_DEVICES_SUFFIX = ".deviceclass.resource.k8s.io/devices"
_DEVICE_CLAIMS = ("resource.k8s.io", "resourceclaims")
_DEVICES_MAX = 32
"""The most devices that one allocation can hold (AllocationResultsMaxSize)."""
_CLASS_BETA = "volume.beta.kubernetes.io/storage-class"
# Core kinds whose number has a short name of its own.
_COUNTED = frozenset({"configmaps", "replicationcontrollers", "resourcequotas", "secrets"})
# A container must say these where a quota limits them.
CONSTRAINED = (
    "cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory",
)  # fmt: skip
_POD_NAMES = ("pods", "cpu", "memory", "ephemeral-storage")
_SERVICE_NAMES = frozenset({"services", "services.loadbalancers", "services.nodeports"})


def count_name(storage: Storage) -> str:
    """`count/deployments.apps`, `count/pods`."""
    group, plural = storage
    return f"count/{plural}.{group}" if group else f"count/{plural}"


def storage_of(name: str) -> Storage | None:
    """Whose objects a quota's resource name counts; None where nothing is known by it."""
    if name.startswith("count/"):
        plural, _, group = name[len("count/") :].partition(".")
        return group, plural
    if name in _COUNTED:
        return "", name
    if name in _SERVICE_NAMES:
        return "", "services"
    if name.endswith(_DEVICES_SUFFIX):
        return _DEVICE_CLAIMS
    if name in ("persistentvolumeclaims", "requests.storage") or _CLASS_SUFFIX in name:
        return "", "persistentvolumeclaims"
    if name in _POD_NAMES or name.startswith(("requests.", "limits.", "hugepages-")):
        return "", "pods"
    return None


def usage_of(storage: Storage, obj: Object, now: float) -> Usage:
    """Everything that the object uses, by the names that quotas limit."""
    used: Usage = {count_name(storage): ONE}
    group, plural = storage
    if storage == _DEVICE_CLAIMS:
        used.update(_devices(obj))
    if group:
        return used
    if plural == "pods":
        used.update(_pod(obj, now))
    elif plural == "services":
        used.update(_service(obj))
    elif plural == "persistentvolumeclaims":
        used.update(_claim(obj))
    elif plural in _COUNTED:
        used[plural] = ONE
    return used


def _pod(pod: Object, now: float) -> Usage:
    if not counts(pod, now):
        return {}
    used: Usage = {"pods": ONE}
    spec = pod.get("spec") or {}
    for name, amount in pod_sum(spec, "requests").items():
        used.update(_request_names(name, amount))
    for name, amount in pod_sum(spec, "limits").items():
        used[f"limits.{name}"] = amount
    return used


def _request_names(name: str, amount: Quantity) -> Usage:
    if name in _POD_NAMES or name.startswith("hugepages-"):
        return {name: amount, f"requests.{name}": amount}
    return {f"requests.{name}": amount}


def counts(pod: Object, now: float) -> bool:
    """Whether a pod still takes something: not one that has ended, or should be gone already."""
    if (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        return False
    meta = pod["metadata"]
    deleted, grace = meta.get("deletionTimestamp"), meta.get("deletionGracePeriodSeconds")
    if deleted and grace is not None:
        # deletionTimestamp already has the grace period in it; Kubernetes adds it once more.
        return now <= parse_rfc3339(deleted) + float(grace)
    return True


def _service(service: Object) -> Usage:
    spec = service.get("spec") or {}
    used: Usage = {"services": ONE, "services.loadbalancers": ZERO, "services.nodeports": ZERO}
    ports = spec.get("ports") or ()
    kind = spec.get("type", "ClusterIP")
    if kind == "NodePort":
        used["services.nodeports"] = _whole(len(ports))
    elif kind == "LoadBalancer":
        used["services.loadbalancers"] = ONE
        if spec.get("allocateLoadBalancerNodePorts") is False:
            used["services.nodeports"] = _whole(sum(1 for p in ports if p.get("nodePort")))
        else:
            used["services.nodeports"] = _whole(len(ports))
    return used


def _claim(claim: Object) -> Usage:
    spec = claim.get("spec") or {}
    used: Usage = {"persistentvolumeclaims": ONE}
    annotations = claim["metadata"].get("annotations") or {}
    name = annotations.get(_CLASS_BETA) or spec.get("storageClassName") or ""
    if name:
        used[f"{name}{_CLASS_SUFFIX}persistentvolumeclaims"] = ONE
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size:
        amount = parse(size)
        allocated = ((claim.get("status") or {}).get("allocatedResources") or {}).get("storage")
        if allocated and parse(allocated) > amount:
            amount = parse(allocated)  # an expansion that is being taken back still counts
        used["requests.storage"] = amount
        if name:
            used[f"{name}{_CLASS_SUFFIX}requests.storage"] = amount
    return used


def _devices(claim: Object) -> Usage:
    """A resource claim's devices by class: of alternatives, the most that one of them takes."""
    numbers: dict[str, int] = {}
    for request in ((claim.get("spec") or {}).get("devices") or {}).get("requests") or ():
        most: dict[str, int] = {}
        for choice in request.get("firstAvailable") or [request.get("exactly") or {}]:
            if name := choice.get("deviceClassName"):
                most[name] = max(most.get(name, 0), _device_count(choice))
        for name, number in most.items():
            numbers[name] = numbers.get(name, 0) + number
    return {f"{name}{_DEVICES_SUFFIX}": _whole(number) for name, number in numbers.items()}


def _device_count(request: Mapping[str, Any]) -> int:
    mode = request.get("allocationMode", "ExactCount")
    if mode == "All":
        return _DEVICES_MAX
    return int(request.get("count", 1)) if mode == "ExactCount" else 1


def unspecified(pod: Object, names: Iterable[str]) -> str:
    """Which containers leave out what the quota limits: `cpu for: a,b; memory for: a`; "" if none."""
    wanted = [n for n in CONSTRAINED if n in set(names)]
    spec = pod.get("spec") or {}
    whole = _specified(spec.get("resources") or {})
    missing: dict[str, list[str]] = {}
    for part in ("containers", "initContainers"):
        for container in spec.get(part) or ():
            specified = _specified(container.get("resources") or {}) | whole
            for name in wanted:
                if name not in specified:
                    missing.setdefault(name, []).append(container["name"])
    return "; ".join(f"{n} for: {','.join(sorted(c))}" for n, c in sorted(missing.items()))


def _specified(resources: Mapping[str, Any]) -> set[str]:
    out: set[str] = set()
    for name in resources.get("requests") or ():
        out |= {name, f"requests.{name}"}
    out.update(f"limits.{name}" for name in resources.get("limits") or ())
    return out


# --- scopes -----------------------------------------------------------------------------------


def in_scopes(spec: Mapping[str, Any], storage: Storage, obj: Object) -> bool:
    """Whether a quota counts the object at all."""
    scopes = [{"scopeName": s, "operator": "Exists"} for s in spec.get("scopes") or ()]
    scopes += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    if not scopes:
        return True
    if storage == ("", "persistentvolumeclaims"):
        return all(_claim_in_scope(s, obj) for s in scopes)
    if storage != ("", "pods"):
        return False
    return all(_pod_in_scope(s, obj) for s in scopes)


def _pod_in_scope(scope: Mapping[str, Any], pod: Object) -> bool:
    name: str = scope.get("scopeName", "")
    spec = pod.get("spec") or {}
    if name in ("Terminating", "NotTerminating"):
        return (spec.get("activeDeadlineSeconds") is not None) == (name == "Terminating")
    if name in ("BestEffort", "NotBestEffort"):
        return _best_effort(spec) == (name == "BestEffort")
    if name == "PriorityClass":
        return _selects(scope, spec.get("priorityClassName") or "")
    if name == "CrossNamespacePodAffinity":
        return _crosses_namespaces(spec)
    return False


def _claim_in_scope(scope: Mapping[str, Any], claim: Object) -> bool:
    if scope.get("scopeName") != "VolumeAttributesClass":
        return False
    spec, status = claim.get("spec") or {}, claim.get("status") or {}
    names = {
        spec.get("volumeAttributesClassName") or "",
        status.get("currentVolumeAttributesClassName") or "",
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName") or "",
    }
    return any(_selects(scope, n) for n in names - {""}) or _selects(scope, "")


def _selects(scope: Mapping[str, Any], value: str) -> bool:
    operator, values = scope.get("operator"), scope.get("values") or ()
    if operator == "In":
        return bool(value in values)
    if operator == "NotIn":
        return bool(value not in values)
    return bool(value) == (operator == "Exists")


def _best_effort(spec: Mapping[str, Any]) -> bool:
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ()), spec]
    for container in containers:
        resources = container.get("resources") or {}
        for field in ("requests", "limits"):
            found = resources.get(field) or {}
            if any(parse(found[n]) for n in ("cpu", "memory") if n in found):
                return False
    return True


def _crosses_namespaces(spec: Mapping[str, Any]) -> bool:
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms = list(rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        terms += [
            t.get("podAffinityTerm") or {}
            for t in rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        ]
        if any(t.get("namespaces") or t.get("namespaceSelector") is not None for t in terms):
            return True
    return False


def _whole(number: int) -> Quantity:
    return Quantity(number * 10**9)
