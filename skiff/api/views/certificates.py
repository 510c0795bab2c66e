# ruff: noqa: RUF012 - msgspec makes a new dict of an empty default for each struct
"""Views of the API group certificates.k8s.io/v1.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from typing import ClassVar

from skiff.api.resources import RESOURCES, Resource
from skiff.api.views.base import View
from skiff.api.views.meta import ObjectMeta


class CertificateSigningRequestCondition(View, frozen=True, kw_only=True):
    last_transition_time: str = ""
    last_update_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class CertificateSigningRequestSpec(View, frozen=True, kw_only=True):
    expiration_seconds: int | None = None
    extra: dict[str, tuple[str, ...]] = {}
    groups: tuple[str, ...] = ()
    request: str = ""
    signer_name: str = ""
    uid: str = ""
    usages: tuple[str, ...] = ()
    username: str = ""


class CertificateSigningRequestStatus(View, frozen=True, kw_only=True):
    certificate: str = ""
    conditions: tuple[CertificateSigningRequestCondition, ...] = ()


class CertificateSigningRequest(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES[
        "certificates.k8s.io", "v1", "certificatesigningrequests"
    ]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: CertificateSigningRequestSpec = CertificateSigningRequestSpec()
    status: CertificateSigningRequestStatus = CertificateSigningRequestStatus()
