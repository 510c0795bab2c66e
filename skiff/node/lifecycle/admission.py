"""Whether the node takes a pod: what the scheduler checked, checked once more where it runs.

Pods that were bound past the scheduler, or while something changed, are refused here: they fail with
one of these reasons and nothing of them is started.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/ (node admission)
"""

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce

from skiff.api.quantity import Quantity, parse
from skiff.api.selectors import Requirement
from skiff.api.taints import tolerated
from skiff.api.views.affinity import NodeSelectorRequirement, NodeSelectorTerm
from skiff.api.views.node import Node
from skiff.api.views.pod import Pod
from skiff.node.lifecycle.status import Verdict
from skiff.node.resources import pod_requests

FORBIDDEN_SYSCTL = "SysctlForbidden"
OS_LABEL = "kubernetes.io/os"
# https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/#safe-and-unsafe-sysctls
SAFE_SYSCTLS = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
)
_OPERATORS = {
    "In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt",
}  # fmt: skip


def admit(
    pod: Pod,
    others: Iterable[Pod],
    node: Node,
    allocatable: Mapping[str, str],
    allowed_sysctls: Iterable[str] = (),
    *,
    static: bool = False,
) -> Verdict | None:
    """Why the pod is refused, or None. `others` are the pods that the node already has;
    `allowed_sysctls` are unsafe ones that the node's owner allows (a name, or a prefix with `*`);
    a `static` pod is not kept away by taints. Of several reasons the first is told."""
    others = list(others)
    return (
        _check_sysctls(pod, allowed_sysctls)
        or _check_support(pod)
        or _check_resources(pod, others, {**_extended(node), **allocatable})
        or _check_affinity(pod, node)
        or _check_ports(pod, others)
        or (None if static else _check_taints(pod, node))
    )


@dataclass(frozen=True, slots=True)
class Shortage:
    """A resource of which the node has too little; amounts in thousandths of a core, bytes or pieces."""

    resource: str
    requested: int
    used: int
    capacity: int


def shortage(pod: Pod, others: Iterable[Pod], allocatable: Mapping[str, str]) -> Shortage | None:
    """What the node has too little of for this pod beside the others."""
    others = list(others)
    pods = parse(allocatable.get("pods", "110")).whole()
    if len(others) + 1 > pods:
        return Shortage("pods", 1, len(others), pods)
    wanted = pod_requests(pod)
    used: dict[str, Quantity] = reduce(_sum, (pod_requests(o) for o in others), {})
    for name, amount in sorted(wanted.items(), key=lambda item: (item[0] != "cpu", item[0])):
        if not amount:
            continue
        if name not in allocatable and is_extended(name):
            continue  # somebody else's to count, and the scheduler's
        have = parse(allocatable.get(name, "0"))
        taken = used.get(name, parse(0))
        if taken + amount > have:
            unit = _milli if name == "cpu" else _whole
            return Shortage(name, unit(amount), unit(taken), unit(have))
    return None


def _check_resources(
    pod: Pod, others: Iterable[Pod], allocatable: Mapping[str, str]
) -> Verdict | None:
    short = shortage(pod, others, allocatable)
    if short is None:
        return None
    return Verdict(
        f"OutOf{short.resource}",
        f"Node didn't have enough resource: {short.resource}, requested: {short.requested}, "
        f"used: {short.used}, capacity: {short.capacity}",
    )


def is_extended(name: str) -> bool:
    """Whether a resource is one that others than the kubelet announce on the Node."""
    return "/" in name and not name.startswith("kubernetes.io/")


def _extended(node: Node) -> Mapping[str, str]:
    return {n: text for n, text in node.status.allocatable.items() if is_extended(n)}


def _sum(a: dict[str, Quantity], b: Mapping[str, Quantity]) -> dict[str, Quantity]:
    return a | {n: a[n] + q if n in a else q for n, q in b.items()}


def _milli(amount: Quantity) -> int:
    return amount.milli()


def _whole(amount: Quantity) -> int:
    return amount.whole()


def _check_support(pod: Pod) -> Verdict | None:
    """What this node cannot do at all."""
    if pod.metadata.labels.get(OS_LABEL, "linux") != "linux":
        return Verdict(
            "PodOSSelectorNodeLabelDoesNotMatch",
            "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
        )
    if pod.spec.os is not None and pod.spec.os.name not in ("", "linux"):
        return Verdict(
            "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"
        )
    shared = pod.spec.security_context
    if shared is not None and shared.supplemental_groups_policy == "Strict":
        return Verdict(
            "SupplementalGroupsPolicyNotSupported",
            "SupplementalGroupsPolicy=Strict is not supported in this node",
        )
    return None


def _check_sysctls(pod: Pod, allowed: Iterable[str]) -> Verdict | None:
    """Sysctls change the kernel: only those that are known to stay within the pod are allowed."""
    given = pod.spec.security_context.sysctls if pod.spec.security_context else ()
    patterns = (*SAFE_SYSCTLS, *allowed)
    for sysctl in given:
        name = sysctl.name.replace("/", ".")
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            return Verdict(FORBIDDEN_SYSCTL, f'forbidden sysctl: "{name}" not allowlisted')
        shared = (pod.spec.host_network and name.startswith("net.")) or (
            pod.spec.host_ipc
            and name.startswith(("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."))
        )
        if shared:
            which = "net" if name.startswith("net.") else "ipc"
            return Verdict(
                FORBIDDEN_SYSCTL,
                f'forbidden sysctl: "{name}" not allowed with host {which} enabled',
            )
    return None


def _check_ports(pod: Pod, others: Iterable[Pod]) -> Verdict | None:
    wanted = host_ports(pod)
    if not wanted:
        return None
    for other in others:
        for ip, protocol, port in host_ports(other):
            for my_ip, my_protocol, my_port in wanted:
                same_ip = "0.0.0.0" in (ip, my_ip) or ip == my_ip  # noqa: S104 - a wildcard, not a bind
                if same_ip and (protocol, port) == (my_protocol, my_port):
                    return _failed(
                        "NodePorts", "node(s) didn't have free ports for the requested pod ports"
                    )
    return None


def host_ports(pod: Pod) -> set[tuple[str, str, int]]:
    """The host's ports that the pod takes: (address, protocol, port)."""
    return {
        (p.host_ip or "0.0.0.0", p.protocol or "TCP", p.host_port)  # noqa: S104 - a wildcard
        for c in (*pod.spec.containers, *pod.spec.init_containers)
        for p in c.ports
        if p.host_port
    }


def _check_affinity(pod: Pod, node: Node) -> Verdict | None:
    labels = node.metadata.labels
    matches = all(labels.get(k) == v for k, v in pod.spec.node_selector.items())
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    if matches and required is not None:
        matches = any(_term_matches(t, node) for t in required.node_selector_terms)
    if matches:
        return None
    return _failed("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")


def _check_taints(pod: Pod, node: Node) -> Verdict | None:
    """Taints that would drive the pod away at once; where it may be placed is the scheduler's to say."""
    for taint in node.spec.taints:
        if taint.effect == "NoExecute" and not tolerated(pod.spec.tolerations, taint):
            return _failed("TaintToleration", "node(s) had taints that the pod didn't tolerate")
    return None


def _term_matches(term: NodeSelectorTerm, node: Node) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False
    fields = {"metadata.name": node.metadata.name}
    return all(_matches(r, node.metadata.labels) for r in term.match_expressions) and all(
        _matches(r, fields) for r in term.match_fields
    )


def _matches(wanted: NodeSelectorRequirement, labels: Mapping[str, str]) -> bool:
    operator = _OPERATORS.get(wanted.operator)
    if operator is None:
        return False
    return Requirement(wanted.key, operator, wanted.values).matches(labels)


def _failed(predicate: str, why: str) -> Verdict:
    return Verdict(predicate, f"Predicate {predicate} failed: {why}")
