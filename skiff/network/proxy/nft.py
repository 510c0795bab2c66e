"""The packet filter: libnftables through ctypes, and an in-memory twin.

libnftables takes a whole transaction as text in this process, in about half the time that starting
`nft` costs. Calls block for milliseconds: the caller makes them in a thread.
Source: libnftables(3).
"""

import ctypes
import ctypes.util
import threading
from typing import Protocol


class PacketFilterError(Exception):
    """The kernel or libnftables refused a transaction; nothing of it was done."""


class PacketFilter(Protocol):
    """Where transactions go."""

    def run(self, transaction: str) -> str:
        """Carry out `transaction` whole or not at all; return what it printed. Raises PacketFilterError."""


class Nftables:
    """The kernel's nftables, through libnftables. One transaction at a time."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("nftables") or "libnftables.so.1"
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
        # A context caches the ruleset that it last saw, and others change rules too: a new one each time.
        library = self._library
        with self._lock:
            context = library.nft_ctx_new(0)
            try:
                library.nft_ctx_buffer_output(context)
                library.nft_ctx_buffer_error(context)
                code = library.nft_run_cmd_from_buffer(context, transaction.encode())
                error = library.nft_ctx_get_error_buffer(context) or b""
                output = library.nft_ctx_get_output_buffer(context) or b""
            finally:
                library.nft_ctx_free(context)
        if code:
            raise PacketFilterError(error.decode(errors="replace").strip() or f"nft error {code}")
        return str(output.decode(errors="replace"))


class RecordedPacketFilter:
    """The twin: keeps every transaction; `fail_next` makes one fail."""

    def __init__(self) -> None:
        self.transactions: list[str] = []
        self.fail_next = ""

    def run(self, transaction: str) -> str:
        if self.fail_next:
            message, self.fail_next = self.fail_next, ""
            raise PacketFilterError(message)
        self.transactions.append(transaction)
        return ""
