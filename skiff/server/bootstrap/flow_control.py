"""The default FlowSchemas and PriorityLevelConfigurations.

Source: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#defaults.
"""

from collections.abc import Iterator, Mapping
from typing import Any

API_VERSION = "flowcontrol.apiserver.k8s.io/v1"
AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"

# name, shares, borrowing limit or lendable percent, queues, hand size, queue length
_LIMITED = (
    ("catch-all", 5, {"lendablePercent": 0}, None),
    ("global-default", 20, {"lendablePercent": 50}, (128, 6, 50)),
    ("leader-election", 10, {"lendablePercent": 0}, (16, 4, 50)),
    ("node-high", 40, {"lendablePercent": 25}, (64, 6, 50)),
    ("system", 30, {"lendablePercent": 33}, (64, 6, 50)),
    ("workload-high", 40, {"lendablePercent": 50}, (128, 6, 50)),
    ("workload-low", 100, {"lendablePercent": 90}, (128, 6, 50)),
)


def objects() -> Iterator[dict[str, Any]]:
    """Priority levels first: flow schemas refer to them."""
    yield _level(
        "exempt",
        {"type": "Exempt", "exempt": {"lendablePercent": 0, "nominalConcurrencyShares": 0}},
    )
    for name, shares, borrowing, queuing in _LIMITED:
        response: dict[str, Any] = {"type": "Reject"}
        if queuing:
            queues, hand, length = queuing
            response = {
                "type": "Queue",
                "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length},
            }
        limited = {"nominalConcurrencyShares": shares, **borrowing, "limitResponse": response}
        yield _level(name, {"type": "Limited", "limited": limited})
    for schema in _SCHEMAS:
        yield _schema(*schema)


def _level(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": name, "annotations": {AUTOUPDATE: "true"}},
        "spec": dict(spec),
    }


def _group(*names: str) -> list[dict[str, Any]]:
    return [{"kind": "Group", "group": {"name": n}} for n in names]


def _user(*names: str) -> list[dict[str, Any]]:
    return [{"kind": "User", "user": {"name": n}} for n in names]


def _account(namespace: str, name: str) -> list[dict[str, Any]]:
    return [{"kind": "ServiceAccount", "serviceAccount": {"name": name, "namespace": namespace}}]


def _resources(
    verbs: str, groups: str, resources: str, namespaces: str = "*", *, cluster: bool = False
) -> dict[str, Any]:
    out: dict[str, Any] = {
        "verbs": verbs.split(),
        "apiGroups": ["" if g == "core" else g for g in groups.split()],
        "resources": resources.split(),
    }
    if cluster:
        out["clusterScope"] = True
    if namespaces:
        out["namespaces"] = namespaces.split()
    return out


_ALL = _resources("*", "*", "*", cluster=True)
_PATHS = {"verbs": ["*"], "nonResourceURLs": ["*"]}
_EVERYBODY = _group("system:unauthenticated", "system:authenticated")
_LEADER_VERBS = "get create update"
_LEASES = _resources(_LEADER_VERBS, "coordination.k8s.io", "leases")

_Subjects = list[dict[str, Any]]
_SCHEMAS: tuple[
    tuple[str, str, int, str, _Subjects, list[dict[str, Any]], list[dict[str, Any]]], ...
] = (
    ("exempt", "exempt", 1, "", _group("system:masters"), [_ALL], [_PATHS]),
    (
        "probes", "exempt", 2, "", _EVERYBODY, [],
        [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}],
    ),
    (
        "system-leader-election", "leader-election", 100, "ByUser",
        _user("system:kube-controller-manager", "system:kube-scheduler")
        + _account("kube-system", "*"),
        [_resources(_LEADER_VERBS, "coordination.k8s.io", "leases")], [],
    ),
    (
        "endpoint-controller", "workload-high", 150, "ByUser",
        _user("system:kube-controller-manager")
        + _account("kube-system", "endpoint-controller")
        + _account("kube-system", "endpointslicemirroring-controller"),
        [_resources("get create update", "core", "endpoints")], [],
    ),
    (
        "workload-leader-election", "leader-election", 200, "ByUser", _account("kube-system", "*"),
        [_LEASES], [],
    ),
    (
        "system-node-high", "node-high", 400, "ByUser", _group("system:nodes"),
        [
            _resources("*", "core", "nodes nodes/status", cluster=True),
            _resources("*", "coordination.k8s.io", "leases"),
        ],
        [],
    ),
    ("system-nodes", "system", 500, "ByUser", _group("system:nodes"), [_ALL], [_PATHS]),
    (
        "kube-controller-manager", "workload-high", 800, "ByNamespace",
        _user("system:kube-controller-manager"), [_ALL], [_PATHS],
    ),
    (
        "kube-scheduler", "workload-high", 800, "ByNamespace", _user("system:kube-scheduler"),
        [_ALL], [_PATHS],
    ),
    (
        "kube-system-service-accounts", "workload-high", 900, "ByNamespace",
        _account("kube-system", "*"), [_ALL], [_PATHS],
    ),
    (
        "service-accounts", "workload-low", 9000, "ByUser", _group("system:serviceaccounts"),
        [_ALL], [_PATHS],
    ),
    ("global-default", "global-default", 9900, "ByUser", _EVERYBODY, [_ALL], [_PATHS]),
    ("catch-all", "catch-all", 10000, "ByUser", _EVERYBODY, [_ALL], [_PATHS]),
)  # fmt: skip


def _schema(
    name: str,
    level: str,
    precedence: int,
    distinguisher: str,
    subjects: _Subjects,
    resource_rules: list[dict[str, Any]],
    path_rules: list[dict[str, Any]],
) -> dict[str, Any]:
    rule: dict[str, Any] = {"subjects": subjects}
    if resource_rules:
        rule["resourceRules"] = resource_rules
    if path_rules:
        rule["nonResourceRules"] = path_rules
    spec: dict[str, Any] = {
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [rule],
    }
    if distinguisher:
        spec["distinguisherMethod"] = {"type": distinguisher}
    return {
        "apiVersion": API_VERSION,
        "kind": "FlowSchema",
        "metadata": {"name": name, "annotations": {AUTOUPDATE: "true"}},
        "spec": spec,
    }
