"""Certificates, ServiceAccounts and their tokens."""

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from skiff.api.resources import CERTIFICATESIGNINGREQUESTS, PODS, SERVICEACCOUNTS
from tests.conformance.world import Kube, Object, condition, meta, names, pod, run


def request_pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "e2e-example")])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


@pytest.mark.conformance(
    "[sig-auth] Certificates API [Privileged:ClusterAdmin] should support CSR API operations"
    " [Conformance]"
)
def test_signing_requests() -> None:
    pem = request_pem()

    def csr() -> Object:
        return {
            "metadata": {"generateName": "e2e-example-", "labels": {"e2e": "csr"}},
            "spec": {
                "request": pem,
                "signerName": "example.com/e2e-signer",
                "expirationSeconds": 3600,
                "usages": ["digital signature", "key encipherment", "server auth"],
            },
        }

    async def scenario(kube: Kube) -> None:
        api = kube.of(CERTIFICATESIGNINGREQUESTS)
        listed = await kube.get("/apis/certificates.k8s.io/v1")
        assert {
            "certificatesigningrequests",
            "certificatesigningrequests/approval",
            "certificatesigningrequests/status",
        } <= {x["name"] for x in listed["resources"]}
        made = [await api.create(csr()) for _ in range(3)]
        name = made[0]["metadata"]["name"]
        assert made[0]["spec"]["username"] == "kubernetes-admin"
        assert "system:masters" in made[0]["spec"]["groups"]
        assert await api.get(name) == made[0]
        listing = await api.list("e2e=csr")
        assert len(listing["items"]) == 3
        start = listing["metadata"]["resourceVersion"]
        async with api.watch("e2e=csr", resourceVersion=start) as watch:
            patched = await api.patch(name, {"metadata": {"annotations": {"patched": "true"}}})
            assert patched["metadata"]["annotations"]["patched"] == "true"
            await api.change(name, lambda o: o["metadata"]["annotations"].update(updated="true"))
            await watch.expect("MODIFIED", lambda o: "patched" in o["metadata"]["annotations"])
            await watch.expect("MODIFIED", lambda o: "updated" in o["metadata"]["annotations"])
            await approving(api, name)
            await issuing(api, name)
            await api.delete(name)
            await watch.expect("DELETED")
            assert await api.absent(name)
            await api.delete_all("e2e=csr")
        assert await api.items("e2e=csr") == []

    run(scenario)


async def approving(api: Any, name: str) -> None:
    got = await api.get(name, "approval")
    assert got["metadata"]["name"] == name
    ready = {"type": "ApprovalPatch", "status": "True", "reason": "e2e", "message": "patched"}
    patch = {
        "metadata": {"annotations": {"patchedapproval": "true"}},
        "status": {"conditions": [ready]},
    }
    patched = await api.patch(name, patch, subresource="approval")
    assert condition(patched, "ApprovalPatch")["message"] == "patched"
    assert patched["metadata"]["annotations"]["patchedapproval"] == "true"
    approved = {
        "type": "Approved",
        "status": "True",
        "reason": "E2E",
        "message": "Set from an e2e test",
    }

    def approve(obj: Object) -> None:
        obj["status"].setdefault("conditions", []).append(approved)

    updated = await api.change(name, approve, "approval")
    assert condition(updated, "Approved")["reason"] == "E2E"
    assert "lastUpdateTime" in condition(updated, "Approved")


async def issuing(api: Any, name: str) -> None:
    got = await api.get(name, "status")
    assert got["metadata"]["name"] == name
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self-signed")])
    from datetime import UTC, datetime

    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    pem = base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()
    patch = {
        "metadata": {"annotations": {"patchedstatus": "true"}},
        "status": {"certificate": pem},
    }
    patched = await api.patch(name, patch, subresource="status")
    assert patched["status"]["certificate"] == pem
    assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
    more = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set"}
    updated = await api.change(name, lambda o: o["status"]["conditions"].append(more), "status")
    assert len(updated["status"]["conditions"]) == len(patched["status"]["conditions"]) + 1
    assert condition(updated, "StatusUpdate")["message"] == "Set"


@pytest.mark.conformance(
    "[sig-auth] ServiceAccounts should run through the lifecycle of a ServiceAccount [Conformance]"
)
@pytest.mark.conformance("[sig-auth] ServiceAccounts should update a ServiceAccount [Conformance]")
def test_the_life_of_an_account() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(SERVICEACCOUNTS)
        start = (await api.list())["metadata"]["resourceVersion"]
        label = {"test-serviceaccount-static": "true"}
        async with api.watch("test-serviceaccount-static=true", resourceVersion=start) as watch:
            made = await api.create({"metadata": meta("testserviceaccount", labels=label)})
            assert "automountServiceAccountToken" not in made
            await watch.expect("ADDED")
            patch = {"automountServiceAccountToken": False}
            await api.patch("testserviceaccount", patch, "strategic")
            seen = await watch.expect("MODIFIED")
            assert seen["automountServiceAccountToken"] is False
            found = await api.everywhere("test-serviceaccount-static=true")
            assert names(found) == ["testserviceaccount"]
            updated = await api.change(
                "testserviceaccount", lambda o: o.update(automountServiceAccountToken=True)
            )
            assert updated["automountServiceAccountToken"] is True
            await api.delete_all("test-serviceaccount-static=true")
            await watch.expect("DELETED")

    run(scenario)


@pytest.mark.conformance(
    "[sig-auth] ServiceAccounts ServiceAccountIssuerDiscovery should support OIDC discovery of service"
    " account issuer [Conformance]"
)
def test_tokens_can_be_checked_by_anybody() -> None:
    """A pod's own account may read the issuer's documents, whose keys verify its token."""

    async def scenario(kube: Kube) -> None:
        import json

        from joserfc import jwt
        from joserfc.jwk import KeySet

        pods = kube.of(PODS)
        made = await pods.create(pod("p"))
        (volume,) = made["spec"]["volumes"]
        sources = volume["projected"]["sources"]
        assert sources[0]["serviceAccountToken"] == {"expirationSeconds": 3607, "path": "token"}
        assert sources[1]["configMap"]["name"] == "kube-root-ca.crt"
        assert sources[2]["downwardAPI"]["items"][0]["path"] == "namespace"
        answer = await kube.ok(
            "POST",
            kube.of(SERVICEACCOUNTS).path("default", "token"),
            {
                "spec": {
                    "audiences": ["oidc-discovery-test"],
                    "expirationSeconds": 3600,
                    "boundObjectRef": {
                        "kind": "Pod", "apiVersion": "v1", "name": "p", "uid": made["metadata"]["uid"],
                    },
                }
            },
        )  # fmt: skip
        token = answer["status"]["token"]
        account = kube.as_user(
            "system:serviceaccount:test:default",
            "system:serviceaccounts",
            "system:serviceaccounts:test",
            "system:authenticated",
        )
        document = await account.get("/.well-known/openid-configuration")
        assert document["response_types_supported"] == ["id_token"]
        assert document["subject_types_supported"] == ["public"]
        keys = await account.call("GET", "/openid/v1/jwks")
        assert keys.headers["content-type"] == "application/jwk-set+json"
        decoded = jwt.decode(
            token,
            KeySet.import_key_set(json.loads(keys.body)),
            algorithms=document["id_token_signing_alg_values_supported"],
        )
        claims = decoded.claims
        assert claims["iss"] == document["issuer"]
        assert claims["aud"] == ["oidc-discovery-test"]
        assert claims["sub"] == "system:serviceaccount:test:default"
        bound = claims["kubernetes.io"]
        assert bound["pod"] == {"name": "p", "uid": made["metadata"]["uid"]}
        assert bound["serviceaccount"]["name"] == "default"

    run(scenario)
