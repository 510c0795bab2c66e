"""The kubelet on containerd: real processes, cgroups, networks, and what survives a kill."""

import asyncio
import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from skiff.aio.clock import RealClock
from skiff.api.resources import PODS
from skiff.node.cgroups import MOUNT, remove_cgroups
from skiff.node.runtime import RuntimeRemoteError
from tests.node.world import World, condition, container, pod, state, status_of, world

pytestmark = pytest.mark.real
IMAGE = "busybox:1"
CGROUP = "/kubepods-node-tests"


def sh(script: str, name: str = "main", **fields):
    return container(name, image=IMAGE, command=["sh", "-c", script], **fields)


FOREVER = "trap exit TERM; while :; do sleep 0.1; done"


@pytest.fixture
def run(real_containerd):
    """Runs `test(world)` with a kubelet on the real runtime; `run.containerd` is that."""
    from skiff.node.cri import CriRuntime

    def runner(test: Callable[[World], Awaitable[None]], timeout_s: float = 90, **config) -> None:
        root = real_containerd.directory / "kubelet"

        async def main() -> None:
            clock = RealClock()
            async with world(
                clock=clock,
                runtime=CriRuntime(real_containerd.endpoint, clock),
                root_dir=root,
                pod_logs_dir=real_containerd.directory / "pod-logs",
                node_ip="10.213.0.1",
                cgroup_root=CGROUP,
                **config,
            ) as made:
                try:
                    async with asyncio.timeout(timeout_s):
                        await test(made)
                finally:
                    await made.stop_kubelet()
                    for sandbox in await made.runtime.list_sandboxes():
                        await _remove(made, sandbox.id)

        try:
            asyncio.run(main())
        finally:
            remove_cgroups(CGROUP)
            shutil.rmtree(root, ignore_errors=True)
            shutil.rmtree(real_containerd.directory / "pod-logs", ignore_errors=True)

    runner.containerd = real_containerd  # type: ignore[attr-defined]
    return runner


async def _remove(w: World, sandbox_id: str) -> None:
    """Its network may still be on its way down: then the runtime says so, and is asked again."""
    for left in reversed(range(5)):
        try:
            await w.runtime.stop_sandbox(sandbox_id)
            await w.runtime.remove_sandbox(sandbox_id)
            return
        except RuntimeRemoteError:
            if not left:
                raise
            await w.clock.sleep(0.2)


async def finished(w: World, name: str):
    return await w.pod_until(name, lambda p: p["status"]["phase"] in ("Succeeded", "Failed"), 30)


def log_of(w: World, found, name: str = "main", attempt: int = 0) -> str:
    """What the container printed, without stamps."""
    meta = found["metadata"]
    path = w.config.container_log(meta["namespace"], meta["name"], meta["uid"], name, attempt)
    return "\n".join(line.split(" ", 3)[3] for line in path.read_text().splitlines())


@pytest.mark.conformance(
    "[sig-node] Kubelet when scheduling a busybox command in a pod should print the output to logs "
    "[NodeConformance] [Conformance]"
)
def test_a_pod_leaves_nothing_behind(run):
    async def test(w: World) -> None:
        limits = {"cpu": "500m", "memory": "64Mi"}
        await w.create(pod("web", sh("echo hello; " + FOREVER, resources={"limits": limits})))
        found = await w.running("web")
        uid = found["metadata"]["uid"]
        assert log_of(w, found) == "hello"
        group = MOUNT / f"memory{CGROUP}" / f"pod{uid}"
        if group.exists():
            assert (group / "memory.limit_in_bytes").read_text().strip() == str(64 << 20)
        (listed,) = await w.runtime.list_containers()
        assert (w.config.root_dir / "pods" / uid).exists()
        await w.delete("web")
        await w.gone("web")
        await w.until(lambda: _nothing(w))
        assert not group.exists()
        assert not (w.config.root_dir / "pods" / uid).exists()
        assert not Path(w.config.pod_log_dir("default", "web", uid)).exists()
        assert listed.name == "main"

    run(test)


async def _nothing(w: World) -> bool:
    left = [*await w.runtime.list_sandboxes(), *await w.runtime.list_containers()]
    return not left and not any(w.config.pod_logs_dir.iterdir())


@pytest.mark.conformance(
    "[sig-node] Kubelet when scheduling a busybox command that always fails in a pod should have an "
    "terminated reason [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Kubelet when scheduling a busybox command that always fails in a pod should be "
    "possible to delete [NodeConformance] [Conformance]"
)
def test_a_failing_command(run):
    async def test(w: World) -> None:
        await w.create(pod("bad", sh("exit 5"), restartPolicy="Never"))
        found = await finished(w, "bad")
        end = state(found)["terminated"]
        assert (end["exitCode"], end["reason"]) == (5, "Error")
        await w.delete("bad")
        await w.gone("bad")

    run(test)


def test_a_command_that_does_not_exist(run):
    async def test(w: World) -> None:
        await w.create(pod("bad", container(image=IMAGE, command=["nosuch"])))
        found = await w.pod_until(
            "bad", lambda p: state(p).get("waiting", {}).get("reason") == "RunContainerError"
        )
        assert (
            'exec: "nosuch": executable file not found in $PATH'
            in state(found)["waiting"]["message"]
        )
        found = await w.pod_until(
            "bad", lambda p: state(p).get("waiting", {}).get("reason") == "CrashLoopBackOff"
        )
        end = state(found, key="lastState")["terminated"]
        assert (end["exitCode"], end["reason"]) == (128, "StartError")
        await w.event("bad", "Failed", "Error: failed to create containerd task")

    run(test)


@pytest.mark.conformance(
    "[sig-node] Container Runtime blackbox test on terminated container should report termination "
    "message from file when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set "
    "[NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Container Runtime blackbox test on terminated container should report termination "
    "message from log output if TerminationMessagePolicy FallbackToLogsOnError is set "
    "[NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Container Runtime blackbox test on terminated container should report termination "
    "message as empty when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set "
    "[NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Container Runtime blackbox test on terminated container should report termination "
    "message if TerminationMessagePath is set as non-root user and at a non-default path "
    "[NodeConformance] [Conformance]"
)
@pytest.mark.parametrize(
    ("script", "fields", "message"),
    [
        (
            "echo -n DONE > /dev/termination-log",
            {"terminationMessagePolicy": "FallbackToLogsOnError"},
            "DONE",
        ),
        ("echo DONE; exit 1", {"terminationMessagePolicy": "FallbackToLogsOnError"}, "DONE\n"),
        ("echo DONE", {"terminationMessagePolicy": "FallbackToLogsOnError"}, None),
        ("echo DONE; exit 1", {}, None),
        (
            "echo -n DONE > /dev/custom-log",
            {"terminationMessagePath": "/dev/custom-log", "securityContext": {"runAsUser": 1000}},
            "DONE",
        ),
    ],
)
def test_termination_messages(run, script: str, fields, message: str | None):
    async def test(w: World) -> None:
        await w.create(pod("job", sh(script, **fields), restartPolicy="Never"))
        assert state(await finished(w, "job"))["terminated"].get("message") == message

    run(test)


def test_out_of_memory_is_reported(run):
    async def test(w: World) -> None:
        hungry = sh("head -c 200m /dev/zero | tail", resources={"limits": {"memory": "16Mi"}})
        hungry["command"] = ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=100M count=1"]
        await w.create(pod("hungry", hungry, restartPolicy="Never"))
        end = state(await finished(w, "hungry"))["terminated"]
        assert (end["exitCode"], end["reason"]) == (137, "OOMKilled")

    run(test)


@pytest.mark.conformance(
    "[sig-node] Kubelet when scheduling a read only busybox container should not write to root "
    "filesystem [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Security Context When creating a container with runAsUser should run the container "
    "with uid 65534 [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Security Context should support pod.Spec.SecurityContext.RunAsUser And "
    "pod.Spec.SecurityContext.RunAsGroup [LinuxOnly] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Security Context should support container.SecurityContext.RunAsUser And "
    "container.SecurityContext.RunAsGroup [LinuxOnly] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Security Context When creating a pod with readOnlyRootFilesystem should run the "
    "container with writable rootfs when readOnlyRootFilesystem=false [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Security Context When creating a pod with privileged should run the container as "
    "unprivileged when false [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Security Context when creating containers with AllowPrivilegeEscalation should not "
    "allow privilege escalation when false [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.parametrize(
    ("script", "own", "shared", "output"),
    [
        ("echo x > /file || echo refused", {"readOnlyRootFilesystem": True}, {}, "refused"),
        ("echo x > /file && echo written", {"readOnlyRootFilesystem": False}, {}, "written"),
        ("id -u", {"runAsUser": 65534}, {}, "65534"),
        ("id -u; id -g", {"runAsUser": 1001, "runAsGroup": 2002}, {}, "1001\n2002"),
        ("id -u; id -g", {}, {"runAsUser": 1001, "runAsGroup": 2002}, "1001\n2002"),
        ("id -G", {"runAsUser": 1001}, {"fsGroup": 77, "supplementalGroups": [88]}, "0 77 88"),
        ("mount -t tmpfs none /tmp || echo refused", {"privileged": False}, {}, "refused"),
        ("mount -t tmpfs none /tmp && echo mounted", {"privileged": True}, {}, "mounted"),
        (
            "grep NoNewPrivs /proc/self/status | cat",
            {"runAsUser": 1000, "allowPrivilegeEscalation": False},
            {},
            "NoNewPrivs:\t1",
        ),
        ("cat /proc/sys/kernel/shm_rmid_forced", {},
         {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]}, "1"),
    ],
)  # fmt: skip
def test_security_contexts(run, script: str, own, shared, output: str):
    async def test(w: World) -> None:
        if "grep" in script:
            script_ = 'while read line; do case "$line" in NoNewPrivs*) echo "$line";; esac; done < /proc/self/status'
        else:
            script_ = f"({script}) 2>/dev/null"
        made = pod(
            "job", sh(script_, securityContext=own), restartPolicy="Never", securityContext=shared
        )
        await w.create(made)
        found = await finished(w, "job")
        assert " ".join(log_of(w, found).split()) == " ".join(output.split())
        assert found["status"]["phase"] == "Succeeded", state(found)

    run(test)


def test_images_run_by_their_user(run):
    async def test(w: World) -> None:
        strict = sh("true", securityContext={"runAsNonRoot": True})
        await w.create(pod("strict", strict))
        found = await w.pod_until("strict", lambda p: "message" in state(p).get("waiting", {}))
        assert state(found)["waiting"]["reason"] == "CreateContainerConfigError"
        assert (
            "container has runAsNonRoot and image will run as root"
            in state(found)["waiting"]["message"]
        )

    run(test)


@pytest.mark.conformance(
    '[sig-node] Probing container should be restarted with a exec "cat /tmp/health" liveness probe '
    "[NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Probing container should *not* be restarted with a tcp:8080 liveness probe "
    "[NodeConformance] [Conformance]"
)
def test_probes_of_real_containers(run):
    async def test(w: World) -> None:
        dying = sh("touch /tmp/health; sleep 3; rm /tmp/health; sleep 600",
                   livenessProbe={"exec": {"command": ["cat", "/tmp/health"]}, "periodSeconds": 1,
                                  "failureThreshold": 1, "terminationGracePeriodSeconds": 1})  # fmt: skip
        serving = container(
            image=IMAGE, command=["httpd", "-f", "-p", "8080"],
            ports=[{"name": "web", "containerPort": 8080}],
            livenessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1},
            readinessProbe={"httpGet": {"port": "web", "path": "/etc/"}, "periodSeconds": 1},
        )  # fmt: skip
        await w.create(pod("dying", dying))
        await w.create(pod("serving", serving))
        await w.event(
            "serving", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 404"
        )
        await w.pod_until("dying", lambda p: status_of(p).get("restartCount") == 1)
        await w.event("dying", "Unhealthy", "Liveness probe failed: cat: can't open '/tmp/health'")
        found = await w.pod("serving")
        assert (status_of(found)["restartCount"], status_of(found)["ready"]) == (0, False)

    run(test)


def test_hooks_of_real_containers(run):
    async def test(w: World) -> None:
        hooks = {"postStart": {"exec": {"command": ["sh", "-c", "echo up > /proc/1/fd/1"]}},
                 "preStop": {"exec": {"command": ["sh", "-c", "echo down > /proc/1/fd/1"]}}}  # fmt: skip
        made = pod("web", sh(FOREVER, lifecycle=hooks))
        made["metadata"]["finalizers"] = ["example.com/hold"]
        await w.create(made)
        found = await w.running("web")
        await w.delete("web")
        found = await w.pod_until("web", lambda p: "terminated" in state(p))
        assert log_of(w, found) == "up\ndown"

    run(test)


def test_init_containers_share_volumes_with_the_rest(run):
    async def test(w: World) -> None:
        mount = [{"name": "work", "mountPath": "/work"}]
        init = sh("echo made > /work/file", "init", volumeMounts=mount)
        main = sh("cat /work/file", volumeMounts=mount)
        await w.create(pod("job", main, initContainers=[init], restartPolicy="Never",
                           volumes=[{"name": "work", "emptyDir": {}}]))  # fmt: skip
        found = await finished(w, "job")
        assert log_of(w, found) == "made"

    run(test)


def test_restarting_kubelet_and_containerd_restarts_no_container(run):
    async def test(w: World) -> None:
        await w.create(pod("web", sh(FOREVER)))
        before = await w.running("web")
        pid = await _pid(w)
        await w.stop_kubelet()
        await w.start_kubelet()
        await w.clock.sleep(1)
        assert status_of(await w.pod("web")) == status_of(before)
        run.containerd.kill()
        await w.clock.sleep(2)
        assert _alive(pid)
        await asyncio.to_thread(run.containerd.start)
        await w.clock.sleep(3)
        after = await w.pod("web")
        assert status_of(after) == status_of(before)
        assert condition(after, "Ready") == condition(before, "Ready")
        assert _alive(pid)
        await w.create(pod("next", sh(FOREVER)))
        await w.running("next")
        os.kill(pid, signal.SIGKILL)
        found = await w.pod_until(
            "web", lambda p: status_of(p)["restartCount"] == 1 and status_of(p)["ready"]
        )
        assert state(found, key="lastState")["terminated"]["exitCode"] == 137

    run(test)


async def _pid(w: World) -> int:
    """The host's pid of the one container's first process."""
    (listed,) = await w.runtime.list_containers()
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                if listed.id in (path / "cgroup").read_text():
                    return int(path.name)
            except OSError:
                continue
    raise LookupError(listed.id)


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_the_last_dead_container_is_kept_and_older_ones_go(run):
    async def test(w: World) -> None:
        await w.create(pod("job", sh("echo try; sleep 0.2; exit 1"), restartPolicy="OnFailure"))
        await w.pod_until("job", lambda p: status_of(p).get("restartCount") == 2, 40)
        await w.clock.sleep(1)
        attempts = sorted(c.attempt for c in await w.runtime.list_containers())
        assert attempts == [1, 2]
        meta = (await w.pod("job"))["metadata"]
        logs = w.config.pod_log_dir("default", "job", meta["uid"]) / "main"
        assert sorted(p.name for p in logs.iterdir()) == ["1.log", "2.log"]

    run(test)


def test_host_network_pods_have_the_nodes_address(run):
    async def test(w: World) -> None:
        await w.create(pod("host", sh(FOREVER), hostNetwork=True))
        found = await w.running("host")
        assert found["status"]["podIP"] == found["status"]["hostIP"] == "10.213.0.1"

    run(test)


@pytest.mark.conformance(
    "[sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - "
    "increase cpu & mem on c1, c2, decrease cpu & mem on c3 - net increase [MinimumKubeletVersion:1.34] "
    "[Conformance]"
)
def test_cgroups_follow_a_resize(run):
    def amounts(cpu: str, memory: str):
        return {
            "requests": {"cpu": cpu, "memory": memory},
            "limits": {"cpu": cpu, "memory": memory},
        }

    async def test(w: World) -> None:
        made = [sh(FOREVER, n, resources=amounts("200m", "64Mi")) for n in ("c1", "c2", "c3")]
        await w.create(pod("web", *made))
        await w.running("web")
        wanted = {
            "c1": amounts("400m", "96Mi"),
            "c2": amounts("300m", "80Mi"),
            "c3": amounts("100m", "32Mi"),
        }
        patch = {"spec": {"containers": [{"name": n, "resources": r} for n, r in wanted.items()]}}
        await w.client.patch(PODS, "web", "default", patch, kind="strategic", subresource="resize")
        found = await w.pod_until(
            "web", lambda p: all(status_of(p, n)["resources"] == r for n, r in wanted.items())
        )
        assert [status_of(found, n)["restartCount"] for n in wanted] == [0, 0, 0]
        group = MOUNT / f"cpu{CGROUP}" / f"pod{found['metadata']['uid']}"
        if group.exists():
            quotas = {
                n: int(
                    (
                        group
                        / status_of(found, n)["containerID"].split("//")[1]
                        / "cpu.cfs_quota_us"
                    ).read_text()
                )
                for n in wanted
            }
            assert quotas == {"c1": 40_000, "c2": 30_000, "c3": 10_000}
            await w.until(lambda: _reads(group / "cpu.cfs_quota_us", 80_000))
            memory = MOUNT / f"memory{CGROUP}" / group.name / "memory.limit_in_bytes"
            assert int(memory.read_text()) == 208 << 20

    run(test)


async def _reads(path: Path, number: int) -> bool:
    return int(path.read_text()) == number
