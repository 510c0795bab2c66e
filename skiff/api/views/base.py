"""What every view is: a frozen struct with Kubernetes' field names on the wire."""

from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

import msgspec

from skiff.api.resources import Resource

if TYPE_CHECKING:
    from skiff.api.views.meta import ObjectMeta


class View(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", gc=False):
    """A typed, read-only window on an object.

    The garbage collector does not track views (`gc=False`): they are trees, so reference counting
    frees them. Never encode a view over a stored object: fields it does not name would be lost.
    """


# Templates of workloads stay JSON: controllers copy them whole, so no field may be lost, and nobody
# else looks inside. `decoder` or `orjson.loads` reads them.
NO_TEMPLATE: Final = msgspec.Raw(b"{}")


class ObjectView(Protocol):
    """A view of a whole object: it has metadata and knows its resource."""

    RESOURCE: ClassVar[Resource]

    @property
    def metadata(self) -> "ObjectMeta": ...


def as_json(value: Any) -> Any:
    """A view, or a tuple of them, as plain JSON values (lists, dicts; zero values left out)."""
    return msgspec.json.decode(msgspec.json.encode(value))
