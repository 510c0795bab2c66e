"""Claims: what they say of where a pod may go."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pytest

from skiff.api.views.storage import StorageClass
from skiff.api.views.volume import PersistentVolume, PersistentVolumeClaim
from skiff.scheduler.volumes import choose
from tests.scheduler.objects import Columns, node, pod

BOUND = {"pv.kubernetes.io/bind-completed": "yes"}


class Shelf:
    """A `volumes.Storage` that tests fill."""

    def __init__(self, *objects: PersistentVolumeClaim | PersistentVolume | StorageClass) -> None:
        self._claims = {o.metadata.name: o for o in objects if isinstance(o, PersistentVolumeClaim)}
        self._volumes = {o.metadata.name: o for o in objects if isinstance(o, PersistentVolume)}
        self._classes = {o.metadata.name: o for o in objects if isinstance(o, StorageClass)}

    def claim(self, namespace: str, name: str) -> PersistentVolumeClaim | None:
        return self._claims.get(name) if namespace == "default" else None

    def volume(self, name: str) -> PersistentVolume | None:
        return self._volumes.get(name)

    def volumes(self) -> Iterable[PersistentVolume]:
        return self._volumes.values()

    def storage_class(self, name: str) -> StorageClass | None:
        return self._classes.get(name)


def claim(volume: str = "", *, size: str = "1Gi", **more: Any) -> PersistentVolumeClaim:
    metadata = {
        "name": "data",
        "namespace": "default",
        "uid": "uid-data",
        "annotations": BOUND if volume else {},
        **more.pop("metadata", {}),
    }
    spec = {
        "volumeName": volume,
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "local",
        "resources": {"requests": {"storage": size}},
        **more.pop("spec", {}),
    }
    return msgspec.convert({"metadata": metadata, "spec": spec, **more}, PersistentVolumeClaim)


def volume(name: str, on: str = "", *, size: str = "1Gi", **spec: Any) -> PersistentVolume:
    term = {
        "matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [on]}]
    }
    affinity = {"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}} if on else {}
    return msgspec.convert(
        {
            "metadata": {"name": name, "labels": {"name": name}},
            "spec": {
                "capacity": {"storage": size},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "local",
                **affinity,
                **spec,
            },
            "status": {"phase": "Available"},
        },
        PersistentVolume,
    )


def storage_class(mode: str = "WaitForFirstConsumer", **more: Any) -> StorageClass:
    provisioner = more.pop("provisioner", "kubernetes.io/no-provisioner")
    plain = {"metadata": {"name": "local"}, "volumeBindingMode": mode, "provisioner": provisioner}
    return msgspec.convert({**plain, **more}, StorageClass)


USES = pod(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}])
EPHEMERAL = pod("p", volumes=[{"name": "v", "ephemeral": {}}])


def columns(*objects: PersistentVolumeClaim | PersistentVolume | StorageClass) -> Columns:
    return Columns(node("n1"), node("n2"), storage=Shelf(*objects))


def owned(uid: str) -> Mapping[str, Any]:
    owner = {"controller": True, "uid": uid, "kind": "Pod", "name": "p"}
    return {"name": "p-v", "ownerReferences": [owner]}


@pytest.mark.parametrize(
    ("uses", "objects", "reason"),
    [
        (USES, [], 'persistentvolumeclaim "data" not found'),
        (
            EPHEMERAL,
            [],
            'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-v"',
        ),
        (
            EPHEMERAL,
            [claim("pv", metadata=owned("somebody"))],
            'PersistentVolumeClaim "p-v" was not created for pod "p" (pod is not owner)',
        ),
        (USES, [claim()], "pod has unbound immediate PersistentVolumeClaims"),
        (
            USES,
            [claim(), storage_class("Immediate")],
            "pod has unbound immediate PersistentVolumeClaims",
        ),
        (
            USES,
            [claim("pv", metadata={"annotations": {}})],
            "pod has unbound immediate PersistentVolumeClaims",
        ),
        (
            USES,
            [claim(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})],
            'persistentvolumeclaim "data" is being deleted',
        ),
        (
            USES,
            [claim("pv", status={"phase": "Lost"})],
            'persistentvolumeclaim "data" bound to non-existent persistentvolume "pv"',
        ),
    ],
)
def test_what_lies_in_the_claim_speaks_for_all_nodes(uses: Any, objects: Any, reason: str) -> None:
    refusal = columns(*objects).decide(uses)
    assert not isinstance(refusal, str)
    helps = "0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    assert refusal.message(helps) == (
        f"0/2 nodes are available: {reason}. no new claims to deallocate, preemption: {helps}"
    )
    assert not refusal.resolvable.any()


def test_a_bound_claim_ties_the_pod_to_its_volume() -> None:
    assert columns(claim("pv"), volume("pv", on="n2")).feasible(USES) == {"n2"}
    assert columns(claim("pv"), volume("pv")).feasible(USES) == {"n1", "n2"}
    elsewhere = columns(claim("pv"), volume("pv", on="n3"))
    assert elsewhere.reasons(USES) == {"node(s) didn't match PersistentVolume's node affinity": 2}
    gone = columns(claim("pv"))
    words = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
    assert gone.reasons(USES) == {words: 2}


def test_an_ephemeral_claim_of_the_pod_itself() -> None:
    mine = claim("pv", metadata=owned("uid-default-p"))
    assert columns(mine, volume("pv", on="n1")).feasible(EPHEMERAL) == {"n1"}


@pytest.mark.parametrize(
    ("found", "fits"),
    [
        (volume("v", on="n1"), True),
        (volume("v", on="n1", size="500Mi"), False),
        (volume("v", on="n1", storageClassName="other"), False),
        (volume("v", on="n1", accessModes=["ReadOnlyMany"]), False),
        (volume("v", on="n1", volumeMode="Block"), False),
        (volume("v", on="n1", claimRef={"namespace": "default", "name": "other"}), False),
        (volume("v", on="n1", claimRef={"namespace": "default", "name": "data"}), True),
        (
            volume("v", on="n1", claimRef={"namespace": "default", "name": "data", "uid": "old"}),
            False,
        ),
    ],
)
def test_a_claim_that_waits_is_matched_with_volumes(found: PersistentVolume, fits: bool) -> None:
    waiting = columns(claim(), storage_class(), found)
    if fits:
        assert waiting.feasible(USES) == {"n1"}
    else:
        words = "node(s) didn't find available persistent volumes to bind"
        assert waiting.reasons(USES) == {words: 2}


def test_a_claim_that_waits_may_get_a_volume_made() -> None:
    made = columns(claim(), storage_class(provisioner="csi.example.com"))
    assert made.feasible(USES) == {"n1", "n2"}
    term = {"matchLabelExpressions": [{"key": "kubernetes.io/hostname", "values": ["n2"]}]}
    only = storage_class(provisioner="csi.example.com", allowedTopologies=[term])
    assert columns(claim(), only).feasible(USES) == {"n2"}


def test_the_smallest_volume_that_fits_is_chosen() -> None:
    shelf = Shelf(
        claim(size="2Gi"),
        storage_class(),
        volume("large", size="9Gi"),
        volume("right", size="2Gi"),
        volume("small", size="1Gi"),
    )
    shape = Columns(node("n")).shape(USES)
    assert choose(shelf, shape, lambda _: True) == [("data", "right")]
    assert choose(shelf, shape, lambda _: False) == [("data", "")]
    assert choose(Shelf(claim("pv")), shape, lambda _: True) == []


def test_a_claim_for_one_pod_only() -> None:
    alone = columns(claim("pv", spec={"accessModes": ["ReadWriteOncePod"]}), volume("pv"))
    assert alone.feasible(USES) == {"n1", "n2"}
    first = pod("first", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}])
    alone.place("n1", first)
    words = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
    assert alone.reasons(USES) == {words: 2}
    alone.nodes.take("uid-default-first")
    assert alone.feasible(USES) == {"n1", "n2"}
    shared = columns(claim("pv"), volume("pv"))
    shared.place("n1", first)
    assert shared.feasible(USES) == {"n1", "n2"}
