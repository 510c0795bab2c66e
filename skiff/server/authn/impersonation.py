"""Acting as somebody else: the Impersonate-… headers.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation.
Each asserted part (user or service account, every group, the uid, every extra value) needs the
verb `impersonate` on it.
"""

from urllib.parse import unquote

from skiff.aio.http.message import Request
from skiff.api.errors import InternalError
from skiff.server.authn.chain import ANONYMOUS, AUTHENTICATED
from skiff.server.authn.tokens import service_account_groups, split_service_account
from skiff.server.authz.messages import forbidden
from skiff.server.request import RequestInfo
from skiff.server.seams import Authorizer, User

IMPERSONATE = "impersonate-"
_EXTRA_PREFIX = "impersonate-extra-"
_UNAUTHENTICATED = "system:unauthenticated"


def impersonate(user: User, request: Request, authorizer: Authorizer) -> User:
    """The user that the headers ask for, or `user` where they ask for nobody. Raises Forbidden."""
    asked = [name for name in request.headers if name.startswith(IMPERSONATE)]
    if not asked:
        return user
    name = _first(request, "impersonate-user")
    groups = _values(request, "impersonate-group")
    uid = _first(request, "impersonate-uid")
    extra = {
        unquote(h[len(_EXTRA_PREFIX) :]).lower(): _values(request, h)
        for h in asked
        if h.startswith(_EXTRA_PREFIX)
    }
    if not name:
        raise InternalError(
            f"Internal error occurred: requested {asked} without impersonating a user"
        )
    account = split_service_account(name)
    if account:
        _require(authorizer, user, "", "serviceaccounts", account[1], namespace=account[0])
    else:
        _require(authorizer, user, "", "users", name)
    for group in groups:
        _require(authorizer, user, "", "groups", group)
    for key, values in extra.items():
        for value in values:
            _require(
                authorizer, user, "authentication.k8s.io", "userextras", value, subresource=key
            )
    if uid:
        _require(authorizer, user, "authentication.k8s.io", "uids", uid)
    if account and not groups:
        groups = service_account_groups(account[0])
    added = _UNAUTHENTICATED if name == ANONYMOUS.name else AUTHENTICATED
    if added not in groups and _UNAUTHENTICATED not in groups:
        groups = (*groups, added)
    return User(name, groups, uid, extra)


def _require(
    authorizer: Authorizer,
    user: User,
    group: str,
    resource: str,
    name: str,
    *,
    namespace: str = "",
    subresource: str = "",
) -> None:
    info = RequestInfo.of_resource(
        "impersonate",
        group,
        "v1" if group else "",
        resource,
        namespace=namespace,
        name=name,
        subresource=subresource,
    )
    decision = authorizer.allowed(user, info)
    if not decision.allowed:
        raise forbidden(user, info, decision.reason)


def _values(request: Request, header: str) -> tuple[str, ...]:
    """A header's values, one each time it was sent: a comma is a part of the value."""
    return tuple(value for value in request.values(header) if value)


def _first(request: Request, header: str) -> str:
    return next(iter(request.values(header)), "")
