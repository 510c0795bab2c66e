"""RBAC, the node authorizer, access rules and the escalation check, on an in-memory set of objects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.api.errors import Forbidden
from skiff.api.resources import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    ROLEBINDINGS,
    ROLES,
)
from skiff.server.authz import policy
from skiff.server.authz.aggregation import aggregate
from skiff.server.authz.chain import AuthorizationChain
from skiff.server.authz.escalation import EscalationCheck
from skiff.server.authz.messages import forbidden
from skiff.server.authz.rules import Rule, compact, names_allowed, uncovered
from skiff.server.request import RequestInfo, parse
from skiff.server.seams import Attributes, User
from tests.server.objects import FakeObjects

RBAC = "rbac.authorization.k8s.io"
ALICE = User("alice", ("dev", "system:authenticated"))


def ask(verb, resource, *, group="", namespace="", name="", subresource=""):
    return RequestInfo.of_resource(
        verb, group, "v1", resource, namespace=namespace, name=name, subresource=subresource
    )


def role(objects, name, *rules, namespace="", **more):
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    objects.put(
        ROLES if namespace else CLUSTERROLES, {"metadata": meta, "rules": list(rules), **more}
    )


def bind(objects, name, role_name, *subjects, namespace="", kind="ClusterRole"):
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    objects.put(
        ROLEBINDINGS if namespace else CLUSTERROLEBINDINGS,
        {
            "metadata": meta,
            "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role_name},
            "subjects": list(subjects),
        },
    )


READ_PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}


def test_a_role_binding_gives_a_cluster_roles_rules_in_its_namespace_only(objects: FakeObjects):
    role(objects, "reader", READ_PODS)
    bind(objects, "b", "reader", {"kind": "User", "name": "alice"}, namespace="team")
    authz = AuthorizationChain(objects)
    assert authz.allowed(ALICE, ask("get", "pods", namespace="team", name="x")).allowed
    assert not authz.allowed(ALICE, ask("get", "pods", namespace="other")).allowed
    assert not authz.allowed(ALICE, ask("list", "pods")).allowed
    assert not authz.allowed(ALICE, ask("get", "pods", namespace="team", subresource="log")).allowed


def test_changes_count_at_once(objects: FakeObjects):
    authz = AuthorizationChain(objects)
    request = ask("list", "pods", namespace="team")
    assert not authz.allowed(ALICE, request).allowed
    role(objects, "reader", READ_PODS)
    bind(objects, "b", "reader", {"kind": "Group", "name": "dev"})
    assert authz.allowed(ALICE, request).allowed
    role(objects, "reader")
    assert not authz.allowed(ALICE, request).allowed


def test_subjects_come_and_go(objects: FakeObjects):
    """A binding written again replaces what it gave; a subject named twice is no harm."""
    role(objects, "reader", READ_PODS)
    alice = {"kind": "User", "name": "alice"}
    authz = AuthorizationChain(objects)
    request = ask("list", "pods", namespace="team")
    for subjects, expected in (((alice, alice), True), ((), False), ((alice,), True)):
        bind(objects, "b", "reader", *subjects)
        assert authz.allowed(ALICE, request).allowed is expected
    objects.remove(CLUSTERROLEBINDINGS, "b")
    assert not authz.allowed(ALICE, request).allowed
    bind(objects, "late", "later", alice)
    assert not authz.allowed(ALICE, request).allowed
    role(objects, "later", READ_PODS)
    assert authz.allowed(ALICE, request).allowed


def test_resource_names_service_accounts_and_paths(objects: FakeObjects):
    role(objects, "one", {**READ_PODS, "resourceNames": ["web"]}, namespace="team")
    account = {"kind": "ServiceAccount", "name": "bot"}  # the namespace is the binding's
    bind(objects, "b", "one", account, namespace="team", kind="Role")
    role(objects, "paths", {"nonResourceURLs": ["/metrics", "/debug/*"], "verbs": ["get"]})
    bind(objects, "p", "paths", {"kind": "Group", "name": "dev"})
    authz = AuthorizationChain(objects)
    bot = User("system:serviceaccount:team:bot", ("system:serviceaccounts",))
    assert authz.allowed(bot, ask("get", "pods", namespace="team", name="web")).allowed
    assert not authz.allowed(bot, ask("get", "pods", namespace="team", name="db")).allowed
    assert not authz.allowed(bot, ask("list", "pods", namespace="team")).allowed
    assert authz.allowed(ALICE, parse("GET", "/metrics", "")).allowed
    assert authz.allowed(ALICE, parse("GET", "/debug/pprof", "")).allowed
    assert not authz.allowed(ALICE, parse("GET", "/metrics/slis", "")).allowed


def test_subresources_match_exactly_or_by_star(objects: FakeObjects):
    role(objects, "scale", {"apiGroups": ["*"], "resources": ["*/scale"], "verbs": ["get"]})
    bind(objects, "b", "scale", {"kind": "User", "name": "alice"})
    authz = AuthorizationChain(objects)
    scale = ask("get", "deployments", group="apps", namespace="d", name="x", subresource="scale")
    assert authz.allowed(ALICE, scale).allowed
    assert not authz.allowed(ALICE, ask("get", "deployments", group="apps", namespace="d")).allowed


@pytest.mark.parametrize(
    ("info", "reason", "message"),
    [
        (
            ask("list", "pods", namespace="default"), "",
            ('pods is forbidden: User "alice" cannot list resource "pods" in API group "" in the'
            ' namespace "default"'),
        ),
        (
            ask("get", "nodes", name="n1"), "no such luck",
            ('nodes "n1" is forbidden: User "alice" cannot get resource "nodes" in API group "" at'
            " the cluster scope: no such luck"),
        ),
        (
            ask("create", "deployments", group="apps", namespace="d", subresource="scale"), "",
            ('deployments.apps is forbidden: User "alice" cannot create resource'
            ' "deployments/scale" in API group "apps" in the namespace "d"'),
        ),
        (parse("GET", "/metrics", ""), "", 'forbidden: User "alice" cannot get path "/metrics"'),
    ],
)  # fmt: skip
def test_messages(info, reason, message):
    assert forbidden(ALICE, info, reason).message == message


# --- the default policy -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def defaults() -> AuthorizationChain:
    objects = FakeObjects()
    made = list(policy.objects())
    aggregate([r for r in made if r["kind"] == "ClusterRole"])
    tables = {
        "ClusterRole": CLUSTERROLES, "Role": ROLES,
        "ClusterRoleBinding": CLUSTERROLEBINDINGS, "RoleBinding": ROLEBINDINGS,
    }  # fmt: skip
    for obj in made:
        objects.put(tables[obj["kind"]], obj)
    bind(objects, "v", "view", {"kind": "User", "name": "viewer"}, namespace="d")
    bind(objects, "e", "edit", {"kind": "User", "name": "editor"}, namespace="d")
    bind(objects, "a", "admin", {"kind": "User", "name": "owner"}, namespace="d")
    return AuthorizationChain(objects)


def user(name: str, *groups: str) -> User:
    return User(name, (*groups, "system:authenticated"))


@pytest.mark.parametrize(
    ("who", "info", "allowed"),
    [
        (user("viewer"), ask("list", "pods", namespace="d"), True),
        (user("viewer"), ask("list", "secrets", namespace="d"), False),
        (user("viewer"), ask("get", "pods", namespace="d", subresource="log"), True),
        (user("viewer"), ask("create", "pods", namespace="d"), False),
        (user("editor"), ask("list", "secrets", namespace="d"), True),
        (user("editor"), ask("create", "pods", namespace="d", subresource="exec"), True),
        (user("editor"), ask("get", "pods", namespace="d", subresource="log"), True),
        (user("editor"), ask("create", "roles", group=RBAC, namespace="d"), False),
        (user("owner"), ask("create", "rolebindings", group=RBAC, namespace="d"), True),
        (user("owner"), ask("patch", "deployments", group="apps", namespace="d"), True),
        (user("owner"), ask("list", "nodes"), False),
        (user("anyone"), parse("GET", "/apis/apps/v1", ""), True),
        (user("anyone"), parse("GET", "/openapi/v3/apis/apps/v1", ""), True),
        (user("anyone"), parse("GET", "/metrics", ""), False),
        (user("m", "system:monitoring"), parse("GET", "/metrics", ""), True),
        (User("system:anonymous", ("system:unauthenticated",)), parse("GET", "/version", ""), True),
        (User("system:anonymous", ("system:unauthenticated",)), parse("GET", "/api", ""), False),
        (user("root", "system:masters"), ask("impersonate", "users", name="x"), True),
        (user("system:kube-scheduler"), ask("create", "pods", namespace="d", subresource="binding"), True),
        (user("system:kube-scheduler"), ask("create", "pods", namespace="d"), False),
        (user("system:kube-controller-manager"), ask("create", "pods", namespace="d"), True),
        (user("system:kube-controller-manager"), ask("delete", "widgets", group="x.io", namespace="d"), True),
        (user("system:kube-proxy"), ask("watch", "endpointslices", group="discovery.k8s.io"), True),
        (
            user("system:serviceaccount:d:a", "system:serviceaccounts"),
            parse("GET", "/openid/v1/jwks", ""), True,
        ),
        (user("x"), ask("create", "selfsubjectaccessreviews", group="authorization.k8s.io"), True),
        (user("x"), ask("create", "subjectaccessreviews", group="authorization.k8s.io"), False),
    ],
)  # fmt: skip
def test_default_policy(defaults: AuthorizationChain, who, info, allowed):
    assert defaults.allowed(who, info).allowed is allowed


def test_every_allowed_request_can_be_explained(defaults: AuthorizationChain):
    reason = defaults.rbac.explain(user("viewer"), ask("list", "pods", namespace="d"))
    assert reason == 'RBAC: allowed by RoleBinding "d/v" of ClusterRole "view" to User "viewer"'


# --- nodes ------------------------------------------------------------------------------------

NODE = User("system:node:n1", ("system:nodes", "system:authenticated"))


def pod(name: str, node: str, **spec) -> dict:
    return {
        "metadata": {"name": name, "namespace": "d"},
        "spec": {"nodeName": node, "serviceAccountName": "bot", "containers": [], **spec},
    }


@pytest.fixture
def on_nodes(objects: FakeObjects) -> FakeObjects:
    volumes = [
        {"name": "a", "secret": {"secretName": "mine"}},
        {"name": "b", "projected": {"sources": [{"configMap": {"name": "root"}}]}},
        {"name": "c", "persistentVolumeClaim": {"claimName": "data"}},
    ]
    container = {
        "name": "c",
        "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "env"}}}],
    }
    objects.put(PODS, pod("web", "n1", volumes=volumes, containers=[container]))
    objects.put(PODS, pod("other", "n2", volumes=[{"name": "a", "secret": {"secretName": "far"}}]))
    objects.put(
        PERSISTENTVOLUMECLAIMS,
        {"metadata": {"name": "data", "namespace": "d"}, "spec": {"volumeName": "pv1"}},
    )
    return objects


@pytest.mark.parametrize(
    ("info", "allowed"),
    [
        (ask("get", "secrets", namespace="d", name="mine"), True),
        (ask("get", "secrets", namespace="d", name="env"), True),
        (ask("get", "secrets", namespace="d", name="far"), False),
        (ask("list", "secrets", namespace="d"), False),
        (ask("watch", "configmaps", namespace="d", name="root"), True),
        (ask("get", "persistentvolumeclaims", namespace="d", name="data"), True),
        (ask("get", "persistentvolumes", name="pv1"), True),
        (ask("get", "persistentvolumes", name="pv2"), False),
        (ask("create", "serviceaccounts", namespace="d", name="bot", subresource="token"), True),
        (ask("create", "serviceaccounts", namespace="d", name="x", subresource="token"), False),
        (ask("get", "pods", namespace="d", name="web"), True),
        (ask("get", "pods", namespace="d", name="other"), False),
        (ask("list", "pods"), False),
        (parse("GET", "/api/v1/pods", "fieldSelector=spec.nodeName%3Dn1"), True),
        (parse("GET", "/api/v1/pods", "fieldSelector=spec.nodeName%3Dn2"), False),
        (ask("patch", "pods", namespace="d", name="web", subresource="status"), True),
        (ask("get", "nodes", name="n1"), True),
        (ask("get", "nodes", name="n2"), False),
        (ask("patch", "nodes", name="n1", subresource="status"), True),
        (ask("list", "services"), True),
        (ask("create", "leases", group="coordination.k8s.io", namespace="kube-node-lease"), True),
        (ask("create", "leases", group="coordination.k8s.io", namespace="d"), False),
        (ask("delete", "namespaces", name="d"), False),
    ],
)
def test_a_node_reads_what_its_pods_use(on_nodes: FakeObjects, info, allowed):
    assert AuthorizationChain(on_nodes).allowed(NODE, info).allowed is allowed


def test_a_relation_ends_with_its_pod(on_nodes: FakeObjects):
    authz = AuthorizationChain(on_nodes)
    secret = ask("get", "secrets", namespace="d", name="mine")
    assert authz.allowed(NODE, secret).allowed
    on_nodes.put(PODS, pod("late", "n1", imagePullSecrets=[{"name": "mine"}]))
    on_nodes.remove(PODS, "web", "d")
    assert authz.allowed(NODE, secret).allowed
    on_nodes.remove(PODS, "late", "d")
    decision = authz.allowed(NODE, secret)
    assert decision == (False, "no relationship found between node 'n1' and this object")


def test_pods_that_refer_to_nothing_come_and_go(on_nodes: FakeObjects):
    """Mirrors of static pods do; the node's last other pod may go before or between them."""
    authz = AuthorizationChain(on_nodes)
    secret = ask("get", "secrets", namespace="d", name="mine")
    assert authz.allowed(NODE, secret).allowed
    mirrors = [pod(name, "n1") for name in ("m1", "m2")]
    for mirror in mirrors:
        mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
        on_nodes.put(PODS, mirror)
    on_nodes.remove(PODS, "web", "d")
    for mirror in mirrors:
        on_nodes.remove(PODS, mirror["metadata"]["name"], "d")
    assert not authz.allowed(NODE, secret).allowed
    on_nodes.put(PODS, pod("late", "n1", imagePullSecrets=[{"name": "mine"}]))
    assert authz.allowed(NODE, secret).allowed


# --- rules ------------------------------------------------------------------------------------

words = st.sampled_from(["a", "b", "*"])
rule_sets = st.lists(
    st.builds(
        lambda v, g, r, n: Rule(frozenset(v), frozenset(g), frozenset(r), frozenset(n)),
        st.lists(words, min_size=1), st.lists(words, min_size=1),
        st.lists(st.sampled_from(["pods", "pods/log", "*/log", "*"]), min_size=1),
        st.lists(st.sampled_from(["x", "y"])),
    ),
    max_size=4,
)  # fmt: skip


@given(rule_sets, rule_sets)
def test_what_is_covered_is_allowed(owned, wanted):
    """Where nothing is uncovered, each request that `wanted` allows is allowed by `owned`."""
    assert uncovered(wanted, wanted) == []
    if uncovered(owned, wanted):
        return
    for verb in "ab":
        for group in "ab":
            for resource, sub in (("pods", ""), ("pods", "log"), ("nodes", "log")):
                want = names_allowed(wanted, verb, group, resource, sub)
                have = names_allowed(owned, verb, group, resource, sub)
                assert have is None or (want is not None and want <= have)


@given(rule_sets)
def test_compact_rules_mean_the_same(rules):
    joined = compact(rules)
    assert uncovered(joined, rules) == [] and uncovered(rules, joined) == []


# --- escalation -------------------------------------------------------------------------------


def attributes(resource, who: User, namespace: str = "") -> Attributes:
    return Attributes("CREATE", who, resource, "", namespace, "new")


def test_nobody_grants_more_than_they_have(objects: FakeObjects):
    role(objects, "reader", READ_PODS)
    role(objects, "writer", {**READ_PODS, "verbs": ["create"]})
    bind(objects, "b", "reader", {"kind": "User", "name": "alice"}, namespace="d")
    check = EscalationCheck(AuthorizationChain(objects))
    new = {
        "metadata": {"name": "new", "namespace": "d"},
        "rules": [{**READ_PODS, "verbs": ["get"]}],
    }
    check.check(attributes(ROLES, ALICE, "d"), new, None)
    new["rules"] = [{**READ_PODS, "verbs": ["get", "create", "delete"]}]
    with pytest.raises(Forbidden) as caught:
        check.check(attributes(ROLES, ALICE, "d"), new, None)
    assert caught.value.message == (
        'roles.rbac.authorization.k8s.io "new" is forbidden: user "alice" (groups=["dev"'
        ' "system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n'
        '{APIGroups:[""], Resources:["pods"], Verbs:["create" "delete"]}'
    )
    binding = {"metadata": {"name": "new"}, "roleRef": {"kind": "ClusterRole", "name": "writer"}}
    with pytest.raises(Forbidden):
        check.check(attributes(ROLEBINDINGS, ALICE, "d"), binding, None)
    role(objects, "binder", {
        "apiGroups": [RBAC], "resources": ["clusterroles"], "verbs": ["bind"],
        "resourceNames": ["writer"],
    })  # fmt: skip
    bind(objects, "c", "binder", {"kind": "User", "name": "alice"}, namespace="d")
    check.check(attributes(ROLEBINDINGS, ALICE, "d"), binding, None)
    check.check(attributes(ROLES, User("root", ("system:masters",)), "d"), new, None)


def test_an_aggregation_rule_needs_everything(objects: FakeObjects):
    check = EscalationCheck(AuthorizationChain(objects))
    new = {"metadata": {"name": "new"}, "aggregationRule": {"clusterRoleSelectors": []}}
    with pytest.raises(Forbidden, match="must have cluster-admin privileges to use an aggregation"):
        check.check(attributes(CLUSTERROLES, ALICE), new, None)


def test_unknown_mode_is_refused(objects: FakeObjects):
    with pytest.raises(ValueError, match='mode "ABAC" is not supported'):
        AuthorizationChain(objects, ["Node", "ABAC"])
    assert AuthorizationChain(objects, ["AlwaysAllow"]).allowed(ALICE, ask("get", "x")).allowed
