"""The driver of X.509: reads requests, signs certificates. `cryptography` is imported when first used.

What an issued certificate holds: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#signers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from skiff.controllers.certificates.plan import Request

if TYPE_CHECKING:
    from cryptography import x509

BACKDATE_S: Final = 5 * 60
"""Certificates are valid a little before now: clocks differ."""
SHORT_S: Final = 8 * 3600
"""Below this lifetime, what was backdated is not taken off its end."""

_KEY_USAGES: Final = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_EXTENDED: Final = {
    "any": "2.5.29.37.0",
    "server auth": "1.3.6.1.5.5.7.3.1",
    "client auth": "1.3.6.1.5.5.7.3.2",
    "code signing": "1.3.6.1.5.5.7.3.3",
    "email protection": "1.3.6.1.5.5.7.3.4",
    "s/mime": "1.3.6.1.5.5.7.3.4",
    "ipsec end system": "1.3.6.1.5.5.7.3.5",
    "ipsec tunnel": "1.3.6.1.5.5.7.3.6",
    "ipsec user": "1.3.6.1.5.5.7.3.7",
    "timestamping": "1.3.6.1.5.5.7.3.8",
    "ocsp signing": "1.3.6.1.5.5.7.3.9",
    "microsoft sgc": "1.3.6.1.4.1.311.10.3.3",
    "netscape sgc": "2.16.840.1.113730.4.1",
}


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA: its certificate and its key, PEM, which are read when they are needed."""

    certificate: Callable[[], bytes]
    key: Callable[[], bytes]

    def sign(self, request: bytes, usages: Sequence[str], lifetime_s: float, now: float) -> bytes:
        """A certificate, PEM, for a request. Raises ValueError where that cannot be read."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        parsed = _parse(request)
        issuer = x509.load_pem_x509_certificate(self.certificate())
        key: Any = serialization.load_pem_private_key(self.key(), None)
        start = datetime.fromtimestamp(int(now), UTC)
        if lifetime_s >= SHORT_S:
            lifetime_s -= BACKDATE_S
        end = min(start + timedelta(seconds=int(lifetime_s)), issuer.not_valid_after_utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(parsed.subject)
            .issuer_name(issuer.subject)
            .public_key(parsed.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start - timedelta(seconds=BACKDATE_S))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        named = {_KEY_USAGES[u] for u in usages if u in _KEY_USAGES}
        if named:
            fields = dict.fromkeys(_KEY_USAGES.values(), False) | dict.fromkeys(named, True)
            if not fields["key_agreement"]:
                fields |= {"encipher_only": False, "decipher_only": False}
            builder = builder.add_extension(x509.KeyUsage(**fields), critical=True)
        purposes = dict.fromkeys(_EXTENDED[u] for u in usages if u in _EXTENDED)
        if purposes:
            oids = [x509.ObjectIdentifier(oid) for oid in purposes]
            builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
        try:
            known = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known)
            builder = builder.add_extension(identifier, critical=False)
        except x509.ExtensionNotFound:
            pass
        names = _alternative_names(parsed)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)


def read_request(pem: bytes) -> Request:
    """What a request asks for. Raises ValueError where it cannot be read."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    parsed = _parse(pem)

    def subject(oid: "x509.ObjectIdentifier") -> tuple[str, ...]:
        return tuple(str(a.value) for a in parsed.subject.get_attributes_for_oid(oid))

    found: dict[type, list[str]] = {}
    for name in _alternative_names(parsed):
        found.setdefault(type(name), []).append(str(name.value))
    return Request(
        common_name=next(iter(subject(NameOID.COMMON_NAME)), ""),
        organizations=subject(NameOID.ORGANIZATION_NAME),
        dns_names=tuple(found.get(x509.DNSName, ())),
        addresses=tuple(found.get(x509.IPAddress, ())),
        emails=tuple(found.get(x509.RFC822Name, ())),
        uris=tuple(found.get(x509.UniformResourceIdentifier, ())),
    )


def not_after(certificate: bytes) -> float:
    """The last second of a certificate (PEM). Raises ValueError where it cannot be read."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()


def _parse(pem: bytes) -> "x509.CertificateSigningRequest":
    from cryptography import x509

    parsed = x509.load_pem_x509_csr(pem)
    if not parsed.is_signature_valid:
        raise ValueError("the request's signature is not that of its key")
    return parsed


def _alternative_names(parsed: "x509.CertificateSigningRequest") -> "list[x509.GeneralName]":
    from cryptography import x509

    try:
        found = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return list(found.value)
