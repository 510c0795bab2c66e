"""Endpoints and EndpointSlices: pure packing, and against the real API server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.api.resources import ENDPOINTS, ENDPOINTSLICES, PODS, RESOURCES
from skiff.api.views.discovery import Endpoint, EndpointPort, EndpointSlice
from skiff.api.views.meta import ObjectMeta
from skiff.controllers.endpointslice import plan
from tests.controllers.world import Object, World, run, template

SERVICES = RESOURCES["", "v1", "services"]


def endpoint(n: int) -> plan.Endpoint:
    return {"addresses": [f"10.0.{n // 250}.{n % 250}"], "conditions": {"ready": True}}


def existing(name: str, numbers: list[int]) -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(name=name),
        address_type="IPv4",
        ports=(EndpointPort(name="", port=80, protocol="TCP"),),
        endpoints=tuple(
            Endpoint(addresses=(f"10.0.{n // 250}.{n % 250}",), conditions=None) for n in numbers
        ),
    )


@given(
    st.lists(st.integers(0, 900), unique=True),
    st.lists(st.integers(0, 900), unique=True, max_size=300),
    st.integers(1, 120),
)
def test_packing_holds_every_endpoint_once(wanted, held, limit) -> None:
    ports = [{"name": "", "port": 80, "protocol": "TCP"}]
    desired = plan.Desired()
    for n in wanted:
        desired.add(ports, endpoint(n))
    slices = [existing(f"s{i}", held[i : i + limit]) for i in range(0, len(held), limit)]
    changes = plan.pack(desired, slices, "IPv4", limit)
    after = [*changes.create, *changes.update, *changes.kept]
    addresses = [e["addresses"][0] for s in after for e in s.endpoints]
    assert sorted(addresses) == sorted(endpoint(n)["addresses"][0] for n in wanted)
    assert all(len(s.endpoints) <= limit for s in after)
    touched = {s.existing.metadata.name for s in (*changes.update, *changes.kept) if s.existing}
    assert touched | {s.metadata.name for s in changes.delete} == {s.metadata.name for s in slices}
    assert after, "a service without endpoints keeps an empty slice"


def service(name: str = "web", **spec) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"team": "x"}},
        "spec": {
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
            **spec,
        },
    }


def pod(name: str, **spec) -> Object:
    found = template({"app": "web"})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": found["spec"] | spec,
    }


async def endpoints(world: World, ready: int, other: int = 0, name: str = "web"):
    async def check():
        found = await world.client.get(ENDPOINTS, name, "default")
        subsets = found.get("subsets") or []
        counts = [
            sum(len(s.get(k) or ()) for s in subsets) for k in ("addresses", "notReadyAddresses")
        ]
        slices = [
            s
            for s in await world.objects(ENDPOINTSLICES)
            if s["metadata"]["labels"].get("kubernetes.io/service-name") == name
        ]
        all_endpoints = [e for s in slices for e in s["endpoints"] or ()]
        in_slices = sum(e["conditions"]["ready"] for e in all_endpoints)
        return counts == [ready, other] and in_slices == ready and (found, slices)

    return await world.until(check)


@pytest.mark.conformance(
    "[sig-network] EndpointSlice should create Endpoints and EndpointSlices for Pods matching a "
    "Service [Conformance]"
)
@pytest.mark.conformance(
    "[sig-network] EndpointSlice should create and delete EndpointSlices for a Service with a selector "
    "that matches no pods [Conformance]"
)
def test_endpoints_follow_pods() -> None:
    async def test(world: World) -> None:
        client = world.client
        await client.create(SERVICES, service(), "default")
        await endpoints(world, 0)
        for n in range(3):
            await client.create(PODS, pod(f"p{n}"), "default")
        found, (piece,) = await endpoints(world, 3)
        assert found["subsets"][0]["ports"] == [{"name": "http", "port": 80, "protocol": "TCP"}]
        address = found["subsets"][0]["addresses"][0]
        assert address["nodeName"] == "node-1"
        assert address["targetRef"]["kind"] == "Pod"
        labels = piece["metadata"]["labels"]
        assert labels == {
            "team": "x",
            "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        }
        assert piece["metadata"]["generateName"] == "web-"
        assert piece["addressType"] == "IPv4"
        assert piece["metadata"]["ownerReferences"][0]["kind"] == "Service"
        assert piece["endpoints"][0]["conditions"] == {
            "ready": True,
            "serving": True,
            "terminating": False,
        }
        await world.player.set_ready("p0", False)
        await endpoints(world, 2, 1)
        await client.delete(PODS, "p1", "default")
        await endpoints(world, 1, 1)
        await client.patch(PODS, "p2", "default", {"metadata": {"labels": {"app": "other"}}})
        await endpoints(world, 0, 1)
        await client.delete(SERVICES, "web", "default")

        async def gone():
            left = await world.objects(ENDPOINTSLICES)
            left = [s for s in left if s["metadata"]["name"].startswith("web-")]
            names = {e["metadata"]["name"] for e in await world.objects(ENDPOINTS)}
            return not left and "web" not in names

        await world.until(gone)

    run(test, play=True)


def test_headless_services_carry_hostnames_and_unready_pods() -> None:
    async def test(world: World) -> None:
        await world.client.create(
            SERVICES,
            service(clusterIP="None", publishNotReadyAddresses=True),
            "default",
        )
        await world.client.create(PODS, pod("p", hostname="h", subdomain="web"), "default")
        found, (piece,) = await endpoints(world, 1)
        assert found["subsets"][0]["addresses"][0]["hostname"] == "h"
        assert found["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
        assert piece["endpoints"][0]["hostname"] == "h"
        assert piece["endpoints"][0]["conditions"]["serving"] is False

    run(test, play=True, ready=lambda _: False)


def test_hundreds_of_endpoints_are_sliced() -> None:
    async def test(world: World) -> None:
        for n in range(120):
            await world.client.create(PODS, pod(f"p{n}"), "default")
        await world.client.create(SERVICES, service(), "default")
        _, slices = await endpoints(world, 120)
        assert all(len(s["endpoints"]) <= 100 for s in slices)
        assert len(slices) <= 3

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-network] EndpointSliceMirroring should mirror a custom Endpoints resource through create "
    "update and delete [Conformance]"
)
def test_hand_made_endpoints_are_mirrored() -> None:
    async def test(world: World) -> None:
        client = world.client
        await client.create(SERVICES, service(selector=None), "default")
        subsets = [
            {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"name": "x", "port": 80}]},
        ]
        body = {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": "web"},
            "subsets": subsets,
        }
        await client.create(ENDPOINTS, body, "default")

        async def mirrored():
            found = await world.objects(ENDPOINTSLICES)
            return [
                s
                for s in found
                if s["metadata"]["labels"].get("endpointslice.kubernetes.io/managed-by")
                == "endpointslicemirroring-controller.k8s.io"
                and s["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
            ]

        (piece,) = await world.until(mirrored)
        assert piece["endpoints"][0]["addresses"] == ["10.1.2.3"]
        assert piece["ports"] == [{"name": "x", "port": 80, "protocol": "TCP"}]
        subsets[0]["addresses"] = [{"ip": "10.2.3.4"}]
        await client.patch(ENDPOINTS, "web", "default", {"subsets": subsets})

        async def moved():
            return (await mirrored())[0]["endpoints"][0]["addresses"] == ["10.2.3.4"]

        await world.until(moved)
        await client.delete(ENDPOINTS, "web", "default")

        async def gone():
            return not await mirrored()

        await world.until(gone)

    run(test)
