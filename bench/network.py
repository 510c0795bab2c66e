"""The service proxy and DNS, measured: `python -m bench.network [--services N] [--endpoints N] [--seconds S]`.

Proxy: planning all Services, what that takes in memory, the first load into the kernel (in a network
namespace of its own; root), and then a change of one endpoint: planning with its difference, and the
kernel's part. DNS: answers a second from one process over loopback, asked by another that keeps a
window of questions open.
"""

import argparse
import asyncio
import ctypes
import gc
import multiprocessing
import os
import resource
import socket
import statistics
import struct
import sys
import time
from multiprocessing.connection import Connection

import msgspec

from skiff.aio.clock import RealClock
from skiff.aio.entropy import Entropy
from skiff.api.views.core import Namespace
from skiff.api.views.discovery import EndpointSlice
from skiff.api.views.service import Service
from skiff.client.cache import Cache
from skiff.network.dns.forward import Forwarder
from skiff.network.dns.run import DnsServer
from skiff.network.proxy.base import base_rules
from skiff.network.proxy.endpoints import Place
from skiff.network.proxy.model import Table
from skiff.network.proxy.nft import Nftables
from skiff.network.proxy.plan import plan_service

CLONE_NEWNET = 0x40000000
PLACE = Place("node")
POD_CIDR = "10.0.0.0/9"
CHANGES = 200
KERNEL_CHANGES = 20
WINDOW = 64


def service(number: int) -> Service:
    """Service `s<number>` with a cluster IP and, every tenth, a NodePort."""
    port = {"port": 80, "protocol": "TCP", "name": "http"}
    if number % 10 == 0 and number < 20_000:
        port["nodePort"] = 30_000 + number // 10
    return msgspec.convert(
        {
            "metadata": {"name": f"s{number}", "namespace": "default"},
            "spec": {"type": "NodePort", "clusterIP": _address(96, number), "ports": [port]},
        },
        Service,
    )


def endpoints(number: int, count: int, shift: int = 0) -> EndpointSlice:
    """The slice of `s<number>`; `shift` makes its last endpoint another."""
    first = number * count
    numbers = [*range(first, first + count - 1), first + count - 1 + shift]
    return msgspec.convert(
        {
            "metadata": {"name": f"s{number}-x", "namespace": "default"},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [_address(1, n)], "conditions": {"ready": True}} for n in numbers],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        },
        EndpointSlice,
    )  # fmt: skip


def _address(second: int, number: int) -> str:
    return f"10.{second + number // 62_500}.{number // 250 % 250}.{number % 250 + 1}"


def rss_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def line(what: str, value: str) -> None:
    print(f"{what:<58}{value:>14}", flush=True)


def proxy(services: int, each: int) -> None:
    """In a process of its own: memory and network namespace are not shared."""
    objects = [(service(n), [endpoints(n, each)]) for n in range(services)]
    gc.collect()
    before = rss_mb()
    began = time.perf_counter()
    table = Table("ip skiff-bench", base_rules(POD_CIDR, "10.96.0.0/12"))
    parts = {}
    for number, (one, slices) in enumerate(objects):
        parts[number] = plan_service(one, slices, PLACE, POD_CIDR)
        table.put(number, parts[number].share)
    planned = time.perf_counter() - began
    text = table.start()
    whole = time.perf_counter() - began - planned
    gc.collect()
    line(f"plan {services} Services x {each} endpoints", f"{planned * 1e3:.0f} ms")
    line("  as one transaction", f"{whole * 1e3:.0f} ms")
    line("  its size", f"{len(text) / 1e6:.1f} MB")
    line("  memory for plans and table", f"{rss_mb() - before:.0f} MB")
    times = []
    for step in range(CHANGES):
        number = step * 7919 % services
        slices = [endpoints(number, each, 1_000_000 % 62_500 + step)]
        began = time.perf_counter()
        table.put(number, plan_service(objects[number][0], slices, PLACE, POD_CIDR).share)
        change = table.take()
        times.append(time.perf_counter() - began)
        assert change.count("\n") < 10
    line(
        "  change of one endpoint: plan and difference", f"{statistics.median(times) * 1e6:.0f} us"
    )
    if os.geteuid() != 0 or ctypes.CDLL(None).unshare(CLONE_NEWNET):
        line("  the kernel's part", "needs root")
        return
    kernel = Nftables()
    began = time.perf_counter()
    kernel.run(text)
    line("  first load into the kernel", f"{time.perf_counter() - began:.1f} s")
    for number in range(services):
        table.put(number, parts[number].share)
    table.take()
    times = []
    for step in range(KERNEL_CHANGES):
        number = step * 7919 % services
        slices = [endpoints(number, each, 20_000 + step)]
        table.put(number, plan_service(objects[number][0], slices, PLACE, POD_CIDR).share)
        change = table.take()
        began = time.perf_counter()
        kernel.run(change)
        times.append(time.perf_counter() - began)
    line("  change of one endpoint: the kernel's part", f"{statistics.median(times) * 1e3:.0f} ms")
    began = time.perf_counter()
    kernel.run(table.start())
    line("  whole table replaced", f"{time.perf_counter() - began:.1f} s")


class Known(Cache):
    """An informer that knows everything already."""

    def __init__(self) -> None:
        super().__init__()
        self.synced = asyncio.Event()
        self.synced.set()


def dns_server(pipe: Connection, services: int) -> None:
    async def main() -> None:
        known, slices, namespaces = Known(), Known(), Known()
        namespaces.apply(msgspec.convert({"metadata": {"name": "default"}}, Namespace))
        for number in range(services):
            known.apply(service(number))
        server = DnsServer(
            known, slices, namespaces, Forwarder(list, RealClock(), Entropy()),
            domain="cluster.local", address="127.0.0.1", port=0,
        )  # fmt: skip
        task = asyncio.create_task(server.run(lambda: pipe.send(server.port)))
        await asyncio.to_thread(pipe.recv)
        pipe.send(time.process_time())
        await asyncio.to_thread(pipe.recv)
        pipe.send(time.process_time())
        task.cancel()
        await asyncio.wait([task])

    import uvloop

    uvloop.run(main())


def dns(services: int, seconds: float) -> None:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=dns_server, args=(there, services))
    process.start()
    port = here.recv()
    here.send("go")
    cpu = here.recv()
    answers = 0.0
    for what, rtype, suffix in (
        ("A of a Service", 1, ("default", "svc", "cluster", "local")),
        ("AAAA of a Service (no data)", 28, ("default", "svc", "cluster", "local")),
        ("name that does not exist (search path)", 1, ("x", "svc", "cluster", "local")),
    ):
        questions = [_question(n, rtype, suffix) for n in range(min(services, 1000))]
        rate = _ask(port, questions, seconds)
        answers += rate * seconds
        line(f"DNS, {what}", f"{rate:,.0f} /s")
    here.send("stop")
    line("  CPU of the server for each answer", f"{(here.recv() - cpu) / answers * 1e6:.1f} us")
    process.join(10)


def _question(number: int, rtype: int, suffix: tuple[str, ...]) -> bytes:
    labels = (f"s{number}", *suffix)
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"
    return struct.pack("!HHHHHH", number, 0x100, 1, 0, 0, 0) + name + struct.pack("!HH", rtype, 1)


def _ask(port: int, questions: list[bytes], seconds: float) -> float:
    """Answers a second with WINDOW questions open."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(0.5)
        count, began = 0, time.perf_counter()
        for n in range(WINDOW):
            sock.send(questions[n % len(questions)])
        while True:
            try:
                sock.recv(2048)
                count += 1
                sock.send(questions[count % len(questions)])
            except TimeoutError:  # datagrams were lost: open the window again
                for n in range(WINDOW):
                    sock.send(questions[n % len(questions)])
            if not count & 127 and time.perf_counter() - began > seconds:
                return count / (time.perf_counter() - began)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.network", description=__doc__)
    parser.add_argument("--services", type=int, default=5000)
    parser.add_argument("--endpoints", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each kind of question")
    arguments = parser.parse_args()
    one = multiprocessing.Process(target=proxy, args=(arguments.services, arguments.endpoints))
    one.start()
    one.join()
    dns(arguments.services, arguments.seconds)
    return one.exitcode or 0


if __name__ == "__main__":
    sys.exit(main())
