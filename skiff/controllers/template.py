"""Pod templates as JSON: making pods of them, comparing them, naming them by their hash. Pure.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#pod-template-hash-label.
"""

import hashlib
from functools import lru_cache
from typing import Any, Final

import msgspec

from skiff.aio.entropy import SUFFIX_ALPHABET
from skiff.api.views.base import ObjectView
from skiff.api.views.core import PodSpec
from skiff.client.references import controller_reference

HASH_LABEL: Final = "pod-template-hash"

Template = dict[str, Any]


class _Meta(msgspec.Struct):
    labels: dict[str, str] = {}


class _Labelled(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)


_labels_decoder = msgspec.json.Decoder(_Labelled)


def template_labels(template: msgspec.Raw) -> dict[str, str]:
    """The labels that the template gives its pods."""
    return _labels_decoder.decode(template).metadata.labels


class _Specified(msgspec.Struct):
    spec: PodSpec = PodSpec()


_spec_decoder = msgspec.json.Decoder(_Specified)


def pod_spec(template: msgspec.Raw) -> PodSpec:
    """The template's pod spec, as a view."""
    return _spec_decoder.decode(template).spec


def parse(template: msgspec.Raw) -> Template:
    """The template as a dict of its own."""
    parsed: Template = msgspec.json.decode(template)
    return parsed


def pod_of_template(owner: ObjectView, template: Template) -> dict[str, Any]:
    """The pod that `owner` creates: named after it, controlled by it, and else as the template."""
    given = template.get("metadata") or {}
    metadata: dict[str, Any] = {
        "generateName": f"{owner.metadata.name}-",
        "namespace": owner.metadata.namespace,
    }
    for name in ("labels", "annotations", "finalizers"):
        if given.get(name):
            metadata[name] = given[name]
    metadata["ownerReferences"] = [controller_reference(owner)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": template.get("spec") or {},
    }


def without_hash(template: Template) -> Template:
    """The template without the hash label: what a rollout compares."""
    metadata = dict(template.get("metadata") or {})
    labels = {k: v for k, v in (metadata.pop("labels", None) or {}).items() if k != HASH_LABEL}
    metadata.pop("creationTimestamp", None)
    if labels:
        metadata["labels"] = labels
    return {**template, "metadata": metadata}


@lru_cache(maxsize=1024)
def _hash(canonical: bytes, collisions: int | None) -> str:
    digest = hashlib.sha256(canonical + str(collisions or "").encode()).digest()
    number = int.from_bytes(digest[:4], "big")
    return safe_encode(str(number))


def template_hash(template: Template, collisions: int | None) -> str:
    """A short name for the template's content; a collision count makes another."""
    return _hash(msgspec.json.encode(without_hash(template), order="deterministic"), collisions)


def safe_encode(text: str) -> str:
    """`text` in the alphabet of generated names, as Kubernetes encodes hashes."""
    return "".join(SUFFIX_ALPHABET[ord(c) % len(SUFFIX_ALPHABET)] for c in text)
