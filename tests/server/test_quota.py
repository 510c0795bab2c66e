"""Quotas: what objects use, what is refused, what two writes at once may take, the status."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.api.errors import Forbidden
from skiff.api.quantity import parse
from skiff.api.resources import (
    CONFIGMAPS,
    DEPLOYMENTS,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    RESOURCEQUOTAS,
    SERVICES,
)
from skiff.server.admission.pod_resources import pod_sum
from skiff.server.admission.quota import Ledger, ResourceQuota
from skiff.server.admission.quota.usage import in_scopes, storage_of, usage_of
from skiff.server.seams import Attributes, User
from tests.server.objects import FakeObjects

USER = User("u")


class FixedClock:
    time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def ledger(objects: FakeObjects, clock) -> Ledger:
    return Ledger(objects, clock)


@pytest.fixture
def rule(ledger) -> ResourceQuota:
    return ResourceQuota(ledger)


def quota(objects, name="q", scopes=None, selector=None, **hard) -> None:
    spec = {"hard": {k.replace("__", "/").replace("_", "."): v for k, v in hard.items()}}
    if scopes:
        spec["scopes"] = scopes
    if selector:
        spec["scopeSelector"] = {"matchExpressions": selector}
    objects.put(RESOURCEQUOTAS, {"metadata": {"name": name, "namespace": "d"}, "spec": spec})


def pod(name: str, requests=None, limits=None, **spec) -> dict:
    resources = {"requests": requests or {}, "limits": limits or {}}
    return {
        "metadata": {"name": name, "namespace": "d"},
        "spec": {"containers": [{"name": "c", "resources": resources}], **spec},
    }


def create(rule, resource, obj, **how) -> None:
    meta = obj["metadata"]
    attributes = Attributes("CREATE", USER, resource, "", meta["namespace"], meta["name"], **how)
    rule.validate(attributes, obj, None)


def refusal(rule, resource, obj) -> str:
    with pytest.raises(Forbidden) as caught:
        create(rule, resource, obj)
    return caught.value.message


def test_the_message_has_only_what_is_exceeded(rule, objects):
    quota(objects, pods="2", requests_cpu="10")
    for name in ("a", "b"):
        objects.put(PODS, pod(name, {"cpu": "1"}))
    assert refusal(rule, PODS, pod("c", {"cpu": "1"})) == (
        'pods "c" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2'
    )


def test_two_writes_at_once_cannot_both_take_the_last_place(rule, objects, clock):
    quota(objects, pods="1")
    create(rule, PODS, pod("a"), dry_run=True)
    create(rule, PODS, pod("a"))
    assert "used: pods=1" in refusal(rule, PODS, pod("b"))
    objects.put(PODS, pod("a"))
    assert "used: pods=1" in refusal(rule, PODS, pod("b"))
    objects.remove(PODS, "a", "d")
    create(rule, PODS, pod("b"))
    clock.time += 31  # its write failed: nothing became visible
    create(rule, PODS, pod("c"))


def test_what_is_limited_must_be_specified(rule, objects):
    quota(objects, limits_memory="1Gi", requests_cpu="1")
    assert refusal(rule, PODS, pod("a")) == (
        'pods "a" is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu'
        " for: c"
    )
    create(rule, PODS, pod("a", {"cpu": "1"}, {"memory": "1Gi"}))


def test_counts_services_and_claims(rule, objects):
    quota(
        objects, configmaps="1", count__deployments_apps="1", services_nodeports="2",
        requests_storage="5Gi", gold_storageclass_storage_k8s_io__requests_storage="1Gi",
    )  # fmt: skip
    thing = {"metadata": {"name": "x", "namespace": "d"}}
    for resource in (CONFIGMAPS, DEPLOYMENTS):
        create(rule, resource, thing)
        again = {"metadata": {"name": "y", "namespace": "d"}}
        assert "exceeded quota" in refusal(rule, resource, again)
    service = {**thing, "spec": {"type": "NodePort", "ports": [{}, {}, {}]}}
    assert "requested: services.nodeports=3, used: services.nodeports=0" in refusal(
        rule, SERVICES, service
    )
    spec = {"resources": {"requests": {"storage": "2Gi"}}, "storageClassName": "gold"}
    assert "requested: gold.storageclass.storage.k8s.io/requests.storage=2Gi" in refusal(
        rule, PERSISTENTVOLUMECLAIMS, {**thing, "spec": spec}
    )


def test_an_update_is_charged_the_difference(rule, objects):
    quota(objects, services_nodeports="2")
    old = {"metadata": {"name": "s", "namespace": "d"}, "spec": {"type": "NodePort", "ports": [{}]}}
    objects.put(SERVICES, old)
    attributes = Attributes("UPDATE", USER, SERVICES, "", "d", "s")
    rule.validate(attributes, {**old, "spec": {"type": "NodePort", "ports": [{}, {}]}}, old)
    with pytest.raises(
        Forbidden, match=r"requested: services.nodeports=1, used: services.nodeports=2"
    ):
        rule.validate(attributes, {**old, "spec": {"type": "NodePort", "ports": [{}, {}, {}]}}, old)


def test_ended_pods_give_their_place_back(rule, objects):
    quota(objects, pods="1")
    objects.put(PODS, {**pod("a"), "status": {"phase": "Succeeded"}})
    create(rule, PODS, pod("b"))


@pytest.mark.parametrize(
    ("scope", "matching", "other"),
    [
        ({"scopes": ["Terminating"]}, pod("a", activeDeadlineSeconds=5), pod("a")),
        ({"scopes": ["NotTerminating"]}, pod("a"), pod("a", activeDeadlineSeconds=5)),
        ({"scopes": ["BestEffort"]}, pod("a"), pod("a", {"cpu": "1"})),
        ({"scopes": ["NotBestEffort"]}, pod("a", {"cpu": "1"}), pod("a")),
        (
            {"selector": [{"scopeName": "PriorityClass", "operator": "In", "values": ["h"]}]},
            pod("a", priorityClassName="h"), pod("a", priorityClassName="l"),
        ),
        (
            {"selector": [{"scopeName": "CrossNamespacePodAffinity", "operator": "Exists"}]},
            pod("a", affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["x"]}]}}),
            pod("a"),
        ),
    ],
)  # fmt: skip
def test_scopes(objects, rule, scope, matching, other):
    quota(objects, pods="0", **scope)
    assert "exceeded quota" in refusal(rule, PODS, matching)
    create(rule, PODS, other)


def test_a_namespace_without_quotas_has_no_account(ledger, objects):
    objects.put(PODS, pod("a"))
    assert ledger.account("d") is None
    quota(objects, pods="3")
    account = ledger.account("d")
    assert account is not None and str(account.quotas["q"].used["pods"]) == "1"
    objects.remove(RESOURCEQUOTAS, "q", "d")
    assert ledger.account("d") is None


def test_a_pod_asks_for_its_greediest_moment():
    def need(cpu, **more):
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    spec = {
        "containers": [need("1"), need("1")],
        "initContainers": [need("500m", restartPolicy="Always"), need("3")],
        "overhead": {"cpu": "10m"},
    }
    assert str(pod_sum(spec, "requests")["cpu"]) == "3510m"
    spec["resources"] = {"requests": {"cpu": "5"}}
    assert str(pod_sum(spec, "requests")["cpu"]) == "5010m"


steps = st.lists(
    st.tuples(
        st.sampled_from(["admit", "visible", "gone", "tick"]), st.sampled_from("abcd"),
        st.integers(1, 3),
    ),
    max_size=30,
)  # fmt: skip


@given(steps)
def test_used_is_always_what_is_visible_or_admitted(moves):
    """Whatever comes in which order, the account equals a count made from scratch."""
    objects, clock = FakeObjects(), FixedClock()
    ledger = Ledger(objects, clock)
    rule = ResourceQuota(ledger)
    quota(objects, requests_cpu="6")
    pending: dict[str, tuple[int, float]] = {}
    visible: dict[str, int] = {}
    for move, name, size in moves:
        if move == "admit":
            try:
                create(rule, PODS, pod(name, {"cpu": str(size)}))
            except Forbidden:
                continue
            if name not in visible and name not in pending:
                pending[name] = (size, clock.time + 30)
        elif move == "visible":
            size = pending.pop(name, (size, 0))[0]
            visible[name] = size
            objects.put(PODS, pod(name, {"cpu": str(size)}))
        elif move == "gone" and name in visible:
            del visible[name]
            pending.pop(name, None)
            objects.remove(PODS, name, "d")
        elif move == "tick":
            clock.time += 20
        pending = {n: p for n, p in pending.items() if p[1] >= clock.time}
        account = ledger.account("d")
        assert account is not None
        expected = sum(visible.values()) + sum(p[0] for p in pending.values())
        assert account.quotas["q"].used["requests.cpu"] == parse(str(expected))


def test_usage_counts_each_object_under_its_group(objects):
    assert set(usage_of(("apps", "deployments"), {"metadata": {}}, 0)) == {"count/deployments.apps"}
    assert not in_scopes({"scopes": ["BestEffort"]}, ("", "services"), {})


def test_resource_claims_count_their_devices_by_class():
    def exactly(name, **how):
        return {"name": "r", "exactly": {"deviceClassName": name, **how}}

    choices = [
        {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 4},
        {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2},
        {"deviceClassName": "fpga", "allocationMode": "All"},
    ]
    requests = [
        exactly("gpu", allocationMode="ExactCount", count=3),
        exactly("nic"),
        {"name": "s", "firstAvailable": choices},
    ]
    claim = {"metadata": {"name": "x"}, "spec": {"devices": {"requests": requests}}}
    used = usage_of(("resource.k8s.io", "resourceclaims"), claim, 0)
    assert {name: str(amount) for name, amount in used.items()} == {
        "count/resourceclaims.resource.k8s.io": "1",
        "gpu.deviceclass.resource.k8s.io/devices": "7",
        "nic.deviceclass.resource.k8s.io/devices": "1",
        "fpga.deviceclass.resource.k8s.io/devices": "32",
    }
    assert storage_of("a.b.deviceclass.resource.k8s.io/devices") == (
        "resource.k8s.io", "resourceclaims",
    )  # fmt: skip
