"""Objects for tests of kinds: small, valid, and made as the server makes them."""

import copy

from skiff.api.kinds import strategy_for
from skiff.api.resources import by_kind
from skiff.api.schema import decode

CREATED = "2024-01-01T00:00:00Z"
NOW = 1704067200.0  # CREATED


def container(name="c", **more):
    return {"name": name, "image": "img:1", **more}


def pod(*containers, name="p", **spec):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"containers": list(containers) or [container()], **spec},
    }


def workload(kind, api_version="apps/v1", restart="Always", **spec):
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [container()], "restartPolicy": restart},
    }
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": "web", "namespace": "ns"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec},
    }


def strategy_of(obj):
    return strategy_for(by_kind(obj["apiVersion"], obj["kind"]))


def created(obj):
    """The object as it is stored after a create."""
    obj = copy.deepcopy(obj)
    resource = by_kind(obj["apiVersion"], obj["kind"])
    decode(resource, obj, "Strict")
    strategy = strategy_for(resource)
    strategy.default(obj)
    obj["metadata"] |= {"uid": "u-1", "creationTimestamp": CREATED, "resourceVersion": "1"}
    strategy.prepare_create(obj)
    return obj


def faults(obj):
    """The errors of a create, as texts."""
    return [str(e) for e in strategy_of(obj).validate_create(created(obj))]


def updated(old, change, subresource=""):
    """(the new object as it would be stored, the errors of the update as texts)."""
    old = created(old) if "uid" not in old["metadata"] else old
    new = copy.deepcopy(old)
    change(new)
    strategy = strategy_of(old)
    strategy.default(new)
    strategy.prepare_update(new, old, subresource)
    errors = strategy.validate(new) + strategy.validate_update(new, old, subresource)
    return new, [str(e) for e in errors]


def row(obj, now=NOW, wide=True):
    """The cells of an object's table row, by column name."""
    columns = strategy_of(obj).columns
    cells = columns.cells(obj, now)
    return {
        c.name.upper(): v
        for c, v in zip(columns.columns, cells, strict=True)
        if wide or not c.priority
    }
