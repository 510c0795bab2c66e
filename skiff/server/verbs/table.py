"""Which verb is which function, of a resource and of its subresources."""

from collections.abc import Awaitable, Callable
from typing import Final

from skiff.aio.http.message import Response
from skiff.server.engine import Engine
from skiff.server.seams import Call
from skiff.server.served import Served
from skiff.server.subresources import binding, eviction, scale
from skiff.server.verbs.create import create
from skiff.server.verbs.delete import delete, delete_collection
from skiff.server.verbs.patch import patch
from skiff.server.verbs.read import get, list_, watch
from skiff.server.verbs.update import update

Verb = Callable[[Engine, Call, Served], Response | Awaitable[Response]]

VERBS: Final[dict[str, Verb]] = {
    "get": get,
    "list": list_,
    "watch": watch,
    "create": create,
    "update": update,
    "patch": patch,
    "delete": delete,
    "deletecollection": delete_collection,
}

# (subresource, verb): bodies of another kind. Any other subresource with the object's own kind
# (status, resize, approval …) is written by the generic verbs.
SUBRESOURCE_VERBS: Final[dict[tuple[str, str], Verb]] = {
    ("scale", "get"): scale.get,
    ("scale", "update"): scale.update,
    ("scale", "patch"): scale.patch,
    ("binding", "create"): binding.create,
    ("eviction", "create"): eviction.create,
}

# Resources that are not kept, but not answered by a connector either: (group, plural, verb).
VIRTUAL_VERBS: Final[dict[tuple[str, str, str], Verb]] = {
    ("", "bindings", "create"): binding.create,
}
