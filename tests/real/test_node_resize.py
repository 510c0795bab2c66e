"""Resources of running containers changed in place: spec, status and control groups agree."""

from collections.abc import Iterator

import pytest

from tests.real.harness import RealCluster, wait_for
from tests.real.pods import IMAGE, Api, Object, Space, container, pod, state

pytestmark = pytest.mark.real

SLEEP = "trap 'exit 0' TERM; while true; do sleep 0.1; done"
POLICY = [
    {"resourceName": "cpu", "restartPolicy": "NotRequired"},
    {"resourceName": "memory", "restartPolicy": "NotRequired"},
]
# What a container sees of its own control group: CPU shares or weight, quota and memory limit.
SEEN = (
    "if test -f /sys/fs/cgroup/cpu.max; then cd /sys/fs/cgroup; cut -d' ' -f1 cpu.max; cat memory.max;"
    " else cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/memory/memory.limit_in_bytes; fi"
)
MIB = 1 << 20
Amounts = tuple[str, str, str, str]  # requests.cpu, limits.cpu, requests.memory, limits.memory


def resources(amounts: Amounts) -> Object:
    request_cpu, limit_cpu, request_memory, limit_memory = amounts
    made: Object = {"requests": {"cpu": request_cpu, "memory": request_memory}}
    limits = {"cpu": limit_cpu, "memory": limit_memory}
    made["limits"] = {k: v for k, v in limits.items() if v}
    return {k: v for k, v in made.items() if v}


def same(cpu: int, memory: int) -> Amounts:
    """Of a guaranteed container: millicores and MiB."""
    return f"{cpu}m", f"{cpu}m", f"{memory}Mi", f"{memory}Mi"


def burst(request: int, limit: int, memory: int, memory_limit: int) -> Amounts:
    cpu_limit = f"{limit}m" if limit else ""
    return f"{request}m", cpu_limit, f"{memory}Mi", f"{memory_limit}Mi" if memory_limit else ""


CASES: dict[str, tuple[list[Amounts], list[Amounts]]] = {
    "mixed": (
        [same(10, 20), same(20, 30), same(30, 40)],
        [same(15, 20), same(15, 35), same(35, 45)],
    ),
    "decrease": (
        [same(10, 20), same(20, 30), same(30, 40)],
        [same(15, 25), same(10, 20), same(20, 30)],
    ),
    "increase": (
        [same(10, 20), same(20, 30), same(30, 40)],
        [same(20, 30), same(30, 40), same(25, 35)],
    ),
    "six": (
        [burst(10, 20, 20, 40), burst(10, 20, 20, 40), burst(10, 0, 20, 0),
         burst(10, 20, 20, 40), burst(10, 20, 20, 40), burst(10, 0, 20, 0)],
        [burst(15, 25, 25, 45), burst(5, 15, 20, 40), burst(10, 20, 20, 40),
         burst(10, 20, 25, 45), burst(12, 20, 20, 40), burst(20, 0, 30, 0)],
    ),
    "replace": ([burst(10, 20, 20, 40)], [burst(15, 30, 25, 50)]),
    "restart": ([burst(10, 20, 20, 40)], [burst(10, 20, 20, 50)]),
}  # fmt: skip


def containers(amounts: list[Amounts], memory_restarts: bool = False) -> list[Object]:
    policy = POLICY
    if memory_restarts:
        policy = [POLICY[0], {"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    return [
        container(f"c{i}", SLEEP, resources=resources(a), resizePolicy=policy)
        for i, a in enumerate(amounts, 1)
    ]


@pytest.fixture(scope="module")
def ran(cluster: RealCluster, images: dict[str, str]) -> Iterator[Space]:
    api = Api(cluster)
    space = Space(cluster, api, "resize")
    for name, (before, _) in CASES.items():
        made = containers(before, name == "restart")
        space.create(pod(name, *made, restartPolicy="Always"))
    space.create(pod("units", *containers([same(10, 20)]), restartPolicy="Always"))
    yield space
    space.delete("Namespace", space.name)
    api.close()


def check(space: Space, name: str, amounts: list[Amounts], restarts: int = 0) -> None:
    """Wait until status and control groups show the amounts."""

    def told(seen: Object) -> bool:
        conditions = {c["type"] for c in seen["status"]["conditions"]}
        if conditions & {"PodResizePending", "PodResizeInProgress"}:
            return False
        return all(
            state(seen, f"c{i}").get("resources") == resources(a)
            and state(seen, f"c{i}").get("allocatedResources") == resources(a)["requests"]
            and state(seen, f"c{i}")["restartCount"] == restarts
            and "running" in state(seen, f"c{i}")["state"]
            for i, a in enumerate(amounts, 1)
        )

    space.until(name, told, "shows its new amounts", 30)
    for index, (_, cpu, _, memory) in enumerate(amounts, 1):
        quota, limit = space.exec(name, SEEN, container=f"c{index}").split()
        if cpu:
            wanted = max(1000, int(cpu.removesuffix("m")) * 100)
            assert int(quota) == wanted, (name, index)
        else:
            assert quota in ("max", "-1")
        if memory:
            assert int(limit) == int(memory.removesuffix("Mi")) * MIB


@pytest.mark.conformance(
    "[sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase: CPU (c1,c3), memory (c2, c3) ; decrease: CPU (c2) [MinimumKubeletVersion:1.34] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem on c1, decrease cpu & mem on c2, c3 - net decrease [MinimumKubeletVersion:1.34] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem on c1, c2, decrease cpu & mem on c3 - net increase [MinimumKubeletVersion:1.34] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Pod InPlace Resize Container burstable pods - extended 6 containers - various operations performed (including adding limits and requests) [MinimumKubeletVersion:1.34] [Conformance]"
)
@pytest.mark.parametrize("name", ["mixed", "decrease", "increase", "six"])
def test_several_containers(ran: Space, name: str) -> None:
    before, after = CASES[name]
    ran.ready(name)
    check(ran, name, before)
    change = [{"name": f"c{i}", "resources": resources(a)} for i, a in enumerate(after, 1)]
    told = ran.patch("Pod", name, {"spec": {"containers": change}}, "resize")
    assert [c["resources"] for c in told["spec"]["containers"]] == [resources(a) for a in after]
    check(ran, name, after)
    change = [{"name": f"c{i}", "resources": resources(a)} for i, a in enumerate(before, 1)]
    if name != "six":  # limits that were added cannot be taken away by a merge
        ran.patch("Pod", name, {"spec": {"containers": change}}, "resize")
        check(ran, name, before)


@pytest.mark.conformance(
    "[sig-node] Pod InPlace Resize Container resize pod via the replace endpoint [MinimumKubeletVersion:1.34] [Conformance]"
)
def test_by_replacing(ran: Space) -> None:
    before, after = CASES["replace"]
    now = ran.ready("replace")
    check(ran, "replace", before)
    now["spec"]["containers"][0]["resources"] = resources(after[0])
    ran.replace(ran.get("Pod", "replace") | {"spec": now["spec"]}, "resize")
    check(ran, "replace", after)


@pytest.mark.conformance(
    "[sig-node] Pod InPlace Resize Container burstable pods - extended resize with equivalents [MinimumKubeletVersion:1.34] [Conformance]"
)
def test_equal_amounts_in_other_units(ran: Space) -> None:
    ran.ready("units")
    check(ran, "units", [same(10, 20)])
    amounts = {"cpu": "0.01", "memory": str(20 * MIB)}
    body = {
        "spec": {
            "containers": [{"name": "c1", "resources": {"requests": amounts, "limits": amounts}}]
        }
    }
    ran.patch("Pod", "units", body, "resize")
    check(ran, "units", [same(10, 20)])


def test_a_policy_to_restart(ran: Space) -> None:
    before, after = CASES["restart"]
    ran.ready("restart")
    check(ran, "restart", before)
    body = {"spec": {"containers": [{"name": "c1", "resources": resources(after[0])}]}}
    ran.patch("Pod", "restart", body, "resize")
    check(ran, "restart", after, restarts=1)


def test_what_does_not_fit_is_not_done(ran: Space) -> None:
    ran.create(pod("large", *containers([burst(10, 0, 20, 0)]), restartPolicy="Always"))
    ran.ready("large")
    body = {"spec": {"containers": [{"name": "c1", "resources": {"requests": {"cpu": "10000"}}}]}}
    ran.patch("Pod", "large", body, "resize")

    def refused(seen: Object) -> bool:
        found = [c for c in seen["status"]["conditions"] if c["type"] == "PodResizePending"]
        return bool(found) and found[0]["reason"] == "Infeasible"

    seen = ran.until("large", refused, "says that it cannot be", 20)
    assert state(seen, "c1")["allocatedResources"]["cpu"] == "10m"
    body["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "11m"
    ran.patch("Pod", "large", body, "resize")
    wait_for(
        lambda: state(ran.get("Pod", "large"), "c1")["allocatedResources"]["cpu"] == "11m",
        "a smaller wish is met",
        20,
    )
    # Only resources are taken from what is sent there.
    body["spec"]["containers"][0]["image"] = "other:1"
    told = ran.patch("Pod", "large", body, "resize")
    assert told["spec"]["containers"][0]["image"] == IMAGE
