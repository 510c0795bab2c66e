"""Volumes of pods, on both disks: what containers get to see, and that it stays current."""

import asyncio
import base64
import contextlib
import os
import stat
from pathlib import Path

import msgspec
import pytest

from skiff.aio.clock import RealClock
from skiff.aio.entropy import Entropy
from skiff.api.views.core import Pod
from skiff.node.config import KubeletConfig
from skiff.node.environment import ConfigError
from skiff.node.volumes import mounts
from skiff.node.volumes.disk import RealDisk
from skiff.node.volumes.manager import SetupFailed, VolumeManager
from skiff.node.volumes.memory import MemoryDisk
from skiff.node.volumes.model import VolumeError
from tests.node.fake_api import FakeApi

CM = "/api/v1/namespaces/ns/configmaps/"
SECRET = "/api/v1/namespaces/ns/secrets/"
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def pod_of(volumes=(), volume_mounts=None, uid="u1", labels=None, **spec) -> Pod:
    if volume_mounts is None:
        volume_mounts = [{"name": v["name"], "mountPath": f"/{v['name']}"} for v in volumes]
    return msgspec.convert(
        {
            "metadata": {"name": "p", "namespace": "ns", "uid": uid, "labels": labels or {}},
            "spec": {
                "serviceAccountName": "sa",
                "containers": [{"name": "c", "volumeMounts": volume_mounts}],
                "volumes": list(volumes),
                **spec,
            },
        },
        Pod,
    )


class World:
    """A manager over a fake API and one of the disks."""

    def __init__(self, tmp_path: Path, disk) -> None:
        self.clock = RealClock()
        self.api = FakeApi(self.clock)
        self.disk = disk
        self.changed: list[str] = []
        self.config = KubeletConfig("n", tmp_path / "node", tmp_path / "logs")
        self.manager = VolumeManager(
            self.config, self.api.client(), disk, self.clock, Entropy(1),
            services=list, allocatable=lambda: {"cpu": "2", "memory": "1Gi"},
            changed=self.changed.append,
        )  # fmt: skip

    def file(self, pod: Pod, volume: str, path: str) -> bytes | None:
        where = self.manager.volume_path(pod.metadata.uid, volume)
        return None if where is None else self.disk.read_file(where / path)

    async def until(self, check, timeout_s=3.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not check():
                await asyncio.sleep(0.01)


@pytest.fixture(params=["memory", pytest.param("real", marks=[root, pytest.mark.real])])
def play(request, tmp_path):
    """Run `scenario(world)` with a running manager; unmount what it left."""

    def run(scenario) -> None:
        async def main() -> None:
            disk = MemoryDisk() if request.param == "memory" else RealDisk(RealClock())
            world = World(tmp_path, disk)
            started = asyncio.Event()
            task = asyncio.create_task(world.manager.run(started.set))
            await started.wait()
            try:
                await scenario(world)
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

        try:
            asyncio.run(main())
        finally:
            for point in mounts.mounted_below(tmp_path):
                mounts.unmount(point)

    run.real = request.param == "real"
    return run


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


CONFIG = {"data": {"data-1": "value-1", "data-2": "value-2"}, "binaryData": {"bin": "3q3KDw=="}}


@pytest.mark.conformance(
    "[sig-storage] ConfigMap should be consumable from pods in volume [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] ConfigMap binary data should be reflected in volume [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] ConfigMap updates should be reflected in volume [NodeConformance] [Conformance]"
)
def test_a_config_map_is_files_and_stays_current(play):
    async def scenario(world):
        world.api.put(CM + "conf", CONFIG)
        pod = pod_of([{"name": "v", "configMap": {"name": "conf", "defaultMode": 0o644}}])
        await world.manager.setup(pod)
        assert world.file(pod, "v", "data-1") == b"value-1"
        assert world.file(pod, "v", "bin") == base64.b64decode("3q3KDw==")
        world.api.put(CM + "conf", {"data": {"data-1": "new", "more": "x"}})
        await world.until(lambda: world.file(pod, "v", "data-1") == b"new")
        assert world.file(pod, "v", "data-2") is None
        assert world.file(pod, "v", "more") == b"x"
        await world.until(lambda: world.changed == ["u1"])
        await world.manager.teardown("u1")
        assert world.file(pod, "v", "data-1") is None

    play(scenario)


@pytest.mark.conformance(
    "[sig-storage] ConfigMap should be consumable from pods in volume with mappings and Item mode set "
    "[LinuxOnly] [NodeConformance] [Conformance]"
)
def test_items_choose_names_and_modes(play):
    async def scenario(world):
        world.api.put(CM + "conf", CONFIG)
        items = [
            {"key": "data-2", "path": "path/to/data-2", "mode": 0o400},
            {"key": "data-1", "path": "one"},
        ]
        pod = pod_of([{"name": "v", "configMap": {"name": "conf", "items": items}}])
        await world.manager.setup(pod)
        assert world.file(pod, "v", "path/to/data-2") == b"value-2"
        assert world.file(pod, "v", "data-1") is None
        if play.real:
            path = world.manager.volume_path("u1", "v")
            assert mode_of(path / "path/to/data-2") == 0o400
            assert mode_of(path / "one") == 0o644
            assert (path / "one").readlink() == Path("..data/one")

    play(scenario)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
        ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
        (
            {"configMap": {"name": "conf", "items": [{"key": "k", "path": "p"}]}},
            "configmap references non-existent config key: k",
        ),
        (
            {"projected": {"sources": [{"configMap": {"name": "a"}}, {"secret": {"name": "b"}}]}},
            '[configmap "a" not found, secret "b" not found]',
        ),
        (
            {"persistentVolumeClaim": {"claimName": "x"}},
            'error getting PVC "x": persistentvolumeclaim "x" not found',
        ),
        (
            {"nfs": {"server": "s", "path": "/"}},
            'failed to get Plugin from volumeSpec for volume "v" err=no volume plugin matched',
        ),
    ],
)
def test_what_is_missing_is_told_and_comes_later(play, source, message):
    async def scenario(world):
        world.api.put(CM + "conf", CONFIG)
        pod = pod_of([{"name": "v", **source}])
        with pytest.raises(SetupFailed) as e:
            await world.manager.setup(pod)
        assert e.value.events() == [f'MountVolume.SetUp failed for volume "v" : {message}']
        if source == {"configMap": {"name": "none"}}:
            world.api.put(CM + "none", CONFIG)
            await world.until(lambda: world.changed == ["u1"])
            await world.manager.setup(pod)
            assert world.file(pod, "v", "data-1") == b"value-1"

    play(scenario)


@pytest.mark.conformance(
    "[sig-storage] ConfigMap optional updates should be reflected in volume "
    "[NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Secrets optional updates should be reflected in volume "
    "[NodeConformance] [Conformance]"
)
def test_optional_objects_come_and_go(play):
    async def scenario(world):
        world.api.put(SECRET + "del", {"data": {"d": base64.b64encode(b"1").decode()}})
        pod = pod_of(
            [
                {"name": "del", "secret": {"secretName": "del", "optional": True}},
                {"name": "new", "configMap": {"name": "new", "optional": True}},
            ]
        )
        await world.manager.setup(pod)
        assert world.file(pod, "del", "d") == b"1"
        assert world.file(pod, "new", "data-1") is None
        world.api.remove(SECRET + "del")
        world.api.put(CM + "new", CONFIG)
        await world.until(lambda: world.file(pod, "new", "data-1") == b"value-1")
        await world.until(lambda: world.file(pod, "del", "d") is None)

    play(scenario)


@root
@pytest.mark.real
@pytest.mark.conformance(
    "[sig-storage] Secrets should be consumable from pods in volume as non-root with defaultMode and "
    "fsGroup set [LinuxOnly] [NodeConformance] [Conformance]"
)
def test_a_secret_lies_in_memory_and_belongs_to_the_group(play):
    async def scenario(world):
        world.api.put(SECRET + "s", {"data": {"k": base64.b64encode(b"v").decode()}})
        pod = pod_of(
            [{"name": "v", "secret": {"secretName": "s", "defaultMode": 0o440}}],
            securityContext={"fsGroup": 1001, "runAsUser": 1000},
        )
        await world.manager.setup(pod)
        if play.real:
            path = world.manager.volume_path("u1", "v")
            assert mounts.is_mount(path)
            assert mode_of(path / "k") == 0o440
            assert (path / "k").stat().st_gid == 1001
            made = os.statvfs(path)
            assert made.f_blocks * made.f_frsize == 1 << 30  # no more than the node has for pods
            await world.manager.teardown("u1")
            assert not mounts.mounted_below(path)
            assert not world.config.pod_dir("u1").exists()

    play(scenario)


PROJECTED = {
    "name": "all",
    "projected": {
        "defaultMode": 0o644,
        "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 600, "audience": "a"}},
            {"configMap": {"name": "conf", "items": [{"key": "data-1", "path": "ca.crt"}]}},
            {"secret": {"name": "s"}},
            {
                "downwardAPI": {
                    "items": [
                        {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}},
                        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                        {
                            "path": "cpu",
                            "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"},
                        },
                    ]
                }
            },
        ],
    },
}


@pytest.mark.conformance(
    "[sig-storage] Projected combined should project all components that make up the projection API "
    "[Projection] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected downwardAPI should update labels on modification "
    "[NodeConformance] [Conformance]"
)
def test_a_projection_holds_all_sources_and_follows_the_pod(play):
    async def scenario(world):
        world.api.put(CM + "conf", CONFIG)
        world.api.put(SECRET + "s", {"data": {"k": base64.b64encode(b"v").decode()}})
        pod = pod_of([PROJECTED], labels={"a": "1"})
        await world.manager.setup(pod)
        expected = {
            "token": b"token-1", "ca.crt": b"value-1", "k": b"v", "namespace": b"ns",
            "labels": b'a="1"', "cpu": b"2",
        }  # fmt: skip
        assert {k: world.file(pod, "all", k) for k in expected} == expected
        assert world.api.tokens == [
            {
                "audiences": ["a"],
                "expirationSeconds": 600,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u1"},
            }
        ]
        world.manager.follow(pod_of([PROJECTED], labels={"a": "2"}))
        await world.until(lambda: world.file(pod, "all", "labels") == b'a="2"')
        assert world.changed == []
        assert len(world.api.tokens) == 1

    play(scenario)


def test_tokens_are_renewed_before_they_end(play):
    async def scenario(world):
        world.api.token_life_s = 2.0
        source = {"serviceAccountToken": {"path": "token"}}
        pod = pod_of([{"name": "v", "projected": {"sources": [source]}}])
        await world.manager.setup(pod)
        assert world.file(pod, "v", "token") == b"token-1"
        await world.until(lambda: world.file(pod, "v", "token") == b"token-2", 5.0)

    play(scenario)


@root
@pytest.mark.real
def test_a_token_belongs_to_the_only_user(play):
    async def scenario(world):
        source = {"serviceAccountToken": {"path": "token"}}
        pod = pod_of(
            [{"name": "v", "projected": {"sources": [source]}}],
            securityContext={"runAsUser": 1000},
            # It comes later, and takes the token from nobody.
            ephemeralContainers=[{"name": "e", "image": "i", "securityContext": {"runAsUser": 0}}],
        )
        await world.manager.setup(pod)
        if play.real:
            info = (world.manager.volume_path("u1", "v") / "token").stat()
            assert (info.st_uid, stat.S_IMODE(info.st_mode)) == (1000, 0o600)

    play(scenario)


@pytest.mark.conformance(
    "[sig-storage] EmptyDir volumes volume on tmpfs should have the correct mode "
    "[LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] EmptyDir volumes volume on default medium should have the correct mode "
    "[LinuxOnly] [NodeConformance] [Conformance]"
)
def test_empty_dirs(play):
    async def scenario(world):
        pod = pod_of(
            [
                {"name": "disk", "emptyDir": {}},
                {"name": "mem", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            ],
            securityContext={"fsGroup": 77},
        )
        await world.manager.setup(pod)
        if not play.real:
            return
        for name in ("disk", "mem"):
            path = world.manager.volume_path("u1", name)
            assert stat.S_IMODE(path.stat().st_mode) == (0o3777 if name == "mem" else 0o2777)
            assert path.stat().st_gid == 77
        memory = world.manager.volume_path("u1", "mem")
        assert mounts.is_mount(memory)
        assert not os.statvfs(memory).f_flag & (os.ST_NOSUID | os.ST_NODEV)  # as on the disk
        lines = Path("/proc/self/mounts").read_text().splitlines()
        options = next(line.split()[3] for line in lines if line.split()[1] == str(memory))
        linux = tuple(int(part) for part in os.uname().release.split(".")[:2])
        assert ("noswap" in options.split(",")) == (linux >= (6, 4))
        with pytest.raises(OSError, match="No space"):
            (memory / "big").write_bytes(bytes(2 << 20))
        (world.manager.volume_path("u1", "disk") / "kept").write_text("x")
        await world.manager.setup(pod)
        assert (world.manager.volume_path("u1", "disk") / "kept").read_text() == "x"

    play(scenario)


@root
@pytest.mark.real
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("", ""), ("DirectoryOrCreate", ""), ("FileOrCreate", ""),
        ("Directory", "hostPath type check failed: {} is not a directory"),
        ("File", "hostPath type check failed: {} is not a file"),
        ("Socket", "hostPath type check failed: {} is not a socket file"),
        ("CharDevice", "hostPath type check failed: {} is not a character device"),
        ("BlockDevice", "hostPath type check failed: {} is not a block device"),
    ],
)  # fmt: skip
def test_host_paths_are_checked(tmp_path, kind, message):
    disk, path = RealDisk(RealClock()), tmp_path / "x"
    if not message:
        disk.check_host_path(path, kind)
        assert path.exists() == bool(kind)
        return
    with pytest.raises(VolumeError) as e:
        disk.check_host_path(path, kind)
    assert str(e.value) == message.format(path)


def test_a_csi_driver_must_make_volumes_for_pods(play):
    async def scenario(world):
        pod = pod_of([{"name": "v", "csi": {"driver": "e2e.example.com"}}])

        async def told(modes=None) -> list[str]:
            if modes is not None:
                path = "/apis/storage.k8s.io/v1/csidrivers/e2e.example.com"
                world.api.put(path, {"spec": {"volumeLifecycleModes": modes}})
            with pytest.raises(SetupFailed) as e:
                await world.manager.setup(pod)
            return e.value.events()

        refused = (
            'MountVolume.NewMounter initialization failed for volume "v" : '
            'volume mode "Ephemeral" not supported by driver e2e.example.com '
        )
        assert await told() == [refused + "(no CSIDriver object)"]
        assert await told(["Persistent"]) == [refused + '(only supports ["Persistent"])']
        assert await told(["Persistent", "Ephemeral"]) == [
            'MountVolume.SetUp failed for volume "v" : kubernetes.io/csi: mounter.SetUpAt failed to '
            "get CSI client: driver name e2e.example.com not found in the list of registered CSI "
            "drivers"
        ]

    play(scenario)


def test_claims_lead_to_volumes_of_this_machine(play, tmp_path):
    async def scenario(world):
        (tmp_path / "data").mkdir()
        claim = "/api/v1/namespaces/ns/persistentvolumeclaims/x"
        world.api.put(claim, {"spec": {"volumeName": "pv"}, "status": {"phase": "Pending"}})
        world.api.put(
            "/api/v1/persistentvolumes/pv", {"spec": {"local": {"path": str(tmp_path / "data")}}}
        )
        pod = pod_of([{"name": "v", "persistentVolumeClaim": {"claimName": "x", "readOnly": True}}])
        with pytest.raises(SetupFailed, match="not bound"):
            await world.manager.setup(pod)
        driver = {
            "metadata": {"name": "elsewhere"},
            "spec": {"csi": {"driver": "d.example.com", "volumeHandle": "h"}},
        }
        world.api.put("/api/v1/persistentvolumes/elsewhere", driver)
        world.api.put(claim, {"spec": {"volumeName": "elsewhere"}, "status": {"phase": "Bound"}})
        with pytest.raises(SetupFailed, match=r"driver name d\.example\.com not found") as e:
            await world.manager.setup(pod)
        assert 'MountVolume.SetUp failed for volume "elsewhere" : ' in str(e.value)
        if play.real:
            absent = str(tmp_path / "absent")
            elsewhere = "/api/v1/persistentvolumes/elsewhere"
            world.api.put(
                elsewhere,
                {"metadata": {"name": "elsewhere"}, "spec": {"local": {"path": absent}}},
            )
            with pytest.raises(SetupFailed) as e:
                await world.manager.setup(pod)
            assert e.value.events() == [
                'MountVolume.NewMounter initialization failed for volume "elsewhere" : '
                f'path "{absent}" does not exist'
            ]
        world.api.put(claim, {"spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}})
        await world.manager.setup(pod)
        (mount, *_) = world.manager.mounts(pod, pod.spec.containers[0], (), (), 0)
        assert (mount.host_path, mount.readonly) == (str(tmp_path / "data"), True)

    play(scenario)


def test_mounts_of_a_container(play):
    async def scenario(world):
        world.api.put(CM + "conf", CONFIG)
        volumes = [
            {"name": "conf", "configMap": {"name": "conf"}},
            {"name": "work", "emptyDir": {}},
            {"name": "unused", "secret": {"secretName": "none"}},
        ]
        volume_mounts = [
            {"name": "conf", "mountPath": "/etc/conf"},
            {"name": "work", "mountPath": "work", "mountPropagation": "Bidirectional"},
            {"name": "work", "mountPath": "/sub", "subPathExpr": "a/$(NAME)", "readOnly": True},
        ]
        pod = pod_of(volumes, volume_mounts)
        await world.manager.setup(pod)
        container = pod.spec.containers[0]
        made = world.manager.mounts(pod, container, [("NAME", "b")], ("10.0.0.1",), 3)
        by_path = {m.container_path: m for m in made}
        assert list(by_path) == ["/etc/conf", "/work", "/sub", "/etc/hosts", "/dev/termination-log"]
        assert by_path["/etc/conf"].readonly
        assert not by_path["/work"].readonly
        assert by_path["/work"].propagation.name == "BIDIRECTIONAL"
        assert by_path["/sub"].readonly
        if play.real:
            (world.manager.volume_path("u1", "work") / "a/b/file").write_text("x")
            assert (Path(by_path["/sub"].host_path) / "file").read_text() == "x"
            assert mode_of(world.manager.volume_path("u1", "work") / "a/b") == 0o777
        hosts = world.disk.read_file(Path(by_path["/etc/hosts"].host_path))
        assert b"10.0.0.1\tp\n" in hosts
        await world.manager.teardown("u1")

    play(scenario)


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        ({"subPathExpr": "/abs"}, "error SubPath `/abs` must not be an absolute path"),
        ({"subPath": "../x"}, "unable to provision SubPath `../x`: must not contain '..'"),
        ({"subPathExpr": "$(NONE)"}, 'missing value for "NONE"'),
        (
            {"readOnly": True, "recursiveReadOnly": "Enabled"},
            'failed to resolve recursive read-only mode: volume "v" requested recursive read-only '
            "mode, but it is not supported by the runtime",
        ),
    ],
)
@pytest.mark.conformance(
    "[sig-node] Variable Expansion should fail substituting values in a volume subpath with absolute "
    "path [Conformance]"
)
def test_bad_subpaths_are_refused(play, mount, message):
    async def scenario(world):
        pod = pod_of([{"name": "v", "emptyDir": {}}], [{"name": "v", "mountPath": "/v", **mount}])
        await world.manager.setup(pod)
        with pytest.raises(ConfigError) as e:
            world.manager.mounts(pod, pod.spec.containers[0], (), (), 0)
        assert str(e.value) == message

    play(scenario)


@root
@pytest.mark.real
def test_links_do_not_lead_out_of_a_volume(tmp_path):
    disk = RealDisk(RealClock())
    volume = tmp_path / "volume"
    (volume / "inside").mkdir(parents=True)
    (volume / "inside/f").write_text("in")
    (tmp_path / "secret").write_text("out")
    (volume / "good").symlink_to("inside")
    (volume / "bad").symlink_to("../secret")
    (volume / "worse").symlink_to("/etc")
    try:
        target = disk.bind_subpath(volume, "good/f", tmp_path / "t/0")
        assert target.read_text() == "in"
        assert disk.bind_subpath(volume, "good/f", tmp_path / "t/0").read_text() == "in"
        for path in ("bad", "worse/passwd", "inside/../../secret"):
            with pytest.raises(VolumeError):
                disk.bind_subpath(volume, path, tmp_path / "t/1")
    finally:
        disk.remove_tree(tmp_path / "t")
    assert (volume / "inside/f").exists()


def test_environment_with_objects(play):
    async def scenario(world):
        world.api.put(CM + "conf", CONFIG)
        pod = msgspec.convert(
            {
                "metadata": {"name": "p", "namespace": "ns", "uid": "u1"},
                "spec": {
                    "containers": [
                        {"name": "c", "envFrom": [{"configMapRef": {"name": "conf"}}]},
                        {"name": "d", "envFrom": [{"secretRef": {"name": "none"}}]},
                    ]
                },
            },
            Pod,
        )
        good, bad = pod.spec.containers
        env = await world.manager.environment(pod, good)
        assert dict(env.variables) == {"data-1": "value-1", "data-2": "value-2"}
        with pytest.raises(ConfigError, match='secret "none" not found'):
            await world.manager.environment(pod, bad)

    play(scenario)


def test_immutable_objects_are_watched_no_longer(play):
    async def scenario(world):
        world.api.put(CM + "conf", {**CONFIG, "immutable": True})
        pod = pod_of([{"name": "v", "configMap": {"name": "conf"}}])
        await world.manager.setup(pod)
        await world.until(lambda: not world.api.watchers)
        assert world.file(pod, "v", "data-1") == b"value-1"

    play(scenario)


def test_pods_that_ran_before_are_kept_current_again(play):
    async def scenario(world):
        world.api.put(CM + "conf", CONFIG)
        pod = pod_of([{"name": "v", "configMap": {"name": "conf"}}])
        world.manager.adopt(pod)
        await world.until(lambda: world.file(pod, "v", "data-1") == b"value-1")
        world.api.put(CM + "conf", {"data": {"data-1": "new"}})
        await world.until(lambda: world.file(pod, "v", "data-1") == b"new")
        world.manager.follow(pod_of(uid="unknown"))

    play(scenario)


def test_watches_end_with_the_last_pod(play):
    async def scenario(world):
        world.api.put(CM + "conf", CONFIG)
        volumes = [{"name": "v", "configMap": {"name": "conf"}}]
        for uid in ("u1", "u2"):
            await world.manager.setup(pod_of(volumes, uid=uid))
        await world.until(lambda: len(world.api.watchers) == 1)
        await world.manager.teardown("u1")
        await asyncio.sleep(0.02)
        assert len(world.api.watchers) == 1
        await world.manager.teardown("u2")
        await world.until(lambda: not world.api.watchers)

    play(scenario)


@root
@pytest.mark.real
def test_what_a_restart_left_behind_is_removed(play):
    async def scenario(world):
        if not play.real:
            return
        pod = pod_of([{"name": "v", "emptyDir": {"medium": "Memory"}}], uid="old")
        await world.manager.setup(pod)
        again = World(world.config.root_dir.parent, RealDisk(RealClock()))
        await again.manager.cleanup({"old"})
        assert world.config.pod_dir("old").exists()
        await again.manager.cleanup(())
        assert not world.config.pod_dir("old").exists()

    play(scenario)
