"""Pods, nodes, ConfigMaps, Secrets and leases as the API keeps them."""

import base64
from typing import Any

import pytest

from skiff.api.resources import (
    CONFIGMAPS,
    LEASES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    RUNTIMECLASSES,
    SECRETS,
)
from tests.conformance.world import Kube, Object, condition, meta, names, pod, run


async def running(kube: Kube, name: str) -> Object:
    """Wait until the pod is ready."""

    async def ready() -> bool:
        return condition(await kube.of(PODS).get(name), "Ready").get("status") == "True"

    await kube.until(ready)
    return await kube.of(PODS).get(name)


@pytest.mark.conformance(
    "[sig-node] ConfigMap should fail to create ConfigMap with empty key [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Secrets should fail to create secret due to empty secret key [Conformance]"
)
def test_keys_are_not_empty() -> None:
    async def scenario(kube: Kube) -> None:
        for api, value in ((kube.of(CONFIGMAPS), "value-1"), (kube.of(SECRETS), "dmFsdWUtMQ==")):
            refused = await api.refused({"metadata": meta("empty"), "data": {"": value}})
            refused.failed(422, "Invalid", "a valid config key must consist of alphanumeric")

    run(scenario)


@pytest.mark.conformance(
    "[sig-node] ConfigMap should run through a ConfigMap lifecycle [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] ConfigMap should update ConfigMap successfully [NodeConformance] [Conformance]"
)
def test_the_life_of_a_config_map() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(CONFIGMAPS)
        start = (await api.list())["metadata"]["resourceVersion"]
        static = {"test-configmap-static": "true"}
        async with api.watch("test-configmap-static=true", resourceVersion=start) as watch:
            await api.create({"metadata": meta("c", labels=static), "data": {"valueName": "value"}})
            await watch.expect("ADDED")
            patch = {
                "metadata": {"labels": {"test-configmap": "patched"}},
                "data": {"valueName": "value1"},
            }
            await api.patch("c", patch, "strategic")
            seen = await watch.expect("MODIFIED")
            assert seen["data"] == {"valueName": "value1"}
            found = await api.everywhere("test-configmap-static=true")
            assert [c["data"]["valueName"] for c in found] == ["value1"]
            await api.change("c", lambda o: o["data"].update(data="value"))
            await api.delete_all("test-configmap-static=true")
            await watch.expect("DELETED")
        assert await api.items("test-configmap-static=true") == []

    run(scenario)


@pytest.mark.conformance("[sig-node] Secrets should patch a secret [Conformance]")
def test_secrets_are_patched() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(SECRETS)
        labels = {"testsecret-constant": "true"}
        await api.create(
            {
                "metadata": meta("s", labels={**labels, "testsecret": "true"}),
                "data": {"key": "dmFsdWU="},
                "type": "Opaque",
            }
        )
        assert "s" in names(await api.everywhere("testsecret-constant=true"))
        value = base64.b64encode(b"value1").decode()
        patch = {"metadata": {"labels": {"testsecret": "false"}}, "data": {"key": value}}
        await api.patch("s", patch, "strategic")
        found = await api.get("s")
        assert (found["data"]["key"], found["metadata"]["labels"]["testsecret"]) == (value, "false")
        await api.delete_all("testsecret=false")
        assert await api.everywhere("testsecret-constant=true") == []

    run(scenario)


@pytest.mark.conformance(
    "[sig-storage] Secrets should be immutable if `immutable` field is set [Conformance]"
)
@pytest.mark.parametrize("resource", [SECRETS, CONFIGMAPS], ids=lambda r: r.plural)
def test_immutable(resource: Any) -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(resource)
        await api.create({"metadata": meta("i"), "data": {"data-1": "dmFsdWU="}})
        await api.change("i", lambda o: o["data"].update({"data-4": "dmFsdWU="}))
        marked = await api.change("i", lambda o: o.update(immutable=True))
        for change in (
            {"data": {"data-4": "bmV3"}},
            {"immutable": False},
            {"data": {"new": "eA=="}},
        ):
            answer = await kube.call("PUT", api.path("i"), marked | change)
            answer.failed(422, "Invalid", "field is immutable when `immutable` is set")
        again = await api.change(
            "i", lambda o: o["metadata"].setdefault("labels", {}).update(a="b")
        )
        assert again["data"] == marked["data"]
        await api.delete("i")

    run(scenario)


@pytest.mark.conformance("[sig-node] Lease lease API should be available [Conformance]")
def test_leases() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(LEASES)
        spec = {
            "holderIdentity": "holder",
            "leaseDurationSeconds": 30,
            "acquireTime": "2026-01-01T00:00:00.000001Z",
            "renewTime": "2026-01-01T00:00:10.000000Z",
            "leaseTransitions": 0,
        }
        await api.create({"metadata": meta("lease"), "spec": spec})
        assert (await api.get("lease"))["spec"] == spec
        spec |= {"holderIdentity": "holder2", "leaseDurationSeconds": 31, "leaseTransitions": 1}
        await api.change("lease", lambda o: o.update(spec=spec))
        assert (await api.get("lease"))["spec"] == spec
        spec |= {"holderIdentity": "holder3", "leaseTransitions": 2}
        await api.patch(
            "lease", {"spec": {"holderIdentity": "holder3", "leaseTransitions": 2}}, "strategic"
        )
        assert (await api.get("lease"))["spec"] == spec
        await api.create(
            {"metadata": meta("lease2", labels={"deletecollection": "true"}), "spec": spec}
        )
        assert len(await api.items()) == 2
        await api.delete_all("deletecollection=true")
        assert names(await api.items()) == ["lease"]
        await api.delete("lease")
        assert await api.absent("lease")

    run(scenario)


@pytest.mark.conformance(
    "[sig-node] Node Lifecycle should run through the lifecycle of a node [Conformance]"
)
def test_the_life_of_a_node() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(NODES)
        made = await api.create({"metadata": meta("e2e-fake-node", labels={"e2e": "node"})})
        assert made["metadata"]["name"] == "e2e-fake-node"
        await api.get("e2e-fake-node")
        patch = {"metadata": {"labels": {"e2e": "patched"}}}
        await api.patch("e2e-fake-node", patch, "strategic")
        assert len(await api.items("e2e=patched")) == 1
        patch = {
            "metadata": {"annotations": {"patchedstatus": "true"}},
            "status": {"conditions": [{"type": "E2E", "status": "True"}]},
        }
        patched = await api.patch("e2e-fake-node", patch, "strategic", "status")
        assert condition(patched, "E2E")
        updated = await api.change(
            "e2e-fake-node", lambda o: o["metadata"]["labels"].update(e2e="updated")
        )
        assert updated["metadata"]["labels"]["e2e"] == "updated"
        await api.delete_all("e2e=updated")
        assert await api.items("e2e=updated") == []

    run(scenario)


@pytest.mark.conformance(
    "[sig-node] Pods should run through the lifecycle of Pods and PodStatus [Conformance]"
)
@pytest.mark.conformance("[sig-node] Pods should patch a pod status [Conformance]")
def test_the_life_of_a_pod() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(PODS)
        start = (await api.list())["metadata"]["resourceVersion"]
        static = {"test-pod-static": "true"}
        async with api.watch("test-pod-static=true", resourceVersion=start) as watch:
            await api.create(pod("p", static))
            await watch.expect("ADDED")
            await watch.expect("MODIFIED", lambda o: o["status"].get("phase") == "Running")
            patch = {
                "metadata": {"labels": {"test-pod": "patched"}},
                "spec": {"containers": [{"name": "c", "image": "web:2"}]},
            }
            await api.patch("p", patch, "strategic")
            await watch.expect("MODIFIED", lambda o: "test-pod" in o["metadata"]["labels"])
            got = await api.get("p", "status")
            assert got["spec"]["containers"][0]["image"] == "web:2"
            status = {
                "metadata": {"annotations": {"patchedstatus": "true"}},
                "status": {"message": "Patched by e2e test", "reason": "E2E"},
            }
            patched = await api.patch("p", status, "strategic", "status")
            assert (patched["status"]["message"], patched["status"]["reason"]) == (
                "Patched by e2e test", "E2E",
            )  # fmt: skip

            def unready(obj: Object) -> None:
                for found in obj["status"]["conditions"]:
                    if found["type"] == "Ready":
                        found["status"] = "False"

            await api.change("p", unready, "status")
            await watch.expect("MODIFIED", lambda o: condition(o, "Ready")["status"] == "False")
            await api.delete_all("test-pod-static=true")
            await watch.expect("DELETED")

    run(scenario, nodes=1)


@pytest.mark.conformance("[sig-node] Pods should delete a collection of pods [Conformance]")
@pytest.mark.conformance("[sig-node] Pods should be updated [NodeConformance] [Conformance]")
def test_pods_by_collection() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(PODS)
        for i in range(3):
            await api.create(pod(f"test-pod-{i}", {"type": "Testing"}))
        await running(kube, "test-pod-2")
        await api.change("test-pod-0", lambda o: o["metadata"]["labels"].update(time="now"))
        assert names(await api.items("time=now")) == ["test-pod-0"]
        await api.delete_all("type=Testing")
        await api.count(0)

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-node] Pods Extended (pod generation) Pod Generation pod generation should start at 1 and increment"
    " per update [MinimumKubeletVersion:1.34] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Pods Extended (pod generation) Pod Generation custom-set generation on new pods and graceful"
    " delete [Conformance]"
)
def test_pod_generation() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(PODS)
        custom = pod("p", terminationGracePeriodSeconds=30)
        custom["metadata"]["generation"] = 100
        custom["metadata"]["finalizers"] = ["example.com/stay"]
        made = await api.create(custom)
        assert made["metadata"]["generation"] == 1
        await running(kube, "p")

        async def observed(number: int) -> bool:
            return (await api.get("p"))["status"].get("observedGeneration") == number

        await kube.until(lambda: observed(1))
        labelled = await api.change(
            "p", lambda o: o["metadata"].setdefault("labels", {}).update(a="b")
        )
        assert labelled["metadata"]["generation"] == 1
        forced = labelled | {"metadata": labelled["metadata"] | {"generation": 50}}
        assert (await api.replace(forced))["metadata"]["generation"] == 1
        for i in range(20):

            def tolerate(obj: Object, i: int = i) -> None:
                key = {"key": f"key-{i}", "operator": "Exists", "effect": "NoSchedule"}
                obj["spec"]["tolerations"] = [*obj["spec"]["tolerations"], key]

            await api.change("p", tolerate)
        generation = (await api.get("p"))["metadata"]["generation"]
        assert generation == 1 + 20
        await kube.until(lambda: observed(generation))
        going = await api.delete("p")
        assert going["metadata"]["generation"] == generation + 1
        await kube.until(lambda: observed(generation + 1))
        await api.patch("p", {"metadata": {"finalizers": None}})
        await api.gone("p")

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-node] Ephemeral Containers [NodeConformance] should update the ephemeral containers in an existing"
    " pod [Conformance]"
)
def test_ephemeral_containers() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(PODS)
        await api.create(pod("p"))
        await running(kube, "p")
        one = {"name": "debugger", "image": "busybox:1", "stdin": True, "tty": True}
        patch = {"spec": {"ephemeralContainers": [one]}}
        await api.patch("p", patch, "strategic", "ephemeralcontainers")
        got = await api.get("p", "ephemeralcontainers")
        assert [e["name"] for e in got["spec"]["ephemeralContainers"]] == ["debugger"]
        two = {"name": "debugger2", "image": "busybox:1"}
        await api.change(
            "p", lambda o: o["spec"]["ephemeralContainers"].append(two), "ephemeralcontainers"
        )
        got = await api.get("p")
        assert [e["name"] for e in got["spec"]["ephemeralContainers"]] == ["debugger", "debugger2"]

        async def both() -> bool:
            found = (await api.get("p"))["status"].get("ephemeralContainerStatuses") or []
            return sorted(s["name"] for s in found if "running" in s["state"]) == [
                "debugger",
                "debugger2",
            ]

        await kube.until(both)

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-node] RuntimeClass should reject a Pod requesting a non-existent RuntimeClass [NodeConformance]"
    " [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] RuntimeClass should reject a Pod requesting a deleted RuntimeClass [NodeConformance]"
    " [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] RuntimeClass should schedule a Pod requesting a RuntimeClass and initialize its Overhead"
    " [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] RuntimeClass should schedule a Pod requesting a RuntimeClass without PodOverhead"
    " [NodeConformance] [Conformance]"
)
def test_runtime_classes() -> None:
    async def scenario(kube: Kube) -> None:
        api, classes = kube.of(PODS), kube.of(RUNTIMECLASSES)
        refused = await api.refused(pod("none", runtimeClassName="nonexistent"))
        refused.failed(403, "Forbidden", 'RuntimeClass "nonexistent" not found')
        fixed = {"podFixed": {"cpu": "10m", "memory": "1Mi"}}
        await classes.create({"metadata": meta("plain"), "handler": "runc"})
        await classes.create({"metadata": meta("heavy"), "handler": "runc", "overhead": fixed})
        made = await api.create(pod("plain", runtimeClassName="plain"))
        assert "overhead" not in made["spec"]
        made = await api.create(pod("heavy", runtimeClassName="heavy"))
        assert made["spec"]["overhead"] == fixed["podFixed"]

        async def scheduled() -> bool:
            return all(
                condition(p, "PodScheduled").get("status") == "True" for p in await api.items()
            )

        await kube.until(scheduled)
        await classes.delete("plain")
        await classes.gone("plain")
        refused = await api.refused(pod("late", runtimeClassName="plain"))
        refused.failed(403, "Forbidden", 'RuntimeClass "plain" not found')

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-node] Sysctls [LinuxOnly] [NodeConformance] should reject invalid sysctls [Conformance]"
)
def test_invalid_sysctls() -> None:
    async def scenario(kube: Kube) -> None:
        bad = [
            {"name": n, "value": "bar"}
            for n in ("foo-", "bar..", "kernel.shmmax", "safe-and-unsafe")
        ]
        refused = await kube.of(PODS).refused(pod("p", securityContext={"sysctls": bad}))
        text = refused.failed(422, "Invalid")["message"]
        assert 'Invalid value: "foo-"' in text and 'Invalid value: "bar.."' in text
        assert "safe-and-unsafe" not in text and "kernel.shmmax" not in text

    run(scenario)


@pytest.mark.conformance(
    "[sig-storage] CSIInlineVolumes should support CSIVolumeSource in Pod API [Conformance]"
)
def test_inline_volumes() -> None:
    async def scenario(kube: Kube) -> None:
        from skiff.api.resources import CSIDRIVERS

        await kube.of(CSIDRIVERS).create(
            {
                "metadata": meta("inline.example.com"),
                "spec": {"volumeLifecycleModes": ["Ephemeral"]},
            }
        )
        volume = {"name": "v", "csi": {"driver": "inline.example.com", "fsType": "ext4",
                                       "volumeAttributes": {"foo": "bar"}}}  # fmt: skip
        made = await kube.of(PODS).create(pod("p", {"l": "x"}, volumes=[volume]))
        assert volume in made["spec"]["volumes"]
        await kube.of(PODS).patch("p", {"metadata": {"labels": {"patched": "yes"}}}, "strategic")
        assert names(await kube.of(PODS).items("patched=yes")) == ["p"]
        await kube.of(PODS).delete_all("patched=yes", gracePeriodSeconds=0)
        await kube.of(PODS).gone("p")

    run(scenario)


@pytest.mark.conformance(
    "[sig-storage] PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC"
    " [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] PersistentVolumes CSI Conformance should apply changes to a pv/pvc status [Conformance]"
)
def test_volumes_and_claims() -> None:
    async def scenario(kube: Kube) -> None:
        volumes, claims = kube.of(PERSISTENTVOLUMES), kube.of(PERSISTENTVOLUMECLAIMS)
        labels = {"e2e": "pv"}
        spec: Object = {
            "storageClassName": "e2e",
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "csi": {"driver": "e2e-driver", "volumeHandle": "e2e-conformance"},
            "persistentVolumeReclaimPolicy": "Retain",
        }
        volume = await volumes.create({"metadata": meta("pv", labels=labels), "spec": spec})
        assert volume["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]
        wanted = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "e2e",
            "resources": {"requests": {"storage": "1Gi"}},
        }
        claim = await claims.create({"metadata": meta("pvc", labels=labels), "spec": wanted})
        assert (claim["status"], claim["spec"]["volumeMode"]) == (
            {"phase": "Pending"},
            "Filesystem",
        )
        assert names(await volumes.items("e2e=pv")) == ["pv"]
        assert names(await claims.everywhere("e2e=pv")) == ["pvc"]
        await volumes.patch("pv", {"metadata": {"labels": {"p": "patched"}}}, "strategic")
        await claims.patch("pvc", {"metadata": {"labels": {"c": "patched"}}}, "strategic")
        patch = {
            "metadata": {"annotations": {"patched": "true"}},
            "status": {
                "phase": "Pending",
                "conditions": [{"type": "StatusPatched", "status": "True"}],
            },
        }
        patched = await claims.patch("pvc", patch, "strategic", "status")
        assert condition(patched, "StatusPatched")
        one = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set"}
        updated = await claims.change(
            "pvc", lambda o: o["status"]["conditions"].append(one), "status"
        )
        assert condition(updated, "StatusUpdate")
        patch = {"status": {"message": "StatusPatched", "reason": "E2E patched"}}
        patched = await volumes.patch("pv", patch, "merge", "status")
        assert patched["status"]["message"] == "StatusPatched"
        updated = await volumes.change("pv", lambda o: o["status"].update(reason="E2E"), "status")
        assert updated["status"]["reason"] == "E2E"
        await claims.delete("pvc")
        await claims.gone("pvc")
        await volumes.delete("pv")
        await volumes.gone("pv")
        await claims.create({"metadata": meta("pvc2", labels=labels), "spec": wanted})
        await volumes.create({"metadata": meta("pv2", labels=labels), "spec": spec})
        await claims.delete_all("e2e=pv")
        await volumes.delete_all("e2e=pv")
        await claims.count(0)
        await volumes.count(0)

    run(scenario)


def test_a_claim_stays_while_a_pod_has_it() -> None:
    async def scenario(kube: Kube) -> None:
        claims, pods = kube.of(PERSISTENTVOLUMECLAIMS), kube.of(PODS)
        wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        await claims.create({"metadata": meta("c"), "spec": wanted})
        volume = {"name": "v", "persistentVolumeClaim": {"claimName": "c"}}
        await pods.create(pod("p", volumes=[volume], nodeName="node-1"))
        await claims.delete("c")
        await kube.cluster.advance(60)
        assert (await claims.get("c"))["metadata"]["deletionTimestamp"]
        await pods.delete("p", gracePeriodSeconds=0)
        await claims.gone("c")

    run(scenario, nodes=1)
