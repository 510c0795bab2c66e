"""Pods from bound to gone, as a user sees them: simulated containers, the real API server, virtual time."""

import base64
import json
from typing import Any

import pytest

from skiff.aio.clock import parse_rfc3339
from skiff.api.resources import CONFIGMAPS, PODS, RESOURCES, SECRETS
from skiff.node.runtime import ExecResult
from skiff.node.simulated import annotations
from tests.node.world import World, condition, container, pod, run, state, status_of

NOTHING = {"exec": {"command": ["true"]}}


@pytest.mark.conformance(
    "[sig-node] Pods should be submitted and removed [NodeConformance] [Conformance]"
)
def test_a_pod_runs_and_is_removed():
    async def test(w: World) -> None:
        await w.create(pod("web", terminationGracePeriodSeconds=5))
        found = await w.running("web")
        assert found["status"]["phase"] == "Running"
        assert found["status"]["podIP"].startswith("10.244.0.")
        assert found["status"]["podIPs"] == [{"ip": found["status"]["podIP"]}]
        assert status_of(found)["imageID"].startswith("docker.io/library/web@sha256:")
        assert status_of(found)["started"] is True
        assert condition(found, "PodReadyToStartContainers")["status"] == "True"
        await w.event("web", "Pulled", 'Successfully pulled image "web:1"')
        await w.event("web", "Created", "Container created")
        started = await w.event("web", "Started", "Container started")
        assert started["involvedObject"]["fieldPath"] == "spec.containers{main}"
        await w.delete("web")
        await w.gone("web")
        await w.event("web", "Killing", "Stopping container main")
        await w.until(lambda: _empty(w))

    run(test)


async def _empty(w: World) -> bool:
    return not await w.runtime.list_sandboxes() and not await w.runtime.list_containers()


@pytest.mark.conformance("[sig-node] Pods should get a host IP [NodeConformance] [Conformance]")
def test_the_host_ip_is_the_nodes():
    async def test(w: World) -> None:
        await w.create(pod("web"))
        found = await w.running("web")
        assert found["status"]["hostIP"] == "192.0.2.7"
        assert found["status"]["hostIPs"] == [{"ip": "192.0.2.7"}]

    run(test, node_ip="192.0.2.7")


@pytest.mark.conformance(
    "[sig-node] Container Runtime blackbox test when starting a container that exits should run with "
    "the expected status [NodeConformance] [Conformance]"
)
@pytest.mark.parametrize(
    ("policy", "code", "phase", "restarts"),
    [
        ("Never", 0, "Succeeded", 0),
        ("Never", 3, "Failed", 0),
        ("OnFailure", 0, "Succeeded", 0),
        ("OnFailure", 3, "Running", 2),
        ("Always", 0, "Running", 2),
    ],
)
def test_restart_policies(policy: str, code: int, phase: str, restarts: int):
    async def test(w: World) -> None:
        marks = annotations(exit_after_seconds=1, exit_code=code)
        await w.create(pod("job", restartPolicy=policy, annotations=marks))
        found = await w.pod_until("job", lambda p: status_of(p).get("restartCount", -1) >= restarts and (
            restarts or p["status"]["phase"] == phase))  # fmt: skip
        assert found["status"]["phase"] == phase
        if phase in ("Succeeded", "Failed"):
            end = state(found)["terminated"]
            assert (end["exitCode"], end["reason"]) == (code, "Completed" if code == 0 else "Error")
            assert end["containerID"] == status_of(found)["containerID"]
            await w.clock.sleep(60)
            assert status_of(await w.pod("job"))["restartCount"] == 0

    run(test)


def test_crash_loop_back_off_doubles_and_says_so():
    async def test(w: World) -> None:
        marks = annotations(exit_after_seconds=1, exit_code=1)
        made = await w.create(pod("crash", annotations=marks))
        where = f"main pod=crash_default({made['metadata']['uid']})"
        starts = []
        for delay, restarts in (("10s", 1), ("20s", 2), ("40s", 3)):
            found = await w.pod_until(
                "crash",
                lambda p, d=delay: (
                    state(p).get("waiting", {}).get("message")
                    == f"back-off {d} restarting failed container={where}"
                ),
                120,
            )
            assert state(found)["waiting"]["reason"] == "CrashLoopBackOff"
            assert state(found, key="lastState")["terminated"]["exitCode"] == 1
            assert status_of(found)["restartCount"] == restarts
            assert found["status"]["phase"] == "Running"
            assert condition(found, "Ready")["message"] == "containers with unready status: [main]"
            starts.append(w.clock.now())
        assert 20 <= starts[2] - starts[1] <= 24
        await w.event(
            "crash", "BackOff", "Back-off restarting failed container main in pod crash_default"
        )

    run(test)


def test_back_off_starts_anew_after_ten_good_minutes():
    async def test(w: World) -> None:
        await w.create(pod("crash"))
        await w.running("crash")
        for count in (1, 2, 3):
            w.simulated.end(w.simulated.find("default", "crash", "main"), 1)
            await w.pod_until(
                "crash",
                lambda p, n=count: status_of(p)["restartCount"] == n and status_of(p)["ready"],
            )
        await w.clock.sleep(1300)
        w.simulated.end(w.simulated.find("default", "crash", "main"), 1)
        await w.pod_until(
            "crash", lambda p: status_of(p)["restartCount"] == 4 and status_of(p)["ready"], 2
        )

    run(test)


@pytest.mark.conformance(
    "[sig-node] InitContainer [NodeConformance] should invoke init containers on a RestartNever pod "
    "[Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] InitContainer [NodeConformance] should invoke init containers on a RestartAlways pod "
    "[Conformance]"
)
@pytest.mark.parametrize("policy", ["Always", "Never"])
def test_init_containers_run_one_after_another(policy: str):
    async def test(w: World) -> None:
        marks = {"simulation.skiff.dev/exit-after-seconds.first": "5",
                 "simulation.skiff.dev/exit-after-seconds.second": "5"}  # fmt: skip
        if policy == "Never":
            marks["simulation.skiff.dev/exit-after-seconds.main"] = "1"
        init = [container("first"), container("second")]
        await w.create(pod("init", initContainers=init, restartPolicy=policy, annotations=marks))
        found = await w.pod_until("init", lambda p: "running" in state(p, "first"))
        assert state(found, "second") == {"waiting": {"reason": "PodInitializing"}}
        assert state(found, "main") == {"waiting": {"reason": "PodInitializing"}}
        assert found["status"]["phase"] == "Pending"
        initialized = condition(found, "Initialized")
        assert initialized["reason"] == "ContainersNotInitialized"
        assert initialized["message"] == "containers with incomplete status: [first second]"
        found = await w.pod_until("init", lambda p: "running" in state(p, "second"))
        assert state(found, "first")["terminated"]["reason"] == "Completed"
        if policy == "Always":
            found = await w.running("init")
            assert condition(found, "Initialized")["status"] == "True"
        else:
            found = await w.pod_until("init", lambda p: p["status"]["phase"] == "Succeeded")
            assert condition(found, "Initialized")["reason"] == "PodCompleted"
            assert condition(found, "Ready")["reason"] == "PodCompleted"
        assert [s["ready"] for s in found["status"]["initContainerStatuses"]] == [True, True]

    run(test)


@pytest.mark.conformance(
    "[sig-node] InitContainer [NodeConformance] should not start app containers and fail the pod if "
    "init containers fail on a RestartNever pod [Conformance]"
)
def test_a_failed_init_container_fails_a_pod_that_never_restarts():
    async def test(w: World) -> None:
        marks = {"simulation.skiff.dev/exit-code.first": "1"}
        init = [container("first"), container("second")]
        await w.create(pod("init", initContainers=init, restartPolicy="Never", annotations=marks))
        found = await w.pod_until("init", lambda p: p["status"]["phase"] == "Failed")
        assert state(found, "first")["terminated"]["exitCode"] == 1
        assert "waiting" in state(found, "second")
        assert "waiting" in state(found, "main")
        assert condition(found, "Ready")["reason"] == "PodFailed"

    run(test)


@pytest.mark.conformance(
    "[sig-node] InitContainer [NodeConformance] should not start app containers if init containers "
    "fail on a RestartAlways pod [Conformance]"
)
def test_a_failing_init_container_is_tried_again():
    async def test(w: World) -> None:
        marks = {"simulation.skiff.dev/exit-code.first": "1"}
        await w.create(pod("init", initContainers=[container("first")], annotations=marks))
        found = await w.pod_until(
            "init", lambda p: status_of(p, "first").get("restartCount") == 3, 120
        )
        assert found["status"]["phase"] == "Pending"
        assert "waiting" in state(found, "main")
        assert status_of(found, "main")["restartCount"] == 0

    run(test)


def test_sidecars_start_before_and_outlive_the_rest():
    async def test(w: World) -> None:
        marks = {"simulation.skiff.dev/exit-after-seconds.main": "10"}
        init = [container("proxy", restartPolicy="Always"), container("setup"),
                container("logs", restartPolicy="Always")]  # fmt: skip
        await w.create(pod("job", initContainers=init, restartPolicy="Never", annotations=marks))
        found = await w.running("job")
        assert status_of(found, "proxy")["ready"] and status_of(found, "proxy")["started"]
        began = [status_of(found, n)["state"] for n in ("proxy", "logs", "main")]
        assert all("running" in s for s in began)
        w.simulated.end(w.simulated.find("default", "job", "proxy"), 1)
        found = await w.pod_until("job", lambda p: status_of(p, "proxy")["restartCount"] == 1)
        found = await w.pod_until("job", lambda p: p["status"]["phase"] == "Succeeded", 120)
        ends = {n: state(found, n)["terminated"] for n in ("main", "logs", "proxy")}
        assert ends["main"]["exitCode"] == 0
        order = [e["message"] for e in await w.objects_of_events("job") if e["reason"] == "Killing"]
        assert order == ["Stopping container logs", "Stopping container proxy"]

    run(test)


def test_deadline_fails_the_pod():
    async def test(w: World) -> None:
        await w.create(pod("slow", activeDeadlineSeconds=30))
        await w.running("slow")
        found = await w.pod_until("slow", lambda p: p["status"]["phase"] == "Failed")
        assert found["status"]["reason"] == "DeadlineExceeded"
        assert found["status"]["message"] == (
            "Pod was active on the node longer than the specified deadline"
        )
        await w.event("slow", "DeadlineExceeded")

    run(test)


@pytest.mark.conformance(
    "[sig-node] Pods should allow activeDeadlineSeconds to be updated [NodeConformance] [Conformance]"
)
def test_the_deadline_may_be_set_later():
    async def test(w: World) -> None:
        await w.create(pod("slow"))
        await w.running("slow")
        await w.clock.sleep(20)
        await w.client.patch(PODS, "slow", "default", {"spec": {"activeDeadlineSeconds": 5}})
        found = await w.pod_until("slow", lambda p: p["status"]["phase"] == "Failed", 5)
        assert found["status"]["reason"] == "DeadlineExceeded"

    run(test)


def test_the_phase_is_terminal_only_once_nothing_runs():
    async def test(w: World) -> None:
        marks = annotations(stop_seconds=10)
        await w.create(pod("slow", activeDeadlineSeconds=30, annotations=marks))
        await w.running("slow")
        found = await w.pod_until("slow", lambda p: condition(p, "Ready")["status"] == "False")
        assert condition(found, "Ready")["reason"] == "PodFailed"
        assert "running" in state(found)
        assert found["status"]["phase"] == "Running"
        assert "reason" not in found["status"]
        found = await w.pod_until("slow", lambda p: p["status"]["phase"] == "Failed")
        assert found["status"]["reason"] == "DeadlineExceeded"
        assert "terminated" in state(found)

    run(test)


def test_a_changed_image_restarts_a_container_that_is_never_restarted():
    async def test(w: World) -> None:
        phases = set()
        await w.create(pod("once", restartPolicy="Never"))
        await w.running("once")
        change = {"spec": {"containers": [{"name": "main", "image": "web:2"}]}}
        await w.client.patch(PODS, "once", "default", change, kind="strategic")

        def replaced(found: dict) -> bool:
            phases.add(found["status"]["phase"])
            return status_of(found)["restartCount"] == 1 and "running" in state(found)

        found = await w.pod_until("once", replaced)
        assert phases == {"Running"}
        assert status_of(found)["image"].endswith("web:2")
        message = "Container main definition changed, will be restarted"
        await w.event("once", "Killing", message)

    run(test)


def test_containers_of_a_pod_that_ends_before_they_start_are_said_to_be_lost():
    async def test(w: World) -> None:
        broken = container("init", image="nowhere:1", imagePullPolicy="Never")
        main = container(image="nowhere:1", imagePullPolicy="Never")
        await w.create(pod("plain", main, activeDeadlineSeconds=5))
        await w.create(pod("initial", main, initContainers=[broken], activeDeadlineSeconds=5))
        for name in ("plain", "initial"):
            await w.pod_until(name, lambda p: p["status"]["phase"] == "Failed")
        lost = {
            "exitCode": 137,
            "reason": "ContainerStatusUnknown",
            "message": "The container could not be located when the pod was terminated",
        }
        found = await w.pod_until("plain", lambda p: "terminated" in state(p))
        assert state(found)["terminated"].items() >= lost.items()
        found = await w.pod_until("initial", lambda p: "terminated" in state(p, "init"))
        assert state(found, "init")["terminated"].items() >= lost.items()
        assert state(found)["waiting"]["reason"] == "PodInitializing"

    run(test)


def test_grace_period_is_kept_and_can_be_shortened():
    async def test(w: World) -> None:
        marks = annotations(stop_seconds=100)
        await w.create(pod("stubborn", terminationGracePeriodSeconds=60, annotations=marks))
        await w.running("stubborn")
        began = w.clock.now()
        await w.delete("stubborn")
        await w.clock.sleep(20)
        found = await w.pod("stubborn")
        assert "running" in state(found)
        await w.delete("stubborn", grace_period_s=5)
        await w.gone("stubborn")
        assert 24 <= w.clock.now() - began <= 28

    run(test)


def test_a_forced_deletion_leaves_nothing_behind():
    async def test(w: World) -> None:
        await w.create(pod("web", annotations=annotations(stop_seconds=100)))
        await w.running("web")
        await w.delete("web", grace_period_s=0)
        await w.gone("web", 1)
        await w.until(lambda: _empty(w), 10)

    run(test)


def test_the_last_status_is_written_before_the_pod_goes():
    async def test(w: World) -> None:
        made = pod("web", annotations=annotations(stop_seconds=1))
        made["metadata"]["finalizers"] = ["example.com/hold"]
        await w.create(made)
        await w.running("web")
        await w.delete("web")
        found = await w.pod_until("web", lambda p: p["status"]["phase"] == "Failed")
        assert state(found)["terminated"]["exitCode"] == 143
        assert condition(found, "Ready")["status"] == "False"
        await w.client.patch(PODS, "web", "default", {"metadata": {"finalizers": None}})
        await w.gone("web")

    run(test)


@pytest.mark.conformance(
    "[sig-node] ImageVolume should succeed with pod and pull policy of Always [LinuxOnly] [MinimumKubeletVersion:1.35] [Conformance]"
)
def test_an_image_as_a_volume_is_pulled_for_the_containers_that_want_it():
    async def test(w: World) -> None:
        def files(reference: str, policy: str):
            return {"name": "files", "image": {"reference": reference, "pullPolicy": policy}}

        wants = container(volumeMounts=[{"name": "files", "mountPath": "/files"}])
        await w.create(pod("wants", wants, volumes=[files("files:1", "Always")]))
        await w.create(pod("ignores", container(), volumes=[files("nothing:1", "Never")]))
        await w.create(pod("lacks", wants, volumes=[files("nothing:1", "Never")]))
        for name in ("wants", "ignores"):
            await w.pod_until(name, lambda p: "running" in state(p))
        reason = "ErrImageNeverPull"
        await w.pod_until("lacks", lambda p: state(p).get("waiting", {}).get("reason") == reason)
        await w.event("wants", "Pulling", 'Pulling image "files:1"')

    run(test)


@pytest.mark.parametrize(
    ("annotation", "policy", "reason", "message"),
    [
        ("no such host", "IfNotPresent", "ErrImagePull", "no such host"),
        ("", "Never", "ErrImageNeverPull",
         'Container image "web:1" is not present with pull policy of Never'),
    ],
)  # fmt: skip
def test_images_that_cannot_be_had(annotation: str, policy: str, reason: str, message: str):
    async def test(w: World) -> None:
        marks = annotations(pull_error=annotation) if annotation else {}
        await w.create(pod("web", container(imagePullPolicy=policy), annotations=marks))
        found = await w.pod_until(
            "web", lambda p: state(p).get("waiting", {}).get("reason") == reason
        )
        assert message in state(found)["waiting"]["message"]
        assert found["status"]["phase"] == "Pending"
        await w.event("web", "Failed", f"Error: {reason}")
        if annotation:
            await w.event(
                "web", "Failed", 'Failed to pull image "web:1": rpc error: code = Unknown'
            )
            found = await w.pod_until(
                "web", lambda p: state(p).get("waiting", {}).get("reason") == "ImagePullBackOff"
            )
            await w.event("web", "BackOff", 'Back-off pulling image "web:1"')

    run(test)


def test_a_missing_config_map_holds_the_container():
    async def test(w: World) -> None:
        env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}}]
        await w.create(pod("web", container(env=env)))
        found = await w.pod_until(
            "web",
            lambda p: state(p).get("waiting", {}).get("reason") == "CreateContainerConfigError",
        )
        assert state(found)["waiting"]["message"] == 'configmap "settings" not found'
        await w.event("web", "Failed", 'Error: configmap "settings" not found')
        await w.client.create(
            CONFIGMAPS,
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "settings"},
                "data": {"a": "1"},
            },
            "default",
        )
        await w.running("web", 20)

    run(test)


def test_non_root_is_checked():
    async def test(w: World) -> None:
        await w.create(
            pod("web", container(securityContext={"runAsNonRoot": True, "runAsUser": 0}))
        )
        found = await w.pod_until(
            "web", lambda p: "waiting" in state(p) and "message" in state(p)["waiting"]
        )
        waiting = state(found)["waiting"]
        assert waiting["reason"] == "CreateContainerConfigError"
        assert waiting["message"].startswith("container's runAsUser breaks non-root policy (pod: ")

    run(test)


@pytest.mark.conformance(
    "[sig-node] Ephemeral Containers [NodeConformance] will start an ephemeral container in an "
    "existing pod [Conformance]"
)
def test_ephemeral_containers_start_in_a_running_pod():
    async def test(w: World) -> None:
        await w.create(pod("web"))
        await w.running("web")
        debugger = {"name": "debugger", "image": "web:1", "targetContainerName": "main"}
        await w.client.patch(
            PODS, "web", "default", {"spec": {"ephemeralContainers": [debugger]}},
            kind="strategic", subresource="ephemeralcontainers",
        )  # fmt: skip
        found = await w.pod_until("web", lambda p: "running" in state(p, "debugger"))
        assert found["status"]["ephemeralContainerStatuses"][0]["ready"] is False
        w.simulated.end(w.simulated.find("default", "web", "debugger"), 0)
        found = await w.pod_until("web", lambda p: "terminated" in state(p, "debugger"))
        await w.clock.sleep(60)
        found = await w.pod("web")
        assert status_of(found, "debugger")["restartCount"] == 0
        assert found["status"]["phase"] == "Running"

    run(test)


def test_readiness_gates_are_waited_for():
    async def test(w: World) -> None:
        await w.create(pod("web", readinessGates=[{"conditionType": "example.com/lb"}]))
        found = await w.pod_until(
            "web", lambda p: condition(p, "ContainersReady").get("status") == "True"
        )
        ready = condition(found, "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "ReadinessGatesNotReady")
        assert ready["message"] == (
            'corresponding condition of pod readiness gate "example.com/lb" does not exist.'
        )
        gate = {"type": "example.com/lb", "status": "True"}
        await w.client.patch(
            PODS, "web", "default", {"status": {"conditions": [gate]}},
            kind="strategic", subresource="status",
        )  # fmt: skip
        found = await w.running("web")
        assert condition(found, "example.com/lb")["status"] == "True"

    run(test)


@pytest.mark.conformance("[sig-node] PreStop should call prestop when killing a pod [Conformance]")
def test_hooks_run_around_the_containers_life():
    calls: list[list[str]] = []

    async def test(w: World) -> None:
        def handler(container_id: str, command) -> ExecResult:
            calls.append(list(command))
            return ExecResult(b"", b"", 0)

        w.simulated.exec_handler = handler
        hooks = {
            "postStart": {"exec": {"command": ["warm", "up"]}},
            "preStop": {"exec": {"command": ["drain"]}},
        }
        await w.create(pod("web", container(lifecycle=hooks)))
        await w.running("web")
        assert calls == [["warm", "up"]]
        await w.delete("web")
        await w.gone("web")
        assert calls == [["warm", "up"], ["drain"]]

    run(test)


def test_sidecars_hooks_run_at_once_and_their_ends_in_turn():
    calls: list[tuple[str, float]] = []

    async def test(w: World) -> None:
        def handler(container_id: str, command) -> ExecResult:
            calls.append((command[0], w.clock.now()))
            return ExecResult(b"", b"", 0)

        def drains(name: str, **fields) -> dict:
            hook = {"preStop": {"exec": {"command": [name]}}}
            return container(name, lifecycle=hook, **fields)

        w.simulated.exec_handler = handler
        init = [drains("a", restartPolicy="Always"), drains("b", restartPolicy="Always")]
        marks = annotations(stop_seconds=4)
        await w.create(pod("web", drains("main"), initContainers=init, annotations=marks))
        await w.running("web")
        began = w.clock.now()
        await w.delete("web")
        found = await w.pod_until("web", lambda p: "terminated" in state(p, "b"))
        ends = [parse_rfc3339(state(found, n)["terminated"]["finishedAt"]) for n in ("main", "b")]
        assert ends[0] < ends[1]
        assert "running" in state(found, "a")
        await w.gone("web")
        assert sorted(name for name, _ in calls) == ["a", "b", "main"]
        assert all(at - began < 1 for _, at in calls)
        assert w.clock.now() - began > 3 * 4

    run(test)


def test_a_failed_post_start_hook_restarts_the_container():
    async def test(w: World) -> None:
        failing = [True]
        w.simulated.exec_handler = lambda *_: ExecResult(b"", b"no", 1 if failing[0] else 0)
        await w.create(pod("web", container(lifecycle={"postStart": NOTHING})))
        await w.event("web", "FailedPostStartHook", "PostStartHook failed")
        await w.event("web", "Killing", "FailedPostStartHook")
        found = await w.pod_until(
            "web", lambda p: state(p).get("waiting", {}).get("reason") == "PostStartHookError"
        )
        uid = found["metadata"]["uid"]
        assert state(found)["waiting"]["message"] == (
            f'Exec lifecycle hook ([true]) for Container "main" in Pod "web_default({uid})" failed - '
            "error: command 'true' exited with 1: no, message: \"no\""
        )
        assert not [e for e in await w.events("web") if e[1] == "Failed"]
        failing[0] = False
        found = await w.running("web")
        assert status_of(found)["restartCount"] >= 1

    run(test)


def test_a_sleep_hook_delays_the_stop():
    async def test(w: World) -> None:
        await w.create(pod("web", container(lifecycle={"preStop": {"sleep": {"seconds": 10}}})))
        await w.running("web")
        began = w.clock.now()
        await w.delete("web")
        await w.gone("web")
        assert 10 <= w.clock.now() - began <= 13

    run(test)


def test_what_is_the_kubelets_to_say_is_put_right():
    async def test(w: World) -> None:
        await w.create(pod("web"))
        await w.running("web")
        wrong = {
            "status": {"message": "patched", "conditions": [{"type": "Ready", "status": "False"}]}
        }
        found = await w.client.patch(
            PODS, "web", "default", wrong, kind="strategic", subresource="status"
        )
        assert condition(found, "Ready")["status"] == "False"
        found = await w.running("web", 5)
        assert found["status"]["message"] == "patched"

    run(test)


def test_runtime_classes_name_the_handler():
    async def test(w: World) -> None:
        classes = RESOURCES["node.k8s.io", "v1", "runtimeclasses"]
        made = {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": "fast"},
            "handler": "runc",
        }
        await w.client.create(classes, made)
        await w.create(pod("web", runtimeClassName="fast"))
        await w.running("web")
        (sandbox,) = await w.runtime.list_sandboxes()
        assert sandbox.runtime_handler == "runc"

    run(test)


def test_pull_secrets_are_used():
    used = []

    async def test(w: World) -> None:
        pull = w.simulated.pull_image

        async def noting(image, auth, sandbox):
            used.append((image, auth.username if auth else ""))
            return await pull(image, auth, sandbox)

        w.simulated.pull_image = noting
        auths = {"auths": {"r.example": {"username": "me", "password": "x"}}}
        data = base64.b64encode(json.dumps(auths).encode()).decode()
        secret = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
                  "metadata": {"name": "pull"}, "data": {".dockerconfigjson": data}}  # fmt: skip
        await w.client.create(SECRETS, secret, "default")
        main = container(image="r.example/web:1")
        await w.create(pod("web", main, imagePullSecrets=[{"name": "pull"}, {"name": "absent"}]))
        await w.running("web")
        assert used == [("r.example/web:1", "me")]
        await w.event("web", "FailedToRetrieveImagePullSecret", "(absent)")

    run(test)


def test_the_end_of_a_deleted_pods_containers_is_told_with_its_last_phase():
    async def test(w: World) -> None:
        made = pod("web")
        made["metadata"]["finalizers"] = ["example.com/hold"]
        await w.create(made)
        await w.running("web")
        stop_sandbox = w.simulated.stop_sandbox

        async def slow(sandbox_id: str) -> None:
            await w.clock.sleep(2)
            await stop_sandbox(sandbox_id)

        w.simulated.stop_sandbox = slow  # type: ignore[method-assign] # the runtime takes its time
        await w.delete("web")
        seen: set[tuple[str, str]] = set()

        async def look() -> bool:
            found = await w.pod("web")
            seen.add((found["status"]["phase"], next(iter(state(found)), "")))
            return "terminated" in state(found)

        await w.until(look, 30, 0.01)
        assert seen == {("Running", "running"), ("Failed", "terminated")}
        await w.client.patch(PODS, "web", "default", {"metadata": {"finalizers": None}})
        await w.gone("web")

    run(test)


RESTART_ALL = [
    {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}},
]


@pytest.mark.parametrize("source", ["main", "watcher", "prepare"])
def test_an_end_may_restart_all_containers(source: str):
    """Whichever container it is that a rule watches: all are removed and the pod starts anew in place."""

    def rules(name: str) -> dict[str, Any]:
        sidecar = name == "watcher"
        policy = {"restartPolicy": "Always" if sidecar else "Never"}
        ruled = policy | {"restartPolicyRules": RESTART_ALL}
        return ruled if name == source else policy if sidecar else {}

    async def test(w: World) -> None:
        marks = {
            f"{key}.{source}": value
            for key, value in annotations(exit_after_seconds=3, exit_code=42).items()
        }
        init = [container(n, **rules(n)) for n in ("watcher", "prepare")]
        made = pod("web", container("main", **rules("main")), container("other"),
                   initContainers=init, restartPolicy="Never", annotations=marks)  # fmt: skip
        await w.create(made)
        before = await w.pod_until("web", lambda p: p["status"].get("podIP"))
        names = ("watcher", "prepare", "main", "other")[: 2 if source == "prepare" else 4]

        def counts(p: dict[str, Any]) -> list[int]:
            both = (*p["status"]["initContainerStatuses"], *p["status"]["containerStatuses"])
            return [s["restartCount"] for s in both if s["name"] in names]

        seen: set[str] = set()

        async def look() -> bool:
            found = await w.pod("web")
            seen.add(found["status"]["phase"])
            assert not {"Failed", "Succeeded"} & seen
            now = counts(found)
            assert max(now) - min(now) <= 1, now
            return min(now) == 2

        await w.until(look, 60, 0.01)
        found = await w.pod("web")
        told = condition(found, "AllContainersRestarting")
        assert told["status"] in ("True", "False")
        end = state(found, names[-1], "lastState")["terminated"] if source != "prepare" else None
        assert end is None or (end["exitCode"], end["reason"]) == (137, "RestartingAllContainers")
        assert found["status"]["podIP"] == before["status"]["podIP"]
        assert len(await w.runtime.list_sandboxes()) == 1
        assert "BackOff" not in [reason for _, reason, _ in await w.events("web")]
        await w.delete("web", 0)
        await w.gone("web")

    run(test)
