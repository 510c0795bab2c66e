"""What a request asks for, read from its method and URL.

Follows Kubernetes' RequestInfo (apiserver `request.RequestInfoFactory`): a path under `/api/v1` or
`/apis/<group>/<version>` names a resource, everything else is a non-resource path. The old
`/api/v1/watch/…` paths are understood too. The query is parsed only when somebody asks.
"""

from functools import cached_property
from urllib.parse import parse_qs, unquote

_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


class RequestInfo:
    """One request's attributes: what authorization judges and routing follows.

    `verb` is Kubernetes' verb for a resource request (get, list, watch, create, update, patch,
    delete, deletecollection) and the lower-case method otherwise. For a namespace itself,
    `namespace` and `name` are both its name.
    """

    __slots__ = (
        "__dict__", "group", "is_resource", "name", "namespace", "parts", "path", "prefix",
        "query", "resource", "subresource", "subresource_path", "verb", "version",
    )  # fmt: skip

    def __init__(self, verb: str, path: str, query: str = "") -> None:
        self.verb = verb
        self.path = path
        self.query = query
        self.is_resource = False
        self.prefix = ""
        self.group = ""
        self.version = ""
        self.resource = ""
        self.subresource = ""
        self.subresource_path = ""
        """What follows the subresource: `pods/x/proxy/a/b` has `a/b`."""
        self.namespace = ""
        self.name = ""
        self.parts: list[str] = []

    @cached_property
    def options(self) -> dict[str, str]:
        """The query's first value of each name."""
        return {k: v[0] for k, v in self.all_options.items()} if self.query else {}

    @cached_property
    def all_options(self) -> dict[str, list[str]]:
        """The query with all values of each name (`command` and `dryRun` repeat)."""
        return parse_qs(self.query, keep_blank_values=True) if self.query else {}

    def flag(self, name: str) -> bool:
        """Whether a boolean option is set: given, and neither "false" nor "0"."""
        if not self.query:
            return False
        value = self.options.get(name)
        return value is not None and value != "0" and value.lower() != "false"

    @classmethod
    def of_resource(
        cls,
        verb: str,
        group: str,
        version: str,
        resource: str,
        *,
        namespace: str = "",
        name: str = "",
        subresource: str = "",
    ) -> "RequestInfo":
        """Attributes without a request behind them, as access reviews and impersonation need."""
        info = cls(verb, "")
        info.is_resource = True
        info.group, info.version, info.resource = group, version, resource
        info.namespace, info.name, info.subresource = namespace, name, subresource
        return info

    def __repr__(self) -> str:
        where = "/".join(p for p in (self.namespace, self.name, self.subresource) if p)
        return f"RequestInfo({self.verb} {self.resource or self.path} {where})"


def parse(method: str, path: str, query: str) -> RequestInfo:
    """Read one request line. `path` is as sent; `query` without the question mark."""
    if "%" in path:
        raw = path
        path = unquote(path)
        parts = [unquote(p) for p in raw.split("/") if p]
    else:
        parts = [p for p in path.split("/") if p]
    info = RequestInfo(_VERBS.get(method, method.lower()), path, query)
    if not parts:
        info.verb = method.lower()
        return info
    prefix = parts[0]
    if prefix == "api" and len(parts) >= 3:
        info.version = parts[1]
        rest = parts[2:]
    elif prefix == "apis" and len(parts) >= 4:
        info.group = parts[1]
        info.version = parts[2]
        rest = parts[3:]
    else:
        info.verb = method.lower()
        return info
    info.prefix = prefix
    info.is_resource = True
    _resource(info, rest)
    if info.verb == "get" and not info.name:
        _collection(info)
    elif info.verb == "delete" and not info.name:
        info.verb = "deletecollection"
    return info


def _resource(info: RequestInfo, rest: list[str]) -> None:
    """Fill in namespace, resource, name and subresource from the parts after the version."""
    if rest[0] == "watch" and len(rest) > 1 and info.verb == "get":
        info.verb = "watch"
        rest = rest[1:]
    if rest[0] == "namespaces" and len(rest) > 1:
        info.namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    info.parts = rest
    info.resource = rest[0]
    if len(rest) > 1:
        info.name = rest[1]
        if len(rest) > 2:
            info.subresource = rest[2]
            if len(rest) > 3:
                info.subresource_path = "/".join(rest[3:])


def _collection(info: RequestInfo) -> None:
    """A GET without a name: a list, or a watch if the query says so; a field selector on
    metadata.name counts as the name, so that rules on names apply to it."""
    info.verb = "list"
    if not info.query:
        return
    if info.flag("watch"):
        info.verb = "watch"
    selector = info.options.get("fieldSelector", "")
    if selector.startswith("metadata.name=") and "," not in selector:
        info.name = selector[14:].lstrip("=")
