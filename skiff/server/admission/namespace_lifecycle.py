"""NamespaceLifecycle: nothing is created in a namespace that is missing or going; some never go."""

from typing import Any

import orjson

from skiff.api.errors import Cause, Forbidden, NotFound
from skiff.api.resources import LOCALSUBJECTACCESSREVIEWS, NAMESPACES, Resource
from skiff.server.admission.rule import CONNECT, CREATE, DELETE, Rule, refuse
from skiff.server.seams import Attributes, Objects

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
_REVIEW = (LOCALSUBJECTACCESSREVIEWS.group, LOCALSUBJECTACCESSREVIEWS.plural)


class NamespaceLifecycle(Rule):
    """See the module's text. Whether a namespace is going is remembered with its stored bytes."""

    name = "NamespaceLifecycle"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._known: dict[str, tuple[bytes, bool]] = {}

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        if resource.plural == NAMESPACES.plural and not resource.group:
            return operation == DELETE
        if not resource.namespaced or operation == CONNECT:
            return False
        return operation != DELETE and (resource.group, resource.plural) != _REVIEW

    def admit(self, attributes: Attributes, obj: Any, old: Any) -> None:
        namespace = attributes.namespace
        if attributes.operation == DELETE:
            if attributes.name in IMMORTAL:
                raise Forbidden(
                    f'namespaces "{attributes.name}" is forbidden: this namespace may not be deleted',
                    kind="namespaces",
                    name=attributes.name,
                )
            return
        stored = self._objects.get_bytes(NAMESPACES, namespace)
        if stored is None:
            raise NotFound(f'namespaces "{namespace}" not found', kind="namespaces", name=namespace)
        if attributes.operation == CREATE and self._terminating(namespace, stored):
            raise refuse(
                attributes,
                obj,
                f"unable to create new content in namespace {namespace} because it is being"
                " terminated",
                (
                    Cause(
                        "NamespaceTerminating",
                        f"namespace {namespace} is being terminated",
                        "metadata.namespace",
                    ),
                ),
            )

    def _terminating(self, namespace: str, stored: bytes) -> bool:
        known = self._known.get(namespace)
        if known is not None and known[0] is stored:
            return known[1]
        found = orjson.loads(stored)
        going = (found.get("status") or {}).get("phase") == "Terminating"
        if len(self._known) > 10_000:  # namespaces that are long gone stay until then
            self._known.clear()
        self._known[namespace] = (stored, going)
        return going
