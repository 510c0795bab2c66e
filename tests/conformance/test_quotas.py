"""ResourceQuotas: usage follows the life of what they count; LimitRanges: defaults and bounds."""

from typing import Any

import pytest

from skiff.api.resources import (
    CONFIGMAPS,
    LIMITRANGES,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    RESOURCEQUOTAS,
    SECRETS,
    SERVICES,
    Resource,
)
from tests.conformance.world import Kube, Object, meta, pod, run, template

HARD = {
    "pods": "5",
    "services": "10",
    "services.nodeports": "1",
    "services.loadbalancers": "1",
    "replicationcontrollers": "10",
    "resourcequotas": "1",
    "cpu": "1",
    "memory": "500Mi",
    "configmaps": "10",
    "secrets": "10",
    "persistentvolumeclaims": "10",
    "requests.storage": "10Gi",
    "requests.ephemeral-storage": "50Gi",
    "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "10",
    "gold.storageclass.storage.k8s.io/requests.storage": "10Gi",
    "count/replicasets.apps": "5",
    "requests.example.com/dongle": "3",
}
PREFIX = "[sig-api-machinery] ResourceQuota should "


def quota(name: str = "test-quota", hard: Any = None, scopes: Any = None) -> Object:
    spec: Object = {"hard": HARD if hard is None else hard}
    if scopes:
        spec["scopes"] = scopes
    return {"metadata": meta(name), "spec": spec}


async def used(kube: Kube, name: str = "test-quota", **want: str) -> None:
    """Wait until the quota's status says so."""
    seen: Object = {}

    async def right() -> bool:
        seen.update((await kube.of(RESOURCEQUOTAS).get(name)).get("status") or {})
        found = seen.get("used") or {}
        return all(found.get(k.replace("__", ".")) == v for k, v in want.items())

    try:
        await kube.until(right, 60)
    except AssertionError:
        raise AssertionError((want, seen)) from None


def sized(name: str, limits: Any = None, **requests: str) -> Object:
    amounts: Object = {"requests": {k.replace("_", "-"): v for k, v in requests.items()}}
    if "dongle" in requests:
        count = amounts["requests"].pop("dongle")
        amounts["requests"]["example.com/dongle"] = count
        amounts["limits"] = {"example.com/dongle": count}
    if limits:
        amounts["limits"] = limits
    return pod(name, containers=[{"name": "c", "image": "web:1", "resources": amounts}])


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and ensure its status is promptly"
    " calculated. [Conformance]"
)
def test_usage_is_calculated_promptly() -> None:
    async def scenario(kube: Kube) -> None:
        await kube.of(RESOURCEQUOTAS).create(quota())
        await used(kube, resourcequotas="1", pods="0", cpu="0", memory="0")
        status = (await kube.of(RESOURCEQUOTAS).get("test-quota"))["status"]
        assert status["hard"] == HARD
        assert status["used"].keys() == HARD.keys()

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a pod."
    " [Conformance]"
)
def test_the_life_of_a_pod() -> None:
    async def scenario(kube: Kube) -> None:
        await kube.of(RESOURCEQUOTAS).create(quota())
        await used(kube, resourcequotas="1")
        pods = kube.of(PODS)
        await pods.create(
            sized("p", cpu="500m", memory="252Mi", ephemeral_storage="30Gi", dongle="2")
        )
        first = {
            "pods": "1",
            "cpu": "500m",
            "memory": "252Mi",
            "requests.ephemeral-storage": "30Gi",
            "requests.example.com/dongle": "2",
        }
        await used(kube, **first)
        refused = await pods.refused(sized("fail", cpu="600m", memory="100Mi"))
        refused.failed(
            403,
            "Forbidden",
            'pods "fail" is forbidden: exceeded quota: test-quota, requested: cpu=600m, used: cpu=500m,'
            " limited: cpu=1",
        )
        refused = await pods.refused(
            sized("fail2", cpu="500m", memory="100Mi", ephemeral_storage="10Gi", dongle="2")
        )
        refused.failed(
            403, "Forbidden", "exceeded quota: test-quota", "requests.example.com/dongle=2"
        )
        await pods.change("p", lambda o: o["metadata"].setdefault("labels", {}).update(a="b"))
        found = await pods.get("p")
        found["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "100m"
        answer = await kube.call("PUT", pods.path("p"), found)
        answer.failed(422, "Invalid", "pod updates may not change fields other than")
        await used(kube, **first)
        await pods.delete("p", gracePeriodSeconds=0)
        await used(
            kube,
            **{"pods": "0", "cpu": "0", "memory": "0", "requests.example.com/dongle": "0"},
        )

    run(scenario)


LIVES: list[tuple[Resource, str, Object]] = [
    (CONFIGMAPS, "configmaps", {"data": {"a": "b"}}),
    (SECRETS, "secrets", {"data": {"data": "dmFsdWUK"}}),
    (
        REPLICATIONCONTROLLERS,
        "replicationcontrollers",
        {"spec": {"replicas": 0, "selector": {"a": "b"}, "template": template({"a": "b"})}},
    ),
    (
        REPLICASETS,
        "count/replicasets.apps",
        {
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"a": "b"}},
                "template": template({"a": "b"}),
            }
        },
    ),
]


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a configMap."
    " [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a secret."
    " [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a"
    " replication controller. [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replica"
    " set. [Conformance]"
)
@pytest.mark.parametrize(
    ("resource", "name", "rest"), LIVES, ids=lambda x: getattr(x, "plural", "")
)
def test_the_life_of_an_object(resource: Resource, name: str, rest: Object) -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(resource)
        found = len(await api.items())  # kube-root-ca.crt
        await kube.of(RESOURCEQUOTAS).create(quota())
        await used(kube, **{name: str(found)})
        await api.create({"metadata": meta("x"), **rest})
        await used(kube, **{name: str(found + 1)})
        await api.delete("x")
        await used(kube, **{name: str(found)})

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a service."
    " [Conformance]"
)
def test_the_life_of_services() -> None:
    def service(name: str, kind: str, allocate: bool = True) -> Object:
        more = {} if allocate else {"allocateLoadBalancerNodePorts": False}
        return {"metadata": meta(name), "spec": {"type": kind, "ports": [{"port": 80}], **more}}

    async def scenario(kube: Kube) -> None:
        await kube.of(RESOURCEQUOTAS).create(quota())
        await used(kube, services="0")
        api = kube.of(SERVICES)
        await api.create(service("a", "ClusterIP"))
        await api.create(service("b", "NodePort"))
        refused = await api.refused(service("c", "LoadBalancer"))
        refused.failed(403, "Forbidden", "exceeded quota: test-quota", "services.nodeports=1")
        await api.create(service("d", "LoadBalancer", allocate=False))
        await used(
            kube, **{"services": "3", "services.nodeports": "1", "services.loadbalancers": "1"}
        )
        for name in ("a", "b", "d"):
            await api.delete(name)
        await used(
            kube, **{"services": "0", "services.nodeports": "0", "services.loadbalancers": "0"}
        )

    run(scenario)


def test_the_life_of_a_claim() -> None:
    async def scenario(kube: Kube) -> None:
        await kube.of(RESOURCEQUOTAS).create(quota())
        await used(kube, persistentvolumeclaims="0")
        claim = {
            "metadata": meta("c"),
            "spec": {
                "storageClassName": "gold",
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }
        await kube.of(PERSISTENTVOLUMECLAIMS).create(claim)
        gold = "gold.storageclass.storage.k8s.io/"
        await used(
            kube,
            **{
                "persistentvolumeclaims": "1",
                "requests.storage": "1Gi",
                gold + "persistentvolumeclaims": "1",
                gold + "requests.storage": "1Gi",
            },
        )
        await kube.of(PERSISTENTVOLUMECLAIMS).delete("c")
        await used(kube, **{"persistentvolumeclaims": "0", "requests.storage": "0"})

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should verify ResourceQuota with terminating scopes. [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should verify ResourceQuota with best effort scope. [Conformance]"
)
@pytest.mark.parametrize(
    ("scope", "other", "rest"),
    [
        ("Terminating", "NotTerminating", {"activeDeadlineSeconds": 3600}),
        ("NotTerminating", "Terminating", {}),
        ("BestEffort", "NotBestEffort", {}),
    ],
)
def test_scopes(scope: str, other: str, rest: Object) -> None:
    async def scenario(kube: Kube) -> None:
        for name, what in (("in", scope), ("out", other)):
            await kube.of(RESOURCEQUOTAS).create(quota(name, {"pods": "5"}, [what]))
            await used(kube, name, pods="0")
        await kube.of(PODS).create(pod("p", **rest))
        await used(kube, "in", pods="1")
        await used(kube, "out", pods="0")
        await kube.of(PODS).delete("p", gracePeriodSeconds=0)
        await used(kube, "in", pods="0")

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should be able to update and delete ResourceQuota. [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should manage the lifecycle of a ResourceQuota [Conformance]"
)
def test_a_quota_changes_and_goes() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(RESOURCEQUOTAS)
        await api.create(
            {
                "metadata": meta("q", labels={"q": "x"}),
                "spec": {"hard": {"cpu": "1", "memory": "500Mi"}},
            }
        )
        found = await api.get("q")
        assert found["spec"]["hard"] == {"cpu": "1", "memory": "500Mi"}
        await api.change("q", lambda o: o["spec"].update(hard={"cpu": "2", "memory": "1Gi"}))
        assert (await api.get("q"))["spec"]["hard"] == {"cpu": "2", "memory": "1Gi"}
        patched = await api.patch(
            "q",
            {"metadata": {"labels": {"y": "z"}}, "spec": {"hard": {"memory": "750Mi"}}},
            "strategic",
        )
        assert patched["spec"]["hard"] == {"cpu": "2", "memory": "750Mi"}
        assert len(await api.everywhere("y=z")) == 1
        await api.delete_all("y=z")
        assert await api.absent("q")
        await api.create(quota("q", {"cpu": "1"}))
        await api.delete("q")
        assert await api.absent("q")

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should apply changes to a resourcequota status [Conformance]"
)
def test_a_quota_has_a_status_of_its_own() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(RESOURCEQUOTAS)
        hard = {"cpu": "500m", "memory": "500Mi"}
        made = await api.create(quota("q", hard))
        async with api.watch(resourceVersion=made["metadata"]["resourceVersion"]) as watch:
            await watch.expect("MODIFIED", lambda o: o["status"].get("hard") == hard)
            more = {"cpu": "250m", "memory": "250Mi"}
            await api.change("q", lambda o: o["status"].update(hard=more), "status")
            await watch.expect("MODIFIED", lambda o: o["status"]["hard"] == more)
            await watch.expect("MODIFIED", lambda o: o["status"]["hard"] == hard)  # put right again
            patch = {
                "metadata": {"annotations": {"a": "b"}},
                "status": {"hard": {"cpu": "1", "memory": "1Gi"}},
            }
            patched = await api.patch("q", patch, subresource="status")
            assert patched["status"]["hard"] == {"cpu": "1", "memory": "1Gi"}
            assert patched["spec"]["hard"] == hard
            await watch.expect("MODIFIED", lambda o: o["status"]["hard"]["cpu"] == "1")
            await watch.expect("MODIFIED", lambda o: o["status"]["hard"] == hard)
            await api.patch("q", {"spec": {"hard": more}})
            await watch.expect("MODIFIED", lambda o: o["status"]["hard"] == more)

    run(scenario)


LIMITS = {
    "type": "Container",
    "min": {"cpu": "50m", "memory": "100Mi", "ephemeral-storage": "100Gi"},
    "max": {"cpu": "500m", "memory": "500Mi", "ephemeral-storage": "500Gi"},
    "default": {"cpu": "500m", "memory": "500Mi", "ephemeral-storage": "500Gi"},
    "defaultRequest": {"cpu": "100m", "memory": "200Mi", "ephemeral-storage": "200Gi"},
}


@pytest.mark.conformance(
    "[sig-scheduling] LimitRange should create a LimitRange with defaults and ensure pod has those"
    " defaults applied. [Conformance]"
)
def test_limit_ranges_default_and_bound() -> None:
    async def scenario(kube: Kube) -> None:
        api, pods = kube.of(LIMITRANGES), kube.of(PODS)
        start = (await api.list())["metadata"]["resourceVersion"]
        async with api.watch(resourceVersion=start) as watch:
            await api.create({"metadata": meta("limit-range"), "spec": {"limits": [LIMITS]}})
            seen = await watch.expect("ADDED")
            assert seen["spec"]["limits"] == [LIMITS]
        made = await pods.create(pod("pod-no-resources"))
        amounts = made["spec"]["containers"][0]["resources"]
        assert amounts == {"limits": LIMITS["default"], "requests": LIMITS["defaultRequest"]}
        part = sized(
            "pod-partial-resources",
            {"cpu": "300m"},
            cpu="50m",
            memory="150Mi",
        )
        made = await pods.create(part)
        amounts = made["spec"]["containers"][0]["resources"]
        assert amounts["requests"] == {
            "cpu": "50m",
            "memory": "150Mi",
            "ephemeral-storage": "200Gi",
        }
        assert amounts["limits"] == {"cpu": "300m", "memory": "500Mi", "ephemeral-storage": "500Gi"}
        low = await pods.refused(sized("low", cpu="10m", memory="50Mi", ephemeral_storage="50Gi"))
        low.failed(403, "Forbidden", "minimum cpu usage per Container is 50m, but request is 10m")
        high = await pods.refused(
            sized("high", {"cpu": "600m", "memory": "600Mi", "ephemeral-storage": "600Gi"})
        )
        high.failed(403, "Forbidden", "maximum cpu usage per Container is 500m, but limit is 600m")

        def lower(obj: Object) -> None:
            obj["spec"]["limits"][0]["min"] = {
                "cpu": "9m", "memory": "49Mi", "ephemeral-storage": "49Gi"
            }  # fmt: skip

        await api.change("limit-range", lower)
        await pods.create(sized("low", cpu="10m", memory="50Mi", ephemeral_storage="50Gi"))
        await api.delete("limit-range")
        await api.gone("limit-range")
        await pods.create(sized("high", {"cpu": "1", "memory": "1Gi"}))

    run(scenario)


@pytest.mark.conformance(
    "[sig-scheduling] LimitRange should list, patch and delete a LimitRange by collection [Conformance]"
)
def test_limit_ranges_by_collection() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(LIMITRANGES)
        await api.create({"metadata": meta("l", labels={"l": "x"}), "spec": {"limits": [LIMITS]}})
        assert len(await api.everywhere("l=x")) == 1
        patch = {
            "metadata": {"labels": {"l": "patched"}},
            "spec": {"limits": [{"type": "Container", "max": {"cpu": "600m"}}]},
        }
        patched = await api.patch("l", patch, "strategic")
        assert patched["spec"]["limits"][0]["max"]["cpu"] == "600m"
        await api.delete_all("l=patched")
        assert await api.everywhere("l=patched") == []

    run(scenario)
