"""The pure decisions: rollout sizes, which pods to delete, expectations, hashes, pace."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.api.views.apps import (
    Deployment,
    DeploymentSpec,
    DeploymentStrategy,
    ReplicaSet,
    ReplicaSetSpec,
    ReplicaSetStatus,
    RollingUpdateDeployment,
)
from skiff.api.views.core import ContainerStatus, Pod, PodCondition, PodSpec, PodStatus
from skiff.api.views.meta import ObjectMeta
from skiff.controllers import pods, template
from skiff.controllers.deployment import plan, revisions
from skiff.controllers.expectations import EXPIRE_AFTER_S, Expectations
from skiff.controllers.pace import settle_s

NOW = 1_700_000_000.0


def deployment(
    replicas: int, surge: int | str = "25%", unavailable: int | str = "25%"
) -> Deployment:
    rolling = RollingUpdateDeployment(max_surge=surge, max_unavailable=unavailable)
    strategy = DeploymentStrategy(type="RollingUpdate", rolling_update=rolling)
    return Deployment(
        metadata=ObjectMeta(name="web", generation=1),
        spec=DeploymentSpec(replicas=replicas, strategy=strategy),
    )


def replica_set(
    name: str, replicas: int, available: int | None = None, **annotations: str
) -> ReplicaSet:
    found = {f"deployment.kubernetes.io/{k.replace('_', '-')}": v for k, v in annotations.items()}
    return ReplicaSet(
        metadata=ObjectMeta(
            name=name, creation_timestamp=f"2023-01-01T00:00:0{name[-1]}Z", annotations=found
        ),
        spec=ReplicaSetSpec(replicas=replicas),
        status=ReplicaSetStatus(
            available_replicas=replicas if available is None else available, replicas=replicas
        ),
    )


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", (3, 2)),
        (1, "25%", "25%", (1, 0)),
        (4, 0, 0, (0, 1)),
        (0, "25%", "25%", (0, 0)),
        (3, 1, 10, (1, 3)),
        (10, "0%", "1%", (0, 1)),
        (10, "100%", "100%", (10, 10)),
    ],
)
def test_surge_rounds_up_and_unavailable_down(replicas, surge, unavailable, expected) -> None:
    limits = plan.limits_of(deployment(replicas, surge, unavailable))
    assert (limits.surge, limits.unavailable) == expected


@given(
    st.integers(0, 60), st.integers(0, 20), st.integers(0, 20),
    st.integers(0, 60), st.integers(0, 60), st.data(),
)  # fmt: skip
def test_a_step_never_leaves_the_limits(replicas, surge, unavailable, old, new, data) -> None:
    """From any state that is within the limits, each step stays within them."""
    d = deployment(replicas, surge, unavailable)
    limits = plan.limits_of(d)
    old_set = replica_set("o1", old, data.draw(st.integers(0, old)))
    new_set = replica_set("n2", new, data.draw(st.integers(0, new)))
    size = plan.new_size(d, [old_set, new_set], new_set)
    assert size >= new
    if old + new <= limits.maximum:
        assert old + size <= limits.maximum
    resizes = plan.rolling_update_old(d, new_set, [old_set])
    for resize in resizes:
        assert 0 <= resize.replicas < old
        gone = old - resize.replicas
        # Those that are not available go first; of the others as many as may be spared.
        available = old_set.status.available_replicas + new_set.status.available_replicas
        lost = max(0, gone - (old - old_set.status.available_replicas))
        assert available - lost >= min(available, limits.minimum_available)


@given(st.integers(1, 40), st.integers(0, 10))
def test_a_rollout_ends(replicas: int, surge: int) -> None:
    """Whatever becomes available at once, the old ReplicaSet is empty and the new one full in the end."""
    d = deployment(replicas, surge, 0 if surge else 1)
    old, new = replica_set("o1", replicas), replica_set("n2", 0)
    for _ in range(4 * replicas + 4):
        new = replica_set("n2", plan.new_size(d, [old, new], new))
        for resize in plan.rolling_update_old(d, new, [old]):
            old = replica_set("o1", resize.replicas)
    assert (plan.replicas_of(old), plan.replicas_of(new)) == (0, replicas)


@pytest.mark.parametrize(
    ("sizes", "before", "after", "expected"),
    [
        ((8, 5), 10, 30, {"o1": 20, "n2": 13}),
        ((8, 5), 10, 5, {"o1": 5, "n2": 3}),
        ((8, 5), 10, 0, {"o1": 0, "n2": 0}),
        ((5, 5), 8, 12, {"o1": 7, "n2": 7}),
    ],
)
def test_proportional_scaling(sizes, before, after, expected) -> None:
    surge = sum(sizes) - before
    d = deployment(after, surge, 2)
    remembered = {"desired_replicas": str(before), "max_replicas": str(before + surge)}
    old = replica_set("o1", sizes[0], **remembered)
    new = replica_set("n2", sizes[1], 0, **remembered)
    resizes = plan.scale(d, new, [old])
    assert {r.replica_set.metadata.name: r.replicas for r in resizes} == expected
    total = after + surge if after else 0
    assert sum(r.replicas for r in resizes) == total


def test_revisions_and_history() -> None:
    d = Deployment(
        metadata=ObjectMeta(annotations={"a": "b", plan.REVISION: "9"}), spec=deployment(3).spec
    )
    first = revisions.new_annotations(d, {}, 1, exists=False)
    assert first == {
        "a": "b",
        plan.REVISION: "1",
        plan.DESIRED_REPLICAS: "3",
        plan.MAX_REPLICAS: "4",
    }
    back = revisions.new_annotations(d, first, 3, exists=True)
    assert (back[plan.REVISION], back[revisions.REVISION_HISTORY]) == ("3", "1")
    again = revisions.new_annotations(d, back, 5, exists=True)
    assert again[revisions.REVISION_HISTORY] == "1,3"
    assert revisions.new_annotations(d, again, 5, exists=True) == again


def pod(
    name: str,
    *,
    node: str = "n",
    phase: str = "Running",
    ready: str = "2023-11-14T00:00:00Z",
    cost: str = "",
    restarts: int = 0,
    created: str = "2023-11-14T00:00:00Z",
) -> Pod:
    conditions = (
        (PodCondition(type="Ready", status="True", last_transition_time=ready),) if ready else ()
    )
    return Pod(
        metadata=ObjectMeta(
            name=name,
            uid=name,
            creation_timestamp=created,
            annotations={pods.DELETION_COST: cost} if cost else {},
        ),
        spec=PodSpec(node_name=node),
        status=PodStatus(
            phase=phase,
            conditions=conditions,
            container_statuses=(ContainerStatus(name="c", restart_count=restarts),),
        ),
    )


@pytest.mark.parametrize(
    ("goes", "stays"),
    [
        (pod("a", node=""), pod("b", phase="Pending", ready="")),
        (pod("a", phase="Pending"), pod("b", phase="Unknown")),
        (pod("a", phase="Unknown"), pod("b")),
        (pod("a", ready=""), pod("b", cost="-5")),
        (pod("a", cost="-5"), pod("b")),
        (pod("a"), pod("b", cost="1")),
        (pod("a", ready="2023-11-14T21:00:00Z"), pod("b", restarts=9)),
        (pod("a", restarts=1), pod("b", created="2023-11-14T21:00:00Z")),
        (pod("a", created="2023-11-14T21:00:00Z"), pod("b")),
    ],
)
def test_which_pod_goes_first(goes: Pod, stays: Pod) -> None:
    assert pods.pods_to_delete([stays, goes], [stays, goes], 1, NOW) == [goes]


def test_crowded_nodes_are_relieved_first() -> None:
    crowded, lonely = pod("z", node="crowded"), pod("a", node="lonely")
    related = [crowded, lonely, pod("x", node="crowded")]
    assert pods.pods_to_delete([lonely, crowded], related, 1, NOW) == [crowded]


@pytest.mark.parametrize(("text", "cost"), [("", 0), ("7", 7), ("-3", -3), ("+3", 0), ("x", 0)])
def test_deletion_cost(text: str, cost: int) -> None:
    assert pods.deletion_cost(pod("a", cost=text)) == cost


def test_availability_takes_its_time() -> None:
    young = pod("a", ready="2023-11-14T22:13:10Z")  # ten seconds before NOW
    assert pods.available_in_s(young, 30, NOW) == 20
    assert pods.is_available(young, 10, NOW)
    assert pods.available_in_s(pod("b", ready=""), 0, NOW) is None


def test_expectations() -> None:
    found = Expectations()
    assert found.satisfied("o", 0)
    found.expect("o", 0, creations=2, deletions=frozenset({"x"}))
    found.created("o")
    assert not found.satisfied("o", 1)
    found.created("o")
    found.deleted("o", "other")
    assert not found.satisfied("o", 1)
    found.deleted("o", "x")
    assert found.satisfied("o", 1)
    found.expect("o", 0, creations=1)
    assert found.satisfied("o", EXPIRE_AFTER_S + 1), "what was missed is given up"


def test_hashes_follow_the_template_alone() -> None:
    body = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}
    hashed = {**body, "metadata": {"labels": {"a": "b", template.HASH_LABEL: "x"}}}
    assert template.template_hash(body, None) == template.template_hash(hashed, None)
    assert template.template_hash(body, None) != template.template_hash(body, 1)
    assert template.template_hash(body, None) != template.template_hash({**body, "spec": {}}, None)


def test_pace() -> None:
    assert settle_s(10) == 0
    assert settle_s(500) == pytest.approx(0.05)
    assert settle_s(10**6) == 0.5
