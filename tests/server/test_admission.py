"""Admission rules, each on a pod (or claim, node, …) and a set of objects."""

import time

import pytest

from skiff.aio.entropy import Entropy
from skiff.api.errors import Forbidden, Invalid, NotFound
from skiff.api.resources import (
    CERTIFICATESIGNINGREQUESTS,
    INGRESSCLASSES,
    INGRESSES,
    LIMITRANGES,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    PRIORITYCLASSES,
    RUNTIMECLASSES,
    SERVICEACCOUNTS,
    STORAGECLASSES,
)
from skiff.server.admission.chain import AdmissionChain
from skiff.server.admission.quota import Ledger
from skiff.server.admission.table import Needs, build
from skiff.server.authz.chain import AuthorizationChain
from skiff.server.seams import Attributes, User
from tests.server.objects import FakeObjects

ADMIN = User("admin", ("system:masters", "system:authenticated"))
NODE = User("system:node:n1", ("system:nodes", "system:authenticated"))


class Still:
    def now(self) -> float:
        return 1_800_000_000.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing waits here")


@pytest.fixture
def chain(objects: FakeObjects) -> AdmissionChain:
    objects.put(NAMESPACES, {"metadata": {"name": "d"}, "status": {"phase": "Active"}})
    objects.put(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "d"}})
    return make(objects)


def make(objects: FakeObjects, **how) -> AdmissionChain:
    ledger = Ledger(objects, Still())
    return build(Needs(objects, Entropy(7), AuthorizationChain(objects), ledger), **how)


def write(chain, resource, obj, *, old=None, user=ADMIN, subresource="", operation="", name=""):
    """Admit and validate; gives back the attributes (with warnings)."""
    meta = (obj or old or {}).get("metadata", {})
    attributes = Attributes(
        operation or ("UPDATE" if old else "CREATE"), user, resource, subresource,
        meta.get("namespace", ""), name or meta.get("name", ""),
    )  # fmt: skip
    assert chain.admit(attributes, obj, old) is None
    assert chain.validate(attributes, obj, old) is None
    return attributes


def refusal(chain, resource, obj, error=Forbidden, **how) -> str:
    with pytest.raises(error) as caught:
        write(chain, resource, obj, **how)
    return caught.value.message


def pod(name="p", namespace="d", meta=None, **spec) -> dict:
    return {
        "metadata": {"name": name, "namespace": namespace, **(meta or {})},
        "spec": {"containers": [{"name": "c", "image": "i"}], **spec},
    }


# --- namespaces -------------------------------------------------------------------------------


def test_nothing_is_created_in_a_missing_or_terminating_namespace(chain, objects):
    assert refusal(chain, PODS, pod(namespace="x"), NotFound) == 'namespaces "x" not found'
    objects.put(NAMESPACES, {"metadata": {"name": "d"}, "status": {"phase": "Terminating"}})
    with pytest.raises(Forbidden) as caught:
        write(chain, PODS, pod())
    assert caught.value.message == (
        'pods "p" is forbidden: unable to create new content in namespace d because it is being'
        " terminated"
    )
    cause = caught.value.status()["details"]["causes"][0]
    assert cause == {
        "reason": "NamespaceTerminating",
        "message": "namespace d is being terminated",
        "field": "metadata.namespace",
    }


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
def test_some_namespaces_stay(chain, name):
    message = refusal(chain, NAMESPACES, None, operation="DELETE", name=name)
    assert message == f'namespaces "{name}" is forbidden: this namespace may not be deleted'


# --- service accounts -------------------------------------------------------------------------


def test_a_pod_gets_an_account_and_its_token(chain):
    new = pod(initContainers=[{"name": "i"}])
    write(chain, PODS, new)
    spec = new["spec"]
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    volume = spec["volumes"][0]
    assert volume["name"].startswith("kube-api-access-") and len(volume["name"]) == 21
    assert volume["projected"]["defaultMode"] == 420
    assert volume["projected"]["sources"][0] == {
        "serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}
    }
    mount = {
        "name": volume["name"],
        "readOnly": True,
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
    }
    assert spec["containers"][0]["volumeMounts"] == [mount]
    assert spec["initContainers"][0]["volumeMounts"] == [mount]


@pytest.mark.parametrize(
    ("account", "own", "mounted"),
    [(None, None, True), (False, None, False), (False, True, True), (True, False, False)],
)
@pytest.mark.conformance(
    "[sig-auth] ServiceAccounts should allow opting out of API token automount [Conformance]"
)
def test_who_decides_on_the_token(chain, objects, account, own, mounted):
    more = {} if account is None else {"automountServiceAccountToken": account}
    objects.put(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "d"}, **more})
    new = pod(**({} if own is None else {"automountServiceAccountToken": own}))
    write(chain, PODS, new)
    assert ("volumes" in new["spec"]) is mounted
    assert bool(new["spec"]["containers"][0].get("volumeMounts")) is mounted


def test_an_unknown_account_is_refused_and_pull_secrets_are_copied(chain, objects):
    assert refusal(chain, PODS, pod(serviceAccountName="x")) == (
        'pods "p" is forbidden: error looking up service account d/x: serviceaccount "x" not found'
    )
    objects.put(
        SERVICEACCOUNTS,
        {"metadata": {"name": "x", "namespace": "d"}, "imagePullSecrets": [{"name": "s"}]},
    )
    new = pod(serviceAccountName="x")
    write(chain, PODS, new)
    assert new["spec"]["imagePullSecrets"] == [{"name": "s"}]


# --- priority, tolerations, runtime classes ---------------------------------------------------


def test_priorities(chain, objects):
    new = pod()
    write(chain, PODS, new)
    assert (new["spec"]["priority"], new["spec"]["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    objects.put(
        PRIORITYCLASSES, {"metadata": {"name": "high"}, "value": 9, "preemptionPolicy": "Never"}
    )
    objects.put(PRIORITYCLASSES, {"metadata": {"name": "usual"}, "value": 3, "globalDefault": True})
    for name, expected in (
        ("high", ("high", 9, "Never")),
        ("", ("usual", 3, "PreemptLowerPriority")),
    ):
        new = pod(priorityClassName=name)
        write(chain, PODS, new)
        spec = new["spec"]
        assert (spec["priorityClassName"], spec["priority"], spec["preemptionPolicy"]) == expected
    assert refusal(chain, PODS, pod(priorityClassName="none")).endswith(
        "no PriorityClass with name none was found"
    )
    assert "the integer value of priority (5) must not be provided" in refusal(
        chain, PODS, pod(priority=5)
    )
    other = {"metadata": {"name": "other"}, "value": 1, "globalDefault": True}
    assert refusal(chain, PRIORITYCLASSES, other).endswith(
        "PriorityClass usual is already marked as default. Only one default can exist"
    )


def test_default_tolerations(chain):
    new = pod(tolerations=[{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}])
    write(chain, PODS, new)
    assert [(t["key"], t.get("tolerationSeconds")) for t in new["spec"]["tolerations"]] == [
        ("node.kubernetes.io/not-ready", None),
        ("node.kubernetes.io/unreachable", 300),
    ]


def test_runtime_class(chain, objects):
    assert refusal(chain, PODS, pod(runtimeClassName="k")) == (
        'pods "p" is forbidden: pod rejected: RuntimeClass "k" not found'
    )
    objects.put(
        RUNTIMECLASSES,
        {
            "metadata": {"name": "k"},
            "handler": "kata",
            "overhead": {"podFixed": {"cpu": "10m"}},
            "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k"}]},
        },
    )
    new = pod(runtimeClassName="k")
    write(chain, PODS, new)
    assert new["spec"]["overhead"] == {"cpu": "10m"}
    assert new["spec"]["nodeSelector"] == {"a": "b"}
    assert {"key": "k"} in new["spec"]["tolerations"]
    assert "nodeSelector[a] = b; pod.spec.nodeSelector[a] = c" in refusal(
        chain, PODS, pod(runtimeClassName="k", nodeSelector={"a": "c"})
    )


# --- storage, ingress, nodes ------------------------------------------------------------------


def claim(size="1Gi", **spec) -> dict:
    return {
        "metadata": {"name": "c", "namespace": "d"},
        "spec": {"resources": {"requests": {"storage": size}}, **spec},
    }


def test_claims_get_the_newest_default_class_and_a_finalizer(chain, objects):
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    for name, made in (("old", "2025-01-01T00:00:00Z"), ("new", "2026-01-01T00:00:00Z")):
        meta = {"name": name, "creationTimestamp": made, "annotations": default}
        objects.put(STORAGECLASSES, {"metadata": meta})
    new = claim()
    write(chain, PERSISTENTVOLUMECLAIMS, new)
    assert new["spec"]["storageClassName"] == "new"
    assert new["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    chosen = claim(storageClassName="")
    write(chain, PERSISTENTVOLUMECLAIMS, chosen)
    assert chosen["spec"]["storageClassName"] == ""


def test_claims_grow_only_where_the_class_allows(chain, objects):
    objects.put(STORAGECLASSES, {"metadata": {"name": "fixed"}})
    old = {**claim(storageClassName="fixed"), "status": {"phase": "Bound"}}
    text = refusal(chain, PERSISTENTVOLUMECLAIMS, claim("2Gi", storageClassName="fixed"), old=old)
    assert "the storageclass that provisions the pvc must support resize" in text
    objects.put(STORAGECLASSES, {"metadata": {"name": "fixed"}, "allowVolumeExpansion": True})
    write(chain, PERSISTENTVOLUMECLAIMS, claim("2Gi", storageClassName="fixed"), old=old)


def test_ingresses_get_the_default_class(chain, objects):
    meta = {"name": "web", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}
    objects.put(INGRESSCLASSES, {"metadata": meta})
    new = {"metadata": {"name": "i", "namespace": "d"}, "spec": {}}
    write(chain, INGRESSES, new)
    assert new["spec"]["ingressClassName"] == "web"


def test_a_new_node_is_tainted(chain):
    new = {"metadata": {"name": "n1"}, "spec": {}}
    write(chain, NODES, new)
    assert new["spec"]["taints"] == [
        {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    ]


@pytest.mark.parametrize(
    ("resource", "obj", "how", "text"),
    [
        (NODES, {"metadata": {"name": "n2"}}, {}, 'node "n1" is not allowed to modify node "n2"'),
        (
            NODES, {"metadata": {"name": "n1", "labels": {"node-role.kubernetes.io/x": ""}}}, {},
            "is not allowed to set the following labels: node-role.kubernetes.io/x",
        ),
        (
            NODES, {"metadata": {"name": "n1"}, "spec": {"taints": []}},
            {"old": {"metadata": {"name": "n1"}, "spec": {"taints": [{"key": "a"}]}}},
            "is not allowed to modify taints",
        ),
        (PODS, pod(), {}, 'pod does not have "kubernetes.io/config.mirror" annotation'),
        (PODS, pod("other"), {"old": pod("other"), "subresource": "status"}, "can only update pod status"),
        (PODS, None, {"old": pod("other"), "operation": "DELETE"}, "can only delete pods"),
        (
            SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "d"}, "spec": {}},
            {"subresource": "token"}, "not bound to a pod",
        ),
    ],
)  # fmt: skip
def test_a_kubelet_writes_only_its_own(chain, objects, resource, obj, how, text):
    objects.put(PODS, pod("other", nodeName="n2"))
    assert text in refusal(chain, resource, obj, user=NODE, **how)


def test_a_kubelet_writes_what_is_its_own(chain, objects):
    objects.put(PODS, pod("mine", nodeName="n1"))
    write(chain, PODS, pod("mine"), old=pod("mine"), subresource="status", user=NODE)
    write(chain, PODS, None, old=pod("mine"), operation="DELETE", user=NODE)
    labels = {
        "kubernetes.io/hostname": "n1",
        "example.com/x": "y",
        "topology.kubernetes.io/zone": "a",
    }
    write(chain, NODES, {"metadata": {"name": "n1", "labels": labels}}, user=NODE)


def test_topology_labels_follow_the_node(chain, objects):
    objects.put(NODES, {"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "a"}}})
    binding = {
        "metadata": {"name": "p", "namespace": "d"},
        "target": {"kind": "Node", "name": "n1"},
    }
    write(chain, PODS, binding, subresource="binding")
    assert binding["metadata"]["labels"] == {"topology.kubernetes.io/zone": "a"}


# --- limit ranges -----------------------------------------------------------------------------


def limits(*items) -> dict:
    return {"metadata": {"name": "l", "namespace": "d"}, "spec": {"limits": list(items)}}


def test_limit_ranges_give_defaults(chain, objects):
    item = {
        "type": "Container",
        "default": {"cpu": "1", "memory": "1Gi"},
        "defaultRequest": {"cpu": "100m"},
    }
    objects.put(LIMITRANGES, limits(item))
    new = pod()
    new["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "2"}}
    write(chain, PODS, new)
    resources = new["spec"]["containers"][0]["resources"]
    assert resources == {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "100m"}}
    assert new["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu request for container c; memory limit for container c"
    )


@pytest.mark.parametrize(
    ("item", "resources", "text"),
    [
        ({"min": {"cpu": "100m"}}, {"requests": {"cpu": "50m"}},
         "minimum cpu usage per Container is 100m, but request is 50m"),
        ({"min": {"cpu": "100m"}}, {}, "minimum cpu usage per Container is 100m.  No request is specified"),
        ({"max": {"memory": "1Gi"}}, {"limits": {"memory": "2Gi"}},
         "maximum memory usage per Container is 1Gi, but limit is 2Gi"),
        ({"max": {"memory": "1Gi"}}, {}, "maximum memory usage per Container is 1Gi.  No limit is specified"),
        ({"maxLimitRequestRatio": {"cpu": "2"}}, {"requests": {"cpu": "1"}, "limits": {"cpu": "3"}},
         "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"),
    ],
)  # fmt: skip
def test_limit_ranges_bound(chain, objects, item, resources, text):
    objects.put(LIMITRANGES, limits({"type": "Container", **item}))
    new = pod()
    new["spec"]["containers"][0]["resources"] = resources
    assert refusal(chain, PODS, new) == f'pods "p" is forbidden: {text}'


def test_limit_ranges_bound_pods_and_claims(chain, objects):
    objects.put(
        LIMITRANGES,
        limits(
            {"type": "Pod", "max": {"cpu": "1"}},
            {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}},
        ),
    )
    half = {"limits": {"cpu": "600m"}, "requests": {"cpu": "600m"}}
    new = pod(containers=[{"name": "a", "resources": half}, {"name": "b", "resources": half}])
    assert "maximum cpu usage per Pod is 1, but limit is 1200m" in refusal(chain, PODS, new)
    assert "maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi" in refusal(
        chain, PERSISTENTVOLUMECLAIMS, claim("2Gi")
    )


# --- pod security -----------------------------------------------------------------------------


def labelled(objects, **labels) -> None:
    labels = {f"pod-security.kubernetes.io/{k}": v for k, v in labels.items()}
    objects.put(NAMESPACES, {"metadata": {"name": "d", "labels": labels}})


def test_restricted_names_everything_that_is_missing(chain, objects):
    labelled(objects, enforce="restricted")
    assert refusal(chain, PODS, pod()) == (
        'pods "p" is forbidden: violates PodSecurity "restricted:latest":'
        ' allowPrivilegeEscalation != false (container "c" must set'
        " securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container"
        ' "c" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or'
        ' container "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or'
        ' container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or'
        ' "Localhost")'
    )
    safe = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    write(chain, PODS, pod(containers=[{"name": "c", "securityContext": safe}]))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"hostNetwork": True, "hostPID": True}, "host namespaces (hostNetwork=true, hostPID=true)"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, 'hostPath volumes (volume "v")'),
        ({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
         "forbidden sysctls (kernel.msgmax)"),
        ({"containers": [{"name": "c", "securityContext": {"privileged": True}}]},
         'privileged (container "c" must not set securityContext.privileged=true)'),
        ({"containers": [{"name": "c", "ports": [{"hostPort": 80}]}]},
         'hostPort (container "c" uses hostPort 80)'),
        ({"containers": [{"name": "c", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]},
         ('non-default capabilities (container "c" must not include "SYS_ADMIN" in'
         " securityContext.capabilities.add)")),
    ],
)  # fmt: skip
def test_baseline(chain, objects, spec, text):
    labelled(objects, enforce="baseline", **{"enforce-version": "v1.30"})
    assert refusal(chain, PODS, pod(**spec)) == (
        f'pods "p" is forbidden: violates PodSecurity "baseline:v1.30": {text}'
    )
    labelled(objects, warn="baseline")
    attributes = write(chain, PODS, pod(**spec))
    assert attributes.warnings == [f'would violate PodSecurity "baseline:latest": {text}']


def test_namespace_labels_are_checked_and_existing_pods_are_told_of(chain, objects):
    bad = {"metadata": {"name": "x", "labels": {"pod-security.kubernetes.io/enforce": "none"}}}
    with pytest.raises(Invalid, match="must be one of privileged, baseline, restricted"):
        write(chain, NAMESPACES, bad)
    objects.put(PODS, pod(hostNetwork=True))
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    attributes = write(
        chain,
        NAMESPACES,
        {"metadata": {"name": "d", "labels": labels}},
        old={"metadata": {"name": "d"}},
    )
    assert attributes.warnings == [
        'existing pods in namespace "d" violate the new PodSecurity enforce level "baseline:latest"',
        "p: host namespaces",
    ]


# --- certificates -----------------------------------------------------------------------------


def test_signers_need_their_verbs_and_nobody_becomes_a_master(chain):
    import base64

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM)
    spec = {
        "signerName": "kubernetes.io/kube-apiserver-client",
        "request": base64.b64encode(pem).decode(),
    }
    new = {"metadata": {"name": "c"}, "spec": spec}
    assert refusal(chain, CERTIFICATESIGNINGREQUESTS, new).endswith(
        "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    )
    bob = User("bob", ("system:authenticated",))
    text = refusal(
        chain, CERTIFICATESIGNINGREQUESTS, new, old=new, subresource="approval", user=bob
    )
    assert "user not permitted to approve requests with signerName" in text


# --- the chain --------------------------------------------------------------------------------


class Remote:
    """A rule that waits, as a webhook does."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def interested(self, attributes) -> bool:
        return attributes.resource is PODS

    async def admit(self, attributes, obj, old) -> None:
        obj["metadata"]["labels"] = {"seen": "yes"}

    async def validate(self, attributes, obj, old) -> None:
        self.seen.append(obj["metadata"]["name"])


def test_rules_that_wait_make_the_chain_wait(chain, objects):
    import asyncio

    remote = Remote()
    waiting = make(objects, remote=[remote])
    new = pod()
    attributes = Attributes("CREATE", ADMIN, PODS, "", "d", "p")
    asyncio.run(waiting.admit(attributes, new, None))
    asyncio.run(waiting.validate(attributes, new, None))
    assert new["metadata"]["labels"] == {"seen": "yes"} and remote.seen == ["p"]
    secretless = {"metadata": {"name": "n1"}}
    assert waiting.admit(Attributes("CREATE", ADMIN, NODES, "", "", "n1"), secretless, None) is None


def test_names_of_rules(objects):
    make(objects, disabled=["PodSecurity"], enabled=["AlwaysPullImages"])
    with pytest.raises(ValueError, match="unknown admission plugins: Nonsense"):
        make(objects, disabled=["Nonsense"])


def test_a_normal_pod_costs_microseconds(chain):
    best = float("inf")
    for _ in range(5):
        pods = [pod(f"p{i}") for i in range(200)]
        start = time.perf_counter()
        for new in pods:
            write(chain, PODS, new)
        best = min(best, (time.perf_counter() - start) / len(pods))
    assert best < 200e-6, f"{best * 1e6:.0f} µs"
    print(f"{best * 1e6:.1f} µs")
