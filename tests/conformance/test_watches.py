"""Watches: resuming, order; and answers in a form that is not the object's own."""

import pytest

from skiff.api.resources import CONFIGMAPS
from tests.conformance.world import Kube, Watch, meta, run

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.conformance(
    "[sig-api-machinery] Watchers should be able to restart watching from the last resource version"
    " observed by the previous watch [Conformance]"
)
def test_a_watch_is_resumed() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(CONFIGMAPS)
        start = (await api.list())["metadata"]["resourceVersion"]
        label = "watch-this-configmap=watch-closed-and-restarted"
        labels = dict([label.split("=")])
        async with api.watch(label, resourceVersion=start) as watch:
            await api.create({"metadata": meta("e2e-watch-test", labels=labels)})
            await api.patch("e2e-watch-test", {"data": {"mutation": "1"}})
            await watch.expect("ADDED")
            seen = await watch.expect("MODIFIED")
        await api.patch("e2e-watch-test", {"data": {"mutation": "2"}})
        last = seen["metadata"]["resourceVersion"]
        async with api.watch(label, resourceVersion=last) as watch:
            await api.delete("e2e-watch-test")
            first, second = await watch.next(), await watch.next()
            assert (first["type"], first["object"]["data"]) == ("MODIFIED", {"mutation": "2"})
            assert second["type"] == "DELETED"
            await watch.quiet()

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] Watchers should receive events on concurrent watches in same order [Conformance]"
)
def test_all_see_the_same_order() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(CONFIGMAPS)
        start = int((await api.list())["metadata"]["resourceVersion"])
        for i in range(30):
            await api.create({"metadata": meta(f"cm-{i % 5}-{i // 15}-{i}")})
            if i % 2:
                await api.patch(f"cm-{i % 5}-{i // 15}-{i}", {"data": {"a": str(i)}})
            if i % 3 == 0:
                await api.delete(f"cm-{i % 5}-{i // 15}-{i}")

        async def versions(watch: Watch, count: int) -> list[str]:
            return [
                (await watch.next())["object"]["metadata"]["resourceVersion"] for _ in range(count)
            ]

        total = 30 + 15 + 10
        async with api.watch(resourceVersion=str(start)) as watch:
            everything = await versions(watch, total)
        assert [int(v) for v in everything] == sorted(int(v) for v in everything)
        for i in range(0, total - 1, 5):
            async with api.watch(resourceVersion=everything[i]) as watch:
                assert await versions(watch, total - 1 - i) == everything[i + 1 :]

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] Servers with support for Table transformation should return a 406 for a backend"
    " which does not implement metadata [Conformance]"
)
def test_reviews_are_no_tables() -> None:
    async def scenario(kube: Kube) -> None:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {
                "resourceAttributes": {"namespace": "test", "verb": "get", "resource": "pods"}
            },
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = await kube.call("POST", path, review, {"accept": TABLE})
        answer.failed(406, "NotAcceptable", "only the following media types are accepted")

    run(scenario)
