"""Networking, policy, RBAC, storage, admission, custom resources and the other groups."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from skiff.api.kinds import strategy_for
from skiff.api.resources import TABLE
from skiff.server.pki import certificates

from .kinds import NOW, created, faults, row, updated


def obj(api_version, kind, name="x", namespace="ns", **rest):
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def ingress(**spec):
    return obj("networking.k8s.io/v1", "Ingress", spec=spec)


def http(path="/", kind="Prefix", backend=None):
    backend = backend or {"service": {"name": "web", "port": {"number": 80}}}
    return {"http": {"paths": [{"path": path, "pathType": kind, "backend": backend}]}}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (ingress(rules=[{"host": "a.example", **http()}]), []),
        (ingress(), ["spec: Invalid value: {}: either `defaultBackend` or `rules` must be specified"]),
        (ingress(rules=[{"host": "1.2.3.4", **http()}]),
         ['spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address']),
        (ingress(rules=[http("x")]),
         ['spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path']),
        (ingress(rules=[http(kind="Fuzzy")]),
         ['spec.rules[0].http.paths[0].pathType: Unsupported value: "Fuzzy": supported values: "Exact", '
          '"ImplementationSpecific", "Prefix"']),
        (ingress(defaultBackend={"service": {"name": "web"}}),
         ["spec.defaultBackend.service: Required value: port name or number is required"]),
    ],
)  # fmt: skip
def test_ingresses(found, expected):
    assert faults(found) == expected


def test_ingress_columns():
    made = created(
        ingress(rules=[{"host": f"h{i}"} for i in range(5)], tls=[{}], ingressClassName="n")
    )
    made["status"] = {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}
    assert row(made) == {
        "NAME": "x", "CLASS": "n", "HOSTS": "h0,h1,h2 + 2 more...", "ADDRESS": "1.2.3.4",
        "PORTS": "80, 443", "AGE": "0s",
    }  # fmt: skip


def policy(**spec):
    return obj("networking.k8s.io/v1", "NetworkPolicy", spec={"podSelector": {}, **spec})


def test_network_policies():
    made = created(policy(egress=[{"ports": [{"port": 53}]}], ingress=[]))
    assert made["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert made["spec"]["egress"] == [{"ports": [{"port": 53, "protocol": "TCP"}]}]
    assert faults(policy(ingress=[{"from": [{}]}])) == [
        "spec.ingress[0].from[0]: Required value: must specify a peer"
    ]
    block = {"cidr": "10.0.0.0/16", "except": ["10.1.0.0/24"]}
    assert faults(policy(ingress=[{"from": [{"ipBlock": block}]}])) == [
        'spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "10.1.0.0/24": must be a strict subset '
        "of `cidr`"
    ]
    assert faults(policy(egress=[{"ports": [{"port": 80, "endPort": 70}]}])) == [
        "spec.egress[0].ports[0].endPort: Invalid value: 70: must be greater than or equal to `port`"
    ]
    assert row(created(policy(podSelector={"matchLabels": {"a": "b"}})))["POD-SELECTOR"] == "a=b"


def test_disruption_budgets():
    def budget(**spec):
        return obj("policy/v1", "PodDisruptionBudget", spec=spec)

    assert faults(budget(minAvailable=1, maxUnavailable=1)) == [
        'spec: Invalid value: {"minAvailable":1,"maxUnavailable":1}: minAvailable and maxUnavailable cannot '
        "be both set"
    ]
    assert faults(budget(minAvailable="120%")) == [
        'spec.minAvailable: Invalid value: "120%": must not be greater than 100%'
    ]
    assert row(created(budget(minAvailable="50%"))) == {
        "NAME": "x", "MIN AVAILABLE": "50%", "MAX UNAVAILABLE": "N/A", "ALLOWED DISRUPTIONS": 0,
        "AGE": "0s",
    }  # fmt: skip


RBAC = "rbac.authorization.k8s.io/v1"


def test_roles_and_bindings():
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    assert faults(obj(RBAC, "Role", "system:a:b", rules=[rule])) == []
    assert faults(obj(RBAC, "Role", rules=[{**rule, "verbs": []}])) == [
        "rules[0].verbs: Required value: verbs must contain at least one value"
    ]
    url = {"nonResourceURLs": ["/x"], "verbs": ["get"]}
    assert faults(obj(RBAC, "ClusterRole", namespace="", rules=[url])) == []
    assert faults(obj(RBAC, "Role", rules=[url])) == [
        'rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs'
    ]
    subjects = [
        {"kind": "User", "name": "u"},
        {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
    ]
    binding = obj(RBAC, "RoleBinding", roleRef={"kind": "Role", "name": "r"}, subjects=subjects)
    made = created(binding)
    assert (
        made["roleRef"]["apiGroup"]
        == made["subjects"][0]["apiGroup"]
        == "rbac.authorization.k8s.io"
    )
    assert row(made) == {
        "NAME": "x", "ROLE": "Role/r", "AGE": "0s", "USERS": "u", "GROUPS": "",
        "SERVICEACCOUNTS": "n/s",
    }  # fmt: skip
    _, errors = updated(made, lambda o: o["roleRef"].update(name="other"))
    assert len(errors) == 1
    assert errors[0].endswith(": cannot change roleRef")


def test_storage_classes():
    default = obj("storage.k8s.io/v1", "StorageClass", namespace="", provisioner="x.io/y")
    default["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
    made = created(default)
    assert row(made) == {
        "NAME": "x (default)", "PROVISIONER": "x.io/y", "RECLAIMPOLICY": "Delete",
        "VOLUMEBINDINGMODE": "Immediate", "ALLOWVOLUMEEXPANSION": False, "AGE": "0s",
    }  # fmt: skip
    _, errors = updated(made, lambda o: o.update(parameters={"a": "b"}))
    assert errors == ["parameters: Forbidden: updates to parameters are forbidden."]


def test_csi_drivers():
    made = created(obj("storage.k8s.io/v1", "CSIDriver", "d.io", "", spec={}))
    assert made["spec"] == {
        "attachRequired": True,
        "podInfoOnMount": False,
        "storageCapacity": False,
        "fsGroupPolicy": "ReadWriteOnceWithFSType",
        "volumeLifecycleModes": ["Persistent"],
        "requiresRepublish": False,
        "seLinuxMount": False,
    }
    assert strategy_for(next(r for r in TABLE if r.kind == "CSIDriver")).validate(made) == []


def test_priority_classes():
    def priority(name, value):
        return obj("scheduling.k8s.io/v1", "PriorityClass", name, "", value=value)

    made = created(priority("high", 1000))
    assert made["preemptionPolicy"] == "PreemptLowerPriority"
    assert faults(priority("system-cluster-critical", 2000000000)) == []
    assert faults(priority("huge", 2000000000)) == [
        "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"
    ]
    assert faults(priority("system-x", 1))[0].startswith(
        "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use"
    )
    _, errors = updated(made, lambda o: o.update(value=1))
    assert errors == ["value: Forbidden: may not be changed in an update."]
    assert row(made) == {
        "NAME": "high", "VALUE": 1000, "GLOBAL-DEFAULT": False, "AGE": "0s",
        "PREEMPTIONPOLICY": "PreemptLowerPriority",
    }  # fmt: skip


def test_leases_and_runtime_classes():
    lease = obj(
        "coordination.k8s.io/v1", "Lease", spec={"holderIdentity": "me", "leaseDurationSeconds": 0}
    )
    assert faults(lease) == ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"]
    assert row(created(lease)) == {"NAME": "x", "HOLDER": "me", "AGE": "0s"}
    runtime = obj("node.k8s.io/v1", "RuntimeClass", namespace="", handler="runc")
    assert faults(runtime) == []
    _, errors = updated(runtime, lambda o: o.update(handler="kata"))
    assert errors == ['handler: Invalid value: "kata": field is immutable']


ADMISSION = "admissionregistration.k8s.io/v1"
RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}


def webhook(**more):
    return {
        "name": "a.b.c",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": "s", "namespace": "n"}},
        "rules": [dict(RULE)],
        **more,
    }


def configuration(*webhooks):
    return obj(ADMISSION, "MutatingWebhookConfiguration", namespace="", webhooks=list(webhooks))


def test_webhook_configurations():
    found = created(configuration(webhook()))["webhooks"][0]
    assert found["rules"][0]["scope"] == "*"
    assert found["clientConfig"]["service"]["port"] == 443
    assert {k: found[k] for k in (
        "failurePolicy", "matchPolicy", "timeoutSeconds", "reinvocationPolicy", "namespaceSelector",
        "objectSelector",
    )} == {
        "failurePolicy": "Fail", "matchPolicy": "Equivalent", "timeoutSeconds": 10,
        "reinvocationPolicy": "Never", "namespaceSelector": {}, "objectSelector": {},
    }  # fmt: skip
    assert faults(configuration(webhook())) == []
    assert faults(configuration(webhook(name="short", clientConfig={"url": "http://x"}))) == [
        'webhooks[0].name: Invalid value: "short": should be a domain with at least three segments separated '
        "by dots",
        "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; "
        "desired format: https://host[/path]",
    ]
    assert faults(configuration(webhook(timeoutSeconds=60), webhook())) == [
        "webhooks[0].timeoutSeconds: Invalid value: 60: the timeout value must be between 1 and 30 seconds",
        'webhooks[1].name: Duplicate value: "a.b.c"',
    ]


def test_admission_policies():
    spec = {
        "matchConstraints": {"resourceRules": [dict(RULE)]},
        "validations": [{"expression": "true"}],
    }
    policy = obj(ADMISSION, "ValidatingAdmissionPolicy", namespace="", spec=spec)
    assert faults(policy) == []
    made = created(policy)
    assert made["spec"]["failurePolicy"] == "Fail"
    assert made["spec"]["matchConstraints"]["matchPolicy"] == "Equivalent"
    binding = obj(
        ADMISSION, "ValidatingAdmissionPolicyBinding", namespace="",
        spec={"policyName": "x", "validationActions": ["Deny", "Warn"]},
    )  # fmt: skip
    assert [e.partition(": must not")[0] for e in faults(binding)] == [
        'spec.validationActions: Invalid value: ["Deny","Warn"]'
    ]


def crd(schema, **names):
    names = {"plural": "foos", "kind": "Foo", **names}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return obj(
        "apiextensions.k8s.io/v1", "CustomResourceDefinition", "foos.example.com", "",
        spec={"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    )  # fmt: skip


def test_custom_resource_definitions():
    made = created(crd({"type": "object"}))
    assert made["spec"]["names"] == {
        "plural": "foos", "kind": "Foo", "singular": "foo", "listKind": "FooList",
    }  # fmt: skip
    assert made["spec"]["conversion"] == {"strategy": "None"}
    assert made["status"]["storedVersions"] == ["v1"]
    assert faults(crd({"type": "object"})) == []
    assert faults(crd({"type": "object"}, plural="bars"))[0] == (
        'metadata.name: Invalid value: "foos.example.com": must be spec.names.plural+"."+spec.group'
    )

    def change(found):
        version = {**found["spec"]["versions"][0], "name": "v2"}
        found["spec"]["versions"] = [version]

    _, errors = updated(made, change)
    assert errors[0].startswith(
        'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions'
    )


SCHEMA = "spec.versions[0].schema.openAPIV3Schema"


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "^a+$"}}}, []),
        ({"type": "object", "properties": {"a": {"x-kubernetes-int-or-string": True}}}, []),
        ({}, [f"{SCHEMA}.type: Required value: must not be empty at the root"]),
        ({"type": "object", "properties": {"a": {}}},
         [f"{SCHEMA}.properties[a].type: Required value: must not be empty for specified object fields"]),
        ({"type": "object", "properties": {"a": {"type": "array"}}},
         [f"{SCHEMA}.properties[a].items: Required value: must be specified"]),
        ({"type": "object", "properties": {"a": {"type": "text"}}},
         [f'{SCHEMA}.properties[a].type: Unsupported value: "text": supported values: "array", "boolean", '
          '"integer", "number", "object", "string"']),
        ({"type": "object", "anyOf": [{"type": "object"}]},
         [f"{SCHEMA}.anyOf[0].type: Forbidden: must be empty to be structural"]),
    ],
)  # fmt: skip
def test_structural_schemas(schema, expected):
    assert faults(crd(schema)) == expected


SIGNER = "kubernetes.io/kube-apiserver-client"


def csr(**spec):
    """A request: `pem` in the place of its own, others are fields."""
    pem = spec.pop("pem", REQUEST_PEM)
    spec = {
        "request": base64.b64encode(pem).decode(),
        "signerName": SIGNER,
        "usages": ["client auth"],
        **spec,
    }
    return obj("certificates.k8s.io/v1", "CertificateSigningRequest", namespace="", spec=spec)


def _request_pem() -> tuple[bytes, bytes]:
    """A request and a self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jane")])
    made = x509.CertificateSigningRequestBuilder().subject_name(who).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM), certificates.make_authority(
        "x", now=NOW, lifetime_s=3600
    ).certificate


REQUEST_PEM, CERTIFICATE_PEM = _request_pem()


def test_certificate_requests():
    assert faults(csr()) == []
    made = created(csr(username="me"))
    assert row(made) == {
        "NAME": "x", "AGE": "0s", "SIGNERNAME": SIGNER,
        "REQUESTOR": "me", "REQUESTEDDURATION": "<none>", "CONDITION": "Pending",
    }  # fmt: skip
    approved = [{"type": "Approved", "status": "True"}]
    issued = base64.b64encode(CERTIFICATE_PEM).decode()
    new, errors = updated(
        made, lambda o: o.update(status={"conditions": approved, "certificate": issued}), "approval"
    )
    assert (new["status"], errors) == ({"conditions": approved}, [])
    new, errors = updated(new, lambda o: o["status"].update(certificate=issued), "status")
    assert (new["status"], errors) == ({"conditions": approved, "certificate": issued}, [])
    assert row(new)["CONDITION"] == "Approved,Issued"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"expirationSeconds": 5},
         "spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 600 seconds (10 minutes)"),
        ({"usages": []}, "spec.usages: Required value"),
        ({"usages": ["any", "any"]}, 'spec.usages[1]: Duplicate value: "any"'),
        ({"signerName": ""}, "spec.signerName: Required value"),
        ({"signerName": "a.b/c/d"},
         """spec.signerName: Invalid value: "a.b/c/d": must be a fully qualified domain and path of the form 'example.com/signer-name'"""),
        ({"signerName": "local/c"},
         'spec.signerName: Invalid value: "local": should be a domain with at least two segments separated by dots'),
        ({"signerName": "kubernetes.io/legacy-unknown"},
         'spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version'),
    ],
)  # fmt: skip
def test_faulty_certificate_requests(change, expected):
    assert faults(csr(**change)) == [expected]


def test_a_certificate_request_is_read_and_its_signature_checked():
    def fault(pem):
        (found,) = faults(csr(pem=pem))
        return found.rpartition('": ')[2]

    assert fault(b"text") == "PEM block type must be CERTIFICATE REQUEST"
    assert fault(CERTIFICATE_PEM) == "PEM block type must be CERTIFICATE REQUEST"
    der = bytearray(base64.b64decode(b"".join(REQUEST_PEM.splitlines()[1:-1])))
    at = der.index(b"jane")
    der[at : at + 4] = b"jean"
    first, last = REQUEST_PEM.splitlines()[0], REQUEST_PEM.splitlines()[-1]
    forged = b"\n".join((first, base64.b64encode(der), last))
    assert fault(forged) == "x509: ECDSA verification failure"


def test_who_changes_what_of_a_certificate_request():
    def status(subresource, start=(), **wanted):
        old = created(csr())
        old["status"] = {"conditions": [{"type": t, "status": "True"} for t in start]}
        return updated(old, lambda o: o.update(status=wanted), subresource)

    def conditions(*kinds, status="True"):
        return [{"type": kind, "status": status} for kind in kinds]

    _, errors = status("status", conditions=conditions("Approved"))
    assert errors == [
        'status.conditions: Forbidden: updates may not add a condition of type "Approved"'
    ]
    _, errors = status("approval", ("Approved",), conditions=[])
    assert errors == [
        'status.conditions: Forbidden: updates may not remove a condition of type "Approved"'
    ]
    _, errors = status("approval", conditions=conditions("Approved", "Denied"))
    assert errors == [
        'status.conditions[1].type: Invalid value: "Denied": Approved and Denied conditions are '
        "mutually exclusive"
    ]
    _, errors = status("approval", conditions=conditions("Approved", status="False"))
    assert errors == [
        'status.conditions[0].status: Unsupported value: "False": supported values: "True"'
    ]
    new, errors = status("status", ("Denied",), conditions=conditions("Denied", status="False"))
    assert (new["status"]["conditions"], errors) == (conditions("Denied"), [])
    _, errors = status("status", certificate=base64.b64encode(REQUEST_PEM).decode())
    assert errors == [
        'status.certificate: Invalid value: "<certificate data>": only CERTIFICATE PEM blocks are '
        'allowed, found "CERTIFICATE REQUEST"'
    ]
    _, errors = status("status", certificate="eA==")
    assert errors == [
        'status.certificate: Invalid value: "<certificate data>": must contain at least one '
        "CERTIFICATE PEM block"
    ]


def test_api_services():
    local = obj(
        "apiregistration.k8s.io/v1", "APIService", "v1.apps", "",
        spec={"group": "apps", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 1},
    )  # fmt: skip
    assert faults(local) == []
    assert row(created(local)) == {
        "NAME": "v1.apps",
        "SERVICE": "Local",
        "AVAILABLE": "True",
        "AGE": "0s",
    }


def test_flow_control():
    level = obj(
        "flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration", namespace="",
        spec={"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}},
    )  # fmt: skip
    assert faults(level) == []
    assert row(created(level)) == {
        "NAME": "x", "TYPE": "Limited", "NOMINALCONCURRENCYSHARES": 30, "QUEUES": 64, "HANDSIZE": 8,
        "QUEUELENGTHLIMIT": 50, "AGE": "0s",
    }  # fmt: skip


def test_device_claims():
    request = {"name": "gpu", "exactly": {"deviceClassName": "c"}}
    claim = obj("resource.k8s.io/v1", "ResourceClaim", spec={"devices": {"requests": [request]}})
    made = created(claim)
    assert made["spec"]["devices"]["requests"][0]["exactly"] == {
        "deviceClassName": "c", "allocationMode": "ExactCount", "count": 1,
    }  # fmt: skip
    assert faults(claim) == []
    assert row(made)["STATE"] == "pending"


def test_every_strategy_is_its_own():
    seen = [strategy_for(r) for r in TABLE]
    assert len({id(s) for s in seen}) == len(TABLE)
    assert all(strategy_for(r) is s for r, s in zip(TABLE, seen, strict=True))
