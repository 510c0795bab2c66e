"""Static pods: a directory's manifests run without the API, and are shown in it."""

from pathlib import Path

import pytest
import yaml

from skiff.api.resources import NODES, PODS
from skiff.node.static.manifest import InvalidManifest, read_pod
from tests.node.world import NODE, World, container, run, state, status_of

NAME = f"web-{NODE}"


def manifest(name: str = "web", image: str = "web:1", **spec) -> str:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [container(image=image)], **spec},
    }
    return yaml.safe_dump(pod)


def test_a_manifest_becomes_a_pod_of_the_node():
    found = read_pod(manifest().encode(), "/m/web.yaml", "node-1", "2026-01-01T00:00:00Z")
    meta = found["metadata"]
    assert (meta["name"], meta["namespace"]) == ("web-node-1", "default")
    assert len(meta["uid"]) == 32
    assert meta["annotations"] == {
        "kubernetes.io/config.hash": meta["uid"],
        "kubernetes.io/config.seen": "2026-01-01T00:00:00Z",
        "kubernetes.io/config.source": "file",
    }
    assert found["spec"]["nodeName"] == "node-1"
    assert {"operator": "Exists", "effect": "NoExecute"} in found["spec"]["tolerations"]
    assert found["spec"]["restartPolicy"] == "Always"
    again = read_pod(manifest().encode(), "/m/web.yaml", "node-1", "later")
    assert again["metadata"]["uid"] == meta["uid"]
    for text, path in ((manifest(image="web:2"), "/m/web.yaml"), (manifest(), "/m/other.yaml")):
        other = read_pod(text.encode(), path, "node-1", "later")
        assert other["metadata"]["uid"] != meta["uid"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "couldn't parse"),
        ("kind: Service\napiVersion: v1", "it must be one v1 Pod"),
        (manifest(containers=[]), "spec.containers: Required value"),
        (manifest(name="Bad_Name"), "metadata.name: Invalid value"),
        (manifest(serviceAccountName="x"), "may not reference serviceaccounts"),
        (manifest(volumes=[{"name": "v", "secret": {"secretName": "s"}}]), "reference secrets"),
    ],
)
def test_what_cannot_be_a_static_pod_is_refused(text: str, message: str):
    with pytest.raises(InvalidManifest, match=message):
        read_pod(text.encode(), "/m/web.yaml", NODE, "now")


def test_a_static_pod_runs_and_has_a_mirror(tmp_path: Path):
    async def test(w: World) -> None:
        (tmp_path / ".hidden").write_text("not a manifest")
        (tmp_path / "bad.yaml").write_text("not a manifest")
        (tmp_path / "web.yaml").write_text(manifest())
        mirror = await w.running(NAME)
        meta = mirror["metadata"]
        static_uid = meta["annotations"]["kubernetes.io/config.mirror"]
        assert meta["annotations"]["kubernetes.io/config.hash"] == static_uid
        assert meta["annotations"]["kubernetes.io/config.source"] == "file"
        assert meta["uid"] != static_uid
        node = await w.client.get(NODES, NODE)
        assert meta["ownerReferences"] == [
            {
                "apiVersion": "v1",
                "kind": "Node",
                "name": NODE,
                "uid": node["metadata"]["uid"],
                "controller": True,
            }
        ]
        (sandbox,) = await w.runtime.list_sandboxes()
        assert sandbox.labels["io.kubernetes.pod.uid"] == static_uid
        container_id = status_of(mirror)["containerID"]

        # Who deletes the mirror deletes nothing else.
        await w.delete(NAME)
        fresh = await w.pod_until(NAME, lambda p: p["metadata"]["uid"] != meta["uid"])
        fresh = await w.running(NAME)
        assert status_of(fresh)["containerID"] == container_id
        assert status_of(fresh)["restartCount"] == 0

        # Nor does a restart of the kubelet.
        await w.stop_kubelet()
        await w.start_kubelet()
        await w.clock.sleep(5)
        again = await w.running(NAME)
        assert again["metadata"]["uid"] == fresh["metadata"]["uid"]
        assert status_of(again)["containerID"] == container_id

        # A changed file is another pod, in the old one's place.
        (tmp_path / "web.yaml").write_text(manifest(image="web:2"))
        other = await w.pod_until(
            NAME,
            lambda p: status_of(p).get("image", "").endswith("web:2") and "running" in state(p),
        )
        assert other["metadata"]["annotations"]["kubernetes.io/config.mirror"] != static_uid
        await w.until(lambda: _count(w, 1))

        (tmp_path / "web.yaml").unlink()
        await w.gone(NAME)
        await w.until(lambda: _count(w, 0))

    run(test, static_pod_path=str(tmp_path))


async def _count(w: World, wanted: int) -> bool:
    return len(await w.runtime.list_containers()) == wanted


def test_a_mirror_that_nothing_stands_behind_goes(tmp_path: Path):
    async def test(w: World) -> None:
        (tmp_path / "web.yaml").write_text(manifest())
        await w.running(NAME)
        await w.stop_kubelet()
        (tmp_path / "web.yaml").unlink()
        await w.start_kubelet()
        await w.gone(NAME)
        await w.until(lambda: _count(w, 0))
        assert not await w.objects(PODS)

    run(test, static_pod_path=str(tmp_path))
