"""The admission rules, in order. Kubernetes' order, where both have the rule.

A row's place matters where a rule reads what an earlier one wrote; the reasons stand beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from skiff.aio.entropy import Entropy
from skiff.server.admission import optional
from skiff.server.admission.certificates import (
    CertificateApproval,
    CertificateRequester,
    CertificateSigning,
    CertificateSubjectRestriction,
)
from skiff.server.admission.chain import AdmissionChain
from skiff.server.admission.escalation import Escalation
from skiff.server.admission.ingress import DefaultIngressClass
from skiff.server.admission.limit_ranger import LimitRanger
from skiff.server.admission.namespace_lifecycle import NamespaceLifecycle
from skiff.server.admission.nodes import NodeRestriction, TaintNodesByCondition
from skiff.server.admission.pod_security import PodSecurity
from skiff.server.admission.priority import Priority
from skiff.server.admission.quota import Ledger, ResourceQuota
from skiff.server.admission.rule import RemoteRule, Rule
from skiff.server.admission.runtime_class import RuntimeClass
from skiff.server.admission.service_account import ServiceAccount
from skiff.server.admission.storage import (
    DefaultStorageClass,
    PersistentVolumeClaimResize,
    StorageObjectInUseProtection,
)
from skiff.server.admission.tolerations import DefaultTolerationSeconds
from skiff.server.admission.topology_labels import PodTopologyLabels
from skiff.server.authz.chain import AuthorizationChain
from skiff.server.authz.escalation import EscalationCheck
from skiff.server.seams import Objects

# Off unless they are asked for.
DISABLED = (
    "AlwaysPullImages",
    "OwnerReferencesPermissionEnforcement",
    "ExtendedResourceToleration",
    "DenyServiceExternalIPs",
    "AlwaysDeny",
)

# Plugins of kube-apiserver without a rule here: they may be turned off, as they are off.
ABSENT = frozenset(
    {
        "AlwaysAdmit",
        "ClusterTrustBundleAttest",
        "EventRateLimit",
        "ImagePolicyWebhook",
        "LimitPodHardAntiAffinityTopology",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionWebhook",
        "NamespaceAutoProvision",
        "NamespaceExists",
        "NodeDeclaredFeatureValidator",
        "PodNodeSelector",
        "PodTolerationRestriction",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionWebhook",
    }
)


@dataclass(frozen=True, slots=True)
class Needs:
    """What rules are made from."""

    objects: Objects
    entropy: Entropy
    authorizer: AuthorizationChain
    ledger: Ledger


def rules(needs: Needs) -> tuple[Rule, ...]:
    """The rules that run before webhooks and policies."""
    objects, authorizer = needs.objects, needs.authorizer
    return (
        NamespaceLifecycle(objects),  # first: nothing else is worth doing in a missing namespace
        LimitRanger(objects),  # before whatever counts requests
        ServiceAccount(objects, needs.entropy),
        NodeRestriction(objects),
        TaintNodesByCondition(),
        optional.AlwaysPullImages(),
        PodSecurity(objects),
        Priority(objects),
        DefaultTolerationSeconds(),
        optional.ExtendedResourceToleration(),
        DefaultStorageClass(objects),
        StorageObjectInUseProtection(),
        optional.OwnerReferencesPermissionEnforcement(authorizer),
        PersistentVolumeClaimResize(objects),
        RuntimeClass(objects),
        CertificateRequester(),
        CertificateApproval(authorizer),
        CertificateSigning(authorizer),
        CertificateSubjectRestriction(),
        DefaultIngressClass(objects),
        optional.DenyServiceExternalIPs(),
        PodTopologyLabels(objects),
        Escalation(EscalationCheck(authorizer)),
    )


def last_rules(needs: Needs) -> tuple[Rule, ...]:
    """The rules that see what webhooks made of the object."""
    return (
        ResourceQuota(needs.ledger),  # it charges: nothing may refuse after it
        optional.AlwaysDeny(),
    )


def build(
    needs: Needs,
    *,
    enabled: Sequence[str] = (),
    disabled: Sequence[str] = (),
    remote: Sequence[RemoteRule] = (),
) -> AdmissionChain:
    """The chain; `enabled` and `disabled` name rules beside the default set. Raises ValueError for
    a name that no rule has, and for one that is to be both."""
    first, last = rules(needs), last_rules(needs)
    known = {rule.name for rule in (*first, *last)}
    unknown = sorted({*enabled} - known | {*disabled} - known - ABSENT)
    if both := sorted({*enabled} & {*disabled}):
        raise ValueError(
            f"{', '.join(both)} in enable-admission-plugins and disable-admission-plugins overlapped"
        )
    if unknown:
        raise ValueError(f"unknown admission plugins: {', '.join(unknown)}")
    off = {*disabled, *(n for n in DISABLED if n not in enabled)}
    return AdmissionChain(
        [r for r in first if r.name not in off], [r for r in last if r.name not in off], remote
    )
