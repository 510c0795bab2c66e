"""The loop that approves what nodes ask for: kubelets' client certificates, as far as RBAC lets them.

Source: https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/#approval
"""

import base64
import binascii
import contextlib
import logging
from typing import Any, ClassVar, Final

from skiff.aio.clock import rfc3339
from skiff.api.errors import NotFound
from skiff.api.resources import CERTIFICATESIGNINGREQUESTS, SUBJECTACCESSREVIEWS
from skiff.api.views.base import as_json
from skiff.api.views.certificates import CertificateSigningRequest
from skiff.client.client import Object
from skiff.client.reconciler import Key, Reconciler, Result
from skiff.controllers.certificates import plan
from skiff.controllers.certificates.authority import read_request
from skiff.controllers.context import Context

AGAIN_S: Final = 60.0
"""How long until a request that its author may not make is looked at anew: roles change."""

_MESSAGES: Final = {
    "selfnodeclient": "Auto approving self kubelet client certificate after SubjectAccessReview.",
    "nodeclient": "Auto approving kubelet client certificate after SubjectAccessReview.",
}

log = logging.getLogger(__name__)


class CertificateApprover(Reconciler):
    """Keys are requests."""

    name: ClassVar[str] = "certificate-approving"

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._client = context.client
        self._clock = context.clock
        self._requests = context.informers.of(CertificateSigningRequest)
        self.follow(
            self._requests, lambda r: (Key("", r.metadata.name),) if plan.approvable(r) else ()
        )

    async def reconcile(self, key: Key) -> Result | None:
        """Approve it, if it is a kubelet's and its author may ask for it."""
        csr = self._requests.get(key.name)
        if csr is None or not plan.approvable(csr):
            return None
        try:
            request = read_request(base64.b64decode(csr.spec.request))
        except (ValueError, binascii.Error) as e:
            log.warning("certificate signing request %s cannot be read: %s", key.name, e)
            return None
        permissions = plan.permissions(csr, request)
        for permission in permissions:
            if await self._may(csr, permission):
                await self._approve(key.name, _MESSAGES[permission])
                return None
        return Result(AGAIN_S) if permissions else None

    async def _may(self, csr: CertificateSigningRequest, permission: str) -> bool:
        spec = csr.spec
        asked: dict[str, Any] = {
            "user": spec.username,
            "uid": spec.uid,
            "groups": spec.groups,
            "extra": as_json(spec.extra),
            "resourceAttributes": {
                "group": CERTIFICATESIGNINGREQUESTS.group,
                "resource": CERTIFICATESIGNINGREQUESTS.plural,
                "subresource": permission,
                "verb": "create",
            },
        }
        review = {
            "apiVersion": SUBJECTACCESSREVIEWS.api_version,
            "kind": SUBJECTACCESSREVIEWS.kind,
            "spec": {k: v for k, v in asked.items() if v},
        }
        answer = await self._client.create(SUBJECTACCESSREVIEWS, review)
        return bool(answer["status"]["allowed"])

    async def _approve(self, name: str, message: str) -> None:
        now = rfc3339(self._clock.now())
        approved = {
            "type": "Approved",
            "status": "True",
            "reason": "AutoApproved",
            "message": message,
            "lastUpdateTime": now,
            "lastTransitionTime": now,
        }

        def decided(current: Object) -> Object | None:
            status = dict(current.get("status") or {})
            conditions = list(status.get("conditions") or ())
            if any(c["type"] in plan.DECISIONS for c in conditions):
                return None
            status["conditions"] = [*conditions, approved]
            return {**current, "status": status}

        with contextlib.suppress(NotFound):
            await self._client.update(
                CERTIFICATESIGNINGREQUESTS, name, "", decided, subresource="approval"
            )
