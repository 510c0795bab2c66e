"""Services, endpoints, config, nodes, namespaces, volumes, quotas, events; metadata of all kinds."""

import pytest

from skiff.api.kinds import strategy_for
from skiff.api.kinds.metadata import validate_label_selector
from skiff.api.resources import (
    EVENTS,
    EVENTS_V1,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    SECRETS,
    SERVICES,
)

from .kinds import NOW, created, faults, pod, row, updated

SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'example.com', regex used for "
    r"validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and "
    "must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', "
    "regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
CONFIG_KEY = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
    "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


def core(kind, name="x", namespace="ns", api_version="v1", **rest):
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def with_meta(**meta):
    obj = pod()
    obj["metadata"] |= meta
    return obj


OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "o", "uid": "1", "controller": True}


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"name": "A"}, [f'metadata.name: Invalid value: "A": {SUBDOMAIN}']),
        ({"name": ""}, ["metadata.name: Required value: name or generateName is required"]),
        ({"generateName": "a-"}, []),
        ({"generateName": "AB-"}, [f'metadata.generateName: Invalid value: "AB-": {SUBDOMAIN}']),
        ({"namespace": ""}, ["metadata.namespace: Required value"]),
        ({"labels": {"a": "b c"}}, [f'metadata.labels: Invalid value: "b c": {LABEL_VALUE}']),
        ({"labels": {"a": "b" * 64}},
         [f'metadata.labels: Invalid value: "{"b" * 64}": must be no more than 63 bytes']),
        ({"labels": {"a/b/c": ""}},
         ['metadata.labels: Invalid value: "a/b/c": a qualified name must consist of alphanumeric '
          "characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
          "'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
          "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' "
          "(e.g. 'example.com/MyName')"]),
        ({"labels": {"/a": ""}}, ['metadata.labels: Invalid value: "/a": prefix part must be non-empty']),
        ({"annotations": {"a": "x" * 262144}},
         ["metadata.annotations: Too long: may not be more than 262144 bytes"]),
        ({"finalizers": ["plain"]},
         ['metadata.finalizers: Invalid value: "plain": name is neither a standard finalizer name nor is '
          "it fully qualified"]),
        ({"finalizers": ["orphan", "foregroundDeletion"]},
         ['metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: finalizer orphan and '
          "foregroundDeletion cannot be both set"]),
        ({"ownerReferences": [OWNER, {**OWNER, "name": "p"}]},
         ["metadata.ownerReferences: Invalid value: " + str([OWNER, {**OWNER, "name": "p"}])
          .replace("'", '"').replace("True", "true").replace(", ", ",").replace(": ", ":")
          + ': Only one reference can have Controller set to true. Found "true" in references for Pod/o and Pod/p']),
        ({"ownerReferences": [{**OWNER, "uid": ""}]},
         ['metadata.ownerReferences.uid: Invalid value: "": must not be empty']),
    ],
)  # fmt: skip
def test_metadata(meta, expected):
    assert faults(with_meta(**meta)) == expected


def test_cluster_scoped_objects_have_no_namespace():
    assert faults(core("Node", namespace="ns")) == [
        "metadata.namespace: Forbidden: not allowed on this type"
    ]


def test_metadata_that_may_not_change():
    old = created(pod())
    _, errors = updated(old, lambda o: o["metadata"].update(uid="other"))
    assert errors == ['metadata.uid: Invalid value: "other": field is immutable']
    _, errors = updated(old, lambda o: o["metadata"].pop("resourceVersion"))
    assert errors == [
        'metadata.resourceVersion: Invalid value: "": must be specified for an update'
    ]
    deleted = created(with_meta(finalizers=["a.io/b"]))
    deleted["metadata"]["deletionTimestamp"] = "2024-01-01T00:00:00Z"
    _, errors = updated(deleted, lambda o: o["metadata"]["finalizers"].append("a.io/c"))
    assert errors == [
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
        'found new finalizers []string{"a.io/c"}'
    ]
    _, errors = updated(deleted, lambda o: o["metadata"].pop("finalizers"))
    assert errors == []


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ({"key": "a", "operator": "In", "values": ["b"]}, []),
        ({"key": "a", "operator": "In"},
         ["s.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or "
          "'NotIn'"]),
        ({"key": "a", "operator": "Exists", "values": ["b"]},
         ["s.matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or "
          "'DoesNotExist'"]),
        ({"key": "a", "operator": "Near"},
         ['s.matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator']),
    ],
)  # fmt: skip
def test_label_selectors(requirement, expected):
    assert [
        str(e) for e in validate_label_selector({"matchExpressions": [requirement]}, "s")
    ] == expected


def service(kind=None, **spec):
    if kind:
        spec["type"] = kind
    spec.setdefault("ports", [{"port": 80}])
    return core("Service", spec=spec)


def test_service_defaults():
    assert created(service())["spec"] == {
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
    }
    spec = created(service("LoadBalancer", sessionAffinity="ClientIP"))["spec"]
    assert spec["externalTrafficPolicy"] == "Cluster"
    assert spec["allocateLoadBalancerNodePorts"] is True
    assert spec["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    assert created(service())["status"] == {"loadBalancer": {}}


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (service(ports=[]), ["spec.ports: Required value"]),
        (service(ports=[], clusterIP="None"), []),
        (service("ExternalName", ports=[]), ["spec.externalName: Required value"]),
        (service("Nope"),
         ['spec.type: Unsupported value: "Nope": supported values: "ClusterIP", "ExternalName", '
          '"LoadBalancer", "NodePort"']),
        (service(ports=[{"port": 80}, {"port": 81}]),
         ["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"]),
        (service(ports=[{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]),
         ['spec.ports[1].name: Duplicate value: "a"']),
        (service(ports=[{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]),
         ['spec.ports[1]: Duplicate value: {"protocol":"TCP","port":80}']),
        (service(ports=[{"port": 0}]),
         ["spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
          "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive"]),
        (service(ports=[{"port": 80, "nodePort": 30000}]),
         ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"]),
        (service(externalTrafficPolicy="Local"),
         ['spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible '
          "services"]),
        (service(sessionAffinity="Sticky"),
         ['spec.sessionAffinity: Unsupported value: "Sticky": supported values: "ClientIP", "None"']),
        (service(externalIPs=["127.0.0.1"]),
         ['spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range '
          "(127.0.0.0/8, ::1/128)"]),
        (service("NodePort", clusterIP="None"),
         ["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"]),
    ],
)  # fmt: skip
def test_rules_of_services(obj, expected):
    assert faults(obj) == expected


def test_a_services_cluster_ip_stays():
    old = created(service(clusterIP="10.96.0.7", clusterIPs=["10.96.0.7"]))
    _, errors = updated(
        old, lambda o: o["spec"].update(clusterIP="10.96.0.8", clusterIPs=["10.96.0.8"])
    )
    assert errors == ['spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set']


def test_fields_of_the_old_type_go_with_it():
    old = created(service("LoadBalancer"))
    new, errors = updated(old, lambda o: o["spec"].update(type="ClusterIP"))
    assert errors == []
    assert "externalTrafficPolicy" not in new["spec"]
    assert "allocateLoadBalancerNodePorts" not in new["spec"]


def test_service_columns():
    made = created(service("NodePort", selector={"b": "2", "a": "1"}))
    made["spec"] |= {"clusterIP": "10.96.0.7"}
    made["spec"]["ports"][0]["nodePort"] = 30080
    assert row(made) == {
        "NAME": "x", "TYPE": "NodePort", "CLUSTER-IP": "10.96.0.7", "EXTERNAL-IP": "<none>",
        "PORT(S)": "80:30080/TCP", "AGE": "0s", "SELECTOR": "a=1,b=2",
    }  # fmt: skip
    made = created(service("LoadBalancer"))
    assert row(made)["EXTERNAL-IP"] == "<pending>"
    made["status"] = {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}
    assert row(made)["EXTERNAL-IP"] == "1.2.3.4"
    assert strategy_for(SERVICES).selectable(made) == {
        "spec.clusterIP": "",
        "spec.type": "LoadBalancer",
    }


def test_endpoints():
    obj = core(
        "Endpoints",
        subsets=[
            {"addresses": [{"ip": f"10.0.0.{i}"} for i in range(1, 6)], "ports": [{"port": 80}]}
        ],
    )
    assert faults(obj) == []
    assert row(created(obj))["ENDPOINTS"] == "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more..."
    obj = core("Endpoints", subsets=[{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 80}]}])
    assert faults(obj) == [
        'subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range '
        "(127.0.0.0/8, ::1/128)"
    ]


def endpoint_slice(**rest):
    rest = {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], **rest}
    return core("EndpointSlice", api_version="discovery.k8s.io/v1", **rest)


def test_endpoint_slices():
    made = created(endpoint_slice(ports=[{"port": 80}]))
    assert made["ports"] == [{"port": 80, "name": "", "protocol": "TCP"}]
    assert row(made) == {
        "NAME": "x", "ADDRESSTYPE": "IPv4", "PORTS": "80", "ENDPOINTS": "10.0.0.1", "AGE": "0s",
    }  # fmt: skip
    assert faults(endpoint_slice(addressType="X")) == [
        'addressType: Unsupported value: "X": supported values: "FQDN", "IPv4", "IPv6"'
    ]
    _, errors = updated(made, lambda o: o.update(addressType="FQDN"))
    assert 'addressType: Invalid value: "FQDN": field is immutable' in errors
    new, _ = updated(made, lambda o: o["endpoints"].append({"addresses": ["10.0.0.2"]}))
    assert new["metadata"]["generation"] == 2


def test_config_maps():
    assert faults(core("ConfigMap", data={"a b": "x"})) == [
        f'data[a b]: Invalid value: "a b": {CONFIG_KEY}'
    ]
    assert faults(core("ConfigMap", data={"a": "x" * 2**20 + "y"})) == [
        ": Too long: may not be more than 1048576 bytes"
    ]
    assert faults(core("ConfigMap", data={"a": "x"}, binaryData={"a": "eA=="})) == [
        'data[a]: Invalid value: "a": duplicate of key present in binaryData'
    ]
    old = core("ConfigMap", data={"a": "x"}, immutable=True)
    _, errors = updated(old, lambda o: o["data"].update(b="y"))
    assert errors == ["data: Forbidden: field is immutable when `immutable` is set"]
    _, errors = updated(old, lambda o: o.pop("immutable"))
    assert errors == ["immutable: Forbidden: field is immutable when `immutable` is set"]
    assert row(created(core("ConfigMap", data={"a": ""}))) == {"NAME": "x", "DATA": 1, "AGE": "0s"}


def test_secrets():
    made = created(core("Secret", stringData={"a": "x"}, data={"a": "b2xk", "b": ""}))
    assert (made["type"], made["data"]) == ("Opaque", {"a": "eA==", "b": ""})
    assert "stringData" not in made
    assert row(made) == {"NAME": "x", "TYPE": "Opaque", "DATA": 2, "AGE": "0s"}
    assert strategy_for(SECRETS).selectable(made) == {"type": "Opaque"}
    assert faults(core("Secret", type="kubernetes.io/tls", data={"tls.crt": ""})) == [
        "data[tls.key]: Required value"
    ]
    _, errors = updated(made, lambda o: o.update(type="x/y"))
    assert errors == ['type: Invalid value: "x/y": field is immutable']


def test_namespaces():
    made = created(core("Namespace", namespace=""))
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "x"}
    assert (made["spec"], made["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})
    assert strategy_for(NAMESPACES).selectable(made)["status.phase"] == "Active"
    new, errors = updated(made, lambda o: o["spec"].update(finalizers=[]))
    assert (new["spec"], errors) == ({"finalizers": ["kubernetes"]}, [])
    new, errors = updated(made, lambda o: o["spec"].update(finalizers=[]), "finalize")
    assert (new["spec"], errors) == ({"finalizers": []}, [])
    _, errors = updated(made, lambda o: o["status"].update(phase="Terminating"), "status")
    assert errors == [
        "status.phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
    ]
    assert faults(core("Namespace", "a.b", ""))[0].startswith('metadata.name: Invalid value: "a.b"')


def test_nodes():
    node = core("Node", "n", "", spec={"unschedulable": True}, status={
        "conditions": [{"type": "Ready", "status": "True"}],
        "addresses": [{"type": "InternalIP", "address": "10.0.0.9"}],
        "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian"},
        "capacity": {"cpu": "2"},
    })  # fmt: skip
    node["metadata"]["labels"] = {"node-role.kubernetes.io/control-plane": ""}
    made = created(node)
    assert made["status"]["allocatable"] == {"cpu": "2"}, "a kubelet registers with its status"
    assert row(made) == {
        "NAME": "n", "STATUS": "Ready,SchedulingDisabled", "ROLES": "control-plane", "AGE": "0s",
        "VERSION": "v1.36.0", "INTERNAL-IP": "10.0.0.9", "EXTERNAL-IP": "<none>",
        "OS-IMAGE": "Debian", "KERNEL-VERSION": "<unknown>", "CONTAINER-RUNTIME": "<unknown>",
    }  # fmt: skip
    assert strategy_for(NODES).selectable(made) == {"spec.unschedulable": "true"}
    taint = {"key": "k", "effect": "Sometimes"}
    assert faults(core("Node", "n", "", spec={"taints": [taint]})) == [
        'spec.taints[0].effect: Unsupported value: "Sometimes": supported values: "NoSchedule", '
        '"PreferNoSchedule", "NoExecute"'
    ]


def claim(**spec):
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    return core("PersistentVolumeClaim", spec=spec)


def test_claims():
    made = created(claim())
    assert made["spec"]["volumeMode"] == "Filesystem"
    assert made["status"] == {"phase": "Pending"}
    assert faults(claim()) == []
    assert faults(claim(resources={})) == ["spec.resources[storage]: Required value"]
    assert updated(made, lambda o: o["spec"].update(volumeName="pv"))[1] == []
    bound = created(claim(volumeName="pv"))
    bound["status"] = {
        "phase": "Bound",
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
    }
    assert row(bound) == {
        "NAME": "x", "STATUS": "Bound", "VOLUME": "pv", "CAPACITY": "1Gi", "ACCESS MODES": "RWO",
        "STORAGECLASS": "", "VOLUMEATTRIBUTESCLASS": "<unset>", "AGE": "0s",
        "VOLUMEMODE": "Filesystem",
    }  # fmt: skip
    grow = {"requests": {"storage": "2Gi"}}
    assert updated(bound, lambda o: o["spec"].update(resources=grow))[1] == []
    _, errors = updated(bound, lambda o: o["spec"].update(volumeName="other"))
    assert errors[0].startswith(
        "spec: Forbidden: spec is immutable after creation except resources.requests and "
        "volumeAttributesClassName for bound claims\n"
    )


def test_volumes():
    spec = {
        "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
        "capacity": {"storage": "1Gi"},
        "hostPath": {"path": "/x"},
        "claimRef": {"namespace": "ns", "name": "c"},
    }
    made = created(core("PersistentVolume", namespace="", spec=spec))
    assert made["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert row(made, wide=False) == {
        "NAME": "x", "CAPACITY": "1Gi", "ACCESS MODES": "RWO,ROX", "RECLAIM POLICY": "Retain",
        "STATUS": "Pending", "CLAIM": "ns/c", "STORAGECLASS": "", "VOLUMEATTRIBUTESCLASS": "<unset>",
        "REASON": "", "AGE": "0s",
    }  # fmt: skip
    _, errors = updated(made, lambda o: o["spec"].update(hostPath={"path": "/y", "type": ""}))
    assert errors[0].startswith(
        "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"
    )
    assert faults(
        core("PersistentVolume", namespace="", spec={"accessModes": ["ReadWriteOnce"]})
    ) == [
        "spec.capacity: Required value",
        'spec.capacity: Unsupported value: null: supported values: "storage"',
        "spec: Required value: must specify a volume type",
    ]
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
        "hostPath": {"path": "/x"},
        "nodeAffinity": {},
    }
    assert faults(core("PersistentVolume", namespace="", spec=spec)) == [
        "spec.nodeAffinity.required: Required value: must specify required node constraints"
    ]


def test_quotas_and_limits():
    quota = created(core("ResourceQuota", spec={"hard": {"pods": "2", "limits.cpu": "1"}}))
    quota["status"] = {"hard": quota["spec"]["hard"], "used": {"pods": "1"}}
    assert row(quota) == {
        "NAME": "x", "REQUEST": "pods: 1/2", "LIMIT": "limits.cpu: 0/1", "AGE": "0s",
    }  # fmt: skip
    assert faults(core("ResourceQuota", spec={"hard": {"pods": "0.5"}})) == [
        'spec.hard[pods]: Invalid value: "500m": must be an integer'
    ]
    limit = {"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}}
    made = created(core("LimitRange", spec={"limits": [limit]}))
    assert made["spec"]["limits"][0]["default"] == {"cpu": "2"}
    assert made["spec"]["limits"][0]["defaultRequest"] == {"cpu": "2"}
    bad = {"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "2"}}
    assert faults(core("LimitRange", spec={"limits": [bad]}))[0] == (
        'spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1'
    )
    odd = {
        "type": "Foo",
        "max": {"cpu": "4"},
        "min": {"cpu": "2"},
        "maxLimitRequestRatio": {"cpu": "3", "memory": "500m"},
    }
    at = "spec.limits[0]"
    assert faults(core("LimitRange", spec={"limits": [odd]})) == [
        f'{at}.type: Invalid value: "Foo": must be a standard limit type or fully qualified',
        f'{at}.maxLimitRequestRatio[cpu]: Invalid value: "3": ratio 3 is greater than max/min = 2.000000',
        f'{at}.maxLimitRequestRatio[memory]: Invalid value: "500m": ratio 500m is less than 1',
    ]
    strange = {"type": "Container", "max": {"x": "1"}}
    assert faults(core("LimitRange", spec={"limits": [strange]}))[-1].endswith(
        "must be a standard resource for containers"
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"scopes": ["BestEffort", "NotBestEffort"]},
            [
                'spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes',
            ],
        ),
        (
            {"hard": {"services": "1"}, "scopes": ["Terminating"]},
            [
                'spec.scopes: Invalid value: ["Terminating"]: unsupported scope applied to resource',
            ],
        ),
        (
            {"scopes": ["Sometimes"]},
            ['spec.scopes: Invalid value: ["Sometimes"]: unsupported scope'],
        ),
        ({"hard": {"cpu": "1"}, "scopes": ["NotBestEffort", "Terminating"]}, []),
        ({"hard": {"count/jobs.batch": "1"}, "scopes": ["Terminating"]}, []),
        ({"hard": {"requests.storage": "1Gi"}, "selector": ("VolumeAttributesClass", "Exists")}, []),
        (
            {"selector": ("Terminating", "In", "x")},
            [
                'spec.scopeSelector.matchExpressions.operator: Invalid value: "In": must be \'Exist\''
                " when scope is any of ResourceQuotaScopeTerminating,"
                " ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort,"
                " ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
            ],
        ),
        (
            {"selector": ("PriorityClass", "In")},
            [
                "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value"
                " when `operator` is 'In' or 'NotIn' for scope selector",
            ],
        ),
        ({"selector": ("PriorityClass", "In", "high")}, []),
    ],
)  # fmt: skip
def test_quota_scopes_exist_suit_and_agree(spec, expected):
    spec = {"hard": {"pods": "1"}, **spec}
    if "selector" in spec:
        scope, operator, *values = spec.pop("selector")
        one = {"scopeName": scope, "operator": operator, **({"values": values} if values else {})}
        spec["scopeSelector"] = {"matchExpressions": [one]}
    assert faults(core("ResourceQuota", spec=spec)) == expected


EVENT = {
    "involvedObject": {
        "kind": "Pod",
        "name": "p",
        "namespace": "ns",
        "fieldPath": "spec.containers{c}",
    },
    "reason": "Started",
    "message": "Started container\n",
    "source": {"component": "kubelet", "host": "n"},
    "type": "Normal",
    "count": 2,
    "firstTimestamp": "2024-01-01T00:00:00Z",
    "lastTimestamp": "2024-01-01T00:01:00Z",
}


def test_events():
    made = created(core("Event", **EVENT))
    assert faults(core("Event", **EVENT)) == []
    assert row(made, NOW + 90) == {
        "LAST SEEN": "30s", "TYPE": "Normal", "REASON": "Started", "OBJECT": "pod/p",
        "SUBOBJECT": "spec.containers{c}", "SOURCE": "kubelet, n", "MESSAGE": "Started container",
        "FIRST SEEN": "90s", "COUNT": 2, "NAME": "x",
    }  # fmt: skip
    assert list(row(made, wide=False)) == ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    fields = strategy_for(EVENTS).selectable(made)
    assert fields["involvedObject.name"] == fields["regarding.name"] == "p"
    assert (fields["source"], fields["type"], fields["reason"]) == ("kubelet", "Normal", "Started")
    strategy_for(EVENTS).check_field_label("involvedObject.uid")
    strategy_for(EVENTS_V1).check_field_label("regarding.kind")
    other = core("Event", **{**EVENT, "involvedObject": {"namespace": "elsewhere"}})
    assert faults(other) == [
        'involvedObject.namespace: Invalid value: "elsewhere": does not match event.namespace'
    ]


def test_volumes_and_claims_warn_of_what_is_old():
    old_class = {"volume.beta.kubernetes.io/storage-class": "slow"}
    key = "beta.kubernetes.io/os"
    term = {"matchExpressions": [{"key": key, "operator": "In", "values": ["linux"]}]}
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Recycle",
        "rbd": {"monitors": ["m"], "image": "i"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
    }
    volume = core("PersistentVolume", namespace="", spec=spec)
    volume["metadata"]["annotations"] = old_class
    annotation = (
        "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; "
        'use "storageClassName" attribute instead'
    )
    assert strategy_for(PERSISTENTVOLUMES).warnings(volume) == [
        annotation,
        "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, "
        "the recommended approach is to use dynamic provisioning.",
        "spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: "
        'beta.kubernetes.io/os is deprecated since v1.14; use "kubernetes.io/os" instead',
        "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
    ]
    claim = core("PersistentVolumeClaim", spec={"resources": {"requests": {"storage": "1500m"}}})
    claim["metadata"]["annotations"] = old_class
    assert strategy_for(PERSISTENTVOLUMECLAIMS).warnings(claim) == [
        annotation,
        'spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an '
        "integer",
    ]
