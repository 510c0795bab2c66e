"""Services, Endpoints, EndpointSlices, and the addresses behind them."""

from typing import Any

import pytest

from skiff.api.resources import (
    ENDPOINTS,
    ENDPOINTSLICES,
    IPADDRESSES,
    PODS,
    SERVICECIDRS,
    SERVICES,
)
from tests.conformance.world import Kube, Object, condition, meta, names, pod, run

WEB = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}


def service(name: str, labels: Any = None, **spec: Any) -> Object:
    return {
        "metadata": meta(name, labels=labels or {}),
        "spec": {"ports": [dict(WEB)], **spec},
    }


@pytest.mark.conformance(
    "[sig-network] API Server should provide secure master service [Conformance]"
)
@pytest.mark.conformance(
    "[sig-network] API Server should have Endpoints and EndpointSlices pointing to API Server [Conformance]"
)
def test_the_server_has_a_service() -> None:
    async def scenario(kube: Kube) -> None:
        found = await kube.of(SERVICES, "default").get("kubernetes")
        assert found["spec"]["ports"][0] == {
            "name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443,
        }  # fmt: skip
        ends = await kube.of(ENDPOINTS, "default").get("kubernetes")
        assert [len(s["addresses"]) for s in ends["subsets"]] == [1]
        slices = await kube.of(ENDPOINTSLICES, "default").items(
            "kubernetes.io/service-name=kubernetes"
        )
        assert [s["ports"] for s in slices] == [s["ports"] for s in ends["subsets"]]
        assert slices[0]["endpoints"][0]["addresses"] == [
            a["ip"] for a in ends["subsets"][0]["addresses"]
        ]

    run(scenario)


@pytest.mark.conformance(
    "[sig-network] Services should complete a service status lifecycle [Conformance]"
)
def test_a_service_has_a_status_of_its_own() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(SERVICES)
        start = (await api.list())["metadata"]["resourceVersion"]
        labels = {"test-service-static": "true"}
        async with api.watch("test-service-static=true", resourceVersion=start) as watch:
            await api.create(
                service(
                    "s", labels, type="LoadBalancer", loadBalancerClass="example.com/internal-vip"
                )
            )
            await watch.expect("ADDED")
            status = await api.get("s", "status")
            assert status["status"] == {"loadBalancer": {}}
            patch = {
                "metadata": {"annotations": {"patchedstatus": "true"}},
                "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}},
            }
            await api.patch("s", patch, subresource="status")
            seen = await watch.expect("MODIFIED")
            assert seen["metadata"]["annotations"]["patchedstatus"] == "true"
            assert seen["status"]["loadBalancer"]["ingress"][0] == {
                "ip": "203.0.113.1", "ipMode": "VIP",
            }  # fmt: skip
            more = {
                "type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }  # fmt: skip
            await api.change("s", lambda o: o["status"].update(conditions=[more]), "status")
            seen = await watch.expect("MODIFIED")
            assert condition(seen, "StatusUpdate") == more
            label = {"metadata": {"labels": {"test-service": "patched"}}}
            patched = await api.patch("s", label, "strategic")
            await watch.expect("MODIFIED", lambda o: o["metadata"]["labels"]["test-service"])
            assert patched["status"]["loadBalancer"]["ingress"]
            await api.delete("s")
            await watch.expect("DELETED")

    run(scenario)


@pytest.mark.conformance(
    "[sig-network] Services should delete a collection of services [Conformance]"
)
@pytest.mark.conformance(
    "[sig-network] Services should find a service from listing all namespaces [Conformance]"
)
def test_services_by_collection() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(SERVICES)
        assert "kubernetes" in names(await api.everywhere())
        for i in range(3):
            await api.create(service(f"s{i}", {"e2e": "yes" if i else "no"}))
        await api.delete_all("e2e=yes")
        assert names(await api.items()) == ["s0"]

    run(scenario)


def test_types_change() -> None:
    """The addresses and ports that a type has come and go with it."""

    async def scenario(kube: Kube) -> None:
        api = kube.of(SERVICES)
        await api.create(
            {
                "metadata": meta("s"),
                "spec": {"type": "ExternalName", "externalName": "foo.example.com"},
            }
        )
        for kind in ("ClusterIP", "NodePort"):

            def inside(obj: Object, kind: str = kind) -> None:
                obj["spec"].pop("externalName", None)
                obj["spec"].update(type=kind, ports=[dict(WEB)])

            def outside(obj: Object) -> None:
                obj["spec"].update(type="ExternalName", externalName="bar.example.com")

            changed = await api.change("s", inside)
            assert changed["spec"]["clusterIP"].startswith("10.96.")
            assert ("nodePort" in changed["spec"]["ports"][0]) is (kind == "NodePort")
            changed = await api.change("s", outside)
            assert not changed["spec"].get("clusterIP")
            assert "nodePort" not in changed["spec"]["ports"][0]

    run(scenario)


@pytest.mark.conformance(
    "[sig-network] Endpoints should test the lifecycle of an Endpoint [Conformance]"
)
def test_the_life_of_endpoints() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(ENDPOINTS)
        label = "test-endpoint-static=true"
        start = (await api.list())["metadata"]["resourceVersion"]
        async with api.watch(label, resourceVersion=start) as watch:
            await api.create(
                {
                    "metadata": meta("testservice", labels={"test-endpoint-static": "true"}),
                    "subsets": [
                        {
                            "addresses": [{"ip": "10.0.0.24"}],
                            "ports": [{"name": "http", "port": 80}],
                        }
                    ],
                }
            )
            await watch.expect("ADDED")
            assert names(await api.everywhere(label)) == ["testservice"]
            await api.change(
                "testservice", lambda o: o["metadata"]["labels"].update({"test-service": "updated"})
            )
            await watch.expect("MODIFIED", lambda o: "test-service" in o["metadata"]["labels"])
            got = await api.get("testservice")
            assert got["metadata"]["labels"]["test-service"] == "updated"
            patch = {
                "metadata": {"labels": {"test-service": "patched"}},
                "subsets": [
                    {
                        "addresses": [{"ip": "10.0.0.25"}],
                        "ports": [{"name": "http-test", "port": 8080}],
                    }
                ],
            }
            await api.patch("testservice", patch, "strategic")
            seen = await watch.expect(
                "MODIFIED", lambda o: o["metadata"]["labels"].get("test-service")
            )
            assert len(seen["subsets"]) == 1
            assert seen["subsets"][0]["addresses"] == [{"ip": "10.0.0.25"}]
            assert seen["subsets"][0]["ports"] == [
                {"name": "http-test", "port": 8080, "protocol": "TCP"}
            ]
            await api.delete_all(label)
            await watch.expect("DELETED")
        assert await api.absent("testservice")

    run(scenario)


@pytest.mark.conformance(
    "[sig-network] EndpointsController should create and delete Endpoints for a Service with a selector"
    " that matches no pods [Conformance]"
)
@pytest.mark.conformance(
    "[sig-network] EndpointSlice should create and delete EndpointSlices for a Service with a selector"
    " that matches no pods [Conformance]"
)
def test_endpoints_of_nobody() -> None:
    async def scenario(kube: Kube) -> None:
        await kube.of(SERVICES).create(
            service("s", selector={"does-not-match-anything": "endpoints"})
        )
        slices, ends = kube.of(ENDPOINTSLICES), kube.of(ENDPOINTS)
        label = "kubernetes.io/service-name=s"
        found = (await slices.count(1, label))[0]
        assert found["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == (
            "endpointslice-controller.k8s.io"
        )
        assert (await ends.count(1))[0]["metadata"]["name"] == "s"
        await kube.of(SERVICES).delete("s")
        await slices.count(0, label)
        await ends.gone("s")

    run(scenario)


@pytest.mark.conformance(
    "[sig-network] EndpointsController should create Endpoints for Pods matching a Service [Conformance]"
)
@pytest.mark.conformance(
    "[sig-network] EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service"
    " [Conformance]"
)
def test_endpoints_of_pods() -> None:
    async def scenario(kube: Kube) -> None:
        def backend(name: str, port_name: str, port: int) -> Object:
            ports = [{"name": port_name, "containerPort": port}]
            return pod(
                name,
                {"foo": "bar"} | ({"only": "1"} if name == "pod1" else {}),
                containers=[{"name": "c", "image": "web:1", "ports": ports}],
            )

        pods = kube.of(PODS)
        await pods.create(backend("pod1", "example-name", 3000))
        await pods.create(backend("pod2", "example-name", 3001) | {})
        named = {"name": "example", "port": 80, "targetPort": "example-name", "protocol": "TCP"}
        other = {"name": "other", "port": 8080, "targetPort": 9000, "protocol": "TCP"}
        await kube.of(SERVICES).create(service("s1", selector={"only": "1"}, ports=[named]))
        await kube.of(SERVICES).create(service("s2", selector={"foo": "bar"}, ports=[named, other]))

        async def ready() -> bool:
            found = await pods.items()
            return all(condition(p, "Ready").get("status") == "True" for p in found)

        await kube.until(ready)
        ips = {p["metadata"]["name"]: p["status"]["podIP"] for p in await pods.items()}

        async def complete() -> bool:
            first = (await kube.of(ENDPOINTS).get("s1")).get("subsets") or []
            second = (await kube.of(ENDPOINTS).get("s2")).get("subsets") or []
            return [len(s.get("addresses", ())) for s in first] == [1] and len(second) == 2

        await kube.until(complete)
        first = (await kube.of(ENDPOINTS).get("s1"))["subsets"]
        assert first[0]["addresses"][0]["ip"] == ips["pod1"]
        assert first[0]["addresses"][0]["targetRef"]["name"] == "pod1"
        assert first[0]["ports"] == [{"name": "example", "port": 3000, "protocol": "TCP"}]
        label = "kubernetes.io/service-name=s2"

        async def sliced() -> bool:
            found = await kube.of(ENDPOINTSLICES).items(label)
            listed = [[e["conditions"]["ready"] for e in s.get("endpoints") or ()] for s in found]
            return listed == [[True], [True]]

        await kube.until(sliced)
        found = await kube.of(ENDPOINTSLICES).items(label)
        for piece in found:
            assert piece["addressType"] == "IPv4"
            (endpoint,) = piece["endpoints"]
            assert endpoint["conditions"] == {"ready": True, "serving": True, "terminating": False}
            name = endpoint["targetRef"]["name"]
            assert endpoint["addresses"] == [ips[name]]
            assert endpoint["nodeName"]
            ports = {p["name"]: p["port"] for p in piece["ports"]}
            assert ports == {"example": 3000 if name == "pod1" else 3001, "other": 9000}
        await pods.delete("pod1")

        async def one_left() -> bool:
            return (await kube.of(ENDPOINTS).get("s1")).get("subsets") is None

        await kube.until(one_left)

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-network] Service endpoints latency should not be very high [Conformance]"
)
def test_endpoints_come_soon() -> None:
    """The endpoints of services that are made all at once are there within seconds."""

    async def scenario(kube: Kube) -> None:
        pods = kube.of(PODS)
        await pods.create(pod("p", {"name": "svc-latency"}))

        async def ready() -> bool:
            return condition(await pods.get("p"), "Ready").get("status") == "True"

        await kube.until(ready)
        began = kube.cluster.clock.monotonic()
        for i in range(50):
            await kube.of(SERVICES).create(service(f"s{i}", selector={"name": "svc-latency"}))

        async def all_there() -> bool:
            found = await kube.of(ENDPOINTS).items()
            return len(found) == 50 and all(e.get("subsets") for e in found)

        await kube.until(all_there, 20)
        assert kube.cluster.clock.monotonic() - began < 20

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-network] ServiceCIDR and IPAddress API should support IPAddress API operations [Conformance]"
)
def test_addresses() -> None:
    def address(ip: str, of: str = "foo") -> Object:
        reference = {"resource": "services", "name": of, "namespace": "bar"}
        return {
            "metadata": meta(ip, labels={"special": "yes"}),
            "spec": {"parentRef": reference},
        }

    async def scenario(kube: Kube) -> None:
        api = kube.of(IPADDRESSES)
        for ip in ("192.168.2.2", "192.168.2.3", "2001:db8::1"):
            await api.create(address(ip))
        refused = await api.refused(address("192.168.2.300"))
        refused.failed(422, "Invalid", "metadata.name: Invalid value")
        assert len(await api.items("special=yes")) == 3
        start = (await api.list("special=yes"))["metadata"]["resourceVersion"]
        async with api.watch("special=yes", resourceVersion=start) as watch:
            patch = {"metadata": {"annotations": {"patched": "true"}}}
            await api.patch("192.168.2.2", patch)
            await watch.expect("MODIFIED", lambda o: o["metadata"]["annotations"]["patched"])
            await api.change(
                "192.168.2.2", lambda o: o["metadata"]["annotations"].update(updated="true")
            )
            await watch.expect("MODIFIED", lambda o: o["metadata"]["annotations"]["updated"])
            await api.delete("2001:db8::1")
            await watch.expect("DELETED")
            await api.delete_all("special=yes")
        assert await api.items("special=yes") == []

    run(scenario)


def test_services_get_addresses_out_of_another_range() -> None:
    async def scenario(kube: Kube) -> None:
        services, cidrs = kube.of(SERVICES), kube.of(SERVICECIDRS)

        async def says(status: str) -> bool:
            return bool(condition(await cidrs.get("more"), "Ready").get("status") == status)

        early = await services.refused(service("early", clusterIP="203.0.113.10"))
        early.failed(422, "Invalid", "the provided network does not match the current range")
        await cidrs.create({"metadata": meta("more"), "spec": {"cidrs": ["203.0.113.0/24"]}})
        await kube.until(lambda: says("True"))
        made = await services.create(service("s", clusterIP="203.0.113.10"))
        assert made["spec"]["clusterIPs"] == ["203.0.113.10"]

        await cidrs.delete("more")
        await kube.until(lambda: says("False"))
        late = await services.refused(service("late", clusterIP="203.0.113.11"))
        late.failed(422, "Invalid", "the provided network does not match the current range")
        await services.delete("s")
        await cidrs.gone("more")

    run(scenario)


@pytest.mark.conformance(
    "[sig-network] ServiceCIDR and IPAddress API should support ServiceCIDR API operations [Conformance]"
)
def test_the_servers_own_range_and_addresses() -> None:
    async def scenario(kube: Kube) -> None:
        own = await kube.of(SERVICECIDRS).get("kubernetes")
        assert own["spec"]["cidrs"] == ["10.96.0.0/16"]
        assert condition(own, "Ready")["status"] == "True"
        made = await kube.of(SERVICES).create(service("s"))
        ip = made["spec"]["clusterIP"]
        addresses = kube.of(IPADDRESSES)

        async def there() -> Any:
            return not await addresses.absent(ip)

        await kube.until(there)
        found = await addresses.get(ip)
        assert found["spec"]["parentRef"] == {
            "group": "", "resource": "services", "namespace": "test", "name": "s",
        } or found["spec"]["parentRef"] == {
            "resource": "services", "namespace": "test", "name": "s",
        }  # fmt: skip
        assert found["metadata"]["labels"] == {
            "ipaddress.kubernetes.io/ip-family": "IPv4",
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        }
        await kube.of(SERVICES).delete("s")
        await addresses.gone(ip)
        new = await kube.of(SERVICECIDRS).create(
            {"metadata": meta("more"), "spec": {"cidrs": ["10.100.100.0/24"]}}
        )
        assert new["metadata"]["name"] == "more"

        async def is_ready() -> bool:
            return (
                condition(await kube.of(SERVICECIDRS).get("more"), "Ready").get("status") == "True"
            )

        await kube.until(is_ready)
        await kube.of(SERVICECIDRS).delete("more")
        await kube.of(SERVICECIDRS).gone("more")

    run(scenario)


def test_a_range_stays_while_its_addresses_do() -> None:
    async def scenario(kube: Kube) -> None:
        cidrs, addresses = kube.of(SERVICECIDRS), kube.of(IPADDRESSES)
        await cidrs.create({"metadata": meta("more"), "spec": {"cidrs": ["10.100.0.0/24"]}})
        reference = {"resource": "services", "name": "s", "namespace": "test"}
        await addresses.create({"metadata": meta("10.100.0.7"), "spec": {"parentRef": reference}})

        async def finalized() -> bool:
            return bool((await cidrs.get("more"))["metadata"].get("finalizers"))

        await kube.until(finalized)
        await cidrs.delete("more")

        async def told() -> bool:
            found = condition(await cidrs.get("more"), "Ready")
            return (found.get("status"), found.get("reason")) == ("False", "Terminating")

        await kube.until(told)
        await addresses.delete("10.100.0.7")
        await cidrs.gone("more")

    run(scenario)


def test_an_address_made_by_hand_is_nobody_elses() -> None:
    async def scenario(kube: Kube) -> None:
        reference = {"resource": "example", "name": "mine", "namespace": "test"}
        addresses, services = kube.of(IPADDRESSES), kube.of(SERVICES)
        await addresses.create({"metadata": meta("10.96.7.7"), "spec": {"parentRef": reference}})
        await kube.cluster.advance(1)
        refused = await services.refused(service("s", clusterIP="10.96.7.7"))
        refused.failed(422, "Invalid", "provided IP is already allocated")
        await addresses.delete("10.96.7.7")
        await kube.cluster.advance(1)
        await services.create(service("s", clusterIP="10.96.7.7"))

        async def ours() -> bool:
            found = await addresses.items(fieldSelector="metadata.name=10.96.7.7")
            return [a["spec"]["parentRef"]["name"] for a in found] == ["s"]

        await kube.until(ours)
        await addresses.delete("10.96.7.7")  # it comes back
        await kube.until(ours)

    run(scenario)
