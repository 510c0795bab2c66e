"""A server's TLS context that lets any client certificate through the handshake, and knows which are good.

Kubernetes answers 401 to a certificate that it does not believe. Python's ssl can only break off the
handshake over it, which clients show as a broken connection. So OpenSSL's verification is called here
(`SSL_CTX_set_cert_verify_callback`), and a failure lets the handshake go on. What was verified is remembered
by the certificate's digest; whoever reads a peer's certificate must ask `believed` first. A certificate that was
forgotten, or whose verification could not be noted, is not believed.

The context's OpenSSL structure is the first member of CPython's object; this holds for the versions in
KNOWN. In any other Python a bad certificate breaks off the handshake, as ssl has it.
"""

import ctypes
import hashlib
import ssl
import sys
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Final

KNOWN: Final = frozenset({(3, 11), (3, 12), (3, 13)})
REMEMBERED: Final = 16_384
"""Good certificates kept in mind; past that the one not seen for longest is forgotten, and refused."""

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class ClientChecks(ssl.SSLContext):
    """Make it with `checking(…)`."""

    _good: OrderedDict[bytes, None]
    _callback: Callable[..., int] | None

    def verified(self, certificate: bytes) -> bool:
        """Whether a client certificate (DER) that came through a handshake is good."""
        if self._callback is None:
            return True  # a bad one does not come through
        digest = hashlib.sha256(certificate).digest()
        if digest not in self._good:
            return False
        self._good.move_to_end(digest)
        return True

    def _note(self, certificate: bytes, *, good: bool) -> None:
        """What a handshake found; one that was good may have expired since."""
        digest = hashlib.sha256(certificate).digest()
        if not good:
            self._good.pop(digest, None)
            return
        self._good[digest] = None
        if len(self._good) > REMEMBERED:
            self._good.popitem(last=False)


def checking(client_ca_file: str) -> ClientChecks:
    """A server's context that asks for a client certificate. Raises OSError, ssl.SSLError."""
    context = ClientChecks(ssl.PROTOCOL_TLS_SERVER)
    context._good = OrderedDict()
    context._callback = None
    context.load_verify_locations(client_ca_file)
    context.verify_mode = ssl.CERT_OPTIONAL
    if sys.implementation.name == "cpython" and sys.version_info[:2] in KNOWN:
        _let_through(context)
    return context


def believed(tls: ssl.SSLObject) -> bool:
    """Whether the peer has shown no certificate, or a good one."""
    context = getattr(tls, "context", None)
    if not isinstance(context, ClientChecks):
        return True  # the handshake let no other through
    certificate = tls.getpeercert(True)
    return certificate is None or context.verified(certificate)


def _let_through(context: ClientChecks) -> None:
    """Have certificates verified by `note`, which never fails a handshake."""
    openssl = _openssl()
    if openssl is None:
        return

    def note(store: int, _argument: object) -> int:
        good = openssl.X509_verify_cert(store) == 1
        certificate = openssl.X509_STORE_CTX_get0_cert(store)
        size = openssl.i2d_X509(certificate, None)
        buffer = ctypes.create_string_buffer(max(size, 0))
        end = ctypes.c_void_p(ctypes.addressof(buffer))
        if size > 0 and openssl.i2d_X509(certificate, ctypes.byref(end)) == size:
            context._note(buffer.raw, good=good)
        return 1

    callback = _Callback(note)
    structure = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    openssl.SSL_CTX_set_cert_verify_callback(structure, callback, None)
    context._callback = callback  # lives as long as the context


@cache
def _openssl() -> ctypes.CDLL | None:
    """The library that Python's ssl is built on; None where its functions are not to be had."""
    import _ssl

    try:
        library = ctypes.CDLL(getattr(_ssl, "__file__", None))
        pointer = ctypes.c_void_p
        for name, result, arguments in (
            ("SSL_CTX_set_cert_verify_callback", None, [pointer, _Callback, pointer]),
            ("X509_verify_cert", ctypes.c_int, [pointer]),
            ("X509_STORE_CTX_get0_cert", pointer, [pointer]),
            ("i2d_X509", ctypes.c_int, [pointer, ctypes.POINTER(pointer)]),
        ):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):
        return None
    return library
