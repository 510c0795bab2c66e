"""What a StatefulSet's pod of an ordinal is called, and what claims it has. Pure.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#pod-identity.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from skiff.api.views.apps import StatefulSet
from skiff.api.views.base import as_json
from skiff.api.views.core import PersistentVolumeClaim, Pod
from skiff.api.views.meta import OwnerReference
from skiff.client.references import controller_reference
from skiff.controllers import template
from skiff.controllers.history import HASH_LABEL

POD_NAME_LABEL: Final = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL: Final = "apps.kubernetes.io/pod-index"
_NAME: Final = re.compile(r"(.*)-([0-9]+)")


def replicas_of(owner: StatefulSet) -> int:
    """`spec.replicas`, 1 where absent."""
    return 1 if owner.spec.replicas is None else owner.spec.replicas


def start_of(owner: StatefulSet) -> int:
    """The first ordinal."""
    return (owner.spec.ordinals.start or 0) if owner.spec.ordinals else 0


def ordinal_of(owner: StatefulSet, pod: Pod) -> int | None:
    """The pod's ordinal; None where its name is not one of the set's."""
    found = _NAME.fullmatch(pod.metadata.name)
    return int(found[2]) if found and found[1] == owner.metadata.name else None


def labels_of(name: str, ordinal: int) -> dict[str, str]:
    """The labels that tell the pod of an ordinal."""
    return {POD_NAME_LABEL: name, POD_INDEX_LABEL: str(ordinal)}


def pod_for(
    owner: StatefulSet, pod_template: template.Template, ordinal: int, revision: str
) -> dict[str, Any]:
    """The pod of an ordinal."""
    name = f"{owner.metadata.name}-{ordinal}"
    pod = template.pod_of_template(owner, pod_template)
    metadata = pod["metadata"]
    metadata.pop("generateName")
    metadata["name"] = name
    metadata["labels"] = {
        **(metadata.get("labels") or {}),
        **labels_of(name, ordinal),
        HASH_LABEL: revision,
    }
    spec = dict(pod["spec"])
    spec["hostname"] = name
    if owner.spec.service_name:
        spec["subdomain"] = owner.spec.service_name
    claims = {t.metadata.name: claim_name(owner, t, ordinal) for t in claim_templates(owner)}
    if claims:
        kept = [v for v in spec.get("volumes") or () if v["name"] not in claims]
        spec["volumes"] = kept + [
            {"name": volume, "persistentVolumeClaim": {"claimName": claim}}
            for volume, claim in claims.items()
        ]
    pod["spec"] = spec
    return pod


def claim_templates(owner: StatefulSet) -> Sequence[PersistentVolumeClaim]:
    """The set's claim templates."""
    return owner.spec.volume_claim_templates


def claim_name(owner: StatefulSet, claim: PersistentVolumeClaim, ordinal: int) -> str:
    """The name of the claim that an ordinal has of a template."""
    return f"{claim.metadata.name}-{owner.metadata.name}-{ordinal}"


def claim_for(owner: StatefulSet, claim: PersistentVolumeClaim, ordinal: int) -> dict[str, Any]:
    """The claim of an ordinal, made of its template."""
    selector = owner.spec.selector.match_labels if owner.spec.selector else {}
    metadata: dict[str, Any] = {
        "name": claim_name(owner, claim, ordinal),
        "namespace": owner.metadata.namespace,
        "labels": {**claim.metadata.labels, **selector},
    }
    if claim.metadata.annotations:
        metadata["annotations"] = claim.metadata.annotations
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": as_json(claim.spec),
    }


def claim_owners(
    owner: StatefulSet, pod: Pod, ordinal: int, current: Sequence[OwnerReference]
) -> list[dict[str, Any]] | None:
    """The claim's ownerReferences under the retention policy; None where they are right.

    Source: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/
    #persistentvolumeclaim-retention.
    """
    policy = owner.spec.persistent_volume_claim_retention_policy
    when_deleted = policy.when_deleted if policy else "Retain"
    when_scaled = policy.when_scaled if policy else "Retain"
    condemned = ordinal not in range(start_of(owner), start_of(owner) + replicas_of(owner))
    mine = {owner.metadata.uid, pod.metadata.uid}
    wanted = [as_json(r) for r in current if r.uid not in mine]
    if condemned and when_scaled == "Delete":
        reference = {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": pod.metadata.name,
            "uid": pod.metadata.uid,
        }
        wanted.append(reference)
    elif when_deleted == "Delete":
        reference = controller_reference(owner)
        reference.pop("controller")
        reference.pop("blockOwnerDeletion")
        wanted.append(reference)
    have = sorted(r.uid for r in current)
    return None if have == sorted(r["uid"] for r in wanted) else wanted
