"""Rules on certificate signing requests: who approves, who signs, and nobody becomes a master.

Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/.
"""

import base64
import binascii

from skiff.api.resources import CERTIFICATESIGNINGREQUESTS, Resource
from skiff.server.admission.rule import CREATE, UPDATE, Object, Rule, refuse
from skiff.server.request import RequestInfo
from skiff.server.seams import Attributes, Authorizer, User

GROUP = CERTIFICATESIGNINGREQUESTS.group
_CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
_MASTERS = "system:masters"


def _is_request(resource: Resource) -> bool:
    return (resource.group, resource.plural) == (GROUP, CERTIFICATESIGNINGREQUESTS.plural)


class CertificateRequester(Rule):
    """A request says who made it: the signer decides by that, so it is never the client's word."""

    name = "CertificateRequester"

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        return _is_request(resource) and operation == CREATE and not subresource

    def admit(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        spec, user = obj.setdefault("spec", {}), attributes.user
        for name in ("username", "uid", "groups", "extra"):
            spec.pop(name, None)
        spec["username"] = user.name
        if user.uid:
            spec["uid"] = user.uid
        if user.groups:
            spec["groups"] = list(user.groups)
        if user.extra:
            spec["extra"] = {key: list(values) for key, values in user.extra.items()}


class _ForSigner(Rule):
    """Asks whether the user has a verb on the signer, by name or for its whole domain."""

    verb = ""
    subresource = ""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        return _is_request(resource) and operation == UPDATE and subresource == self.subresource

    def _may(self, user: User, signer: str) -> bool:
        domain = signer.partition("/")[0]
        return any(
            self._authorizer.allowed(
                user, RequestInfo.of_resource(self.verb, GROUP, "*", "signers", name=name)
            ).allowed
            for name in (signer, f"{domain}/*")
        )

    def _check(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        signer = ((old or obj).get("spec") or {}).get("signerName", "")
        if not self._may(attributes.user, signer):
            raise refuse(
                attributes,
                obj,
                f'user not permitted to {self.verb} requests with signerName "{signer}"',
            )


class CertificateApproval(_ForSigner):
    """Approving or denying needs `approve` on the signer."""

    name = "CertificateApproval"
    verb = "approve"
    subresource = "approval"

    def validate(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        self._check(attributes, obj, old)


class CertificateSigning(_ForSigner):
    """Issuing needs `sign` on the signer."""

    name = "CertificateSigning"
    verb = "sign"
    subresource = "status"

    def validate(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        before, after = (old or {}).get("status") or {}, obj.get("status") or {}
        if before.get("certificate") == after.get("certificate") and _failures(before) == _failures(
            after
        ):
            return
        self._check(attributes, obj, old)


def _failures(status: dict[str, object]) -> list[object]:
    conditions = status.get("conditions") or []
    assert isinstance(conditions, list)
    return [c for c in conditions if c.get("type") == "Failed"]


class CertificateSubjectRestriction(Rule):
    """No client certificate is asked for the group system:masters."""

    name = "CertificateSubjectRestriction"

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        return _is_request(resource) and operation == CREATE and not subresource

    def validate(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        spec = obj.get("spec") or {}
        if spec.get("signerName") != _CLIENT_SIGNER:
            return
        if _MASTERS in _organizations(str(spec.get("request", ""))):
            text = f"use of {_CLIENT_SIGNER} signer with system:masters group is not allowed"
            raise refuse(attributes, obj, text)


def _organizations(request: str) -> list[str]:
    """The subject's organizations of a request (PEM in base64); none where it cannot be read:
    validation says so."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        parsed = x509.load_pem_x509_csr(base64.b64decode(request))
    except (ValueError, binascii.Error):
        return []
    attributes = parsed.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return [str(a.value) for a in attributes]
