"""Requests and limits as cgroup settings. Pure.

CPU requests become shares, CPU limits a quota per period of 100 ms, memory limits the memory
controller's limit; the quality of service class decides whom the kernel kills first
(oom_score_adj). Swap is not limited apart from memory, huge pages are passed on as they are.

Source: https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/ and
https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#node-out-of-memory-behavior
"""

from collections.abc import Callable, Mapping

from skiff.api.quantity import Quantity, parse
from skiff.api.views.container import ResourceRequirements
from skiff.api.views.pod import Pod
from skiff.node.lifecycle.model import AnyContainer, Kind, kind_of_init
from skiff.node.lifecycle.qos import BEST_EFFORT, GUARANTEED, qos_class
from skiff.node.runtime import LinuxResources

MIN_SHARES = 2
MAX_SHARES = 262_144
SHARES_PER_CPU = 1024
PERIOD_US = 100_000
MIN_QUOTA_US = 1000
GUARANTEED_OOM_SCORE = -997
BEST_EFFORT_OOM_SCORE = 1000
CRITICAL_PRIORITY = 2_000_000_000
NODE_CRITICAL = "system-node-critical"
HUGEPAGES = "hugepages-"

Amounts = Mapping[str, Quantity]


def cpu_shares(milli: int) -> int:
    """Shares for a CPU request in thousandths of a core."""
    return min(max(milli * SHARES_PER_CPU // 1000, MIN_SHARES), MAX_SHARES)


def cpu_quota_us(milli: int) -> int:
    """Quota in a period of 100 ms for a CPU limit; 0 where there is none."""
    return max(milli * PERIOD_US // 1000, MIN_QUOTA_US) if milli else 0


def container_resources(
    pod: Pod, container: AnyContainer, memory_capacity_bytes: int
) -> LinuxResources:
    """The cgroup settings of one container."""
    given = container.resources or ResourceRequirements()
    limit_milli = _milli(given.limits.get("cpu"))
    request = given.requests.get("cpu", given.limits.get("cpu"))
    memory = given.limits.get("memory")
    return LinuxResources(
        cpu_period_us=PERIOD_US if limit_milli else 0,
        cpu_quota_us=cpu_quota_us(limit_milli),
        cpu_shares=cpu_shares(_milli(request)),
        memory_limit_bytes=parse(memory).whole() if memory else 0,
        oom_score_adj=oom_score_adj(pod, container, memory_capacity_bytes),
        hugepage_limits=tuple(
            (_page_size(name), parse(amount).whole())
            for name, amount in sorted(given.limits.items())
            if name.startswith(HUGEPAGES)
        ),
    )


def oom_score_adj(pod: Pod, container: AnyContainer, memory_capacity_bytes: int) -> int:
    """Who is killed first when memory runs out: BestEffort, then those that use more than they asked for."""
    if pod.spec.priority_class_name == NODE_CRITICAL and (
        (pod.spec.priority or 0) >= CRITICAL_PRIORITY
    ):
        return GUARANTEED_OOM_SCORE
    qos = qos_class(pod)
    if qos == GUARANTEED:
        return GUARANTEED_OOM_SCORE
    if qos == BEST_EFFORT:
        return BEST_EFFORT_OOM_SCORE
    wanted = _memory_request(container) + _unassigned_memory(pod)
    if any(
        c.name == container.name and kind_of_init(c) is Kind.SIDECAR
        for c in pod.spec.init_containers
    ):
        # What serves the others does not go before them.
        wanted = max(wanted, min(_memory_request(c) for c in pod.spec.containers))
    score = 1000 - 1000 * wanted // max(memory_capacity_bytes, 1)
    floor = 1000 + GUARANTEED_OOM_SCORE
    if score < floor:
        return floor
    return score - 1 if score == BEST_EFFORT_OOM_SCORE else score


def _memory_request(container: AnyContainer) -> int:
    given = container.resources or ResourceRequirements()
    request = given.requests.get("memory", given.limits.get("memory"))
    return parse(request).whole() if request else 0


def _unassigned_memory(pod: Pod) -> int:
    """Each container's share of what the pod as a whole asks for beyond what its containers do."""
    whole = pod.spec.resources.requests.get("memory") if pod.spec.resources else None
    if whole is None:
        return 0
    sharing = [
        *pod.spec.containers,
        *(c for c in pod.spec.init_containers if kind_of_init(c) is Kind.SIDECAR),
    ]
    left = parse(whole).whole() - sum(_memory_request(c) for c in sharing)
    return max(0, left) // len(sharing)


def pod_requests(pod: Pod) -> dict[str, Quantity]:
    """What the pod asks for in all, as the scheduler counts it: containers and sidecars together, or a
    single init container (with the sidecars before it) where that is more; overhead is added."""
    return _pod_amounts(pod, lambda r: {**r.limits, **r.requests}, pod_level="requests")


def pod_limits(pod: Pod) -> dict[str, Quantity]:
    """What the pod may use in all; only resources that every container limits mean a limit."""
    return _pod_amounts(pod, lambda r: dict(r.limits), pod_level="limits")


def pod_cgroup_limits(pod: Pod) -> LinuxResources:
    """The settings of the pod's own cgroup, around those of its containers."""
    limits = pod_limits(pod)
    requests = pod_requests(pod)
    everyone = [
        c.resources or ResourceRequirements()
        for c in (*pod.spec.containers, *pod.spec.init_containers)
    ]
    pod_level = pod.spec.resources or ResourceRequirements()

    def limit(name: str) -> Quantity | None:
        if name in pod_level.limits:
            return parse(pod_level.limits[name])
        return limits.get(name) if all(name in r.limits for r in everyone) else None

    cpu, memory = limit("cpu"), limit("memory")
    best_effort = qos_class(pod) == BEST_EFFORT
    return LinuxResources(
        cpu_period_us=PERIOD_US if cpu else 0,
        cpu_quota_us=cpu_quota_us(cpu.milli()) if cpu else 0,
        cpu_shares=MIN_SHARES if best_effort else cpu_shares(_sum_milli(requests)),
        memory_limit_bytes=memory.whole() if memory else 0,
    )


def _sum_milli(requests: Amounts) -> int:
    return requests["cpu"].milli() if "cpu" in requests else 0


def _pod_amounts(
    pod: Pod, of: Callable[[ResourceRequirements], Mapping[str, str]], pod_level: str
) -> dict[str, Quantity]:
    def amounts(container: AnyContainer) -> dict[str, Quantity]:
        return {n: parse(q) for n, q in of(container.resources or ResourceRequirements()).items()}

    total: dict[str, Quantity] = {}
    for regular in pod.spec.containers:
        total = _add(total, amounts(regular))
    sidecars: dict[str, Quantity] = {}
    peak: dict[str, Quantity] = {}
    for container in pod.spec.init_containers:
        if kind_of_init(container) is Kind.SIDECAR:
            sidecars = _add(sidecars, amounts(container))
            peak = _most(peak, sidecars)
        else:
            peak = _most(peak, _add(sidecars, amounts(container)))
    total = _most(_add(total, sidecars), peak)
    if pod.spec.resources is not None:
        given = (
            pod.spec.resources.requests if pod_level == "requests" else pod.spec.resources.limits
        )
        total |= {n: parse(q) for n, q in given.items()}
    return _add(total, {n: parse(q) for n, q in pod.spec.overhead.items() if n in total})


def _add(a: dict[str, Quantity], b: Amounts) -> dict[str, Quantity]:
    return {
        n: a[n] + b[n] if n in a and n in b else (a.get(n) or b.get(n) or parse(0))
        for n in {**a, **b}
    }


def _most(a: dict[str, Quantity], b: Amounts) -> dict[str, Quantity]:
    return {n: max(q for q in (a.get(n), b.get(n)) if q is not None) for n in {**a, **b}}


def _milli(amount: str | None) -> int:
    return parse(amount).milli() if amount else 0


def _page_size(name: str) -> str:
    """`hugepages-2Mi` as the cgroup names it: `2MB`."""
    return name.removeprefix(HUGEPAGES).replace("i", "B")
