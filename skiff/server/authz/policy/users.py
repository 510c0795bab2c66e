"""The roles that people and programs are given: cluster-admin, admin, edit, view, discovery."""

from skiff.server.authz.policy.notation import READ, READ_WRITE, WRITE, Binding, Role

_TO_ADMIN = "rbac.authorization.k8s.io/aggregate-to-admin"
_TO_EDIT = "rbac.authorization.k8s.io/aggregate-to-edit"
_TO_VIEW = "rbac.authorization.k8s.io/aggregate-to-view"
_AUTHENTICATED = "Group:system:authenticated"
_UNAUTHENTICATED = "Group:system:unauthenticated"

ROLES: tuple[Role, ...] = (
    Role("cluster-admin", ("* | * | *", "* | *")),
    Role(
        "system:discovery",
        (
            (
                "get | /api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version"
                " /version/"
            ),
        ),
    ),
    Role(
        "system:monitoring",
        ("get | /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*",),
    ),
    Role(
        "system:basic-user",
        (
            "create | authorization.k8s.io | selfsubjectaccessreviews selfsubjectrulesreviews",
            "create | authentication.k8s.io | selfsubjectreviews",
        ),
    ),
    Role("system:public-info-viewer", ("get | /healthz /livez /readyz /version /version/",)),
    Role("admin", aggregate=_TO_ADMIN),
    Role("edit", aggregate=_TO_EDIT, labels={_TO_ADMIN: "true"}),
    Role("view", aggregate=_TO_VIEW, labels={_TO_EDIT: "true"}),
    Role(
        "system:aggregate-to-admin",
        (
            "create | authorization.k8s.io | localsubjectaccessreviews",
            f"{READ_WRITE} | rbac.authorization.k8s.io | roles rolebindings",
        ),
        labels={_TO_ADMIN: "true"},
    ),
    Role(
        "system:aggregate-to-edit",
        (
            (
                f"{READ} | core | pods/attach pods/proxy pods/exec pods/portforward secrets"
                " services/proxy"
            ),
            "impersonate | core | serviceaccounts",
            f"{WRITE} | core | pods pods/attach pods/proxy pods/exec pods/portforward",
            "create | core | pods/eviction",
            (
                f"{WRITE} | core | replicationcontrollers replicationcontrollers/scale serviceaccounts"
                " services services/proxy persistentvolumeclaims configmaps secrets events"
            ),
            "create | core | serviceaccounts/token",
            (
                f"{WRITE} | apps | statefulsets statefulsets/scale daemonsets deployments"
                " deployments/scale deployments/rollback replicasets replicasets/scale"
            ),
            f"{WRITE} | autoscaling | horizontalpodautoscalers",
            f"{WRITE} | batch | jobs cronjobs",
            (
                f"{WRITE} | extensions | daemonsets deployments deployments/scale deployments/rollback"
                " ingresses replicasets replicasets/scale replicationcontrollers/scale"
                " networkpolicies"
            ),
            f"{WRITE} | policy | poddisruptionbudgets",
            f"{WRITE} | networking.k8s.io | networkpolicies ingresses",
            f"{READ_WRITE} | coordination.k8s.io | leases",
            f"{WRITE} | resource.k8s.io | resourceclaims resourceclaimtemplates",
        ),
        labels={_TO_EDIT: "true"},
    ),
    Role(
        "system:aggregate-to-view",
        (
            (
                f"{READ} | core | pods replicationcontrollers replicationcontrollers/scale"
                " serviceaccounts services services/status endpoints persistentvolumeclaims"
                " persistentvolumeclaims/status configmaps"
            ),
            (
                f"{READ} | core | limitranges resourcequotas bindings events pods/status"
                " resourcequotas/status namespaces/status replicationcontrollers/status pods/log"
            ),
            f"{READ} | core | namespaces",
            f"{READ} | discovery.k8s.io | endpointslices",
            (
                f"{READ} | apps | controllerrevisions statefulsets statefulsets/status"
                " statefulsets/scale daemonsets daemonsets/status deployments deployments/status"
                " deployments/scale replicasets replicasets/status replicasets/scale"
            ),
            f"{READ} | autoscaling | horizontalpodautoscalers horizontalpodautoscalers/status",
            f"{READ} | batch | jobs cronjobs cronjobs/status jobs/status",
            (
                f"{READ} | extensions | daemonsets daemonsets/status deployments deployments/scale"
                " deployments/status ingresses ingresses/status replicasets replicasets/scale"
                " replicasets/status replicationcontrollers/scale networkpolicies"
            ),
            f"{READ} | policy | poddisruptionbudgets poddisruptionbudgets/status",
            f"{READ} | networking.k8s.io | networkpolicies ingresses ingresses/status",
            (
                f"{READ} | resource.k8s.io | resourceclaims resourceclaims/status"
                " resourceclaimtemplates"
            ),
        ),
        labels={_TO_VIEW: "true"},
    ),
    Role(
        "system:service-account-issuer-discovery",
        (
            (
                "get | /.well-known/openid-configuration /.well-known/openid-configuration/"
                " /openid/v1/jwks /openid/v1/jwks/"
            ),
        ),
    ),
    Role(
        "system:auth-delegator",
        (
            "create | authentication.k8s.io | tokenreviews",
            "create | authorization.k8s.io | subjectaccessreviews",
        ),
    ),
    Role(
        "system:persistent-volume-provisioner",
        (
            f"{READ} create delete | core | persistentvolumes",
            f"{READ} update | core | persistentvolumeclaims",
            f"{READ} | storage.k8s.io | storageclasses",
            "watch | core | events",
            "create patch update | core events.k8s.io | events",
        ),
    ),
    Role(
        "extension-apiserver-authentication-reader",
        (f"{READ} | core | configmaps | extension-apiserver-authentication",),
        namespace="kube-system",
    ),
)

BINDINGS: tuple[Binding, ...] = (
    Binding("cluster-admin", ("Group:system:masters",)),
    Binding("system:monitoring", ("Group:system:monitoring",)),
    Binding("system:discovery", (_AUTHENTICATED,)),
    Binding("system:basic-user", (_AUTHENTICATED,)),
    Binding("system:public-info-viewer", (_AUTHENTICATED, _UNAUTHENTICATED)),
    Binding("system:service-account-issuer-discovery", ("Group:system:serviceaccounts",)),
    Binding(
        "extension-apiserver-authentication-reader",
        ("User:system:kube-controller-manager", "User:system:kube-scheduler"),
        namespace="kube-system",
        name="system:extension-apiserver-authentication-reader",
    ),
)
