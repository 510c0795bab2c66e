"""componentstatuses: what works, as the API server sees it."""

from skiff.testing.cluster import CONTROLLERS, SCHEDULER
from tests.conformance.world import Kube, run

PATH = "/api/v1/componentstatuses"
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}


async def cells(kube: Kube) -> list[list[str]]:
    table = await kube.ok("GET", PATH, headers=TABLE)
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Status", "Message", "Error"]
    return [row["cells"] for row in table["rows"]]


def test_what_runs_is_healthy_and_what_does_not_is_not() -> None:
    async def scenario(kube: Kube) -> None:
        healthy = [[n, "Healthy", "ok", ""] for n in ("controller-manager", "scheduler", "etcd-0")]

        async def all_healthy() -> bool:
            return await cells(kube) == healthy

        await kube.until(all_healthy)
        # They may share watches: the scheduler is taken to be gone when both are.
        await kube.cluster.processes[SCHEDULER].stop()
        await kube.cluster.processes[CONTROLLERS].stop()
        assert await cells(kube) == [
            [name, "Unhealthy", f'user "{user}" follows nothing: not running', ""]
            for name, user in (
                ("controller-manager", "system:kube-controller-manager"),
                ("scheduler", "system:kube-scheduler"),
            )
        ] + [["etcd-0", "Healthy", "ok", ""]]
        one = await kube.get(f"{PATH}/etcd-0")
        assert (one["kind"], one["metadata"]["name"]) == ("ComponentStatus", "etcd-0")
        assert one["conditions"] == [{"type": "Healthy", "status": "True", "message": "ok"}]
        answer = await kube.call("GET", PATH)
        assert (answer.json["kind"], len(answer.json["items"])) == ("ComponentStatusList", 3)
        assert answer.headers["warning"] == '299 - "v1 ComponentStatus is deprecated in v1.19+"'
        named = await kube.get(PATH, fieldSelector="metadata.name=scheduler")
        assert [i["metadata"]["name"] for i in named["items"]] == ["scheduler"]
        assert not (await kube.get(PATH, labelSelector="a=b"))["items"]
        missing = await kube.call("GET", f"{PATH}/nothing")
        assert missing.failed(500, "")["message"] == "Component not found: nothing"
        (await kube.call("DELETE", f"{PATH}/scheduler")).failed(405, "MethodNotAllowed")
        (await kube.call("GET", PATH, watch="1")).failed(405, "MethodNotAllowed")
        (await kube.call("GET", f"/api/v1/namespaces/test/{PATH[8:]}")).failed(404, "NotFound")

    run(scenario)
