"""The client's side of TLS: one context from PEM bytes."""

import contextlib
import os
import ssl
from collections.abc import Iterator


def client_context(
    *,
    ca_pem: bytes = b"",
    cert_pem: bytes = b"",
    key_pem: bytes = b"",
    verify: bool = True,
) -> ssl.SSLContext:
    """A context for TLS 1.2 and 1.3 that trusts `ca_pem` (empty: the system's roots) and shows
    the client certificate, if one is given. `verify=False` accepts any server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca_pem:
        context.load_verify_locations(cadata=ca_pem.decode("ascii"))
    else:
        context.load_default_certs()
    if cert_pem:
        with _as_file(cert_pem) as cert, _as_file(key_pem or cert_pem) as key:
            context.load_cert_chain(cert, key)
    return context


@contextlib.contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """A path to `data` in anonymous memory: OpenSSL wants files, keys should not touch the disk."""
    fd = os.memfd_create("pem")
    try:
        os.write(fd, data)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
