"""componentstatuses: whether the controllers, the scheduler and the store work. Computed, never stored.

Controllers and scheduler work by following the API, so one that runs has watches under way; those of one
that died end with its connection. The scheduler lives in the controllers' process and shares their
watches. The store says itself whether it works.

Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/component-status-v1/.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import orjson

from skiff.aio.http.message import Response
from skiff.api.errors import ApiError, MethodNotAllowed, NotFound
from skiff.api.resources import COMPONENTSTATUSES
from skiff.server import table
from skiff.server.engine import Engine
from skiff.server.negotiate import encode
from skiff.server.options import list_options
from skiff.server.seams import Call, Connector
from skiff.server.shape import partial
from skiff.server.verbs.answer import include_of, shape_of, wants_pretty

_CONTROLLERS: Final = "system:kube-controller-manager"
_SCHEDULER: Final = "system:kube-scheduler"
COMPONENTS: Final = {
    "controller-manager": (_CONTROLLERS,),
    "scheduler": (_SCHEDULER, _CONTROLLERS),
}
"""The users whose watches they live by."""
FOLLOWERS: Final = (_CONTROLLERS, _SCHEDULER)
STORE: Final = "etcd-0"

Object = dict[str, Any]


class _Missing(ApiError):
    """Kubernetes' answer to a component's name that it does not know."""

    code = 500
    reason = ""


class ComponentStatuses:
    """`watching` says how many watches each user has under way, `store` what is wrong with the store."""

    def __init__(
        self, engine: Engine, watching: Mapping[str, int], store: Callable[[], str]
    ) -> None:
        self._engine = engine
        self._watching = watching
        self._store = store

    def connectors(self) -> dict[tuple[str, str, str], Connector]:
        """By (group, plural, subresource)."""
        return {("", COMPONENTSTATUSES.plural, ""): self.serve}

    def serve(self, call: Call) -> Response:
        """One or all of them."""
        info = call.info
        if info.namespace:
            raise NotFound("the server could not find the requested resource")
        if info.verb == "list":
            options = list_options(info)
            return self._list(
                call,
                [
                    o
                    for o in self.objects()
                    if options.labels.matches({}) and options.fields.matches(_fields(o))
                ],
            )
        if info.verb != "get":
            raise MethodNotAllowed(
                "the server does not allow this method on the requested resource"
            )
        found = next((o for o in self.objects() if o["metadata"]["name"] == info.name), None)
        if found is None:
            raise _Missing(f"Component not found: {info.name}")
        return self._one(call, found)

    def objects(self) -> Iterator[Object]:
        """All of them, as of now."""
        for name, users in COMPONENTS.items():
            running = any(self._watching.get(user, 0) for user in users)
            wrong = "" if running else f'user "{users[0]}" follows nothing: not running'
            yield _status(name, wrong)
        yield _status(STORE, self._store())

    def _one(self, call: Call, obj: Object) -> Response:
        shape = shape_of(call)
        if shape.form == "table":
            out = self._table(call, [obj])
        elif shape.form == "partial":
            out = partial(obj, f"meta.k8s.io/{shape.version}")
        else:
            out = obj
        return Response(200, encode(out, shape.media, pretty=wants_pretty(call)), shape.media)

    def _list(self, call: Call, items: list[Object]) -> Response:
        shape = shape_of(call)
        if shape.form == "table":
            out = self._table(call, items)
        elif shape.form == "partial":
            version = f"meta.k8s.io/{shape.version}"
            out = _list_of(
                "PartialObjectMetadataList", version, [partial(o, version) for o in items]
            )
        else:
            out = _list_of(COMPONENTSTATUSES.list_kind, "v1", items)
        return Response(200, encode(out, shape.media, pretty=wants_pretty(call)), shape.media)

    def _table(self, call: Call, items: list[Object]) -> Object:
        strategy = self._engine.registry.of(COMPONENTSTATUSES).strategy
        values = [orjson.dumps(o) for o in items]
        now = self._engine.clock.now()
        return table.of_objects(strategy.columns, values, shape_of(call), now, include_of(call), {})


def _list_of(kind: str, api_version: str, items: list[Object]) -> Object:
    return {"kind": kind, "apiVersion": api_version, "metadata": {}, "items": items}


def _fields(obj: Object) -> dict[str, str]:
    return {"metadata.name": obj["metadata"]["name"], "metadata.namespace": ""}


def _status(name: str, wrong: str) -> Object:
    condition = {
        "type": "Healthy",
        "status": "False" if wrong else "True",
        "message": wrong or "ok",
    }
    return {
        "apiVersion": "v1",
        "kind": COMPONENTSTATUSES.kind,
        "metadata": {"name": name, "creationTimestamp": None},
        "conditions": [condition],
    }
