"""Filters: which nodes may take a pod, and the words for those that may not."""

from typing import Any

import pytest

from skiff.api.views.core import Node, Pod
from tests.scheduler.objects import Columns, affinity, near, node, pod, spread

NO_SCHEDULE = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
AFFINITY = "node(s) didn't match Pod's node affinity/selector"
TAINTED = "node(s) had untolerated taint(s)"


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


def term(*expressions: dict[str, Any]) -> dict[str, Any]:
    return {"matchExpressions": list(expressions)}


REFUSED: list[tuple[str, Node, Pod, str]] = [
    ("cpu", node("n", cpu="1"), pod(requests={"cpu": "1001m"}), "Insufficient cpu"),
    ("memory", node("n", memory="1Gi"), pod(requests={"memory": "2Gi"}), "Insufficient memory"),
    ("limits stand in", node("n", cpu="1"), pod(limits={"cpu": "2"}), "Insufficient cpu"),
    (
        "storage",
        node("n", ephemeral_storage="1Gi"),
        pod(requests={"ephemeral-storage": "2Gi"}),
        "Insufficient ephemeral-storage",
    ),
    (
        "extended resource that no node has",
        node("n"),
        pod(requests={"example.com/gpu": "1"}),
        "Insufficient example.com/gpu",
    ),
    ("pods", node("n", pods="0"), pod(), "Too many pods"),
    ("cordon", node("n", unschedulable=True), pod(), "node(s) were unschedulable"),
    ("taint", node("n", taints=[NO_SCHEDULE]), pod(), TAINTED),
    (
        "taint of another value",
        node("n", taints=[NO_SCHEDULE]),
        pod(tolerations=[{"key": "dedicated", "value": "web", "effect": "NoSchedule"}]),
        TAINTED,
    ),
    (
        "NoExecute",
        node("n", taints=[{"key": "k", "effect": "NoExecute"}]),
        pod(tolerations=[{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]),
        TAINTED,
    ),
    ("selector", node("n", {"disk": "hdd"}), pod(nodeSelector={"disk": "ssd"}), AFFINITY),
    (
        "affinity",
        node("n", {"zone": "a"}),
        pod(affinity=affinity("nodeAffinity", term(expression("zone", "In", "b", "c")))),
        AFFINITY,
    ),
    (
        "an empty term matches nothing",
        node("n"),
        pod(affinity=affinity("nodeAffinity", {})),
        AFFINITY,
    ),
    (
        "by name",
        node("n"),
        pod(
            affinity=affinity(
                "nodeAffinity", {"matchFields": [expression("metadata.name", "In", "other")]}
            )
        ),
        "node(s) didn't satisfy plugin(s) [NodeAffinity]",
    ),
    (
        "near nobody",
        node("n"),
        pod(affinity=affinity("podAffinity", near({"app": "db"}))),
        "node(s) didn't match pod affinity rules",
    ),
    (
        "spread without the label",
        node("n"),
        pod(labels={"app": "w"}, topologySpreadConstraints=[spread(1, "zone", {"app": "w"})]),
        "node(s) didn't match pod topology spread constraints (missing required label)",
    ),
]


@pytest.mark.parametrize(
    ("node_", "pod_", "words"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_a_node_is_refused_in_kubernetes_words(node_: Node, pod_: Pod, words: str) -> None:
    assert Columns(node_).reasons(pod_) == {words: 1}


ACCEPTED: list[tuple[str, Node, Pod]] = [
    ("just enough", node("n", cpu="1"), pod(requests={"cpu": "1000m"})),
    ("nothing asked of what is not there", node("n", memory="0"), pod()),
    (
        "an extended resource of zero",
        node("n"),
        pod(requests={"example.com/gpu": "0"}),
    ),
    (
        "cordoned but tolerated",
        node("n", unschedulable=True),
        pod(tolerations=[{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]),
    ),
    (
        "equal toleration",
        node("n", taints=[NO_SCHEDULE]),
        pod(tolerations=[{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]),
    ),
    (
        "toleration of everything",
        node("n", taints=[NO_SCHEDULE, {"key": "k", "effect": "NoExecute"}]),
        pod(tolerations=[{"operator": "Exists"}]),
    ),
    (
        "PreferNoSchedule does not refuse",
        node("n", taints=[{"key": "k", "effect": "PreferNoSchedule"}]),
        pod(),
    ),
    ("selector", node("n", {"disk": "ssd"}), pod(nodeSelector={"disk": "ssd"})),
    (
        "one of several terms",
        node("n", {"zone": "a"}),
        pod(
            affinity=affinity(
                "nodeAffinity",
                term(expression("zone", "In", "b")),
                term(expression("zone", "NotIn", "b"), expression("gone", "DoesNotExist")),
            )
        ),
    ),
    (
        "NotIn holds without the label",
        node("n"),
        pod(affinity=affinity("nodeAffinity", term(expression("zone", "NotIn", "b")))),
    ),
    (
        "Gt and Lt",
        node("n", {"cores": "8"}),
        pod(
            affinity=affinity(
                "nodeAffinity", term(expression("cores", "Gt", "7"), expression("cores", "Lt", "9"))
            )
        ),
    ),
    (
        "the first of a group that wants its own kind near",
        node("n"),
        pod(labels={"app": "w"}, affinity=affinity("podAffinity", near({"app": "w"}))),
    ),
]


@pytest.mark.parametrize(("node_", "pod_"), [r[1:] for r in ACCEPTED], ids=[r[0] for r in ACCEPTED])
def test_a_node_is_accepted(node_: Node, pod_: Pod) -> None:
    assert Columns(node_).decide(pod_) == "n"


def test_every_lack_of_resources_is_told_but_only_the_first_of_other_reasons() -> None:
    columns = Columns(node("n", {"zone": "a"}, cpu="1", memory="1Gi", pods="0"))
    greedy = pod(requests={"cpu": "2", "memory": "2Gi"}, nodeSelector={"zone": "a"})
    assert columns.reasons(greedy) == {
        "Too many pods": 1,
        "Insufficient cpu": 1,
        "Insufficient memory": 1,
    }
    elsewhere = pod(requests={"cpu": "2"}, nodeSelector={"zone": "b"})
    assert columns.reasons(elsewhere) == {AFFINITY: 1}


def test_what_is_placed_is_taken_and_what_goes_is_free_again() -> None:
    columns = Columns(node("n", cpu="2"))
    columns.place("n", pod("one", requests={"cpu": "1500m"}))
    assert columns.reasons(pod(requests={"cpu": "1"})) == {"Insufficient cpu": 1}
    columns.nodes.take("uid-default-one")
    assert columns.decide(pod(requests={"cpu": "1"})) == "n"


def test_init_containers_count_by_their_peak_and_sidecars_with_the_rest() -> None:
    def container(name: str, cpu: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "image": "i", "resources": {"requests": {"cpu": cpu}}, **more}

    heavy = pod(
        requests={"cpu": "1"},
        initContainers=[
            container("sidecar", "1", restartPolicy="Always"),
            container("init", "2500m"),
        ],
        overhead={"cpu": "100m"},
    )
    assert Columns(node("n")).shape(heavy).requests["cpu"] == 3600
    light = pod(
        requests={"cpu": "3"},
        initContainers=[
            container("sidecar", "500m", restartPolicy="Always"),
            container("i", "1"),
        ],
    )
    assert Columns(node("n")).shape(light).requests["cpu"] == 3500


def test_a_pod_that_is_being_resized_holds_the_larger_of_both() -> None:
    def holding(cpu: str, **status: Any) -> int:
        one = pod(
            requests={"cpu": cpu, "memory": "1Gi"},
            status={"containerStatuses": [{"name": "c", **status}]},
        )
        return Columns(node("n")).shape(one).requests["cpu"]

    assert holding("1") == 1000
    assert holding("1", resources={"requests": {"cpu": "1", "memory": "1Gi"}}) == 1000
    assert holding("1", resources={"requests": {"cpu": "2", "memory": "1Gi"}}) == 2000, "shrinks"
    assert holding("3", resources={"requests": {"cpu": "2", "memory": "1Gi"}}) == 3000, "grows"
    assert holding("1", allocatedResources={"cpu": "1500m"}) == 1500


@pytest.mark.parametrize(
    ("used", "wanted", "free"),
    [
        ({"hostPort": 80}, {"hostPort": 80}, False),
        ({"hostPort": 80}, {"hostPort": 81}, True),
        ({"hostPort": 80}, {"hostPort": 80, "protocol": "UDP"}, True),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80, "hostIP": "10.0.0.2"}, True),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80}, False),
        ({"hostPort": 80}, {"hostPort": 80, "hostIP": "10.0.0.1"}, False),
        ({"containerPort": 80}, {"hostPort": 80}, True),
    ],
)
def test_host_ports(used: dict[str, Any], wanted: dict[str, Any], free: bool) -> None:
    columns = Columns(node("n"))
    columns.place("n", pod("one", ports=[used]))
    asks = pod("two", ports=[wanted])
    if free:
        assert columns.decide(asks) == "n"
    else:
        words = "node(s) didn't have free ports for the requested pod ports"
        assert columns.reasons(asks) == {words: 1}
        columns.nodes.take("uid-default-one")
        assert columns.decide(asks) == "n"


class TestPodAffinity:
    def columns(self) -> Columns:
        columns = Columns(
            node("a1", {"zone": "a"}),
            node("a2", {"zone": "a"}),
            node("b1", {"zone": "b"}),
            node("nowhere"),
            namespaces={"default": {"team": "x"}, "other": {"team": "y"}},
        )
        columns.place("a1", pod("db", labels={"app": "db"}))
        return columns

    def test_near_reaches_the_whole_domain(self) -> None:
        wants = pod(affinity=affinity("podAffinity", near({"app": "db"}, "zone")))
        assert self.columns().feasible(wants) == {"a1", "a2"}

    def test_far_keeps_out_of_the_domain(self) -> None:
        avoids = pod(affinity=affinity("podAntiAffinity", near({"app": "db"}, "zone")))
        assert self.columns().feasible(avoids) == {"b1", "nowhere"}
        columns = Columns(node("a1", {"zone": "a"}))
        columns.place("a1", pod("db", labels={"app": "db"}))
        assert columns.reasons(avoids) == {"node(s) didn't match pod anti-affinity rules": 1}

    def test_pods_already_there_keep_others_away(self) -> None:
        columns = self.columns()
        shy = pod("shy", affinity=affinity("podAntiAffinity", near({"app": "web"}, "zone")))
        columns.place("b1", shy)
        web = pod(labels={"app": "web"})
        assert columns.feasible(web) == {"a1", "a2", "nowhere"}
        assert columns.feasible(pod(labels={"app": "x"})) == {"a1", "a2", "b1", "nowhere"}
        alone = Columns(node("n"))
        alone.place("n", pod("s", affinity=affinity("podAntiAffinity", near({"app": "web"}))))
        words = "node(s) didn't satisfy existing pods anti-affinity rules"
        assert alone.reasons(web) == {words: 1}

    @pytest.mark.parametrize(
        ("more", "found"),
        [
            ({}, False),
            ({"namespaces": ["other"]}, True),
            ({"namespaceSelector": {"matchLabels": {"team": "y"}}}, True),
            ({"namespaceSelector": {"matchLabels": {"team": "x"}}}, False),
            ({"namespaceSelector": {}}, True),
        ],
    )
    def test_namespaces(self, more: dict[str, Any], found: bool) -> None:
        columns = self.columns()
        columns.place("b1", pod("cache", namespace="other", labels={"app": "cache"}))
        wants = pod(affinity=affinity("podAffinity", near({"app": "cache"}, "zone", **more)))
        assert columns.feasible(wants) == ({"b1"} if found else set())

    def test_one_pod_has_to_match_all_terms(self) -> None:
        columns = self.columns()
        columns.place("a2", pod("ssd", labels={"disk": "ssd"}))
        terms = near({"app": "db"}, "zone"), near({"disk": "ssd"}, "zone")
        wants = pod(affinity=affinity("podAffinity", *terms))
        assert columns.feasible(wants) == set()
        columns.place("a2", pod("both", labels={"app": "db", "disk": "ssd"}))
        assert columns.feasible(wants) == {"a1", "a2"}

    def test_pods_where_there_is_no_such_domain_do_not_count(self) -> None:
        columns = self.columns()
        columns.place("nowhere", pod("first", labels={"app": "ring"}))
        wants = pod(
            labels={"app": "ring"}, affinity=affinity("podAffinity", near({"app": "ring"}, "zone"))
        )
        assert columns.feasible(wants) == {"a1", "a2", "b1"}

    def test_label_keys_narrow_the_selector(self) -> None:
        columns = self.columns()
        columns.place("b1", pod("new", labels={"app": "db", "hash": "2"}))
        term = near({"app": "db"}, "zone", matchLabelKeys=["hash"])
        wants = pod(labels={"hash": "2"}, affinity=affinity("podAffinity", term))
        assert columns.feasible(wants) == {"b1"}
        term = near({"app": "db"}, "zone", mismatchLabelKeys=["hash"])
        wants = pod(labels={"hash": "2"}, affinity=affinity("podAffinity", term))
        assert columns.feasible(wants) == {"a1", "a2"}


class TestTopologySpread:
    WORDS = "node(s) didn't match pod topology spread constraints"

    def columns(self, *counts: int) -> Columns:
        columns = Columns(*(node(f"n{i}", {"zone": f"z{i}"}) for i in range(len(counts))))
        for i, count in enumerate(counts):
            for j in range(count):
                columns.place(f"n{i}", pod(f"w{i}-{j}", labels={"app": "w"}))
        return columns

    def web(self, *constraints: dict[str, Any], **more: Any) -> Pod:
        return pod(labels={"app": "w"}, topologySpreadConstraints=list(constraints), **more)

    @pytest.mark.parametrize(
        ("counts", "skew", "allowed"),
        [
            ((0, 0), 1, {"n0", "n1"}),
            ((1, 0), 1, {"n1"}),
            ((1, 0), 2, {"n0", "n1"}),
            ((3, 1, 2), 1, {"n1"}),
            ((3, 1, 2), 2, {"n1", "n2"}),
        ],
    )
    def test_skew(self, counts: tuple[int, ...], skew: int, allowed: set[str]) -> None:
        assert (
            self.columns(*counts).feasible(self.web(spread(skew, "zone", {"app": "w"}))) == allowed
        )

    def test_its_words(self) -> None:
        columns = self.columns(1)
        columns.nodes.put(node("full", {"zone": "empty"}, cpu="0"))
        asks = self.web(spread(1, "zone", {"app": "w"}), requests={"cpu": "1"})
        assert columns.reasons(asks) == {self.WORDS: 1, "Insufficient cpu": 1}

    def test_too_few_domains_count_as_an_empty_one(self) -> None:
        columns = self.columns(1, 1)
        assert columns.feasible(self.web(spread(1, "zone", {"app": "w"}, minDomains=2))) == {
            "n0",
            "n1",
        }
        assert columns.feasible(self.web(spread(1, "zone", {"app": "w"}, minDomains=3))) == set()

    def test_nodes_that_the_pod_cannot_use_do_not_count_unless_told(self) -> None:
        columns = self.columns(1, 0)
        only = {"nodeSelector": {"zone": "z0"}}
        assert columns.feasible(self.web(spread(1, "zone", {"app": "w"}), **only)) == {"n0"}
        ignoring = spread(1, "zone", {"app": "w"}, nodeAffinityPolicy="Ignore")
        assert columns.feasible(self.web(ignoring, **only)) == set()

    def test_tainted_nodes_count_unless_told(self) -> None:
        columns = self.columns(1, 0)
        columns.nodes.put(node("n1", {"zone": "z1"}, taints=[NO_SCHEDULE]))
        assert columns.feasible(self.web(spread(1, "zone", {"app": "w"}))) == set()
        honoring = spread(1, "zone", {"app": "w"}, nodeTaintsPolicy="Honor")
        assert columns.feasible(self.web(honoring)) == {"n0"}

    def test_a_selector_of_everything_counts_nothing(self) -> None:
        everything = spread(1, "zone", {"app": "w"}) | {"labelSelector": {}}
        assert self.columns(3, 0).feasible(self.web(everything)) == {"n0", "n1"}

    def test_pods_that_are_ending_do_not_count(self) -> None:
        columns = self.columns(1, 0)
        ending = pod("w0-0", labels={"app": "w"})
        columns.nodes.place(
            "uid-default-w0-0", columns.shape(ending), "n0", "w0-0", terminating=True
        )
        assert columns.feasible(self.web(spread(1, "zone", {"app": "w"}))) == {"n0", "n1"}


def test_a_relabelled_node_is_judged_anew() -> None:
    columns = Columns(node("n", {"disk": "hdd"}))
    wants = pod(nodeSelector={"disk": "ssd"})
    assert columns.feasible(wants) == set()
    assert columns.nodes.put(node("n", {"disk": "ssd"}))
    assert columns.feasible(wants) == {"n"}
    assert not columns.nodes.put(node("n", {"disk": "ssd"})), "nothing changed"


def test_a_row_is_used_again_without_traces_of_the_old_node() -> None:
    columns = Columns(node("old", {"disk": "ssd"}, taints=[NO_SCHEDULE]))
    columns.place("old", pod("x", ports=[{"hostPort": 80}], requests={"cpu": "4"}))
    assert columns.feasible(pod(nodeSelector={"disk": "ssd"})) == set()
    lost = columns.nodes.remove("old")
    assert [p.name for p in lost] == ["x"]
    assert columns.feasible(pod()) == set()
    columns.nodes.put(node("new"))
    assert columns.nodes.rows["new"] == 0
    assert columns.feasible(pod(requests={"cpu": "4"}, ports=[{"hostPort": 80}])) == {"new"}
    assert columns.feasible(pod(nodeSelector={"disk": "ssd"})) == set()
