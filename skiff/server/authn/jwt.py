"""JSON Web Tokens: just the two signatures that service account keys use, ES256 and RS256.

Source: RFC 7515 (compact serialization), RFC 7518 section 3 (algorithms), RFC 7517 (JWK).
`cryptography` is imported on the first use of a key: a server that meets no token never loads it.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

# The size of r and of s in a P-256 signature (RFC 7518 section 3.4).
_SCALAR_BYTES = 32


class BadTokenError(Exception):
    """Not a token, or not one signed by a key that is known."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key with its id: the SHA-256 of its DER form, as Kubernetes names keys."""

    key: "PublicKey"
    key_id: str
    algorithm: str

    @classmethod
    def from_pem(cls, pem: bytes) -> "VerifyingKey":
        """The key of a public (or private) key in PEM. Raises ValueError where it is no such thing."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        key: Any
        if b"PRIVATE KEY" in pem:
            key = serialization.load_pem_private_key(pem, None).public_key()
        else:
            key = serialization.load_pem_public_key(pem)
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            algorithm = "ES256"
        elif isinstance(key, rsa.RSAPublicKey):
            algorithm = "RS256"
        else:
            raise ValueError("a service account key is RSA or EC P-256")
        der = key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return cls(key, _b64(hashlib.sha256(der).digest()), algorithm)

    def jwk(self) -> dict[str, str]:
        """The key as a JWK, as the JWKS document lists it."""
        from cryptography.hazmat.primitives.asymmetric import ec

        common = {"use": "sig", "kid": self.key_id, "alg": self.algorithm}
        if isinstance(self.key, ec.EllipticCurvePublicKey):
            numbers = self.key.public_numbers()
            x, y = (_b64(n.to_bytes(_SCALAR_BYTES, "big")) for n in (numbers.x, numbers.y))
            return {**common, "kty": "EC", "crv": "P-256", "x": x, "y": y}
        rsa_numbers = self.key.public_numbers()
        return {**common, "kty": "RSA", "n": _b64_int(rsa_numbers.n), "e": _b64_int(rsa_numbers.e)}


class Signer:
    """Signs claims with one private key (PEM), which is asked for on the first use."""

    def __init__(self, pem: Callable[[], bytes]) -> None:
        self._pem = pem
        self._key: Any = None
        self._header = b""

    def sign(self, claims: dict[str, Any]) -> str:
        """The signed token."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        if self._key is None:
            from cryptography.hazmat.primitives import serialization

            pem = self._pem()
            public = VerifyingKey.from_pem(pem)
            header = {"alg": public.algorithm, "kid": public.key_id}
            self._header = _b64(orjson.dumps(header)).encode()
            self._key = serialization.load_pem_private_key(pem, None)
        text = self._header + b"." + _b64(orjson.dumps(claims)).encode()
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(self._key.sign(text, ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(_SCALAR_BYTES, "big") + s.to_bytes(_SCALAR_BYTES, "big")
        else:
            signature = self._key.sign(text, padding.PKCS1v15(), hashes.SHA256())
        return (text + b"." + _b64(signature).encode()).decode()


def unverified_claims(token: str) -> dict[str, Any]:
    """The claims of a token whose signature was not looked at: only to choose who should look."""
    try:
        claims = orjson.loads(_unb64(token.split(".")[1]))
    except (IndexError, ValueError, binascii.Error) as e:
        raise BadTokenError("the token is malformed") from e
    if not isinstance(claims, dict):
        raise BadTokenError("the token's claims are not an object")
    return claims


def verify(token: str, keys: "list[VerifyingKey]") -> dict[str, Any]:
    """The claims of a token signed by one of `keys`. Times and audiences are the caller's to check.
    Raises BadTokenError."""
    from cryptography.exceptions import InvalidSignature

    parts = token.split(".")
    if len(parts) != 3:
        raise BadTokenError("the token is malformed")
    try:
        header = orjson.loads(_unb64(parts[0]))
        signature = _unb64(parts[2])
    except (ValueError, binascii.Error) as e:
        raise BadTokenError("the token is malformed") from e
    if not isinstance(header, dict):
        raise BadTokenError("the token's header is not an object")
    text = token[: len(parts[0]) + 1 + len(parts[1])].encode()
    wanted = header.get("kid")
    for key in keys:
        # A key id that is known settles which key; without one, each key is tried.
        if header.get("alg") != key.algorithm or (wanted and wanted != key.key_id):
            continue
        try:
            _check(key, text, signature)
        except InvalidSignature:
            continue
        return unverified_claims(token)
    raise BadTokenError("the token is not signed by a known key")


def _check(key: VerifyingKey, text: bytes, signature: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    if isinstance(key.key, ec.EllipticCurvePublicKey):
        if len(signature) != 2 * _SCALAR_BYTES:
            raise InvalidSignature
        r = int.from_bytes(signature[:_SCALAR_BYTES], "big")
        s = int.from_bytes(signature[_SCALAR_BYTES:], "big")
        key.key.verify(encode_dss_signature(r, s), text, ec.ECDSA(hashes.SHA256()))
    else:
        key.key.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _b64_int(number: int) -> str:
    return _b64(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _unb64(text: str) -> bytes:
    return base64.b64decode(
        (text + "=" * (-len(text) % 4)).encode("ascii", "strict"), altchars=b"-_", validate=True
    )
