"""PodSecurity as an admission rule: pods are refused, workloads are warned of, namespaces looked into."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from skiff.api.errors import Cause, Invalid
from skiff.api.resources import NAMESPACES, PODS, Resource
from skiff.server.admission.pod_security.levels import (
    LABEL_PREFIX,
    Policies,
    Policy,
    policies_of,
    violations,
)
from skiff.server.admission.rule import CREATE, UPDATE, Object, Rule, refuse
from skiff.server.seams import Attributes, Objects

# Where a workload keeps its pod's template.
_TEMPLATES: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "podtemplates"): ("template",),
    ("", "replicationcontrollers"): ("spec", "template"),
    ("apps", "replicasets"): ("spec", "template"),
    ("apps", "deployments"): ("spec", "template"),
    ("apps", "statefulsets"): ("spec", "template"),
    ("apps", "daemonsets"): ("spec", "template"),
    ("batch", "jobs"): ("spec", "template"),
    ("batch", "cronjobs"): ("spec", "jobTemplate", "spec", "template"),
}
# A namespace whose labels change has at most this many of its pods looked into for the warning.
NAMESPACE_PODS_MAX = 3000
_INSIGNIFICANT = ("activeDeadlineSeconds", "tolerations")


class _Known(NamedTuple):
    stored: bytes
    policies: Policies


class PodSecurity(Rule):
    """See the package's text."""

    name = "PodSecurity"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._known: dict[str, _Known] = {}

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        if operation not in (CREATE, UPDATE):
            return False
        key = (resource.group, resource.plural)
        if key == ("", "pods"):
            return subresource in ("", "ephemeralcontainers")
        return not subresource and (key in _TEMPLATES or key == ("", "namespaces"))

    def validate(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        key = (attributes.resource.group, attributes.resource.plural)
        if key == ("", "namespaces"):
            self._namespace(attributes, obj, old)
            return
        policies = self._policies(attributes.namespace)
        if policies.privileged:
            return
        if key == ("", "pods"):
            self._pod(attributes, obj, old, policies)
        else:
            template: Any = obj
            for step in _TEMPLATES[key]:
                template = (template or {}).get(step)
            if template:
                self._advise(
                    attributes, template.get("metadata") or {}, template.get("spec") or {}, policies
                )

    def _policies(self, namespace: str) -> Policies:
        stored = self._objects.get_bytes(NAMESPACES, namespace)
        if stored is None:
            return Policies()
        known = self._known.get(namespace)
        if known is None or known.stored is not stored:
            policies = Policies()
            if LABEL_PREFIX.encode() in stored:
                labels = orjson.loads(stored)["metadata"].get("labels") or {}
                policies, _ = policies_of(labels)
            if len(self._known) > 10_000:  # namespaces that are long gone stay until then
                self._known.clear()
            known = self._known[namespace] = _Known(stored, policies)
        return known.policies

    def _pod(
        self, attributes: Attributes, pod: Object, old: Object | None, policies: Policies
    ) -> None:
        if old is not None and not attributes.subresource and not _significant(pod, old):
            return
        wrong = violations(policies.enforce, pod["metadata"], pod["spec"])
        attributes.annotations[LABEL_PREFIX + "enforce-policy"] = str(policies.enforce)
        if wrong:
            raise refuse(attributes, pod, f'violates PodSecurity "{policies.enforce}": {wrong}')
        self._advise(attributes, pod["metadata"], pod["spec"], policies)

    @staticmethod
    def _advise(
        attributes: Attributes,
        metadata: Mapping[str, Any],
        spec: Mapping[str, Any],
        policies: Policies,
    ) -> None:
        """Warn the client, and note for the audit log."""
        noted = violations(policies.audit, metadata, spec)
        if noted:
            attributes.annotations[LABEL_PREFIX + "audit-violations"] = (
                f'would violate PodSecurity "{policies.audit}": {noted}'
            )
        wrong = violations(policies.warn, metadata, spec)
        if wrong:
            attributes.warnings.append(f'would violate PodSecurity "{policies.warn}": {wrong}')

    def _namespace(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        labels = obj["metadata"].get("labels") or {}
        policies, errors = policies_of(labels)
        before, old_errors = policies_of(((old or {}).get("metadata") or {}).get("labels") or {})
        fresh = [e for e in errors if e not in old_errors]
        if fresh:
            name = obj["metadata"].get("name", "")
            causes = [
                Cause(
                    "FieldValueInvalid",
                    f'Invalid value: "{e.value}": {e.message}',
                    f"metadata.labels[{e.label}]",
                )
                for e in fresh
            ]
            texts = [f"{c.field}: {c.message}" for c in causes]
            text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
            raise Invalid(
                f'Namespace "{name}" is invalid: {text}', kind="Namespace", name=name, causes=causes
            )
        if old is None or policies.enforce == before.enforce or policies.enforce.privileged:
            return
        attributes.warnings += self._existing(obj["metadata"]["name"], policies.enforce)

    def _existing(self, namespace: str, policy: Policy) -> list[str]:
        """The pods that are there already and would be refused now, those that are alike together."""
        by_reason: dict[str, list[str]] = {}
        for raw in self._objects.list_bytes(PODS, namespace)[:NAMESPACE_PODS_MAX]:
            pod = orjson.loads(raw)
            wrong = violations(policy, pod["metadata"], pod["spec"])
            if wrong:
                reasons = ", ".join(part.partition(" (")[0] for part in _findings(wrong))
                by_reason.setdefault(reasons, []).append(pod["metadata"]["name"])
        if not by_reason:
            return []
        out = [
            f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{policy}"'
        ]
        for reasons, names in sorted(by_reason.items(), key=lambda kv: kv[1][0]):
            others = len(names) - 1
            who = names[0]
            if others:
                who += f" (and {others} other {'pod' if others == 1 else 'pods'})"
            out.append(f"{who}: {reasons}")
        return out


def _findings(text: str) -> list[str]:
    """The findings of a text of `violations`: split at the commas outside parentheses."""
    parts: list[str] = []
    depth = start = 0
    for at, char in enumerate(text):
        if char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        elif char == "," and not depth:
            parts.append(text[start:at].strip())
            start = at + 1
    parts.append(text[start:].strip())
    return parts


def _significant(pod: Object, old: Object) -> bool:
    """Whether an update touches what the standards are about."""
    if pod["metadata"].get("annotations") != old["metadata"].get("annotations"):
        return True

    def rest(spec: Mapping[str, Any]) -> dict[str, Any]:
        out = {k: v for k, v in spec.items() if k not in _INSIGNIFICANT}
        for part in ("containers", "initContainers"):
            if part in out:
                out[part] = [{k: v for k, v in c.items() if k != "image"} for c in out[part]]
        return out

    return rest(pod["spec"]) != rest(old["spec"])
