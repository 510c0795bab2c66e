"""Node-pressure eviction: what is decided (tables), and what a node does (virtual time)."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skiff.aio.clock import LoopClock
from skiff.aio.entropy import Entropy
from skiff.api.resources import NODES
from skiff.api.views.pod import Pod
from skiff.node.cgroups import Cgroups
from skiff.node.config import KubeletConfig
from skiff.node.eviction.gauges import MachineGauges
from skiff.node.eviction.limits import Stored, excess, is_limited
from skiff.node.eviction.model import (
    DISK,
    MEMORY,
    PIDS,
    Reading,
    Threshold,
    Usage,
    thresholds,
)
from skiff.node.eviction.plan import Pressure, message, met_thresholds, rank, refuse
from skiff.node.resources import pod_limits
from skiff.node.runtime import ContainerStats
from skiff.node.simulated import SimulatedRuntime
from tests.node.world import NODE, World, condition, container, pod, run

MIB = 1 << 20


def made(name: str, memory: str = "", priority: int = 0, **spec: Any) -> Pod:
    resources = {"requests": {"memory": memory}} if memory else {}
    body = {
        "metadata": {"name": name, "uid": name},
        "spec": {"containers": [container(resources=resources)], "priority": priority, **spec},
    }
    return msgspec.convert(body, Pod)


def test_settings_become_thresholds():
    found = thresholds({MEMORY: "100Mi", DISK: "10%", PIDS: "0", "imagefs.available": "0%"})
    assert found == (Threshold(MEMORY, amount=100 * MIB), Threshold(DISK, share=0.1))
    for bad in ({"cpu.available": "1"}, {DISK: "100%"}, {MEMORY: "-1Mi"}, {MEMORY: "much"}):
        with pytest.raises(ValueError):
            thresholds(bad)


def test_memory_is_looked_after_first():
    found = thresholds({DISK: "10%", MEMORY: "100Mi", PIDS: "5"})
    readings = {DISK: Reading(9, 100), MEMORY: Reading(99 * MIB, 1000 * MIB), PIDS: Reading(5, 9)}
    assert [t.signal for t in met_thresholds(found, readings)] == [MEMORY, DISK]
    assert met_thresholds(found, {DISK: Reading(10, 100)}) == []


def test_a_condition_outlasts_what_it_tells_of():
    pressure, low = Pressure(), [Threshold(DISK, share=0.1)]
    assert pressure.observe(low, 0) == ("DiskPressure",)
    assert pressure.observe([Threshold(MEMORY, amount=1)], 10) == ("MemoryPressure", "DiskPressure")
    assert pressure.observe([], 299) == ("MemoryPressure", "DiskPressure")
    assert pressure.observe([], 300) == ("MemoryPressure",)
    assert pressure.observe([], 310) == ()


def test_who_uses_more_than_he_asked_for_goes_first():
    pods = [
        made("within", "100Mi"),
        made("above", "10Mi"),
        made("far-above", "10Mi"),
        made("important", "10Mi", priority=100),
        made("nothing-asked"),
    ]
    uses = {"within": 90, "above": 20, "far-above": 50, "important": 500, "nothing-asked": 30}
    usages = {name: {"main": Usage(memory_bytes=m * MIB)} for name, m in uses.items()}
    assert [p.metadata.name for p in rank(pods, "memory", usages)] == [
        "far-above",
        "nothing-asked",
        "above",
        "important",
        "within",
    ]


def test_the_message_says_what_was_short_and_who_used_it():
    threshold = Threshold(MEMORY, amount=100 * MIB)
    readings = {MEMORY: Reading(50 * MIB, 1000 * MIB)}
    usages = {"main": Usage(memory_bytes=200 * MIB)}
    assert message(made("a"), threshold, readings, usages) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        "Container main was using 200Mi, request is 0, has larger consumption of memory. "
    )
    assert message(made("a", "300Mi"), threshold, readings, usages) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
    )


TOLERATED = {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}


@pytest.mark.parametrize(
    ("found", "conditions", "refused"),
    [
        (made("a"), (), False),
        (made("a"), ("MemoryPressure",), True),
        (made("a", "1Mi"), ("MemoryPressure",), False),
        (made("a", tolerations=[TOLERATED]), ("MemoryPressure",), False),
        (made("a", "1Mi", tolerations=[TOLERATED]), ("DiskPressure",), True),
        (made("a", "1Mi"), ("MemoryPressure", "DiskPressure"), True),
        (made("a", priority=2_000_001_000), ("DiskPressure",), False),
    ],
)
def test_whom_a_node_under_pressure_takes(found: Pod, conditions, refused: bool):
    verdict = refuse(found, conditions, static=False)
    assert (verdict is not None) is refused
    assert refuse(found, conditions, static=True) is None
    if verdict is not None:
        assert verdict.reason == "Evicted"
        assert verdict.message == f"The node had condition: [{' '.join(conditions)}]. "


def test_a_node_that_runs_low_evicts_until_it_has_enough(monkeypatch):
    async def test(w: World) -> None:
        use = {"big": 300, "small": 10, "asked": 200}

        async def stats() -> list[ContainerStats]:
            return [
                ContainerStats(
                    c.id, c.name, c.labels, 0.0, memory_working_set_bytes=use[name] * MIB
                )
                for c in await w.runtime.list_containers()
                for name in [c.labels["io.kubernetes.pod.name"]]
            ]

        monkeypatch.setattr(w.simulated, "container_stats", stats)
        asked = container(resources={"requests": {"memory": "256Mi"}})
        await w.create(pod("big", restartPolicy="Always"))
        await w.create(pod("small"))
        await w.create(pod("asked", asked))
        for name in use:
            await w.running(name)
        w.simulated.readings[MEMORY] = (50 * MIB, 1000 * MIB)
        found = await w.pod_until("big", lambda p: p["status"]["phase"] == "Failed")
        text = (
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
            "Container main was using 300Mi, request is 0, has larger consumption of memory. "
        )
        assert (found["status"]["reason"], found["status"]["message"]) == ("Evicted", text)
        told = condition(found, "DisruptionTarget")
        assert (told["status"], told["reason"]) == ("True", "TerminationByKubelet")
        assert told["message"] == text
        w.simulated.readings[MEMORY] = (500 * MIB, 1000 * MIB)
        await w.event("big", "Evicted", text)
        await w.event(NODE, "EvictionThresholdMet", "Attempting to reclaim memory")

        async def pressed(wanted: str) -> bool:
            node = await w.client.get(NODES, NODE)
            found = condition(node, "MemoryPressure")
            return found["status"] == wanted and (
                wanted == "False"
                or (found["reason"], found["message"])
                == ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available")
            )

        await w.until(lambda: pressed("True"))
        for name in ("small", "asked"):
            assert (await w.pod(name))["status"]["phase"] == "Running"
        await w.create(pod("late"))
        late = await w.pod_until("late", lambda p: p["status"].get("phase") == "Failed")
        assert (late["status"]["reason"], late["status"]["message"]) == (
            "Evicted",
            "Pod was rejected: The node had condition: [MemoryPressure]. ",
        )
        await w.until(lambda: pressed("False"), 400)
        await w.create(pod("later"))
        await w.running("later")

    run(test)


LIMITED = {"limits": {"ephemeral-storage": "2Mi"}, "requests": {"ephemeral-storage": "1Mi"}}


def scratch(**spec: Any) -> Pod:
    volumes = [
        {"name": "v", "emptyDir": {"sizeLimit": "1Mi"}},
        {"name": "m", "emptyDir": {"medium": "Memory"}},
    ]
    return made("a", volumes=volumes, **spec)


@pytest.mark.parametrize(
    ("resources", "volumes", "main", "told"),
    [
        ({}, {"v": MIB}, 9 * MIB, ""),
        ({}, {"v": MIB + 1}, 0, 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '),
        (LIMITED, {"v": MIB, "m": 9 * MIB}, MIB, ""),
        (
            LIMITED,
            {"v": MIB},
            MIB + 1,
            "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ",
        ),
    ],
)
def test_limits_of_local_storage(resources, volumes, main: int, told: str):
    found = scratch(containers=[container(resources=resources)])
    assert is_limited(found)
    assert excess(found, Stored(volumes, {"main": main})) == told
    assert not is_limited(made("a", "1Mi"))


def test_a_container_has_a_limit_of_its_own():
    found = made("a", containers=[container(resources=LIMITED), container("b")])
    stored = Stored({}, {"main": 2 * MIB + 1})
    assert "ephemeral-storage" in pod_limits(found)
    assert excess(found, stored) == (
        "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "
    )
    two = made("a", containers=[container(resources=LIMITED), container("b", resources=LIMITED)])
    assert excess(two, stored) == (
        'Container main exceeded its local ephemeral storage limit "2Mi". '
    )


def test_a_pod_that_fills_its_volume_is_evicted():
    async def test(w: World) -> None:
        volumes = [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]
        await w.create(pod("filler", volumes=volumes))
        await w.create(pod("other", volumes=volumes))
        for name in ("filler", "other"):
            await w.running(name)
        w.simulated.stored["filler"] = {"v": 2 * MIB}
        found = await w.pod_until("filler", lambda p: p["status"]["phase"] == "Failed")
        assert (found["status"]["reason"], found["status"]["message"]) == (
            "Evicted",
            'Usage of EmptyDir volume "v" exceeds the limit "1Mi". ',
        )
        assert not condition(found, "DisruptionTarget")
        assert (await w.pod("other"))["status"]["phase"] == "Running"

    run(test)


def test_what_pods_keep_on_the_disk_is_measured(tmp_path: Path):
    config = KubeletConfig("n", tmp_path, tmp_path / "logs")
    found = scratch()
    volume = tmp_path / "pods/a/volumes/kubernetes.io~empty-dir/v"
    (volume / "deep").mkdir(parents=True)
    (volume / "deep/file").write_bytes(b"x" * 100_000)
    logs = tmp_path / "logs/_a_a/main"
    logs.mkdir(parents=True)
    (logs / "0.log").write_bytes(b"x" * 50_000)

    async def main() -> None:
        runtime = SimulatedRuntime(LoopClock(0.0), Entropy(1))
        stored = (await MachineGauges(config, runtime, None).stored([found]))["a"]
        assert 100_000 <= stored.volumes["v"] < 120_000
        assert stored.volumes["m"] == 0
        assert 50_000 <= stored.containers["main"] < 60_000
        await runtime.close()

    asyncio.run(main())


def test_the_machines_gauges(tmp_path: Path):
    async def main() -> None:
        runtime = SimulatedRuntime(LoopClock(0.0), Entropy(1))
        config = KubeletConfig("n", tmp_path, tmp_path / "logs")
        readings = await MachineGauges(config, runtime, None).read()
        for signal in (MEMORY, DISK, PIDS):
            assert 0 < readings[signal].available <= readings[signal].capacity
        await runtime.close()

    asyncio.run(main())


def test_a_pods_processes_are_counted(tmp_path: Path):
    for controller in ("cpu", "memory", "pids"):
        (tmp_path / controller).mkdir()
    cgroups = Cgroups("/kubepods", tmp_path)
    directory = tmp_path / "pids/kubepods/besteffort/poda/x"
    directory.mkdir(parents=True)
    (directory / "pids.current").write_text("7\n")
    assert cgroups.processes(made("a")) == 7
    assert cgroups.processes(made("b")) == 0
