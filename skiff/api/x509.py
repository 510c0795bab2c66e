"""X.509 as it stands in objects: certificate requests and certificates, PEM. Pure.

`cryptography` is imported inside the functions: who never sees a certificate does not pay for it.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography import x509

_BLOCK: Final = re.compile(
    rb"-----BEGIN ([^\r\n-]+)-----[ \t]*\r?\n(.*?)\r?\n?-----END \1-----", re.DOTALL
)
_REQUEST: Final = "CERTIFICATE REQUEST"
_CERTIFICATE: Final = "CERTIFICATE"


@dataclass(frozen=True, slots=True)
class Block:
    """One PEM block: its type, whether it has headers, its bytes."""

    kind: str
    headers: bool
    data: bytes


def blocks(pem: bytes) -> Iterator[Block]:
    """The well-formed PEM blocks of a text, in order; what stands between them is passed over."""
    for found in _BLOCK.finditer(pem):
        text: bytes = found[2]
        headers, empty, rest = text.replace(b"\r\n", b"\n").partition(b"\n\n")
        has_headers = bool(empty) and b":" in headers
        body = rest if has_headers else text
        try:
            data = base64.b64decode(b"".join(body.split()), validate=True)
        except binascii.Error:
            continue
        yield Block(found[1].decode("latin-1"), has_headers, data)


def read_request(pem: bytes) -> "x509.CertificateSigningRequest":
    """The certificate request of a PEM text. Raises ValueError saying what is wrong with it."""
    from cryptography import x509

    block = next(blocks(pem), None)
    if block is None or block.kind != _REQUEST:
        raise ValueError(f"PEM block type must be {_REQUEST}")
    return x509.load_der_x509_csr(block.data)


def check_request(pem: bytes) -> None:
    """Raises ValueError where that is no certificate request, or one that its key has not signed."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    request = read_request(pem)
    try:
        if request.is_signature_valid:
            return
        key = request.public_key()
    except UnsupportedAlgorithm as e:
        raise ValueError("x509: cannot verify signature: algorithm unimplemented") from e
    if isinstance(key, rsa.RSAPublicKey):
        raise ValueError("crypto/rsa: verification error")
    name = "ECDSA" if isinstance(key, ec.EllipticCurvePublicKey) else "Ed25519"
    raise ValueError(f"x509: {name} verification failure")


def check_certificates(pem: bytes) -> None:
    """Raises ValueError where that is anything else than certificates, one after another."""
    from cryptography import x509

    count = 0
    for block in blocks(pem):
        if block.kind != _CERTIFICATE:
            raise ValueError(f'only CERTIFICATE PEM blocks are allowed, found "{block.kind}"')
        if block.headers:
            raise ValueError("no PEM block headers are permitted")
        x509.load_der_x509_certificate(block.data)
        count += 1
    if not count:
        raise ValueError("must contain at least one CERTIFICATE PEM block")
