"""Who may use the kubelet's HTTPS API.

A client certificate signed by the cluster's CA is checked by the TLS handshake itself; a bearer token
by a TokenReview. Members of system:masters and the API server pass; others need what a
SubjectAccessReview allows on `nodes/<subresource>`. Answers are remembered for a while.

Source: https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/
"""

import hashlib
import ssl
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from skiff.aio.clock import Clock
from skiff.aio.http.client_checks import believed, checking
from skiff.aio.http.message import Peer, Request
from skiff.api.errors import ApiError
from skiff.api.resources import RESOURCES, Resource
from skiff.client.client import Client

REMEMBER_S = 120.0
REMEMBER_MAX = 1024
MASTERS = "system:masters"
ANONYMOUS = "system:anonymous"

_TOKEN_REVIEWS = RESOURCES["authentication.k8s.io", "v1", "tokenreviews"]
_ACCESS_REVIEWS = RESOURCES["authorization.k8s.io", "v1", "subjectaccessreviews"]

_VERBS = {
    "GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete",
}  # fmt: skip
# Paths and the subresource of the node that they need; everything else needs `proxy`.
_SUBRESOURCES = (
    ("/stats", "stats"),
    ("/metrics", "metrics"),
    ("/logs", "log"),
    ("/spec", "spec"),
    ("/healthz", "healthz"),
    ("/pods", "pods"),
    ("/runningpods", "pods"),
    ("/configz", "configz"),
)


_SERVER: Final = ssl.PROTOCOL_TLS_SERVER


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""


def server_context(cert_file: str, key_file: str, client_ca_file: str) -> ssl.SSLContext:
    """TLS of the API: a client certificate is asked for; one that the CA did not sign comes through the
    handshake, and is answered 401."""
    context = checking(client_ca_file) if client_ca_file else ssl.SSLContext(_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert_file, key_file)
    return context


class Access:
    """Answers whether a request may pass."""

    def __init__(
        self, client: Client | None, node_name: str, clock: Clock, *, anonymous: bool = False
    ) -> None:
        self._client = client
        self._node_name = node_name
        self._clock = clock
        self._anonymous = anonymous
        self._known: OrderedDict[tuple[str, ...], tuple[float, object]] = OrderedDict()

    async def authenticate(self, request: Request) -> Caller | None:
        """The caller, or None: the answer is 401."""
        if request.peer.local:
            user = request.peer.state.get("user")
            return Caller(*user) if isinstance(user, tuple) else None
        caller = certificate_caller(request.peer)
        if caller is not None:
            return caller
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return await self._review_token(token.strip())
        if not self._anonymous or (request.peer.tls and not believed(request.peer.tls)):
            return None
        return Caller(ANONYMOUS, ("system:unauthenticated",))

    async def authorize(self, caller: Caller, method: str, path: str) -> bool:
        """Whether the caller may do this."""
        if MASTERS in caller.groups:
            return True
        verb = _VERBS.get(method, method.lower())
        subresource = subresource_of(path)
        key = ("may", caller.name, caller.uid, *caller.groups, verb, subresource)
        known = self._recall(key)
        if isinstance(known, bool):
            return known
        spec = {
            "user": caller.name,
            "groups": list(caller.groups),
            "uid": caller.uid,
            "resourceAttributes": {
                "verb": verb,
                "version": "v1",
                "resource": "nodes",
                "subresource": subresource,
                "name": self._node_name,
            },
        }
        status = await self._create(_ACCESS_REVIEWS, spec)
        if status is None:
            return False
        allowed = bool(status.get("allowed"))
        self._remember(key, allowed)
        return allowed

    async def _review_token(self, token: str) -> Caller | None:
        key = ("token", hashlib.sha256(token.encode()).hexdigest())
        known = self._recall(key)
        if isinstance(known, Caller):
            return known
        status = await self._create(_TOKEN_REVIEWS, {"token": token})
        if not status or not status.get("authenticated"):
            return None
        user = status.get("user") or {}
        groups = tuple(user.get("groups") or ())
        caller = Caller(user.get("username", ""), groups, user.get("uid", ""))
        self._remember(key, caller)
        return caller

    async def _create(
        self, resource: Resource, spec: Mapping[str, object]
    ) -> dict[str, Any] | None:
        """The status of a review; None where the API server does not answer."""
        if self._client is None:
            return None
        review = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {},
            "spec": spec,
        }
        try:
            answer = await self._client.create(resource, review)
        except (ApiError, ConnectionError, TimeoutError):
            return None
        status: dict[str, Any] | None = answer.get("status")
        return status

    def _recall(self, key: tuple[str, ...]) -> object:
        until, value = self._known.get(key, (0.0, None))
        return value if self._clock.monotonic() < until else None

    def _remember(self, key: tuple[str, ...], value: object) -> None:
        self._known[key] = (self._clock.monotonic() + REMEMBER_S, value)
        self._known.move_to_end(key)
        while len(self._known) > REMEMBER_MAX:
            self._known.popitem(last=False)


def subresource_of(path: str) -> str:
    """The node's subresource that a path stands for."""
    for prefix, subresource in _SUBRESOURCES:
        if path == prefix or path.startswith(prefix + "/"):
            return subresource
    return "proxy"


def certificate_caller(peer: Peer) -> Caller | None:
    """The identity in a client certificate that is verified."""
    if peer.tls is None or peer.certificate is None or not believed(peer.tls):
        return None
    details = peer.tls.getpeercert()
    if not details:
        return None
    name, groups = "", []
    subject: Any = details.get("subject", ())
    for part in subject:
        for field, value in part:
            if field == "commonName":
                name = str(value)
            elif field == "organizationName":
                groups.append(str(value))
    return Caller(name, (*groups, "system:authenticated")) if name else None
