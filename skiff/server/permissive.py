"""The open door: parts that let everybody do everything, for tests of the engine alone and for
`--authorization-mode AlwaysAllow`."""

from collections.abc import Awaitable
from typing import Any

from skiff.aio.http.message import Request
from skiff.server.request import RequestInfo
from skiff.server.seams import Attributes, Decision, User

_YES = Decision(True)
_ANYBODY = User("system:anonymous", ("system:unauthenticated",))


def anybody(request: Request) -> User:
    """Who an in-process peer says it is, else anonymous."""
    known = request.peer.state.get("user")
    if isinstance(known, User):
        return known
    if isinstance(known, tuple) and request.peer.local:
        user = User(known[0], tuple(known[1]))
        request.peer.state["user"] = user
        return user
    return _ANYBODY


class AllowAll:
    """Allows everything."""

    def allowed(self, user: User, attributes: RequestInfo) -> Decision:
        del user, attributes
        return _YES


class NoAdmission:
    """Admits everything as it is."""

    def admit(
        self, attributes: Attributes, obj: dict[str, Any] | None, old: dict[str, Any] | None
    ) -> Awaitable[None] | None:
        del attributes, obj, old
        return None

    def validate(
        self, attributes: Attributes, obj: dict[str, Any] | None, old: dict[str, Any] | None
    ) -> Awaitable[None] | None:
        del attributes, obj, old
        return None
