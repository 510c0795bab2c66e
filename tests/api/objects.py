"""Hypothesis strategies that draw objects of a schema: any object that decodes."""

import functools

from hypothesis import strategies as st

from skiff.api.schema.model import MICRO_TIME, QUANTITY, TIME, definition

texts = st.sampled_from(
    ["", "a", "web", "a-b", "A b", "/x/../y", "10.0.0.1", "fd00::1", "80%", "Always", "TCP", "*",
     "x.example.com/y", "é", "In", "None"]
)  # fmt: skip
LEAVES = {
    TIME: st.just("2024-02-03T04:05:06Z"),
    MICRO_TIME: st.just("2024-02-03T04:05:06.000007Z"),
    QUANTITY: st.sampled_from(["1", "100m", "64Mi", "0", "-1", "1.5Gi"]),
}


def of(schema, depth=7):
    """Objects of this type, `depth` levels deep at most."""
    if schema.name in LEAVES:
        return LEAVES[schema.name]
    if schema.any_fields:
        return st.just({} if "JSONSchemaProps" in schema.name else {"x": 1})
    if schema.int_or_string:
        return st.one_of(st.integers(-1, 70000), texts)
    if schema.type == "object":
        if schema.additional is not None:
            return st.dictionaries(texts, of(schema.additional, depth - 1), max_size=2)
        return struct(schema.name, depth) if schema.name else inline(schema, depth)
    if schema.type == "array":
        if depth <= 0 or schema.items is None:
            return st.just([])
        return st.lists(st.deferred(lambda: of(schema.items, depth - 1)), max_size=2)
    if schema.type == "integer":
        return st.integers(-1, 3) | st.sampled_from([80, 65536, 2**31 - 1])
    if schema.type == "number":
        return st.sampled_from([0.0, 1.5])
    if schema.type == "boolean":
        return st.booleans()
    if schema.format == "byte":
        return st.sampled_from(["", "eA==", "e30="])
    return texts


def later(schema, depth):
    return st.deferred(lambda: of(schema, depth))


@functools.cache
def struct(name, depth):
    return inline(definition(name), depth)


def inline(schema, depth):
    if depth <= 0:
        return st.just({})
    fields = {k: later(v, depth - 1) for k, v in schema.properties.items()}
    return (
        st.lists(st.sampled_from(sorted(fields)), max_size=6, unique=True).flatmap(
            lambda chosen: st.fixed_dictionaries({k: fields[k] for k in chosen})
        )
        if fields
        else st.just({})
    )


def kind(schema):
    """Whole objects: metadata and some of the rest."""
    rest = {
        k: of(v, 7)
        for k, v in schema.properties.items()
        if k not in ("apiVersion", "kind", "metadata")
    }
    meta = struct("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", 4)
    return st.fixed_dictionaries({"metadata": meta}, optional=rest)
