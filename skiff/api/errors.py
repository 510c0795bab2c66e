"""The one wire error: `ApiError`, whose subclasses carry Kubernetes' reasons.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/ and
apimachinery `api/errors`: reason, HTTP code, message forms, `details.causes`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of `details.causes`: a `FieldValue…` reason, the message and the field's path."""

    reason: str
    message: str
    field: str = ""


class ApiError(Exception):
    """A Status of failure. `kind` in details is the resource's plural, as Kubernetes does."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(
        self,
        message: str,
        *,
        group: str = "",
        kind: str = "",
        name: str = "",
        causes: Sequence[Cause] = (),
        retry_after_s: int | None = None,
        uid: str = "",
        generic: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.group = group
        self.kind = kind
        self.name = name
        self.causes = tuple(causes)
        self.retry_after_s = retry_after_s
        self.uid = uid
        self.generic = generic
        """The server knew no resource to tell of: details are there, and empty."""

    def status(self) -> dict[str, Any]:
        """The Status object that goes over the wire."""
        details: dict[str, Any] = {}
        if self.name:
            details["name"] = self.name
        if self.group:
            details["group"] = self.group
        if self.kind:
            details["kind"] = self.kind
        if self.uid:
            details["uid"] = self.uid
        if self.causes:
            details["causes"] = [
                {
                    k: v
                    for k, v in (("reason", c.reason), ("message", c.message), ("field", c.field))
                    if v
                }
                for c in self.causes
            ]
        if self.retry_after_s is not None:
            details["retryAfterSeconds"] = self.retry_after_s
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        # In the order in which Kubernetes writes them: people read this.
        if self.reason:
            body["reason"] = self.reason
        if details or self.generic:
            body["details"] = details
        body["code"] = self.code
        return body


class BadRequest(ApiError):
    code = 400
    reason = "BadRequest"


class Unauthorized(ApiError):
    code = 401
    reason = "Unauthorized"


class Forbidden(ApiError):
    code = 403
    reason = "Forbidden"


class NotFound(ApiError):
    code = 404
    reason = "NotFound"


class MethodNotAllowed(ApiError):
    code = 405
    reason = "MethodNotAllowed"


class NotAcceptable(ApiError):
    code = 406
    reason = "NotAcceptable"


class AlreadyExists(ApiError):
    code = 409
    reason = "AlreadyExists"


class Conflict(ApiError):
    code = 409
    reason = "Conflict"


class Gone(ApiError):
    code = 410
    reason = "Gone"


class Expired(ApiError):
    """A resource version or continue token too old to serve: the watch or list starts anew."""

    code = 410
    reason = "Expired"


class RequestEntityTooLarge(ApiError):
    code = 413
    reason = "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    code = 415
    reason = "UnsupportedMediaType"


class Invalid(ApiError):
    code = 422
    reason = "Invalid"


class TooManyRequests(ApiError):
    code = 429
    reason = "TooManyRequests"


class InternalError(ApiError):
    code = 500
    reason = "InternalError"


class ServiceUnavailable(ApiError):
    code = 503
    reason = "ServiceUnavailable"


class Timeout(ApiError):
    code = 504
    reason = "Timeout"


_BY_REASON: dict[str, type[ApiError]] = {
    c.reason: c
    for c in (
        BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable,
        AlreadyExists, Conflict, Gone, Expired, RequestEntityTooLarge, UnsupportedMediaType,
        Invalid, TooManyRequests, InternalError, ServiceUnavailable, Timeout,
    )
}  # fmt: skip


def from_status(status: dict[str, Any], code: int) -> ApiError:
    """The error that a Status object on the wire stands for (the client's side)."""
    details = status.get("details") or {}
    cls = _BY_REASON.get(status.get("reason", "")) or next(
        (c for c in _BY_REASON.values() if c.code == code), ApiError
    )
    return cls(
        status.get("message", f"HTTP {code}"),
        group=details.get("group", ""),
        kind=details.get("kind", ""),
        name=details.get("name", ""),
        causes=[
            Cause(c.get("reason", ""), c.get("message", ""), c.get("field", ""))
            for c in details.get("causes", ())
        ],
        retry_after_s=details.get("retryAfterSeconds"),
        uid=details.get("uid", ""),
    )
