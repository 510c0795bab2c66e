"""Tables: resources, names of images, credentials, security, containerd's configuration, cgroups."""

import base64
import json
from pathlib import Path

import msgspec
import pytest

from skiff.api.quantity import parse
from skiff.api.views.container import Container
from skiff.api.views.pod import Pod
from skiff.node import containerd
from skiff.node.cgroups import Cgroups, cgroup_parent, cpu_weight
from skiff.node.config import KubeletConfig
from skiff.node.configz import configuration
from skiff.node.credentials import credentials_for
from skiff.node.images import InvalidImageName, ScratchImage, normalize, registry_of
from skiff.node.lifecycle.model import Kind
from skiff.node.lifecycle.qos import qos_class
from skiff.node.resources import container_resources, oom_score_adj, pod_cgroup_limits, pod_requests
from skiff.node.runtime import Image, LinuxResources, NamespaceMode, ProfileType
from skiff.node.security import SecurityRefused, container_security, is_privileged, pod_namespaces

MEMORY = 10 << 30


def pod(*containers: dict, **spec) -> Pod:
    listed = [{"name": f"c{i}", **c} for i, c in enumerate(containers)]
    return msgspec.convert({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
                            "spec": {"containers": listed, **spec}}, Pod)  # fmt: skip


def res(requests=None, limits=None) -> dict:
    return {"resources": {"requests": requests or {}, "limits": limits or {}}}


@pytest.mark.parametrize(
    ("resources", "shares", "quota", "memory"),
    [
        ({}, 2, 0, 0),
        (res({"cpu": "100m"}), 102, 0, 0),
        (res({"cpu": "1"}, {"cpu": "2", "memory": "1Gi"}), 1024, 200_000, 1 << 30),
        (res({}, {"cpu": "500m"}), 512, 50_000, 0),
        (res({"cpu": "1m"}, {"cpu": "1m"}), 2, 1000, 0),
        (res({"cpu": "1000"}), 262_144, 0, 0),
    ],
)
def test_requests_and_limits_become_cgroup_settings(resources, shares, quota, memory):
    made = pod(resources)
    found = container_resources(made, made.spec.containers[0], MEMORY)
    assert (found.cpu_shares, found.cpu_quota_us, found.memory_limit_bytes) == (
        shares,
        quota,
        memory,
    )
    assert found.cpu_period_us == (100_000 if quota else 0)


@pytest.mark.parametrize(
    ("resources", "qos", "score"),
    [
        ({}, "BestEffort", 1000),
        (res({"memory": "5Gi"}), "Burstable", 500),
        (res({"memory": "1"}), "Burstable", 999),
        (res({"memory": "10Gi"}), "Burstable", 3),
        (res({}, {"cpu": "1", "memory": "1Gi"}), "Guaranteed", -997),
        (res({"cpu": "1", "memory": "1Gi"}, {"cpu": "2", "memory": "1Gi"}), "Burstable", 900),
        (res({"cpu": "0"}), "BestEffort", 1000),
    ],
)
def test_quality_of_service_and_who_is_killed_first(resources, qos, score):
    made = pod(resources)
    assert qos_class(made) == qos
    assert oom_score_adj(made, made.spec.containers[0], MEMORY) == score


def test_a_sidecar_is_not_killed_before_those_that_it_serves():
    sidecar = {"name": "s", "restartPolicy": "Always"}
    made = pod(res({"memory": "5Gi"}), res({"memory": "2Gi"}), initContainers=[sidecar])
    assert oom_score_adj(made, made.spec.init_containers[0], MEMORY) == 800


def test_memory_that_only_the_pod_asks_for_counts_for_each_container():
    made = pod(res({"memory": "1Gi"}), {}, resources={"requests": {"memory": "5Gi"}})
    scores = [oom_score_adj(made, c, MEMORY) for c in made.spec.containers]
    assert scores == [700, 800]


def test_only_what_the_node_needs_is_never_killed():
    for name, score in (("system-node-critical", -997), ("system-cluster-critical", 1000)):
        made = pod({}, priority=2_000_001_000, priorityClassName=name)
        assert oom_score_adj(made, made.spec.containers[0], MEMORY) == score


def test_a_pods_requests_count_sidecars_and_the_largest_init_container():
    made = pod(
        res({"cpu": "1"}), res({"cpu": "500m"}),
        initContainers=[
            {"name": "s", "restartPolicy": "Always", **res({"cpu": "200m"})},
            {"name": "i", **res({"cpu": "3"})},
        ],
        overhead={"cpu": "100m"},
    )  # fmt: skip
    assert pod_requests(made)["cpu"] == parse("3300m")
    made = pod(
        res({"cpu": "4"}),
        initContainers=[{"name": "s", "restartPolicy": "Always", **res({"cpu": "200m"})}],
    )
    assert pod_requests(made)["cpu"] == parse("4200m")


def test_a_pods_cgroup_is_limited_where_all_its_containers_are():
    limited, free = res({}, {"cpu": "1", "memory": "1Gi"}), res({"cpu": "500m"})
    found = pod_cgroup_limits(pod(limited, limited))
    assert (found.cpu_quota_us, found.memory_limit_bytes, found.cpu_shares) == (
        200_000,
        2 << 30,
        2048,
    )
    found = pod_cgroup_limits(pod(limited, free))
    assert (found.cpu_quota_us, found.memory_limit_bytes, found.cpu_shares) == (0, 0, 1536)
    whole = pod(free, resources={"limits": {"memory": "3Gi"}})
    assert pod_cgroup_limits(whole).memory_limit_bytes == 3 << 30


def test_cgroups_of_a_v2_machine(tmp_path: Path):
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids io\n")
    (tmp_path / "cgroup.subtree_control").write_text("")
    made = pod(res({}, {"cpu": "1", "memory": "1Gi"}))
    assert cgroup_parent("/kubepods", made) == "/kubepods/podu"
    assert cgroup_parent("/kubepods", pod({})) == "/kubepods/besteffort/podu"
    cgroups = Cgroups("/kubepods", tmp_path)
    assert cgroups.unified
    assert not cgroups.usable  # the kernel would have put its files there
    limits = LinuxResources(
        cpu_quota_us=50_000, cpu_period_us=100_000, cpu_shares=1024, memory_limit_bytes=5
    )
    written = {file.name: value for file, value in cgroups.settings(Path("x"), limits)}
    assert written == {"cpu.max": "50000 100000", "memory.max": "5", "cpu.weight": "39"}
    unlimited = {file.name: value for file, value in cgroups.settings(Path("x"), LinuxResources())}
    assert unlimited == {"cpu.max": "max 100000", "memory.max": "max"}


def test_cgroups_of_a_v1_machine(tmp_path: Path):
    for controller in ("cpu", "memory", "pids"):
        (tmp_path / controller).mkdir()
    cgroups = Cgroups("/kubepods", tmp_path)
    made = pod(res({}, {"cpu": "1", "memory": "1Gi"}))
    cgroups.make_pod(made)
    assert (tmp_path / "cpu/kubepods/podu/cpu.cfs_quota_us").read_text() == "100000"
    assert (tmp_path / "memory/kubepods/podu/memory.limit_in_bytes").read_text() == str(1 << 30)
    cgroups.lift_pod(made)
    assert (tmp_path / "cpu/kubepods/podu/cpu.cfs_quota_us").read_text() == "-1"
    assert cgroups.pod_uids() == {"u"}


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 39), (262_144, 10_000)])
def test_shares_as_weight(shares, weight):
    assert cpu_weight(shares) == weight


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("web", "docker.io/library/web:latest"),
        ("web:1", "docker.io/library/web:1"),
        ("team/web", "docker.io/team/web:latest"),
        ("docker.io/web", "docker.io/library/web:latest"),
        ("index.docker.io/web:2", "docker.io/library/web:2"),
        ("localhost/web", "localhost/web:latest"),
        ("localhost:5000/web", "localhost:5000/web:latest"),
        ("registry.example/a/b/c:v1.2", "registry.example/a/b/c:v1.2"),
        ("web@sha256:" + "a" * 64, "docker.io/library/web@sha256:" + "a" * 64),
        ("web:1@sha256:" + "a" * 64, "docker.io/library/web@sha256:" + "a" * 64),
        ("sha256:" + "b" * 64, "sha256:" + "b" * 64),
    ],
)
def test_image_names_in_full(given, full):
    assert normalize(given) == full
    if "/" in full:
        assert normalize(full) == full


@pytest.mark.parametrize("name", ["", "Web", "a//b", "web:", "web:a b", "-web", "https://x/y"])
def test_names_that_are_none(name):
    with pytest.raises(InvalidImageName, match="couldn't parse image name"):
        normalize(name)


def test_registries():
    assert registry_of("web") == "docker.io"
    assert registry_of("localhost:5000/a") == "localhost:5000"


def test_the_same_image_is_the_same_bytes():
    image = ScratchImage("a:1", {"bin/x": (b"x", 0o755)}, {"bin/y": "x"}, entrypoint=["/bin/x"])
    assert image.archive() == image.archive()


def docker_config(auths: dict) -> tuple[str, dict]:
    text = base64.b64encode(json.dumps({"auths": auths}).encode()).decode()
    return ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": text})


@pytest.mark.parametrize(
    ("host", "image", "fits"),
    [
        ("https://index.docker.io/v1/", "web", True),
        ("docker.io", "team/web", True),
        ("registry.example", "registry.example/a", True),
        ("registry.example", "other.example/a", False),
        ("*.example", "registry.example/a", True),
        ("*.example", "a.b.example/a", False),
        ("registry.example/team", "registry.example/team/a", True),
        ("registry.example/team", "registry.example/other/a", False),
        ("registry.example:5000", "registry.example:5000/a", True),
    ],
)
def test_credentials_fit_by_registry(host, image, fits):
    auth = base64.b64encode(b"me:secret").decode()
    found = credentials_for(image, [docker_config({host: {"auth": auth}})])
    assert [(a.username, a.password) for a in found] == ([("me", "secret")] if fits else [])


def test_the_most_specific_credentials_come_first_and_broken_ones_are_passed_over():
    secrets = [
        ("Opaque", {}),
        ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": "!"}),
        docker_config({"r.example": {"username": "all", "password": "1"},
                       "r.example/team": {"username": "team", "password": "2"}}),
    ]  # fmt: skip
    assert [a.username for a in credentials_for("r.example/team/web", secrets)] == ["team", "all"]


IMAGE = Image("id", uid=1000)


@pytest.mark.parametrize(
    ("shared", "own", "image", "refused"),
    [
        ({"runAsNonRoot": True}, {}, Image("id", uid=1000), ""),
        ({"runAsNonRoot": True}, {}, Image("id", uid=0), "image will run as root"),
        ({"runAsNonRoot": True}, {}, Image("id"), "image will run as root"),
        (
            {"runAsNonRoot": True},
            {},
            Image("id", username="web"),
            "image has non-numeric user (web), cannot verify user is non-root",
        ),
        (
            {"runAsNonRoot": True},
            {"runAsUser": 0},
            IMAGE,
            "container's runAsUser breaks non-root policy",
        ),
        ({"runAsNonRoot": True, "runAsUser": 5}, {}, Image("id", uid=0), ""),
        ({"runAsNonRoot": True}, {"runAsNonRoot": False}, Image("id", uid=0), ""),
    ],
)
def test_non_root(shared, own, image, refused):
    made = pod({"securityContext": own}, securityContext=shared)
    if not refused:
        container_security(made, Kind.REGULAR, made.spec.containers[0], image)
        return
    with pytest.raises(SecurityRefused) as error:
        container_security(made, Kind.REGULAR, made.spec.containers[0], image)
    assert refused in str(error.value)
    assert str(error.value).endswith('(pod: "p_n(u)", container: c0)')


def test_security_contexts_are_merged():
    own = {
        "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
        "seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"},
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
    }
    shared = {"runAsUser": 7, "runAsGroup": 8, "fsGroup": 9, "supplementalGroups": [10],
              "seccompProfile": {"type": "RuntimeDefault"}}  # fmt: skip
    made = pod({"securityContext": own}, {}, securityContext=shared, hostPID=True)
    first, second = (
        container_security(made, Kind.REGULAR, c, IMAGE, seccomp_root="/s")
        for c in made.spec.containers
    )
    assert (first.run_as_user, first.run_as_group, first.supplemental_groups) == (7, 8, (10, 9))
    assert (first.add_capabilities, first.drop_capabilities) == (("NET_ADMIN",), ("ALL",))
    assert first.seccomp is not None and first.seccomp.path == "/s/a.json"
    assert first.no_new_privs and first.readonly_rootfs
    assert second.seccomp is not None and second.seccomp.type is ProfileType.RUNTIME_DEFAULT
    assert not second.no_new_privs
    assert first.namespaces.pid is NamespaceMode.NODE


def test_namespaces():
    assert pod_namespaces(pod({})).pid is NamespaceMode.CONTAINER
    assert pod_namespaces(pod({}, shareProcessNamespace=True)).pid is NamespaceMode.POD
    assert pod_namespaces(pod({}, hostNetwork=True)).network is NamespaceMode.NODE
    assert is_privileged(pod({"securityContext": {"privileged": True}}))
    made = pod({})
    target = container_security(
        made, Kind.EPHEMERAL, Container(name="d"), IMAGE, target_id="x"
    ).namespaces
    assert (target.pid, target.target_id) == (NamespaceMode.TARGET, "x")


def test_containerds_configuration(tmp_path: Path):
    import tomllib

    places = containerd.layout(tmp_path)
    text = containerd.render_config(places, snapshotter="native", restrict_oom_score_adj=True)
    cri = tomllib.loads(text)["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["restrict_oom_score_adj"] is True
    assert cri["sandbox_image"] == containerd.PAUSE_IMAGE
    assert cri["containerd"]["snapshotter"] == "native"
    assert tomllib.loads(text)["grpc"]["address"] == str(places.socket)
    assert containerd.layout(tmp_path) == places != containerd.layout(tmp_path / "other")


def test_settings_are_told_in_the_words_of_kubelets_configuration(tmp_path: Path):
    config = KubeletConfig(
        "n", tmp_path, tmp_path / "logs", allowed_unsafe_sysctls=("net.core.somaxconn",)
    )
    found = configuration(config)
    assert found["maxPods"] == 110
    assert found["clusterDNS"] == ["10.96.0.10"]
    assert found["nodeStatusReportFrequency"] == "5m0s"
    assert found["streamingConnectionIdleTimeout"] == "4h0m0s"
    assert found["containerLogMaxSize"] == "10Mi"
    assert found["evictionHard"]["memory.available"] == "100Mi"
    assert found["authentication"]["anonymous"] == {"enabled": False}
    assert found["allowedUnsafeSysctls"] == ["net.core.somaxconn"]
    assert "staticPodPath" not in found
