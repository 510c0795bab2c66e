"""The loops: approved requests are issued, old ones are deleted.

Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""

import base64
import binascii
import contextlib
import logging
from typing import ClassVar, Final

from skiff.aio.clock import rfc3339
from skiff.api.errors import Conflict, NotFound
from skiff.api.resources import CERTIFICATESIGNINGREQUESTS
from skiff.api.views.certificates import CertificateSigningRequest
from skiff.client.client import Object
from skiff.client.reconciler import Key, Reconciler, Result
from skiff.controllers.certificates import plan
from skiff.controllers.certificates.authority import Authority, not_after, read_request
from skiff.controllers.context import Context

LOOK_S: Final = 3600.0
"""How long a request that stays is left alone at most."""

log = logging.getLogger(__name__)


class CertificateSigner(Reconciler):
    """Keys are requests. Issues for Kubernetes' own signers, with the cluster's CA."""

    name: ClassVar[str] = "certificate-signing"

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._client = context.client
        self._clock = context.clock
        self._authority = context.options.signing_authority
        self._most_s = context.options.signing_duration_s
        if self._authority is not None:
            self._requests = context.informers.of(CertificateSigningRequest)
            self.follow(
                self._requests, lambda r: (Key("", r.metadata.name),) if plan.due(r) else ()
            )

    async def reconcile(self, key: Key) -> Result | None:
        """Issue it, or say why not."""
        csr = self._requests.get(key.name)
        if csr is None or not plan.due(csr):
            return None
        assert self._authority is not None
        try:
            certificate, problem = self._issue(self._authority, csr)
        except (ValueError, binascii.Error) as e:
            log.warning("certificate signing request %s cannot be issued: %s", key.name, e)
            return None

        def answered(current: Object) -> Object | None:
            status = dict(current.get("status") or {})
            if status.get("certificate") or current["spec"]["request"] != csr.spec.request:
                return None
            if problem:
                conditions = list(status.get("conditions") or ())
                if any(c["type"] == "Failed" for c in conditions):
                    return None
                status["conditions"] = [*conditions, self._failed(problem)]
            else:
                status["certificate"] = certificate
            return {**current, "status": status}

        with contextlib.suppress(NotFound):
            await self._client.update(
                CERTIFICATESIGNINGREQUESTS, key.name, "", answered, subresource="status"
            )
        return None

    def _issue(self, authority: Authority, csr: CertificateSigningRequest) -> tuple[str, str]:
        """The certificate (PEM in base64), or what is wrong with the request."""
        pem = base64.b64decode(csr.spec.request)
        request = read_request(pem)
        problem = plan.fault(request, csr.spec.usages, csr.spec.signer_name)
        if problem:
            return "", problem
        lifetime_s = plan.lifetime_s(csr.spec.expiration_seconds, self._most_s)
        made = authority.sign(pem, csr.spec.usages, lifetime_s, self._clock.now())
        return base64.b64encode(made).decode(), ""

    def _failed(self, problem: str) -> Object:
        now = rfc3339(self._clock.now())
        return {
            "type": "Failed",
            "status": "True",
            "reason": "SignerValidationFailure",
            "message": problem,
            "lastUpdateTime": now,
            "lastTransitionTime": now,
        }


class CertificateCleaner(Reconciler):
    """Keys are requests. Deletes those that were decided, or that nobody decided, some time ago, and
    those whose certificates ended."""

    name: ClassVar[str] = "certificate-cleaner"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=1)
        self._client = context.client
        self._clock = context.clock
        self._requests = context.informers.of(CertificateSigningRequest)
        self.follow(self._requests)

    async def reconcile(self, key: Key) -> Result | None:
        """Delete it, or look again when its time has come."""
        csr = self._requests.get(key.name)
        if csr is None or csr.metadata.deletion_timestamp:
            return None
        ends = None
        if csr.status.certificate:
            with contextlib.suppress(ValueError, binascii.Error):
                ends = not_after(base64.b64decode(csr.status.certificate))
        wait_s = plan.goes_at(csr, ends) - self._clock.now()
        if wait_s > 0:
            return Result(min(wait_s, LOOK_S))
        with contextlib.suppress(NotFound, Conflict):
            await self._client.delete(CERTIFICATESIGNINGREQUESTS, key.name, uid=csr.metadata.uid)
        return None
