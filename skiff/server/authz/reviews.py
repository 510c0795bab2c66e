"""The access reviews: asking the server what somebody may do.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from skiff.aio.http.message import Response
from skiff.api.errors import ApiError, BadRequest, Cause, Invalid
from skiff.server.authz.chain import AuthorizationChain
from skiff.server.request import RequestInfo
from skiff.server.seams import Call, Connector, User
from skiff.server.virtual import answer, read_body

GROUP = "authorization.k8s.io"
API_VERSION = f"{GROUP}/v1"


class AccessReviews:
    """Connectors of the four kinds of authorization.k8s.io."""

    def __init__(self, authorizer: AuthorizationChain) -> None:
        self._authorizer = authorizer

    def connectors(self) -> dict[tuple[str, str, str], Connector]:
        """By (group, plural, subresource)."""
        return {
            (GROUP, "subjectaccessreviews", ""): self.subject_access,
            (GROUP, "selfsubjectaccessreviews", ""): self.self_subject_access,
            (GROUP, "localsubjectaccessreviews", ""): self.local_subject_access,
            (GROUP, "selfsubjectrulesreviews", ""): self.self_subject_rules,
        }

    def subject_access(self, call: Call) -> Response:
        """May somebody do something?"""
        review = read_body(call, API_VERSION, "SubjectAccessReview")
        return self._review(call, review, _subject(review))

    def local_subject_access(self, call: Call) -> Response:
        """The same, in one namespace."""
        kind = "LocalSubjectAccessReview"
        review = read_body(call, API_VERSION, kind)
        spec = review.get("spec") or {}
        attributes = spec.get("resourceAttributes")
        if attributes is None or spec.get("nonResourceAttributes") is not None:
            raise _invalid(
                kind,
                "spec.nonResourceAttributes",
                "disallowed on this kind of request",
            )
        if attributes.get("namespace", "") != call.info.namespace:
            raise BadRequest(
                f"spec.resourceAttributes.namespace must match namespace: {call.info.namespace}"
            )
        return self._review(call, review, _subject(review))

    def self_subject_access(self, call: Call) -> Response:
        """May I?"""
        review = read_body(call, API_VERSION, "SelfSubjectAccessReview")
        return self._review(call, review, call.user)

    def self_subject_rules(self, call: Call) -> Response:
        """What may I do in a namespace?"""
        review = read_body(call, API_VERSION, "SelfSubjectRulesReview")
        namespace = (review.get("spec") or {}).get("namespace", "")
        if not namespace:
            raise BadRequest("no namespace on request")
        rules, incomplete = self._authorizer.rules(call.user, namespace)
        resource_rules: list[dict[str, Any]] = []
        path_rules: list[dict[str, Any]] = []
        for rule in rules:
            (path_rules if rule.urls else resource_rules).append(rule.wire())
        status: dict[str, Any] = {
            "resourceRules": resource_rules,
            "nonResourceRules": path_rules,
            "incomplete": bool(incomplete),
        }
        if incomplete:
            status["evaluationError"] = incomplete
        return answer(call, {**review, "status": status})

    def _review(self, call: Call, review: dict[str, Any], user: User) -> Response:
        info = _attributes(review)
        decision = self._authorizer.allowed(user, info)
        status: dict[str, Any] = {"allowed": decision.allowed}
        reason = decision.reason
        if decision.allowed and not reason:
            reason = self._authorizer.rbac.explain(user, info)
        if reason:
            status["reason"] = reason
        return answer(call, {**review, "status": status})


def _subject(review: Mapping[str, Any]) -> User:
    """Whom a review asks about."""
    spec = review.get("spec") or {}
    name, groups = spec.get("user", ""), spec.get("groups") or ()
    if not name and not groups:
        raise _invalid(
            review["kind"], "spec.user", "at least one of user or group must be specified"
        )
    extra = {k.lower(): tuple(v or ()) for k, v in (spec.get("extra") or {}).items()}
    return User(name, tuple(groups), spec.get("uid", ""), extra)


def _attributes(review: Mapping[str, Any]) -> RequestInfo:
    spec = review.get("spec") or {}
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (resource is None) == (path is None):
        raise _invalid(
            review["kind"],
            "spec.resourceAttributes",
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )
    if path is not None:
        return RequestInfo(path.get("verb", ""), path.get("path", ""))
    assert resource is not None
    info = RequestInfo.of_resource(
        resource.get("verb", ""),
        resource.get("group", ""),
        resource.get("version", ""),
        resource.get("resource", ""),
        namespace=resource.get("namespace", ""),
        name=resource.get("name", ""),
        subresource=resource.get("subresource", ""),
    )
    fields = resource.get("fieldSelector") or {}
    selector = fields.get("rawSelector") or ",".join(
        f"{r.get('key', '')}={r['values'][0]}"
        for r in fields.get("requirements") or ()
        if r.get("operator") == "In" and len(r.get("values") or ()) == 1
    )
    if selector:
        info.query = urlencode({"fieldSelector": selector})
    return info


def _invalid(kind: str, field: str, text: str) -> ApiError:
    message = f"Invalid value: {text}"
    return Invalid(
        f'{kind}.{GROUP} "" is invalid: {field}: {message}',
        group=GROUP,
        kind=kind,
        causes=[Cause("FieldValueInvalid", message, field)],
    )
