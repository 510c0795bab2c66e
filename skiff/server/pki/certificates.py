"""How certificates are made: a key pair, a subject, names, a signature. Bytes (PEM) in and out.

The shapes follow https://kubernetes.io/docs/setup/best-practices/certificates/: EC P-256 keys; CAs
that may sign certificates only; server certificates for serverAuth, client ones for clientAuth.
`cryptography` is imported inside the functions: a warm start must not pay for it.
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

# A clock that is a little behind the server's must still accept a fresh certificate.
BACKDATE_S = 3600


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM, and the certificate's last second."""

    certificate: bytes
    key: bytes
    not_after: float


def new_key() -> bytes:
    """A fresh EC P-256 private key (PKCS#8 PEM)."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return _key_pem(ec.generate_private_key(ec.SECP256R1()))


def public_pem(key: bytes) -> bytes:
    """The public half of a private key, PEM."""
    from cryptography.hazmat.primitives import serialization

    public = serialization.load_pem_private_key(key, None).public_key()
    return public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def make_authority(common_name: str, *, now: float, lifetime_s: float) -> Pair:
    """A self-signed CA."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name, ())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        _builder(name, name, key.public_key(), now, lifetime_s)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), critical=False)
    )
    return _signed(builder, key, key, now + lifetime_s)


def make_certificate(
    authority: Pair,
    common_name: str,
    organizations: tuple[str, ...] = (),
    *,
    sans: tuple[str, ...] = (),
    now: float,
    lifetime_s: float,
) -> Pair:
    """A certificate signed by `authority`: for a server where `sans` (names and addresses) are
    given, else for a client. It never outlives the authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    issuer = x509.load_pem_x509_certificate(authority.certificate)
    signer = serialization.load_pem_private_key(authority.key, None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError("the CA's key is not an elliptic curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    lifetime_s = min(lifetime_s, issuer.not_valid_after_utc.timestamp() - now)
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if sans else ExtendedKeyUsageOID.CLIENT_AUTH
    subject = _name(common_name, organizations)
    builder = (
        _builder(subject, issuer.subject, key.public_key(), now, lifetime_s)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(_authority_identifier(issuer), critical=False)
    )
    if sans:
        names = x509.SubjectAlternativeName([_general_name(s) for s in sans])
        builder = builder.add_extension(names, critical=False)
    return _signed(builder, key, signer, now + lifetime_s)


def inspect(certificate: bytes) -> tuple[float, tuple[str, ...]]:
    """When a PEM certificate ends, and its alternative names, sorted."""
    from cryptography import x509

    parsed = x509.load_pem_x509_certificate(certificate)
    try:
        extension = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(sorted(str(n.value) for n in extension))
    except x509.ExtensionNotFound:
        names = ()
    return parsed.not_valid_after_utc.timestamp(), names


def issued_by(certificate: bytes, authority: bytes) -> bool:
    """Whether `authority` (PEM) signed `certificate` (PEM)."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        parsed = x509.load_pem_x509_certificate(certificate)
        parsed.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def matches(certificate: bytes, key: bytes) -> bool:
    """Whether the certificate belongs to the private key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        parsed = x509.load_pem_x509_certificate(certificate)
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError):
        return False
    return parsed.public_key() == private.public_key()


def _name(common_name: str, organizations: tuple[str, ...]) -> "x509.Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: "x509.Name",
    issuer: "x509.Name",
    public: "ec.EllipticCurvePublicKey",
    now: float,
    lifetime_s: float,
) -> "x509.CertificateBuilder":
    from cryptography import x509

    start = datetime.fromtimestamp(int(now), UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - timedelta(seconds=BACKDATE_S))
        .not_valid_after(start + timedelta(seconds=int(lifetime_s)))
    )


def _signed(
    builder: "x509.CertificateBuilder",
    key: "ec.EllipticCurvePrivateKey",
    signer: "ec.EllipticCurvePrivateKey",
    not_after: float,
) -> Pair:
    from cryptography.hazmat.primitives import hashes, serialization

    certificate = builder.sign(signer, hashes.SHA256())
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key), float(int(not_after))
    )


def _key_pem(key: "ec.EllipticCurvePrivateKey") -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _usage(*, authority: bool) -> "x509.KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_identifier(issuer: "x509.Certificate") -> "x509.AuthorityKeyIdentifier":
    from cryptography import x509

    subject = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject)


def _general_name(name: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
