"""The server over real sockets on loopback, with an upstream that the test plays."""

import asyncio
import os
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import dnslib
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skiff.aio.clock import RealClock
from skiff.aio.entropy import Entropy
from skiff.network.dns import forward as forward_module
from skiff.network.dns import run as run_module
from skiff.network.dns.forward import Forwarder, ResolvConf
from skiff.network.dns.run import DnsServer
from tests.network.informers import TestInformer
from tests.network.objects import endpoint_slice, namespace, service

WEB = "web.default.svc.cluster.local"


class FakeClock(RealClock):
    """The real clock, and `ahead`, how far it was moved."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class Upstream(asyncio.DatagramProtocol):
    """A name server of a few lines: `zone` maps name and type to records; `asked` counts questions."""

    def __init__(self) -> None:
        self.zone: dict[tuple[str, str], list[str]] = {}
        self.code: dict[str, int] = {}
        self.asked: Counter[tuple[str, str]] = Counter()
        self.silent = self.truncates = self.garbles = False
        self.edns = True
        self.answers_after: Awaitable[Any] | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        udp, tcp = run_module._sockets("127.0.0.1", 0)
        self.address = udp.getsockname()
        self.udp, _ = await loop.create_datagram_endpoint(lambda: self, sock=udp)
        self.tcp = await asyncio.start_server(self._connection, sock=tcp)

    def stop(self) -> None:
        self.udp.close()
        self.tcp.close()

    def reply(self, data: bytes, udp: bool) -> bytes | None:
        query = dnslib.DNSRecord.parse(data)
        key = (str(query.q.qname).rstrip(".").lower(), dnslib.QTYPE[query.q.qtype])
        self.asked[key] += 1
        if self.silent:
            return None
        if self.garbles:
            return data[:2] + struct.pack("!HHHHH", 0x8180, 1, 9, 9, 9) + data[12:]
        made = query.reply()
        made.header.rcode = self.code.get(key[0], 0 if key in self.zone else 3)
        for text in self.zone.get(key, []):
            made.add_answer(*dnslib.RR.fromZone(text))
        if self.edns:
            made.add_ar(dnslib.EDNS0(udp_len=1232))
        if self.truncates and udp:
            made = query.reply()
            made.header.tc = 1
        return bytes(made.pack())

    def datagram_received(self, data: bytes, addr: Any) -> None:
        reply = self.reply(data, udp=True)
        if reply is not None:
            self.udp.sendto(reply, addr)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        reply = self.reply(await reader.readexactly(length), udp=False)
        assert reply is not None
        writer.write(struct.pack("!H", len(reply)) + reply)
        await writer.drain()
        writer.close()


class World:
    """A server with its informers and two upstreams, and `ask`, a client."""

    def __init__(self) -> None:
        self.services, self.slices, self.namespaces = TestInformer(), TestInformer(), TestInformer()
        self.clock = FakeClock()
        self.first, self.second = Upstream(), Upstream()
        self.upstreams: list[tuple[str, int]] = []
        self.forwarder = Forwarder(lambda: self.upstreams, self.clock, Entropy(1))
        self.server = DnsServer(
            self.services,  # type: ignore[arg-type] # twins
            self.slices,  # type: ignore[arg-type]
            self.namespaces,  # type: ignore[arg-type]
            self.forwarder,
            domain="cluster.local",
            address="127.0.0.1",
            port=0,
            cluster_ip="10.96.0.10",
            ranges=("10.96.0.0/16",),
        )
        self.namespaces.put(namespace("default"))
        self.services.put(service())

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.server.port)

    async def ask(self, name: str, kind: str = "A", edns: int = -1) -> dnslib.DNSRecord:
        made = dnslib.DNSRecord.question(name, kind)
        if edns >= 0:
            made.add_ar(dnslib.EDNS0(udp_len=edns))
        data = await self.send(bytes(made.pack()))
        assert data is not None
        found = dnslib.DNSRecord.parse(data)
        assert found.header.id == made.header.id
        return found

    async def send(self, data: bytes, timeout_s: float = 5.0) -> bytes | None:
        """The datagram that comes back; None where none comes."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(self.address)
            await loop.sock_sendall(sock, data)
            try:
                async with asyncio.timeout(timeout_s):
                    return await loop.sock_recv(sock, 65535)
            except TimeoutError:
                return None

    async def ask_tcp(self, *names: str, kind: str = "A") -> list[dnslib.DNSRecord]:
        """Several questions over one connection, sent at once."""
        reader, writer = await asyncio.open_connection(*self.address)
        messages = [bytes(dnslib.DNSRecord.question(n, kind).pack()) for n in names]
        writer.write(b"".join(struct.pack("!H", len(m)) + m for m in messages))
        found = []
        for _ in names:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            found.append(dnslib.DNSRecord.parse(await reader.readexactly(length)))
        writer.close()
        return found


def serving(test: Callable[[World], Awaitable[None]], upstreams: int = 1) -> None:
    async def main() -> None:
        world = World()
        await world.first.start()
        await world.second.start()
        world.upstreams = [world.first.address, world.second.address][:upstreams]
        started = asyncio.Event()
        task = asyncio.create_task(world.server.run(started.set))
        try:
            async with asyncio.timeout(20):
                await started.wait()
                await test(world)
        finally:
            task.cancel()
            await asyncio.wait([task])
            world.first.stop()
            world.second.stop()
            if not task.cancelled() and task.exception():
                raise task.exception()  # type: ignore[misc] # looked at just before

    asyncio.run(main())


def rdata(found: dnslib.DNSRecord) -> list[str]:
    return [str(r.rdata) for r in found.rr]


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_module, "ATTEMPT_S", 0.15)
    monkeypatch.setattr(forward_module, "TOTAL_S", 0.5)


# The cluster's own names


def test_answers_over_udp_and_tcp() -> None:
    async def test(world: World) -> None:
        found = await world.ask("WeB.default.svc.cluster.local")
        assert rdata(found) == ["10.96.0.20"]
        assert str(found.q.qname) == "WeB.default.svc.cluster.local."
        assert (found.header.qr, found.header.aa, found.header.rd, found.header.ra) == (1, 1, 1, 1)
        one, two, three = await world.ask_tcp(WEB, "nope.default.svc.cluster.local", WEB)
        assert rdata(one) == rdata(three) == ["10.96.0.20"]
        assert two.header.rcode == 3

    serving(test)


def test_changes_are_seen_at_once() -> None:
    async def test(world: World) -> None:
        assert (await world.ask("new.default.svc.cluster.local")).header.rcode == 3
        made = service("new", clusterIP="None")
        world.services.put(made)
        world.slices.put(endpoint_slice("10.244.0.9", of="new"))
        assert rdata(await world.ask("new.default.svc.cluster.local")) == ["10.244.0.9"]
        world.slices.put(endpoint_slice("10.244.0.10", of="new"))
        assert rdata(await world.ask("new.default.svc.cluster.local")) == ["10.244.0.10"]
        world.slices.gone(endpoint_slice("10.244.0.10", of="new"))
        assert rdata(await world.ask("new.default.svc.cluster.local")) == []
        world.services.gone(made)
        assert (await world.ask("new.default.svc.cluster.local")).header.rcode == 3
        assert (await world.ask("team.svc.cluster.local")).header.rcode == 3
        world.namespaces.put(namespace("team"))
        assert (await world.ask("team.svc.cluster.local")).header.rcode == 0

    serving(test)


def test_a_long_answer_comes_whole_over_tcp() -> None:
    async def test(world: World) -> None:
        world.services.put(service("big", clusterIP="None"))
        world.slices.put(endpoint_slice(*[f"10.244.1.{n}" for n in range(100)], of="big"))
        name = "big.default.svc.cluster.local"
        short = await world.ask(name)
        assert short.header.tc
        assert 25 < len(short.rr) < 35
        assert len((await world.ask(name, edns=1232)).rr) > 60
        (whole,) = await world.ask_tcp(name)
        assert len(whole.rr) == 100
        assert not whole.header.tc

    serving(test)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"opcode": 4}, 4),  # NOTIFY: NOTIMP
        ({"opcode": 5}, 4),  # UPDATE
    ],
)
def test_other_operations_are_not_implemented(change: dict[str, int], code: int) -> None:
    async def test(world: World) -> None:
        made = dnslib.DNSRecord.question(WEB)
        for key, value in change.items():
            setattr(made.header, key, value)
        answer = await world.send(bytes(made.pack()))
        assert answer is not None
        assert dnslib.DNSRecord.parse(answer).header.rcode == code

    serving(test)


def test_other_classes_are_refused() -> None:
    async def test(world: World) -> None:
        made = dnslib.DNSRecord(q=dnslib.DNSQuestion("version.bind", dnslib.QTYPE.TXT, 3))
        answer = await world.send(bytes(made.pack()))
        assert answer is not None
        assert dnslib.DNSRecord.parse(answer).header.rcode == 5
        assert not world.first.asked

    serving(test)


def test_edns_is_answered_and_an_unknown_version_refused() -> None:
    async def test(world: World) -> None:
        found = await world.ask(WEB, edns=4096)
        (opt,) = found.ar
        assert (dnslib.QTYPE[opt.rtype], opt.edns_len) == ("OPT", 1232)
        made = dnslib.DNSRecord.question(WEB)
        made.add_ar(dnslib.EDNS0(udp_len=1232, version=1))
        answer = await world.send(bytes(made.pack()))
        assert answer is not None
        (opt,) = dnslib.DNSRecord.parse(answer).ar
        assert opt.edns_rcode == 1  # BADVERS, 16, less its lower four bits
        assert not (await world.ask(WEB)).ar

    serving(test)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x12\x34\1\0\0\1\0\0\0\0\0\0\x03abc", 1),
        (b"\x12\x34\1\0\0\2\0\0\0\0\0\0\0\0\1\0\1\0\0\1\0\1", 1),
        (b"\x12\x34\1\0\0\0\0\0\0\0\0\0", 1),
        (b"\x12\x34\x81\0\0\1\0\0\0\0\0\0\0\0\1\0\1", None),  # a response: no answer to answers
        (b"\x12\x34", None),
        (b"", None),
    ],
)
def test_what_is_no_query(data: bytes, code: int | None) -> None:
    async def test(world: World) -> None:
        answer = await world.send(data, timeout_s=0.2)
        if code is None:
            assert answer is None
        else:
            assert answer is not None
            assert answer[:2] == b"\x12\x34"
            assert answer[3] & 0xF == code
        assert rdata(await world.ask(WEB)) == ["10.96.0.20"]

    serving(test)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=120))
def test_any_datagram_gets_an_answer_to_its_id_or_none(data: bytes) -> None:
    answer = World().server.answer(data, 0)
    if isinstance(answer, bytes):
        assert answer[:2] == data[:2]
        assert answer[2] & 0x80


# Names elsewhere


def test_forwarding_keeps_answers_for_their_time() -> None:
    async def test(world: World) -> None:
        world.first.zone["www.example.com", "A"] = ["www.example.com 30 A 192.0.2.7"]
        found = await world.ask("WWW.example.com")
        assert rdata(found) == ["192.0.2.7"]
        assert str(found.q.qname) == "WWW.example.com."
        assert not found.ar
        again = await world.ask("www.EXAMPLE.com", edns=1232)
        assert rdata(again) == ["192.0.2.7"]
        assert len(again.ar) == 1
        assert world.first.asked["www.example.com", "A"] == 1
        world.clock.ahead = 12.5
        assert (await world.ask("www.example.com")).rr[0].ttl in (17, 18)
        world.clock.ahead = 31
        assert (await world.ask("www.example.com")).rr[0].ttl == 30
        assert sum(world.first.asked.values()) == 2

    serving(test)


def test_names_that_are_not_there_are_kept_shortly() -> None:
    async def test(world: World) -> None:
        for _ in range(3):
            assert (await world.ask("no.example.com")).header.rcode == 3
        assert sum(world.first.asked.values()) == 1
        world.clock.ahead = 6
        await world.ask("no.example.com")
        assert sum(world.first.asked.values()) == 2

    serving(test)


def test_a_question_that_is_being_asked_is_not_asked_twice() -> None:
    async def test(world: World) -> None:
        world.first.zone["www.example.com", "A"] = ["www.example.com 30 A 192.0.2.7"]
        async with asyncio.TaskGroup() as group:
            asks = [group.create_task(world.ask("www.example.com")) for _ in range(20)]
        assert all(rdata(a.result()) == ["192.0.2.7"] for a in asks)
        assert sum(world.first.asked.values()) == 1

    serving(test)


def test_a_storm_along_the_search_path_stays_inside() -> None:
    async def test(world: World) -> None:
        for suffix in ("default.svc.cluster.local", "svc.cluster.local", "cluster.local"):
            for kind in ("A", "AAAA"):
                assert (await world.ask(f"www.example.com.{suffix}", kind)).header.rcode == 3
        assert not (await world.ask(WEB, "AAAA")).rr
        assert not world.first.asked

    serving(test)


def test_silence_is_servfail_in_time() -> None:
    async def test(world: World) -> None:
        world.first.silent = True
        began = asyncio.get_running_loop().time()
        assert (await world.ask("www.example.com")).header.rcode == 2
        assert asyncio.get_running_loop().time() - began < 1
        assert world.first.asked["www.example.com", "A"] == 2  # a datagram may have been lost
        world.first.silent = False
        assert (await world.ask("www.example.com")).header.rcode == 3  # failures are not kept

    serving(test)


def test_no_upstream_is_servfail_at_once() -> None:
    async def test(world: World) -> None:
        assert (await world.ask("www.example.com")).header.rcode == 2
        (over_tcp,) = await world.ask_tcp("www.example.com")
        assert over_tcp.header.rcode == 2

    serving(test, upstreams=0)


def test_the_second_upstream_helps_and_is_preferred_for_a_while() -> None:
    async def test(world: World) -> None:
        world.first.silent = True
        for name in ("a.example.com", "b.example.com"):
            world.second.zone[name, "A"] = [f"{name} 30 A 192.0.2.7"]
        assert rdata(await world.ask("a.example.com")) == ["192.0.2.7"]
        assert rdata(await world.ask("b.example.com")) == ["192.0.2.7"]
        assert world.first.asked["b.example.com", "A"] == 0
        world.first.silent = False
        world.clock.ahead = 11
        await world.ask("c.example.com")
        assert world.first.asked["c.example.com", "A"] == 1

    serving(test, upstreams=2)


@pytest.mark.parametrize("code", [2, 5])
def test_an_upstream_that_will_not_is_passed_over(code: int) -> None:
    async def test(world: World) -> None:
        world.first.code["www.example.com"] = code
        world.second.zone["www.example.com", "A"] = ["www.example.com 30 A 192.0.2.7"]
        assert rdata(await world.ask("www.example.com")) == ["192.0.2.7"]
        world.second.code["other.example.com"] = world.first.code["other.example.com"] = code
        assert (await world.ask("other.example.com")).header.rcode == code

    serving(test, upstreams=2)


def test_a_closed_port_is_noticed_without_waiting() -> None:
    async def test(world: World) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            closed = probe.getsockname()
        world.upstreams = [closed, world.first.address]
        world.first.zone["www.example.com", "A"] = ["www.example.com 30 A 192.0.2.7"]
        began = asyncio.get_running_loop().time()
        assert rdata(await world.ask("www.example.com")) == ["192.0.2.7"]
        assert asyncio.get_running_loop().time() - began < 0.1

    serving(test)


def test_a_malformed_answer_counts_as_none() -> None:
    async def test(world: World) -> None:
        world.first.garbles = True
        assert (await world.ask("www.example.com")).header.rcode == 2
        assert rdata(await world.ask(WEB)) == ["10.96.0.20"]

    serving(test)


def test_a_truncated_answer_is_asked_for_again_over_tcp() -> None:
    async def test(world: World) -> None:
        world.first.truncates = True
        records = [f"www.example.com 30 A 192.0.2.{n}" for n in range(60)]
        world.first.zone["www.example.com", "A"] = records
        short = await world.ask("www.example.com")
        assert short.header.tc
        assert 25 < len(short.rr) < 35
        (whole,) = await world.ask_tcp("www.example.com")
        assert len(whole.rr) == 60
        assert world.first.asked["www.example.com", "A"] == 2  # UDP, then TCP; then from memory

    serving(test)


def test_a_loop_through_another_server_ends() -> None:
    async def test(world: World) -> None:
        world.upstreams = [world.address]
        assert (await world.ask("www.example.com")).header.rcode == 2

    serving(test)


def test_an_answer_to_another_question_is_not_taken() -> None:
    async def test(world: World) -> None:
        reply = world.first.reply

        def lie(data: bytes, udp: bool) -> bytes | None:
            true = reply(data, udp)
            assert true is not None
            return true[:13] + b"X" + true[14:]

        world.first.reply = lie  # type: ignore[method-assign] # it lies from now on
        world.first.zone["www.example.com", "A"] = ["www.example.com 30 A 192.0.2.7"]
        assert (await world.ask("www.example.com")).header.rcode == 2

    serving(test)


# ExternalName


def alias(name: str, to: str) -> Any:
    return service(name, type="ExternalName", externalName=to)


def test_external_names_within_the_cluster_are_followed() -> None:
    async def test(world: World) -> None:
        world.services.put(alias("one", "two.default.svc.cluster.local"), alias("two", WEB))
        found = await world.ask("One.default.svc.cluster.local")
        assert [(str(r.rname), dnslib.QTYPE[r.rtype], str(r.rdata)) for r in found.rr] == [
            ("One.default.svc.cluster.local.", "CNAME", "two.default.svc.cluster.local."),
            ("two.default.svc.cluster.local.", "CNAME", f"{WEB}."),
            (f"{WEB}.", "A", "10.96.0.20"),
        ]
        only = await world.ask("one.default.svc.cluster.local", "CNAME")
        assert rdata(only) == ["two.default.svc.cluster.local."]
        six = await world.ask("one.default.svc.cluster.local", "AAAA")
        assert [dnslib.QTYPE[r.rtype] for r in six.rr] == ["CNAME", "CNAME"]
        assert (six.header.rcode, len(six.auth)) == (0, 1)

    serving(test)


def test_external_names_that_lead_nowhere_or_in_circles() -> None:
    async def test(world: World) -> None:
        world.services.put(alias("gone", "nobody.default.svc.cluster.local"))
        found = await world.ask("gone.default.svc.cluster.local")
        assert (found.header.rcode, len(found.rr)) == (3, 1)  # RFC 6604: the last name's code
        world.services.put(
            alias("a", "b.default.svc.cluster.local"), alias("b", "a.default.svc.cluster.local")
        )
        assert (await world.ask("a.default.svc.cluster.local")).header.rcode == 2

    serving(test)


@pytest.mark.parametrize("over_tcp", [False, True])
def test_external_names_outside_are_followed_upstream(over_tcp: bool) -> None:
    async def test(world: World) -> None:
        world.first.zone["www.example.com", "A"] = [
            "www.example.com 30 CNAME web.example.com", "web.example.com 20 A 192.0.2.7",
        ]  # fmt: skip
        world.services.put(alias("ext", "www.example.com"))
        name = "ext.default.svc.cluster.local"
        for _ in range(2):  # the second time from memory
            found = (await world.ask_tcp(name))[0] if over_tcp else await world.ask(name)
            assert [(str(r.rname), dnslib.QTYPE[r.rtype], str(r.rdata)) for r in found.rr] == [
                (f"{name}.", "CNAME", "www.example.com."),
                ("www.example.com.", "CNAME", "web.example.com."),
                ("web.example.com.", "A", "192.0.2.7"),
            ]
        assert sum(world.first.asked.values()) == 1
        assert not (await world.ask(name, "CNAME")).header.rcode
        assert (await world.ask(name, "AAAA")).header.rcode == 3
        world.first.silent = True
        assert (await world.ask(name, "TXT")).header.rcode == 2

    serving(test)


# resolv.conf


def test_resolv_conf_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    servers = ResolvConf(path, ["10.96.0.10"])
    assert servers() == []
    path.write_text(
        "# c\nsearch x\nnameserver 10.96.0.10\nnameserver 192.0.2.1\nnameserver\n options a\n"
    )
    assert servers() == [("192.0.2.1", 53)]
    other = tmp_path / "new"
    other.write_text("nameserver fd00::1\nnameserver 192.0.2.2 # c\n")
    other.replace(path)
    assert servers() == [("fd00::1", 53), ("192.0.2.2", 53)]
    path.write_bytes(b"nameserver \xff\xfe\n")
    os.utime(path, ns=(1, 1))
    assert len(servers()) == 1
    path.unlink()
    assert servers() == []


def test_many_clients_over_tcp_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skiff.network.dns.run.TCP_CONNECTIONS_MAX", 2)

    async def test(world: World) -> None:
        open_ones = [await asyncio.open_connection(*world.address) for _ in range(2)]
        reader, writer = await asyncio.open_connection(*world.address)
        assert await reader.read() == b""
        for _, other in (*open_ones, (reader, writer)):
            other.close()
        await asyncio.sleep(0.05)
        assert rdata((await world.ask_tcp(WEB))[0]) == ["10.96.0.20"]

    serving(test)


def test_a_port_that_is_taken_is_named() -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            world = World()
            world.server._port = taken.getsockname()[1]
            with pytest.raises(ExceptionGroup) as raised:
                await world.server.run(lambda: None)
        assert "DNS cannot listen on 127.0.0.1:" in str(raised.value.exceptions[0])

    asyncio.run(main())


def test_the_c_library_resolves_through_it() -> None:
    """What programs really do: two questions at once over one socket, A and AAAA."""

    async def test(world: World) -> None:
        async with asyncio.TaskGroup() as group:
            both = [group.create_task(world.ask(WEB, kind)) for kind in ("A", "AAAA")]
        assert [len(t.result().rr) for t in both] == [1, 0]

    serving(test)
