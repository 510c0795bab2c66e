"""Conversions between versions that share their storage."""

import copy

import pytest

from skiff.api.convert import convert
from skiff.api.resources import (
    EVENTS,
    EVENTS_V1,
    HORIZONTALPODAUTOSCALERS,
    HORIZONTALPODAUTOSCALERS_V1,
)
from skiff.api.schema import decode

from .kinds import created, faults, row

CORE = {
    "apiVersion": "v1",
    "kind": "Event",
    "metadata": {"name": "e", "namespace": "ns"},
    "involvedObject": {"kind": "Pod", "name": "p"},
    "message": "m",
    "source": {"component": "c"},
    "firstTimestamp": "2024-01-01T00:00:00Z",
    "lastTimestamp": "2024-01-01T00:00:00Z",
    "count": 1,
    "reportingComponent": "rc",
    "reportingInstance": "ri",
    "reason": "r",
    "type": "Normal",
}


def test_events():
    before = copy.deepcopy(CORE)
    new = convert(CORE, "events.k8s.io/v1")
    assert new["regarding"] == {"kind": "Pod", "name": "p"}
    assert (new["note"], new["deprecatedCount"], new["reportingController"]) == ("m", 1, "rc")
    assert decode(EVENTS_V1, copy.deepcopy(new), "Strict") == []
    assert convert(new, "v1") == CORE == before
    assert convert(CORE, "v1") is CORE
    assert decode(EVENTS, copy.deepcopy(CORE), "Strict") == []


def resource_metric(name, **target):
    return {"type": "Resource", "resource": {"name": name, "target": target}}


V2 = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "h", "namespace": "ns", "annotations": {"a": "b"}},
    "spec": {
        "minReplicas": 2,
        "maxReplicas": 5,
        "scaleTargetRef": {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"},
        "metrics": [
            resource_metric("cpu", type="Utilization", averageUtilization=60),
            resource_metric("memory", type="AverageValue", averageValue="1Gi"),
            {"type": "Pods", "pods": {
                "metric": {"name": "rps", "selector": {"matchLabels": {"x": "y"}}},
                "target": {"type": "AverageValue", "averageValue": "10"}}},
            {"type": "Object", "object": {
                "describedObject": {"kind": "Ingress", "name": "i"}, "metric": {"name": "hits"},
                "target": {"type": "Value", "value": "5"}}},
            {"type": "External", "external": {
                "metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "3"}}},
        ],
        "behavior": {"scaleDown": {
            "selectPolicy": "Max", "stabilizationWindowSeconds": 60,
            "policies": [{"type": "Percent", "value": 10, "periodSeconds": 15}]}},
    },
    "status": {
        "currentReplicas": 2,
        "desiredReplicas": 3,
        "currentMetrics": [{"type": "Resource", "resource": {
            "name": "cpu", "current": {"averageUtilization": 42, "averageValue": "100m"}}}],
        "conditions": [{"type": "AbleToScale", "status": "True"}],
    },
}  # fmt: skip


def test_autoscalers_survive_the_old_version():
    v1 = convert(V2, "autoscaling/v1")
    assert v1["spec"]["targetCPUUtilizationPercentage"] == 60
    assert v1["status"]["currentCPUUtilizationPercentage"] == 42
    assert "metrics" not in v1["spec"]
    assert v1["metadata"]["annotations"]["a"] == "b"
    assert decode(HORIZONTALPODAUTOSCALERS_V1, copy.deepcopy(v1), "Strict") == []
    back = convert(v1, "autoscaling/v2")
    assert decode(HORIZONTALPODAUTOSCALERS, copy.deepcopy(back), "Strict") == []
    assert back == V2


def test_an_old_autoscaler_has_kubernetes_default_metric():
    v1 = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h", "namespace": "ns"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web"}},
    }
    v2 = convert(v1, "autoscaling/v2")
    assert v2["spec"]["metrics"] == [
        resource_metric("cpu", type="Utilization", averageUtilization=80)
    ]
    assert "annotations" not in v2["metadata"]
    assert convert(v2, "autoscaling/v1")["spec"]["targetCPUUtilizationPercentage"] == 80


def test_unknown_conversions_are_refused():
    with pytest.raises(KeyError):
        convert({"apiVersion": "v1", "kind": "Pod"}, "v2")


def test_autoscaler_rules_and_columns():
    assert faults(V2) == []
    made = created(V2)
    assert made["status"] == {"desiredReplicas": 0, "currentMetrics": None}
    assert made["spec"]["behavior"]["scaleUp"]["selectPolicy"] == "Max"
    made["status"] = V2["status"]
    assert row(made) == {
        "NAME": "h", "REFERENCE": "Deployment/web",
        "TARGETS": "cpu: 42%/60%, memory: <unknown>/1Gi + 3 more...", "MINPODS": "2", "MAXPODS": 5,
        "REPLICAS": 2, "AGE": "0s",
    }  # fmt: skip
    bad = copy.deepcopy(V2)
    bad["spec"] |= {"maxReplicas": 1, "metrics": [{"type": "Nope"}]}
    assert faults(bad) == [
        "spec.maxReplicas: Invalid value: 1: must be greater than or equal to `minReplicas`",
        'spec.metrics[0].type: Unsupported value: "Nope": supported values: "ContainerResource", '
        '"External", "Object", "Pods", "Resource"',
    ]
