"""Who sent a request: the order in which credentials are looked at.

In-process identity, then the client certificate, then the bearer token (static tokens, service
accounts, bootstrap tokens), then nobody (`system:anonymous`). The first that knows the user wins; a
bearer token or a certificate that nobody believes is an error even where anonymous requests are allowed
(https://kubernetes.io/docs/reference/access-authn-authz/authentication/).

A certificate is read once a connection; what was read is kept in the connection's state. A static
token costs one dict look-up, a service account's token see `tokens.py`.
"""

import base64
import binascii
import hashlib
import ssl
from collections.abc import Mapping
from typing import Any

from skiff.aio.clock import Clock
from skiff.aio.http.client_checks import believed
from skiff.aio.http.message import Peer, Request
from skiff.api.errors import Unauthorized
from skiff.server.authn.bootstrap_tokens import BootstrapTokens
from skiff.server.authn.jwt import BadTokenError
from skiff.server.authn.tokens import ServiceAccountTokens
from skiff.server.seams import User

ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
AUTHENTICATED = "system:authenticated"

_CONNECTION_USER = "authn.user"
_BAD_CERTIFICATE = "authn.bad-certificate"
_CREDENTIAL = "authentication.kubernetes.io/credential-id"
_UID = "1.3.6.1.4.1.57683.2"
"""The subject's attribute that is the user's uid."""
_PROTOCOL_PREFIX = "base64url.bearer.authorization.k8s.io."


class AuthenticationChain:
    """The server's `Authenticator`."""

    def __init__(
        self,
        clock: Clock,
        *,
        static_tokens: Mapping[str, User] | None = None,
        service_accounts: ServiceAccountTokens | None = None,
        bootstrap_tokens: BootstrapTokens | None = None,
        anonymous: bool = True,
    ) -> None:
        self._clock = clock
        self._static = static_tokens or {}
        self._service_accounts = service_accounts
        self._bootstrap = bootstrap_tokens
        self._anonymous = anonymous

    def __call__(self, request: Request) -> User:
        """The user. Raises Unauthorized."""
        user = self._of_connection(request.peer)
        if user is not None:
            return user
        token = _bearer_token(request.headers)
        if token:
            return self.of_token(token)
        if self._anonymous and _BAD_CERTIFICATE not in request.peer.state:
            return ANONYMOUS
        raise Unauthorized("Unauthorized")

    def of_token(self, token: str, audiences: frozenset[str] | None = None) -> User:
        """The user of a bearer token. Raises Unauthorized."""
        return self.review_token(token, audiences)[0]

    def review_token(
        self, token: str, audiences: frozenset[str] | None = None
    ) -> tuple[User, frozenset[str]]:
        """As `of_token`, with those of `audiences` that the token is for; static and bootstrap
        tokens are for the server's own. Raises Unauthorized with the reason in its cause."""
        accounts = self._service_accounts
        if accounts is None or not accounts.recall(token):
            user = self._static.get(token)
            if user is None and self._bootstrap is not None:
                user = self._bootstrap.authenticate(token)
            if user is not None:
                return user, self._own_audiences(audiences)
            if accounts is None or not accounts.claimed(token):
                raise Unauthorized("Unauthorized")
        try:
            return accounts.authenticate(token, audiences)
        except BadTokenError as e:
            raise Unauthorized("Unauthorized") from e

    def _own_audiences(self, wanted: frozenset[str] | None) -> frozenset[str]:
        """Those of the wanted audiences that are the server's. Raises Unauthorized if none is."""
        own = self._service_accounts.audiences if self._service_accounts else frozenset[str]()
        if wanted is None:
            return own
        if not wanted & own:
            raise Unauthorized("Unauthorized")
        return wanted & own

    def _of_connection(self, peer: Peer) -> User | None:
        """The user that the connection itself shows; cached in its state."""
        state = peer.state
        if _CONNECTION_USER in state:
            known = state[_CONNECTION_USER]
            if known is None:
                return None
            assert isinstance(known, tuple)
            user, expires = known
            if self._clock.now() > expires:
                raise Unauthorized("Unauthorized")
            assert isinstance(user, User)
            return user
        found: tuple[User, float] | None = None
        if peer.local and "user" in state:
            found = _in_process(state["user"]), float("inf")
        elif peer.tls is not None:
            try:
                found = _of_certificate(peer.tls, peer.certificate)
            except _BadCertificateError:
                state[_BAD_CERTIFICATE] = True
        state[_CONNECTION_USER] = found
        return found[0] if found else None


def _in_process(identity: object) -> User:
    """The identity that the in-process transport was given: a User, or (name, groups)."""
    if isinstance(identity, User):
        return identity
    assert isinstance(identity, tuple)
    name, groups = identity
    if name == ANONYMOUS.name:
        return ANONYMOUS
    return User(name, (*groups, *(() if AUTHENTICATED in groups else (AUTHENTICATED,))))


class _BadCertificateError(Exception):
    """A certificate that is no credential."""


def _of_certificate(tls: ssl.SSLObject, der: bytes | None) -> tuple[User, float] | None:
    """User and end of the client certificate (`der`); None where there is none."""
    if not believed(tls):
        raise _BadCertificateError
    certificate: Mapping[str, Any] | None = tls.getpeercert()
    if not certificate:
        return None
    found: dict[str, list[str]] = {}
    for part in certificate.get("subject", ()):
        for attribute, value in part:
            found.setdefault(attribute, []).append(value)
    names, uids = found.get("commonName"), found.get(_UID, [])
    if not names:
        return None
    if len(uids) > 1:
        raise _BadCertificateError
    extra = {}
    if der is not None:
        extra[_CREDENTIAL] = (f"X509SHA256={hashlib.sha256(der).hexdigest()}",)
    groups = (*found.get("organizationName", ()), AUTHENTICATED)
    user = User(names[-1], groups, uids[0] if uids else "", extra)
    return user, ssl.cert_time_to_seconds(certificate["notAfter"])


def _bearer_token(headers: Mapping[str, str]) -> str:
    """The token of the Authorization header, or of a WebSocket's sub-protocols (browsers cannot
    set headers there); empty where there is none."""
    value = headers.get("authorization")
    if value:
        scheme, _, token = value.strip().partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""
    protocols = headers.get("sec-websocket-protocol")
    if protocols and _PROTOCOL_PREFIX in protocols:
        for protocol in protocols.split(","):
            encoded = protocol.strip()
            if encoded.startswith(_PROTOCOL_PREFIX):
                encoded = encoded[len(_PROTOCOL_PREFIX) :]
                try:
                    padded = encoded + "=" * (-len(encoded) % 4)
                    return base64.urlsafe_b64decode(padded).decode()
                except (binascii.Error, UnicodeDecodeError) as e:
                    raise Unauthorized("Unauthorized") from e
    return ""
