"""Columns of kinds whose rows are made of a pod template: its containers, images and selector."""

from typing import Any

from skiff.api.kinds.columns import (
    AGE,
    NAME,
    Columns,
    columns,
    containers_text,
    labels_text,
    selector_text,
    since,
)


def _pod_template(obj: dict[str, Any], _now: float) -> list[Any]:
    template = obj.get("template", {})
    found, images = containers_text(template.get("spec", {}))
    labels = labels_text(template.get("metadata", {}).get("labels"))
    return [obj["metadata"].get("name", ""), found, images, labels]


POD_TEMPLATE = Columns(columns(NAME, "Containers", "Images", "Pod Labels"), _pod_template)


def _counts(obj: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], tuple[str, str]]:
    spec = obj.get("spec", {})
    return spec, obj.get("status", {}), containers_text(spec.get("template", {}).get("spec", {}))


def _deployment(obj: dict[str, Any], now: float) -> list[Any]:
    spec, status, (found, images) = _counts(obj)
    return [
        obj["metadata"].get("name", ""),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        since(obj["metadata"].get("creationTimestamp"), now),
        found,
        images,
        selector_text(spec.get("selector")),
    ]


DEPLOYMENT = Columns(
    columns(
        NAME, "Ready", "Up-to-date:integer", "Available:integer", AGE, "Containers*", "Images*",
        "Selector*",
    ),
    _deployment,
)  # fmt: skip


def _replica_set(obj: dict[str, Any], now: float) -> list[Any]:
    spec, status, (found, images) = _counts(obj)
    return [
        obj["metadata"].get("name", ""),
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        since(obj["metadata"].get("creationTimestamp"), now),
        found,
        images,
        selector_text(spec.get("selector")),
    ]


REPLICA_SET = Columns(
    columns(
        NAME, "Desired:integer", "Current:integer", "Ready:integer", AGE, "Containers*", "Images*",
        "Selector*",
    ),
    _replica_set,
)  # fmt: skip


def _replication_controller(obj: dict[str, Any], now: float) -> list[Any]:
    row = _replica_set({**obj, "spec": {**obj.get("spec", {}), "selector": None}}, now)
    row[-1] = labels_text(obj.get("spec", {}).get("selector"))
    return row


REPLICATION_CONTROLLER = Columns(REPLICA_SET.columns, _replication_controller)


def _stateful_set(obj: dict[str, Any], now: float) -> list[Any]:
    spec, status, (found, images) = _counts(obj)
    return [
        obj["metadata"].get("name", ""),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        since(obj["metadata"].get("creationTimestamp"), now),
        found,
        images,
    ]


STATEFUL_SET = Columns(columns(NAME, "Ready", AGE, "Containers*", "Images*"), _stateful_set)


def _daemon_set(obj: dict[str, Any], now: float) -> list[Any]:
    spec, status, (found, images) = _counts(obj)
    node_selector = spec.get("template", {}).get("spec", {}).get("nodeSelector")
    return [
        obj["metadata"].get("name", ""),
        status.get("desiredNumberScheduled", 0),
        status.get("currentNumberScheduled", 0),
        status.get("numberReady", 0),
        status.get("updatedNumberScheduled", 0),
        status.get("numberAvailable", 0),
        labels_text(node_selector),
        since(obj["metadata"].get("creationTimestamp"), now),
        found,
        images,
        selector_text(spec.get("selector")),
    ]


DAEMON_SET = Columns(
    columns(
        NAME, "Desired:integer", "Current:integer", "Ready:integer", "Up-to-date:integer",
        "Available:integer", "Node Selector", AGE, "Containers*", "Images*", "Selector*",
    ),
    _daemon_set,
)  # fmt: skip
