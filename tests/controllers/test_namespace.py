"""Namespaces: what every one has, and how one goes."""

import pytest

from skiff.api.errors import NotFound
from skiff.api.resources import CONFIGMAPS, NAMESPACES, PODS, RESOURCES, SERVICEACCOUNTS
from tests.controllers.world import Object, World, run, template

SERVICES = RESOURCES["", "v1", "services"]


def namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def config_map(name: str, finalizers: tuple[str, ...] = ()) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "finalizers": list(finalizers)},
    }


async def create_namespace(world: World, name: str):
    """Create it, and wait until pods are admitted in it."""
    await world.client.create(NAMESPACES, namespace(name))

    async def account():
        return await world.client.get(SERVICEACCOUNTS, "default", name)

    await world.until(account)


async def gone(world: World, name: str):
    async def check():
        try:
            await world.client.get(NAMESPACES, name)
        except NotFound:
            return True

    await world.until(check)


@pytest.mark.conformance(
    "[sig-auth] ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace [Conformance]"
)
def test_every_namespace_has_its_account_and_the_root_ca() -> None:
    async def test(world: World) -> None:
        await world.client.create(NAMESPACES, namespace("a"))

        async def both():
            await world.client.get(SERVICEACCOUNTS, "default", "a")
            return await world.client.get(CONFIGMAPS, "kube-root-ca.crt", "a")

        found = await world.until(both)
        assert found["data"] == {"ca.crt": "CA"}
        await world.client.delete(CONFIGMAPS, "kube-root-ca.crt", "a")
        await world.client.delete(SERVICEACCOUNTS, "default", "a")
        await world.until(both)
        broken = {"data": {"ca.crt": "other"}}
        await world.client.patch(CONFIGMAPS, "kube-root-ca.crt", "a", broken)

        async def mended():
            return (await both())["data"] == {"ca.crt": "CA"}

        await world.until(mended)

    run(test)


@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should ensure that all services are removed when a "
    "namespace is deleted [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should ensure that all pods are removed when a "
    "namespace is deleted [Conformance]"
)
def test_deleting_a_namespace_empties_it() -> None:
    async def test(world: World) -> None:
        client = world.client
        await create_namespace(world, "a")
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}} | {
            "spec": template({})["spec"]
        }
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "s"},
            "spec": {"ports": [{"port": 80}]},
        }
        await client.create(PODS, pod, "a")
        await client.create(SERVICES, service, "a")
        await client.create(CONFIGMAPS, config_map("c"), "a")
        await client.delete(NAMESPACES, "a")
        await gone(world, "a")
        await client.create(NAMESPACES, namespace("a"))
        assert await world.objects(PODS, "a") == []
        assert await world.objects(SERVICES, "a") == []

    run(test, play=True)


def test_a_finalizer_holds_the_namespace_and_its_conditions_say_so() -> None:
    async def test(world: World) -> None:
        client = world.client
        await client.create(NAMESPACES, namespace("a"))
        await client.create(CONFIGMAPS, config_map("held", ("example.com/hold",)), "a")
        await client.delete(NAMESPACES, "a")

        async def held():
            found = await client.get(NAMESPACES, "a")
            conditions = {c["type"]: c for c in found["status"]["conditions"]}
            return conditions["NamespaceFinalizersRemaining"]["status"] == "True" and found

        found = await world.until(held)
        assert found["status"]["phase"] == "Terminating"
        conditions = {c["type"]: c for c in found["status"]["conditions"]}
        assert conditions["NamespaceContentRemaining"]["message"] == (
            "Some resources are remaining: configmaps. has 1 resource instances"
        )
        assert conditions["NamespaceFinalizersRemaining"]["message"] == (
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource "
            "instances"
        )
        assert conditions["NamespaceDeletionContentFailure"]["status"] == "False"
        assert conditions["NamespaceDeletionDiscoveryFailure"]["reason"] == "ResourcesDiscovered"
        await client.patch(CONFIGMAPS, "held", "a", {"metadata": {"finalizers": None}})
        await gone(world, "a")

    run(test)


def test_pods_go_before_what_they_use() -> None:
    async def test(world: World) -> None:
        client = world.client
        await create_namespace(world, "a")
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "finalizers": ["example.com/hold"]},
            "spec": template({})["spec"],
        }
        await client.create(PODS, pod, "a")
        await client.create(CONFIGMAPS, config_map("c"), "a")
        await client.delete(NAMESPACES, "a")
        await world.clock.sleep(5)
        found = await client.get(CONFIGMAPS, "c", "a")
        assert "deletionTimestamp" not in found["metadata"]
        await client.patch(PODS, "p", "a", {"metadata": {"finalizers": None}})
        await gone(world, "a")

    run(test)
