"""Bootstrap tokens: `<id>.<secret>`, kept in Secrets of kube-system, for machines that join.

Source: https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from typing import Any

from skiff.aio.clock import Clock, parse_rfc3339
from skiff.api.resources import SECRETS
from skiff.server.seams import Objects, User

SECRET_TYPE = "bootstrap.kubernetes.io/token"  # noqa: S105 - a type's name
DEFAULT_GROUP = "system:bootstrappers"

_TOKEN = re.compile(r"^([a-z0-9]{6})\.([a-z0-9]{16})$")
_GROUP = re.compile(r"^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$")


class BootstrapTokens:
    """Believes bootstrap tokens whose Secret says that they are for authentication."""

    def __init__(self, objects: Objects, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock

    def authenticate(self, token: str) -> User | None:
        """The user of a token, or None where it is no (valid) bootstrap token."""
        match = _TOKEN.match(token)
        if match is None:
            return None
        token_id, token_secret = match.groups()
        secret = self._objects.get(SECRETS, f"bootstrap-token-{token_id}", "kube-system")
        if secret is None or secret.get("type") != SECRET_TYPE:
            return None
        if secret["metadata"].get("deletionTimestamp"):
            return None
        data = secret.get("data") or {}
        same = hmac.compare_digest(_text(data, "token-secret"), token_secret)
        if not same or _text(data, "token-id") != token_id:
            return None
        if _text(data, "usage-bootstrap-authentication") != "true" or self._expired(data):
            return None
        extra = [g for g in _text(data, "auth-extra-groups").split(",") if g]
        if not all(_GROUP.match(g) for g in extra):
            return None
        groups = (DEFAULT_GROUP, *extra, "system:authenticated")
        return User(f"system:bootstrap:{token_id}", groups)

    def _expired(self, data: Mapping[str, Any]) -> bool:
        expiration = _text(data, "expiration")
        if not expiration:
            return False
        try:
            return parse_rfc3339(expiration) <= self._clock.now()
        except ValueError:
            return True


def _text(data: Mapping[str, Any], key: str) -> str:
    try:
        return base64.b64decode(data.get(key) or "").decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
