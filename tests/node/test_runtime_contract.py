"""What every container runtime keeps: one suite over the simulated one and, on a machine that has it,
containerd itself."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from skiff.aio.clock import LoopClock, RealClock
from skiff.aio.entropy import Entropy
from skiff.node.runtime import (
    ANNOTATION_CONTAINER_TYPE,
    LABEL_POD_UID,
    ContainerConfig,
    ContainerState,
    LinuxResources,
    Runtime,
    RuntimeNotFound,
    RuntimeRemoteError,
    SandboxConfig,
)
from skiff.node.simulated import SimulatedRuntime, annotations
from skiff.node.volumes import mounts
from skiff.testing.loop import run_virtual

IMAGE = "busybox:1"
FOREVER = ("sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done")


@dataclass
class Case:
    """A runtime under test. `ends` makes command and annotations of a container that ends by itself."""

    runtime: Runtime
    clock: object
    logs: Path
    real: bool

    def sandbox(self, name: str = "a", marks=None) -> SandboxConfig:
        return SandboxConfig(
            name, "default", f"uid-{name}", log_directory=str(self.logs / name),
            labels={LABEL_POD_UID: f"uid-{name}"}, annotations=marks or {},
        )  # fmt: skip

    async def image_id(self) -> str:
        image = await self.runtime.image_status(IMAGE)
        assert image is not None
        return image.id

    async def container(
        self,
        sandbox_id: str,
        sandbox: SandboxConfig,
        command=FOREVER,
        name: str = "main",
        attempt: int = 0,
    ) -> str:
        config = ContainerConfig(
            name, await self.image_id(), attempt, command=command, log_path=f"{name}/{attempt}.log",
            labels={"x": "y", LABEL_POD_UID: sandbox.uid}, annotations={ANNOTATION_CONTAINER_TYPE: "regular"},
        )  # fmt: skip
        return await self.runtime.create_container(sandbox_id, config, sandbox)

    async def until_exited(self, container_id: str):
        for _ in range(200):
            status = await self.runtime.container_status(container_id)
            if status.state is ContainerState.EXITED:
                return status
            await self.clock.sleep(0.05)
        raise AssertionError("it runs on")


Check = Callable[[Case], Awaitable[None]]


def _simulated(check: Check) -> None:
    async def main() -> None:
        clock = LoopClock(1_700_000_000.0)
        runtime = SimulatedRuntime(clock, Entropy(1))
        await runtime.pull_image(IMAGE, None, None)
        await check(Case(runtime, clock, Path("/nowhere"), real=False))
        await runtime.close()

    run_virtual(main())


def _real(check: Check, containerd) -> None:
    from skiff.node.cri import CriRuntime

    async def main() -> None:
        clock = RealClock()
        runtime = CriRuntime(containerd.endpoint, clock)
        try:
            async with asyncio.timeout(60):
                await check(Case(runtime, clock, containerd.directory / "contract-logs", real=True))
        finally:
            for sandbox in await runtime.list_sandboxes():
                await runtime.stop_sandbox(sandbox.id)
                await runtime.remove_sandbox(sandbox.id)
            await runtime.close()

    asyncio.run(main())


@pytest.fixture(params=["simulated", pytest.param("containerd", marks=pytest.mark.real)])
def check(request):
    if request.param == "simulated":
        return _simulated
    containerd = request.getfixturevalue("real_containerd")
    return lambda it: _real(it, containerd)


def test_it_says_who_it_is_and_that_it_is_ready(check):
    async def it(c: Case) -> None:
        version = await c.runtime.version()
        assert version.name in ("containerd", "simulated")
        assert version.version[0].isdigit()
        assert {r.type: r.status for r in await c.runtime.status()} == {
            "RuntimeReady": True, "NetworkReady": True,
        }  # fmt: skip

    check(it)


def test_a_sandbox_has_an_address_until_it_is_stopped(check):
    async def it(c: Case) -> None:
        sandbox_id = await c.runtime.run_sandbox(c.sandbox())
        status = await c.runtime.sandbox_status(sandbox_id)
        assert status.ready and len(status.ips) == 1 and not status.host_network
        (listed,) = await c.runtime.list_sandboxes()
        assert (listed.id, listed.name, listed.uid, listed.ready) == (
            sandbox_id,
            "a",
            "uid-a",
            True,
        )
        assert listed.labels[LABEL_POD_UID] == "uid-a"
        await c.runtime.stop_sandbox(sandbox_id)
        await c.runtime.stop_sandbox(sandbox_id)
        assert not (await c.runtime.sandbox_status(sandbox_id)).ready
        await c.runtime.remove_sandbox(sandbox_id)
        await c.runtime.remove_sandbox(sandbox_id)
        assert await c.runtime.list_sandboxes() == []
        with pytest.raises(RuntimeNotFound):
            await c.runtime.sandbox_status(sandbox_id)

    check(it)


def test_two_sandboxes_have_two_addresses(check):
    async def it(c: Case) -> None:
        ids = [await c.runtime.run_sandbox(c.sandbox(name)) for name in ("a", "b")]
        ips = {(await c.runtime.sandbox_status(i)).ips for i in ids}
        assert len(ips) == 2

    check(it)


def test_a_containers_states(check):
    async def it(c: Case) -> None:
        sandbox = c.sandbox()
        sandbox_id = await c.runtime.run_sandbox(sandbox)
        container_id = await c.container(sandbox_id, sandbox)
        status = await c.runtime.container_status(container_id)
        assert status.state is ContainerState.CREATED
        assert (status.name, status.attempt, status.labels["x"]) == ("main", 0, "y")
        assert status.annotations == {ANNOTATION_CONTAINER_TYPE: "regular"}
        await c.runtime.start_container(container_id)
        status = await c.runtime.container_status(container_id)
        assert status.state is ContainerState.RUNNING
        assert status.started_at >= status.created_at > 1_600_000_000
        assert status.image == "docker.io/library/busybox:1"
        assert status.log_path == str(c.logs / "a" / "main/0.log")
        (listed,) = await c.runtime.list_containers()
        assert (listed.id, listed.sandbox_id, listed.state) == (
            container_id,
            sandbox_id,
            status.state,
        )
        with pytest.raises(RuntimeRemoteError):
            await c.runtime.start_container(container_id)
        await c.runtime.stop_container(container_id, 10)
        status = await c.runtime.container_status(container_id)
        assert status.state is ContainerState.EXITED
        assert status.finished_at >= status.started_at
        assert (status.exit_code, status.reason) == (7 if c.real else 143, "Error")
        await c.runtime.stop_container(container_id, 10)
        await c.runtime.remove_container(container_id)
        await c.runtime.remove_container(container_id)
        await c.runtime.stop_container(container_id, 1)
        with pytest.raises(RuntimeNotFound):
            await c.runtime.container_status(container_id)

    check(it)


@pytest.mark.parametrize(("code", "reason"), [(0, "Completed"), (3, "Error")])
def test_a_container_ends_by_itself_and_watchers_hear_of_it(check, code: int, reason: str):
    async def it(c: Case) -> None:
        sandbox = c.sandbox(marks=annotations(exit_after_seconds=1, exit_code=code))
        sandbox_id = await c.runtime.run_sandbox(sandbox)
        heard: list[str] = []
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(c.runtime.watch(heard.append))
            await c.clock.sleep(0.3)
            assert c.runtime.watches
            container_id = await c.container(
                sandbox_id, sandbox, ("sh", "-c", f"sleep 1; exit {code}")
            )
            await c.runtime.start_container(container_id)
            status = await c.until_exited(container_id)
            assert (status.exit_code, status.reason) == (code, reason)
            assert 0.9 <= status.finished_at - status.started_at < 3
            for _ in range(40):
                if heard:
                    break
                await c.clock.sleep(0.05)
            watching.cancel()
        assert heard == [container_id]

    check(it)


def test_what_ignores_the_stop_signal_is_killed(check):
    async def it(c: Case) -> None:
        sandbox = c.sandbox(marks=annotations(stop_seconds=60))
        sandbox_id = await c.runtime.run_sandbox(sandbox)
        stubborn = ("sh", "-c", "trap '' TERM; while :; do sleep 1; done")
        container_id = await c.container(sandbox_id, sandbox, stubborn)
        await c.runtime.start_container(container_id)
        began = c.clock.monotonic()
        await c.runtime.stop_container(container_id, 1)
        assert 0.9 < c.clock.monotonic() - began < 6
        assert (await c.runtime.container_status(container_id)).exit_code == 137

    check(it)


def test_stopping_a_sandbox_ends_its_containers_and_removing_it_removes_them(check):
    async def it(c: Case) -> None:
        sandbox = c.sandbox()
        sandbox_id = await c.runtime.run_sandbox(sandbox)
        container_id = await c.container(sandbox_id, sandbox)
        await c.runtime.start_container(container_id)
        await c.runtime.stop_sandbox(sandbox_id)
        assert (await c.until_exited(container_id)).exit_code == 137
        await c.runtime.remove_sandbox(sandbox_id)
        assert await c.runtime.list_containers() == []

    check(it)


def test_commands_run_in_a_container(check):
    async def it(c: Case) -> None:
        sandbox = c.sandbox()
        sandbox_id = await c.runtime.run_sandbox(sandbox)
        container_id = await c.container(sandbox_id, sandbox)
        with pytest.raises(RuntimeRemoteError):
            await c.runtime.exec_sync(container_id, ["true"], 5)
        await c.runtime.start_container(container_id)
        assert (await c.runtime.exec_sync(container_id, ["true"], 5)).exit_code == 0
        if c.real:
            done = await c.runtime.exec_sync(
                container_id, ["sh", "-c", "echo o; echo e >&2; exit 5"], 5
            )
            assert (done.stdout, done.stderr, done.exit_code) == (b"o\n", b"e\n", 5)
            with pytest.raises(RuntimeRemoteError) as late:
                await c.runtime.exec_sync(container_id, ["sleep", "30"], 1)
            assert late.value.code == "DEADLINE_EXCEEDED"

    check(it)


def test_limits_can_change_while_it_runs(check):
    async def it(c: Case) -> None:
        sandbox = c.sandbox()
        sandbox_id = await c.runtime.run_sandbox(sandbox)
        container_id = await c.container(sandbox_id, sandbox)
        await c.runtime.start_container(container_id)
        limits = LinuxResources(cpu_period_us=100_000, cpu_quota_us=50_000, cpu_shares=512)
        await c.runtime.update_resources(container_id, limits)

    check(it)


def test_images_are_found_by_any_form_of_their_name(check):
    async def it(c: Case) -> None:
        by_name = await c.runtime.image_status("busybox:1")
        assert by_name is not None and by_name.tags == ("docker.io/library/busybox:1",)
        assert by_name.size_bytes > 0
        for form in ("docker.io/library/busybox:1", "docker.io/busybox:1", by_name.id):
            found = await c.runtime.image_status(form)
            assert found is not None and found.id == by_name.id
        assert await c.runtime.image_status("nosuch:9") is None
        assert by_name.id in {i.id for i in await c.runtime.list_images()}
        await c.runtime.remove_image("nosuch:9")

    check(it)


def test_an_image_shows_its_files_in_a_directory(check, tmp_path):
    async def it(c: Case) -> None:
        target = tmp_path / "shown"
        target.mkdir()
        for _ in range(2):  # again is nothing new
            await c.runtime.mount_image(await c.image_id(), str(target))
        if c.real:
            try:
                assert (target / "bin/busybox").is_file()
                with pytest.raises(OSError, match="Read-only"):
                    (target / "new").touch()
            finally:
                mounts.unmount(target)
            assert list(target.iterdir()) == []
        with pytest.raises(RuntimeRemoteError, match="not found"):
            await c.runtime.mount_image("sha256:" + "0" * 64, str(target))

    check(it)


def test_a_container_needs_its_image_and_a_living_sandbox(check):
    async def it(c: Case) -> None:
        sandbox = c.sandbox()
        sandbox_id = await c.runtime.run_sandbox(sandbox)
        config = ContainerConfig("main", "nosuch:9")
        with pytest.raises(RuntimeRemoteError):
            await c.runtime.create_container(sandbox_id, config, sandbox)
        await c.runtime.stop_sandbox(sandbox_id)
        with pytest.raises(RuntimeRemoteError):
            await c.container(sandbox_id, sandbox)

    check(it)


@pytest.mark.real
def test_a_runtime_that_is_away_says_so_at_once():
    from skiff.node.cri import CriRuntime
    from skiff.node.runtime import RuntimeUnavailable

    async def main() -> None:
        runtime = CriRuntime("/nowhere/containerd.sock", RealClock())
        async with asyncio.timeout(5):
            with pytest.raises(RuntimeUnavailable):
                await runtime.list_containers()
        await runtime.close()

    asyncio.run(main())
