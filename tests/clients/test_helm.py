"""Helm, as its users meet a cluster: a chart with hooks, values and a test goes through its life."""

import base64
import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.cluster import TIMEOUT_S, Kubectl
from tests.clients.upstream import program

CHART = {
    "Chart.yaml": """
apiVersion: v2
name: shop
description: a chart for the test
version: 0.1.0
appVersion: "1"
kubeVersion: ">= 1.30"
""",
    "values.yaml": """
replicas: 2
image: shop:1
greeting: hello
""",
    "templates/config.yaml": """
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-config
data:
  greeting: {{ .Values.greeting | quote }}
""",
    "templates/deployment.yaml": """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  labels: {app.kubernetes.io/managed-by: {{ .Release.Service }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}}
      annotations:
        checksum/config: {{ include (print $.Template.BasePath "/config.yaml") . | sha256sum }}
    spec:
      containers:
        - {name: shop, image: {{ .Values.image | quote }}, ports: [{containerPort: 80}]}
""",
    "templates/service.yaml": """
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec:
  selector: {app: {{ .Release.Name }}}
  ports: [{port: 80}]
""",
    "templates/before.yaml": """
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-migrate
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  template:
    metadata: {annotations: {simulation.skiff.dev/exit-after-seconds: "0.1"}}
    spec:
      restartPolicy: Never
      containers: [{name: migrate, image: shop:1}]
""",
    "templates/tests/try.yaml": """
apiVersion: v1
kind: Pod
metadata:
  name: {{ .Release.Name }}-try
  annotations: {helm.sh/hook: test, simulation.skiff.dev/exit-after-seconds: "0.1"}
spec:
  restartPolicy: Never
  containers: [{name: try, image: shop:1}]
""",
}

# One kubectl is enough to look at what Helm did.
pytestmark = pytest.mark.parametrize("kubectl", ["upstream"], indirect=True)

Helm = Callable[..., str]


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    for name, text in CHART.items():
        file = tmp_path / "shop" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.lstrip())
    return tmp_path / "shop"


@pytest.fixture
def helm(kube: Kubectl, tmp_path: Path) -> Helm:
    def run(*arguments: str) -> str:
        done = subprocess.run(
            [
                str(program("helm")), "--kubeconfig", str(kube.kubeconfig), "-n", kube.namespace,
                *arguments,
            ],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def test_a_release_from_installation_to_removal(kube: Kubectl, helm: Helm, chart: Path) -> None:
    assert "STATUS: deployed" in helm("install", "shop", str(chart), "--wait", "--timeout=60s")
    assert kube.path("{.status.readyReplicas}", "deployment", "shop") == "2"
    assert kube.path("{.status.succeeded}", "job", "shop-migrate") == "1"
    assert kube.path("{.data.greeting}", "cm", "shop-config") == "hello"
    first = kube.path("{.metadata.uid}", "job", "shop-migrate")

    # kubectl's change of a field that the chart says nothing about stays; what it says is put right.
    kube("annotate", "deployment", "shop", "note=kept")
    more = ("--set", "replicas=3,greeting=hi", "--wait", "--timeout=60s")
    assert "REVISION: 2" in helm("upgrade", "shop", str(chart), *more)
    assert kube.path("{.status.readyReplicas}", "deployment", "shop") == "3"
    assert kube.path("{.metadata.annotations.note}", "deployment", "shop") == "kept"
    assert kube.path("{.data.greeting}", "cm", "shop-config") == "hi"
    assert kube.path("{.metadata.uid}", "job", "shop-migrate") != first, "the hook ran again"

    assert json.loads(helm("get", "values", "shop", "-o", "json")) == {
        "greeting": "hi",
        "replicas": 3,
    }
    assert 'greeting: "hi"' in helm("get", "manifest", "shop")
    assert "Phase:" in helm("test", "shop", "--timeout=60s")

    helm("rollback", "shop", "1", "--wait", "--timeout=60s")
    assert kube.path("{.spec.replicas}", "deployment", "shop") == "2"
    assert kube.path("{.data.greeting}", "cm", "shop-config") == "hello"
    history = json.loads(helm("history", "shop", "-o", "json"))
    assert [(h["revision"], h["status"]) for h in history] == [
        (1, "superseded"),
        (2, "superseded"),
        (3, "deployed"),
    ]
    # A release is a Secret: compressed twice over, in fields that must come back as they were sent.
    kept = kube.json("secret", "sh.helm.release.v1.shop.v3")
    release = gzip.decompress(base64.b64decode(base64.b64decode(kept["data"]["release"])))
    assert json.loads(release)["info"]["status"] == "deployed"

    helm("uninstall", "shop", "--wait", "--timeout=60s")
    assert json.loads(helm("list", "-o", "json")) == []
    assert not kube("get", "deployment,service,secret", "-o", "name")


def test_what_is_somebody_elses_is_left_alone(kube: Kubectl, helm: Helm, chart: Path) -> None:
    kube("create", "configmap", "shop-config", "--from-literal=greeting=mine")
    with pytest.raises(AssertionError, match="exists and cannot be imported"):
        helm("install", "shop", str(chart))
    assert kube.path("{.data.greeting}", "cm", "shop-config") == "mine"
    # Helm applies: that the field is another's is a conflict, unless it may be taken.
    with pytest.raises(
        AssertionError, match=r'conflict with "kubectl-create" using v1: \.data\.gre'
    ):
        helm("install", "shop", str(chart), "--take-ownership")
    helm("uninstall", "shop")
    force = ("--take-ownership", "--force-conflicts", "--wait", "--timeout=60s")
    assert "STATUS: deployed" in helm("install", "shop", str(chart), *force)
    assert kube.path("{.data.greeting}", "cm", "shop-config") == "hello"
