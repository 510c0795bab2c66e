"""What the conformance suite does with kubectl and workloads whose pods have to serve, fail, and know who
they are: the demonstration applications, replicas behind the API's proxy, jobs, tokens."""

import base64
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.real.harness import RealCluster, wait_for
from tests.real.pods import Api, Object, Space, container, pod

pytestmark = pytest.mark.real

PORT = 8080
"""Where the workshop's image serves a page with its host name."""
GUESTBOOK = r"""#!/bin/sh
echo "Content-Type: application/json"
echo
value() { echo "$QUERY_STRING" | tr '&' '\n' | sed -n "s/^$1=//p"; }
there() { wget -qO- "http://$1/cgi-bin/guestbook?$QUERY_STRING"; }
case $ROLE.$(value cmd) in
frontend.set) there primary ;;
frontend.get) there replica ;;
replica.get) there primary ;;
primary.set) value value >/tmp/entry; printf '{"message":"Updated"}' ;;
primary.get) printf '{"data":"%s"}' "$(cat /tmp/entry 2>/dev/null)" ;;
esac
"""


@pytest.fixture(scope="module")
def api(cluster: RealCluster, images: dict[str, str]) -> Iterator[Api]:
    made = Api(cluster)
    yield made
    made.close()


@pytest.fixture
def space(cluster: RealCluster, api: Api) -> Iterator[Space]:
    made = Space(cluster, api, "suite")
    yield made
    made.delete("Namespace", made.name)


def kubectl(space: Space, *arguments: str, stdin: str = "") -> str:
    return space.cluster.kubectl("-n", space.name, *arguments, stdin=stdin)


def proxied(space: Space, kind: str, name: str, path: str = "", **query: str) -> str:
    """What the object answers through the API's proxy; "" where it does not."""
    where = f"{space.path(kind, name)}/proxy/{path}?{urllib.parse.urlencode(query)}"
    status, body = space.api.send("GET", where)
    return body.decode() if status == 200 else ""


def replicated(kind: str, version: str, replicas: int) -> Object:
    labels = {"name": "demo"}
    serving = container(ports=[{"containerPort": PORT}])
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "demo", "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": labels if version == "v1" else {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [serving], "terminationGracePeriodSeconds": 1},
            },
        },
    }


def names(space: Space) -> list[str]:
    template = "{{range .items}}{{.metadata.name}} {{end}}"
    return kubectl(
        space, "get", "pods", "-o", "template", f"--template={template}", "-l", "name=demo"
    ).split()


def serve(space: Space, replicas: int) -> None:
    """Wait until there are so many pods, all running, and each answers with its own name."""
    running = (
        '--template={{if (exists . "status" "containerStatuses")}}'
        "{{range .status.containerStatuses}}"
        '{{if (and (eq .name "main") (exists . "state" "running"))}}true{{end}}{{end}}{{end}}'
    )

    def all_serve() -> bool:
        found = names(space)
        return len(found) == replicas and all(
            kubectl(space, "get", "pods", name, "-o", "template", running) == "true"
            and f"host={name}\n" in proxied(space, "Pod", f"{name}:{PORT}")
            for name in found
        )

    wait_for(all_serve, f"{replicas} pods serve", 60)


def stop(space: Space, body: str) -> None:
    """Delete by force, as the suite does; nothing of the controller is left."""
    kubectl(space, "delete", "--grace-period=0", "--force", "-f", "-", stdin=body)
    wait_for(
        lambda: not kubectl(space, "get", "rc,svc", "-l", "name=demo", "--no-headers"), "it goes"
    )
    left = '{{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}}{{"\\n"}}{{end}}{{end}}'
    wait_for(
        lambda: (
            not kubectl(
                space, "get", "pods", "-l", "name=demo", "-o", f"go-template={left}"
            ).strip()
        ),
        "its pods go",
    )


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Update Demo should create and stop a replication controller [Conformance]"
)
@pytest.mark.conformance(
    "[sig-cli] Kubectl client Update Demo should scale a replication controller [Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] ReplicationController should serve a basic image on each replica with a public image [Conformance]"
)
def test_a_replication_controller_serves_and_scales(space: Space) -> None:
    body = json.dumps(replicated("ReplicationController", "v1", 2))
    kubectl(space, "create", "-f", "-", stdin=body)
    serve(space, 2)
    for replicas in (1, 2):
        kubectl(space, "scale", "rc", "demo", f"--replicas={replicas}", "--timeout=1m")
        serve(space, replicas)
    stop(space, body)


@pytest.mark.conformance(
    "[sig-apps] ReplicaSet should serve a basic image on each replica with a public image [Conformance]"
)
def test_each_pod_of_a_replica_set_serves(space: Space) -> None:
    kubectl(space, "create", "-f", "-", stdin=json.dumps(replicated("ReplicaSet", "apps/v1", 2)))
    serve(space, 2)


def guestbook(role: str, replicas: int) -> list[Object]:
    """A Deployment of the guestbook's part and its Service."""
    labels = {"app": "guestbook", "tier": role}
    serving = container(
        script="mkdir -p /www /tmp && exec httpd -f -p 80 -h /www",
        env=[{"name": "ROLE", "value": role}],
        ports=[{"containerPort": 80}],
        volumeMounts=[{"name": "scripts", "mountPath": "/www/cgi-bin"}],
    )
    scripts = {"name": "scripts", "configMap": {"name": "guestbook", "defaultMode": 0o755}}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": role},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "containers": [serving],
                        "volumes": [scripts],
                        "terminationGracePeriodSeconds": 1,
                    },
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": role, "labels": labels},
            "spec": {"selector": labels, "ports": [{"port": 80}]},
        },
    ]


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Guestbook application should create and stop a working application [Conformance]"
)
def test_a_guestbook_works(space: Space) -> None:
    script = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "guestbook"},
        "data": {"guestbook": GUESTBOOK},
    }
    parts = guestbook("primary", 1) + guestbook("replica", 2) + guestbook("frontend", 3)
    app = json.dumps({"apiVersion": "v1", "kind": "List", "items": [script, *parts]})
    kubectl(space, "create", "-f", "-", stdin=app)

    def says(wanted: str, **query: str) -> None:
        wait_for(
            lambda: (
                proxied(space, "Service", "frontend", "cgi-bin/guestbook", key="messages", **query)
                == wanted
            ),
            f"{query} is answered with {wanted}",
            60,
        )

    says('{"data":""}', cmd="get", value="")
    says('{"message":"Updated"}', cmd="set", value="TestEntry")
    says('{"data":"TestEntry"}', cmd="get", value="")
    kubectl(space, "delete", "--grace-period=0", "--force", "-f", "-", stdin=app)
    wait_for(lambda: not kubectl(space, "get", "deploy,svc,pods", "-o", "name"), "all of it goes")


@pytest.mark.conformance(
    "[sig-apps] Job should run a job to completion when tasks sometimes fail and are locally restarted [Conformance]"
)
def test_a_job_completes_though_its_containers_fail_once(space: Space) -> None:
    once = "if [ -e /data/been ]; then exit 0; fi; touch /data/been; exit 1"
    failing = container(script=once, volumeMounts=[{"name": "data", "mountPath": "/data"}])
    template = pod("x", failing, volumes=[{"name": "data", "emptyDir": {}}])["spec"]
    template["restartPolicy"] = "OnFailure"
    spec = {"parallelism": 2, "completions": 4, "template": {"spec": template}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": spec}
    kubectl(space, "create", "-f", "-", stdin=json.dumps(job))
    kubectl(space, "wait", "job/j", "--for=condition=Complete", "--timeout=90s")
    found = space.list("Pod", "labelSelector=job-name%3Dj")
    assert len(found) == 4
    assert {p["status"]["phase"] for p in found} == {"Succeeded"}
    assert {p["status"]["containerStatuses"][0]["restartCount"] for p in found} == {1}


MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def claims(token: str) -> Any:
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


@pytest.mark.conformance(
    "[sig-auth] ServiceAccounts should mount an API token into pods [Conformance]"
)
@pytest.mark.conformance(
    "[sig-auth] ServiceAccounts should mount projected service account token [Conformance]"
)
def test_pods_know_who_they_are(space: Space) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "mine"}}
    kubectl(space, "create", "-f", "-", stdin=json.dumps(account))
    source = {"path": "token", "audience": "vault", "expirationSeconds": 3600}
    projected = {"name": "t", "projected": {"sources": [{"serviceAccountToken": source}]}}
    waiting = container(
        script="trap 'exit 0' TERM; while true; do sleep 0.1; done",
        volumeMounts=[{"name": "t", "mountPath": "/projected"}],
    )
    made = space.create(pod("p", waiting, volumes=[projected], serviceAccountName="mine"))
    space.ready("p")

    token = space.exec("p", f"cat {MOUNT}/token")
    assert space.exec("p", f"cat {MOUNT}/namespace") == space.name
    known = kubectl(space, "get", "cm", "kube-root-ca.crt", "-o", "jsonpath={.data.ca\\.crt}")
    assert space.exec("p", f"cat {MOUNT}/ca.crt").strip() == known.strip()
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token},
    }
    answer = space.api("POST", "apis/authentication.k8s.io/v1/tokenreviews", review)["status"]
    user = answer["user"]
    assert answer["authenticated"]
    assert user["username"] == f"system:serviceaccount:{space.name}:mine"
    assert user["extra"]["authentication.kubernetes.io/pod-name"] == ["p"]
    assert user["extra"]["authentication.kubernetes.io/pod-uid"] == [made["metadata"]["uid"]]
    assert {
        "system:authenticated",
        "system:serviceaccounts",
        f"system:serviceaccounts:{space.name}",
    } <= set(user["groups"])

    url = f"https://127.0.0.1:{space.api.port}/api/v1/namespaces/{space.name}/pods"
    asking = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    trust = ssl.create_default_context(cadata=known)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(asking, context=trust, timeout=10)

    other = claims(space.exec("p", "cat /projected/token"))
    assert other["aud"] == ["vault"]
    assert other["exp"] - other["iat"] == 3600
    assert other["sub"] == user["username"]
    asking = urllib.request.Request(
        url, headers={"Authorization": f"Bearer {space.exec('p', 'cat /projected/token')}"}
    )
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(asking, context=trust, timeout=10)
