"""What the parts of the API server are to each other.

The chain (`app.py`) runs authentication → impersonation → authorization → routing → a verb. Each
part it needs is one of the small Protocols below, handed in when the server is put together
(`run.py`), so that each is written and tested alone:

- `Authenticator`: who sent the request.
- `Authorizer`: may this user do that.
- `Admission`: may this object be written, and what is added to it.
- `PathHandler`: answers a path that is not a stored resource (discovery, OpenAPI, health, metrics),
  registered by path prefix.
- `Connector`: answers a (sub)resource that is not an object in the store (pods/exec, pods/log,
  nodes/proxy, serviceaccounts/token, subjectaccessreviews, tokenreviews …), registered by
  (group, plural, subresource).
- `Objects`: how those parts read what is stored.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from skiff.aio.http.message import Request, Response
from skiff.api.resources import Resource
from skiff.server.request import RequestInfo

if TYPE_CHECKING:
    from skiff.server.flow.levels import Flow


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated identity: what UserInfo carries in Kubernetes."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.name, self.groups, self.uid))


class Decision(NamedTuple):
    """An authorizer's word. `reason` goes into the Forbidden message where it is set."""

    allowed: bool
    reason: str = ""


class Authenticator(Protocol):
    """Finds who sent a request, from the connection (`request.peer`) and the headers."""

    def __call__(self, request: Request) -> User | Awaitable[User | None] | None:
        """The user (system:anonymous where nothing was presented and that is allowed); None or
        `Unauthorized` raised where credentials are missing or bad: the answer is 401."""


class Authorizer(Protocol):
    """Decides whether a user may do something. The chain remembers nothing: cache inside."""

    def allowed(self, user: User, attributes: RequestInfo) -> Decision:
        """Whether `user` may do what `attributes` say (verb, resource or path)."""


@dataclass(slots=True)
class Attributes:
    """What admission is told of a write (or of a CONNECT), as `admission.Attributes` in Kubernetes."""

    operation: str
    """CREATE, UPDATE, DELETE or CONNECT."""
    user: User
    resource: Resource
    subresource: str
    namespace: str
    name: str
    """Empty for a create whose name is yet to be generated."""
    dry_run: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    """The CreateOptions, UpdateOptions, PatchOptions or DeleteOptions of the call."""
    warnings: list[str] = field(default_factory=list)
    """What admission appends here is sent to the client as Warning headers."""
    annotations: dict[str, str] = field(default_factory=dict)
    """Audit annotations."""


class Admission(Protocol):
    """The admission chain. Both calls may return an awaitable (webhooks); None means done."""

    def admit(
        self, attributes: Attributes, obj: dict[str, Any] | None, old: dict[str, Any] | None
    ) -> Awaitable[None] | None:
        """Change `obj` in place (after defaults, before validation) or raise an ApiError. `obj` is
        None for DELETE, `old` for CREATE; for CONNECT `obj` holds the connect options."""

    def validate(
        self, attributes: Attributes, obj: dict[str, Any] | None, old: dict[str, Any] | None
    ) -> Awaitable[None] | None:
        """Raise an ApiError where the final object may not be written; runs last, changes nothing."""


@dataclass(slots=True)
class Call:
    """One request on its way through the chain."""

    request: Request
    info: RequestInfo
    user: User
    audit_id: str = ""
    warnings: list[str] = field(default_factory=list)
    resource: Resource | None = None
    """The resource of `info`, for connectors and verbs."""
    flow: "Flow | None" = None
    """The flow that the call belongs to, once it is classified (see `server/flow`)."""


PathHandler = Callable[[Call], Response | Awaitable[Response]]
Connector = Callable[[Call], Response | Awaitable[Response]]


class Change(NamedTuple):
    """One visible write, for subscribers: `value` is None for a delete."""

    namespace: str
    name: str
    value: bytes | None
    revision: int


class Objects(Protocol):
    """Reading what is stored, from inside the server. Never waits, never touches the disk."""

    def get(self, resource: Resource, name: str, namespace: str = "") -> dict[str, Any] | None:
        """A fresh copy of the object, decoded (the storage version), or None."""

    def get_bytes(self, resource: Resource, name: str, namespace: str = "") -> bytes | None:
        """The object's JSON as stored, or None: cheap existence test, or for a typed decode."""

    def list(self, resource: Resource, namespace: str = "") -> list[dict[str, Any]]:
        """Fresh decoded copies of all objects, of one namespace if it is given."""

    def list_bytes(self, resource: Resource, namespace: str = "") -> Sequence[bytes]:
        """The objects' JSON as stored."""

    def subscribe(
        self, resource: Resource, sink: Callable[[Sequence[Change]], None]
    ) -> Callable[[], None]:
        """Call `sink` with every later batch of visible changes; the result ends it."""
