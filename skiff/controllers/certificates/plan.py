"""What is decided about certificate signing requests: what each signer issues, for how long, and when
a request goes. Pure.

Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers
and #request-signing-process.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from skiff.aio.clock import parse_rfc3339
from skiff.api.views.certificates import CertificateSigningRequest

CLIENT: Final = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT: Final = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING: Final = "kubernetes.io/kubelet-serving"
LEGACY: Final = "kubernetes.io/legacy-unknown"
SIGNERS: Final = (CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY)

DECISIONS: Final = ("Approved", "Denied")

LEAST_S: Final = 600.0
"""The shortest time that a certificate is issued for."""

PENDING_S: Final = 24 * 3600.0
"""How long a request waits for its decision."""
DECIDED_S: Final = 3600.0
"""How long one stays that was issued, denied, or failed."""

_NODES: Final = "system:nodes"
_NODE: Final = "system:node:"
_CLIENT_USAGES: Final = ("client auth", "digital signature", "key encipherment")
_SERVER_USAGES: Final = ("digital signature", "key encipherment", "server auth")


@dataclass(frozen=True, slots=True)
class Request:
    """What is in the request itself."""

    common_name: str = ""
    organizations: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()


def is_true(csr: CertificateSigningRequest, kind: str) -> bool:
    """Whether a condition holds; decisions hold by being there."""
    return any(c.type == kind and c.status != "False" for c in csr.status.conditions)


def approvable(csr: CertificateSigningRequest) -> bool:
    """Whether it is of the kind that is approved without asking anybody, and not decided yet."""
    return (
        csr.spec.signer_name == KUBELET_CLIENT
        and not csr.status.certificate
        and not any(c.type in DECISIONS for c in csr.status.conditions)
    )


def permissions(csr: CertificateSigningRequest, request: Request) -> tuple[str, ...]:
    """Each of these subresources of requests, if its author may create it, lets a kubelet's request
    be approved; none for what is no kubelet's."""
    if _kubelet_client_fault(request, csr.spec.usages):
        return ()
    if csr.spec.username == request.common_name:
        return ("selfnodeclient", "nodeclient")
    return ("nodeclient",)


def due(csr: CertificateSigningRequest) -> bool:
    """Whether it is ours to issue, now."""
    return (
        csr.spec.signer_name in SIGNERS
        and not csr.status.certificate
        and is_true(csr, "Approved")
        and not is_true(csr, "Denied")
        and not is_true(csr, "Failed")
    )


def fault(request: Request, usages: Sequence[str], signer: str) -> str:
    """Why the signer does not issue this; empty where it does."""
    if signer == CLIENT:
        for usage in usages:
            if usage not in _CLIENT_USAGES:
                return f"invalid usage for client certificate: {usage}"
        if "client auth" not in usages:
            return "missing required usage for client certificate: client auth"
    elif signer == KUBELET_CLIENT:
        return _kubelet_client_fault(request, usages)
    elif signer == KUBELET_SERVING:
        return _kubelet_serving_fault(request, usages)
    return ""


def _kubelet_client_fault(request: Request, usages: Collection[str]) -> str:
    if request.organizations != (_NODES,):
        return "subject organization is not system:nodes"
    for names, what in (
        (request.dns_names, "DNS"),
        (request.emails, "Email"),
        (request.addresses, "IP"),
        (request.uris, "URI"),
    ):
        if names:
            return f"{what} subjectAltNames are not allowed"
    if problem := _common_name_fault(request):
        return problem
    if not _are(usages, "client auth"):
        return f"usages did not match [{' '.join(_CLIENT_USAGES)}]"
    return ""


def _kubelet_serving_fault(request: Request, usages: Collection[str]) -> str:
    if request.organizations != (_NODES,):
        return "subject organization is not system:nodes"
    if not request.dns_names and not request.addresses:
        return "DNS or IP subjectAltName is required"
    for names, what in ((request.emails, "Email"), (request.uris, "URI")):
        if names:
            return f"{what} subjectAltNames are not allowed"
    if not _are(usages, "server auth"):
        return f"usages did not match [{' '.join(_SERVER_USAGES)}]"
    return _common_name_fault(request)


def _are(usages: Collection[str], purpose: str) -> bool:
    """The purpose and digital signatures; key encipherment, which RSA keys need, may be there too."""
    return set(usages) | {"key encipherment"} == {"digital signature", "key encipherment", purpose}


def _common_name_fault(request: Request) -> str:
    if request.common_name.startswith(_NODE):
        return ""
    return f"subject common name does not begin with {_NODE}"


def lifetime_s(asked_s: int | None, most_s: float) -> float:
    """For how long a certificate is issued: as asked, between ten minutes and the signer's own."""
    if asked_s is None:
        return most_s
    return min(max(float(asked_s), LEAST_S), most_s)


def goes_at(csr: CertificateSigningRequest, ends: float | None) -> float:
    """When the request is deleted. `ends` is the end of its certificate, where it has one."""
    at = [float("inf") if ends is None else ends]
    decided = [c for c in csr.status.conditions if c.type in ("Approved", "Denied", "Failed")]
    if not decided:
        at.append(parse_rfc3339(csr.metadata.creation_timestamp) + PENDING_S)
    for condition in decided:
        changed = condition.last_update_time or condition.last_transition_time
        if changed and (condition.type != "Approved" or csr.status.certificate):
            at.append(parse_rfc3339(changed) + DECIDED_S)
    return min(at)
