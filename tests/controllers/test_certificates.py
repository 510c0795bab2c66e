"""Certificate signing requests: what is issued, what is refused, what goes."""

import base64
import ipaddress
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from skiff.aio.clock import rfc3339
from skiff.api.errors import NotFound
from skiff.api.resources import CERTIFICATESIGNINGREQUESTS as REQUESTS
from skiff.api.views.certificates import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
    CertificateSigningRequestStatus,
)
from skiff.api.views.meta import ObjectMeta
from skiff.controllers.certificates import plan
from skiff.controllers.certificates.authority import Authority
from skiff.controllers.certificates.plan import Request
from skiff.controllers.context import Options
from skiff.server.pki import certificates
from tests.controllers.world import EPOCH, Object, World, run

CA = certificates.make_authority("test", now=EPOCH, lifetime_s=10 * 365 * 24 * 3600)
ISSUING = Options(ca_pem="CA", signing_authority=Authority(lambda: CA.certificate, lambda: CA.key))
CLIENT = ("digital signature", "client auth")
SERVER = ("digital signature", "server auth")
NODE: dict[str, Any] = {"organizations": ("system:nodes",), "common_name": "system:node:a"}


def csr(name: str, signer: str = plan.CLIENT, **spec: Any) -> Object:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "devs"),
            x509.NameAttribute(NameOID.COMMON_NAME, "jane"),
        ]
    )
    names = [x509.DNSName("a.b"), x509.IPAddress(ipaddress.ip_address("10.0.0.1"))]
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    pem = request.public_bytes(Encoding.PEM)
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": base64.b64encode(pem).decode(),
            "signerName": signer,
            "usages": list(CLIENT),
            **spec,
        },
    }


async def decide(world: World, name: str, kind: str = "Approved") -> None:
    def decided(current: Object) -> Object:
        condition = {
            "type": kind,
            "status": "True",
            "reason": "Test",
            "lastUpdateTime": rfc3339(world.clock.now()),
        }
        return {**current, "status": {"conditions": [condition]}}

    await world.client.update(REQUESTS, name, "", decided, subresource="approval")


async def status(world: World, name: str, key: str) -> Any:
    async def check() -> Any:
        found = await world.client.get(REQUESTS, name)
        return found["status"][key]

    return await world.until(check)


async def gone(world: World, name: str, timeout_s: float) -> None:
    async def check() -> bool:
        try:
            await world.client.get(REQUESTS, name)
        except NotFound:
            return True
        return False

    await world.until(check, timeout_s)


def test_an_approved_request_is_issued() -> None:
    async def test(world: World) -> None:
        await world.client.create(REQUESTS, csr("jane", expirationSeconds=3600))
        await world.clock.sleep(1)
        assert not (await world.client.get(REQUESTS, "jane")).get("status", {}).get("certificate")
        await decide(world, "jane")
        pem = base64.b64decode(await status(world, "jane", "certificate"))
        made = x509.load_pem_x509_certificate(pem)
        made.verify_directly_issued_by(x509.load_pem_x509_certificate(CA.certificate))
        assert made.subject.rfc4514_string() == "CN=jane,O=devs"
        lasting = made.not_valid_after_utc.timestamp() - world.clock.now()
        assert 3590 < lasting <= 3600
        usages = made.extensions.get_extension_for_class(x509.KeyUsage).value
        assert usages.digital_signature and not usages.key_encipherment
        purposes = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [str(n.value) for n in names] == ["a.b", "10.0.0.1"]

    run(test, options=ISSUING)


def test_what_a_signer_does_not_issue_fails() -> None:
    async def test(world: World) -> None:
        await world.client.create(REQUESTS, csr("bad", usages=["client auth", "cert sign"]))
        await decide(world, "bad")

        async def failed() -> Object:
            found = await world.client.get(REQUESTS, "bad")
            (condition,) = [c for c in found["status"]["conditions"] if c["type"] == "Failed"]
            return condition

        condition = await world.until(failed)
        assert condition["reason"] == "SignerValidationFailure"
        assert condition["message"] == "invalid usage for client certificate: cert sign"
        assert "certificate" not in (await world.client.get(REQUESTS, "bad"))["status"]

    run(test, options=ISSUING)


def test_others_signers_and_denied_requests_are_left_alone() -> None:
    async def test(world: World) -> None:
        await world.client.create(REQUESTS, csr("theirs", signer="example.com/own"))
        await decide(world, "theirs")
        await world.client.create(REQUESTS, csr("no"))
        await decide(world, "no", "Denied")
        await world.clock.sleep(5)
        for name in ("theirs", "no"):
            found = await world.client.get(REQUESTS, name)
            assert "certificate" not in found["status"]

    run(test, options=ISSUING)


def test_a_request_goes_with_its_certificate() -> None:
    async def test(world: World) -> None:
        await world.client.create(REQUESTS, csr("short", expirationSeconds=600))
        await world.client.create(REQUESTS, csr("waiting"))
        await decide(world, "short")
        await status(world, "short", "certificate")
        await world.clock.sleep(590)
        await world.client.get(REQUESTS, "short")
        await gone(world, "short", 60)
        await world.client.get(REQUESTS, "waiting")

    run(test, options=ISSUING)


@pytest.mark.parametrize(
    ("kind", "certificate", "ends", "expected"),
    [
        ("", "", None, 24 * 3600),
        ("Approved", "", None, None),
        ("Approved", "x", 1e9, 100 + 3600),
        ("Approved", "x", 500, 500),
        ("Denied", "", None, 100 + 3600),
        ("Failed", "", None, 100 + 3600),
    ],
)
def test_when_requests_go(
    kind: str, certificate: str, ends: float | None, expected: float | None
) -> None:
    """Made at `EPOCH`, decided 100 s later; `ends` and `expected` count from then, too."""
    condition = CertificateSigningRequestCondition(
        type=kind, status="True", last_update_time=rfc3339(EPOCH + 100)
    )
    request = CertificateSigningRequest(
        metadata=ObjectMeta(creation_timestamp=rfc3339(EPOCH)),
        status=CertificateSigningRequestStatus(
            certificate=certificate, conditions=(condition,) if kind else ()
        ),
    )
    at = plan.goes_at(request, None if ends is None else EPOCH + ends)
    assert at == (float("inf") if expected is None else EPOCH + expected)


@pytest.mark.parametrize(
    ("signer", "usages", "request_", "expected"),
    [
        (plan.CLIENT, ("client auth",), Request(), ""),
        (plan.CLIENT, ("digital signature",), Request(),
         "missing required usage for client certificate: client auth"),
        (plan.LEGACY, ("cert sign",), Request(), ""),
        (plan.KUBELET_CLIENT, CLIENT, Request(**NODE), ""),
        (plan.KUBELET_CLIENT, (*CLIENT, "key encipherment"), Request(**NODE), ""),
        (plan.KUBELET_CLIENT, CLIENT, Request(common_name="system:node:a"),
         "subject organization is not system:nodes"),
        (plan.KUBELET_CLIENT, CLIENT, Request(**NODE, dns_names=("a",)),
         "DNS subjectAltNames are not allowed"),
        (plan.KUBELET_CLIENT, SERVER, Request(**NODE),
         "usages did not match [client auth digital signature key encipherment]"),
        (plan.KUBELET_CLIENT, CLIENT, Request(organizations=("system:nodes",), common_name="a"),
         "subject common name does not begin with system:node:"),
        (plan.KUBELET_SERVING, SERVER, Request(**NODE), "DNS or IP subjectAltName is required"),
        (plan.KUBELET_SERVING, SERVER, Request(**NODE, addresses=("10.0.0.1",)), ""),
        (plan.KUBELET_SERVING, SERVER, Request(**NODE, dns_names=("a",), uris=("x:y",)),
         "URI subjectAltNames are not allowed"),
    ],
)  # fmt: skip
def test_what_signers_issue(
    signer: str, usages: tuple[str, ...], request_: Request, expected: str
) -> None:
    assert plan.fault(request_, usages, signer) == expected


def test_lifetimes() -> None:
    assert plan.lifetime_s(None, 9000) == 9000
    assert plan.lifetime_s(60, 9000) == 600
    assert plan.lifetime_s(3600, 9000) == 3600
    assert plan.lifetime_s(10000, 9000) == 9000
