"""Network namespaces as hosts: what runs in one, and sockets that stay in it.

A thread enters the namespace, does what is asked and ends; a socket belongs for ever to the namespace in
which it was made. Needs root and iproute2.
"""

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _in_thread(enter: Callable[[], None], work: Callable[[], T]) -> T:
    result: list[Any] = [None, None]

    def run() -> None:
        try:
            enter()
            result[0] = work()
        except BaseException as e:  # noqa: BLE001 - raised in the caller's thread
            result[1] = e

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if result[1] is not None:
        raise result[1]
    return result[0]  # type: ignore[no-any-return] # what `work` gave


def isolated(work: Callable[[], T]) -> T:
    """`work()` in a network namespace that nobody else has and that ends with it."""

    def enter() -> None:
        if _libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")

    return _in_thread(enter, work)


class Host:
    """A named network namespace."""

    def __init__(self, name: str) -> None:
        self.name = f"skt{os.getpid() % 100000}-{name}"
        _ip("netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def close(self) -> None:
        _ip("netns", "delete", self.name)

    def ip(self, *arguments: str) -> None:
        _ip("-n", self.name, *arguments)

    def run(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """`work(...)` as a process on this host would see the network."""

        def enter() -> None:
            with Path(f"/run/netns/{self.name}").open() as file:
                if _libc.setns(file.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")

        return _in_thread(enter, lambda: work(*arguments, **named))

    def sysctl(self, name: str, value: str) -> None:
        self.run((Path("/proc/sys") / name).write_text, value)

    def shell(self, *command: str) -> str:
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, *command],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def link(self, port: str, other: "Host", far: str) -> None:
        """A cable: `port` here, `far` at `other`, both up."""
        self.ip("link", "add", port, "type", "veth", "peer", "name", far, "netns", other.name)
        self.ip("link", "set", port, "up")
        other.ip("link", "set", far, "up")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (arguments, done.stderr)
