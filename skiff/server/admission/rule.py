"""What an admission rule is, and how rules word a refusal."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

from skiff.api.errors import Cause, Forbidden
from skiff.api.resources import Resource
from skiff.server.seams import Attributes

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"

Object = dict[str, Any]
Step = Callable[[Attributes, Any, Any], None]


class Rule:
    """One admission rule. A subclass says what it is about and overrides `admit` (which may change
    the object), `validate` (which may not), or both. Both raise an ApiError to refuse."""

    name: ClassVar[str] = ""

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        """Whether the rule looks at such requests at all; asked once for each sort of request."""
        raise NotImplementedError

    def admit(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        """Before validation; may change `obj` (None for a delete)."""

    def validate(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        """After validation; the object is final."""


class RemoteRule(Protocol):
    """A rule that has to wait: webhooks, policies. They run after the others; only those that are
    `interested` in a request make it wait."""

    def interested(self, attributes: Attributes) -> bool:
        """Whether the request has to be put to it."""

    async def admit(self, attributes: Attributes, obj: Any, old: Any) -> None:
        """As `Rule.admit`."""

    async def validate(self, attributes: Attributes, obj: Any, old: Any) -> None:
        """As `Rule.validate`."""


def object_name(attributes: Attributes, obj: Mapping[str, Any] | None) -> str:
    """The name that a refusal speaks of: a name that is still to be generated is its prefix."""
    if attributes.name:
        return attributes.name
    meta = (obj or {}).get("metadata") or {}
    return meta.get("name") or meta.get("generateName") or "Unknown"


def refuse(
    attributes: Attributes,
    obj: Mapping[str, Any] | None,
    text: str,
    causes: tuple[Cause, ...] = (),
) -> Forbidden:
    """`pods "x" is forbidden: text`, as admission.NewForbidden words it."""
    name = object_name(attributes, obj)
    resource = attributes.resource
    return Forbidden(
        f'{resource.group_resource} "{name}" is forbidden: {text}',
        group=resource.group,
        kind=resource.plural,
        name=name,
        causes=causes,
    )
