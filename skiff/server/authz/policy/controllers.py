"""One role for each controller, bound to its service account in kube-system.

All controllers run in one process, as the user system:kube-controller-manager, which each role is
bound to as well.
"""

from skiff.server.authz.policy.notation import EVENTS, READ, Binding, Role

_APPS = "apps extensions"
_PODS = "create delete list patch watch | core | pods"
_REVISIONS = f"create delete patch update {READ} | apps | controllerrevisions"
_EVERY = "create delete get list patch update watch"

_RULES: dict[str, tuple[str, ...]] = {
    "attachdetach-controller": (
        "list watch | core | persistentvolumeclaims persistentvolumes",
        f"{READ} | core | nodes",
        "patch update | core | nodes/status",
        "list watch | core | pods",
        EVENTS,
        f"create delete {READ} | storage.k8s.io | volumeattachments",
        f"{READ} | storage.k8s.io | csidrivers csinodes",
    ),
    "certificate-controller": (
        f"delete {READ} | certificates.k8s.io | certificatesigningrequests",
        (
            "update | certificates.k8s.io | certificatesigningrequests/status"
            " certificatesigningrequests/approval"
        ),
        "approve | certificates.k8s.io | signers | kubernetes.io/kube-apiserver-client-kubelet",
        (
            "sign | certificates.k8s.io | signers | kubernetes.io/legacy-unknown"
            " kubernetes.io/kubelet-serving kubernetes.io/kube-apiserver-client"
            " kubernetes.io/kube-apiserver-client-kubelet"
        ),
        "create | authorization.k8s.io | subjectaccessreviews",
        EVENTS,
    ),
    "clusterrole-aggregation-controller": (
        f"escalate patch update {READ} | rbac.authorization.k8s.io | clusterroles",
    ),
    "cronjob-controller": (
        f"update {READ} | batch | cronjobs",
        f"{_EVERY} | batch | jobs",
        "update | batch | cronjobs/status",
        "update | batch | cronjobs/finalizers",
        "delete list | core | pods",
        EVENTS,
    ),
    "daemon-set-controller": (
        f"{READ} | {_APPS} | daemonsets",
        f"update | {_APPS} | daemonsets/status",
        f"update | {_APPS} | daemonsets/finalizers",
        "list watch | core | nodes",
        _PODS,
        "create | core | pods/binding",
        _REVISIONS,
        EVENTS,
    ),
    "deployment-controller": (
        f"update {READ} | {_APPS} | deployments",
        f"update | {_APPS} | deployments/status",
        f"update | {_APPS} | deployments/finalizers",
        f"{_EVERY} | {_APPS} | replicasets",
        f"update {READ} | core | pods",
        EVENTS,
    ),
    "device-taint-eviction-controller": (
        f"delete {READ} | core | pods",
        "patch update | core | pods/status",
        f"{READ} | resource.k8s.io | resourceclaims resourceslices devicetaintrules deviceclasses",
        EVENTS,
    ),
    "disruption-controller": (
        f"{READ} | {_APPS} | deployments",
        f"{READ} | {_APPS} | replicasets",
        f"{READ} | core | replicationcontrollers",
        f"{READ} | policy | poddisruptionbudgets",
        f"{READ} | apps | statefulsets",
        "update | policy | poddisruptionbudgets/status",
        f"{READ} | core | pods",
        "patch | core | pods/status",
        "get | * | */scale",
        EVENTS,
    ),
    "endpoint-controller": (
        f"{READ} | core | pods services",
        "create delete get list update | core | endpoints",
        "create | core | endpoints/restricted",
        EVENTS,
    ),
    "endpointslice-controller": (
        f"{READ} | core | nodes pods services",
        "update | core | services/finalizers",
        "create delete get list update | discovery.k8s.io | endpointslices",
        "create | discovery.k8s.io | endpointslices/restricted",
        EVENTS,
    ),
    "endpointslicemirroring-controller": (
        f"{READ} | core | endpoints services",
        "update | core | services/finalizers endpoints/finalizers",
        "create delete get list update | discovery.k8s.io | endpointslices",
        "create | discovery.k8s.io | endpointslices/restricted",
        EVENTS,
    ),
    "ephemeral-volume-controller": (
        f"{READ} | core | pods",
        "update | core | pods/finalizers",
        f"create {READ} | core | persistentvolumeclaims",
        EVENTS,
    ),
    "expand-controller": (
        f"patch update {READ} | core | persistentvolumes",
        f"{READ} | core | persistentvolumeclaims",
        "patch update | core | persistentvolumeclaims/status",
        f"{READ} | storage.k8s.io | storageclasses",
        "get | core | endpoints services",
        "get | core | secrets",
        EVENTS,
    ),
    "generic-garbage-collector": (f"delete patch update {READ} | * | *", EVENTS),
    "horizontal-pod-autoscaler": (
        f"{READ} | autoscaling | horizontalpodautoscalers",
        "update | autoscaling | horizontalpodautoscalers/status",
        "get update | * | */scale",
        "list | core | pods",
        "list | metrics.k8s.io | pods",
        "get list | custom.metrics.k8s.io | *",
        "get list | external.metrics.k8s.io | *",
        EVENTS,
    ),
    "job-controller": (
        f"patch update {READ} | batch | jobs",
        "update | batch | jobs/status",
        "update | batch | jobs/finalizers",
        _PODS,
        EVENTS,
    ),
    "legacy-service-account-token-cleaner": (
        "get | core | configmaps | kube-apiserver-legacy-service-account-token-tracking",
        "delete patch | core | secrets",
    ),
    "namespace-controller": (
        f"delete {READ} | core | namespaces",
        "update | core | namespaces/finalize namespaces/status",
        "delete deletecollection get list | * | *",
    ),
    "node-controller": (
        "delete get list patch update | core | nodes",
        "patch update | core | nodes/status",
        "patch update | core | pods/status",
        "delete list | core | pods",
        "get list watch create update patch delete | coordination.k8s.io | leases",
        EVENTS,
    ),
    "persistent-volume-binder": (
        f"create delete update {READ} | core | persistentvolumes",
        "update | core | persistentvolumes/status",
        f"update {READ} | core | persistentvolumeclaims",
        "update | core | persistentvolumeclaims/status",
        f"create delete {READ} | core | pods",
        f"{READ} | storage.k8s.io | storageclasses",
        "get | core | secrets",
        f"{READ} | core | nodes",
        "create delete get update | core | endpoints services",
        EVENTS,
    ),
    "pod-garbage-collector": (
        "delete list watch | core | pods",
        f"{READ} | core | nodes",
        "patch | core | pods/status",
    ),
    "pv-protection-controller": (
        f"update {READ} | core | persistentvolumes",
        EVENTS,
    ),
    "pvc-protection-controller": (
        f"update {READ} | core | persistentvolumeclaims",
        f"{READ} | core | pods",
        EVENTS,
    ),
    "replicaset-controller": (
        f"update {READ} | {_APPS} | replicasets",
        f"update | {_APPS} | replicasets/status",
        f"update | {_APPS} | replicasets/finalizers",
        _PODS,
        EVENTS,
    ),
    "replication-controller": (
        f"update {READ} | core | replicationcontrollers",
        "update | core | replicationcontrollers/status",
        "update | core | replicationcontrollers/finalizers",
        _PODS,
        EVENTS,
    ),
    "resource-claim-controller": (
        f"{READ} | core | pods",
        "update | core | pods/finalizers",
        "patch | core | pods/status",
        f"create delete {READ} | resource.k8s.io | resourceclaims",
        "patch update | resource.k8s.io | resourceclaims resourceclaims/status",
        f"{READ} | resource.k8s.io | resourceclaimtemplates deviceclasses",
        EVENTS,
    ),
    "resourcequota-controller": (
        "list watch | * | *",
        "update | core | resourcequotas/status",
        EVENTS,
    ),
    "root-ca-cert-publisher": ("create update | core | configmaps", EVENTS),
    "route-controller": ("list watch | core | nodes", "patch | core | nodes/status", EVENTS),
    "selinux-warning-controller": (
        f"{READ} | core | persistentvolumes persistentvolumeclaims pods",
        f"{READ} | storage.k8s.io | csidrivers",
        EVENTS,
    ),
    "service-account-controller": ("create | core | serviceaccounts", EVENTS),
    "service-cidrs-controller": (
        f"patch update {READ} | networking.k8s.io | servicecidrs",
        "patch update | networking.k8s.io | servicecidrs/finalizers",
        "patch update | networking.k8s.io | servicecidrs/status",
        f"{READ} | networking.k8s.io | ipaddresses",
        EVENTS,
    ),
    "service-controller": (
        f"{READ} | core | services",
        "patch update | core | services/status",
        "list watch | core | nodes",
        EVENTS,
    ),
    "statefulset-controller": (
        "list watch | core | pods",
        f"{READ} | apps | statefulsets",
        "update | apps | statefulsets/status",
        "update | apps | statefulsets/finalizers",
        "create delete get patch update | core | pods",
        _REVISIONS,
        "create delete get list update watch | core | persistentvolumeclaims",
        EVENTS,
    ),
    "storage-version-migrator-controller": (
        f"{READ} update | storagemigration.k8s.io | storageversionmigrations",
        "update | storagemigration.k8s.io | storageversionmigrations/status",
        "get list patch | * | *",
    ),
    "taint-eviction-controller": (
        "delete get list watch | core | pods",
        "patch update | core | pods/status",
        f"{READ} | core | nodes",
        EVENTS,
    ),
    "ttl-after-finished-controller": (f"delete {READ} | batch | jobs", EVENTS),
    "ttl-controller": ("list patch update watch | core | nodes", EVENTS),
    "validatingadmissionpolicy-status-controller": (
        f"{READ} | admissionregistration.k8s.io | validatingadmissionpolicies",
        "get patch update | admissionregistration.k8s.io | validatingadmissionpolicies/status",
        EVENTS,
    ),
    "volumeattributesclass-protection-controller": (
        f"{READ} | core | persistentvolumeclaims persistentvolumes",
        f"update {READ} | storage.k8s.io | volumeattributesclasses",
        EVENTS,
    ),
}

ROLES: tuple[Role, ...] = tuple(
    Role(f"system:controller:{name}", rules) for name, rules in _RULES.items()
)
BINDINGS: tuple[Binding, ...] = tuple(
    Binding(
        f"system:controller:{name}",
        (f"SA:kube-system/{name}", "User:system:kube-controller-manager"),
    )
    for name in _RULES
)
