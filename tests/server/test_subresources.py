"""scale, binding, eviction, approval and their like."""

import pytest

from tests.server.engine_world import MERGE, PODS, World, play, pod

APPS = "/apis/apps/v1/namespaces/default"
CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"


def workload(name: str, kind: str = "ReplicaSet", replicas: int = 3) -> dict:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod()["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


@pytest.mark.conformance(
    "[sig-apps] ReplicaSet Replicaset should have a working scale subresource [Conformance]"
)
def test_scale() -> None:
    async def test(w: World) -> None:
        made = await w.create(f"{APPS}/replicasets", workload("r"))
        scale = await w.ok("GET", f"{APPS}/replicasets/r/scale")
        assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
        assert scale["spec"] == {"replicas": 3}
        assert scale["status"] == {"replicas": 0, "selector": "app=r"}
        assert scale["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        tables = {"accept": "application/json;as=Table;g=meta.k8s.io;v=v1,application/json"}
        shown = (await w.call("GET", f"{APPS}/replicasets/r/scale", headers=tables)).json
        assert shown["kind"] == "Table"
        assert [c["name"] for c in shown["columnDefinitions"]] == [
            "Name", "Desired", "Available", "Age"
        ]  # fmt: skip
        assert shown["rows"][0]["cells"][:3] == ["r", 3, 0]
        names = {"accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
        shown = (await w.call("GET", f"{APPS}/replicasets/r/scale", headers=names)).json
        assert (shown["kind"], shown["metadata"]) == ("PartialObjectMetadata", scale["metadata"])
        scale["spec"]["replicas"] = 5
        assert (await w.ok("PUT", f"{APPS}/replicasets/r/scale", scale))["spec"] == {"replicas": 5}
        stale = await w.call("PUT", f"{APPS}/replicasets/r/scale", scale)
        assert stale.status == 409
        patched = await w.merge(f"{APPS}/replicasets/r/scale", {"spec": {"replicas": 0}})
        assert patched["spec"] == {}
        after = await w.ok("GET", f"{APPS}/replicasets/r")
        assert after["spec"]["replicas"] == 0
        assert after["metadata"]["generation"] == 3
        entry = next(m for m in after["metadata"]["managedFields"] if m.get("subresource"))
        assert entry["subresource"] == "scale"
        negative = {"spec": {"replicas": -1}}
        kind = {"content-type": MERGE}
        answer = await w.call("PATCH", f"{APPS}/replicasets/r/scale", negative, kind)
        assert answer.message == (
            'Scale.autoscaling "r" is invalid: spec.replicas: Invalid value: -1: must be greater '
            "than or equal to 0"
        )
        assert (await w.get(f"{APPS}/replicasets/none/scale")).status == 404

    play(test)


@pytest.mark.parametrize("path", [f"{PODS}/a/binding", "/api/v1/namespaces/default/bindings"])
def test_binding(path: str) -> None:
    async def test(w: World) -> None:
        await w.create(PODS, pod("a"))
        binding = {
            "metadata": {"name": "a", "annotations": {"x": "y"}},
            "target": {"kind": "Node", "name": "n1"},
        }
        done = await w.call("POST", path, binding)
        assert (done.status, done.json["status"]) == (201, "Success")
        bound = (await w.get(f"{PODS}/a")).json
        assert bound["spec"]["nodeName"] == "n1"
        assert bound["metadata"]["annotations"] == {"x": "y"}
        condition = bound["status"]["conditions"][0]
        assert (condition["type"], condition["status"]) == ("PodScheduled", "True")
        again = await w.call("POST", path, binding)
        assert again.message == (
            'Operation cannot be fulfilled on pods/binding "a": pod a is already assigned to node "n1"'
        )
        binding["target"] = {"kind": "Pod", "name": ""}
        wrong = await w.call("POST", path, binding)
        assert wrong.status == 422
        assert "target.kind: Unsupported value" in wrong.message
        assert "target.name: Required value" in wrong.message

    play(test)


def test_binding_preconditions() -> None:
    async def test(w: World) -> None:
        await w.create(PODS, pod("a"))
        target = {"target": {"name": "n1"}}
        other = {**target, "metadata": {"name": "b"}}
        assert (await w.call("POST", f"{PODS}/a/binding", other)).status == 400
        other = {**target, "metadata": {"name": "a", "uid": "x"}}
        assert (await w.call("POST", f"{PODS}/a/binding", other)).status == 409
        gated = pod("g")
        gated["spec"]["schedulingGates"] = [{"name": "example.com/wait"}]
        await w.create(PODS, gated)
        answer = await w.call("POST", f"{PODS}/g/binding", {**target, "metadata": {"name": "g"}})
        assert "non-empty .spec.schedulingGates" in answer.message
        assert (await w.call("POST", f"{PODS}/none/binding", target)).status == 404

    play(test)


async def running(w: World, name: str, **labels: str) -> None:
    made = pod(name, labels=labels)
    made["spec"]["nodeName"] = "n1"
    await w.create(PODS, made)
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await w.merge(f"{PODS}/{name}/status", {"status": status})


async def budget(w: World, name: str, **status: object) -> None:
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}
    await w.create(BUDGETS, {"metadata": {"name": name}, "spec": spec})
    status = {"observedGeneration": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2,
              "disruptionsAllowed": 1, **status}  # fmt: skip
    await w.merge(f"{BUDGETS}/{name}/status", {"status": status})


def eviction(name: str, **more: object) -> dict:
    return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, **more}


def test_eviction_asks_the_budget() -> None:
    async def test(w: World) -> None:
        for name in ("a", "b", "c"):
            await running(w, name, app="x")
        await budget(w, "web")
        dry = eviction("a", deleteOptions={"dryRun": ["All"]})
        assert (await w.call("POST", f"{PODS}/a/eviction", dry)).status == 201
        done = await w.call("POST", f"{PODS}/a/eviction", eviction("a"))
        assert (done.status, done.json["status"]) == (201, "Success")
        assert (await w.get(f"{PODS}/a")).json["metadata"]["deletionTimestamp"]
        status = (await w.get(f"{BUDGETS}/web")).json["status"]
        assert status["disruptionsAllowed"] == 0
        assert status["disruptedPods"] == {"a": w.now}
        refused = await w.call("POST", f"{PODS}/b/eviction", eviction("b"))
        assert refused.status == 429
        assert (
            refused.message == "Cannot evict pod as it would violate the pod's disruption budget."
        )
        assert refused.json["details"]["causes"] == [
            {
                "reason": "DisruptionBudget",
                "message": "The disruption budget web needs 1 healthy pods and has 2 currently",
            }
        ]
        await budget(w, "second")
        both = await w.call("POST", f"{PODS}/c/eviction", eviction("c"))
        assert both.status == 500
        assert "more than one PodDisruptionBudget" in both.message

    play(test)


def test_eviction_without_a_say_of_the_budget() -> None:
    async def test(w: World) -> None:
        await running(w, "free")
        assert (await w.call("POST", f"{PODS}/free/eviction", eviction("free"))).status == 201
        await w.create(PODS, pod("pending", labels={"app": "x"}))
        await budget(w, "web", disruptionsAllowed=0)
        assert (await w.call("POST", f"{PODS}/pending/eviction", eviction("pending"))).status == 201
        await running(w, "sick", app="x")
        sick = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
        await w.merge(f"{PODS}/sick/status", sick)
        assert (await w.call("POST", f"{PODS}/sick/eviction", eviction("sick"))).status == 201
        await running(w, "well", app="x")
        await w.merge(f"{BUDGETS}/web", {"spec": {"minAvailable": 2}})
        early = await w.call("POST", f"{PODS}/well/eviction", eviction("well"))
        assert (
            "still being processed by the server" in early.json["details"]["causes"][0]["message"]
        )
        assert (await w.call("POST", f"{PODS}/none/eviction", eviction("none"))).status == 404
        assert (await w.call("POST", f"{PODS}/well/eviction", eviction("other"))).status == 400

    play(test)


def test_ephemeral_containers_and_resize() -> None:
    async def test(w: World) -> None:
        await running(w, "a")
        current = (await w.get(f"{PODS}/a")).json
        current["spec"]["ephemeralContainers"] = [
            {"name": "debug", "image": "i", "terminationMessagePolicy": "File"}
        ]
        plain = await w.call("PUT", f"{PODS}/a", current)
        assert plain.status == 422
        added = await w.ok("PUT", f"{PODS}/a/ephemeralcontainers", current)
        assert added["spec"]["ephemeralContainers"][0]["name"] == "debug"
        patch = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}}
        strategic = "application/strategic-merge-patch+json"
        resized = await w.call("PATCH", f"{PODS}/a/resize", patch, {"content-type": strategic})
        assert resized.status in (200, 422)  # the quality of service class may not change
        assert (await w.get(f"{PODS}/a/ephemeralcontainers")).status == 200

    play(test)


def test_approval_changes_the_conditions_alone() -> None:
    async def test(w: World) -> None:
        from skiff.server.pki import certificates

        request = _certificate_request(certificates.new_key())
        spec = {
            "request": request,
            "signerName": "example.com/signer",
            "usages": ["client auth"],
        }
        made = await w.create(CSRS, {"metadata": {"name": "c"}, "spec": spec})
        made["status"]["conditions"] = [
            {"type": "Approved", "status": "True", "reason": "Because", "message": "m"}
        ]
        made["status"]["certificate"] = "LS0tLS0="
        approved = await w.ok("PUT", f"{CSRS}/c/approval", made)
        assert approved["status"]["conditions"][0]["type"] == "Approved"
        assert "certificate" not in approved["status"]

    play(test)


def _certificate_request(key: bytes) -> str:
    import base64

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "someone")])
    private = serialization.load_pem_private_key(key, None)
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    signed = builder.sign(private, hashes.SHA256())  # type: ignore[arg-type]
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()
