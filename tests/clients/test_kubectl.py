"""kubectl as a user has it: the topics of its own command tests, words and columns included.

What differs between kubectl's versions (a suffix such as ` from NAMESPACE namespace`) is left open.
"""

import base64
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.clients.cluster import Kubectl, free_port, wait_for

APP = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, labels: {app: api}}
spec:
  replicas: 2
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec:
      containers:
      - {name: main, image: "api:1", ports: [{containerPort: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: conf, labels: {app: api}}
data: {a: "1"}
"""

recent = pytest.mark.usefixtures("recent_kubectl")
"""Uses flags or words that Debian 12's kubectl 1.20 lacks, or APIs that it asks for and that are gone."""


def deploy(kube: Kubectl, name: str = "web", replicas: int = 2) -> None:
    kube("create", "deployment", name, "--image=web:1", f"--replicas={replicas}", "--port=80")
    kube("rollout", "status", f"deployment/{name}", "--timeout=20s")


def run_pod(kube: Kubectl, name: str = "p", *more: str) -> None:
    kube("run", name, "--image=busy", "--restart=Never", *more)
    kube("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=20s")


def headers(text: str) -> list[str]:
    return re.split(r"\s{2,}", text.splitlines()[0].strip())


@pytest.fixture(scope="session")
def recent_kubectl(kubectl: Kubectl) -> None:
    found = re.search(r"v1\.(\d+)", kubectl("version", "--client"))
    if found is None or int(found[1]) < 27:
        pytest.skip("an old kubectl")


def test_get_in_every_format(kube: Kubectl) -> None:
    deploy(kube)
    assert headers(kube("get", "pods")) == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert headers(kube("get", "pods", "-o", "wide"))[5:] == [
        "IP", "NODE", "NOMINATED NODE", "READINESS GATES",
    ]  # fmt: skip
    assert headers(kube("get", "deploy", "-o", "wide")) == [
        "NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR",
    ]  # fmt: skip
    assert headers(kube("get", "rs")) == ["NAME", "DESIRED", "CURRENT", "READY", "AGE"]
    assert headers(kube("get", "pods", "-L", "app"))[-1] == "APP"
    assert headers(kube("get", "pods", "--show-labels"))[-1] == "LABELS"
    assert kube("get", "deploy", "-o", "name") == "deployment.apps/web"
    assert kube.path("{.items[*].metadata.labels.app}", "deploy") == "web"
    template = "{{range .items}}{{.metadata.name}} {{.spec.replicas}}{{end}}"
    assert kube("get", "deploy", "-o", f"go-template={template}") == "web 2"
    columns = kube("get", "deploy", "-o", "custom-columns=N:.metadata.name,R:.spec.replicas")
    assert [line.split() for line in columns.splitlines()] == [["N", "R"], ["web", "2"]]
    assert kube.json("deploy", "web")["kind"] == "Deployment"
    assert kube("get", "deploy", "web", "-o", "yaml").startswith("apiVersion: apps/v1\nkind: Dep")
    assert kube("get", "all", "-o", "name").splitlines()[-2:][0] == "deployment.apps/web"
    assert not kube("get", "pods", "--no-headers", "-l", "app!=web")
    assert kube.run("get", "jobs").stderr.strip() == (
        f"No resources found in {kube.namespace} namespace."
    )


def test_get_sorts_pages_and_selects(kube: Kubectl) -> None:
    for number in (3, 1, 2):
        kube("create", "configmap", f"c{number}", f"--from-literal=n={number}")
    kube("label", "configmap", "c1", "c2", "x=y")
    names = kube("get", "cm", "--sort-by=.data.n", "-o", "name", "-l", "x").splitlines()
    assert names == ["configmap/c1", "configmap/c2"]
    paged = kube("get", "cm", "--chunk-size=1", "-o", "name").splitlines()
    assert paged == ["configmap/c1", "configmap/c2", "configmap/c3", "configmap/kube-root-ca.crt"]
    found = kube("get", "cm", "--field-selector=metadata.name=c3", "-o", "name")
    assert found == "configmap/c3"
    assert kube("get", "cm", "-l", "x in (y,z)", "-o", "name").count("\n") == 1
    refused = kube.fails("get", "pods", "--field-selector=spec.foo=1")
    assert refused.endswith("field label not supported: spec.foo")
    assert kube.fails("get", "nonsense") == (
        'error: the server doesn\'t have a resource type "nonsense"'
    )
    assert kube.fails("get", "pods", "none") == (
        'Error from server (NotFound): pods "none" not found'
    )
    assert not kube("get", "pods", "none", "--ignore-not-found")


def test_watch(kube: Kubectl) -> None:
    process = subprocess.Popen(
        kube.command("get", "cm", "-w", "-o", "name"), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    guard = threading.Timer(15, process.kill)
    guard.start()
    try:
        assert process.stdout.readline() == "configmap/kube-root-ca.crt\n"
        kube("create", "cm", "new")
        assert process.stdout.readline() == "configmap/new\n"
    finally:
        guard.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


def test_describe(kube: Kubectl) -> None:
    deploy(kube)
    text = kube("describe", "deployment", "web")
    assert "2 desired | 2 updated | 2 total | 2 available | 0 unavailable" in text
    assert "NewReplicaSetAvailable" in text
    wait_for(
        lambda: re.search(
            r"Normal  ScalingReplicaSet .* Scaled up replica set web-\w+ from 0 to 2",
            kube("describe", "deployment", "web"),
        ),
        "the event",
    )
    text = kube("describe", "pods", "-l", "app=web", "--show-events")
    assert "QoS Class:                   BestEffort" in text
    assert "Controlled By:  ReplicaSet/web-" in text
    assert f"Successfully assigned {kube.namespace}/web-" in text
    kube("expose", "deployment", "web")
    wait_for(lambda: re.search(r"Endpoints: +10\.", kube("describe", "svc", "web")), "endpoints")
    node = kube("describe", "node", "node-a")
    assert "Non-terminated Pods:" in node
    assert "KubeletReady" in node
    assert "Allocated resources:" in node
    assert "kube-root-ca.crt" in kube("describe", "cm")
    assert "Status:       Active" in kube("describe", "ns", kube.namespace)
    kube("create", "quota", "q", "--hard=pods=9")
    assert re.search(r"pods +\d+ +9", kube("describe", "quota", "q"))
    kube("create", "secret", "generic", "s", "--from-literal=k=value")
    assert "k:  5 bytes" in kube("describe", "secret", "s")


def test_label_and_annotate(kube: Kubectl) -> None:
    kube("create", "cm", "c")
    assert kube("label", "cm", "c", "a=b") == "configmap/c labeled"
    assert kube.fails("label", "cm", "c", "a=c") == (
        "error: 'a' already has a value (b), and --overwrite is false"
    )
    assert kube("label", "cm", "c", "a=c", "--overwrite") == "configmap/c labeled"
    assert kube("label", "cm", "c", "a-") in ("configmap/c unlabeled", "configmap/c labeled")
    assert kube.fails("label", "cm", "c", "a=-b").startswith("error: invalid label value")
    assert "configmap/c annotate" in kube("annotate", "cm", "c", "note=long text")
    assert kube.path("{.metadata.annotations.note}", "cm", "c") == "long text"
    assert "configmap/c annotate" in kube("annotate", "cm", "--all", "x=y")
    at = kube.path("{.metadata.resourceVersion}", "cm", "c")
    assert kube.fails(
        "annotate", "cm", "c", "x=z", "--overwrite", "--resource-version=1"
    ).startswith("Error from server (Conflict): Operation cannot be fulfilled on configmaps")
    assert kube.path("{.metadata.resourceVersion}", "cm", "c") == at


@recent
def test_patch(kube: Kubectl) -> None:
    deploy(kube)
    patch = '{"spec":{"replicas":3}}'
    assert kube("patch", "deploy", "web", "-p", patch) == "deployment.apps/web patched"
    kube("create", "cm", "c", "--from-literal=a=b")
    same = '{"data":{"a":"b"}}'
    assert kube("patch", "cm", "c", "-p", same) == "configmap/c patched (no change)"
    test = '[{"op":"test","path":"/spec/replicas","value":9}]'
    assert kube.fails("patch", "deploy", "web", "--type=json", "-p", test) == (
        "The request is invalid: the server rejected our request due to an error in our request"
    )
    refused = kube.fails(
        "patch", "deploy", "web", "--type=merge", "-p", '{"spec":{"replicas":"x"}}'
    )
    assert refused.endswith(
        "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
    )
    refused = kube.fails("patch", "deploy", "web", "-p", '{"spec":{"replicas":-1}}')
    assert refused == (
        'The Deployment "web" is invalid: spec.replicas: Invalid value: -1: '
        "must be greater than or equal to 0"
    )
    containers = '{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"web:2"}]}}}}'
    kube("patch", "deploy", "web", "-p", containers)
    assert kube.path("{..containerPort}", "deploy", "web") == "80"


def test_edit(kube: Kubectl) -> None:
    kube("create", "cm", "c", "--from-literal=a=before")
    assert kube("edit", "cm", "c", env={"EDITOR": "sed -i s/before/after/"}) == (
        "configmap/c edited"
    )
    assert kube.path("{.data.a}", "cm", "c") == "after"
    assert kube.run("edit", "cm", "c", env={"EDITOR": "true"}).stderr.strip() == (
        "Edit cancelled, no changes made."
    )


@recent
def test_apply(kube: Kubectl, tmp_path: Path) -> None:
    file = tmp_path / "app.yaml"
    file.write_text(APP)
    at = ["-f", str(file)]
    assert kube("apply", *at, "--dry-run=client").splitlines() == [
        "deployment.apps/api created (dry run)",
        "configmap/conf created (dry run)",
    ]
    assert "configmap/conf created (server dry run)" in kube("apply", *at, "--dry-run=server")
    assert not kube("get", "deploy", "-o", "name")
    created = kube("apply", *at).splitlines()
    assert created == ["deployment.apps/api created", "configmap/conf created"]
    unchanged = kube("apply", *at).splitlines()
    assert unchanged == ["deployment.apps/api unchanged", "configmap/conf unchanged"]
    kube("label", "cm", "conf", "own=1")
    file.write_text(APP.replace('{a: "1"}', '{b: "2"}').replace("api:1", "api:2"))
    done = kube.run("diff", *at)
    assert done.returncode == 1
    assert '-  a: "1"' in done.stdout
    assert '+  b: "2"' in done.stdout
    assert "configmap/conf configured" in kube("apply", *at)
    assert kube.run("diff", *at).returncode == 0
    assert kube.json("cm", "conf")["data"] == {"b": "2"}  # what the file had and has no more goes
    assert kube.path("{.metadata.labels.own}", "cm", "conf") == "1"  # what others wrote stays
    assert 'b: "2"' in kube("apply", "view-last-applied", "cm", "conf")
    kube("apply", "set-last-applied", *at)
    file.write_text(APP.partition("---")[0])
    assert "configmap/conf pruned" in kube("apply", *at, "--prune", "-l", "app=api")
    assert "error: the namespace from the provided object" in kube.fails(
        "apply",
        "-f",
        "-",
        stdin='{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"y"}}',
    )


@recent
def test_server_side_apply(kube: Kubectl, tmp_path: Path) -> None:
    file = tmp_path / "app.yaml"
    file.write_text(APP)
    at = ["-f", str(file), "--server-side"]
    assert "deployment.apps/api serverside-applied" in kube("apply", *at)
    file.write_text(APP.replace("api:1", "api:9"))
    refused = kube.fails("apply", *at, "--field-manager=other")
    assert (
        'Apply failed with 1 conflict: conflict with "kubectl": '
        '.spec.template.spec.containers[name="main"].image'
    ) in refused
    kube("apply", *at, "--field-manager=other", "--force-conflicts")
    assert kube.path("{.spec.template.spec.containers[0].image}", "deploy", "api") == "api:9"
    shown = kube("get", "deploy", "api", "-o", "json", "--show-managed-fields")
    assert '"manager": "other"' in shown
    refused = kube.fails(
        "apply", "--server-side", "-f", "-",
        stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nnonsense: 1\n",
    )  # fmt: skip
    assert "nonsense" in refused


@recent
@recent
def test_fields_are_managed_under_kubernetes_names(kube: Kubectl) -> None:
    deploy(kube)

    def managers(kind: str) -> set[str]:
        template = "jsonpath={.items[*].metadata.managedFields[*].manager}"
        return set(kube("get", kind, "--show-managed-fields", "-o", template).split())

    assert managers("deploy") == {"kubectl-create", "kube-controller-manager"}
    assert managers("pods") - {"kube-scheduler"} == {"kube-controller-manager", "kubelet"}


def test_create_and_replace(kube: Kubectl, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n")
    assert kube("create", "-f", str(file)) == "configmap/c created"
    assert kube.fails("create", "-f", str(file)) == (
        f'Error from server (AlreadyExists): error when creating "{file}": '
        'configmaps "c" already exists'
    )
    assert kube("replace", "-f", str(file)) == "configmap/c replaced"
    old = kube("get", "cm", "c", "-o", "yaml")
    kube("label", "cm", "c", "x=y")
    assert "the object has been modified; please apply your changes to the latest version" in (
        kube.fails("replace", "-f", "-", stdin=old)
    )
    assert kube("replace", "--force", "-f", str(file)).splitlines()[-1] == "configmap/c replaced"
    bad = "apiVersion: v1\nkind: Pod\nmetadata: {name: B_d}\nspec: {containers: [{name: a}]}\n"
    refused = kube.fails("create", "-f", "-", stdin=bad)
    assert refused.startswith('The Pod "B_d" is invalid: \n* metadata.name: Invalid value: "B_d"')
    assert "* spec.containers[0].image: Required value" in refused
    unknown = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {kontainers: []}\n"
    refused = kube.fails("create", "-f", "-", stdin=unknown)
    assert 'unknown field "spec.kontainers"' in refused
    missing = kube.fails("create", "-f", "-", stdin="apiVersion: v9\nkind: Pod\n")
    assert 'no matches for kind "Pod" in version "v9"' in missing


CREATES: list[tuple[str, str]] = [
    ("secret generic s --from-literal=a=b", "secret/s"),
    ("secret docker-registry d --docker-username=u --docker-password=p", "secret/d"),
    ("job j --image=i", "job.batch/j"),
    ("cronjob cj --image=i --schedule=*/5_*_*_*_*", "cronjob.batch/cj"),
    ("job jj --from=cronjob/cj", "job.batch/jj"),
    ("ingress i --rule=a.b/*=svc:80", "ingress.networking.k8s.io/i"),
    ("pdb p --selector=a=b --min-available=1", "poddisruptionbudget.policy/p"),
    ("serviceaccount x", "serviceaccount/x"),
    ("service nodeport np --tcp=80:80", "service/np"),
    ("service clusterip ci --tcp=80", "service/ci"),
    ("service clusterip headless --clusterip=None", "service/headless"),
    ("service loadbalancer lb --tcp=80", "service/lb"),
    ("service externalname en --external-name=a.b", "service/en"),
    ("role r --verb=get,list --resource=pods,pods/log,deployments.apps",
     "role.rbac.authorization.k8s.io/r"),
    ("rolebinding rb --role=r --user=bob", "rolebinding.rbac.authorization.k8s.io/rb"),
    ("quota q --hard=pods=100", "resourcequota/q"),
]  # fmt: skip


@recent
def test_create_generators(kube: Kubectl) -> None:
    for command, made in CREATES:
        words = [word.replace("_", " ") for word in command.split()]
        assert kube("create", *words) == f"{made} created"
    shown = kube("get", "svc")
    assert headers(shown) == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"]
    assert re.search(r"en +ExternalName +<none> +a\.b +<none>", shown)
    assert re.search(r"lb +LoadBalancer +10\.\S+ +<pending> +80:3\d{4}/TCP", shown)
    assert re.search(r"headless +ClusterIP +None +<none> +<none>", shown)
    assert re.search(r"cj +\*/5 \* \* \* \* +<none> +False +", kube("get", "cronjob"))
    assert re.search(r"i +<none> +a\.b +80 +", kube("get", "ingress"))
    assert re.search(r"p +1 +N/A +0 +", kube("get", "pdb"))
    assert headers(kube("get", "jobs")) == ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"]
    assert "pods/log" in kube("describe", "role", "r")


def test_delete(kube: Kubectl) -> None:
    deploy(kube)
    assert kube("delete", "deploy", "web", "--cascade=orphan").startswith(
        'deployment.apps "web" deleted'
    )
    owned = kube.json("rs", "-l", "app=web")["items"][0]
    wait_for(
        lambda: "ownerReferences" not in kube.json("rs", "-l", "app=web")["items"][0]["metadata"],
        "orphans",
    )
    name = owned["metadata"]["name"]
    kube("delete", "rs", name, "--cascade=foreground")
    assert not kube("get", "rs,pods", "-o", "name")
    for cm in ("a", "b", "c"):
        kube("create", "cm", cm)
    kube("label", "cm", "a", "x=1")
    assert 'configmap "a" deleted' in kube("delete", "cm", "-l", "x=1")
    assert 'configmap "b" deleted' in kube("delete", "cm", "--field-selector=metadata.name=b")
    assert 'configmap "c" deleted' in kube("delete", "cm", "--all")
    assert kube.fails("delete", "cm", "none") == (
        'Error from server (NotFound): configmaps "none" not found'
    )
    assert not kube("delete", "cm", "none", "--ignore-not-found")
    tried = kube("delete", "sa", "default", "--dry-run=server")
    assert tried.startswith('serviceaccount "default" deleted')
    assert tried.endswith("(server dry run)")
    run_pod(kube)
    done = kube.run("delete", "pod", "p", "--grace-period=0", "--force")
    assert 'pod "p" force deleted' in done.stdout
    assert "Immediate deletion does not wait for confirmation" in done.stderr


def test_scale_and_autoscale(kube: Kubectl) -> None:
    deploy(kube)
    assert kube("scale", "deploy/web", "--replicas=3", "--current-replicas=2") == (
        "deployment.apps/web scaled"
    )
    assert kube.fails("scale", "deploy/web", "--replicas=1", "--current-replicas=2") == (
        "error: Expected replicas to be 2, was 3"
    )
    assert kube("autoscale", "deploy", "web", "--min=1", "--max=5", "--cpu-percent=50") == (
        "horizontalpodautoscaler.autoscaling/web autoscaled"
    )
    shown = kube("get", "hpa")
    assert headers(shown) == [
        "NAME", "REFERENCE", "TARGETS", "MINPODS", "MAXPODS", "REPLICAS", "AGE",
    ]  # fmt: skip
    assert "Deployment/web" in shown
    assert "<unknown>/50%" in shown


def test_rollout(kube: Kubectl) -> None:
    deploy(kube)
    kube("annotate", "deploy/web", "kubernetes.io/change-cause=first")
    assert kube("set", "image", "deploy/web", "web=web:2") == "deployment.apps/web image updated"
    assert "successfully rolled out" in kube("rollout", "status", "deploy/web", "--timeout=20s")
    kube("annotate", "deploy/web", "kubernetes.io/change-cause=second", "--overwrite")
    wait_for(lambda: "second" in kube("rollout", "history", "deploy/web"), "the change's cause")
    history = kube("rollout", "history", "deploy/web").splitlines()
    assert [re.split(r"\s{2,}", line) for line in history[1:]] == [
        ["REVISION", "CHANGE-CAUSE"],
        ["1", "first"],
        ["2", "second"],
    ]
    assert "web:1" in kube("rollout", "history", "deploy/web", "--revision=1")
    assert kube("rollout", "undo", "deploy/web") == "deployment.apps/web rolled back"
    assert kube.path("{.spec.template.spec.containers[0].image}", "deploy", "web") == "web:1"
    wait_for(
        lambda: (
            re.findall(r"^\d+", kube("rollout", "history", "deploy/web"), re.MULTILINE)
            == ["2", "3"]
        ),
        "revisions",
    )
    kube("rollout", "undo", "deploy/web", "--to-revision=2")
    assert kube.path("{.spec.template.spec.containers[0].image}", "deploy", "web") == "web:2"
    assert "unable to find specified revision 99" in kube.fails(
        "rollout", "undo", "deploy/web", "--to-revision=99"
    )
    assert kube("rollout", "pause", "deploy/web") == "deployment.apps/web paused"
    assert kube.fails("rollout", "pause", "deploy/web") == (
        'error: deployments.apps "web" is already paused'
    )
    assert kube("rollout", "resume", "deploy/web") == "deployment.apps/web resumed"
    assert kube("rollout", "restart", "deploy/web") == "deployment.apps/web restarted"
    kube("rollout", "status", "deploy/web", "--timeout=20s")


def test_expose_and_run(kube: Kubectl) -> None:
    deploy(kube)
    assert kube("expose", "deploy", "web", "--target-port=8080") == "service/web exposed"
    assert kube.path("{.spec.ports[0].targetPort}", "svc", "web") == "8080"
    assert kube("expose", "svc", "web", "--name=second", "--port=90") == "service/second exposed"
    run_pod(kube, "r", "--port=80", "--expose", "--env=A=b", "--labels=run=r")
    assert kube.path("{.spec.selector.run}", "svc", "r") == "r"
    wait_for(lambda: kube.path("{.subsets[0].addresses[0].ip}", "endpoints", "r"), "an endpoint")
    shown = kube("run", "dry", "--image=i", "--dry-run=client", "-o", "yaml")
    assert shown.startswith("apiVersion: v1\nkind: Pod")


def test_set(kube: Kubectl) -> None:
    deploy(kube)
    assert kube("set", "env", "deploy/web", "A=b") == "deployment.apps/web env updated"
    assert "A=b" in kube("set", "env", "deploy/web", "--list")
    kube("set", "env", "deploy/web", "A-")
    assert kube("set", "resources", "deploy/web", "--limits=cpu=200m,memory=64Mi") == (
        "deployment.apps/web resource requirements updated"
    )
    assert kube("set", "serviceaccount", "deploy/web", "default") == (
        "deployment.apps/web serviceaccount updated"
    )
    kube("expose", "deploy", "web")
    assert kube("set", "selector", "svc/web", "app=other") == "service/web selector updated"
    kube("create", "rolebinding", "rb", "--role=r", "--user=bob")
    assert kube("set", "subject", "rolebinding/rb", "--group=devs") == (
        "rolebinding.rbac.authorization.k8s.io/rb subjects updated"
    )


def test_nodes(kubectl: Kubectl) -> None:
    node = "node-a"
    try:
        assert kubectl("taint", "node", node, "a=b:PreferNoSchedule") == f"node/{node} tainted"
        assert "already has" in kubectl.fails("taint", "node", node, "a=c:PreferNoSchedule")
        assert kubectl("taint", "node", node, "a-") == f"node/{node} untainted"
        assert kubectl("cordon", node) == f"node/{node} cordoned"
        assert "Ready,SchedulingDisabled" in kubectl("get", "nodes")
        text = kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force",
                       "--pod-selector=drained=yes", "--timeout=20s")  # fmt: skip
        assert text.splitlines()[-1] in (f"node/{node} drained", f"node/{node} evicted")
    finally:
        assert kubectl("uncordon", node) == f"node/{node} uncordoned"
    assert headers(kubectl("get", "nodes", "-o", "wide"))[:6] == [
        "NAME", "STATUS", "ROLES", "AGE", "VERSION", "INTERNAL-IP",
    ]  # fmt: skip


def test_drain_evicts(kube: Kubectl) -> None:
    run_pod(kube, "bare", "--labels=drained=yes")
    arguments = ["drain", "node-a", "--pod-selector=drained=yes", "--timeout=20s"]
    try:
        assert "cannot delete" in kube.fails(*arguments)
        assert "pod/bare evicted" in kube(*arguments, "--force", "--disable-eviction=false")
    finally:
        kube("uncordon", "node-a")


def test_discovery(kubectl: Kubectl) -> None:
    assert "Kubernetes control plane" in kubectl("cluster-info")
    assert {"v1", "apps/v1", "batch/v1"} <= set(kubectl("api-versions").splitlines())
    table = kubectl("api-resources", "--api-group=apps")
    assert re.search(r"deployments +deploy +apps/v1 +true +Deployment", table)
    names = kubectl("api-resources", "--namespaced=false", "-o", "name").splitlines()
    assert {"nodes", "namespaces", "clusterroles.rbac.authorization.k8s.io"} <= set(names)
    assert "v1.36" in kubectl("version")
    text = kubectl("explain", "pod.spec.containers.image")
    assert re.search(r"FIELD: +image", text)
    assert "Container image name" in text
    assert "livenessProbe" in kubectl("explain", "deployment.spec.template.spec", "--recursive")
    assert 'field "nonsense" does not exist' in kubectl.fails("explain", "pod.nonsense")


def test_raw(kubectl: Kubectl) -> None:
    assert kubectl("get", "--raw", "/healthz") == "ok"
    assert kubectl("get", "--raw", "/readyz?verbose").endswith("readyz check passed")
    assert '"gitVersion": "v1.36' in kubectl("get", "--raw", "/version")
    assert kubectl.fails("get", "--raw", "/apis/none") == (
        "Error from server (NotFound): the server could not find the requested resource"
    )


@recent
def test_auth(kube: Kubectl) -> None:
    assert kube("auth", "can-i", "create", "pods") == "yes"
    assert kube.run("auth", "can-i", "create", "pods", "--as=nobody").stdout.strip() == "no"
    kube("create", "role", "r", "--verb=get", "--resource=pods")
    kube("create", "rolebinding", "rb", "--role=r", f"--serviceaccount={kube.namespace}:default")
    who = f"--as=system:serviceaccount:{kube.namespace}:default"
    wait_for(lambda: kube("auth", "can-i", "get", "pods", who) == "yes", "the role's effect")
    assert re.search(r"pods +\[\] +\[\] +\[get\]", kube("auth", "can-i", "--list", who))
    refused = kube.fails("get", "secrets", who)
    assert refused == (
        f'Error from server (Forbidden): secrets is forbidden: User "{who[5:]}" cannot list '
        f'resource "secrets" in API group "" in the namespace "{kube.namespace}"'
    )
    token = kube("create", "token", "default", "--duration=1h")
    assert kube("--token", token, "auth", "can-i", "get", "pods") == "yes"
    role = kube("get", "role", "r", "-o", "yaml").replace("- get", "- get\n  - list")
    assert "reconciled" in kube("auth", "reconcile", "-f", "-", stdin=role)


def test_certificates(kube: Kubectl, tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-keyout", str(tmp_path / "key"), "-subj", "/O=devs/CN=jane", "-out", str(tmp_path / "csr")],
        check=True, capture_output=True, timeout=20,
    )  # fmt: skip
    request = base64.b64encode((tmp_path / "csr").read_bytes()).decode()
    name = kube.namespace  # cluster scope: a name of its own
    body = (
        f"apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\n"
        f"metadata: {{name: {name}}}\nspec: {{request: {request}, usages: [client auth], "
        "signerName: kubernetes.io/kube-apiserver-client}\n"
    )
    try:
        kube("create", "-f", "-", stdin=body)
        row = kube("get", "csr", name, "--no-headers").split()
        assert row[2:4] == ["kubernetes.io/kube-apiserver-client", "kubernetes-admin"]
        assert row[-1] == "Pending"
        assert kube("certificate", "approve", name) == (
            f"certificatesigningrequest.certificates.k8s.io/{name} approved"
        )
        wait_for(
            lambda: kube("get", "csr", name, "--no-headers").split()[-1] == "Approved,Issued",
            "the certificate",
        )
        issued = kube.path("{.status.certificate}", "csr", name)
        (tmp_path / "crt").write_bytes(base64.b64decode(issued))
        shutil.copy(kube.kubeconfig, tmp_path / "config")
        config = Kubectl(kube.binary, tmp_path / "config")
        config("config", "set-credentials", "jane", f"--client-certificate={tmp_path}/crt",
               f"--client-key={tmp_path}/key")  # fmt: skip
        config("config", "set-context", "--current", "--user=jane")
        jane = Kubectl(kube.binary, tmp_path / "config", kube.namespace)
        assert 'User "jane" cannot list resource "pods"' in jane.fails("get", "pods")
        kube("create", "rolebinding", "devs", "--clusterrole=view", "--group=devs")
        wait_for(lambda: jane.run("get", "pods").returncode == 0, "what her group may do")
    finally:
        kube("delete", "csr", name, "--ignore-not-found")
    try:
        kube("create", "-f", "-", stdin=body)
        assert kube("certificate", "deny", name).endswith("denied")
        assert kube("get", "csr", name, "--no-headers").split()[-1] == "Denied"
    finally:
        kube("delete", "csr", name)


@recent
def test_wait_and_events(kube: Kubectl) -> None:
    run_pod(kube)
    assert kube("wait", "pod/p", "--for=jsonpath={.status.phase}=Running") == "pod/p condition met"
    assert "timed out waiting for the condition on pods/p" in kube.fails(
        "wait", "pod/p", "--for=condition=Nothing", "--timeout=1s"
    )
    wait_for(lambda: "Scheduled" in kube("get", "events"), "events")
    shown = kube("get", "events", "--sort-by=.lastTimestamp", "--field-selector=reason=Scheduled")
    assert headers(shown) == ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert "pod/p" in shown
    kube("delete", "pod", "p", "--wait=false")
    kube("wait", "pod/p", "--for=delete", "--timeout=20s")


def test_logs_exec_and_cp(kube: Kubectl, tmp_path: Path) -> None:
    run_pod(kube, "p", "--annotations=simulation.skiff.dev/log=hello")
    assert kube("logs", "p") == "hello"
    assert kube("logs", "p", "--tail=0") == ""
    stamped = kube("logs", "p", "--timestamps", "--since=1h")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z hello", stamped)
    assert kube("logs", "-l", "run=p", "--prefix") == "[pod/p/p] hello"
    assert "previous terminated container" in kube.fails("logs", "p", "--previous")
    assert "container nope is not valid for pod p" in kube.fails("logs", "p", "-c", "nope")
    assert kube("exec", "p", "--", "echo", "hi") == "hi"
    assert "container nope is not valid for pod p" in kube.fails(
        "exec", "p", "-c", "nope", "--", "ls"
    )
    assert 'pods "none" not found' in kube.fails("exec", "none", "--", "ls")


def in_background(kube: Kubectl, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        kube.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_proxy_and_port_forward(kube: Kubectl) -> None:
    run_pod(kube)
    port = free_port()
    proxy = in_background(kube, "proxy", f"--port={port}")
    forward = in_background(kube, "port-forward", "p", ":80")
    try:
        assert proxy.stdout is not None and forward.stdout is not None
        assert f"127.0.0.1:{port}" in proxy.stdout.readline()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/version", timeout=5) as answer:
            assert b"v1.36" in answer.read()
        assert re.match(r"Forwarding from 127.0.0.1:\d+ -> 80", forward.stdout.readline())
    finally:
        for process in (proxy, forward):
            process.kill()
            process.wait()
            process.stdout.close()  # type: ignore[union-attr] # asked for above


def test_kustomize_and_top(kube: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text(APP)
    (tmp_path / "kustomization.yaml").write_text("resources: [app.yaml]\nnamePrefix: kz-\n")
    assert "deployment.apps/kz-api created" in kube("apply", "-k", str(tmp_path))
    assert 'deployment.apps "kz-api" deleted' in kube("delete", "-k", str(tmp_path))
    assert kube.fails("top", "pods") == "error: Metrics API not available"


def test_namespaces_go_with_what_is_in_them(kubectl: Kubectl) -> None:
    name = f"gone-{time.monotonic_ns()}"
    kubectl("create", "namespace", name)
    inside = Kubectl(kubectl.binary, kubectl.kubeconfig, name)
    inside("create", "cm", "c")
    assert f'namespace "{name}" deleted' in kubectl("delete", "namespace", name)
    refused = inside.fails("create", "cm", "c")
    assert "not found" in refused
    assert "Forbidden" in kubectl.fails("delete", "namespace", "default")


@recent
def test_finalizers_hold(kube: Kubectl) -> None:
    body: dict[str, Any] = {"metadata": {"finalizers": ["example.com/hold"]}}
    kube("create", "cm", "held")
    kube("patch", "cm", "held", "--type=merge", "-p", str(body).replace("'", '"'))
    kube("delete", "cm", "held", "--wait=false")
    assert kube.path("{.metadata.deletionTimestamp}", "cm", "held")
    kube(
        "patch",
        "cm",
        "held",
        "--type=json",
        "-p",
        '[{"op":"remove","path":"/metadata/finalizers"}]',
    )
    kube("wait", "cm/held", "--for=delete", "--timeout=10s")


@pytest.mark.parametrize("mode", ["client", "server"])
def test_dry_runs_write_nothing(kube: Kubectl, mode: str) -> None:
    flag = f"--dry-run={mode}"
    said = kube("create", "cm", "x", flag)
    assert said == f"configmap/x created ({'server ' if mode == 'server' else ''}dry run)"
    assert not kube("get", "cm", "x", "--ignore-not-found")
