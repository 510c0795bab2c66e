"""API Priority and Fairness: who belongs to which flow, who gets a seat, who waits, who is refused."""

import asyncio
from collections import Counter

import pytest

from skiff.server.flow import FlowControl, Rejected
from skiff.server.flow.classify import matches, order
from skiff.server.flow.levels import SEATS, Flow, Hall, hand
from skiff.server.request import parse
from skiff.server.seams import User
from tests.server.test_assembly import BOB, running

FLOWS = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
LEVELS = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"
EVERY = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}


def schema(name, subjects, resources=(), paths=(), precedence=1000, level="low", by=""):
    spec = {
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [
            {
                "subjects": list(subjects),
                "resourceRules": list(resources),
                "nonResourceRules": list(paths),
            }
        ],
    }
    if by:
        spec["distinguisherMethod"] = {"type": by}
    return {"metadata": {"name": name, "uid": f"uid-{name}"}, "spec": spec}


def level(name, shares, queues=0, places=50, hand_size=1, **limited):
    response = {"type": "Reject"}
    if queues:
        queuing = {"queues": queues, "handSize": hand_size, "queueLengthLimit": places}
        response = {"type": "Queue", "queuing": queuing}
    spec = {"nominalConcurrencyShares": shares, "limitResponse": response, **limited}
    return {
        "metadata": {"name": name, "uid": f"uid-{name}"},
        "spec": {"type": "Limited", "limited": spec},
    }


def user(name):
    return {"kind": "User", "user": {"name": name}}


def group(name):
    return {"kind": "Group", "group": {"name": name}}


def account(namespace, name):
    return {"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}}


@pytest.mark.parametrize(
    ("subject", "who", "found"),
    [
        (user("noxu"), User("noxu"), True),
        (user("noxu"), User("foo"), False),
        (user("*"), User("foo"), True),
        (group("dev"), User("foo", ("ops", "dev")), True),
        (group("dev"), User("dev", ("ops",)), False),
        (group("*"), User("foo"), True),
        (account("a", "x"), User("system:serviceaccount:a:x"), True),
        (account("a", "x"), User("system:serviceaccount:b:x"), False),
        (account("a", "*"), User("system:serviceaccount:a:y"), True),
        (account("a", "*"), User("system:serviceaccount:ab:y"), False),
    ],
)
def test_subjects(subject, who, found):
    one = schema("s", [subject], [{**EVERY, "clusterScope": True}])
    assert matches(one, who, parse("GET", "/api/v1/nodes/n", "")) is found


@pytest.mark.parametrize(
    ("rule", "request_", "found"),
    [
        (EVERY, ("GET", "/api/v1/namespaces/a/pods"), True),
        (EVERY, ("GET", "/api/v1/pods"), False),  # of all namespaces: needs clusterScope
        ({**EVERY, "clusterScope": True}, ("GET", "/api/v1/pods"), True),
        ({**EVERY, "namespaces": ["b"]}, ("GET", "/api/v1/namespaces/a/pods"), False),
        ({**EVERY, "verbs": ["list"]}, ("GET", "/api/v1/namespaces/a/pods"), True),
        ({**EVERY, "verbs": ["get"]}, ("GET", "/api/v1/namespaces/a/pods"), False),
        ({**EVERY, "apiGroups": ["apps"]}, ("GET", "/api/v1/namespaces/a/pods"), False),
        ({**EVERY, "resources": ["pods"]}, ("PUT", "/api/v1/namespaces/a/pods/x/status"), False),
        ({**EVERY, "resources": ["pods/status"]}, ("PUT", "/api/v1/namespaces/a/pods/x/status"), True),
        (EVERY, ("GET", "/version"), False),
    ],
)  # fmt: skip
def test_resource_rules(rule, request_, found):
    one = schema("s", [user("*")], [rule])
    assert matches(one, User("u"), parse(*request_, "")) is found


@pytest.mark.parametrize(
    ("urls", "path", "found"),
    [
        (["*"], "/version", True),
        (["/healthz"], "/healthz", True),
        (["/healthz"], "/healthz/ping", False),
        (["/healthz/*"], "/healthz/ping", True),
        (["*"], "/api/v1/pods", False),
    ],
)
def test_path_rules(urls, path, found):
    one = schema("s", [user("*")], paths=[{"verbs": ["get"], "nonResourceURLs": urls}])
    assert matches(one, User("u"), parse("GET", path, "")) is found


def test_schemas_are_asked_by_precedence_then_by_name():
    schemas = [schema("b", [], precedence=2), schema("a", [], precedence=2), schema("z", [])]
    schemas[2]["spec"]["matchingPrecedence"] = 1
    assert [s["metadata"]["name"] for s in order(schemas)] == ["z", "a", "b"]


def test_seats_are_shared_out():
    hall = Hall()
    hall.configure([level("a", 30, lendablePercent=50, borrowingLimitPercent=10), level("b", 70)])
    a, b = hall.levels["a"], hall.levels["b"]
    assert (a.seats, a.floor, a.ceiling) == (SEATS * 3 // 10, SEATS * 3 // 20, SEATS * 33 // 100)
    assert (b.seats, b.floor) == (SEATS * 7 // 10, SEATS * 7 // 10)


def test_a_flow_is_dealt_different_queues_and_always_the_same():
    dealt = hand("s", "bob", 64, 6)
    assert dealt == hand("s", "bob", 64, 6)
    assert len(set(dealt)) == 6
    assert all(0 <= i < 64 for i in dealt)
    assert Counter(hand("s", f"u{n}", 4, 1)[0] for n in range(400)).keys() == {0, 1, 2, 3}


def full(*levels) -> tuple[Hall, Flow]:
    """A hall whose first level has no seat left."""
    hall = Hall()
    hall.configure(levels)
    first = hall.levels[levels[0]["metadata"]["name"]]
    first.executing = first.seats
    return hall, Flow("s", "uid", first, "ByUser")


def test_a_level_without_queues_refuses():
    async def check():
        hall, flow = full(level("a", 1, borrowingLimitPercent=0), level("b", 1))
        with pytest.raises(Rejected):
            await hall.seat(flow, "bob")
        assert flow.rejected == {"concurrency-limit": 1}
        hall.leave(flow)
        await hall.seat(flow, "bob")

    asyncio.run(check())


def test_queues_take_turns_and_are_bounded():
    async def check():
        limited = level("a", 1, queues=64, places=3, borrowingLimitPercent=0)
        hall, flow = full(limited, level("b", 1))
        served = []

        async def ask(who):
            await hall.seat(flow, who)
            served.append(who)

        loud = [asyncio.create_task(ask("loud")) for _ in range(3)]
        await asyncio.sleep(0)
        quiet = asyncio.create_task(ask("quiet"))
        await asyncio.sleep(0)
        with pytest.raises(Rejected):
            await ask("loud")
        assert flow.rejected == {"queue-full": 1}
        assert (flow.waiting, hall.waiting) == (4, 4)
        for _ in range(4):
            hall.leave(flow)
            await asyncio.sleep(0)
        await asyncio.gather(*loud, quiet)
        assert served == ["loud", "quiet", "loud", "loud"]
        assert (flow.waiting, hall.waiting) == (0, 0)

    asyncio.run(check())


def test_whoever_leaves_the_queue_gives_no_seat_away():
    async def check():
        hall, flow = full(level("a", 1, queues=1, borrowingLimitPercent=0), level("b", 1))
        first = asyncio.create_task(hall.seat(flow, ""))
        second = asyncio.create_task(hall.seat(flow, ""))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        hall.leave(flow)
        await second
        assert flow.level.executing == flow.level.seats
        # A seat that comes in the turn of the cancelling goes to the next.
        third = asyncio.create_task(hall.seat(flow, ""))
        await asyncio.sleep(0)
        hall.leave(flow)
        third.cancel()
        await asyncio.gather(third, return_exceptions=True)
        assert flow.level.executing == flow.level.seats - 1
        assert hall.waiting == 0

    asyncio.run(check())


def test_idle_seats_are_lent_up_to_what_their_level_keeps():
    async def check():
        hall, flow = full(level("a", 1), level("b", 1, lendablePercent=50))
        own = flow.level.seats
        for _ in range(own // 2):
            await hall.seat(flow, "")
        with pytest.raises(Rejected):
            await hall.seat(flow, "")
        assert flow.level.executing == own + own // 2

    asyncio.run(check())


def test_classification_follows_the_objects():
    async def check():
        async with running() as world:
            flows: FlowControl = world.assembly.flows
            who = User("noxu", ("system:authenticated",))
            version = parse("GET", "/version", "")
            assert flows.classify(who, version).name == "global-default"
            made = await world.must(
                "POST", LEVELS, {"metadata": {"name": "lv"}, "spec": level("lv", 1)["spec"]}
            )
            paths = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
            spec = schema("fs", [user("noxu")], paths=paths, level="lv", by="ByUser")["spec"]
            taken = await world.must("POST", FLOWS, {"metadata": {"name": "fs"}, "spec": spec})
            found = flows.classify(who, version)
            assert dict(found.headers) == {
                "X-Kubernetes-PF-FlowSchema-UID": taken["metadata"]["uid"],
                "X-Kubernetes-PF-PriorityLevel-UID": made["metadata"]["uid"],
            }
            assert b'apiserver_flowcontrol_nominal_limit_seats{priority_level="lv"} 3' in (
                await world.must("GET", "/metrics")
            )
            await world.must("DELETE", f"{LEVELS}/lv")
            assert flows.classify(who, version).name == "global-default"
            exec_ = parse("POST", "/api/v1/namespaces/a/pods/x/exec", "")
            assert flows.classify(who, exec_) is None
            watch = parse("GET", "/api/v1/namespaces/a/pods", "watch=1")
            assert flows.classify(User("x", ("system:masters",)), watch).name == "exempt"

    asyncio.run(check())


def test_a_full_level_refuses_reads_and_writes_in_kubernetes_words():
    async def check():
        async with running() as world:
            none = level("none", 0, borrowingLimitPercent=0)["spec"]
            await world.must("POST", LEVELS, {"metadata": {"name": "none"}, "spec": none})
            spec = schema("fs", [user("bob")], [{**EVERY, "clusterScope": True}], level="none")
            spec["spec"]["rules"][0].pop("nonResourceRules")
            await world.must("POST", FLOWS, {"metadata": {"name": "fs"}, "spec": spec["spec"]})
            role = {
                "metadata": {"name": "all"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                    "name": "cluster-admin",
                },
                "subjects": [
                    {"kind": "User", "name": "bob", "apiGroup": "rbac.authorization.k8s.io"}
                ],
            }  # fmt: skip
            await world.must("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", role)
            for method in ("GET", "POST"):
                body = {"metadata": {"name": "a"}} if method == "POST" else None
                status, text = await world.call(
                    method, "/api/v1/namespaces/default/configmaps", body, user=BOB
                )
                assert (status, text) == (429, b"Too many requests, please try again later.\n")
            await world.must("DELETE", f"{LEVELS}/none")
            await world.must("GET", "/api/v1/namespaces/default/configmaps", user=BOB)
            hall = world.assembly.flows.hall
            assert all(lv.executing == 0 for lv in hall.levels.values())

    asyncio.run(check())


def test_the_defaults_come_back():
    async def check():
        async with running() as world:
            for path, name in ((FLOWS, "service-accounts"), (LEVELS, "catch-all")):
                live = await world.must("GET", f"{path}/{name}")
                uid = live["metadata"]["uid"]
                await world.must("DELETE", f"{path}/{name}")

                async def there(path=path, name=name, uid=uid) -> bool:
                    status, found = await world.call("GET", f"{path}/{name}")
                    return status == 200 and found["metadata"]["uid"] != uid

                await world.until(there, f"{name} is there again")
            kept = {"metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}}}
            merge = {"content-type": "application/merge-patch+json"}
            for path, spec in (
                (f"{FLOWS}/global-default", {"matchingPrecedence": 9000}),
                (f"{FLOWS}/probes", {"matchingPrecedence": 9001}),
            ):
                if path.endswith("probes"):
                    await world.must("PATCH", path, kept, **merge)
                await world.must("PATCH", path, {"spec": spec}, **merge)

            async def restored() -> bool:
                live = await world.must("GET", f"{FLOWS}/global-default")
                return live["spec"]["matchingPrecedence"] == 9900

            await world.until(restored, "global-default is as it was")
            probes = await world.must("GET", f"{FLOWS}/probes")
            assert probes["spec"]["matchingPrecedence"] == 9001

    asyncio.run(check())
