"""The server put together, in this process: its first start, and what only shows end to end."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import orjson
import pytest

from skiff.aio.clock import parse_rfc3339
from skiff.aio.entropy import Entropy
from skiff.aio.http.message import Peer, Request
from skiff.aio.run import Group
from skiff.server.app import ApiServer
from skiff.server.assemble import Assembly, Settings
from skiff.server.authz import policy
from skiff.server.stamp import stamp
from skiff.store.memory import MemoryStore

MASTER = ("admin", ("system:masters",))
BOB = ("bob", ())


class Clock:
    """Time that passes only when somebody sleeps."""

    time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await asyncio.sleep(0)


class World:
    """A server over a memory store, and calls to it."""

    def __init__(self, store: MemoryStore | None = None, **settings: object) -> None:
        self.clock = Clock()
        self.store = store or MemoryStore(stamp, self.clock)
        made: list[Assembly] = []

        def assemble(engine):
            made.append(Assembly(engine, Settings(**settings)))
            return made[0].parts

        self.server = ApiServer(self.store, self.clock, Entropy(1), None, assemble)
        self.assembly = made[0]

    async def call(self, method: str, path: str, body=None, user=MASTER, **headers: str):
        path, _, query = path.partition("?")
        headers = {"content-type": "application/json", **headers}
        peer = Peer(("", 0), local=True, state={"user": user} if user else {})
        data = orjson.dumps(body) if body is not None else b""
        outcome = self.server.handle(Request(method, path, query, headers, data, peer))
        response = outcome if hasattr(outcome, "status") else await outcome
        raw = response.body if isinstance(response.body, bytes) else b"".join(response.body)
        parsed = orjson.loads(raw) if response.content_type.startswith("application/json") else raw
        return response.status, parsed

    async def must(self, method: str, path: str, body=None, **how):
        status, answer = await self.call(method, path, body, **how)
        assert status < 300, answer
        return answer

    async def account(self, name: str = "default", namespace: str = "default") -> None:
        await self.must(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts",
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
        )

    async def until(self, ready, what: str) -> None:
        for _ in range(200):
            if await ready():
                return
            await asyncio.sleep(0)
        raise AssertionError(f"never happened: {what}")


@contextlib.asynccontextmanager
async def running(**settings: object) -> AsyncIterator[World]:
    """A server that has started, with its components."""
    world = World(**settings)
    await world.assembly.start(world.server.handle)
    started = asyncio.Event()
    task = asyncio.create_task(
        Group(world.assembly.components(world.server.handle)).run(started.set)
    )
    await started.wait()
    try:
        yield world
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        world.server.close()


def test_a_first_start_is_complete_and_quick_and_a_second_writes_nothing():
    async def check():
        begin = time.perf_counter()
        world = World()
        first = await world.assembly.start(world.server.handle)
        took = time.perf_counter() - begin
        assert first > 150
        assert took < 2.0, took  # 0.05 s on an idle machine
        again = World(world.store)
        assert await again.assembly.start(again.server.handle) == 0
        for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
            await world.must("GET", f"/api/v1/namespaces/{name}")
        service = await world.must("GET", "/api/v1/namespaces/default/services/kubernetes")
        assert service["spec"]["clusterIP"] == "10.96.0.1"
        cidr = await world.must("GET", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes")
        assert cidr["status"]["conditions"][0]["status"] == "True"
        admin = await world.must("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/admin")
        assert any("pods/exec" in r.get("resources", ()) for r in admin["rules"])
        found = await world.must("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles")
        wanted = {r.name for r in policy.ROLES if not r.namespace}
        assert wanted == {r["metadata"]["name"] for r in found["items"]}

    asyncio.run(check())


def test_a_restart_mends_policy_but_keeps_what_users_added():
    async def check():
        world = World()
        await world.assembly.start(world.server.handle)
        path = "/apis/rbac.authorization.k8s.io/v1"
        view = await world.must("GET", f"{path}/clusterroles/system:basic-user")
        extra = {"apiGroups": ["x.io"], "resources": ["y"], "verbs": ["get"]}
        await world.must(
            "PUT", f"{path}/clusterroles/system:basic-user", {**view, "rules": [extra]}
        )
        kept = await world.must("GET", f"{path}/clusterroles/system:discovery")
        kept["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = "false"
        await world.must("PUT", f"{path}/clusterroles/system:discovery", {**kept, "rules": []})
        binding = await world.must("GET", f"{path}/clusterrolebindings/cluster-admin")
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "me"}
        await world.must(
            "PUT", f"{path}/clusterrolebindings/cluster-admin", {**binding, "subjects": [subject]}
        )
        again = World(world.store)
        assert await again.assembly.start(again.server.handle) == 2
        rules = (await again.must("GET", f"{path}/clusterroles/system:basic-user"))["rules"]
        assert extra in rules and len(rules) > 2
        assert (await again.must("GET", f"{path}/clusterroles/system:discovery")).get(
            "rules", []
        ) == []
        subjects = (await again.must("GET", f"{path}/clusterrolebindings/cluster-admin"))[
            "subjects"
        ]
        assert {s["name"] for s in subjects} == {"me", "system:masters"}

    asyncio.run(check())


def test_the_servers_own_service_is_kept_right():
    async def check():
        async with running() as world:
            path = "/api/v1/namespaces/default/endpoints/kubernetes"

            async def right() -> bool:
                status, found = await world.call("GET", path)
                return status == 200 and found["subsets"][0]["addresses"][0]["ip"] == "192.0.2.1"

            assert await right()
            found = await world.must("GET", path)
            found["subsets"][0]["addresses"][0]["ip"] = "192.0.2.99"
            await world.must("PUT", path, found)
            await world.until(right, "the address put right")
            await world.must("DELETE", path)
            await world.until(right, "the endpoints made again")

    asyncio.run(check())


def test_aggregated_roles_follow_their_parts():
    async def check():
        async with running() as world:
            base = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
            rule = {"apiGroups": ["x.io"], "resources": ["widgets"], "verbs": ["get"]}
            label = "rbac.authorization.k8s.io/aggregate-to-view"
            part = {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": "widgets", "labels": {label: "true"}},
                "rules": [rule],
            }
            await world.must("POST", base, part)

            async def everywhere() -> bool:
                # view is part of edit, which is part of admin
                roles = [await world.must("GET", f"{base}/{n}") for n in ("view", "edit", "admin")]
                return all(rule in r["rules"] for r in roles)

            await world.until(everywhere, "the rule in view, edit and admin")
            await world.must("DELETE", f"{base}/widgets")

            async def nowhere() -> bool:
                return rule not in (await world.must("GET", f"{base}/admin"))["rules"]

            await world.until(nowhere, "the rule gone")

    asyncio.run(check())


@pytest.mark.conformance(
    "[sig-auth] ServiceAccounts should create a serviceAccountToken and ensure a successful TokenReview [Conformance]"
)
def test_a_token_is_made_reviewed_and_used():
    async def check():
        world = World()
        await world.assembly.start(world.server.handle)
        await world.account("bot")
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        path = "/api/v1/namespaces/default/serviceaccounts/bot/token"
        made = await world.must("POST", path, body)
        token = made["status"]["token"]
        assert made["spec"]["expirationSeconds"] == 3600
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token},
        }
        answer = await world.must("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
        assert answer["status"]["authenticated"] is True
        assert answer["status"]["user"]["username"] == "system:serviceaccount:default:bot"
        assert "error" not in answer["status"]
        status, who = await world.call(
            "POST",
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
            user=None,
            authorization=f"Bearer {token}",
        )
        assert status == 201
        assert "system:serviceaccounts:default" in who["status"]["userInfo"]["groups"]
        assert parse_rfc3339(who["metadata"]["creationTimestamp"]) <= world.clock.now()
        await world.must("DELETE", "/api/v1/namespaces/default/serviceaccounts/bot")
        status, _ = await world.call("GET", "/api", user=None, authorization=f"Bearer {token}")
        assert status == 401
        for spec, code in (
            ({"expirationSeconds": 10}, 422),
            ({"boundObjectRef": {"kind": "Node", "apiVersion": "v2"}}, 400),
        ):
            await world.call(
                "POST",
                "/api/v1/namespaces/default/serviceaccounts",
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}},
            )
            status, answer = await world.call("POST", path, {**body, "spec": spec})
            assert status == code, answer

    asyncio.run(check())


@pytest.mark.conformance(
    "[sig-auth] SubjectReview should support SubjectReview API operations [Conformance]"
)
def test_access_reviews_say_what_the_server_does():
    async def check():
        world = World()
        await world.assembly.start(world.server.handle)
        await world.account("bot")
        who = "system:serviceaccount:default:bot"
        attributes = {
            "verb": "list",
            "resource": "configmaps",
            "version": "v1",
            "namespace": "default",
        }
        spec = {"resourceAttributes": attributes, "user": who}
        group = "/apis/authorization.k8s.io/v1"

        async def allowed(path: str, kind: str) -> bool:
            body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
            return (await world.must("POST", path, body))["status"]["allowed"]

        async def served() -> bool:
            headers = {"impersonate-user": who}
            status, _ = await world.call("GET", "/api/v1/namespaces/default/configmaps", **headers)
            return status == 200

        for expected in (False, True):
            assert await served() is expected
            assert await allowed(f"{group}/subjectaccessreviews", "SubjectAccessReview") is expected
            local = f"{group}/namespaces/default/localsubjectaccessreviews"
            assert await allowed(local, "LocalSubjectAccessReview") is expected
            await world.call(
                "POST",
                "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "RoleBinding",
                    "metadata": {"name": "b"},
                    "roleRef": {
                        "apiGroup": "rbac.authorization.k8s.io",
                        "kind": "ClusterRole",
                        "name": "view",
                    },
                    "subjects": [{"kind": "ServiceAccount", "name": "bot", "namespace": "default"}],
                },
            )
        rules = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": "default"},
        }
        answer = await world.must("POST", f"{group}/selfsubjectrulesreviews", rules, user=BOB)
        assert any("/api/*" in r["nonResourceURLs"] for r in answer["status"]["nonResourceRules"])

    asyncio.run(check())


QUOTA = "[sig-api-machinery] ResourceQuota should "


@pytest.mark.conformance(
    QUOTA + "create a ResourceQuota and ensure its status is promptly calculated. [Conformance]"
)
@pytest.mark.conformance(
    QUOTA + "create a ResourceQuota and capture the life of a configMap. [Conformance]"
)
@pytest.mark.conformance(
    QUOTA + "create a ResourceQuota and capture the life of a secret. [Conformance]"
)
def test_a_quota_counts_and_limits():
    async def check():
        async with running() as world:
            base = "/api/v1/namespaces/default"
            quota = {
                "apiVersion": "v1",
                "kind": "ResourceQuota",
                "metadata": {"name": "q"},
                "spec": {"hard": {"configmaps": "1", "secrets": "2", "resourcequotas": "1"}},
            }
            await world.must("POST", f"{base}/resourcequotas", quota)

            def used(**wanted: str):
                async def ready() -> bool:
                    found = await world.must("GET", f"{base}/resourcequotas/q")
                    status = found.get("status", {}).get("used", {})
                    return all(status.get(k) == v for k, v in wanted.items())

                return ready

            await world.until(used(configmaps="0", resourcequotas="1"), "the first count")
            thing = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
            await world.must("POST", f"{base}/configmaps", thing)
            await world.must("POST", f"{base}/secrets", {**thing, "kind": "Secret"})
            await world.until(used(configmaps="1", secrets="1"), "the objects counted")
            status, answer = await world.call(
                "POST", f"{base}/configmaps", {**thing, "metadata": {"name": "b"}}
            )
            assert (status, answer["message"]) == (
                403,
                'configmaps "b" is forbidden: exceeded quota: q, requested: configmaps=1, used:'
                " configmaps=1, limited: configmaps=1",
            )
            await world.must("DELETE", f"{base}/configmaps/a")
            await world.must("DELETE", f"{base}/secrets/a")
            await world.until(used(configmaps="0", secrets="0"), "the places given back")

    asyncio.run(check())


def test_twenty_pods_at_once_cannot_overrun_a_quota():
    async def check():
        world = World()
        await world.assembly.start(world.server.handle)
        await world.account()
        base = "/api/v1/namespaces/default"
        quota = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "q"},
            "spec": {"hard": {"pods": "7"}},
        }
        await world.must("POST", f"{base}/resourcequotas", quota)
        body = {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-"},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }  # fmt: skip
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(world.call("POST", f"{base}/pods", body)) for _ in range(20)]
        assert sorted(c.result()[0] for c in calls) == [201] * 7 + [403] * 13

    asyncio.run(check())


@pytest.mark.conformance(
    "[sig-api-machinery] server version should find the server version [Conformance]"
)
def test_paths_and_who_may_see_them():
    async def check():
        world = World()
        assert (await world.call("GET", "/readyz", user=None))[0] == 403
        await world.assembly.start(world.server.handle)
        async with running() as whole:
            assert await whole.must("GET", "/readyz", user=None) == b"ok"
        version = await world.must("GET", "/version", user=None)
        assert version["major"].isdigit() and version["minor"].isdigit()
        assert (await world.call("GET", "/metrics", user=BOB))[0] == 403
        text = await world.must("GET", "/metrics")
        assert b'apiserver_request_total{code="201"' in text
        assert (
            b'apiserver_storage_objects{resource="clusterroles.rbac.authorization.k8s.io"}' in text
        )
        assert (await world.call("GET", "/api/v1/pods", user=BOB))[0] == 403
        keys = await world.must("GET", "/.well-known/openid-configuration")
        assert keys["id_token_signing_alg_values_supported"] == ["ES256"]
        index = await world.must("GET", "/openapi/v3", user=BOB)
        assert "apis/apps/v1" in index["paths"]

    asyncio.run(check())


def test_always_allow_lets_everybody_do_everything():
    async def check():
        world = World(authorization_modes=["AlwaysAllow"])
        await world.assembly.start(world.server.handle)
        assert (await world.call("GET", "/api/v1/secrets", user=BOB))[0] == 200
        anonymous = World(world.store, anonymous=False)
        assert (await anonymous.call("GET", "/version", user=None))[0] == 401

    asyncio.run(check())
