"""Service account tokens of pods: asked for with TokenRequest, kept, and renewed in time.

A token is renewed once 80 % of its life, or a day, has passed. One that cannot be renewed is used
until it expires.

Source: https://kubernetes.io/docs/concepts/storage/projected-volumes/#serviceaccounttoken
"""

from dataclasses import dataclass
from typing import Any

from skiff.aio.clock import Clock, parse_rfc3339
from skiff.aio.entropy import Entropy
from skiff.api.errors import ApiError
from skiff.api.resources import SERVICEACCOUNTS
from skiff.api.views.core import Pod, ServiceAccountTokenProjection
from skiff.client.client import Client
from skiff.node.volumes.model import VolumeError

DEFAULT_EXPIRATION_S = 3600
RENEW_AT = 0.8
MAX_AGE_S = 24 * 3600.0
JITTER_S = 10.0


@dataclass(frozen=True, slots=True)
class Token:
    """A token and when to renew it (Unix seconds)."""

    token: str
    renew_at: float
    expires_at: float


_Key = tuple[str, str, str, int]


class Tokens:
    """Tokens by pod, audience and life."""

    def __init__(self, client: Client, clock: Clock, entropy: Entropy) -> None:
        self._client = client
        self._clock = clock
        self._entropy = entropy
        self._known: dict[_Key, Token] = {}

    async def get(self, pod: Pod, source: ServiceAccountTokenProjection) -> Token:
        """A token that is good now. Raises VolumeError."""
        account = pod.spec.service_account_name or "default"
        life_s = source.expiration_seconds or DEFAULT_EXPIRATION_S
        key = (pod.metadata.uid, account, source.audience, life_s)
        known = self._known.get(key)
        now = self._clock.now()
        if known is not None and now < known.renew_at:
            return known
        try:
            token = await self._request(pod, account, source.audience, life_s)
        except (ApiError, ConnectionError, TimeoutError) as e:
            if known is not None and now < known.expires_at:
                return known
            raise VolumeError(f"failed to fetch token: {e}") from e
        self._known[key] = token
        return token

    def forget(self, uid: str) -> None:
        """A pod is gone."""
        for key in [k for k in self._known if k[0] == uid]:
            del self._known[key]

    def next_renewal(self) -> tuple[float, set[str]]:
        """When the next tokens are to be renewed, and whose pods those due now are."""
        now = self._clock.now()
        due = {k[0] for k, t in self._known.items() if t.renew_at <= now}
        times = [t.renew_at for t in self._known.values() if t.renew_at > now]
        return min(times, default=now + MAX_AGE_S), due

    async def _request(self, pod: Pod, account: str, audience: str, life_s: int) -> Token:
        request: dict[str, Any] = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {},
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": life_s,
                "boundObjectRef": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": pod.metadata.name,
                    "uid": pod.metadata.uid,
                },
            },
        }
        answer = await self._client.create(
            SERVICEACCOUNTS, request, pod.metadata.namespace, subresource="token", name=account
        )
        status = answer["status"]
        now = self._clock.now()
        expires_at = parse_rfc3339(status["expirationTimestamp"])
        life = max(expires_at - now, 1.0)
        jitter = self._entropy.random.random() * min(JITTER_S, life / 10)
        return Token(status["token"], now + min(life * RENEW_AT, MAX_AGE_S) - jitter, expires_at)
