"""Certificate signing requests that nobody needs to approve: kubelets' own."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from skiff.api.resources import CERTIFICATESIGNINGREQUESTS as REQUESTS
from skiff.api.resources import CLUSTERROLEBINDINGS
from skiff.api.views.certificates import CertificateSigningRequest, CertificateSigningRequestSpec
from skiff.client.client import Client
from skiff.client.transport import LocalTransport
from skiff.controllers.certificates import plan
from skiff.controllers.certificates.plan import Request
from tests.controllers.world import Object, World, run

USAGES = ("digital signature", "client auth")
GROUP = "rbac.authorization.k8s.io"


def request_of(node: str, signer: str = plan.KUBELET_CLIENT) -> Object:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{node}"),
        ]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    made = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": node},
        "spec": {
            "request": base64.b64encode(made.public_bytes(Encoding.PEM)).decode(),
            "signerName": signer,
            "usages": list(USAGES),
        },
    }


def acting(world: World, user: str, *groups: str) -> Client:
    transport = LocalTransport(world.server.handle, user, [*groups, "system:authenticated"])
    return Client(transport, world.clock, world.client.entropy, "test/1")


async def allow(world: World, role: str, group: str) -> None:
    subject = {"apiGroup": GROUP, "kind": "Group", "name": group}
    await world.client.create(
        CLUSTERROLEBINDINGS,
        {
            "apiVersion": f"{GROUP}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": role.rpartition(":")[2]},
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
            "subjects": [subject],
        },
    )


async def conditions(world: World, name: str) -> list[Object]:
    found = await world.client.get(REQUESTS, name)
    return found.get("status", {}).get("conditions", [])


def test_a_bootstrapping_kubelet_is_approved_once_its_group_may_ask() -> None:
    async def test(world: World) -> None:
        role = "system:certificates.k8s.io:certificatesigningrequests:nodeclient"
        await allow(world, "system:node-bootstrapper", "system:bootstrappers")
        joining = acting(world, "system:bootstrap:abcdef", "system:bootstrappers")
        await joining.create(REQUESTS, request_of("a"))
        await world.clock.sleep(30)
        assert await conditions(world, "a") == []
        await allow(world, role, "system:bootstrappers")
        (condition,) = await world.until(lambda: conditions(world, "a"), 300)
        assert condition["type"] == "Approved"
        assert condition["reason"] == "AutoApproved"
        assert condition["message"] == (
            "Auto approving kubelet client certificate after SubjectAccessReview."
        )

    run(test)


def test_a_node_renews_its_own_certificate_and_no_others() -> None:
    async def test(world: World) -> None:
        role = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"
        await allow(world, role, "system:nodes")
        node = acting(world, "system:node:a", "system:nodes")
        await node.create(REQUESTS, request_of("b"))
        await node.create(REQUESTS, request_of("a"))
        (condition,) = await world.until(lambda: conditions(world, "a"))
        assert condition["message"] == (
            "Auto approving self kubelet client certificate after SubjectAccessReview."
        )
        await world.clock.sleep(150)
        assert await conditions(world, "b") == []

    run(test)


def test_people_decide_about_all_others() -> None:
    async def test(world: World) -> None:
        await world.client.create(REQUESTS, request_of("a", plan.CLIENT))
        await world.clock.sleep(150)
        assert await conditions(world, "a") == []

    run(test)


KUBELET = Request(common_name="system:node:a", organizations=("system:nodes",))


@pytest.mark.parametrize(
    ("username", "request_", "expected"),
    [
        ("system:node:a", KUBELET, ("selfnodeclient", "nodeclient")),
        ("somebody", KUBELET, ("nodeclient",)),
        ("jane", Request(common_name="jane", organizations=("system:nodes",)), ()),
        ("x", Request(common_name="system:node:a"), ()),
    ],
)
def test_what_a_request_needs(username: str, request_: Request, expected: tuple[str, ...]) -> None:
    spec = CertificateSigningRequestSpec(username=username, usages=USAGES)
    assert plan.permissions(CertificateSigningRequest(spec=spec), request_) == expected
