"""The proxy's loop over twins of the packet filter and the flow table, and its health check ports."""

import asyncio
import logging
import socket
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from skiff.aio.clock import RealClock
from skiff.network.proxy import run as proxy_run
from skiff.network.proxy.conntrack import Flow, NoFlows
from skiff.network.proxy.endpoints import Place
from skiff.network.proxy.health import HealthPorts
from skiff.network.proxy.nft import RecordedPacketFilter
from skiff.network.proxy.run import Proxy
from tests.network.informers import TestInformer
from tests.network.kernel import Kernel
from tests.network.objects import endpoint, endpoint_slice, port, service

TABLE = "ip skiff"
LISTING = f"list sets table {TABLE}\n"


@pytest.fixture(autouse=True)
def short_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_run, "RETRY_S", 0.02)
    monkeypatch.setattr(proxy_run, "SETTLE_S", 0.001)


class World:
    def __init__(self) -> None:
        self.services, self.slices = TestInformer(), TestInformer()
        self.filter = RecordedPacketFilter()
        self.flows = NoFlows()
        self.health = HealthPorts("127.0.0.1")
        self.started = asyncio.Event()
        self.proxy = Proxy(
            self.services,  # type: ignore[arg-type] # the twin
            self.slices,  # type: ignore[arg-type] # the twin
            self.filter,
            self.flows,
            RealClock(),
            place=Place("here"),
            table=TABLE,
            pod_cidr="10.244.0.0/16",
            health=self.health,
        )

    @property
    def written(self) -> list[str]:
        """Transactions that change rules."""
        return [t for t in self.filter.transactions if "skiff-probe" not in t and t != LISTING]

    def kernel(self) -> dict[str, Any]:
        """What stands after all of them."""
        kernel = Kernel()
        for text in self.written:
            kernel.run(text)
        table: dict[str, Any] = kernel.tables[TABLE]
        return table

    def verdict(self, key: str, name: str = "service-ips") -> str:
        return str(self.kernel()["sets"][name]["elements"].get(key, ""))

    async def until(self, check: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not check():
                await asyncio.sleep(0.002)

    async def written_after(self, change: Callable[[], object]) -> str:
        """The transaction that `change` leads to."""
        count = len(self.written)
        change()
        await self.until(lambda: len(self.written) > count)
        return self.written[-1]


def running(
    test: Callable[[World], Awaitable[None]], prepare: Callable[[World], None] = lambda _: None
) -> None:
    async def main() -> None:
        world = World()
        prepare(world)
        task = asyncio.create_task(world.proxy.run(world.started.set))
        try:
            async with asyncio.timeout(10):
                await test(world)
        finally:
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(main())


def test_the_first_transaction_holds_everything_and_the_next_only_what_changed() -> None:
    def prepare(world: World) -> None:
        world.services.put(service(), service("other", clusterIP="10.96.0.21"))
        world.slices.put(endpoint_slice("10.244.0.2"))

    async def test(world: World) -> None:
        await world.started.wait()
        (first,) = world.written
        assert first.startswith(f"add table {TABLE}\ndelete table {TABLE}\nadd table {TABLE}\n")
        assert world.verdict("10.96.0.20 . tcp . 80").startswith("goto svc-")
        assert world.verdict("10.96.0.21 . tcp . 80", "refused-ips") == "goto refuse"
        more = endpoint_slice("10.244.0.2", "10.244.0.3")
        text = await world.written_after(lambda: world.slices.put(more))
        assert "delete table" not in text
        assert "other" not in text
        assert "10.244.0.3" in text
        await world.written_after(lambda: world.services.gone(service()))
        assert world.verdict("10.96.0.20 . tcp . 80") == ""

    running(test, prepare)


def test_bursts_are_one_transaction_and_no_change_is_none() -> None:
    async def test(world: World) -> None:
        await world.started.wait()
        await asyncio.sleep(0.01)
        count = len(world.written)
        for n in range(50):
            world.services.put(service(f"s{n}", clusterIP=f"10.96.1.{n}"))
        await world.until(lambda: len(world.written) > count)
        assert len(world.written) == count + 1
        world.services.put(service("s1", clusterIP="10.96.1.1", labels={"a": "b"}))
        await asyncio.sleep(0.03)
        assert len(world.written) == count + 1

    running(test)


def test_a_slice_without_its_service_waits_for_it() -> None:
    async def test(world: World) -> None:
        await world.started.wait()
        world.slices.put(
            endpoint_slice("10.244.0.2", of="web"), endpoint_slice("10.244.0.9", of="")
        )
        await asyncio.sleep(0.01)
        await world.written_after(lambda: world.services.put(service()))
        assert world.verdict("10.96.0.20 . tcp . 80").startswith("goto svc-")

    running(test)


def test_a_slice_that_changes_its_service_changes_both() -> None:
    def prepare(world: World) -> None:
        world.services.put(service("a", clusterIP="10.96.0.1"), service("b", clusterIP="10.96.0.2"))
        world.slices.put(endpoint_slice("10.244.0.2", of="a", name="x"))

    async def test(world: World) -> None:
        await world.started.wait()
        moved = endpoint_slice("10.244.0.2", of="b", name="x")
        await world.written_after(lambda: world.slices.put(moved))
        assert world.verdict("10.96.0.1 . tcp . 80") == ""
        assert world.verdict("10.96.0.2 . tcp . 80").startswith("goto svc-")

    running(test, prepare)


def test_a_refused_transaction_is_followed_by_the_whole_table(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(world: World) -> None:
        await world.started.wait()
        world.filter.fail_next = "Error: something is wrong"
        with caplog.at_level(logging.ERROR, "skiff.proxy"):
            text = await world.written_after(lambda: world.services.put(service()))
        assert "service rules were refused" in caplog.text
        assert "something is wrong" in caplog.text
        assert "delete table" in text
        assert world.verdict("10.96.0.20 . tcp . 80", "refused-ips") == "goto refuse"
        assert world.health.healthy

    running(test)


def test_a_kernel_that_cannot_do_it_is_named_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def prepare(world: World) -> None:
        world.filter.fail_next = "Error: Operation not supported"

    async def test(world: World) -> None:
        with caplog.at_level(logging.ERROR, "skiff.proxy"):
            await world.started.wait()
        assert "this kernel cannot do Services" in caplog.text

    running(test, prepare)


def test_remembered_clients_come_back_with_the_first_transaction() -> None:
    def prepare(world: World) -> None:
        world.services.put(service(sessionAffinity="ClientIP"))
        world.slices.put(endpoint_slice("10.244.0.2"))

    names: list[str] = []

    async def look(world: World) -> None:
        await world.started.wait()
        names.extend(n for n in world.kernel()["sets"] if n.startswith("from-"))

    running(look, prepare)

    def prepare_again(world: World) -> None:
        prepare(world)
        listing = f"table {TABLE} {{\n\tset {names[0]} {{\n\t\telements = {{ 192.0.2.7 expires 5m }}\n\t}}\n}}\n"
        world.filter.answers[LISTING] = listing

    async def again(world: World) -> None:
        await world.started.wait()
        assert f"add element {TABLE} {names[0]} {{ 192.0.2.7 expires 5m }}" in world.written[0]

    running(again, prepare_again)


def test_udp_flows_to_endpoints_that_went_are_forgotten() -> None:
    made = service(ports=[port(53, protocol="UDP")])

    def pieces(*addresses: str) -> Any:
        return endpoint_slice(*addresses, ports=[port(53, protocol="UDP")])

    def flow(address: str) -> Flow:
        return Flow(("10.96.0.20", 53), (address, 53))

    def prepare(world: World) -> None:
        world.services.put(made)
        world.slices.put(pieces("10.244.0.2", "10.244.0.3"))
        world.flows.flows = [flow("10.244.0.2"), flow("10.244.0.3"), flow("10.244.0.9")]

    async def test(world: World) -> None:
        await world.started.wait()  # flows that an earlier proxy left behind
        assert world.flows.flows == [flow("10.244.0.2"), flow("10.244.0.3")]
        world.slices.put(pieces("10.244.0.3"))
        await world.until(lambda: world.flows.flows == [flow("10.244.0.3")])
        world.services.gone(made)
        await world.until(lambda: not world.flows.flows)

    running(test, prepare)


def test_another_zone_plans_anew() -> None:
    ends = [
        endpoint(f"10.244.0.{n}", hints={"forZones": [{"name": zone}]})
        for n, zone in ((2, "a"), (3, "b"))
    ]

    def prepare(world: World) -> None:
        world.services.put(service())
        world.slices.put(endpoint_slice(*ends))

    async def test(world: World) -> None:
        await world.started.wait()
        text = await world.written_after(lambda: world.proxy.move(Place("here", "b")))
        assert "dnat to 10.244.0.3:8080" in text

    running(test, prepare)


# Health check ports


@pytest.fixture
def free_port() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def fetch(number: int) -> tuple[int, str]:
    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{number}/healthz", timeout=2
            ) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as e:
            with e:
                return e.code, e.read().decode()

    return await asyncio.to_thread(get)


def test_a_balancers_health_check_follows_the_endpoints(free_port: int) -> None:
    made = service(
        type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=free_port
    )
    here = endpoint("10.244.0.2", nodeName="here")

    def prepare(world: World) -> None:
        world.services.put(made)
        world.slices.put(endpoint_slice(here))

    async def test(world: World) -> None:
        await world.started.wait()
        status, body = await fetch(free_port)
        assert status == 200
        assert '"localEndpoints": 1' in body
        assert '"name": "web"' in body
        there = endpoint("10.244.1.2", nodeName="there")
        await world.written_after(lambda: world.slices.put(endpoint_slice(there)))
        assert (await fetch(free_port))[0] == 503
        await world.written_after(lambda: world.services.gone(made))
        await world.until(lambda: not world.health.ports)
        with pytest.raises(urllib.error.URLError):
            await fetch(free_port)

    running(test, prepare)


def test_a_health_check_port_that_is_taken_is_told_and_harms_nothing(
    free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    made = service(
        type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=free_port
    )

    async def test(world: World) -> None:
        await world.started.wait()
        assert f"failed to start healthcheck 'default/web' on port {free_port}" in caplog.text
        assert world.verdict("10.96.0.20 . tcp . 80", "refused-ips") == "goto refuse"

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        running(test, lambda world: world.services.put(made))
