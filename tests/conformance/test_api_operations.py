"""The life of objects that only the API knows: discovery, create, get, list, watch, patch, update,
delete, deletecollection, as upstream's "should support … API operations" tests go through it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from skiff.api import resources as r
from skiff.api.resources import Resource
from tests.conformance.world import Kube, Object, Verbs, names, run, template

LABEL = "special-label=special-uid"
LABELS = {"special-label": "special-uid"}
CPU = {"requests": {"cpu": "1"}}


def with_meta(rest: Object) -> Callable[[str], Object]:
    return lambda name: {"metadata": {"name": name, "labels": dict(LABELS)}, **rest}


@dataclass(frozen=True)
class Kind:
    """A kind, an object of it, a status to write, and the behaviours that its life shows."""

    resource: Resource
    rest: Object
    status: Object = field(default_factory=dict)
    show: str = ""


RULE = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"]}
RULES = [{**RULE, "resources": ["deployments"]}]
SCOPE = {"matchConstraints": {"resourceRules": RULES}}
SELECTOR = {"cel": {"expression": 'device.driver == "dra.example.com"'}}
CLAIM = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "example"}}]}}
HOOK = {
    "name": "hook.example.com",
    "clientConfig": {"url": "https://hook.example.com/path"},
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
    "rules": [
        {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "operations": ["CREATE"],
            "resources": ["nothings"],
        }
    ],
}
NOW = "2026-01-01T00:00:00Z"
CONDITION = {
    "type": "StatusUpdate",
    "status": "True",
    "reason": "E2E",
    "message": "Set from a test",
}
CONDITIONS = {"conditions": [{**CONDITION, "lastTransitionTime": NOW}]}

KINDS = [
    Kind(
        r.by_kind("flowcontrol.apiserver.k8s.io/v1", "FlowSchema"),
        {
            "spec": {
                "matchingPrecedence": 10000,
                "priorityLevelConfiguration": {"name": "global-default"},
                "distinguisherMethod": {"type": "ByUser"},
                "rules": [
                    {
                        "subjects": [
                            {"kind": "User", "user": {"name": "example-e2e-non-existent-user"}}
                        ],
                        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/flow"]}],
                    }
                ],
            }
        },
        {
            "conditions": [
                {
                    "type": "Example",
                    "status": "True",
                    "reason": "E2E",
                    "message": "x",
                    "lastTransitionTime": NOW,
                }
            ]
        },
    ),
    Kind(
        r.by_kind("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration"),
        {
            "spec": {
                "type": "Limited",
                "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}},
            }
        },
        {
            "conditions": [
                {
                    "type": "Example",
                    "status": "True",
                    "reason": "E2E",
                    "message": "x",
                    "lastTransitionTime": NOW,
                }
            ]
        },
    ),
    Kind(
        r.INGRESSES,
        {
            "spec": {
                "defaultBackend": {"service": {"name": "default-backend", "port": {"number": 80}}},
                "rules": [
                    {
                        "host": "foo.bar.com",
                        "http": {
                            "paths": [
                                {
                                    "path": "/",
                                    "pathType": "ImplementationSpecific",
                                    "backend": {
                                        "service": {
                                            "name": "test-backend",
                                            "port": {"number": 8080},
                                        }
                                    },
                                }
                            ]
                        },
                    }
                ],
            }
        },
        {"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}},
    ),
    Kind(r.INGRESSCLASSES, {"spec": {"controller": "example.com/controller"}}),
    Kind(
        r.ENDPOINTSLICES,
        {"addressType": "IPv4", "endpoints": [{"addresses": ["1.2.3.4"]}], "ports": []},
    ),
    Kind(
        r.RUNTIMECLASSES,
        {"handler": "runc"},
    ),
    Kind(
        r.CSISTORAGECAPACITIES,
        {"storageClassName": "example", "capacity": "100Gi"},
    ),
    Kind(
        r.NETWORKPOLICIES,
        {"spec": {"podSelector": {"matchLabels": {"pod-name": "test-pod"}}, "ingress": [{}]}},
    ),
    Kind(
        r.PODDISRUPTIONBUDGETS,
        {"spec": {"selector": {"matchLabels": {"foo": "bar"}}, "maxUnavailable": 1}},
        {
            "conditions": [{**CONDITION, "lastTransitionTime": NOW}],
            "disruptionsAllowed": 0,
            "currentHealthy": 0,
            "desiredHealthy": 0,
            "expectedPods": 0,
        },
    ),
    Kind(
        r.VALIDATINGADMISSIONPOLICIES,
        {
            "spec": {
                **SCOPE,
                "validations": [
                    {
                        "expression": "object.spec.replicas <= 100",
                        "messageExpression": "'no more than 100'",
                    }
                ],
            }
        },
        {"observedGeneration": 1, **CONDITIONS},
    ),
    Kind(
        r.VALIDATINGADMISSIONPOLICYBINDINGS,
        {"spec": {"policyName": "replicalimit-policy.example.com", "validationActions": ["Deny"]}},
    ),
    Kind(
        r.MUTATINGADMISSIONPOLICIES,
        {
            "spec": {
                **SCOPE,
                "reinvocationPolicy": "Never",
                "mutations": [
                    {
                        "patchType": "ApplyConfiguration",
                        "applyConfiguration": {
                            "expression": "Object{spec: Object.spec{replicas: 1}}"
                        },
                    }
                ],
            }
        },
    ),
    Kind(r.MUTATINGADMISSIONPOLICYBINDINGS, {"spec": {"policyName": "policy.example.com"}}),
    Kind(r.VALIDATINGWEBHOOKCONFIGURATIONS, {"webhooks": [HOOK]}),
    Kind(r.MUTATINGWEBHOOKCONFIGURATIONS, {"webhooks": [HOOK]}),
    Kind(r.DEVICECLASSES, {"spec": {"selectors": [SELECTOR]}}),
    Kind(
        r.RESOURCECLAIMS,
        {"spec": CLAIM},
        {
            "reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}],
            "allocation": {
                "devices": {
                    "results": [
                        {"request": "r", "driver": "dra.example.com", "pool": "p", "device": "d"}
                    ]
                }
            },
        },
    ),
    Kind(r.RESOURCECLAIMTEMPLATES, {"spec": {"spec": CLAIM}}),
    Kind(
        r.RESOURCESLICES,
        {
            "spec": {
                "nodeName": "node",
                "driver": "dra.example.com",
                "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
                "devices": [{"name": "d"}],
            }
        },
    ),
    Kind(r.LEASES, {"spec": {"holderIdentity": "holder", "leaseDurationSeconds": 30}}),
    Kind(r.PODTEMPLATES, {"template": template({"a": "b"})}),
    Kind(r.CONTROLLERREVISIONS, {"revision": 1, "data": {"any": "thing"}}),
    Kind(r.PRIORITYCLASSES, {"value": 1, "description": "x"}),
    Kind(r.STORAGECLASSES, {"provisioner": "e2e-fake-provisioner"}),
    Kind(r.CSIDRIVERS, {"spec": {"attachRequired": True, "podInfoOnMount": True}}),
    Kind(
        r.VOLUMEATTACHMENTS,
        {"spec": {"attacher": "e2e", "nodeName": "node", "source": {"persistentVolumeName": "pv"}}},
        {"attached": True},
    ),
    Kind(
        r.VOLUMEATTRIBUTESCLASSES, {"driverName": "e2e-fake-csi-driver", "parameters": {"a": "b"}}
    ),
    Kind(r.CSINODES, {"spec": {"drivers": [{"name": "d", "nodeID": "n", "topologyKeys": ["k"]}]}}),
    Kind(
        r.CRONJOBS,
        {
            "spec": {
                "schedule": "*/1 * * * *",
                "suspend": True,
                "jobTemplate": {"spec": {"template": template({}, restartPolicy="OnFailure")}},
            }
        },
        {"lastScheduleTime": NOW},
    ),
    Kind(
        r.HORIZONTALPODAUTOSCALERS,
        {
            "spec": {
                "maxReplicas": 3,
                "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
            }
        },
        {"currentReplicas": 1, "desiredReplicas": 2},
    ),
    Kind(r.SERVICECIDRS, {"spec": {"cidrs": ["10.0.0.0/20"]}}, CONDITIONS),
]


def made(kind: Kind, number: int) -> Object:
    return with_meta(kind.rest)(f"e2e-example-{number}")


async def discovered(kube: Kube, resource: Resource, *, status: bool) -> None:
    """Group, version and resource are in the discovery documents."""
    if resource.group:
        groups = {g["name"]: g for g in (await kube.get("/apis"))["groups"]}
        versions = groups[resource.group]["versions"]
        assert {"groupVersion": resource.api_version, "version": resource.version} in versions
        group = await kube.get(f"/apis/{resource.group}")
        assert resource.version in [v["version"] for v in group["versions"]]
        listed = await kube.get(f"/apis/{resource.api_version}")
    else:
        listed = await kube.get("/api/v1")
    assert listed["groupVersion"] == resource.api_version
    found = {x["name"]: x for x in listed["resources"]}
    assert found[resource.plural]["kind"] == resource.kind
    assert found[resource.plural]["namespaced"] is resource.namespaced
    assert not status or f"{resource.plural}/status" in found


async def whole_life(kube: Kube, kind: Kind) -> None:
    api = kube.of(kind.resource)
    await discovered(kube, kind.resource, status=bool(kind.status))
    before = await api.items(LABEL)
    assert before == []
    created = [await api.create(made(kind, i)) for i in range(3)]
    await reading(api, created)
    start = (await api.list(LABEL))["metadata"]["resourceVersion"]
    async with api.watch(LABEL, resourceVersion=start) as watch:
        name = created[0]["metadata"]["name"]
        await changing(api, name)
        await watch.expect("MODIFIED", lambda o: "patched" in annotations(o))
        await watch.expect("MODIFIED", lambda o: "updated" in annotations(o))
        if kind.status:
            await its_status(api, name, kind.status)
        await api.delete(name)
        await watch.expect("DELETED", lambda o: o["metadata"]["name"] == name)
        await api.gone(name)
        assert len(await api.items(LABEL)) == 2
        await api.delete_all(LABEL)
        await watch.expect("DELETED")
        await watch.expect("DELETED")
    await api.count(0, LABEL)


async def reading(api: Verbs, created: list[Object]) -> None:
    got = await api.get(created[0]["metadata"]["name"])
    assert got["metadata"]["uid"] == created[0]["metadata"]["uid"]
    assert got == created[0] or "status" in got  # a controller may have written since
    found = await api.list(LABEL)
    assert found["kind"] == f"{api.resource.kind}List"
    assert found["apiVersion"] == api.resource.api_version
    assert names(found["items"]) == names(created)
    everywhere = await api.everywhere(LABEL)
    assert names(everywhere) == names(created)
    again = await api.refused(
        {"metadata": created[0]["metadata"]}
        | {k: v for k, v in created[0].items() if k not in ("metadata", "status")}
        | {"metadata": {"name": got["metadata"]["name"]}}
    )
    again.failed(409, "AlreadyExists", "already exists")


async def changing(api: Verbs, name: str) -> None:
    patched = await api.patch(name, {"metadata": {"annotations": {"patched": "true"}}})
    assert patched["metadata"]["annotations"]["patched"] == "true"
    updated = await api.change(name, lambda o: o["metadata"]["annotations"].update(updated="true"))
    assert annotations(updated) | {"patched": "true", "updated": "true"} == annotations(updated)
    assert updated["metadata"]["resourceVersion"] != patched["metadata"]["resourceVersion"]
    stale = await api.kube.call(
        "PUT",
        api.path(name),
        patched | {"metadata": patched["metadata"] | {"labels": {**LABELS, "stale": "1"}}},
    )
    stale.failed(409, "Conflict", "the object has been modified; please apply your changes")


async def its_status(api: Verbs, name: str, status: Object) -> None:
    """Patched, then updated; the rest of the object stays as it is."""
    before = await api.get(name)
    patch = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": status}
    patched = await api.patch(name, patch, subresource="status")
    assert contains(patched["status"], status), patched["status"]
    if api.resource != r.RESOURCECLAIMS:
        assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
    assert patched.get("spec") == before.get("spec")
    got = await api.get(name, "status")
    assert got["metadata"]["uid"] == before["metadata"]["uid"]
    assert contains(got["status"], status)

    def clear(obj: Object) -> None:
        obj["metadata"]["annotations"]["updatedstatus"] = "true"

    updated = await api.change(name, clear, "status")
    assert contains(updated["status"], status)
    kept = await api.change(name, lambda o: o.update(status={}))
    assert contains(kept["status"], status)  # the main resource does not write it


def annotations(obj: Object) -> Object:
    found: Object = obj["metadata"].get("annotations") or {}
    return found


def contains(found: Any, wanted: Any) -> bool:
    """Whether `found` says all that `wanted` says."""
    if isinstance(wanted, dict):
        return all(k in found and contains(found[k], v) for k, v in wanted.items())
    return bool(found == wanted)


@pytest.mark.conformance(
    "[sig-api-machinery] API priority and fairness should support FlowSchema API operations [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] API priority and fairness should support PriorityLevelConfiguration API operations [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should support MutatingAdmissionPolicy API operations [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should support MutatingAdmissionPolicyBinding API operations [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should support ValidatingAdmissionPolicy API operations [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should support ValidatingAdmissionPolicyBinding API operations [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should include webhook resources in discovery documents [Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] ControllerRevision [Serial] should manage the lifecycle of a ControllerRevision [Conformance]"
)
@pytest.mark.conformance("[sig-apps] CronJob should support CronJob API operations [Conformance]")
@pytest.mark.conformance(
    "[sig-apps] DisruptionController Listing PodDisruptionBudgets for all namespaces should list and delete a collection of PodDisruptionBudgets [Conformance]"
)
@pytest.mark.conformance(
    "[sig-network] EndpointSlice should support creating EndpointSlice API operations [Conformance]"
)
@pytest.mark.conformance(
    "[sig-network] Ingress API should support creating Ingress API operations [Conformance]"
)
@pytest.mark.conformance(
    "[sig-network] IngressClass API should support creating IngressClass API operations [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] PodTemplates should run the lifecycle of PodTemplates [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] PodTemplates should delete a collection of pod templates [Conformance]"
)
@pytest.mark.conformance("[sig-node] PodTemplates should replace a pod template [Conformance]")
@pytest.mark.conformance(
    "[sig-node] RuntimeClass should support RuntimeClasses API operations [Conformance]"
)
@pytest.mark.conformance("[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 DeviceClass [Conformance]")
@pytest.mark.conformance(
    "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceClaim [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceClaimTemplate [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceSlice [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] CSIInlineVolumes should run through the lifecycle of a CSIDriver [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] CSINodes CSI Conformance should run through the lifecycle of a csinode [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] CSIStorageCapacity should support CSIStorageCapacities API operations [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] StorageClasses CSI Conformance should run through the lifecycle of a StorageClass [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] VolumeAttachment Conformance should apply changes to a volumeattachment status [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] VolumeAttributesClass [FeatureGate:VolumeAttributesClass] should run through the lifecycle of a VolumeAttributesClass [Conformance]"
)
@pytest.mark.conformance(
    "[sig-network] ServiceCIDR and IPAddress API should support ServiceCIDR API operations [Conformance]"
)
@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.resource.plural)
def test_every_kind_has_a_whole_life(kind: Kind) -> None:
    run(lambda kube: whole_life(kube, kind))
