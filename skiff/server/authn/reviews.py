"""Asking who somebody is (TokenReview, SelfSubjectReview) and for a token (TokenRequest).

Source: https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/.
"""

from collections.abc import Mapping
from typing import Any

from skiff.aio.clock import Clock, rfc3339
from skiff.aio.http.message import Response
from skiff.api.errors import ApiError, BadRequest, Cause, Conflict, Invalid, NotFound, Unauthorized
from skiff.api.resources import NODES, PODS, SECRETS, SERVICEACCOUNTS, Resource
from skiff.server.authn.chain import AuthenticationChain
from skiff.server.authn.tokens import Issuer
from skiff.server.seams import Admission, Attributes, Call, Connector, Objects
from skiff.server.virtual import answer, read_body, user_info

GROUP = "authentication.k8s.io"
API_VERSION = f"{GROUP}/v1"
MIN_LIFETIME_S = 600
MAX_LIFETIME_S = 1 << 32
DEFAULT_LIFETIME_S = 3600

_BOUND = {("v1", "Pod"): PODS, ("v1", "Secret"): SECRETS, ("v1", "Node"): NODES}


class AuthenticationReviews:
    """Connectors of authentication.k8s.io and of serviceaccounts/token."""

    def __init__(
        self,
        clock: Clock,
        objects: Objects,
        chain: AuthenticationChain,
        issuer: Issuer | None,
        audiences: tuple[str, ...],
        admission: Admission,
    ) -> None:
        self._clock = clock
        self._objects = objects
        self._chain = chain
        self._issuer = issuer
        self._audiences = audiences
        self._admission = admission

    def connectors(self) -> dict[tuple[str, str, str], Connector]:
        """By (group, plural, subresource)."""
        return {
            (GROUP, "tokenreviews", ""): self.token_review,
            (GROUP, "selfsubjectreviews", ""): self.self_subject_review,
            ("", "serviceaccounts", "token"): self.token_request,
        }

    def self_subject_review(self, call: Call) -> Response:
        """Who am I?"""
        read_body(call, API_VERSION, "SelfSubjectReview")
        review = {
            "apiVersion": API_VERSION,
            "kind": "SelfSubjectReview",
            "metadata": {"creationTimestamp": rfc3339(self._clock.now())},
            "status": {"userInfo": user_info(call.user)},
        }
        return answer(call, review)

    def token_review(self, call: Call) -> Response:
        """Whose token is this?"""
        review = read_body(call, API_VERSION, "TokenReview")
        spec = review.get("spec") or {}
        token, audiences = spec.get("token", ""), spec.get("audiences") or ()
        if not token:
            raise BadRequest("token is required for TokenReview in authentication")
        status: dict[str, Any] = {}
        try:
            user, common = self._chain.review_token(
                token, frozenset(audiences) if audiences else None
            )
        except Unauthorized as e:
            status["user"] = {}
            status["error"] = (
                f"[invalid bearer token, {e.__cause__}]" if e.__cause__ else "invalid bearer token"
            )
        else:
            status = {"authenticated": True, "user": user_info(user)}
            status["audiences"] = sorted(common)
        return answer(call, {**review, "status": status})

    async def token_request(self, call: Call) -> Response:
        """A token for a service account."""
        if self._issuer is None:
            raise BadRequest("this server has no key to sign service account tokens with")
        request = read_body(call, API_VERSION, "TokenRequest")
        name, namespace = call.info.name, call.info.namespace
        meta = request.get("metadata") or {}
        if meta.get("name", name) not in ("", name):
            raise BadRequest(f"metadata.name does not match the service account: {name}")
        if meta.get("namespace", namespace) not in ("", namespace):
            raise BadRequest(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        account = self._objects.get(SERVICEACCOUNTS, name, namespace)
        if account is None:
            raise _missing(SERVICEACCOUNTS, name)
        spec = request.setdefault("spec", {})
        attributes = Attributes("CREATE", call.user, SERVICEACCOUNTS, "token", namespace, name)
        attributes.warnings = call.warnings
        waiting = self._admission.admit(attributes, request, None)
        if waiting is not None:
            await waiting
        audiences = spec.get("audiences") or list(self._audiences)
        lifetime = spec.get("expirationSeconds", DEFAULT_LIFETIME_S)
        _check_lifetime(name, lifetime)
        bound = self._bound(spec.get("boundObjectRef"), account, namespace)
        token, expires = self._issuer.issue(
            account, audiences=audiences, lifetime_s=lifetime, **bound
        )
        spec["audiences"], spec["expirationSeconds"] = audiences, lifetime
        spec.setdefault("boundObjectRef", None)
        request["metadata"] = {**meta, "name": name, "namespace": namespace}
        request["metadata"].setdefault("creationTimestamp", rfc3339(expires - lifetime))
        request["status"] = {"token": token, "expirationTimestamp": rfc3339(expires)}
        return answer(call, request)

    def _bound(
        self, reference: Mapping[str, Any] | None, account: Mapping[str, Any], namespace: str
    ) -> dict[str, Mapping[str, Any]]:
        """The objects that the token is to be bound to, as `Issuer.issue` takes them."""
        if not reference:
            return {}
        kind = reference.get("kind", "")
        resource = _BOUND.get((reference.get("apiVersion", ""), kind))
        if resource is None:
            group, _, _ = reference.get("apiVersion", "").rpartition("/")
            raise BadRequest(
                f"cannot bind token for serviceaccount"
                f' "{account["metadata"]["name"]}" to object of type {group}/{kind}'
            )
        name = reference.get("name", "")
        found = self._objects.get(resource, name, namespace if resource.namespaced else "")
        if found is None:
            raise _missing(resource, name)
        uid = found["metadata"]["uid"]
        if reference.get("uid", uid) not in ("", uid):
            raise Conflict(
                f'Operation cannot be fulfilled on {resource.plural} "{name}": the UID in the bound'
                f" object reference ({reference['uid']}) does not match the UID in record."
                " The object might have been deleted and then recreated",
                kind=resource.plural,
                name=name,
            )
        bound: dict[str, Mapping[str, Any]] = {kind.lower(): found}
        if resource is PODS:
            self._check_pod(found, account)
            node = self._objects.get(NODES, (found.get("spec") or {}).get("nodeName", ""))
            if node is not None:
                bound["node"] = node
        return bound

    @staticmethod
    def _check_pod(pod: Mapping[str, Any], account: Mapping[str, Any]) -> None:
        wanted = account["metadata"]["name"]
        if pod["spec"].get("serviceAccountName") != wanted:
            raise BadRequest(
                f'cannot bind token for serviceaccount "{wanted}" to pod running with different'
                " serviceaccount name."
            )


def _check_lifetime(name: str, seconds: int) -> None:
    if seconds < MIN_LIFETIME_S:
        text = "may not specify a duration less than 10 minutes"
    elif seconds > MAX_LIFETIME_S:
        text = "may not specify a duration larger than 2^32 seconds"
    else:
        return
    field, message = "spec.expirationSeconds", f"Invalid value: {seconds}: {text}"
    raise Invalid(
        f'TokenRequest.{GROUP} "{name}" is invalid: {field}: {message}',
        group=GROUP,
        kind="TokenRequest",
        name=name,
        causes=[Cause("FieldValueInvalid", message, field)],
    )


def _missing(resource: Resource, name: str) -> ApiError:
    return NotFound(f'{resource.plural} "{name}" not found', kind=resource.plural, name=name)
