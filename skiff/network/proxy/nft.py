"""The packet filter: libnftables through ctypes, the command nft where that library cannot be loaded,
and an in-memory twin.

libnftables takes a whole transaction as text in this process, in about half the time that starting
`nft` costs. Calls block for milliseconds: the caller makes them in a thread.
Source: libnftables(3), nft(8).
"""

import subprocess
import threading
from typing import Protocol

COMMAND_TIMEOUT_S = 120.0
PROBE = "skiff-probe"


class PacketFilterError(Exception):
    """The kernel or nftables refused a transaction; nothing of it was done."""


class PacketFilter(Protocol):
    """Where transactions go."""

    def run(self, transaction: str) -> str:
        """Carry out `transaction` whole or not at all; return what it printed. Raises PacketFilterError."""


class Nftables:
    """The kernel's nftables, through libnftables. One transaction at a time."""

    def __init__(self, name: str = "") -> None:
        import ctypes.util  # `skiff up` probes with the command, and stays small

        name = name or ctypes.util.find_library("nftables") or "libnftables.so.1"
        try:
            library = ctypes.CDLL(name)
        except OSError as e:
            raise PacketFilterError(f"{name} cannot be loaded ({e}); install nftables") from e
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        for function in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
            getattr(library, function).argtypes = [ctypes.c_void_p]
        for function in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(library, function).argtypes = [ctypes.c_void_p]
            getattr(library, function).restype = ctypes.c_char_p
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self._library = library
        self._lock = threading.Lock()

    def run(self, transaction: str) -> str:
        """See PacketFilter."""
        # A context caches the ruleset that it last saw, and others change rules too: a new one each time.
        library = self._library
        with self._lock:
            context = library.nft_ctx_new(0)
            if not context:
                raise PacketFilterError("libnftables gave no context: out of memory, or no netlink")
            try:
                library.nft_ctx_buffer_output(context)
                library.nft_ctx_buffer_error(context)
                code = library.nft_run_cmd_from_buffer(context, transaction.encode())
                error = library.nft_ctx_get_error_buffer(context) or b""
                output = library.nft_ctx_get_output_buffer(context) or b""
            finally:
                library.nft_ctx_free(context)
        if code:
            raise PacketFilterError(_shorten(error.decode(errors="replace")) or f"nft error {code}")
        return str(output.decode(errors="replace"))


class NftCommand:
    """The kernel's nftables, through the command nft."""

    def __init__(self, program: str = "nft") -> None:
        self._program = program

    def run(self, transaction: str) -> str:
        """See PacketFilter."""
        try:
            done = subprocess.run(
                [self._program, "-f", "-"],
                input=transaction,
                capture_output=True,
                text=True,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError as e:
            raise PacketFilterError(f"{self._program} is not installed; install nftables") from e
        except subprocess.TimeoutExpired as e:
            raise PacketFilterError(f"nft took longer than {COMMAND_TIMEOUT_S:.0f} s") from e
        if done.returncode:
            raise PacketFilterError(_shorten(done.stderr) or f"nft exit code {done.returncode}")
        return done.stdout


class RecordedPacketFilter:
    """The twin: keeps every transaction; `fail_next` makes one fail; `answers` are what it prints."""

    def __init__(self) -> None:
        self.transactions: list[str] = []
        self.answers: dict[str, str] = {}
        self.fail_next = ""

    def run(self, transaction: str) -> str:
        """See PacketFilter."""
        if self.fail_next:
            message, self.fail_next = self.fail_next, ""
            raise PacketFilterError(message)
        self.transactions.append(transaction)
        return self.answers.get(transaction, "")


def kernel_filter() -> PacketFilter:
    """The packet filter of this machine."""
    try:
        return Nftables()
    except PacketFilterError:
        return NftCommand()


def probe(packet_filter: PacketFilter) -> None:
    """Whether this machine can do what the proxy needs. Raises PacketFilterError that says what is missing."""
    table = f"ip {PROBE}"
    needed = (
        f"add table {table}\n"
        f"add chain {table} nat {{ type nat hook prerouting priority 0 ; }}\n"
        f"add rule {table} nat meta l4proto tcp dnat ip to numgen random mod 2 map "
        "{ 0 : 192.0.2.1 . 1, 1 : 192.0.2.1 . 2 }\n"
        f"add rule {table} nat fib daddr type local accept\n"
        f"delete table {table}\n"
    )
    try:
        packet_filter.run(needed)
    except PacketFilterError as e:
        said = str(e)
        if "Operation not permitted" in said:
            why = "this process may not change packet-filter rules: it needs CAP_NET_ADMIN (root)"
        elif "not installed" in said:
            why = said
        else:
            why = (
                "this kernel cannot do Services: nf_tables with NAT, fib and numgen is needed "
                f"(try `modprobe nf_tables nft_chain_nat nft_fib_ipv4 nft_numgen`); it said: {said}"
            )
        raise PacketFilterError(why) from e


def _shorten(message: str, limit: int = 2000) -> str:
    """nft repeats the refused line, which may hold thousands of elements."""
    message = message.strip()
    return message if len(message) <= limit else message[:limit] + " …"
