"""Namespaces: their metadata, status and finalizers; the order in which their contents go."""

import pytest

from skiff.api.resources import CONFIGMAPS, NAMESPACES, PODS
from tests.conformance.world import Kube, Object, condition, meta, pod, run

FINALIZER = "e2e.example.com/finalizer"


@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should patch a Namespace [Conformance]"
)
def test_a_namespace_is_patched() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(NAMESPACES)
        created = await api.create({"metadata": meta("nspatchtest")})
        assert created["status"]["phase"] == "Active"
        assert created["spec"]["finalizers"] == ["kubernetes"]
        assert created["metadata"]["labels"]["kubernetes.io/metadata.name"] == "nspatchtest"
        patch = {"metadata": {"labels": {"testLabel": "testValue"}}}
        await api.patch("nspatchtest", patch, "strategic")
        got = await api.get("nspatchtest")
        assert got["metadata"]["labels"]["testLabel"] == "testValue"

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should apply changes to a namespace status [Conformance]"
)
def test_a_namespace_has_a_status_of_its_own() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(NAMESPACES)
        await api.create({"metadata": meta("n")})
        got = await api.get("n", "status")
        assert got["status"] == {"phase": "Active"}
        patch = {
            "metadata": {"annotations": {"e2e-patched-ns-status": "n"}},
            "status": {
                "conditions": [
                    {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched"}
                ]
            },
        }
        patched = await api.patch("n", patch, subresource="status")
        assert patched["metadata"]["annotations"]["e2e-patched-ns-status"] == "n"
        assert condition(patched, "StatusPatch")["message"] == "Patched"

        def add(obj: Object) -> None:
            obj["status"]["conditions"].append(
                {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Updated"}
            )

        updated = await api.change("n", add, "status")
        assert len(updated["status"]["conditions"]) == 2
        assert condition(updated, "StatusUpdate")["reason"] == "E2E"
        assert updated["status"]["phase"] == "Active"

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should apply an update to a Namespace [Conformance]"
)
def test_a_namespace_is_updated() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(NAMESPACES)
        await api.change("test", lambda o: o["metadata"]["labels"].update(test="updated"))
        assert (await api.get("test"))["metadata"]["labels"]["test"] == "updated"

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should apply a finalizer to a Namespace [Conformance]"
)
def test_finalizers_are_written_by_their_own_subresource() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(NAMESPACES)
        created = await api.create({"metadata": meta("n")})
        created["spec"]["finalizers"].append("e2e.example.com/fakeFinalizer")
        ignored = await api.replace(created)
        assert ignored["spec"]["finalizers"] == [
            "kubernetes"
        ]  # the main resource does not write them
        created["metadata"] = ignored["metadata"]
        done = await api.replace(created, "finalize")
        assert done["spec"]["finalizers"] == ["kubernetes", "e2e.example.com/fakeFinalizer"]
        done["spec"]["finalizers"] = ["kubernetes"]
        done = await api.replace(done, "finalize")
        assert (await api.get("n"))["spec"]["finalizers"] == ["kubernetes"]
        await api.delete("n")
        await api.gone("n")

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] OrderedNamespaceDeletion namespace deletion should delete pod first [Conformance]"
)
def test_pods_go_before_anything_else() -> None:
    async def scenario(kube: Kube) -> None:
        spaces = kube.of(NAMESPACES)
        await spaces.create({"metadata": meta("n")})
        pods, maps = kube.of(PODS, "n"), kube.of(CONFIGMAPS, "n")

        async def admitted() -> bool:
            answer = await pods.refused(pod("p") | {"metadata": meta("p", finalizers=[FINALIZER])})
            return answer.status == 201

        await kube.until(admitted)
        await maps.create({"metadata": meta("test-configmap"), "data": {"key": "value"}})
        answer = await spaces.delete("n")
        assert (
            answer["status"]["phase"] == "Terminating" and answer["metadata"]["deletionTimestamp"]
        )

        async def told() -> bool:
            found = await spaces.get("n")
            remaining = condition(found, "NamespaceContentRemaining").get("message", "")
            finalizers = condition(found, "NamespaceFinalizersRemaining").get("message", "")
            return (
                "pods. has 1 resource instances" in remaining
                and f"{FINALIZER} in 1 resource instances" in finalizers
            )

        await kube.until(told)
        assert (await maps.get("test-configmap"))["data"] == {"key": "value"}
        refused = await maps.refused({"metadata": meta("late")})
        refused.failed(403, "Forbidden", "because it is being terminated")
        await pods.patch("p", {"metadata": {"finalizers": None}})
        await spaces.gone("n")

    run(scenario, nodes=1)
