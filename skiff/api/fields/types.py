"""What a schema means for ownership: which values are owned whole and which part by part.

- a scalar, an atomic list or map, and a value of unknown type are owned whole (LEAF);
- an object is owned field by field (MAP);
- a list is owned item by item when its items have keys (KEYED) or are a set (SET);
- where no schema says anything, a value's own form decides: objects by field, all else whole (ANY).

Kubernetes compares objects in its Go form, where a struct held by value and a required field are
always there, if only as a zero. A change never adds or removes such a field itself, only what is
below it. `Type.always` names them; the schema tells most, the table below the rest.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy
"""

from functools import cache, lru_cache
from typing import Any, Final

from skiff.api.fields import sets
from skiff.api.schema.model import OBJECT_META, Schema, definition

LEAF: Final = 0
MAP: Final = 1
KEYED: Final = 2
SET: Final = 3
ANY: Final = 4

_CORE: Final = "io.k8s.api.core.v1."
_ROOT_FIELDS: Final = frozenset({"metadata", "spec", "status"})

# Optional fields that hold a struct by value; the required ones the schema names.
_BY_VALUE: Final[dict[str, frozenset[str]]] = {
    "io.k8s.api.apps.v1.DaemonSetSpec": frozenset({"updateStrategy"}),
    "io.k8s.api.apps.v1.DeploymentSpec": frozenset({"strategy"}),
    "io.k8s.api.apps.v1.ReplicaSetSpec": frozenset({"template"}),
    "io.k8s.api.apps.v1.StatefulSetSpec": frozenset({"updateStrategy"}),
    "io.k8s.api.batch.v1.JobTemplateSpec": frozenset({"metadata", "spec"}),
    "io.k8s.api.events.v1.Event": frozenset({"deprecatedSource", "regarding"}),
    "io.k8s.api.networking.v1.IngressStatus": frozenset({"loadBalancer"}),
    "io.k8s.api.networking.v1.NetworkPolicySpec": frozenset({"podSelector"}),
    "io.k8s.api.resource.v1.ResourceClaimSpec": frozenset({"devices"}),
    "io.k8s.api.resource.v1.ResourceClaimTemplateSpec": frozenset({"metadata"}),
    _CORE + "Event": frozenset({"source"}),
    _CORE + "NodeDaemonEndpoints": frozenset({"kubeletEndpoint"}),
    _CORE + "NodeStatus": frozenset({"daemonEndpoints", "nodeInfo"}),
    _CORE + "PersistentVolumeClaimSpec": frozenset({"resources"}),
    _CORE + "PersistentVolumeClaimTemplate": frozenset({"metadata"}),
    _CORE + "PodTemplate": frozenset({"template"}),
    _CORE + "PodTemplateSpec": frozenset({"metadata", "spec"}),
    _CORE + "ServiceStatus": frozenset({"loadBalancer"}),
}
_NONE: Final[frozenset[str]] = frozenset()
_ELEMENTS_MAX: Final = 1024  # remembered path elements of a list type; then all are forgotten


class KeyMissing(ValueError):
    """An item of an associative list lacks a key that has no default; the message is Kubernetes'."""


class Type:
    """One type, expanded when first looked into. Immutable."""

    __slots__ = (
        "_elements",
        "_fields",
        "always",
        "defaults",
        "element",
        "keys",
        "kind",
        "root",
        "schema",
    )

    def __init__(self, schema: Schema | None, kind: int, *, root: bool = False) -> None:
        self.schema = schema
        self.kind = kind
        self.root = root
        self._fields: dict[str, Type] | None = None
        self._elements: dict[str, str] = {}
        self.keys: tuple[str, ...] = ()
        """KEYED: the names of the items' keys, sorted."""
        self.defaults: tuple[Any, ...] = ()
        self.always: frozenset[str] = _NONE
        self.element: Type | None = None
        """The type of items; of fields that `fields` does not name; None where there are none."""
        if schema is None:
            self.element = None if root else self
        elif kind == KEYED:
            self.keys = tuple(sorted(schema.map_keys or (schema.merge_key,)))
            self.defaults = tuple(map(schema.key_default, self.keys))

    def __repr__(self) -> str:
        return f"Type({self.schema!r}, kind={self.kind})"

    @property
    def fields(self) -> "dict[str, Type]":
        """The named fields of a MAP."""
        found = self._fields
        return found if found is not None else self._expand()

    def child(self, name: str) -> "Type":
        """The type of a field or map entry; ANY where the schema has none."""
        return self.fields.get(name) or self.element or DEDUCED

    @property
    def items(self) -> "Type":
        """The type of a list's items."""
        if self.element is None:
            self._expand()
        return self.element or DEDUCED

    def _expand(self) -> "dict[str, Type]":
        schema = self.schema
        fields: dict[str, Type] = {}
        if schema is not None:
            if self.kind == MAP:
                fields = {name: type_of(child) for name, child in schema.properties.items()}
                if schema.additional is not None:
                    self.element = type_of(schema.additional)
                elif schema.preserve_unknown:
                    self.element = DEDUCED
                if schema.name.startswith("io.k8s."):
                    self.always = schema.required | _BY_VALUE.get(schema.name, _NONE)
                    if self.root:
                        self.always |= _ROOT_FIELDS & fields.keys()
            elif self.kind in (KEYED, SET):
                self.element = type_of(schema.items) if schema.items is not None else DEDUCED
        elif self.root:
            self.element = DEDUCED
        if self.root:
            fields |= {"apiVersion": _SCALAR, "kind": _SCALAR, "metadata": _object_meta()}
        self._fields = fields
        return fields

    def item_element(self, item: Any) -> str:
        """The path element of an item of this KEYED or SET list; missing keys are left out."""
        if self.kind == SET:
            return sets.value_element(item)
        if len(self.keys) == 1 and item.__class__ is dict:
            name = item.get(self.keys[0])
            if name.__class__ is str:
                return self._elements.get(name) or self._remember(name)
        keys = {}
        for name, default in zip(self.keys, self.defaults, strict=True):
            value = item.get(name, default) if item.__class__ is dict else None
            if value is not None:
                keys[name] = value
        return sets.key_element(keys)

    def _remember(self, name: str) -> str:
        """The element of an item whose only key is this text; the same few come again and again."""
        if len(self._elements) >= _ELEMENTS_MAX:
            self._elements.clear()
        element = self._elements[name] = sets.key_element({self.keys[0]: name})
        return element

    def checked_element(self, item: Any) -> str:
        """The path element of an item that a client applies. Raises KeyMissing."""
        if self.kind == KEYED:
            if item is None:
                raise KeyMissing("associative list with keys may not have a null element")
            if item.__class__ is not dict:
                raise KeyMissing("associative list with keys may not have non-map elements")
            for name, default in zip(self.keys, self.defaults, strict=True):
                if name not in item and default is None:
                    raise KeyMissing(
                        "associative list with keys has an element that omits key field "
                        f'"{name}" (and doesn\'t have default value)'
                    )
        elif isinstance(item, (dict, list)):
            form = "map" if isinstance(item, dict) else "list"
            raise KeyMissing(f"associative list without keys has an element that's a {form} type")
        return self.item_element(item)


def _kind_of(schema: Schema) -> int:
    if schema.type == "array":
        if schema.list_type == "map":
            return KEYED
        if schema.list_type == "set":
            return SET
        if not schema.list_type and "merge" in schema.strategy:
            return KEYED if schema.merge_key else SET
        return LEAF
    if schema.any_fields:
        return ANY if schema.preserve_unknown else LEAF
    if schema.type == "object" and schema.map_type != "atomic":
        return MAP
    return LEAF


def type_of(schema: Schema) -> Type:
    """The type of values of this schema."""
    if schema.name and not schema.strategy:
        return _named(schema)
    kind = _kind_of(schema)
    if kind == LEAF:
        return _SCALAR if schema.type not in ("array", "object") else Type(schema, LEAF)
    return Type(schema, kind) if kind != ANY else DEDUCED


@cache
def _named(schema: Schema) -> Type:
    """Definitions are built into the product and few: their types stay."""
    kind = _kind_of(schema)
    return Type(schema, kind) if kind != ANY else DEDUCED


@lru_cache(maxsize=512)
def root_type(schema: Schema | None) -> Type:
    """The type of whole objects of this schema; None stands for any custom resource."""
    return Type(schema, MAP, root=True)


@cache
def _object_meta() -> Type:
    return type_of(definition(OBJECT_META))


DEDUCED: Final = Type(None, ANY)
_SCALAR: Final = Type(None, LEAF)
