"""The roles of the cluster's own components: nodes, proxy, DNS, scheduler, controller manager."""

from skiff.server.authz.policy import nodes
from skiff.server.authz.policy.notation import EVENTS, READ, Binding, Role

_CONTROLLER_MANAGER = "User:system:kube-controller-manager"
_SCHEDULER = "User:system:kube-scheduler"
_PROXY = "User:system:kube-proxy"
_SIGNER = "certificates.k8s.io | signers | kubernetes.io"


def _leader_locking(component: str) -> Role:
    return Role(
        f"system::leader-locking-{component}",
        ("watch | core | configmaps", f"get update | core | configmaps | {component}"),
        namespace="kube-system",
    )


def _approver(name: str) -> Role:
    return Role(f"system:certificates.k8s.io:{name}-approver", (f"approve | {_SIGNER}/{name}",))


ROLES: tuple[Role, ...] = (
    Role(
        "system:heapster",
        (
            f"{READ} | core | events pods nodes namespaces",
            f"{READ} | extensions | deployments",
        ),
    ),
    Role("system:node", nodes.RULES),
    Role(
        "system:node-problem-detector",
        ("get | core | nodes", "patch | core | nodes/status", EVENTS),
    ),
    Role(
        "system:node-proxier",
        (
            "list watch | core | services endpoints",
            f"{READ} | core | nodes",
            EVENTS,
            "list watch | discovery.k8s.io | endpointslices",
            "list watch | networking.k8s.io | servicecidrs",
        ),
    ),
    Role(
        "system:kubelet-api-admin",
        (
            f"{READ} | core | nodes",
            "proxy | core | nodes",
            (
                "* | core | nodes/log nodes/metrics nodes/proxy nodes/stats nodes/configz nodes/healthz"
                " nodes/pods"
            ),
        ),
    ),
    Role(
        "system:node-bootstrapper",
        (f"create {READ} | certificates.k8s.io | certificatesigningrequests",),
    ),
    Role("system:kube-aggregator", (f"{READ} | core | services endpoints",)),
    Role(
        "system:kube-controller-manager",
        (
            EVENTS,
            "create | coordination.k8s.io | leases",
            "get update | coordination.k8s.io | leases | kube-controller-manager",
            "create | core | secrets serviceaccounts",
            "delete | core | secrets",
            "get | core | configmaps namespaces secrets serviceaccounts",
            "update | core | secrets serviceaccounts",
            "create | authentication.k8s.io | tokenreviews",
            "create | authorization.k8s.io | subjectaccessreviews",
            "list watch | * | *",
            "create | core | serviceaccounts/token",
            f"create delete update {READ} | coordination.k8s.io | leasecandidates",
        ),
    ),
    Role("system:kube-dns", ("list watch | core | endpoints services",)),
    # The node process answers DNS itself, as the proxy's user.
    Role(
        "skiff:dns",
        (
            "list watch | core | services namespaces pods",
            "list watch | discovery.k8s.io | endpointslices",
            "list watch | networking.k8s.io | networkpolicies",
        ),
    ),
    # It also makes the Service kube-dns and says where it answers.
    Role(
        "skiff:dns",
        (
            "create get | core | services",
            "create get update patch | discovery.k8s.io | endpointslices",
        ),
        namespace="kube-system",
    ),
    Role(
        "system:kube-scheduler",
        (
            EVENTS,
            "create | coordination.k8s.io | leases",
            "get list update watch | coordination.k8s.io | leases | kube-scheduler",
            f"create delete update {READ} | coordination.k8s.io | leasecandidates",
            f"{READ} | core | nodes",
            f"delete {READ} | core | pods",
            "create | core | bindings pods/binding",
            "patch update | core | pods/status",
            f"{READ} | core | replicationcontrollers services",
            f"{READ} | apps extensions | replicasets",
            f"{READ} | apps | statefulsets",
            f"{READ} | policy | poddisruptionbudgets",
            f"{READ} | core | persistentvolumeclaims persistentvolumes",
            "create | authentication.k8s.io | tokenreviews",
            "create | authorization.k8s.io | subjectaccessreviews",
            f"{READ} | storage.k8s.io | csinodes csidrivers csistoragecapacities volumeattachments",
            f"{READ} | core | namespaces",
            f"{READ} | resource.k8s.io | deviceclasses resourceslices",
            f"patch update {READ} | resource.k8s.io | resourceclaims",
            "patch update | resource.k8s.io | resourceclaims/status",
            f"{READ} | scheduling.k8s.io | priorityclasses workloads podgroups",
        ),
    ),
    Role(
        "system:volume-scheduler",
        (
            f"patch update {READ} | core | persistentvolumes",
            f"{READ} | storage.k8s.io | storageclasses",
            f"patch update {READ} | core | persistentvolumeclaims",
        ),
    ),
    Role(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        ("create | certificates.k8s.io | certificatesigningrequests/nodeclient",),
    ),
    Role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        ("create | certificates.k8s.io | certificatesigningrequests/selfnodeclient",),
    ),
    _approver("legacy-unknown"),
    _approver("kubelet-serving"),
    _approver("kube-apiserver-client"),
    _approver("kube-apiserver-client-kubelet"),
    _leader_locking("kube-controller-manager"),
    _leader_locking("kube-scheduler"),
    Role(
        "system:controller:bootstrap-signer",
        (f"{READ} | core | secrets",),
        namespace="kube-system",
    ),
    Role(
        "system:controller:bootstrap-signer",
        (
            f"{READ} | core | configmaps",
            "update | core | configmaps | cluster-info",
            EVENTS,
        ),
        namespace="kube-public",
    ),
    Role(
        "system:controller:cloud-provider",
        (f"create update {READ} | core | configmaps",),
        namespace="kube-system",
    ),
    Role(
        "system:controller:token-cleaner",
        (f"delete {READ} | core | secrets", EVENTS),
        namespace="kube-system",
    ),
)

BINDINGS: tuple[Binding, ...] = (
    Binding("system:node", ()),
    Binding("system:node-proxier", (_PROXY,)),
    Binding("skiff:dns", (_PROXY,)),
    Binding("skiff:dns", (_PROXY,), namespace="kube-system"),
    Binding("system:kube-controller-manager", (_CONTROLLER_MANAGER,)),
    Binding("system:kube-dns", ("SA:kube-system/kube-dns",)),
    Binding("system:kube-scheduler", (_SCHEDULER,)),
    Binding("system:volume-scheduler", (_SCHEDULER,)),
    Binding(
        "system::leader-locking-kube-controller-manager",
        (_CONTROLLER_MANAGER, "SA:kube-system/kube-controller-manager"),
        namespace="kube-system",
    ),
    Binding(
        "system::leader-locking-kube-scheduler",
        (_SCHEDULER, "SA:kube-system/kube-scheduler"),
        namespace="kube-system",
    ),
    *(
        Binding(f"system:controller:{name}", (f"SA:kube-system/{name}",), namespace=namespace)
        for name, namespace in (
            ("bootstrap-signer", "kube-system"),
            ("bootstrap-signer", "kube-public"),
            ("cloud-provider", "kube-system"),
            ("token-cleaner", "kube-system"),
        )
    ),
)
