"""The node itself: registration, heartbeats, admission, restarts of kubelet and runtime, orphans."""

import asyncio

import pytest

from skiff.aio.clock import parse_rfc3339
from skiff.api.resources import LEASES, NODES, PODS
from skiff.node.runtime import ContainerState
from skiff.node.simulated import annotations
from tests.node.world import NODE, World, condition, container, pod, run, state, status_of


def conditions(node) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in node["status"]["conditions"]}


def test_the_node_registers_with_what_it_has():
    async def test(w: World) -> None:
        node = await w.client.get(NODES, NODE)
        assert node["metadata"]["labels"] == {
            "beta.kubernetes.io/arch": "amd64",
            "beta.kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": NODE,
            "kubernetes.io/os": "linux",
            "example.com/disk": "ssd",
        }
        status = node["status"]
        assert status["capacity"]["cpu"] == "4"
        assert status["allocatable"]["cpu"] == "3500m"
        assert status["capacity"]["pods"] == status["allocatable"]["pods"] == "110"
        assert conditions(node) == {
            "MemoryPressure": ("False", "KubeletHasSufficientMemory"),
            "DiskPressure": ("False", "KubeletHasNoDiskPressure"),
            "PIDPressure": ("False", "KubeletHasSufficientPID"),
            "Ready": ("True", "KubeletReady"),
        }
        assert {"type": "Hostname", "address": NODE} in status["addresses"]
        assert status["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10250}}
        assert status["nodeInfo"]["kubeletVersion"] == "v1.36.0"

    run(
        test,
        capacity={"cpu": "4"},
        system_reserved={"cpu": "500m"},
        node_labels={"example.com/disk": "ssd"},
    )


def test_what_becomes_of_the_node_is_told_in_events():
    async def test(w: World) -> None:
        await w.event(NODE, "Starting", "Starting kubelet.")
        for reason in ("NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID"):
            await w.event(NODE, reason, f"Node {NODE} status is now: {reason}")
        ready = await w.event(NODE, "NodeReady", f"Node {NODE} status is now: NodeReady")
        assert ready["involvedObject"] == {
            "apiVersion": "v1", "kind": "Node", "name": NODE, "uid": NODE,
        }  # fmt: skip
        w.simulated.available = False
        await w.event(NODE, "NodeNotReady")
        w.simulated.available = True
        assert [r for _, r, _ in await w.events(NODE)].count("NodeHasSufficientMemory") == 1

    run(test)


def test_the_lease_is_renewed_and_the_status_rarely_written():
    async def test(w: World) -> None:
        await w.clock.sleep(30)
        first = await w.client.get(LEASES, NODE, "kube-node-lease")
        node = await w.client.get(NODES, NODE)
        assert first["spec"]["holderIdentity"] == NODE
        assert first["spec"]["leaseDurationSeconds"] == 40
        assert first["metadata"]["ownerReferences"][0]["name"] == NODE
        await w.clock.sleep(60)
        second = await w.client.get(LEASES, NODE, "kube-node-lease")
        renewed = [parse_rfc3339(lease["spec"]["renewTime"]) for lease in (first, second)]
        assert 50 <= renewed[1] - renewed[0] <= 70
        same = await w.client.get(NODES, NODE)
        assert same["metadata"]["resourceVersion"] == node["metadata"]["resourceVersion"]
        await w.clock.sleep(300)
        later = await w.client.get(NODES, NODE)
        heartbeat, transition = (
            next(c for c in later["status"]["conditions"] if c["type"] == "Ready")[k]
            for k in ("lastHeartbeatTime", "lastTransitionTime")
        )
        assert heartbeat > transition

    run(test)


def test_a_runtime_that_is_away_makes_the_node_not_ready_and_nothing_is_lost():
    async def test(w: World) -> None:
        await w.create(pod("web"))
        before = status_of(await w.running("web"))
        w.simulated.available = False
        await w.until(lambda: _ready_is(w, "False"))
        node = await w.client.get(NODES, NODE)
        ready = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
        assert ready["reason"] == "KubeletNotReady"
        assert ready["message"].startswith("container runtime is down")
        await w.create(pod("late"))
        w.simulated.available = True
        await w.until(lambda: _ready_is(w, "True"))
        await w.running("late")
        assert status_of(await w.pod("web")) == before

    run(test)


async def _ready_is(w: World, status: str) -> bool:
    return conditions(await w.client.get(NODES, NODE))["Ready"][0] == status


def test_a_restarted_kubelet_restarts_no_container():
    async def test(w: World) -> None:
        probe = {"exec": {"command": ["true"]}, "periodSeconds": 60, "initialDelaySeconds": 50}
        await w.create(pod("web", container(readinessProbe=probe, startupProbe=probe)))
        await w.create(pod("crash", annotations=annotations(exit_after_seconds=3, exit_code=1)))
        before = await w.running("web", 200)
        await w.stop_kubelet()
        await w.clock.sleep(100)
        await w.start_kubelet()
        await w.clock.sleep(100)
        after = await w.pod("web")
        assert status_of(after) == status_of(before)
        assert condition(after, "Ready") == condition(before, "Ready")
        assert after["status"]["startTime"] == before["status"]["startTime"]
        crashed = await w.pod("crash")
        assert status_of(crashed)["restartCount"] >= 3

    run(test)


def test_what_happened_meanwhile_is_caught_up_with():
    async def test(w: World) -> None:
        for name in ("ended", "deleted", "forced", "kept"):
            await w.create(pod(name, restartPolicy="Never"))
        for name in ("ended", "deleted", "forced", "kept"):
            await w.running(name)
        await w.stop_kubelet()
        w.simulated.end(w.simulated.find("default", "ended", "main"), 4)
        await w.delete("deleted")
        await w.delete("forced", grace_period_s=0)
        await w.create(pod("new"))
        await w.start_kubelet()
        found = await w.pod_until("ended", lambda p: p["status"]["phase"] == "Failed")
        assert state(found)["terminated"]["exitCode"] == 4
        await w.gone("deleted")
        await w.running("new")
        await w.until(lambda: _pods_of_runtime(w, {"ended", "kept", "new"}))

    run(test)


async def _pods_of_runtime(w: World, names: set[str]) -> bool:
    return {s.name for s in await w.runtime.list_sandboxes()} == names


def test_a_sandbox_that_dies_is_made_anew():
    async def test(w: World) -> None:
        await w.create(pod("web"))
        before = await w.running("web")
        (sandbox,) = await w.runtime.list_sandboxes()
        await w.runtime.stop_sandbox(sandbox.id)
        await w.event(
            "web", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created."
        )
        after = await w.pod_until(
            "web", lambda p: status_of(p)["restartCount"] == 1 and status_of(p)["ready"]
        )
        assert after["status"]["podIP"] != before["status"]["podIP"]
        assert after["status"]["podIPs"] == [{"ip": after["status"]["podIP"]}]

    run(test)


def test_containers_that_the_runtime_lost_are_started_again():
    async def test(w: World) -> None:
        await w.create(pod("web"))
        await w.running("web")
        await w.stop_kubelet()
        for sandbox in await w.runtime.list_sandboxes():
            await w.runtime.remove_sandbox(sandbox.id)
        await w.start_kubelet()
        found = await w.pod_until(
            "web", lambda p: status_of(p)["restartCount"] == 1 and status_of(p)["ready"]
        )
        lost = state(found, key="lastState")["terminated"]
        assert (lost["exitCode"], lost["reason"]) == (137, "ContainerStatusUnknown")

    run(test)


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        (
            {"containers": [container(resources={"requests": {"cpu": "9"}})]},
            "OutOfcpu",
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 9000, used: 0, capacity: 4000",
        ),
        (
            {"nodeSelector": {"disk": "ssd"}},
            "NodeAffinity",
            "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ),
        (
            {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]}},
            "SysctlForbidden",
            'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted',
        ),
        (
            {
                "nodeSelector": {"disk": "ssd"},
                "containers": [container(resources={"requests": {"cpu": "9"}})],
            },
            "OutOfcpu",
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 9000, used: 0, capacity: 4000",
        ),
    ],
)
def test_pods_that_do_not_fit_are_rejected(spec, reason: str, message: str):
    async def test(w: World) -> None:
        made = pod("big")
        made["spec"] |= spec
        await w.create(made)
        found = await w.pod_until("big", lambda p: p["status"].get("phase") == "Failed")
        assert (found["status"]["reason"], found["status"]["message"]) == (reason, message)
        await w.event("big", reason)
        assert await w.runtime.list_sandboxes() == []
        await w.delete("big")
        await w.gone("big")

    run(test, capacity={"cpu": "4"})


def test_a_taint_that_drives_pods_away_lets_none_in():
    async def test(w: World) -> None:
        taints = [
            {"key": "a", "effect": "NoSchedule"},
            {"key": "b", "value": "1", "effect": "NoExecute"},
        ]
        await w.client.patch(NODES, NODE, "", {"spec": {"taints": taints}})

        async def tainted() -> bool:
            node = w.kubelet._nodes.get(NODE)
            return node is not None and len(node.spec.taints) == 2

        await w.until(tainted)
        await w.create(pod("kept-away"))
        found = await w.pod_until("kept-away", lambda p: p["status"].get("phase") == "Failed")
        assert (found["status"]["reason"], found["status"]["message"]) == (
            "TaintToleration",
            "Pod was rejected: Predicate TaintToleration failed: "
            "node(s) had taints that the pod didn't tolerate",
        )
        await w.create(pod("let-in", tolerations=[{"key": "b", "value": "1"}]))
        await w.running("let-in")

    run(test)


def test_host_ports_are_given_out_once():
    async def test(w: World) -> None:
        port = container(ports=[{"containerPort": 80, "hostPort": 8080}])
        await w.create(pod("first", port))
        await w.running("first")
        await w.create(pod("second", port))
        found = await w.pod_until("second", lambda p: p["status"].get("phase") == "Failed")
        assert found["status"]["reason"] == "NodePorts"
        await w.delete("first")
        await w.gone("first")
        await w.create(pod("third", port))
        await w.running("third")

    run(test)


def test_a_pod_whose_end_is_told_has_left_its_place():
    async def test(w: World) -> None:
        stop, may_stop = w.simulated.stop_sandbox, asyncio.Event()

        async def stop_late(sandbox_id: str) -> None:
            await may_stop.wait()
            await stop(sandbox_id)

        w.simulated.stop_sandbox = stop_late  # type: ignore[method-assign]
        whole = container(resources={"requests": {"cpu": "4"}})
        ends = annotations(exit_after_seconds=1)
        await w.create(pod("first", whole, restartPolicy="Never", annotations=ends))
        await w.pod_until("first", lambda p: p["status"].get("phase") == "Succeeded")
        await w.create(pod("second", whole))
        await w.running("second")
        may_stop.set()
        await w.delete("first")
        await w.gone("first")

    run(test, capacity={"cpu": "4"})


def test_only_so_many_pods():
    async def test(w: World) -> None:
        for name in ("a", "b", "c"):
            await w.create(pod(name))
        found = await w.pod_until("c", lambda p: p["status"].get("phase") == "Failed")
        assert found["status"]["reason"] == "OutOfpods"
        await w.running("a")

    run(test, max_pods=2)


@pytest.mark.conformance(
    "[sig-node] Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests "
    "and limits for memory and cpu [Conformance]"
)
def test_quality_of_service_is_reported():
    async def test(w: World) -> None:
        both = {"cpu": "100m", "memory": "100Mi"}
        await w.create(pod("web", container(resources={"requests": both, "limits": both})))
        assert (await w.running("web"))["status"]["qosClass"] == "Guaranteed"

    run(test)


def test_many_pods_at_once():
    async def test(w: World) -> None:
        for index in range(100):
            await w.create(pod(f"web-{index}"))
        for index in range(100):
            await w.running(f"web-{index}")
        running = [
            c for c in await w.runtime.list_containers() if c.state is ContainerState.RUNNING
        ]
        assert len(running) == 100
        await w.client.delete_collection(PODS, "default")
        for index in range(100):
            await w.gone(f"web-{index}")

    run(test)


def test_the_pod_cidr_reaches_the_runtime():
    async def test(w: World) -> None:
        await w.client.patch(
            NODES, NODE, "", {"spec": {"podCIDR": "10.9.8.0/24", "podCIDRs": ["10.9.8.0/24"]}}
        )
        await w.clock.sleep(1)
        await w.create(pod("web"))
        assert (await w.running("web"))["status"]["podIP"].startswith("10.9.8.")

    run(test)


def test_generation_is_observed():
    async def test(w: World) -> None:
        await w.create(pod("web"))
        await w.running("web")
        await w.client.patch(PODS, "web", "default", {"spec": {"activeDeadlineSeconds": 5000}})
        found = await w.pod_until("web", lambda p: p["status"]["observedGeneration"] == 2)
        assert condition(found, "Ready")["observedGeneration"] == 2

    run(test)


def test_static_facts_of_a_terminal_pod_survive_the_runtime():
    async def test(w: World) -> None:
        await w.create(
            pod("job", restartPolicy="Never", annotations=annotations(exit_after_seconds=1))
        )
        before = await w.pod_until("job", lambda p: p["status"]["phase"] == "Succeeded")
        await w.stop_kubelet()
        for sandbox in await w.runtime.list_sandboxes():
            await w.runtime.remove_sandbox(sandbox.id)
        await w.start_kubelet()
        await w.clock.sleep(60)
        after = await w.pod("job")
        assert state(after) == state(before)
        assert after["status"]["phase"] == "Succeeded"

    run(test)
