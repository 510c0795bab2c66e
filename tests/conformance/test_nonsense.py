"""Whatever is sent, the server answers: never a 500, never silence, every error a proper Status."""

import asyncio
import base64
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skiff.aio.entropy import Entropy
from skiff.api.resources import TABLE, Resource
from skiff.server.assemble import Assembly, Settings
from skiff.server.streaming.kubelets import Kubelets
from skiff.server.streaming.table import connectors
from tests.conformance.test_api_operations import KINDS
from tests.conformance.world import CONTENT_TYPES, pod, template
from tests.server.engine_world import Answer, World

ANSWER_TIMEOUT_S = 5.0
JSON = "application/json"
BODY_TYPES = [
    JSON,
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    *CONTENT_TYPES.values(),
]
POD = "/api/v1/namespaces/default/pods"

Object = dict[str, Any]


class Server:
    """The whole chain, with a user who may do everything; lives as long as the module's tests."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.runner.run(self._start())

    async def _start(self) -> None:
        made: list[Assembly] = []

        def assemble(engine: Any) -> Any:
            made.append(Assembly(engine, Settings()))
            return made[0].parts

        self.world = World(assemble)
        api = self.world.api
        kubelets = Kubelets(api.engine, local={})
        api.add_connectors(connectors(api.engine, kubelets, entropy=Entropy(1)))
        await made[0].start(api.handle)
        for milestone, _ in made[0].components(api.handle):  # they are of no use here
            made[0].health.reached(milestone)
        for kind, obj in BASES:
            namespace = "default" if kind.namespaced else ""
            await self.world.call(
                "POST", kind.path(namespace), obj | {"metadata": {"name": "base"}}
            )
        addresses = {"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}}
        await self.world.merge("/api/v1/nodes/base/status", addresses)
        account = {"metadata": {"name": "default"}}
        await self.world.call("POST", "/api/v1/namespaces/default/serviceaccounts", account)
        await self.world.call("POST", POD, {"apiVersion": "v1", "kind": "Pod", **pod("base")})

    def close(self) -> None:
        self.runner.run(self.world.store.close())
        self.world.api.close()
        self.runner.close()

    def send(
        self, method: str, where: str, body: bytes = b"", headers: Any = None, **query: str
    ) -> Answer:
        """The answer, which must be a sane one."""

        async def one() -> Answer:
            sent = where + "?" + urlencode(query) if query else where
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                response = await self.world.response(method, sent, body, headers)
                if response.stream is not None or response.upgrade is not None:
                    return Answer(response.status, b"", list(response.headers))
                data = (
                    response.body if isinstance(response.body, bytes) else b"".join(response.body)
                )
                return Answer(response.status, data, list(response.headers))

        answer = self.runner.run(one())
        sane(answer, (method, where[:300], body[:600], headers, query))
        return answer


def sane(answer: Answer, sent: Any) -> None:
    assert 200 <= answer.status < 500 or answer.status in (501, 503, 504), (answer, sent)
    if answer.status >= 400 and answer.body[:1] == b"{":
        status = orjson.loads(answer.body)
        assert status["kind"] == "Status", (status, sent)
        assert (status["status"], status["code"]) == ("Failure", answer.status), (status, sent)
        assert status["message"], (status, sent)
    elif answer.status >= 400:
        assert not answer.body or b"\n" in answer.body, (answer, sent)


def bases() -> list[tuple[Resource, Object]]:
    """An object of many kinds."""
    found = [(k.resource, k.rest) for k in KINDS]
    by = {(r.group, r.plural): r for r in TABLE}
    labels = {"a": "b"}
    pods = template(labels)
    rich = {
        "containers": [
            {
                "name": "c",
                "image": "web:1",
                "ports": [{"containerPort": 80, "name": "http"}],
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "envFrom": [{"configMapRef": {"name": "c"}}],
                "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "100m"}},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "livenessProbe": {"httpGet": {"path": "/", "port": "http"}},
                "lifecycle": {"preStop": {"exec": {"command": ["x"]}}},
                "securityContext": {"capabilities": {"add": ["ALL"]}},
            }
        ],
        "initContainers": [{"name": "i", "image": "web:1", "restartPolicy": "Always"}],
        "volumes": [
            {"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}}
        ],
        "affinity": {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": labels},
                    }
                ]
            },
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}
                    ]
                }
            },
        },
        "tolerations": [{"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
        ],
        "securityContext": {"sysctls": [{"name": "net.a", "value": "1"}]},
    }
    more: list[tuple[str, str, Object]] = [
        ("", "pods", {"spec": rich}),
        ("apps", "deployments", {"spec": {"selector": {"matchLabels": labels}, "template": pods}}),
        ("apps", "replicasets", {"spec": {"selector": {"matchLabels": labels}, "template": pods}}),
        ("apps", "daemonsets", {"spec": {"selector": {"matchLabels": labels}, "template": pods}}),
        (
            "apps",
            "statefulsets",
            {
                "spec": {
                    "selector": {"matchLabels": labels},
                    "template": pods,
                    "volumeClaimTemplates": [
                        {
                            "metadata": {"name": "d"},
                            "spec": {
                                "accessModes": ["ReadWriteOnce"],
                                "resources": {"requests": {"storage": "1Gi"}},
                            },
                        }
                    ],
                }
            },
        ),
        ("batch", "jobs", {"spec": {"template": template(labels, restartPolicy="Never")}}),
        ("", "replicationcontrollers", {"spec": {"selector": labels, "template": pods}}),
        (
            "",
            "services",
            {"spec": {"ports": [{"port": 80}], "selector": labels, "type": "NodePort"}},
        ),
        ("", "configmaps", {"data": {"a": "b"}, "binaryData": {"c": "ZA=="}}),
        ("", "secrets", {"data": {"a": "Yg=="}, "type": "Opaque"}),
        ("", "namespaces", {"spec": {"finalizers": ["kubernetes"]}}),
        ("", "nodes", {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}),
        (
            "",
            "endpoints",
            {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 1}]}]},
        ),
        ("", "limitranges", {"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}}),
        ("", "resourcequotas", {"spec": {"hard": {"cpu": "100"}, "scopes": ["BestEffort"]}}),
        ("", "serviceaccounts", {"secrets": [{"name": "s"}]}),
        ("", "events", {"involvedObject": {"namespace": "default"}, "reason": "r", "count": 1}),
        (
            "",
            "persistentvolumes",
            {
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "hostPath": {"path": "/tmp/x"},
                }
            },
        ),
        (
            "",
            "persistentvolumeclaims",
            {
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1"}},
                }
            },
        ),
        (
            "rbac.authorization.k8s.io",
            "roles",
            {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]},
        ),
        (
            "rbac.authorization.k8s.io",
            "clusterroles",
            {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": labels}]}},
        ),
        (
            "rbac.authorization.k8s.io",
            "rolebindings",
            {
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "Role",
                    "name": "base",
                },
                "subjects": [
                    {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "u"}
                ],
            },
        ),
        (
            "certificates.k8s.io",
            "certificatesigningrequests",
            {"spec": {"request": "eA==", "signerName": "a.b/c", "usages": ["any"]}},
        ),
        (
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            {
                "spec": {
                    "group": "e.com",
                    "scope": "Namespaced",
                    "names": {"plural": "bases", "kind": "Base"},
                    "versions": [
                        {
                            "name": "v1",
                            "served": True,
                            "storage": True,
                            "schema": {
                                "openAPIV3Schema": {
                                    "type": "object",
                                    "properties": {"a": {"type": "string"}},
                                }
                            },
                        }
                    ],
                }
            },
        ),
        (
            "apiregistration.k8s.io",
            "apiservices",
            {
                "spec": {
                    "group": "e.com",
                    "version": "v1",
                    "groupPriorityMinimum": 1,
                    "versionPriority": 1,
                }
            },
        ),
        (
            "authorization.k8s.io",
            "subjectaccessreviews",
            {"spec": {"user": "u", "resourceAttributes": {"verb": "get"}}},
        ),
        ("authorization.k8s.io", "selfsubjectrulesreviews", {"spec": {"namespace": "default"}}),
        ("authentication.k8s.io", "tokenreviews", {"spec": {"token": "x"}}),
    ]
    return found + [(by[group, plural], rest) for group, plural, rest in more]


BASES = bases()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    logging.disable(logging.NOTSET)
    made = Server()
    yield made
    made.close()


def paths_in(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in an object."""
    if here:
        yield here
    if isinstance(value, dict):
        for key in value:
            yield from paths_in(value[key], (*here, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from paths_in(item, (*here, i))


def put(value: Any, path: tuple[Any, ...], junk: Any) -> Any:
    """`value` with `junk` at the path."""
    if not path:
        return junk
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = put(value[path[0]], path[1:], junk)
    return copied


DEEP: Any = {}
for _ in range(60):
    DEEP = {"a": [DEEP]}
JUNK = [
    None, True, False, 0, -1, 1.5, -1e300, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, "", " ", "x", "\x00", "é\u2028",
    "a" * 300, "A_b/", "/", "..", "0", "-1", "1e9999", "1Gi", "9" * 40, "*", "2026-01-01T00:00:00Z",
    "999-99-99T99:99:99Z", [], {}, [[]], [{}], [None], ["x", "x"], [1], {"": ""}, {"a": None},
    {"x": {"y": [1, {"z": "w"}]}}, {"name": 1}, {"$patch": "delete"}, {"$patch": "replace"},
    [{"$patch": "replace"}], {"$setElementOrder/containers": [{"name": "c"}]}, {"$retainKeys": ["a"]},
    [{"name": "c"}, {"name": "c"}], {"matchExpressions": [{"key": "", "operator": "Bad"}]}, DEEP,
]  # fmt: skip

junk = st.one_of(
    st.sampled_from(JUNK),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
        max_leaves=8,
    ),
)  # fmt: skip


@st.composite
def broken(draw: st.DrawFn) -> tuple[Resource, Object]:
    """An object that is wrong at some places."""
    resource, rest = draw(st.sampled_from(BASES))
    obj: Any = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": draw(st.sampled_from(["base", "new", "new"])),
            "namespace": "default",
            "labels": {"a": "b"},
            "annotations": {"a": "b"},
            "finalizers": ["a.com/b"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}],
            "managedFields": [
                {"manager": "m", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
                 "fieldsV1": {"f:metadata": {"f:labels": {"f:a": {}}}}}
            ],
        },
        **rest,
        "status": {"phase": "x", "conditions": [{"type": "t", "status": "True"}]},
    }  # fmt: skip
    if not resource.namespaced:
        del obj["metadata"]["namespace"]
    for _ in range(draw(st.integers(1, 2))):
        places = list(paths_in(obj))
        if places:
            obj = put(obj, draw(st.sampled_from(places)), draw(junk))
    return resource, obj


many = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@many
@given(
    made=broken(),
    how=st.sampled_from(["POST", "PUT", *CONTENT_TYPES]),
    sub=st.sampled_from(
        [
            "",
            "",
            "",
            "status",
            "scale",
            "finalize",
            "approval",
            "ephemeralcontainers",
            "resize",
            "binding",
            "eviction",
            "token",
        ]
    ),
)
def test_broken_objects(server: Server, made: tuple[Resource, Object], how: str, sub: str) -> None:
    resource, obj = made
    namespace = "default" if resource.namespaced else ""
    body = orjson.dumps(obj)
    query = {"dryRun": "All", "fieldManager": "m", "force": "true"}
    if how == "POST":
        path = resource.path(namespace, "base", sub) if sub else resource.path(namespace)
        server.send("POST", path, body, **{k: query[k] for k in ("dryRun",)})
    elif how == "PUT":
        server.send("PUT", resource.path(namespace, "base", sub), body, dryRun="All")
    else:
        headers = {"content-type": CONTENT_TYPES[how]}
        if how != "apply":
            del query["force"]
        server.send("PATCH", resource.path(namespace, "base", sub), body, headers, **query)


@many
@given(
    body=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode), junk.map(orjson.dumps)),
    kind=st.sampled_from([*BODY_TYPES, "text/plain", "", "application/json; charset=latin-1", "*/*", ";;;"]),
    method=st.sampled_from(["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD", "OPTIONS", "TRACE", "X"]),
    path=st.sampled_from(
        [POD, POD + "/base", POD + "/base/status", POD + "/base/eviction", POD + "/base/binding", "/api/v1/pods",
         "/apis/apps/v1/namespaces/default/deployments/base/scale", "/api/v1/namespaces", "/", "/version",
         "/api/v1/namespaces/default/serviceaccounts/default/token",
         "/apis/authentication.k8s.io/v1/tokenreviews",
         "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews"]
    ),
)  # fmt: skip
def test_any_body(server: Server, body: bytes, kind: str, method: str, path: str) -> None:
    server.send(method, path, body, {"content-type": kind})


@many
@given(
    operations=st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x", 1]),
                "path": st.sampled_from(
                    ["", "/", "/metadata", "/metadata/name", "/spec", "/spec/containers/0", "/spec/containers/-",
                     "/spec/containers/99", "/spec/containers/-1", "/spec/containers/01", "/~", "/~2", "x", "/spec/a/b/c",
                     "/metadata/labels/a~1b", None, 5, "/kind", "/apiVersion", "/metadata/resourceVersion"]
                ),
                "from": st.sampled_from(["", "/spec", "/metadata", "/none", 3]),
                "value": junk,
            },
        ),
        max_size=4,
    )
)  # fmt: skip
def test_json_patches(server: Server, operations: Any) -> None:
    headers = {"content-type": CONTENT_TYPES["json"]}
    server.send("PATCH", POD + "/base", orjson.dumps(operations), headers, dryRun="All")


TOKEN = base64.urlsafe_b64encode(
    b'{"v":"meta.k8s.io/v1","rv":-1,"start":"../../x\\u0000"}'
).decode()
VALUES = [
    "", "0", "-1", "1", "x", "true", "1.5", "9" * 30, "\x00", "a=b", "a in (", "a in (b", "!", "=", "==", ",", "a,,b",
    "a notin ()", "metadata.name", "metadata.name=x,spec.nodeName!=y", "nope.field=1", "\\", "a\\", "All", "Some",
    "Exact", "NotOlderThan", "Any", TOKEN, TOKEN[:-3], "e30=", "bnVsbA==", "W10=", "AAAA", "a" * 5000, "%", "é",
]  # fmt: skip
NAMES = [
    "limit", "continue", "labelSelector", "fieldSelector", "resourceVersion", "resourceVersionMatch", "watch",
    "timeoutSeconds", "allowWatchBookmarks", "sendInitialEvents", "dryRun", "fieldManager", "fieldValidation", "force",
    "gracePeriodSeconds", "propagationPolicy", "orphanDependents", "pretty", "unknown", "includeObject", "timeout",
    "tailLines", "sinceSeconds", "sinceTime", "limitBytes", "container", "command", "ports", "path", "follow", "previous",
    "ignoreStoreReadErrorWithClusterBreakingPotential", "stream", "stdin",
]  # fmt: skip
ACCEPTS = [
    "", "*/*", JSON, "text/html", "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/json;as=X;v=v9;g=y", ";", "a/b;q=z",
    "application/vnd.kubernetes.protobuf", "application/yaml", "application/json;stream=watch", "x" * 3000,
]  # fmt: skip


@many
@given(
    method=st.sampled_from(["GET", "GET", "GET", "POST", "DELETE", "PATCH", "PUT"]),
    query=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=4),
    path=st.sampled_from(
        [POD, POD + "/base", POD + "/base/log", POD + "/base/exec", POD + "/base/attach", POD + "/base/portforward",
         POD + "/base/proxy", POD + "/base/proxy/x", "/api/v1/pods", "/api/v1/nodes/base/proxy/", "/api/v1/watch/pods",
         "/api/v1/namespaces/default/services/base/proxy", "/apis/apps/v1/deployments", "/api/v1/events",
         "/apis/events.k8s.io/v1/events", "/openapi/v2", "/openapi/v3", "/openapi/v3/api/v1", "/apis", "/api", "/healthz",
         "/readyz", "/livez/ping", "/metrics", "/version", "/api/v1/componentstatuses"]
    ),
    accept=st.sampled_from(ACCEPTS),
)  # fmt: skip
def test_queries(server: Server, method: str, query: Any, path: str, accept: str) -> None:
    headers = {"accept": accept} if accept else {}
    server.send(method, path, b"", headers, **query)


PATHS = [
    "", "/", "//", "///", "/api", "/api/", "/api//v1", "/api/v1/", "/api/v2", "/api/v1/pods/", "/api/v1/nope",
    "/api/v1/namespaces//pods", "/api/v1/namespaces/default/pods/../../../etc/passwd", "/api/v1/namespaces/../pods",
    "/api/v1/namespaces/default/pods/%2e%2e%2fx", "/api/v1/namespaces/default/pods/%00", "/api/v1/%2e%2e/%2e%2e",
    "/api/v1/namespaces/default/pods/%ff%fe", "/api/v1/namespaces/default/pods/%", "/api/v1/namespaces/default/pods/%zz",
    "/api/v1/namespaces/default/pods/" + "a" * 10_000, "/api/v1/namespaces/" + "a/" * 500, "/apis/", "/apis//", "/apis/x",
    "/apis/apps/v9", "/apis/apps/v1/nope", "/apis/apps/v1/namespaces/default/deployments/x/scale/y", "/openapi/v3/nope",
    "/openapi/v3/../../etc/passwd", "/healthz/nope", "/metrics/../x", "/static/../../x", "/api/v1/watch", "/api/v1/watch/",
    "/api/v1/watch/namespaces/default/pods/base", "/api/v1/proxy/x", "/api/v1/namespaces/default/pods/base/nope",
    "/api/v1/namespaces/default/pods/base/status/x", "/api/v1/nodes/base/status/status", "/api/v1/bindings",
    "/.well-known/openid-configuration/x", "/openid/v1/jwks/x", "*", "http://x/api/v1/pods", "/api/v1/pods?a;b&&&=",
    "/api/v1/pods?" + "a=b&" * 2000, "/api/v1/pods?limit=%zz&continue=%00", "/é", "/api/v1/namespaces/default/pods/base%2fstatus",
]  # fmt: skip


@pytest.mark.parametrize(
    "method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "get", ""]
)
def test_paths(server: Server, method: str) -> None:
    for path in PATHS:
        for body in (b"", b"{}"):
            server.send(method, path, body)


def nest(opening: bytes, closing: bytes, depth: int) -> bytes:
    return opening * depth + closing * depth


BODIES = [
    *(b'{"metadata":{"name":"x"},"spec":' + nest(b'{"a":', b"}", n).replace(b":}", b":1}") + b"}"
      for n in (100, 200, 250, 260, 500, 900, 1100)),
    *(b'{"metadata":{"managedFields":[{"fieldsV1":' + nest(b'{"f:a":', b"}", n).replace(b":}", b":{}}") + b"}]}}"
      for n in (100, 200, 250, 260, 500, 900)),
    nest(b"[", b"]", 100_000), nest(b'{"a":', b"}", 100_000), nest(b'{"a":', b"1" + b"}", 5000),
    b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"' + b"a" * 100_000 + b'"}}', b"\xff\xfe", b"\xef\xbb\xbf{}",
    b"{", b"}", b"[]", b"null", b"1", b'"x"', b"true", b"NaN", b"{'a': 1}", b"a: &a [*a]", b"a: b: c", b"\t- x",
    b"&a [" + b"*a," * 1000 + b"]", b"!!python/object/apply:os.system ['true']", b"---\na: 1\n---\nb: 2", b"k8s\x00",
    b"k8s\x00\x0a\xff\xff\xff\xff\x0f", b"k8s\x00" + b"\x0a" * 100, b'{"kind":1,"apiVersion":[]}', b'{"kind":"Pod"}',
    b'{"apiVersion":"v1"}', b'{"apiVersion":"v9","kind":"Pod"}', b'{"apiVersion":"v1","kind":"Node","metadata":{}}',
    b'{"metadata":null}', b'{"metadata":[]}', b'{"metadata":{"name":1}}', b'{"metadata":{"name":"x","name":"y"}}',
    b'{"spec":{"containers":{"name":"x"}}}', b"[" * 1000 + b"]" * 1000, b"- " * 3000, b"a: " * 3000, b"{a: " * 3000,
    b'{"a":' + b"9" * 5000 + b"}", b'{"metadata":{"generation":1e400}}', b'{"metadata":{"labels":{"a":"\\ud800"}}}',
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(BODIES)))
def test_bodies(server: Server, number: int) -> None:
    body = BODIES[number]
    for kind in BODY_TYPES:
        headers = {"content-type": kind}
        server.send("POST", POD, body, headers)
        server.send("PUT", POD + "/base", body, headers)
        server.send("PATCH", POD + "/base", body, headers, fieldManager="x")
        server.send("DELETE", POD + "/none", body, headers)


def test_bombs(server: Server) -> None:
    """A YAML document that would grow beyond bounds is refused, quickly."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    body = ("\n".join(lines) + "\n").encode()
    for method, path, kind in (
        ("POST", POD, "application/yaml"),
        ("PATCH", POD + "/base", CONTENT_TYPES["apply"]),
    ):
        answer = server.send(method, path, body, {"content-type": kind}, fieldManager="x")
        assert answer.status in (400, 413)
