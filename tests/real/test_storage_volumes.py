"""Files of ConfigMaps, Secrets and the downward API, projected volumes, emptyDir and subPath.

All pods are created at once; each test looks at what came of its own.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.harness import RealCluster
from tests.real.pods import Api, Object, Space, config_map, container, pod, secret

pytestmark = pytest.mark.real

LS = "ls -lLn"
HOST_PATH = Path(tempfile.gettempdir()) / f"skiff-host-path-{os.getpid()}"
LIMITS = {
    "requests": {"cpu": "250m", "memory": "32Mi"},
    "limits": {"cpu": "1250m", "memory": "64Mi"},
}
ITEM = {"key": "data-2", "path": "path/to/data-2"}
ITEM_MODE = {**ITEM, "mode": 0o400}
NON_ROOT = {"runAsUser": 1000}
AS_GROUP = {"runAsUser": 1000, "fsGroup": 1001}


def mount(name: str, path: str, **more: Any) -> Object:
    return {"name": name, "mountPath": path, **more}


def show(name: str, volumes: list[Object], script: str, user: Any = None, **fields: Any) -> Object:
    """A pod that mounts each volume at /etc/<its name> and runs the script."""
    mounts = [mount(v["name"], f"/etc/{v['name']}") for v in volumes]
    more = {"securityContext": user} if user else {}
    return pod(
        name, container(script=script, volumeMounts=mounts, **fields), volumes=volumes, **more
    )


def volume(name: str, **source: Any) -> Object:
    return {"name": name, **source}


def projected(name: str, *sources: Object, **more: Any) -> Object:
    return volume(name, projected={"sources": list(sources), **more})


def object_pods() -> list[Object]:
    """For ConfigMaps and Secrets, plain and projected, the same pods: `<kind>-<case>`."""
    made = []
    for kind in ("configmap", "secret", "projected-configmap", "projected-secret"):
        for case, items, mode, user in (
            ("plain", None, None, None),
            ("plain-user", None, None, NON_ROOT),
            ("mode", None, 0o400, None),
            ("mapped", [ITEM], None, None),
            ("mapped-mode", [ITEM_MODE], None, None),
            ("mapped-user", [ITEM], None, NON_ROOT),
            ("group", None, 0o440, AS_GROUP),
        ):
            made.append(_object_pod(kind, case, items, mode, user))
        two = [_object_volume(kind, f"v{i}", None, None) for i in (1, 2)]
        made.append(show(f"{kind}-two", two, "cat /etc/v1/data-1 /etc/v2/data-1"))
    return made


def _object_volume(kind: str, name: str, items: Any, mode: int | None) -> Object:
    chosen: Object = {} if items is None else {"items": items}
    default: Object = {} if mode is None else {"defaultMode": mode}
    if kind == "configmap":
        return volume(name, configMap={"name": "data", **chosen, **default})
    if kind == "secret":
        return volume(name, secret={"secretName": "data", **chosen, **default})
    source = kind.removeprefix("projected-").replace("map", "Map")
    return projected(name, {source: {"name": "data", **chosen}}, **default)


def _object_pod(kind: str, case: str, items: Any, mode: int | None, user: Any) -> Object:
    file = "/etc/v/path/to/data-2" if items else "/etc/v/data-1"
    made = _object_volume(kind, "v", items, mode)
    return show(f"{kind}-{case}", [made], f"{LS} {file}; cat {file}", user)


def downward_pods() -> list[Object]:
    def item(path: str, source: str, **more: Any) -> Object:
        if source.startswith("metadata"):
            return {"path": path, "fieldRef": {"fieldPath": source}, **more}
        ref = {"containerName": "main", "resource": source}
        return {"path": path, "resourceFieldRef": ref, **more}

    items = [
        item("podname", "metadata.name"),
        item("cpu_limit", "limits.cpu"),
        item("cpu_request", "requests.cpu"),
        item("memory_limit", "limits.memory"),
        item("memory_request", "requests.memory"),
        item("mode", "metadata.name", mode=0o400),
    ]
    made = []
    for kind in ("downward", "projected-downward"):
        source = {"items": items}
        one = volume("v", downwardAPI={**source, "defaultMode": 0o440})
        if kind != "downward":
            one = projected("v", {"downwardAPI": source}, defaultMode=0o440)
        script = f"cd /etc/v; {LS} podname mode; for f in *; do echo $f=$(cat $f); done"
        made += [
            show(kind, [one], script, resources=LIMITS),
            show(f"{kind}-defaults", [one], script),
        ]
    return made


def empty_dir_pods() -> list[Object]:
    """The twelve cases of medium, user and mode, and the mode of the volume itself."""
    made = []
    for medium in ("", "Memory"):
        for user in (0, 1001):
            containers = [
                container(
                    f"m{mode}",
                    f"f=/test-volume/f{mode}; echo -n mount-tester new file > $f && chmod {mode} $f"
                    f" && {LS} $f && cat $f; echo; grep ' /test-volume ' /proc/mounts",
                    volumeMounts=[mount("v", "/test-volume")],
                    securityContext={"runAsUser": user},
                )
                for mode in ("0644", "0666", "0777")
            ]
            name = f"empty-{medium.lower() or 'disk'}-{user}"
            made.append(pod(name, *containers, volumes=[volume("v", emptyDir={"medium": medium})]))
        made.append(
            show(f"empty-{medium.lower() or 'disk'}", [volume("v", emptyDir={"medium": medium})],
                "stat -c %A /etc/v; grep ' /etc/v ' /proc/mounts")
        )  # fmt: skip
    script = "stat -c '%A %u %g' /etc/v; umask 0; echo > /etc/v/f; stat -c '%A %u %g' /etc/v/f"
    group = {"runAsUser": 1001, "fsGroup": 123}
    for medium in ("", "Memory"):
        one = show(f"group-{medium.lower() or 'disk'}", [volume("v", emptyDir={"medium": medium})],
            script, group)  # fmt: skip
        one["spec"]["containers"][0]["volumeMounts"][0]["subPath"] = "sub"
        made.append(one)
    shared = [volume("v", emptyDir={})]
    made.append(
        pod(
            "empty-shared",
            container("writer", "echo Hello > /w/file; sleep 5", volumeMounts=[mount("v", "/w")]),
            container("reader", "until test -s /r/file; do sleep 0.1; done; cat /r/file",
                volumeMounts=[mount("v", "/r")]),
            volumes=shared,
        )
    )  # fmt: skip
    return made


def other_pods() -> list[Object]:
    everything = projected(
        "v",
        {"downwardAPI": {"items": [{"path": "podname", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"secret": {"name": "data", "items": [{"key": "data-1", "path": "secret"}]}},
        {"configMap": {"name": "data", "items": [{"key": "data-1", "path": "configmap"}]}},
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}},
    )  # fmt: skip
    wrapped = [
        volume("s", secret={"secretName": "data"}),
        volume("c", configMap={"name": "data"}),
        volume("e", emptyDir={}),
    ]
    sub = {"subPathExpr": "$(WHO)"}
    who = [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    made = [
        show("combined", [everything], "cat /etc/v/podname /etc/v/secret /etc/v/configmap; wc -c < /etc/v/token"),
        show("wrapped", wrapped, "cat /etc/s/data-1 /etc/c/data-1; ls -A /etc/e"),
        show("binary", [volume("v", configMap={"name": "binary"})], "cat /etc/v/text; od -An -tx1 /etc/v/dump.bin"),
        pod(
            "expr",
            container(
                script="echo x > /volume/test.log; ls /whole/expr", env=who,
                volumeMounts=[mount("v", "/volume", **sub), mount("v", "/whole")],
            ),
            volumes=[volume("v", emptyDir={})],
        ),
        pod("expr-absolute", container(script="true", env=[{"name": "WHO", "value": "/tmp"}],
            volumeMounts=[mount("v", "/volume", **sub)]), volumes=[volume("v", emptyDir={})]),
        pod("expr-backticks", container(script="true", env=[{"name": "WHO", "value": ".."}],
            volumeMounts=[mount("v", "/volume", **sub)]), volumes=[volume("v", emptyDir={})]),
        pod("host-path", container(script="ls -d /host/bin && echo y > /fresh/x && cat /fresh/x",
            volumeMounts=[mount("h", "/host", readOnly=True), mount("f", "/fresh")]),
            volumes=[volume("h", hostPath={"path": "/usr", "type": "Directory"}),
                     volume("f", hostPath={"path": str(HOST_PATH), "type": "DirectoryOrCreate"})]),
        pod("host-path-wrong", container(script="true", volumeMounts=[mount("h", "/host")]),
            volumes=[volume("h", hostPath={"path": "/usr", "type": "File"})]),
    ]  # fmt: skip
    for kind, source in (
        ("configmap", {"configMap": {"name": "data"}}),
        ("secret", {"secret": {"secretName": "data"}}),
        ("downward", {"downwardAPI": {"items": [
            {"path": "data-1", "fieldRef": {"fieldPath": "metadata.labels['name']"}}]}}),
        ("projected", {"projected": {"sources": [{"configMap": {"name": "data"}}]}}),
    ):  # fmt: skip
        made.append(
            pod(
                f"sub-{kind}",
                container(
                    script="cat /sub; echo; cat /www; echo; test -f /sub && echo file",
                    volumeMounts=[
                        mount("v", "/sub", subPath="data-1"),
                        mount("v", "/www", subPath="data-1"),
                    ],
                ),
                volumes=[volume("v", **source)],
            )
        )
    made.append(
        pod("sub-existing", container(script="cat /bin/serve",
            volumeMounts=[mount("v", "/bin/serve", subPath="data-1")]),
            volumes=[volume("v", configMap={"name": "data"})])
    )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def ran(cluster: RealCluster, images: dict[str, str]) -> Iterator[Space]:
    api = Api(cluster)
    space, other = Space(cluster, api, "volumes"), Space(cluster, api, "elsewhere")
    data = {"data-1": "value-1\n", "data-2": "value-2\n", "data-3": "value-3\n"}
    space.create(config_map("data", data))
    space.create(secret("data", data))
    other.create(secret("data", {"data-1": "of another namespace"}))
    space.create(config_map("binary", {"text": "text\n"}, binaryData={"dump.bin": "/v8="}))
    space.create_all([*object_pods(), *downward_pods(), *empty_dir_pods(), *other_pods()])
    yield space
    space.delete("Namespace", space.name)
    other.delete("Namespace", other.name)
    shutil.rmtree(HOST_PATH, ignore_errors=True)
    api.close()


def files(space: Space, name: str) -> tuple[str, str]:
    """The mode of the file and its text, as the pod wrote them."""
    line, text = space.output(name).split("\n", 1)
    return line.split()[0], text


@pytest.mark.conformance(
    "[sig-storage] ConfigMap should be consumable from pods in volume [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Secrets should be consumable from pods in volume [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected configMap should be consumable from pods in volume [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected secret should be consumable from pods in volume [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] ConfigMap should be consumable from pods in volume as non-root [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected configMap should be consumable from pods in volume as non-root [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] ConfigMap should be consumable from pods in volume with mappings [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Secrets should be consumable from pods in volume with mappings [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected configMap should be consumable from pods in volume with mappings [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected secret should be consumable from pods in volume with mappings [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] ConfigMap should be consumable from pods in volume with mappings as non-root [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected configMap should be consumable from pods in volume with mappings as non-root [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] ConfigMap should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Secrets should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected configMap should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected secret should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] ConfigMap should be consumable from pods in volume with mappings and Item mode set [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Secrets should be consumable from pods in volume with mappings and Item Mode set [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected configMap should be consumable from pods in volume with mappings and Item mode set [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected secret should be consumable from pods in volume with mappings and Item Mode set [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Secrets should be consumable from pods in volume as non-root with defaultMode and fsGroup set [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected secret should be consumable from pods in volume as non-root with defaultMode and fsGroup set [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.parametrize("kind", ["configmap", "secret", "projected-configmap", "projected-secret"])
def test_objects_as_files(ran: Space, kind: str) -> None:
    assert files(ran, f"{kind}-plain") == ("-rw-r--r--", "value-1\n")
    assert files(ran, f"{kind}-plain-user") == ("-rw-r--r--", "value-1\n")
    assert files(ran, f"{kind}-mode") == ("-r--------", "value-1\n")
    assert files(ran, f"{kind}-mapped") == ("-rw-r--r--", "value-2\n")
    assert files(ran, f"{kind}-mapped-mode") == ("-r--------", "value-2\n")
    assert files(ran, f"{kind}-mapped-user") == ("-rw-r--r--", "value-2\n")
    assert files(ran, f"{kind}-group") == ("-r--r-----", "value-1\n")


@pytest.mark.conformance(
    "[sig-storage] ConfigMap should be consumable in multiple volumes in the same pod [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Secrets should be consumable in multiple volumes in a pod [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected configMap should be consumable in multiple volumes in the same pod [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected secret should be consumable in multiple volumes in a pod [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Secrets should be able to mount in a volume regardless of a different secret existing with same name in different namespace [NodeConformance] [Conformance]"
)
@pytest.mark.conformance("[sig-storage] EmptyDir wrapper volumes should not conflict [Conformance]")
@pytest.mark.conformance(
    "[sig-storage] Projected combined should project all components that make up the projection API [Projection] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] ConfigMap binary data should be reflected in volume [NodeConformance] [Conformance]"
)
def test_several_volumes_and_sources(ran: Space) -> None:
    for kind in ("configmap", "secret", "projected-configmap", "projected-secret"):
        assert ran.output(f"{kind}-two") == "value-1\nvalue-1\n"
    assert ran.output("wrapped") == "value-1\nvalue-1\n"
    first, second, length = ran.output("combined").splitlines()
    assert (first, second) == ("combinedvalue-1", "value-1")
    assert int(length) > 100
    assert ran.output("binary").split() == ["text", "fe", "ff"]


@pytest.mark.conformance(
    "[sig-storage] Downward API volume should provide podname only [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Downward API volume should set DefaultMode on files [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Downward API volume should set mode on item file [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Downward API volume should provide container's cpu limit [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Downward API volume should provide container's cpu request [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Downward API volume should provide container's memory limit [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Downward API volume should provide container's memory request [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Downward API volume should provide node allocatable (cpu) as default cpu limit if the limit is not set [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Downward API volume should provide node allocatable (memory) as default memory limit if the limit is not set [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected downwardAPI should provide podname only [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected downwardAPI should set DefaultMode on files [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected downwardAPI should set mode on item file [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected downwardAPI should provide container's cpu limit [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected downwardAPI should provide container's cpu request [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected downwardAPI should provide container's memory limit [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected downwardAPI should provide container's memory request [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected downwardAPI should provide node allocatable (cpu) as default cpu limit if the limit is not set [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected downwardAPI should provide node allocatable (memory) as default memory limit if the limit is not set [NodeConformance] [Conformance]"
)
@pytest.mark.parametrize("kind", ["downward", "projected-downward"])
def test_downward_files(ran: Space, kind: str) -> None:
    name, mode, *rest = ran.output(kind).splitlines()
    modes = {line.split()[-1]: line.split()[0] for line in (name, mode)}
    assert modes == {"podname": "-r--r-----", "mode": "-r--------"}
    values = dict(line.split("=", 1) for line in rest)
    assert values == {
        "podname": kind,
        "mode": kind,
        "cpu_limit": "2",
        "cpu_request": "1",
        "memory_limit": str(64 << 20),
        "memory_request": str(32 << 20),
    }
    lines = ran.output(f"{kind}-defaults").splitlines()[2:]
    defaults = dict(line.split("=", 1) for line in lines)
    node = ran.list("Node")[0]["status"]["allocatable"]
    assert defaults["cpu_limit"] == node["cpu"]
    assert int(defaults["memory_limit"]) == int(node["memory"].removesuffix("Ki")) * 1024


@pytest.mark.conformance(
    "[sig-storage] EmptyDir volumes should support (root,0644,default) [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] EmptyDir volumes should support (root,0644,tmpfs) [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] EmptyDir volumes should support (root,0666,default) [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] EmptyDir volumes should support (root,0666,tmpfs) [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] EmptyDir volumes should support (root,0777,default) [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] EmptyDir volumes should support (root,0777,tmpfs) [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] EmptyDir volumes should support (non-root,0644,default) [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] EmptyDir volumes should support (non-root,0644,tmpfs) [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] EmptyDir volumes should support (non-root,0666,default) [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] EmptyDir volumes should support (non-root,0666,tmpfs) [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] EmptyDir volumes should support (non-root,0777,default) [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] EmptyDir volumes should support (non-root,0777,tmpfs) [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] EmptyDir volumes volume on default medium should have the correct mode [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] EmptyDir volumes volume on tmpfs should have the correct mode [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.parametrize("medium", ["disk", "memory"])
def test_empty_directories(ran: Space, medium: str) -> None:
    shown = {"0644": "-rw-r--r--", "0666": "-rw-rw-rw-", "0777": "-rwxrwxrwx"}
    for user in (0, 1001):
        for mode, expected in shown.items():
            line, text, where = ran.output(f"empty-{medium}-{user}", f"m{mode}").splitlines()
            assert line.split()[0] == expected
            assert line.split()[2] == str(user)
            assert text == "mount-tester new file"
            assert (where.split()[2] == "tmpfs") == (medium == "memory")
    mode, where = ran.output(f"empty-{medium}").splitlines()
    assert mode == ("drwxrwxrwt" if medium == "memory" else "drwxrwxrwx")
    assert (where.split()[2] == "tmpfs") == (medium == "memory")


@pytest.mark.parametrize("medium", ["disk", "memory"])
def test_a_groups_empty_directories(ran: Space, medium: str) -> None:
    folder, file = ran.output(f"group-{medium}").splitlines()
    # A sub-path is made like the volume: the kernel's memory filesystems are sticky.
    assert folder == ("drwxrwsrwt 0 123" if medium == "memory" else "drwxrwsrwx 0 123")
    assert file == "-rw-rw-rw- 1001 123"


@pytest.mark.conformance(
    "[sig-storage] EmptyDir volumes pod should support shared volumes between containers [Conformance]"
)
def test_containers_share_an_empty_directory(ran: Space) -> None:
    assert ran.output("empty-shared", "reader") == "Hello\n"


@pytest.mark.conformance(
    "[sig-storage] Subpath Atomic writer volumes should support subpaths with configmap pod [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Subpath Atomic writer volumes should support subpaths with configmap pod with mountPath of existing file [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Subpath Atomic writer volumes should support subpaths with downward pod [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Subpath Atomic writer volumes should support subpaths with projected pod [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Subpath Atomic writer volumes should support subpaths with secret pod [Conformance]"
)
def test_single_files_of_volumes(ran: Space) -> None:
    for kind in ("configmap", "secret", "projected"):
        assert ran.output(f"sub-{kind}") == "value-1\n\nvalue-1\n\nfile\n"
    assert ran.output("sub-downward") == "sub-downward\nsub-downward\nfile\n"
    assert ran.output("sub-existing") == "value-1\n"


@pytest.mark.conformance(
    "[sig-node] Variable Expansion should allow substituting values in a volume subpath [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Variable Expansion should fail substituting values in a volume subpath with absolute path [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Variable Expansion should fail substituting values in a volume subpath with backticks [Conformance]"
)
def test_expanded_sub_paths(ran: Space) -> None:
    assert ran.output("expr") == "test.log\n"
    for name in ("expr-absolute", "expr-backticks"):
        seen = ran.until(name, lambda p: _waits(p) == "CreateContainerConfigError", "is refused")
        assert seen["status"]["phase"] == "Pending"


def _waits(seen: Object) -> str:
    found = seen["status"].get("containerStatuses", [{}])[0].get("state", {})
    return str(found.get("waiting", {}).get("reason", ""))


def test_host_paths(ran: Space) -> None:
    assert ran.output("host-path") == "/host/bin\ny\n"
    ran.has_event(
        "host-path-wrong", "FailedMount", "hostPath type check failed: /usr is not a file"
    )
