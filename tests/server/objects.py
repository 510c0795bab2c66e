"""An in-memory `Objects`: what the server's parts read, set by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from skiff.api.resources import Resource
from skiff.server.seams import Change


class FakeObjects:
    """Objects by resource, namespace and name."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], dict[tuple[str, str], bytes]] = {}
        self.sinks: dict[tuple[str, str], list[Callable[[Sequence[Change]], None]]] = {}
        self.revision = 0

    def put(self, resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
        meta = obj["metadata"]
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
        meta.setdefault("uid", f"uid-{resource.plural}-{meta['name']}")
        key = (meta.get("namespace", ""), meta["name"])
        value = orjson.dumps(obj)
        self.stored.setdefault(resource.storage, {})[key] = value
        self._tell(resource, *key, value)
        return obj

    def remove(self, resource: Resource, name: str, namespace: str = "") -> None:
        del self.stored[resource.storage][namespace, name]
        self._tell(resource, namespace, name, None)

    def _tell(self, resource: Resource, namespace: str, name: str, value: bytes | None) -> None:
        self.revision += 1
        for sink in self.sinks.get(resource.storage, []):
            sink([Change(namespace, name, value, self.revision)])

    def get(self, resource: Resource, name: str, namespace: str = "") -> dict[str, Any] | None:
        raw = self.get_bytes(resource, name, namespace)
        return None if raw is None else orjson.loads(raw)

    def get_bytes(self, resource: Resource, name: str, namespace: str = "") -> bytes | None:
        return self.stored.get(resource.storage, {}).get((namespace, name))

    def list(self, resource: Resource, namespace: str = "") -> list[dict[str, Any]]:
        return [orjson.loads(raw) for raw in self.list_bytes(resource, namespace)]

    def list_bytes(self, resource: Resource, namespace: str = "") -> Sequence[bytes]:
        found = sorted(self.stored.get(resource.storage, {}).items())
        return [raw for (space, _), raw in found if not namespace or space == namespace]

    def subscribe(
        self, resource: Resource, sink: Callable[[Sequence[Change]], None]
    ) -> Callable[[], None]:
        sinks = self.sinks.setdefault(resource.storage, [])
        sinks.append(sink)
        return lambda: sinks.remove(sink)
