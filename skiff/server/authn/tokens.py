"""Service account tokens: what they say, issuing them, and believing them.

Issuing (`Issuer`) and believing (`ServiceAccountTokens`) follow
https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/ and KEP-1205: a
token is bound to its service account and, where asked, to a pod, secret or node; it is worth
something only while those exist with the same uid.

Believing is cached: a token seen before costs one dict look-up, a time comparison and an identity
check of the bound objects' stored bytes; only when one of those was written is it looked into.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from skiff.aio.clock import Clock, parse_rfc3339
from skiff.api.resources import NODES, PODS, SECRETS, SERVICEACCOUNTS, Resource
from skiff.server.authn.jwt import BadTokenError, Signer, VerifyingKey, unverified_claims, verify
from skiff.server.seams import Objects, User

DEFAULT_ISSUER = "https://kubernetes.default.svc.cluster.local"
LEGACY_ISSUER = "kubernetes/serviceaccount"
_LEGACY_CLAIM = "kubernetes.io/serviceaccount/"
# A projected token of exactly this length may be extended: see `Issuer.issue`.
WARN_ONLY_LIFETIME_S = 3607
EXTENDED_LIFETIME_S = 365 * 24 * 3600
# Clocks may differ by this much; an object being deleted keeps its tokens for as long.
LEEWAY_S = 60.0
CACHE_TOKENS = 4096

SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"
ALL_SERVICE_ACCOUNTS = "system:serviceaccounts"
_NAMESPACE_GROUP_PREFIX = "system:serviceaccounts:"
_EXTRA = "authentication.kubernetes.io/"


def service_account_name(namespace: str, name: str) -> str:
    """The user name of a service account."""
    return f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"


def split_service_account(user_name: str) -> tuple[str, str] | None:
    """Namespace and name of a service account's user name; None where it is not one."""
    if not user_name.startswith(SERVICE_ACCOUNT_PREFIX):
        return None
    namespace, sep, name = user_name[len(SERVICE_ACCOUNT_PREFIX) :].partition(":")
    return (namespace, name) if sep and namespace and name and ":" not in name else None


def service_account_groups(namespace: str) -> tuple[str, ...]:
    """The groups that every service account of a namespace is in."""
    return (ALL_SERVICE_ACCOUNTS, _NAMESPACE_GROUP_PREFIX + namespace)


@dataclass(frozen=True, slots=True)
class Binding:
    """The object that a token lives and dies with."""

    resource: Resource
    namespace: str
    name: str
    uid: str
    token: str = ""
    """What the object, a Secret, has to hold, where it is the token's own."""


class Issuer:
    """Makes tokens. `audiences` are the server's own."""

    def __init__(
        self,
        signer: Signer,
        clock: Clock,
        issuer: str,
        audiences: Sequence[str],
        uid: Callable[[], str],
    ) -> None:
        self._signer = signer
        self._clock = clock
        self._issuer = issuer
        self._audiences = tuple(audiences)
        self._uid = uid

    def issue(
        self,
        account: Mapping[str, Any],
        *,
        audiences: Sequence[str],
        lifetime_s: int,
        pod: Mapping[str, Any] | None = None,
        secret: Mapping[str, Any] | None = None,
        node: Mapping[str, Any] | None = None,
    ) -> tuple[str, float]:
        """A token for `account`, and when it ends as far as its holder is told.

        A pod's token of the default projected length lives on for a year (and warns meanwhile),
        as `--service-account-extend-token-expiration` has it in Kubernetes.
        """
        now = int(self._clock.now())
        meta = account["metadata"]
        own: dict[str, Any] = {
            "namespace": meta["namespace"],
            "serviceaccount": _reference(account),
        }
        lasting = lifetime_s
        if pod is not None:
            own["pod"] = _reference(pod)
            if lifetime_s == WARN_ONLY_LIFETIME_S and set(audiences) <= set(self._audiences):
                own["warnafter"] = now + lifetime_s
                lasting = EXTENDED_LIFETIME_S
        if secret is not None:
            own["secret"] = _reference(secret)
        if node is not None:
            own["node"] = _reference(node)
        token = self._signer.sign(
            {
                "aud": list(audiences),
                "exp": now + lasting,
                "iat": now,
                "iss": self._issuer,
                "jti": self._uid(),
                "kubernetes.io": own,
                "nbf": now,
                "sub": service_account_name(meta["namespace"], meta["name"]),
            }
        )
        return token, float(now + lifetime_s)


@dataclass(slots=True)
class _Verified:
    """A token that was believed: until when, for whom, and the stored bytes it was checked on."""

    user: User
    audiences: frozenset[str]
    not_before: float
    expires: float
    bindings: tuple[Binding, ...]
    stored: list[bytes | None] = field(default_factory=list)
    valid_until: float = 0.0


class ServiceAccountTokens:
    """Believes tokens signed by the cluster's keys."""

    def __init__(
        self,
        objects: Objects,
        clock: Clock,
        *,
        key_pems: Callable[[], Sequence[bytes]],
        issuers: Sequence[str],
        audiences: Sequence[str],
    ) -> None:
        self._objects = objects
        self._clock = clock
        self._key_pems = key_pems
        self._keys: list[VerifyingKey] | None = None
        self._issuers = frozenset(issuers)
        self._audiences = frozenset(audiences)
        self._cache: dict[str, _Verified] = {}

    @property
    def keys(self) -> list[VerifyingKey]:
        """The public keys; parsed on the first use."""
        if self._keys is None:
            self._keys = [VerifyingKey.from_pem(pem) for pem in self._key_pems()]
        return self._keys

    @property
    def audiences(self) -> frozenset[str]:
        """The server's own audiences."""
        return self._audiences

    def claimed(self, token: str) -> bool:
        """Whether the token says that it is one of ours: then its failure is final."""
        try:
            issuer = unverified_claims(token).get("iss")
        except BadTokenError:
            return False
        return issuer in self._issuers or issuer == LEGACY_ISSUER

    def recall(self, token: str) -> bool:
        """Whether the token was believed before (it is still checked, but need not be looked into)."""
        return token in self._cache

    def authenticate(
        self, token: str, audiences: frozenset[str] | None = None
    ) -> tuple[User, frozenset[str]]:
        """The user of a token, and which of the wanted `audiences` (default: the server's own) it
        was issued for. Raises BadTokenError."""
        wanted = self._audiences if audiences is None else audiences
        known = self._cache.get(token)
        if known is None:
            known = self._parse(token)
            if len(self._cache) >= CACHE_TOKENS:
                # Dropping all is rare, and costs each live token one verification.
                self._cache.clear()
            self._cache[token] = known
        now = self._clock.now()
        if now > known.expires + LEEWAY_S:
            self._cache.pop(token, None)
            raise BadTokenError("the token has expired")
        if now < known.not_before - LEEWAY_S:
            raise BadTokenError("the token is not valid yet")
        common = known.audiences & wanted if known.audiences else wanted & self._audiences
        if not common:
            raise BadTokenError(
                f"the token is for audiences {sorted(known.audiences)}, not {sorted(wanted)}"
            )
        self._check_bindings(known, now)
        return known.user, common

    def _check_bindings(self, known: _Verified, now: float) -> None:
        stored = [self._objects.get_bytes(b.resource, b.name, b.namespace) for b in known.bindings]
        fresh = len(stored) == len(known.stored) and all(
            a is b for a, b in zip(stored, known.stored, strict=True)
        )
        if not fresh:
            ends = [
                _end_of(binding, value)
                for binding, value in zip(known.bindings, stored, strict=True)
            ]
            known.valid_until = min(ends, default=float("inf"))
            known.stored = stored
        if now > known.valid_until:
            known.stored = []
            raise BadTokenError("an object that the token is bound to is gone")

    def _parse(self, token: str) -> _Verified:
        claims = verify(token, self.keys)
        issuer = claims.get("iss")
        if issuer == LEGACY_ISSUER:
            return _legacy(claims, token)
        if issuer not in self._issuers:
            raise BadTokenError("the token's issuer is not this cluster")
        own = claims.get("kubernetes.io")
        if not isinstance(own, dict):
            raise BadTokenError("the token has no kubernetes.io claim")
        namespace = str(own.get("namespace", ""))
        account = own.get("serviceaccount") or {}
        bindings = [
            Binding(SERVICEACCOUNTS, namespace, account.get("name", ""), account.get("uid", ""))
        ]
        extra: dict[str, tuple[str, ...]] = {}
        if claims.get("jti"):
            extra[_EXTRA + "credential-id"] = (f"JTI={claims['jti']}",)
        for kind, resource, space in (
            ("pod", PODS, namespace),
            ("secret", SECRETS, namespace),
            ("node", NODES, ""),
        ):
            bound = own.get(kind)
            if not bound:
                continue
            if kind == "pod" or kind == "node":
                extra[f"{_EXTRA}{kind}-name"] = (bound.get("name", ""),)
                extra[f"{_EXTRA}{kind}-uid"] = (bound.get("uid", ""),)
            if kind != "node" or "pod" not in own:
                # A pod's node is told, not required: the pod goes before its node does.
                bindings.append(
                    Binding(resource, space, bound.get("name", ""), bound.get("uid", ""))
                )
        audience = claims.get("aud", ())
        return _Verified(
            user=_user(namespace, account.get("name", ""), account.get("uid", ""), extra),
            audiences=frozenset([audience] if isinstance(audience, str) else audience),
            not_before=float(claims.get("nbf", 0)),
            expires=float(claims.get("exp", 0)),
            bindings=tuple(bindings),
        )


def _legacy(claims: Mapping[str, Any], token: str) -> _Verified:
    """A token of a Secret of type kubernetes.io/service-account-token: it has no end, is for the
    server's own audiences, and is worth something while the secret holds it."""
    namespace = claims.get(_LEGACY_CLAIM + "namespace", "")
    secret = claims.get(_LEGACY_CLAIM + "secret.name", "")
    name = claims.get(_LEGACY_CLAIM + "service-account.name", "")
    uid = claims.get(_LEGACY_CLAIM + "service-account.uid", "")
    return _Verified(
        user=_user(namespace, name, uid, {}),
        audiences=frozenset(),
        not_before=0.0,
        expires=float("inf"),
        bindings=(
            Binding(SERVICEACCOUNTS, namespace, name, uid),
            Binding(SECRETS, namespace, secret, "", token),
        ),
    )


def _user(namespace: str, name: str, uid: str, extra: Mapping[str, tuple[str, ...]]) -> User:
    if not (namespace and name):
        raise BadTokenError("the token names no service account")
    return User(
        service_account_name(namespace, name),
        (*service_account_groups(namespace), "system:authenticated"),
        uid,
        extra,
    )


def _end_of(binding: Binding, stored: bytes | None) -> float:
    """Until when the stored object carries its tokens: 0 where it is not the one bound."""
    if stored is None:
        return 0.0
    obj = orjson.loads(stored)
    meta = obj["metadata"]
    if binding.uid and meta.get("uid") != binding.uid:
        return 0.0
    if binding.token:
        held = (obj.get("data") or {}).get("token", "")
        if held != base64.b64encode(binding.token.encode()).decode():
            return 0.0
    deleted = meta.get("deletionTimestamp")
    return parse_rfc3339(deleted) + LEEWAY_S if deleted else float("inf")


def _reference(obj: Mapping[str, Any]) -> dict[str, str]:
    return {"name": obj["metadata"]["name"], "uid": obj["metadata"]["uid"]}
