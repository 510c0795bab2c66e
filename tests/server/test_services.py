"""Services: what is allocated, kept, refused and given back."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skiff.aio.entropy import Entropy
from skiff.server.allocate import Addresses, AllocationError, PortRange
from skiff.server.app import ApiServer, Config
from tests.server.engine_world import MERGE, World, play

SERVICES = "/api/v1/namespaces/default/services"
DUAL = Config(service_cidrs=("10.96.0.0/16", "fd00:1::/112"))


def service(name: str, **spec: object) -> dict:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


def test_an_address_is_given_and_kept() -> None:
    async def test(w: World) -> None:
        made = await w.create(SERVICES, service("a"))
        address = made["spec"]["clusterIP"]
        assert address.startswith("10.96.")
        assert made["spec"]["clusterIPs"] == [address]
        assert made["spec"]["ipFamilies"] == ["IPv4"]
        assert made["spec"]["ipFamilyPolicy"] == "SingleStack"
        assert "nodePort" not in made["spec"]["ports"][0]
        # A client that leaves the address out, as `kubectl replace` may, does not lose it.
        after = await w.ok("PUT", f"{SERVICES}/a", service("a"))
        assert after["spec"]["clusterIP"] == address

    play(test)


def test_an_address_can_be_chosen_once() -> None:
    async def test(w: World) -> None:
        await w.create(SERVICES, service("dns", clusterIP="10.96.0.10"))
        taken = await w.call("POST", SERVICES, service("b", clusterIP="10.96.0.10"))
        assert taken.status == 422
        assert taken.message == (
            'Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.10"]: failed to '
            "allocate IP 10.96.0.10: provided IP is already allocated"
        )
        outside = await w.call("POST", SERVICES, service("b", clusterIP="10.1.0.1"))
        words = "the provided network does not match the current range"
        assert f"failed to allocate IP 10.1.0.1: {words}" in outside.message
        await w.ok("DELETE", f"{SERVICES}/dns")
        await w.create(SERVICES, service("b", clusterIP="10.96.0.10"))

    play(test)


def test_headless_and_external_services_hold_nothing() -> None:
    async def test(w: World) -> None:
        headless = await w.create(SERVICES, service("h", clusterIP="None", selector={"a": "b"}))
        assert headless["spec"]["clusterIPs"] == ["None"]
        external = {
            "metadata": {"name": "e"},
            "spec": {"type": "ExternalName", "externalName": "x.y"},
        }
        made = await w.create(SERVICES, external)
        assert "clusterIP" not in made["spec"]
        assert "ipFamilies" not in made["spec"]

    play(test)


def test_node_ports() -> None:
    async def test(w: World) -> None:
        made = await w.create(SERVICES, service("a", type="NodePort"))
        port = made["spec"]["ports"][0]["nodePort"]
        assert 30000 <= port <= 32767
        wanted = [{"port": 80, "nodePort": port}]
        taken = await w.call("POST", SERVICES, service("b", type="NodePort", ports=wanted))
        assert (
            f"spec.ports[0].nodePort: Invalid value: {port}: provided port is already allocated"
            in taken.message
        )
        outside = [{"port": 80, "nodePort": 80}]
        answer = await w.call("POST", SERVICES, service("b", type="NodePort", ports=outside))
        assert "The range of valid ports is 30000-32767" in answer.message
        both = [
            {"name": "u", "port": 53, "protocol": "UDP", "nodePort": 30053},
            {"name": "t", "port": 53, "protocol": "TCP", "nodePort": 30053},
        ]
        await w.create(SERVICES, service("dns", type="NodePort", ports=both))
        # Back to ClusterIP gives the port back.
        narrowed = await w.merge(f"{SERVICES}/a", {"spec": {"type": "ClusterIP"}})
        assert "nodePort" not in narrowed["spec"]["ports"][0]
        await w.create(SERVICES, service("b", type="NodePort", ports=wanted))

    play(test)


def test_changes_of_type() -> None:
    async def test(w: World) -> None:
        made = await w.create(SERVICES, service("a"))
        address = made["spec"]["clusterIP"]
        wide = await w.merge(f"{SERVICES}/a", {"spec": {"type": "NodePort"}})
        assert wide["spec"]["ports"][0]["nodePort"]
        assert wide["spec"]["clusterIP"] == address
        name = {"spec": {"type": "ExternalName", "externalName": "x.example"}}
        external = await w.merge(f"{SERVICES}/a", name)
        assert "clusterIP" not in external["spec"]
        await w.create(SERVICES, service("b", clusterIP=address))
        back = await w.merge(
            f"{SERVICES}/a",
            {"spec": {"type": "ClusterIP", "externalName": None, "ports": [{"port": 80}]}},
        )
        assert back["spec"]["clusterIP"] not in ("", address)

    play(test)


def test_what_fails_gives_back_what_it_took() -> None:
    async def test(w: World) -> None:
        pool = w.api.engine.allocators.ports._pool
        free = pool.free
        bad = service("x", type="NodePort", ports=[{"port": 80}, {"port": 81}])
        assert (await w.call("POST", SERVICES, bad)).status == 422  # ports need names
        await w.create(SERVICES, service("a", type="NodePort"), dryRun="All")
        assert pool.free == free
        await w.create(SERVICES, service("a", type="NodePort"))
        answer = await w.call("POST", SERVICES, service("a", type="NodePort"))
        assert answer.status == 409
        assert pool.free == free - 1
        await w.ok("DELETE", f"{SERVICES}/a")
        assert pool.free == free

    play(test)


def test_local_load_balancers_have_a_health_port() -> None:
    async def test(w: World) -> None:
        local = service("l", type="LoadBalancer", externalTrafficPolicy="Local")
        made = await w.create(SERVICES, local)
        assert 30000 <= made["spec"]["healthCheckNodePort"] <= 32767
        none = service("n", type="LoadBalancer", allocateLoadBalancerNodePorts=False)
        assert "nodePort" not in (await w.create(SERVICES, none))["spec"]["ports"][0]

    play(test)


def test_two_families() -> None:
    async def test(w: World) -> None:
        single = await w.create(SERVICES, service("a"))
        assert single["spec"]["ipFamilies"] == ["IPv4"]
        both = await w.create(SERVICES, service("b", ipFamilyPolicy="PreferDualStack"))
        assert both["spec"]["ipFamilies"] == ["IPv4", "IPv6"]
        assert both["spec"]["clusterIPs"][1].startswith("fd00:1::")
        six = await w.create(SERVICES, service("c", ipFamilies=["IPv6"]))
        assert six["spec"]["clusterIP"].startswith("fd00:1::")

    play(test, config=DUAL)


def test_one_family_only() -> None:
    async def test(w: World) -> None:
        answer = await w.call("POST", SERVICES, service("a", ipFamilies=["IPv6"]))
        assert 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster' in (
            answer.message
        )
        answer = await w.call("POST", SERVICES, service("a", ipFamilyPolicy="RequireDualStack"))
        assert "this cluster is not configured for dual-stack services" in answer.message

    play(test)


def test_what_is_held_is_known_after_a_restart() -> None:
    async def test(w: World) -> None:
        made = await w.create(SERVICES, service("a", type="NodePort"))
        w.api.close()
        w.api = ApiServer(w.store, w.clock, Entropy(8))
        spec = made["spec"]
        again = service("b", clusterIP=spec["clusterIP"])
        assert "already allocated" in (await w.call("POST", SERVICES, again)).message
        ports = [{"port": 80, "nodePort": spec["ports"][0]["nodePort"]}]
        again = service("b", type="NodePort", ports=ports)
        assert "already allocated" in (await w.call("POST", SERVICES, again)).message

    play(test)


def test_an_address_cannot_be_changed() -> None:
    async def test(w: World) -> None:
        await w.create(SERVICES, service("a"))
        for spec in (
            {"clusterIP": "10.96.9.9", "clusterIPs": ["10.96.9.9"]},
            {"clusterIP": "10.96.9.9"},  # as old clients do: clusterIPs follows
            {"clusterIP": "203.0.113.9"},  # outside of the range: nothing is looked for in it
        ):
            patch = {"spec": spec}
            answer = await w.call("PATCH", f"{SERVICES}/a", patch, {"content-type": MERGE})
            assert answer.status == 422
            assert answer.message == (
                f'Service "a" is invalid: spec.clusterIPs[0]: Invalid value: ["{spec["clusterIP"]}"]: '
                "may not change once set"
            )
        await w.create(SERVICES, service("b", clusterIP="10.96.9.9"))

    play(test)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"clusterIPs": ["10.96.9.9"]},
            'spec.clusterIPs: Invalid value: ["10.96.9.9"]: must be empty when `clusterIP` is not '
            "specified",
        ),
        (
            {"clusterIP": "10.96.9.8", "clusterIPs": ["10.96.9.9"]},
            'spec.clusterIPs: Invalid value: ["10.96.9.9"]: first value must match `clusterIP`',
        ),
        (
            {"clusterIP": "None", "clusterIPs": ["None", "10.96.9.9"]},
            "'None' must be the first and only value",
        ),
        (
            {"clusterIP": "10.96.9.8", "clusterIPs": ["10.96.9.8", "10.96.9.9"]},
            "may specify no more than one IP for each IP family",
        ),
        (
            {"clusterIP": "10.96.9.8", "ipFamilies": ["IPv6"]},
            'spec.clusterIPs[0]: Invalid value: "10.96.9.8": expected an IPv6 value as indicated by '
            "`ipFamilies[0]`",
        ),
        ({"ipFamilies": ["IPv4", "IPv4"]}, 'spec.ipFamilies[1]: Duplicate value: "IPv4"'),
        ({"ipFamilies": ["IPv5"]}, 'Unsupported value: "IPv5": supported values: "IPv4", "IPv6"'),
        (
            {"ipFamilyPolicy": "Both"},
            'spec.ipFamilyPolicy: Unsupported value: "Both": supported values: "PreferDualStack", '
            '"RequireDualStack", "SingleStack"',
        ),
    ],
)
def test_addresses_that_do_not_fit_each_other(spec: dict[str, Any], words: str) -> None:
    async def test(w: World) -> None:
        answer = await w.call("POST", SERVICES, service("a", **spec))
        assert answer.status == 422
        assert words in answer.message

    play(test)


def test_node_ports_are_kept_by_name() -> None:
    async def test(w: World) -> None:
        ports = [{"name": n, "port": p} for n, p in (("a", 80), ("b", 81))]
        made = await w.create(SERVICES, service("s", type="NodePort", ports=ports))
        had = {p["name"]: p["nodePort"] for p in made["spec"]["ports"]}
        # A port of another number under the same name is the same port.
        moved = {"spec": {"ports": [{"name": "b", "port": 90}, {"name": "c", "port": 80}]}}
        after = (await w.merge(f"{SERVICES}/s", moved))["spec"]["ports"]
        assert after[0]["nodePort"] == had["b"]
        assert after[1]["nodePort"] not in had.values()

    play(test)


@given(st.lists(st.sampled_from(["draw", "release", "take"]), max_size=60), st.integers(0, 2**32))
@settings(max_examples=60)
def test_no_address_is_held_twice(steps: list[str], seed: int) -> None:
    addresses = Addresses("10.0.0.0/28", Entropy(seed))
    held: list[str] = []
    for step in steps:
        if step == "release" and held:
            addresses.release(held.pop(0))
        elif step == "draw":
            try:
                found = addresses.draw()
            except AllocationError:
                assert len(held) == 14
                continue
            assert found not in held
            held.append(found)
        elif step == "take" and held:
            with pytest.raises(AllocationError, match="already allocated"):
                addresses.take(held[0])


def test_ranges_come_and_go_and_overlap() -> None:
    addresses = Addresses("10.0.0.0/30", Entropy(1))
    assert {addresses.draw(), addresses.draw()} == {"10.0.0.1", "10.0.0.2"}
    with pytest.raises(AllocationError, match="range is full"):
        addresses.draw()
    with pytest.raises(AllocationError, match="does not match the current range"):
        addresses.take("10.0.0.9")
    assert addresses.keep("10.0.0.5")
    wider = {"10.0.0.0/28": True, "10.0.0.0/29": False, "fd00::/112": True}
    addresses.use(wider)
    for taken in ("10.0.0.1", "10.0.0.5"):
        with pytest.raises(AllocationError, match="already allocated"):
            addresses.take(taken)
    addresses.take("10.0.0.9")
    rest = {addresses.draw() for _ in range(10)}
    assert rest == {f"10.0.0.{i}" for i in (3, 4, 6, 7, 8, 10, 11, 12, 13, 14)}
    addresses.release("10.0.0.12")
    addresses.use(wider | {"10.0.0.0/28": False})
    with pytest.raises(AllocationError, match="does not match the current range"):
        addresses.take("10.0.0.12")
    addresses.use({})
    addresses.release("10.0.0.1")
    assert addresses.draw() == "10.0.0.1"


def test_dynamic_ports_leave_the_lower_band_alone() -> None:
    ports = PortRange(30000, 32767, Entropy(1))
    assert all(ports.draw() >= 30000 + 86 for _ in range(500))
