"""The admission rules, in order. Kubernetes' order, where both have the rule.

A row's place matters where a rule reads what an earlier one wrote; the reasons stand beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from skiff.aio.entropy import Entropy
from skiff.server.admission.chain import AdmissionChain
from skiff.server.admission.escalation import Escalation
from skiff.server.admission.ingress import DefaultIngressClass
from skiff.server.admission.namespace_lifecycle import NamespaceLifecycle
from skiff.server.admission.nodes import NodeRestriction, TaintNodesByCondition
from skiff.server.admission.priority import Priority
from skiff.server.admission.rule import RemoteRule, Rule
from skiff.server.admission.service_account import ServiceAccount
from skiff.server.admission.storage import (
    DefaultStorageClass,
    PersistentVolumeClaimResize,
    StorageObjectInUseProtection,
)
from skiff.server.admission.tolerations import DefaultTolerationSeconds
from skiff.server.authz.chain import AuthorizationChain
from skiff.server.authz.escalation import EscalationCheck
from skiff.server.seams import Objects


@dataclass(frozen=True, slots=True)
class Needs:
    """What rules are made from."""

    objects: Objects
    entropy: Entropy
    authorizer: AuthorizationChain


def rules(needs: Needs) -> tuple[Rule, ...]:
    """The rules that run before webhooks and policies."""
    objects = needs.objects
    return (
        NamespaceLifecycle(objects),  # first: nothing else is worth doing in a missing namespace
        ServiceAccount(objects, needs.entropy),
        NodeRestriction(objects),
        TaintNodesByCondition(),
        Priority(objects),
        DefaultTolerationSeconds(),
        DefaultStorageClass(objects),
        StorageObjectInUseProtection(),
        PersistentVolumeClaimResize(objects),
        DefaultIngressClass(objects),
        Escalation(EscalationCheck(needs.authorizer)),
    )


def last_rules(needs: Needs) -> tuple[Rule, ...]:  # noqa: ARG001 - filled below
    """The rules that see what webhooks made of the object."""
    return ()


def build(
    needs: Needs,
    *,
    disabled: Sequence[str] = (),
    remote: Sequence[RemoteRule] = (),
) -> AdmissionChain:
    """The chain; `disabled` names rules that are left out. Raises ValueError for an unknown name."""
    first, last = rules(needs), last_rules(needs)
    known = {rule.name for rule in (*first, *last)}
    unknown = sorted(set(disabled) - known)
    if unknown:
        raise ValueError(f"unknown admission plugins: {', '.join(unknown)}")
    return AdmissionChain(
        [r for r in first if r.name not in disabled],
        [r for r in last if r.name not in disabled],
        remote,
    )
