"""The pure core: plans, endings, back-offs and statuses, from tables and invariants."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skiff.api.views.pod import Pod
from skiff.node.lifecycle.backoff import Backoffs, go_duration
from skiff.node.lifecycle.model import (
    Health,
    Kind,
    Observed,
    ProbeFailure,
    SeenContainer,
    SeenSandbox,
    definition_hash,
    find_container,
)
from skiff.node.lifecycle.plan import plan, restarts
from skiff.node.lifecycle.status import Circumstances, pod_status
from skiff.node.lifecycle.termination import plan_ending
from skiff.node.reporter import status_patch
from skiff.node.runtime import ContainerState, ContainerStatus

NOW = 1_000_000.0


def make(
    *, policy: str = "Always", init: tuple = (), names: tuple = ("main",), deleted: bool = False
) -> Pod:
    """`init` names init containers; a name that ends in * is a sidecar's."""
    spec: dict[str, Any] = {
        "restartPolicy": policy,
        "containers": [{"name": n, "image": "web:1"} for n in names],
        "initContainers": [
            {
                "name": n.rstrip("*"),
                "image": "web:1",
                **({"restartPolicy": "Always"} if n.endswith("*") else {}),
            }
            for n in init
        ],
    }
    meta: dict[str, Any] = {"name": "web", "namespace": "default", "uid": "u"}
    if deleted:
        meta |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}
    return msgspec.convert({"metadata": meta, "spec": spec}, Pod)


def seen(
    name: str, state: str, code: int = 0, attempt: int = 0, age: float = 60, sandbox: str = "s"
) -> SeenContainer:
    states = {
        "running": ContainerState.RUNNING,
        "exited": ContainerState.EXITED,
        "created": ContainerState.CREATED,
    }
    status = ContainerStatus(
        id=f"{name}-{attempt}", name=name, attempt=attempt, state=states[state], image="web:1", image_ref="ref",
        created_at=NOW - age, started_at=NOW - age, finished_at=NOW - age / 2 if state == "exited" else 0.0,
        exit_code=code,
    )  # fmt: skip
    return SeenContainer(sandbox, status)


def observed(*containers: SeenContainer, ready: bool = True, attempt: int = 0) -> Observed:
    return Observed((SeenSandbox("s", attempt, ready, NOW - 100, ("10.0.0.1",)),), containers)


def steps(
    pod: Pod, picture: Observed, health: Health | None = None, backoffs: Backoffs | None = None
):
    found = plan(pod, picture, health or Health(), backoffs or Backoffs(), NOW)
    return {
        "sandbox": found.create_sandbox,
        "starts": [(s.name, s.attempt) for s in found.starts],
        "stops": [s.name for s in found.stops],
        "finish": found.finish,
    }


def expected(*starts, sandbox: bool = False, stops=(), finish: bool = False):
    return {"sandbox": sandbox, "starts": list(starts), "stops": list(stops), "finish": finish}


PLANS = [
    ("nothing yet", {}, Observed(), expected(sandbox=True)),
    ("a sandbox", {"names": ("a", "b")}, observed(), expected(("a", 0), ("b", 0))),
    ("all run", {}, observed(seen("main", "running")), expected()),
    ("one ended", {"names": ("a", "b")}, observed(seen("a", "running"), seen("b", "exited")), expected(("b", 1))),
    ("ended, never again", {"policy": "Never"}, observed(seen("main", "exited", 1)), expected(finish=True)),
    ("done", {"policy": "OnFailure"}, observed(seen("main", "exited")), expected(finish=True)),
    ("failed", {"policy": "OnFailure"}, observed(seen("main", "exited", 1)), expected(("main", 1))),
    ("made, not started", {}, observed(seen("main", "created")), expected(("main", 1))),
    ("first init", {"init": ("i", "j")}, observed(), expected(("i", 0))),
    ("init runs", {"init": ("i", "j")}, observed(seen("i", "running")), expected()),
    ("next init", {"init": ("i", "j")}, observed(seen("i", "exited")), expected(("j", 0))),
    ("inits done", {"init": ("i", "j")}, observed(seen("j", "exited"), seen("i", "exited")), expected(("main", 0))),
    ("first init forgotten", {"init": ("i", "j")}, observed(seen("j", "exited")), expected(("main", 0))),
    ("init failed", {"init": ("i",)}, observed(seen("i", "exited", 1)), expected(("i", 1))),
    ("init failed for good", {"init": ("i",), "policy": "Never"}, observed(seen("i", "exited", 1)),
     expected(finish=True)),
    ("inits forgotten later", {"init": ("i",)}, observed(seen("main", "running")), expected()),
    ("sidecar first", {"init": ("s*", "i")}, observed(), expected(("s", 0))),
    ("then the init", {"init": ("s*", "i")}, observed(seen("s", "running")), expected(("i", 0))),
    ("a sidecar comes back", {"init": ("s*",), "policy": "Never"},
     observed(seen("main", "running"), seen("s", "exited", 1)), expected(("s", 1))),
    ("all but sidecars done", {"init": ("s*",), "policy": "Never"},
     observed(seen("main", "exited"), seen("s", "running")), expected(finish=True)),
    ("sidecar too", {"init": ("s*",), "policy": "Never"},
     observed(seen("main", "exited"), seen("s", "exited")), expected(finish=True)),
    ("sandbox died", {}, observed(seen("main", "running"), ready=False), expected(sandbox=True)),
    ("sandbox died, work done", {"policy": "Never"}, observed(seen("main", "exited"), ready=False),
     expected(finish=True)),
    ("sandbox died under a job", {"policy": "Never"}, observed(seen("main", "running"), ready=False),
     expected(finish=True)),
    ("containers of an old sandbox", {"init": ("i",)},
     observed(seen("main", "exited", 137, sandbox="old"), seen("i", "exited", sandbox="old")), expected(("i", 1))),
    ("deleted", {"deleted": True}, observed(seen("main", "exited", 1)), expected(finish=True)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("pod", "picture", "wanted"), [p[1:] for p in PLANS], ids=[p[0] for p in PLANS]
)
def test_plans(pod, picture, wanted):
    assert steps(make(**pod), picture) == wanted


def test_a_sidecar_that_has_not_started_holds_the_rest_back():
    picture = observed(seen("s", "running"))
    health = Health(starting=frozenset({"s-0"}))
    assert steps(make(init=("s*", "i")), picture, health) == expected()


def test_a_crashed_container_waits_out_its_back_off():
    pod, backoffs = make(), Backoffs()
    picture = observed(seen("main", "exited", 1, age=10))
    assert steps(pod, picture, backoffs=backoffs)["starts"] == [("main", 1)]
    key = "main/" + _hash(pod)
    backoffs.next(key, NOW - 5)
    found = plan(pod, picture, Health(), backoffs, NOW)
    (hold,) = found.holds
    assert (found.starts, hold.delay_s, hold.until, found.wake_at) == ((), 10, NOW + 5, NOW + 5)


def _hash(pod: Pod) -> str:
    return definition_hash(pod.spec.containers[0])


def test_a_changed_image_replaces_the_container():
    running = seen("main", "running")
    old = replace(
        running,
        status=replace(running.status, annotations={"io.kubernetes.container.hash": "other"}),
    )
    found = plan(make(), observed(old), Health(), Backoffs(), NOW)
    assert [s.message for s in found.stops] == [
        "Container main definition changed, will be restarted"
    ]


def test_what_was_stopped_to_be_replaced_is_started_whatever_the_policy():
    pod, picture = make(policy="Never"), observed(seen("main", "exited", 137))
    assert steps(pod, picture) == expected(finish=True)
    health = Health(replaced=frozenset({"main-0"}))
    assert steps(pod, picture, health) == expected(("main", 1))
    assert pod_status(pod, picture, health, around())["phase"] == "Running"


def test_a_sidecars_failed_probe_is_said_of_an_init_container():
    health = Health(failed={"s-0": ProbeFailure("liveness")})
    picture = observed(seen("main", "running"), seen("s", "running"))
    found = plan(make(init=("s*",)), picture, health, Backoffs(), NOW)
    assert [s.message for s in found.stops] == ["Init container s failed liveness probe"]


def test_containers_are_reported_by_name_with_what_they_were_given():
    spec = {
        "restartPolicy": "Never",
        "containers": [
            {"name": "b", "image": "web:1", "resources": {"requests": {"cpu": "1"}}},
            {"name": "a", "image": "web:1"},
            {"name": "c", "image": "web:1"},
        ],
    }
    pod = msgspec.convert({"metadata": {"name": "web", "uid": "u"}, "spec": spec}, Pod)
    picture = observed(seen("b", "exited"), seen("a", "created"))
    told = pod_status(pod, picture, Health(), around())["containerStatuses"]
    assert [s["name"] for s in told] == ["a", "b", "c"]
    assert [s.get("resources") for s in told] == [{}, {"requests": {"cpu": "1"}}, None]
    assert [s.get("allocatedResources") for s in told] == [None, {"cpu": "1"}, None]
    assert told[0]["state"] == {"waiting": {}}
    assert told[2]["state"] == {"waiting": {"reason": "ContainerCreating"}}


def test_a_container_that_always_restarts_keeps_a_pod_running_that_never_does():
    spec = {
        "restartPolicy": "Never",
        "containers": [{"name": "main", "image": "web:1", "restartPolicy": "Always"}],
    }
    pod = msgspec.convert({"metadata": {"name": "web", "uid": "u"}, "spec": spec}, Pod)
    told = pod_status(pod, observed(seen("main", "exited", 0)), Health(), around())
    assert told["phase"] == "Running"


@pytest.mark.parametrize(
    ("rules", "code", "again"),
    [
        ([], 42, False),
        ([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}], 42, True),
        ([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}], 1, False),
        ([{"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [42]}}], 1, True),
    ],
)
def test_containers_may_have_restart_rules_of_their_own(rules, code: int, again: bool):
    spec = {"containers": [{"name": "main", "restartPolicy": "Never", "restartPolicyRules": rules}]}
    pod = msgspec.convert({"spec": spec}, Pod)
    assert restarts(pod, Kind.REGULAR, pod.spec.containers[0], code) is again


def test_sidecars_end_last_in_reverse():
    pod = make(init=("a*", "b*"), deleted=True)
    a, b, main = (seen(n, "running") for n in ("a", "b", "main"))

    def stopped(*running: SeenContainer, at: float = NOW) -> list[tuple[str, bool]]:
        ending = plan_ending(pod, observed(*running), 30, NOW, at)
        assert {s.grace_period_s for s in ending.stops} == {30}
        return [(s.name, s.held) for s in ending.stops]

    assert stopped(a, b, main) == [("main", False), ("b", True), ("a", True)]
    assert stopped(a, b, at=NOW + 10) == [("b", False), ("a", True)]
    assert stopped(a, at=NOW + 12) == [("a", False)]
    assert stopped(a, b, main, at=NOW + 31) == [("main", False), ("b", False), ("a", False)]
    assert plan_ending(pod, observed(), 30, NOW, NOW).ended


def test_back_off_doubles_to_five_minutes_and_is_forgotten_after_ten():
    backoffs, now, delays = Backoffs(), 0.0, []
    for _ in range(8):
        backoffs.next("k", now)
        delays.append(backoffs.delay_s("k"))
        now = backoffs.until("k", now)
    assert delays == [10, 20, 40, 80, 160, 300, 300, 300]
    assert backoffs.until("k", now + 700) == 0.0


@pytest.mark.parametrize(
    ("seconds", "text"), [(10, "10s"), (160, "2m40s"), (300, "5m0s"), (3600, "1h0m0s")]
)
def test_durations_read_as_gos(seconds, text):
    assert go_duration(seconds) == text


def around(**fields) -> Circumstances:
    return Circumstances(("192.0.2.1",), "containerd", NOW, **fields)


STATES = st.sampled_from(["none", "created", "running", "exited"])


@st.composite
def pictures(draw):
    policy = draw(st.sampled_from(["Always", "OnFailure", "Never"]))
    init = draw(st.sampled_from([(), ("i",), ("s*",), ("s*", "i"), ("i", "s*")]))
    names = draw(st.sampled_from([("a",), ("a", "b")]))
    pod = make(policy=policy, init=init, names=names, deleted=draw(st.booleans()))
    found = []
    for name in (*(n.rstrip("*") for n in init), *names):
        state = draw(STATES)
        if state != "none":
            attempt = draw(st.integers(0, 2))
            found.append(
                seen(
                    name,
                    state,
                    draw(st.sampled_from([0, 1, 137])),
                    attempt,
                    draw(st.integers(1, 999)),
                )
            )
    if not draw(st.booleans()) and not found:
        return pod, Observed()
    return pod, observed(*found, ready=draw(st.booleans()))


@settings(max_examples=300, deadline=None)
@given(pictures(), st.booleans(), st.booleans())
def test_every_plan_is_sound(case, ending, ended):
    pod, picture = case
    found = plan(pod, picture, Health(), Backoffs(), NOW)
    running = {c.status.name for c in picture.running()}
    names = [s.name for s in found.starts]
    assert len(names) == len(set(names))
    # Nothing that runs in a living sandbox is started again, and nothing starts without a sandbox.
    if picture.sandbox is not None and picture.sandbox.ready:
        assert not running & set(names)
    else:
        assert not names
    assert not (found.finish and (found.starts or found.create_sandbox))
    for start in found.starts:
        latest = picture.latest(start.name)
        assert start.attempt == (latest.status.attempt + 1 if latest else 0)
        where = find_container(pod, start.name)
        assert where is not None and where[0] is start.kind
    status = pod_status(pod, picture, Health(), around(ending=ending or ended, ended=ended))
    assert status["phase"] in ("Pending", "Running", "Succeeded", "Failed")
    for entry in (*status["containerStatuses"], *status.get("initContainerStatuses", ())):
        assert len(entry["state"]) == 1
        assert (
            not entry["ready"] or "running" in entry["state"] or "initContainerStatuses" in status
        )
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    assert conditions["Ready"] == conditions["ContainersReady"]
    if status["phase"] in ("Succeeded", "Failed"):
        assert conditions["Ready"] == "False"


def test_a_disruption_that_others_told_of_is_not_written_again():
    theirs = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
    ours = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
    assert status_patch({}, {"conditions": [theirs]}) == {}
    assert status_patch({}, {"conditions": [ours]}) == {"conditions": [ours]}


@settings(max_examples=200, deadline=None)
@given(pictures(), pictures())
def test_patches_turn_one_status_into_the_other(first, second):
    old = pod_status(*first, Health(), around())
    new = pod_status(*second, Health(), around(ending=True))
    patch = status_patch(old, new)
    result = {k: v for k, v in {**old, **patch}.items() if v is not None}
    assert result.keys() == new.keys()
    for key in set(new) - {"conditions", "podIPs", "hostIPs"}:
        assert result[key] == new[key]
    assert status_patch(new, new) == {}
