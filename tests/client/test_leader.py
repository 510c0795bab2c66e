"""Leader election on virtual time: one leads, another takes over, a proper end hands over at once."""

import asyncio

from skiff.aio.clock import LoopClock
from skiff.aio.entropy import Entropy
from skiff.aio.run import Started
from skiff.api.resources import LEASES, NAMESPACES
from skiff.client.leader import Election, LeaderElector, LostLeadership
from skiff.server.app import ApiServer
from skiff.server.stamp import stamp
from skiff.store.memory import MemoryStore
from tests.client.fake import EPOCH, client_of, run


class Work:
    """Notes when it ran."""

    def __init__(self, log: list[tuple[str, str]], name: str) -> None:
        self._log, self._name = log, name

    async def run(self, started: Started) -> None:
        self._log.append((self._name, "starts"))
        started()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._log.append((self._name, "ends"))


class Cut:
    """A handler that can be cut off from its server."""

    def __init__(self, server: ApiServer) -> None:
        self.server, self.off = server, False

    def __call__(self, request):
        if self.off:
            from skiff.client.transport import Unreachable

            raise Unreachable("cut off")
        return self.server.handle(request)


def test_one_leads_and_the_other_takes_over() -> None:
    async def main() -> None:
        clock = LoopClock(EPOCH)
        store = MemoryStore(stamp, clock)
        server = ApiServer(store, clock, Entropy(1))
        admin = client_of(server.handle)
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}}
        await admin.create(NAMESPACES, body)
        log: list[tuple[str, str]] = []
        lines = {name: Cut(server) for name in "ab"}
        electors = {
            name: LeaderElector(
                client_of(lines[name], seed=n),
                Election("kube-system", "control", name),
                Work(log, name),
            )
            for n, name in enumerate("ab")
        }
        async with asyncio.TaskGroup() as group:
            lost: list[str] = []

            async def stand(name: str) -> None:
                try:
                    await electors[name].run(lambda: None)
                except LostLeadership:
                    lost.append(name)

            group.create_task(stand("a"))
            await asyncio.sleep(1)
            second = group.create_task(stand("b"))
            await asyncio.sleep(60)
            assert log == [("a", "starts")]
            spec = (await admin.get(LEASES, "control", "kube-system"))["spec"]
            assert spec["holderIdentity"] == "a"
            assert spec["leaseDurationSeconds"] == 15
            lines["a"].off = True
            await asyncio.sleep(30)
            assert log == [("a", "starts"), ("a", "ends"), ("b", "starts")]
            assert lost == ["a"]
            spec = (await admin.get(LEASES, "control", "kube-system"))["spec"]
            assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("b", 1)
            second.cancel()
        spec = (await admin.get(LEASES, "control", "kube-system"))["spec"]
        assert not spec.get("holderIdentity")
        server.close()
        await store.close()

    run(main)
