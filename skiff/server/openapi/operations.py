"""Every call of the API as data: which paths a resource has, and what can be called there. Pure.

The v2 and v3 documents are two ways to write the same operations down.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from skiff.api.resources import Resource, Subresource
from skiff.server.openapi import parameters as p
from skiff.server.openapi.parameters import Parameter

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
MEDIA = ("application/json", "application/yaml")
STREAMS = ("application/json;stream=watch",)
PATCH_MEDIA = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
CUSTOM_PATCH_MEDIA = tuple(m for m in PATCH_MEDIA if "strategic" not in m)
ANYTHING = ("*/*",)
STRING = "string"
_CONNECT_METHODS = ("delete", "get", "head", "options", "patch", "post", "put")
_CONNECT_VERBS = {"get": "get", "create": "post", "delete": "delete", "patch": "patch", "update": "put"}  # fmt: skip
_NO_MORE = "deprecated: use the 'watch' parameter with a list operation instead"

Gvk = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    operation_id: str
    description: str
    tag: str
    action: str = ""
    gvk: Gvk | None = None
    parameters: tuple[Parameter, ...] = ()
    body: str = ""
    """The body's definition; empty for none."""
    body_required: bool = True
    responses: Mapping[int, str] = field(default_factory=dict)
    """Status → definition name, or `string`."""
    consumes: tuple[str, ...] = ANYTHING
    produces: tuple[str, ...] = MEDIA


@dataclass(frozen=True, slots=True)
class Path:
    """One path, with the parameters of all its operations."""

    path: str
    parameters: tuple[Parameter, ...]
    operations: tuple[Operation, ...]


def camel(group: str) -> str:
    """A group's part of an operation's name: `RbacAuthorization`, `Core`."""
    words = group.removesuffix(".k8s.io").split(".") if group else ["core"]
    return "".join(_upper(w.replace("-", "_")) for w in words)


def _upper(word: str) -> str:
    return word[:1].upper() + word[1:]


def tag(group: str, version: str = "") -> str:
    """The tag of a group's operations: `rbacAuthorization_v1`."""
    name = camel(group)
    name = name[:1].lower() + name[1:]
    return f"{name}_{version}" if version else name


class Namer:
    """The names of one resource's operations and definitions."""

    def __init__(self, resource: Resource, definition: str, listed: str, returned: str) -> None:
        self.resource = resource
        self.definition = definition
        self.listed = listed
        self.returned = returned
        self.group_version = camel(resource.group) + _upper(resource.version)
        self.tag = tag(resource.group, resource.version)
        self.scope = "Namespaced" if resource.namespaced else ""
        self.gvk: Gvk = (resource.group, resource.version, resource.kind)

    def id(self, verb: str, rest: str) -> str:
        """`readCoreV1NamespacedPod`."""
        return f"{verb}{self.group_version}{rest}"


def resource_paths(
    resource: Resource, definition: str, listed: str, returned: str, subs: Mapping[str, str]
) -> Iterator[Path]:
    """The paths of a resource. `definition`, `listed` and `returned` name what an object, a list and
    a deletion's answer are; `subs` gives the body's definition of each subresource that has one."""
    n = Namer(resource, definition, listed, returned)
    collection = (p.NAMESPACE, p.PRETTY) if resource.namespaced else (p.PRETTY,)
    base = _base(resource)
    scoped = f"{base}/namespaces/{{namespace}}" if resource.namespaced else base
    operations = tuple(_collection(n))
    if operations:
        yield Path(f"{scoped}/{resource.plural}", collection, operations)
    single = (p.name_parameter(resource.kind), *collection)
    one = f"{scoped}/{resource.plural}/{{name}}"
    operations = tuple(_single(n))
    if operations:
        yield Path(one, single, operations)
    for sub in resource.subresources.values():
        yield from _subresource(n, sub, one, single, subs.get(sub.name, definition))
    if resource.namespaced and "list" in resource.verbs:
        description = f"list or watch objects of kind {resource.kind}"
        yield Path(
            f"{base}/{resource.plural}",
            (*p.LIST, p.PRETTY),
            (_list(n, n.id("list", f"{resource.kind}ForAllNamespaces"), description, ()),),
        )
    if "watch" in resource.verbs:
        yield from _watches(n, base, single)


def _base(resource: Resource) -> str:
    if resource.group:
        return f"/apis/{resource.group}/{resource.version}"
    return f"/api/{resource.version}"


def _collection(n: Namer) -> Iterator[Operation]:
    kind, verbs = n.resource.kind, n.resource.verbs
    where = f"{n.scope}{kind}"
    if "deletecollection" in verbs:
        yield Operation(
            "delete", n.id("delete", f"Collection{where}"), f"delete collection of {kind}", n.tag,
            "deletecollection", n.gvk, p.DELETE_COLLECTION, META + "DeleteOptions", False,
            {200: META + "Status"},
        )  # fmt: skip
    if "list" in verbs:
        watched = "list or watch" if "watch" in verbs else "list"
        yield _list(n, n.id("list", where), f"{watched} objects of kind {kind}", p.LIST)
    if "create" in verbs:
        yield Operation(
            "post", n.id("create", where), f"create {_a(kind)}", n.tag, "post", n.gvk,
            p.WRITE, n.definition, True, dict.fromkeys((200, 201, 202), n.definition),
        )  # fmt: skip


def _a(kind: str) -> str:
    """`a Pod`, `an Ingress`, `Endpoints` (a plural takes no article)."""
    if kind.endswith("points"):
        return kind
    return f"{'an' if kind[:1] in 'AEIOU' else 'a'} {kind}"


def _list(
    n: Namer, operation_id: str, description: str, parameters: tuple[Parameter, ...]
) -> Operation:
    return Operation(
        "get", operation_id, description, n.tag, "list", n.gvk, parameters,
        responses={200: n.listed}, produces=(*MEDIA, *STREAMS),
    )  # fmt: skip


def _single(n: Namer) -> Iterator[Operation]:
    kind, verbs = n.resource.kind, n.resource.verbs
    where = f"{n.scope}{kind}"
    if "delete" in verbs:
        yield Operation(
            "delete", n.id("delete", where), f"delete {_a(kind)}", n.tag, "delete",
            n.gvk, p.DELETE, META + "DeleteOptions", False, {200: n.returned, 202: n.returned},
        )  # fmt: skip
    yield from _object_calls(n, verbs, where, f"the specified {kind}", n.gvk, n.definition)


def _object_calls(
    n: Namer, verbs: tuple[str, ...], where: str, what: str, gvk: Gvk, definition: str
) -> Iterator[Operation]:
    """get, patch and update of an object or of a subresource that is one."""
    both = dict.fromkeys((200, 201), definition)
    if "get" in verbs:
        yield Operation(
            "get", n.id("read", where), f"read {what}", n.tag, "get", gvk,
            responses={200: definition},
        )  # fmt: skip
    if "patch" in verbs:
        custom = definition == n.definition and not definition.startswith("io.k8s.")
        yield Operation(
            "patch", n.id("patch", where), f"partially update {what}", n.tag, "patch", gvk,
            p.PATCH, META + "Patch", True, both,
            CUSTOM_PATCH_MEDIA if custom else PATCH_MEDIA,
        )  # fmt: skip
    if "update" in verbs:
        yield Operation(
            "put", n.id("replace", where), f"replace {what}", n.tag, "put", gvk, p.WRITE,
            definition, True, both,
        )  # fmt: skip


def _subresource(
    n: Namer, sub: Subresource, one: str, single: tuple[Parameter, ...], definition: str
) -> Iterator[Path]:
    resource = n.resource
    path = f"{one}/{sub.name}"
    where = f"{n.scope}{resource.kind}{_upper(sub.name)}"
    gvk: Gvk = (sub.group, sub.version, sub.kind)
    connect = p.CONNECT.get((resource.plural, sub.name))
    if connect is not None:
        methods = (
            _CONNECT_METHODS
            if sub.name == "proxy"
            else tuple(sorted(_CONNECT_VERBS[v] for v in sub.verbs))
        )
        plain = tuple(q for q in single if q is not p.PRETTY)
        yield Path(path, (*connect, *plain), tuple(_connect(n, sub, where, methods)))
        if sub.name == "proxy":
            yield Path(
                f"{path}/{{path}}",
                (*connect, *plain, p.PROXY_PATH),
                tuple(_connect(n, sub, f"{where}WithPath", methods)),
            )
    elif sub.name == "log":
        operation = Operation(
            "get", n.id("read", where), f"read log of the specified {resource.kind}", n.tag, "get",
            gvk, responses={200: STRING}, produces=("text/plain", *MEDIA),
        )  # fmt: skip
        yield Path(path, (*p.LOG, *single), (operation,))
    elif sub.verbs == ("create",):
        operation = Operation(
            "post", n.id("create", where),
            f"create {sub.name} of {_a(resource.kind)}", n.tag, "post", gvk,
            (), definition, True, dict.fromkeys((200, 201, 202), definition),
        )  # fmt: skip
        yield Path(path, (*p.WRITE, *single), (operation,))
    else:
        what = f"{sub.name} of the specified {resource.kind}"
        calls = tuple(_object_calls(n, sub.verbs, where, what, gvk, definition))
        yield Path(path, single, calls)


def _connect(
    n: Namer, sub: Subresource, where: str, methods: tuple[str, ...]
) -> Iterator[Operation]:
    for method in methods:
        yield Operation(
            method, n.id("connect", _upper(method) + where),
            f"connect {method.upper()} requests to {sub.name} of {n.resource.kind}", n.tag,
            "connect", (sub.group, sub.version, sub.kind), responses={200: STRING},
            produces=ANYTHING,
        )  # fmt: skip


def _watches(n: Namer, base: str, single: tuple[Parameter, ...]) -> Iterator[Path]:
    """The old /watch/ paths."""
    resource, kind = n.resource, n.resource.kind
    many = f"watch individual changes to a list of {kind}. {_NO_MORE}."
    one = (
        f"watch changes to an object of kind {kind}. {_NO_MORE}, filtered to a single item with"
        " the 'fieldSelector' parameter."
    )
    scoped = f"{base}/watch"
    if resource.namespaced:
        scoped += "/namespaces/{namespace}"
        yield _watch(
            n, f"{base}/watch/{resource.plural}", (p.PRETTY,), f"{kind}ListForAllNamespaces", many,
            "watchlist",
        )  # fmt: skip
    collection = single[1:]
    where = f"{n.scope}{kind}"
    yield _watch(n, f"{scoped}/{resource.plural}", collection, f"{where}List", many, "watchlist")
    yield _watch(n, f"{scoped}/{resource.plural}/{{name}}", single, where, one, "watch")


def _watch(
    n: Namer, path: str, own: tuple[Parameter, ...], where: str, description: str, action: str
) -> Path:
    operation = Operation(
        "get", n.id("watch", where), description, n.tag, action, n.gvk,
        responses={200: META + "WatchEvent"}, produces=(*MEDIA, *STREAMS),
    )  # fmt: skip
    return Path(path, (*p.LIST, *own), (operation,))


# --- paths that are no resources --------------------------------------------------------------


def _plain(
    path: str,
    operation_id: str,
    description: str,
    tag_name: str,
    answer: str,
    *,
    consumes: tuple[str, ...] = MEDIA,
    produces: tuple[str, ...] = MEDIA,
) -> Path:
    operation = Operation(
        "get", operation_id, description, tag_name, responses={200: answer}, consumes=consumes,
        produces=produces,
    )  # fmt: skip
    return Path(path, (), (operation,))


def group_list_path(*, core: bool) -> Path:
    """`/api/` or `/apis/`."""
    text = "get available API versions"
    if core:
        return _plain("/api/", "getCoreAPIVersions", text, "core", META + "APIVersions")
    return _plain("/apis/", "getAPIVersions", text, "apis", META + "APIGroupList")


def group_path(group: str) -> Path:
    """`/apis/<group>/`."""
    return _plain(
        f"/apis/{group}/", f"get{camel(group)}APIGroup", "get information of a group", tag(group),
        META + "APIGroup",
    )  # fmt: skip


def version_path(group: str, version: str) -> Path:
    """`/api/v1/`, `/apis/<group>/<version>/`."""
    base = f"/apis/{group}/{version}/" if group else f"/api/{version}/"
    name = camel(group) + _upper(version)
    return _plain(
        base, f"get{name}APIResources", "get available resources", tag(group, version),
        META + "APIResourceList",
    )  # fmt: skip


JSON = ("application/json",)
CODE_VERSION = _plain(
    "/version/", "getCodeVersion", "get the version information for this server", "version",
    "io.k8s.apimachinery.pkg.version.Info", consumes=JSON, produces=JSON,
)  # fmt: skip
OPENID_CONFIGURATION = _plain(
    "/.well-known/openid-configuration/", "getServiceAccountIssuerOpenIDConfiguration",
    "get service account issuer OpenID configuration", "WellKnown", STRING, consumes=(),
    produces=JSON,
)  # fmt: skip
OPENID_KEYS = _plain(
    "/openid/v1/jwks/", "getServiceAccountIssuerOpenIDKeyset",
    "get service account issuer OpenID JSON Web Key Set", "openid", STRING, consumes=(),
    produces=("application/jwk-set+json",),
)  # fmt: skip
FIXED: dict[str, Path] = {
    "version": CODE_VERSION,
    ".well-known/openid-configuration": OPENID_CONFIGURATION,
    "openid/v1/jwks": OPENID_KEYS,
}
"""By the name that /openid/v3 lists them under."""
