"""`Schema`: one node of an object's type, with what patches, apply and decoding need to know of it.

Nodes are made lazily: an object's properties become nodes when first looked at, a reference when it is
followed; a definition has one node in the whole process. A node also stands for the structural schema
of a custom resource (`Schema(node)`), where types are inline and nothing is a reference.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy and
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from functools import cache
from typing import Any, Final

from skiff.api.resources import Resource
from skiff.api.schema import load

QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"
TIME: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.Time"
MICRO_TIME: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"
OBJECT_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_REF: Final = "#/definitions/"

# List keys that have a default: an item that leaves the key out has this value there.
# Source: `+default` markers of ContainerPort.protocol and ServicePort.protocol.
_KEY_DEFAULTS: Final = {"protocol": "TCP"}


class Schema:
    """A type: `type` is "object", "array", "string", "integer", "number", "boolean", or "" for any.

    `name` is the definition's, "" for an inline type. An object has `properties` (a struct) or
    `additional` (a map of that type), or neither (free form: `any_fields`).
    """

    __slots__ = (
        "_additional", "_items", "_names", "_node", "_properties", "_required", "format",
        "int_or_string", "list_type", "map_keys", "map_type", "merge_key", "name",
        "preserve_unknown", "strategy", "type",
    )  # fmt: skip

    def __init__(self, node: dict[str, Any], name: str = "") -> None:
        self._node = node
        self.name = name
        self.type: str = node.get("type", "")
        self.format: str = node.get("format", "")
        self.int_or_string: bool = self.format == "int-or-string" or bool(
            node.get("x-kubernetes-int-or-string")
        )
        self.list_type: str = node.get("x-kubernetes-list-type", "")
        """"set", "map", "atomic", or "" where the API says nothing (apply takes it as atomic)."""
        self.map_keys: tuple[str, ...] = tuple(node.get("x-kubernetes-list-map-keys", ()))
        self.map_type: str = node.get("x-kubernetes-map-type", "")
        """"atomic", "granular", or "" (granular)."""
        self.merge_key: str = node.get("x-kubernetes-patch-merge-key", "")
        patch_strategy: str = node.get("x-kubernetes-patch-strategy", "")
        self.strategy: tuple[str, ...] = tuple(s for s in patch_strategy.split(",") if s)
        """Strategic merge patch: of "merge", "replace", "retainKeys"; empty is replace."""
        self.preserve_unknown: bool = bool(node.get("x-kubernetes-preserve-unknown-fields"))
        self._properties: dict[str, Schema] | None = None
        self._names: frozenset[str] | None = None
        self._required: frozenset[str] | None = None
        self._items: Schema | None = None
        self._additional: Schema | None = None

    def __repr__(self) -> str:
        return f"Schema({self.name or self.type or 'any'})"

    @property
    def properties(self) -> "dict[str, Schema]":
        """A struct's fields; empty for maps, lists and leaves."""
        found = self._properties
        if found is None:
            node = self._node.get("properties")
            found = {k: _child(v) for k, v in node.items()} if node else {}
            self._properties = found
        return found

    @property
    def names(self) -> frozenset[str]:
        """The names of `properties`, as a set."""
        if self._names is None:
            self._names = frozenset(self.properties)
        return self._names

    @property
    def items(self) -> "Schema | None":
        """A list's element; None for what is no list (or a list of anything)."""
        if self._items is None and "items" in self._node:
            self._items = _child(self._node["items"])
        return self._items

    @property
    def additional(self) -> "Schema | None":
        """A map's value type; None for structs and free-form objects."""
        if self._additional is None:
            node = self._node.get("additionalProperties")
            if isinstance(node, dict):
                self._additional = _child(node)
        return self._additional

    @property
    def required(self) -> frozenset[str]:
        if self._required is None:
            self._required = frozenset(self._node.get("required", ()))
        return self._required

    @property
    def unions(self) -> tuple[dict[str, Any], ...]:
        """`x-kubernetes-unions`: discriminator and fields-to-discriminateBy, of each union."""
        return tuple(self._node.get("x-kubernetes-unions", ()))

    @property
    def embedded(self) -> bool:
        """The value is a whole object (apiVersion, kind, metadata): x-kubernetes-embedded-resource."""
        return bool(self._node.get("x-kubernetes-embedded-resource"))

    @property
    def gvks(self) -> tuple[tuple[str, str, str], ...]:
        """(group, version, kind) of a definition that is a kind."""
        found = self._node.get("x-kubernetes-group-version-kind", ())
        return tuple((g["group"], g["version"], g["kind"]) for g in found)

    @property
    def node(self) -> dict[str, Any]:
        """The raw schema (no descriptions); not to be changed."""
        return self._node

    @property
    def any_fields(self) -> bool:
        """An object of which nothing is known (RawExtension, FieldsV1), or a value of any type."""
        if not self.type:
            return not self.int_or_string and "properties" not in self._node
        return (
            self.type == "object"
            and "properties" not in self._node
            and not isinstance(self._node.get("additionalProperties"), dict)
        )

    @property
    def quantity(self) -> bool:
        return self.name == QUANTITY

    def key_default(self, key: str) -> Any:
        """The value that an item of this associative list has where it leaves `key` out, or None."""
        return _KEY_DEFAULTS.get(key)

    def child(self, field: str) -> "Schema | None":
        """The type of one field of an object: a property's, or the map's value type, or None."""
        return self.properties.get(field) or self.additional


def _child(node: dict[str, Any]) -> Schema:
    ref = node.get("$ref")
    if ref is None:
        return Schema(node)
    name = ref.removeprefix(_REF)
    if len(node) == 1:
        return definition(name)
    # The reference carries its own patch strategy or map type beside it: they win.
    return Schema({**definition(name).node, **{k: v for k, v in node.items() if k != "$ref"}}, name)


@cache
def definition(name: str) -> Schema:
    """The type of this name (`io.k8s.api.core.v1.PodSpec`). Raises KeyError when there is none."""
    return Schema(load.lean(name), name)


@cache
def schema_of_kind(api_version: str, kind: str) -> Schema:
    """The type of objects of this apiVersion and kind. Raises KeyError when there is none."""
    return definition(load.name_of_kind(api_version, kind))


def schema_for(resource: Resource) -> Schema:
    """The type of a resource's objects. Raises KeyError for a resource that has no built-in type."""
    return schema_of_kind(resource.api_version, resource.kind)
