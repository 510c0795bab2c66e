"""create, get, update, patch, delete: what clients see of the generic verbs."""

import asyncio

import pytest

from tests.server.engine_world import APPLY, CONFIGMAPS, MERGE, PODS, World, configmap, play, pod


def test_create_fills_in_what_the_server_owns() -> None:
    async def test(w: World) -> None:
        sent = pod("a", uid="mine", creationTimestamp="2001-01-01T00:00:00Z", selfLink="/x")
        answer = await w.call("POST", PODS, sent)
        meta = answer.json["metadata"]
        assert answer.status == 201
        assert meta["namespace"] == "default"
        assert meta["uid"] not in ("", "mine")
        assert meta["creationTimestamp"] == w.now
        assert "selfLink" not in meta
        assert meta["resourceVersion"] == str(w.store.revision)
        assert meta["managedFields"][0]["manager"] == "tester"
        assert answer.json["spec"]["restartPolicy"] == "Always"
        assert answer.json["status"]["phase"] == "Pending"
        assert (await w.get(f"{PODS}/a")).json == answer.json
        assert answer.header("Audit-Id")
        assert answer.header("Cache-Control") == "no-cache, private"

    play(test)


def test_who_creates_a_node_owns_the_status_it_comes_with() -> None:
    """So a node that was created with a status alone has its later owners told, too."""

    async def test(w: World) -> None:
        nodes = "/api/v1/nodes"
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "n"},
            "status": {"capacity": {"memory": "1Gi"}},
        }
        made = await w.create(nodes, node)
        (entry,) = made["metadata"]["managedFields"]
        assert (entry["manager"], list(entry["fieldsV1"])) == ("tester", ["f:status"])
        taint = {"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}}
        media = {"content-type": MERGE}
        answer = await w.call("PATCH", f"{nodes}/n", taint, media, fieldManager="kubectl-taint")
        managers = [m["manager"] for m in answer.json["metadata"]["managedFields"]]
        assert sorted(managers) == ["kubectl-taint", "tester"]

    play(test)


def test_create_twice_conflicts_and_says_so() -> None:
    async def test(w: World) -> None:
        await w.create(PODS, pod("a"))
        answer = await w.call("POST", PODS, pod("a"))
        assert answer.status == 409
        assert answer.json["reason"] == "AlreadyExists"
        assert answer.message == 'pods "a" already exists'
        assert answer.json["details"] == {"name": "a", "kind": "pods"}

    play(test)


def test_writes_of_one_turn_see_each_other() -> None:
    async def test(w: World) -> None:
        answers = await asyncio.gather(*(w.call("POST", PODS, pod("a")) for _ in range(5)))
        assert sorted(a.status for a in answers) == [201, 409, 409, 409, 409]

    play(test)


def test_generated_names() -> None:
    async def test(w: World) -> None:
        made = [await w.create(PODS, pod(generateName="web-")) for _ in range(20)]
        names = {m["metadata"]["name"] for m in made}
        assert len(names) == 20
        assert all(n.startswith("web-") and len(n) == 9 for n in names)
        long = await w.create(PODS, pod(generateName="x" * 80))
        assert len(long["metadata"]["name"]) == 63
        answer = await w.call("POST", PODS, pod())
        assert answer.status == 422
        assert "name or generateName is required" in answer.message

    play(test)


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        (
            b"{",
            "application/json",
            400,
            "the object provided is unrecognized (must be of type Pod)",
        ),
        (b"[]", "application/json", 400, "cannot unmarshal array"),
        (b"x: [", "application/yaml", 400, "yaml parse error"),
        (b"x", "text/plain", 415, "the body of the request was in an unknown format"),
        (
            b'{"apiVersion":"v2","kind":"Pod","metadata":{"name":"a"}}',
            "application/json",
            400,
            'no kind "Pod" is registered for version "v2" in scheme',
        ),
        (
            b'{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}',
            "application/json",
            400,
            'Service in version "v1" cannot be handled as a Pod',
        ),
        (
            b'{"metadata":{"name":"a","namespace":"other"},"spec":{}}',
            "application/json",
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            b'{"metadata":{"name":"a","resourceVersion":"5"},"spec":{}}',
            "application/json",
            500,
            "resourceVersion should not be set on objects to be created",
        ),
        (b'{"metadata":{"name":"a"},"spec":{}}', "application/json", 422, "spec.containers"),
    ],
)
def test_what_create_refuses(body: bytes, kind: str, status: int, message: str) -> None:
    async def test(w: World) -> None:
        answer = await w.call("POST", PODS, body, {"content-type": kind})
        assert answer.status == status
        assert message in answer.message
        assert answer.json["kind"] == "Status"
        assert w.store.revision == 1

    play(test)


def test_yaml_in_and_out() -> None:
    async def test(w: World) -> None:
        text = b"metadata: {name: a, annotations: {when: '2024-01-01'}}\ndata:\n  b: |\n    two\n    lines\n"
        headers = {"content-type": "application/yaml", "accept": "application/yaml"}
        answer = await w.call("POST", CONFIGMAPS, text, headers)
        assert answer.status == 201
        assert b"b: |\n    two\n    lines\n" in answer.body
        assert (await w.get(f"{CONFIGMAPS}/a")).json["data"] == {"b": "two\nlines\n"}

    play(test)


def test_unknown_fields_are_warned_of_refused_or_ignored() -> None:
    async def test(w: World) -> None:
        odd = configmap("a", spurious=1)
        warned = await w.call("POST", CONFIGMAPS, odd, dryRun="All")
        assert warned.warnings == ['299 - "unknown field \\"metadata.spurious\\""']
        strict = await w.call("POST", CONFIGMAPS, odd, fieldValidation="Strict")
        assert strict.status == 400
        assert "unknown field" in strict.message
        quiet = await w.call("POST", CONFIGMAPS, odd, fieldValidation="Ignore")
        assert (quiet.status, quiet.warnings) == (201, [])
        assert "spurious" not in quiet.json["metadata"]
        bad = await w.call("POST", CONFIGMAPS, odd, fieldValidation="Loud")
        assert bad.status == 422
        assert 'CreateOptions.meta.k8s.io "" is invalid: fieldValidation' in bad.message

    play(test)


def test_dry_run_stores_nothing() -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a", {"x": "1"}))
        before = w.store.revision
        assert (await w.call("POST", PODS, pod("b"), dryRun="All")).status == 201
        assert (await w.call("POST", CONFIGMAPS, configmap("a"), dryRun="All")).status == 409
        changed = await w.merge(f"{CONFIGMAPS}/a", {"data": {"x": "2"}}, dryRun="All")
        assert changed["data"] == {"x": "2"}
        assert (await w.call("DELETE", f"{CONFIGMAPS}/a", dryRun="All")).status == 200
        assert w.store.revision == before
        assert (await w.get(f"{CONFIGMAPS}/a")).json["data"] == {"x": "1"}
        assert (await w.get(f"{PODS}/b")).status == 404
        wrong = await w.call("POST", PODS, pod("b"), dryRun="Some")
        assert wrong.status == 422
        assert 'Unsupported value: ["Some"]: supported values: "All"' in wrong.message

    play(test)


def test_update_needs_the_newest_object() -> None:
    async def test(w: World) -> None:
        made = await w.create(CONFIGMAPS, configmap("a", {"x": "1"}))
        made["data"] = {"x": "2"}
        second = await w.ok("PUT", f"{CONFIGMAPS}/a", made)
        assert second["data"] == {"x": "2"}
        assert int(second["metadata"]["resourceVersion"]) == w.store.revision
        stale = await w.call("PUT", f"{CONFIGMAPS}/a", made)
        assert stale.status == 409
        assert stale.message == (
            'Operation cannot be fulfilled on configmaps "a": the object has been modified; please '
            "apply your changes to the latest version and try again"
        )
        # Without a resourceVersion the update is unconditional.
        again = await w.ok("PUT", f"{CONFIGMAPS}/a", configmap("a", {"x": "3"}))
        assert again["metadata"]["uid"] == made["metadata"]["uid"]
        assert again["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]

    play(test)


def test_an_update_that_changes_nothing_is_no_write() -> None:
    async def test(w: World) -> None:
        made = await w.create(CONFIGMAPS, configmap("a", {"x": "1"}))
        before = w.store.revision
        w.clock.seconds += 100
        assert await w.ok("PUT", f"{CONFIGMAPS}/a", made) == made
        assert await w.merge(f"{CONFIGMAPS}/a", {"data": {"x": "1"}}) == made
        assert w.store.revision == before

    play(test)


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"name": "b"}, 400, "the name of the object (b) does not match the name on the URL (a)"),
        ({"name": ""}, 400, "name must be provided"),
        ({"namespace": "other"}, 400, "does not match the namespace sent on the request"),
        ({"uid": "other"}, 409, "Precondition failed: UID in precondition: other"),
    ],
)
def test_what_update_refuses(change: dict[str, str], status: int, message: str) -> None:
    async def test(w: World) -> None:
        made = await w.create(CONFIGMAPS, configmap("a"))
        made["metadata"].update(change)
        answer = await w.call("PUT", f"{CONFIGMAPS}/a", made)
        assert answer.status == status
        assert message in answer.message

    play(test)


def test_update_of_nothing() -> None:
    async def test(w: World) -> None:
        answer = await w.call("PUT", f"{CONFIGMAPS}/a", configmap("a"))
        assert (answer.status, answer.message) == (404, 'configmaps "a" not found')
        lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l"
        made = await w.call("PUT", lease, {"metadata": {"name": "l"}, "spec": {}})
        assert made.status == 201

    play(test)


def test_status_and_spec_are_written_apart() -> None:
    async def test(w: World) -> None:
        made = await w.create(PODS, pod("a"))
        made["status"] = {"phase": "Running"}
        made["metadata"]["labels"] = {"x": "y"}
        after = await w.ok("PUT", f"{PODS}/a", made)
        assert after["status"]["phase"] == "Pending"
        assert after["metadata"]["labels"] == {"x": "y"}
        after["status"] = {"phase": "Running"}
        after["spec"]["nodeName"] = "elsewhere"
        after = await w.ok("PUT", f"{PODS}/a/status", after)
        assert after["status"]["phase"] == "Running"
        assert "nodeName" not in after["spec"]

    play(test)


def test_patches() -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a", {"x": "1", "y": "2"}))
        path = f"{CONFIGMAPS}/a"
        assert (await w.merge(path, {"data": {"x": None, "z": "3"}}))["data"] == {
            "y": "2",
            "z": "3",
        }
        operations = [{"op": "replace", "path": "/data/y", "value": "9"}]
        patched = await w.ok("PATCH", path, operations, "application/json-patch+json")
        assert patched["data"]["y"] == "9"
        strategic = await w.ok(
            "PATCH", path, {"data": {"z": None}}, "application/strategic-merge-patch+json"
        )
        assert strategic["data"] == {"y": "9"}
        unknown = await w.call("PATCH", path, {}, {"content-type": "application/json"})
        assert unknown.status == 415
        assert unknown.message == "415: Unsupported Media Type"
        assert unknown.json["details"] == {}
        forced = await w.call("PATCH", path, {}, {"content-type": MERGE}, force="true")
        assert "force: Forbidden: may not be specified for non-apply patch" in forced.message
        stale = {"metadata": {"resourceVersion": "1"}, "data": {"y": "0"}}
        assert (await w.call("PATCH", path, stale, {"content-type": MERGE})).status == 409
        missing = await w.call("PATCH", f"{CONFIGMAPS}/b", {}, {"content-type": MERGE})
        assert missing.status == 404

    play(test)


def test_concurrent_patches_are_all_kept() -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a"))
        patches = [{"data": {f"k{i}": str(i)}} for i in range(50)]
        await asyncio.gather(*(w.merge(f"{CONFIGMAPS}/a", p) for p in patches))
        assert len((await w.get(f"{CONFIGMAPS}/a")).json["data"]) == 50

    play(test)


def test_server_side_apply_creates_then_merges_then_conflicts() -> None:
    async def test(w: World) -> None:
        path = f"{CONFIGMAPS}/a"
        config = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "a"},
            "data": {"x": "1"},
        }
        anonymous = await w.call("PATCH", path, config, {"content-type": APPLY})
        assert "fieldManager: Required value: is required for apply patch" in anonymous.message
        made = await w.call("PATCH", path, config, {"content-type": APPLY}, fieldManager="one")
        assert made.status == 201
        config["data"] = {"x": "2"}
        clash = await w.call("PATCH", path, config, {"content-type": APPLY}, fieldManager="two")
        assert clash.status == 409
        assert clash.json["details"]["causes"][0]["field"] == ".data.x"
        forced = await w.ok("PATCH", path, config, APPLY, fieldManager="two", force="true")
        assert forced["data"] == {"x": "2"}
        config["data"] = {"y": "1"}
        mine = await w.ok("PATCH", path, config, APPLY, fieldManager="one")
        assert mine["data"] == {"x": "2", "y": "1"}

    play(test)


def test_delete_answers_as_kubernetes_does() -> None:
    async def test(w: World) -> None:
        made = await w.create(CONFIGMAPS, configmap("a"))
        answer = await w.call("DELETE", f"{CONFIGMAPS}/a")
        assert answer.json == {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]},
        }
        assert (await w.call("DELETE", f"{CONFIGMAPS}/a")).status == 404

    play(test)


def test_delete_preconditions() -> None:
    async def test(w: World) -> None:
        made = await w.create(CONFIGMAPS, configmap("a"))
        wrong = {"preconditions": {"uid": "other"}}
        answer = await w.call("DELETE", f"{CONFIGMAPS}/a", wrong)
        assert answer.status == 409
        assert "the UID in the precondition (other) does not match" in answer.message
        wrong = {"preconditions": {"resourceVersion": "1"}}
        assert (await w.call("DELETE", f"{CONFIGMAPS}/a", wrong)).status == 409
        right = {"preconditions": {"uid": made["metadata"]["uid"]}}
        assert (await w.call("DELETE", f"{CONFIGMAPS}/a", right)).status == 200

    play(test)


def test_pods_end_gracefully_once_they_have_a_node() -> None:
    async def test(w: World) -> None:
        running = pod("a")
        running["spec"]["nodeName"] = "n1"
        await w.create(PODS, running)
        first = await w.ok("DELETE", f"{PODS}/a")
        assert first["metadata"]["deletionGracePeriodSeconds"] == 30
        later = first["metadata"]["deletionTimestamp"]
        again = await w.ok("DELETE", f"{PODS}/a")
        assert again["metadata"]["deletionTimestamp"] == later
        longer = await w.ok("DELETE", f"{PODS}/a", {"gracePeriodSeconds": 60})
        assert longer["metadata"]["deletionGracePeriodSeconds"] == 30
        shorter = await w.ok("DELETE", f"{PODS}/a", {"gracePeriodSeconds": 5})
        assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
        assert shorter["metadata"]["deletionTimestamp"] < later
        assert (await w.get(f"{PODS}/a")).status == 200
        assert (await w.call("DELETE", f"{PODS}/a", {"gracePeriodSeconds": 0})).status == 200
        assert (await w.get(f"{PODS}/a")).status == 404

    play(test)


def test_pods_without_a_node_go_at_once() -> None:
    async def test(w: World) -> None:
        await w.create(PODS, pod("a"))
        gone = await w.ok("DELETE", f"{PODS}/a")
        assert gone["metadata"]["deletionTimestamp"] == w.now
        assert (await w.get(f"{PODS}/a")).status == 404

    play(test)


def test_finalizers_hold_an_object() -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a", finalizers=["example.com/hold"]))
        held = await w.ok("DELETE", f"{CONFIGMAPS}/a")
        assert held["metadata"]["deletionTimestamp"] == w.now
        assert held["metadata"]["deletionGracePeriodSeconds"] == 0
        taken = await w.call("POST", CONFIGMAPS, configmap("a"))
        assert taken.message == 'object is being deleted: configmaps "a" already exists'
        more = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
        refused = await w.call("PATCH", f"{CONFIGMAPS}/a", more, {"content-type": MERGE})
        assert refused.status == 422
        last = await w.merge(f"{CONFIGMAPS}/a", {"metadata": {"finalizers": None}})
        assert last["metadata"]["name"] == "a"
        assert (await w.get(f"{CONFIGMAPS}/a")).status == 404

    play(test)


@pytest.mark.parametrize(
    ("options", "finalizers", "status"),
    [
        ({"propagationPolicy": "Orphan"}, ["orphan"], 200),
        ({"propagationPolicy": "Foreground"}, ["foregroundDeletion"], 202),
        ({"orphanDependents": True}, ["orphan"], 200),
    ],
)
def test_propagation_policies_become_finalizers(
    options: dict[str, object], finalizers: list[str], status: int
) -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a"))
        answer = await w.call("DELETE", f"{CONFIGMAPS}/a", options)
        assert answer.status == status
        assert answer.json["metadata"]["finalizers"] == finalizers

    play(test)


def test_background_is_the_default_but_for_old_kinds() -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a"))
        await w.ok("DELETE", f"{CONFIGMAPS}/a", {"propagationPolicy": "Background"})
        assert (await w.get(f"{CONFIGMAPS}/a")).status == 404
        jobs = "/apis/batch/v1/namespaces/default/jobs"
        template = pod()["spec"] | {"restartPolicy": "Never"}
        await w.create(jobs, {"metadata": {"name": "j"}, "spec": {"template": {"spec": template}}})
        held = await w.ok("DELETE", f"{jobs}/j")
        assert "orphan" in held["metadata"]["finalizers"]

    play(test)


def test_bad_delete_options() -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a"))
        both = {"propagationPolicy": "Orphan", "orphanDependents": True}
        answer = await w.call("DELETE", f"{CONFIGMAPS}/a", both)
        assert "orphanDependents and deletionPropagation cannot be both set" in answer.message
        answer = await w.call("DELETE", f"{CONFIGMAPS}/a", {"propagationPolicy": "Sideways"})
        assert (
            'Unsupported value: "Sideways": supported values: "Background", "Foreground", "Orphan", "nil"'
            in answer.message
        )

    play(test)


def test_delete_collection_takes_what_the_selector_chooses() -> None:
    async def test(w: World) -> None:
        for i in range(250):
            await w.create(CONFIGMAPS, configmap(f"c{i}", labels={"even": str(i % 2 == 0)}))
        gone = await w.ok("DELETE", CONFIGMAPS, labelSelector="even=True")
        assert gone["kind"] == "ConfigMapList"
        assert len(gone["items"]) == 125
        assert len((await w.get(CONFIGMAPS)).json["items"]) == 125

    play(test)


def test_namespaces_end_in_two_steps() -> None:
    async def test(w: World) -> None:
        made = await w.create("/api/v1/namespaces", {"metadata": {"name": "n"}})
        assert made["spec"]["finalizers"] == ["kubernetes"]
        ending = await w.ok("DELETE", "/api/v1/namespaces/n")
        assert ending["status"]["phase"] == "Terminating"
        assert ending["metadata"]["deletionTimestamp"] == w.now
        again = await w.ok("DELETE", "/api/v1/namespaces/n")
        assert again["metadata"]["resourceVersion"] == ending["metadata"]["resourceVersion"]
        ending["spec"]["finalizers"] = []
        await w.ok("PUT", "/api/v1/namespaces/n/finalize", ending)
        assert (await w.get("/api/v1/namespaces/n")).status == 404

    play(test)


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/api/v1/nothings", 404, "the server could not find the requested resource"),
        ("GET", "/api/v1/pods/a", 404, "the server could not find the requested resource"),
        ("GET", "/api/v1/namespaces/x/nodes/n", 404, "could not find the requested resource"),
        ("GET", f"{PODS}/a/nothing", 404, "the server could not find the requested resource"),
        ("POST", "/api/v1/pods", 405, "the server does not allow this method"),
        ("POST", f"{PODS}/a", 405, "the server does not allow this method"),
        ("PUT", PODS, 405, "the server does not allow this method on the requested resource"),
        ("DELETE", "/api/v1/namespaces", 405, "the server does not allow this method"),
        ("GET", f"{PODS}/a/binding", 405, "the server does not allow this method"),
    ],
)
def test_paths_that_lead_nowhere(method: str, path: str, status: int, message: str) -> None:
    async def test(w: World) -> None:
        answer = await w.call(method, path, {} if method != "GET" else None)
        assert answer.status == status
        assert message in answer.message
        if status == 404:
            assert answer.json["details"] == {}

    play(test)


def test_an_unknown_group_is_a_plain_404() -> None:
    async def test(w: World) -> None:
        answer = await w.get("/apis/nobody.example/v1/things")
        assert (answer.status, answer.body) == (404, b"404 page not found\n")

    play(test)


def test_a_bug_becomes_an_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    async def test(w: World) -> None:
        w.api.engine.registry.find("", "v1", "pods").hooks = None  # type: ignore[union-attr,assignment]
        answer = await w.call("POST", PODS, pod("a"))
        assert answer.status == 500
        assert answer.json["reason"] == "InternalError"
        assert "Traceback" in caplog.text

    play(test)


def test_acceptable_answers() -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a"))
        path = f"{CONFIGMAPS}/a"
        for accept, status in (
            ("application/vnd.kubernetes.protobuf,application/json", 200),
            ("*/*", 200),
            ("application/cbor", 406),
            ("application/json;as=Nothing;g=meta.k8s.io;v=v1", 406),
            ("application/json;as=Nothing;g=meta.k8s.io;v=v1,application/json", 200),
        ):
            answer = await w.call("GET", path, None, {"accept": accept})
            assert answer.status == status, accept
        pretty = await w.get(path, pretty="true")
        assert b'\n  "kind": "ConfigMap"' in pretty.body
        for person in ({"user-agent": "curl/8.5.0"}, {"user-agent": "Mozilla/5.0"}):
            missing = await w.call("GET", f"{CONFIGMAPS}/none", None, person)
            assert missing.body.startswith(b'{\n  "kind": "Status"')
            fields = ["kind", "apiVersion", "metadata", "status", "message"]
            assert list(missing.json) == [*fields, "reason", "details", "code"]
        assert b"\n " not in (await w.get(f"{CONFIGMAPS}/none")).body

    play(test)


def test_deprecated_resources_warn() -> None:
    async def test(w: World) -> None:
        endpoints = "/api/v1/namespaces/default/endpoints"
        made = await w.call("POST", endpoints, {"metadata": {"name": "e"}})
        warning = (
            '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'
        )
        assert made.warnings == [warning]
        assert (await w.call("PUT", f"{endpoints}/e", made.json)).warnings == [warning]

    play(test)


def test_a_dry_run_as_a_table() -> None:
    async def test(w: World) -> None:
        accept = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
        answer = await w.call("POST", PODS, pod("a"), accept, dryRun="All")
        assert answer.json["rows"][0]["cells"][0] == "a"

    play(test)
