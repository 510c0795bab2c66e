"""What a kubelet may do, apart from the objects of its own pods (`authz/node.py` judges those)."""

from typing import Any

from skiff.server.authz.policy.notation import EVENTS, READ, rule

RULES: tuple[str, ...] = (
    "create | authentication.k8s.io | tokenreviews",
    "create | authorization.k8s.io | localsubjectaccessreviews subjectaccessreviews",
    f"{READ} | core | services",
    f"create {READ} | core | nodes",
    "patch update | core | nodes nodes/status",
    EVENTS,
    f"create delete {READ} | core | pods",
    "patch update | core | pods/status",
    "create | core | pods/eviction",
    f"{READ} | core | configmaps secrets",
    "get | core | persistentvolumeclaims persistentvolumes",
    "get | core | endpoints",
    f"create {READ} | certificates.k8s.io | certificatesigningrequests",
    f"{READ} | certificates.k8s.io | clustertrustbundles",
    f"create {READ} | certificates.k8s.io | podcertificaterequests",
    "get update patch create delete | coordination.k8s.io | leases",
    "get | storage.k8s.io | volumeattachments",
    "create | core | serviceaccounts/token",
    "get | core | serviceaccounts",
    "get patch update | core | persistentvolumeclaims/status",
    f"{READ} | storage.k8s.io | csidrivers",
    "create delete get patch update | storage.k8s.io | csinodes",
    f"{READ} | node.k8s.io | runtimeclasses",
    "get | resource.k8s.io | resourceclaims",
    "deletecollection list watch create delete get patch update | resource.k8s.io | resourceslices",
)

NODE_RULES: tuple[dict[str, Any], ...] = tuple(rule(r) for r in RULES)
