"""Volumes follow what they show: ConfigMaps, Secrets, labels and annotations that change under a pod.

One pod for each kind, each with containers that print what they see whenever it changes.
"""

from collections.abc import Iterator

import pytest

from tests.real.harness import RealCluster, wait_for
from tests.real.pods import (
    IMAGE,
    MERGE,
    Api,
    ApiFailure,
    Object,
    Space,
    config_map,
    container,
    pod,
    secret,
    state,
)

pytestmark = pytest.mark.real

# An update is allowed its minute by Kubernetes; here the volume follows at once.
WITHIN_S = 20
KINDS = ("configmap", "secret", "projected-configmap", "projected-secret")


def source(kind: str, name: str, *, optional: bool = False) -> Object:
    more: Object = {"optional": True} if optional else {}
    if kind == "configmap":
        return {"configMap": {"name": name, **more}}
    if kind == "secret":
        return {"secret": {"secretName": name, **more}}
    key = "configMap" if kind.endswith("configmap") else "secret"
    return {"projected": {"sources": [{key: {"name": name, **more}}]}}


def follower(kind: str) -> Object:
    """A pod with volumes of one object that is deleted, one that is updated, one that is created."""
    volumes = [
        {"name": what, **source(kind, f"{kind}-{what}", optional=what != "updated")}
        for what in ("deleted", "updated", "created")
    ]
    mounts = [{"name": v["name"], "mountPath": f"/etc/{v['name']}"} for v in volumes]
    return pod(kind, container(script="sleep 600", volumeMounts=mounts), volumes=volumes)


def downward(name: str, how: str) -> Object:
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}},
    ]
    told: Object = {"downwardAPI": {"items": items}}
    made = told if how == "plain" else {"projected": {"sources": [told]}}
    mounts = [{"name": "v", "mountPath": "/etc/v"}]
    one = pod(
        name,
        container(script="sleep 600", volumeMounts=mounts),
        labels={"key1": "value1", "key2": "value2"},
        volumes=[{"name": "v", **made}],
    )
    one["metadata"]["annotations"] = {"builder": "bar"}
    return one


def an_object(kind: str, what: str, text: str) -> Object:
    name = f"{kind}-{what}"
    if kind.endswith("secret"):
        return secret(name, {"data-1": text})
    return config_map(name, {"data-1": text})


@pytest.fixture(scope="module")
def ran(cluster: RealCluster, images: dict[str, str]) -> Iterator[Space]:
    api = Api(cluster)
    space = Space(cluster, api, "updates")
    for kind in KINDS:
        space.create(an_object(kind, "deleted", "value-1"))
        space.create(an_object(kind, "updated", "value-1"))
        space.create(follower(kind))
    for how in ("plain", "projected"):
        space.create(downward(how, how))
    space.create(expander())
    yield space
    space.delete("Namespace", space.name)
    api.close()


def expander() -> Object:
    """A pod whose sub-path cannot be expanded until its annotation is set right."""
    env = [
        {"name": "HERE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['mysubpath']"}}}
    ]  # fmt: skip
    mounts = [
        {"name": "v", "mountPath": "/sub", "subPathExpr": "$(HERE)"},
        {"name": "v", "mountPath": "/whole"},
    ]
    one = pod(
        "expander",
        container(script="sleep 600", env=env, volumeMounts=mounts),
        container("side", "sleep 600"),
        volumes=[{"name": "v", "emptyDir": {}}],
    )
    one["metadata"]["annotations"] = {"mysubpath": "/not/relative"}
    return one


@pytest.mark.conformance(
    "[sig-storage] ConfigMap updates should be reflected in volume [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] ConfigMap optional updates should be reflected in volume [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Secrets optional updates should be reflected in volume [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected configMap updates should be reflected in volume [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected configMap optional updates should be reflected in volume [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected secret optional updates should be reflected in volume [NodeConformance] [Conformance]"
)
@pytest.mark.parametrize("kind", KINDS)
def test_volumes_follow_objects(ran: Space, kind: str) -> None:
    ran.ready(kind)
    seen = ran.exec(kind, "cat /etc/deleted/data-1 /etc/updated/data-1; ls /etc/created")
    assert seen == "value-1value-1"
    stored = "Secret" if kind.endswith("secret") else "ConfigMap"
    ran.delete(stored, f"{kind}-deleted")
    changed = an_object(kind, "updated", "value-2")
    del changed["metadata"]
    ran.patch(stored, f"{kind}-updated", changed, how=MERGE)
    ran.create(an_object(kind, "created", "value-3"))
    script = (
        "cat /etc/updated/data-1 /etc/created/data-1; test -e /etc/deleted/data-1 || echo -gone"
    )

    wait_for(
        lambda: ran.exec(kind, script, check=False) == "value-2value-3-gone\n",
        f"the volumes of {kind} follow",
        WITHIN_S,
    )


@pytest.mark.conformance(
    "[sig-storage] Downward API volume should update labels on modification [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Downward API volume should update annotations on modification [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected downwardAPI should update labels on modification [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Projected downwardAPI should update annotations on modification [NodeConformance] [Conformance]"
)
@pytest.mark.parametrize("how", ["plain", "projected"])
def test_volumes_follow_labels_and_annotations(ran: Space, how: str) -> None:
    ran.ready(how)
    seen = ran.exec(how, "cat /etc/v/labels; echo; cat /etc/v/annotations")
    assert seen == 'key1="value1"\nkey2="value2"\nbuilder="bar"'
    change = {"metadata": {"labels": {"key3": "value3"}, "annotations": {"builder": "foo"}}}
    ran.patch("Pod", how, change, how=MERGE)

    def followed() -> bool:
        text = ran.exec(how, "cat /etc/v/labels; echo; cat /etc/v/annotations")
        return 'key3="value3"' in text and 'builder="foo"' in text

    wait_for(followed, "the volume follows", WITHIN_S)


@pytest.mark.conformance(
    "[sig-node] Variable Expansion should verify that a failing subpath expansion can be modified during the lifecycle of a container [Slow] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Variable Expansion should succeed in writing subpaths in container [Conformance]"
)
def test_a_sub_path_put_right_starts_the_container(ran: Space) -> None:
    def refused(seen: Object) -> bool:
        waiting = state(seen).get("state", {}).get("waiting", {})
        return bool(waiting.get("reason") == "CreateContainerConfigError")

    ran.until("expander", refused, "is refused")
    ran.patch("Pod", "expander", {"metadata": {"annotations": {"mysubpath": "mypath"}}}, how=MERGE)
    ran.ready("expander", WITHIN_S)
    assert ran.exec("expander", "touch /sub/x; ls /whole/mypath", container="main") == "x\n"
    # The path is the container's for its life; the annotation may change.
    ran.patch("Pod", "expander", {"metadata": {"annotations": {"mysubpath": "new"}}}, how=MERGE)
    assert (
        ran.exec("expander", "ls /sub /whole", container="main") == "/sub:\nx\n\n/whole:\nmypath\n"
    )
    assert state(ran.get("Pod", "expander"))["restartCount"] == 0


@pytest.mark.conformance(
    "[sig-storage] ConfigMap should be immutable if `immutable` field is set [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] Secrets should be immutable if `immutable` field is set [Conformance]"
)
@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_immutable_objects(ran: Space, kind: str) -> None:
    one = config_map("fixed", {"a": "b"}) if kind == "ConfigMap" else secret("fixed", {"a": "b"})
    ran.create(one)
    ran.change(kind, "fixed", lambda o: o["data"].update(a="Yg=="))
    ran.change(kind, "fixed", lambda o: o.update(immutable=True))
    changes = [
        lambda o: o["data"].update(a="Yw=="),
        lambda o: o.update(immutable=False),
        lambda o: o.pop("immutable"),
    ]
    for change in changes:
        with pytest.raises(ApiFailure) as e:
            ran.change(kind, "fixed", change)
        assert e.value.code == 422
        assert "immutable" in e.value.message
    ran.change(kind, "fixed", lambda o: o["metadata"].update(labels={"still": "possible"}))
    ran.delete(kind, "fixed")


@pytest.mark.conformance(
    "[sig-storage] EmptyDir wrapper volumes should not cause race condition when used for configmaps [Serial] [Conformance]"
)
def test_many_config_maps_in_many_pods(ran: Space) -> None:
    count = 50
    for index in range(count):
        ran.create(config_map(f"racey-{index}", {"data-1": f"value-{index}"}))
    volumes = [{"name": f"v{i}", "configMap": {"name": f"racey-{i}"}} for i in range(count)]
    mounts = [{"name": v["name"], "mountPath": f"/etc/{v['name']}"} for v in volumes]
    template = {
        "metadata": {"labels": {"app": "racey"}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "main",
                    "image": IMAGE,
                    "imagePullPolicy": "Never",
                    "command": ["sh", "-c", "cat /etc/v*/data-1 | wc -c; sleep 600"],
                    "volumeMounts": mounts,
                }
            ],
            "volumes": volumes,
        },
    }
    ran.create(
        {
            "apiVersion": "v1",
            "kind": "ReplicationController",
            "metadata": {"name": "racey"},
            "spec": {"replicas": 5, "selector": {"app": "racey"}, "template": template},
        }
    )

    def all_ready() -> bool:
        controller = ran.get("ReplicationController", "racey")
        return bool(controller["status"].get("readyReplicas") == 5)

    wait_for(all_ready, "all five run", 60)
    for one in ran.list("Pod", "labelSelector=app%3Dracey"):
        assert ran.log(one["metadata"]["name"]).strip() == str(10 * 7 + 40 * 8)
    ran.delete("ReplicationController", "racey")
