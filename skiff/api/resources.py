"""The table of every resource that the server knows by itself: names, verbs, scope, subresources.

One row per resource, in one ordered table; its order is that of Kubernetes' own discovery (group
priority, then plural). Custom resources are not here: the server makes `Resource` values for them.

Source: the discovery documents of Kubernetes v1.36 (`/api/v1`, `/apis/*/*`), stable versions.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

READ_WRITE: Final = (
    "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch",
)  # fmt: skip
GET_PATCH_UPDATE: Final = ("get", "patch", "update")
CONNECT: Final = ("create", "delete", "get", "patch", "update")


@dataclass(frozen=True, slots=True)
class Subresource:
    """What lies under an object's path: its own kind, and the verbs that it takes.

    `group`, `version` and `kind` name the body's kind; for a subresource that returns the parent
    itself (`status`) they are the parent's.
    """

    name: str
    group: str
    version: str
    kind: str
    verbs: tuple[str, ...]

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True, slots=True)
class Resource:
    """One served resource. `storage` is (group, plural): where its objects are kept.

    Two resources with the same storage are two versions of the same objects; they are stored in
    `storage_version` (an apiVersion) and converted on the way in and out (`api/convert.py`).
    `storage` is ("", "") for kinds that are never kept (reviews, bindings).
    """

    group: str
    version: str
    plural: str
    kind: str
    singular: str
    namespaced: bool
    verbs: tuple[str, ...] = READ_WRITE
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: MappingProxyType[str, Subresource] = field(
        default_factory=lambda: MappingProxyType({}), hash=False
    )
    storage: tuple[str, str] = ("", "")
    storage_version: str = ""

    @property
    def api_version(self) -> str:
        """`apps/v1`, or `v1` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_kind(self) -> str:
        return self.kind + "List"

    @property
    def group_resource(self) -> str:
        """`deployments.apps`, or `pods` for the core group: the form that messages use."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def persisted(self) -> bool:
        return bool(self.storage[1])

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, of one object, or of an object's subresource."""
        path = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if namespace and self.namespaced:
            path += f"/namespaces/{namespace}"
        path += f"/{self.plural}"
        if name:
            path += f"/{name}"
        if subresource:
            path += f"/{subresource}"
        return path


def _row(
    group: str,
    version: str,
    plural: str,
    kind: str,
    *,
    cluster: bool = False,
    short: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
    verbs: tuple[str, ...] = READ_WRITE,
    status: bool = False,
    scale: bool = False,
    subresources: Iterable[Subresource] = (),
    storage: tuple[str, str] | None = None,
    storage_version: str = "",
) -> Resource:
    subs = list(subresources)
    if scale:
        subs.append(Subresource("scale", "autoscaling", "v1", "Scale", GET_PATCH_UPDATE))
    if status:
        subs.append(Subresource("status", group, version, kind, GET_PATCH_UPDATE))
    kept = "get" in verbs
    api_version = f"{group}/{version}" if group else version
    return Resource(
        group=group,
        version=version,
        plural=plural,
        kind=kind,
        singular=kind.lower(),
        namespaced=not cluster,
        verbs=verbs,
        short_names=short,
        categories=categories,
        subresources=MappingProxyType({s.name: s for s in sorted(subs, key=lambda s: s.name)}),
        storage=(storage or (group, plural)) if kept else ("", ""),
        storage_version=(storage_version or api_version) if kept else "",
    )


_CREATE = ("create",)
_ALL = ("all",)
_EXTENSIONS = ("api-extensions",)


def _core(name: str, kind: str, verbs: tuple[str, ...]) -> Subresource:
    return Subresource(name, "", "v1", kind, verbs)


BINDINGS: Final = _row("", "v1", "bindings", "Binding", verbs=_CREATE)
COMPONENTSTATUSES: Final = _row(
    "", "v1", "componentstatuses", "ComponentStatus", cluster=True, short=("cs",),
    verbs=("get", "list"),
)  # fmt: skip
CONFIGMAPS: Final = _row("", "v1", "configmaps", "ConfigMap", short=("cm",))
ENDPOINTS: Final = _row("", "v1", "endpoints", "Endpoints", short=("ep",))
EVENTS: Final = _row("", "v1", "events", "Event", short=("ev",))
LIMITRANGES: Final = _row("", "v1", "limitranges", "LimitRange", short=("limits",))
NAMESPACES: Final = _row(
    "", "v1", "namespaces", "Namespace", cluster=True, short=("ns",), status=True,
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    subresources=(_core("finalize", "Namespace", ("update",)),),
)  # fmt: skip
NODES: Final = _row(
    "", "v1", "nodes", "Node", cluster=True, short=("no",), status=True,
    subresources=(_core("proxy", "NodeProxyOptions", CONNECT),),
)  # fmt: skip
PERSISTENTVOLUMECLAIMS: Final = _row(
    "", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", short=("pvc",), status=True
)
PERSISTENTVOLUMES: Final = _row(
    "", "v1", "persistentvolumes", "PersistentVolume", cluster=True, short=("pv",), status=True
)
PODS: Final = _row(
    "", "v1", "pods", "Pod", short=("po",), categories=_ALL, status=True,
    subresources=(
        _core("attach", "PodAttachOptions", ("create", "get")),
        _core("binding", "Binding", _CREATE),
        _core("ephemeralcontainers", "Pod", GET_PATCH_UPDATE),
        Subresource("eviction", "policy", "v1", "Eviction", _CREATE),
        _core("exec", "PodExecOptions", ("create", "get")),
        _core("log", "Pod", ("get",)),
        _core("portforward", "PodPortForwardOptions", ("create", "get")),
        _core("proxy", "PodProxyOptions", CONNECT),
        _core("resize", "Pod", GET_PATCH_UPDATE),
    ),
)  # fmt: skip
PODTEMPLATES: Final = _row("", "v1", "podtemplates", "PodTemplate")
REPLICATIONCONTROLLERS: Final = _row(
    "", "v1", "replicationcontrollers", "ReplicationController", short=("rc",), categories=_ALL,
    status=True, scale=True,
)  # fmt: skip
RESOURCEQUOTAS: Final = _row(
    "", "v1", "resourcequotas", "ResourceQuota", short=("quota",), status=True
)
SECRETS: Final = _row("", "v1", "secrets", "Secret")
SERVICEACCOUNTS: Final = _row(
    "", "v1", "serviceaccounts", "ServiceAccount", short=("sa",),
    subresources=(
        Subresource("token", "authentication.k8s.io", "v1", "TokenRequest", _CREATE),
    ),
)  # fmt: skip
SERVICES: Final = _row(
    "", "v1", "services", "Service", short=("svc",), categories=_ALL, status=True,
    subresources=(_core("proxy", "ServiceProxyOptions", CONNECT),),
)  # fmt: skip

_REG = "apiregistration.k8s.io"
APISERVICES: Final = _row(
    _REG, "v1", "apiservices", "APIService", cluster=True, categories=_EXTENSIONS, status=True
)

CONTROLLERREVISIONS: Final = _row("apps", "v1", "controllerrevisions", "ControllerRevision")
DAEMONSETS: Final = _row(
    "apps", "v1", "daemonsets", "DaemonSet", short=("ds",), categories=_ALL, status=True
)
DEPLOYMENTS: Final = _row(
    "apps", "v1", "deployments", "Deployment", short=("deploy",), categories=_ALL, status=True,
    scale=True,
)  # fmt: skip
REPLICASETS: Final = _row(
    "apps", "v1", "replicasets", "ReplicaSet", short=("rs",), categories=_ALL, status=True,
    scale=True,
)  # fmt: skip
STATEFULSETS: Final = _row(
    "apps", "v1", "statefulsets", "StatefulSet", short=("sts",), categories=_ALL, status=True,
    scale=True,
)  # fmt: skip

EVENTS_V1: Final = _row(
    "events.k8s.io", "v1", "events", "Event", short=("ev",), storage=("", "events"),
    storage_version="v1",
)  # fmt: skip

_AUTHN = "authentication.k8s.io"
SELFSUBJECTREVIEWS: Final = _row(
    _AUTHN, "v1", "selfsubjectreviews", "SelfSubjectReview", cluster=True, verbs=_CREATE
)
TOKENREVIEWS: Final = _row(
    _AUTHN, "v1", "tokenreviews", "TokenReview", cluster=True, verbs=_CREATE
)  # fmt: skip

_AUTHZ = "authorization.k8s.io"
LOCALSUBJECTACCESSREVIEWS: Final = _row(
    _AUTHZ, "v1", "localsubjectaccessreviews", "LocalSubjectAccessReview", verbs=_CREATE
)
SELFSUBJECTACCESSREVIEWS: Final = _row(
    _AUTHZ, "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", cluster=True,
    verbs=_CREATE,
)  # fmt: skip
SELFSUBJECTRULESREVIEWS: Final = _row(
    _AUTHZ, "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", cluster=True,
    verbs=_CREATE,
)  # fmt: skip
SUBJECTACCESSREVIEWS: Final = _row(
    _AUTHZ, "v1", "subjectaccessreviews", "SubjectAccessReview", cluster=True, verbs=_CREATE
)

_HPA = ("autoscaling", "horizontalpodautoscalers")
HORIZONTALPODAUTOSCALERS: Final = _row(
    "autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", short=("hpa",),
    categories=_ALL, status=True,
)  # fmt: skip
HORIZONTALPODAUTOSCALERS_V1: Final = _row(
    "autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", short=("hpa",),
    categories=_ALL, status=True, storage=_HPA, storage_version="autoscaling/v2",
)  # fmt: skip

CRONJOBS: Final = _row(
    "batch", "v1", "cronjobs", "CronJob", short=("cj",), categories=_ALL, status=True
)
JOBS: Final = _row("batch", "v1", "jobs", "Job", categories=_ALL, status=True)

_CERT = "certificates.k8s.io"
CERTIFICATESIGNINGREQUESTS: Final = _row(
    _CERT, "v1", "certificatesigningrequests", "CertificateSigningRequest", cluster=True,
    short=("csr",), status=True,
    subresources=(
        Subresource("approval", _CERT, "v1", "CertificateSigningRequest", GET_PATCH_UPDATE),
    ),
)  # fmt: skip

_NET = "networking.k8s.io"
INGRESSCLASSES: Final = _row(_NET, "v1", "ingressclasses", "IngressClass", cluster=True)
INGRESSES: Final = _row(_NET, "v1", "ingresses", "Ingress", short=("ing",), status=True)
IPADDRESSES: Final = _row(_NET, "v1", "ipaddresses", "IPAddress", cluster=True, short=("ip",))
NETWORKPOLICIES: Final = _row(_NET, "v1", "networkpolicies", "NetworkPolicy", short=("netpol",))
SERVICECIDRS: Final = _row(_NET, "v1", "servicecidrs", "ServiceCIDR", cluster=True, status=True)

PODDISRUPTIONBUDGETS: Final = _row(
    "policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", short=("pdb",), status=True
)

_RBAC = "rbac.authorization.k8s.io"
CLUSTERROLEBINDINGS: Final = _row(
    _RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", cluster=True
)
CLUSTERROLES: Final = _row(_RBAC, "v1", "clusterroles", "ClusterRole", cluster=True)
ROLEBINDINGS: Final = _row(_RBAC, "v1", "rolebindings", "RoleBinding")
ROLES: Final = _row(_RBAC, "v1", "roles", "Role")

_STORAGE = "storage.k8s.io"
CSIDRIVERS: Final = _row(_STORAGE, "v1", "csidrivers", "CSIDriver", cluster=True)
CSINODES: Final = _row(_STORAGE, "v1", "csinodes", "CSINode", cluster=True)
CSISTORAGECAPACITIES: Final = _row(
    _STORAGE, "v1", "csistoragecapacities", "CSIStorageCapacity"
)  # fmt: skip
STORAGECLASSES: Final = _row(
    _STORAGE, "v1", "storageclasses", "StorageClass", cluster=True, short=("sc",)
)
VOLUMEATTACHMENTS: Final = _row(
    _STORAGE, "v1", "volumeattachments", "VolumeAttachment", cluster=True, status=True
)
VOLUMEATTRIBUTESCLASSES: Final = _row(
    _STORAGE, "v1", "volumeattributesclasses", "VolumeAttributesClass", cluster=True,
    short=("vac",),
)  # fmt: skip

_ADM = "admissionregistration.k8s.io"
MUTATINGADMISSIONPOLICIES: Final = _row(
    _ADM, "v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy", cluster=True,
    categories=_EXTENSIONS,
)  # fmt: skip
MUTATINGADMISSIONPOLICYBINDINGS: Final = _row(
    _ADM, "v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding",
    cluster=True, categories=_EXTENSIONS,
)  # fmt: skip
MUTATINGWEBHOOKCONFIGURATIONS: Final = _row(
    _ADM, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", cluster=True,
    categories=_EXTENSIONS,
)  # fmt: skip
VALIDATINGADMISSIONPOLICIES: Final = _row(
    _ADM, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", cluster=True,
    categories=_EXTENSIONS, status=True,
)  # fmt: skip
VALIDATINGADMISSIONPOLICYBINDINGS: Final = _row(
    _ADM, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding",
    cluster=True, categories=_EXTENSIONS,
)  # fmt: skip
VALIDATINGWEBHOOKCONFIGURATIONS: Final = _row(
    _ADM, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration",
    cluster=True, categories=_EXTENSIONS,
)  # fmt: skip

CUSTOMRESOURCEDEFINITIONS: Final = _row(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition",
    cluster=True, short=("crd", "crds"), categories=_EXTENSIONS, status=True,
)  # fmt: skip

PRIORITYCLASSES: Final = _row(
    "scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", cluster=True, short=("pc",)
)

LEASES: Final = _row("coordination.k8s.io", "v1", "leases", "Lease")

RUNTIMECLASSES: Final = _row("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", cluster=True)

ENDPOINTSLICES: Final = _row("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")

_DRA = "resource.k8s.io"
DEVICECLASSES: Final = _row(_DRA, "v1", "deviceclasses", "DeviceClass", cluster=True)
RESOURCECLAIMS: Final = _row(_DRA, "v1", "resourceclaims", "ResourceClaim", status=True)
RESOURCECLAIMTEMPLATES: Final = _row(_DRA, "v1", "resourceclaimtemplates", "ResourceClaimTemplate")
RESOURCESLICES: Final = _row(_DRA, "v1", "resourceslices", "ResourceSlice", cluster=True)

_FLOW = "flowcontrol.apiserver.k8s.io"
FLOWSCHEMAS: Final = _row(_FLOW, "v1", "flowschemas", "FlowSchema", cluster=True, status=True)
PRIORITYLEVELCONFIGURATIONS: Final = _row(
    _FLOW, "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", cluster=True,
    status=True,
)  # fmt: skip

# Kubernetes' discovery order: core, then groups by priority; a group's versions by preference.
TABLE: Final[tuple[Resource, ...]] = (
    BINDINGS, COMPONENTSTATUSES, CONFIGMAPS, ENDPOINTS, EVENTS, LIMITRANGES, NAMESPACES, NODES,
    PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, PODTEMPLATES, REPLICATIONCONTROLLERS,
    RESOURCEQUOTAS, SECRETS, SERVICEACCOUNTS, SERVICES,
    APISERVICES,
    CONTROLLERREVISIONS, DAEMONSETS, DEPLOYMENTS, REPLICASETS, STATEFULSETS,
    EVENTS_V1,
    SELFSUBJECTREVIEWS, TOKENREVIEWS,
    LOCALSUBJECTACCESSREVIEWS, SELFSUBJECTACCESSREVIEWS, SELFSUBJECTRULESREVIEWS,
    SUBJECTACCESSREVIEWS,
    HORIZONTALPODAUTOSCALERS, HORIZONTALPODAUTOSCALERS_V1,
    CRONJOBS, JOBS,
    CERTIFICATESIGNINGREQUESTS,
    INGRESSCLASSES, INGRESSES, IPADDRESSES, NETWORKPOLICIES, SERVICECIDRS,
    PODDISRUPTIONBUDGETS,
    CLUSTERROLEBINDINGS, CLUSTERROLES, ROLEBINDINGS, ROLES,
    CSIDRIVERS, CSINODES, CSISTORAGECAPACITIES, STORAGECLASSES, VOLUMEATTACHMENTS,
    VOLUMEATTRIBUTESCLASSES,
    MUTATINGADMISSIONPOLICIES, MUTATINGADMISSIONPOLICYBINDINGS, MUTATINGWEBHOOKCONFIGURATIONS,
    VALIDATINGADMISSIONPOLICIES, VALIDATINGADMISSIONPOLICYBINDINGS,
    VALIDATINGWEBHOOKCONFIGURATIONS,
    CUSTOMRESOURCEDEFINITIONS,
    PRIORITYCLASSES,
    LEASES,
    RUNTIMECLASSES,
    ENDPOINTSLICES,
    DEVICECLASSES, RESOURCECLAIMS, RESOURCECLAIMTEMPLATES, RESOURCESLICES,
    FLOWSCHEMAS, PRIORITYLEVELCONFIGURATIONS,
)  # fmt: skip

RESOURCES: Final = MappingProxyType({(r.group, r.version, r.plural): r for r in TABLE})
_BY_KIND: Final = {(r.api_version, r.kind): r for r in TABLE}
GROUPS: Final[tuple[str, ...]] = tuple(dict.fromkeys(r.group for r in TABLE))
"""API groups in discovery order, "" (core) first."""


def by_kind(api_version: str, kind: str) -> Resource:
    """The resource whose objects carry this apiVersion and kind. Raises KeyError when unknown."""
    return _BY_KIND[api_version, kind]


def versions(group: str) -> tuple[str, ...]:
    """The versions served of a group, the preferred one first."""
    return tuple(dict.fromkeys(r.version for r in TABLE if r.group == group))


def in_group(group: str, version: str) -> Iterator[Resource]:
    """The resources of one group version, by plural, as its discovery document lists them."""
    return (r for r in TABLE if r.group == group and r.version == version)
