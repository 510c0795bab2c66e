"""Every kind's strategy takes every object of its type: no rule fails on an odd object."""

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skiff.api.kinds import invalid_object, strategy_for
from skiff.api.resources import TABLE
from skiff.api.schema import decode, schema_for

from . import objects

PERSISTED = [r for r in TABLE if r.persisted]


@pytest.mark.parametrize("resource", TABLE, ids=lambda r: f"{r.group}/{r.version}/{r.plural}")
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_rules_never_fail(resource, data):
    schema = schema_for(resource)
    strategy = strategy_for(resource)
    obj = data.draw(objects.kind(schema))
    obj |= {"apiVersion": resource.api_version, "kind": resource.kind}
    decode(resource, obj, "Strict")
    strategy.default(obj)
    once = copy.deepcopy(obj)
    strategy.default(obj)
    assert obj == once, "defaults are idempotent"
    assert decode(resource, obj, "Strict") == [], "defaults are of the kind's type"
    assert obj == once, "defaults are canonical"
    if resource.storage_version != resource.api_version:
        return
    strategy.prepare_create(obj)
    errors = strategy.validate_create(obj)
    if errors:
        assert invalid_object(resource, "x", errors).status()["details"]["causes"]
    strategy.warnings(obj)
    fields = strategy.selectable(obj)
    assert all(isinstance(v, str) for v in fields.values())
    obj["metadata"]["creationTimestamp"] = "2024-02-03T04:05:06Z"
    row = strategy.columns.cells(obj, 1.8e9)
    assert len(row) == len(strategy.columns.columns)
    other = data.draw(objects.kind(schema))
    other |= {"apiVersion": resource.api_version, "kind": resource.kind}
    decode(resource, other, "Strict")
    strategy.default(other)
    for subresource in ("", "status"):
        new = copy.deepcopy(other)
        strategy.prepare_update(new, obj, subresource)
        strategy.validate_update(new, obj, subresource)
