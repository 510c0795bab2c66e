"""The parameters of Kubernetes' calls. Pure.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-parameters/common-parameters/.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; `shared` says that documents define it once and refer to it.

    dryRun and fieldValidation are written out each time: old clients look for them by name and do
    not follow references.
    """

    name: str
    description: str
    kind: str = "string"
    where: str = "query"
    key: str = ""
    """The name of the shared definition; the parameter's own where empty."""
    shared: bool = True

    @property
    def required(self) -> bool:
        """Path parameters are."""
        return self.where == "path"

    @property
    def definition(self) -> str:
        """The shared definition's name."""
        return self.key or self.name


NAMESPACE = Parameter("namespace", "object name and auth scope, such as for teams and projects", where="path")  # fmt: skip
PRETTY = Parameter("pretty", "If 'true', then the output is pretty printed.")
DRY_RUN = Parameter(
    "dryRun",
    "When present, modifications are not persisted. Valid values are: All: all stages are processed.",
    shared=False,
)
FIELD_MANAGER = Parameter(
    "fieldManager",
    "The name of the actor that makes these changes: at most 128 printable characters.",
)
FIELD_MANAGER_PATCH = Parameter(
    "fieldManager",
    "The name of the actor that makes these changes: at most 128 printable characters. Required"
    " for apply requests.",
    key="fieldManager-patch",
)
FIELD_VALIDATION = Parameter(
    "fieldValidation",
    "What to do with unknown or duplicate fields. Valid values are: Ignore: drop them silently;"
    " Warn: drop them with a warning (the default); Strict: fail the request.",
    shared=False,
)
FORCE = Parameter(
    "force",
    "Force an apply request: take over fields that conflicting managers own. Must be unset for"
    " other patches.",
    "boolean",
)

LIST = (
    Parameter("allowWatchBookmarks", "Ask for watch events of type BOOKMARK.", "boolean"),
    Parameter("continue", "The token of an earlier list's answer, to go on where it ended."),
    Parameter(
        "fieldSelector",
        "A selector to restrict the list of returned objects by their fields. Defaults to everything.",
    ),
    Parameter(
        "labelSelector",
        "A selector to restrict the list of returned objects by their labels. Defaults to everything.",
    ),
    Parameter("limit", "The most objects that a list answers with.", "integer"),
    Parameter("resourceVersion", "Which resource versions a request may be served from."),
    Parameter("resourceVersionMatch", "How resourceVersion is applied to a list."),
    Parameter(
        "sendInitialEvents",
        "Begin a watch with events for what is there, ended by a bookmark. Needs"
        " resourceVersionMatch=NotOlderThan.",
        "boolean",
    ),
    Parameter("shardSelector", "Restrict the objects to a shard. Defaults to everything."),
    Parameter("timeoutSeconds", "How long a list or watch may last.", "integer"),
    Parameter(
        "watch",
        "Watch for changes to the described resources and return them as a stream of notifications.",
        "boolean",
    ),
)
WRITE = (DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION)
PATCH = (DRY_RUN, FIELD_MANAGER_PATCH, FIELD_VALIDATION, FORCE)
DELETE = (
    DRY_RUN,
    Parameter("gracePeriodSeconds", "Seconds before the object should be deleted.", "integer"),
    Parameter(
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "Delete an object that cannot be read from the store any more. Refused by this server.",
        "boolean",
    ),
    Parameter("orphanDependents", "Deprecated: use propagationPolicy.", "boolean"),
    Parameter("propagationPolicy", "What becomes of dependents: Orphan, Background or Foreground."),
)
# A deletion of a collection takes these of a list beside those of a deletion.
DELETE_COLLECTION = (
    *DELETE,
    *(p for p in LIST if p.name not in ("allowWatchBookmarks", "watch")),
)

_PROXY_PATH = "The part of the URL that the proxied request goes to."


def _flag(name: str, description: str, key: str = "") -> Parameter:
    return Parameter(name, description, "boolean", key=key)


# Options of subresources that connect, by (plural, subresource).
CONNECT: dict[tuple[str, str], tuple[Parameter, ...]] = {
    ("pods", "exec"): (
        Parameter("command", "The command to run, an argv array; no shell.", key="command"),
        Parameter(
            "container", "The container to run in. Defaults to the only one.", key="container-exec"
        ),
        _flag("stderr", "Redirect standard error.", "stderr-exec"),
        _flag("stdin", "Redirect standard input.", "stdin-exec"),
        _flag("stdout", "Redirect standard output.", "stdout-exec"),
        _flag("tty", "Give the command a terminal.", "tty-exec"),
    ),
    ("pods", "attach"): (
        Parameter(
            "container",
            "The container to attach to. Defaults to the only one.",
            key="container-attach",
        ),
        _flag("stderr", "Redirect standard error.", "stderr-attach"),
        _flag("stdin", "Redirect standard input.", "stdin-attach"),
        _flag("stdout", "Redirect standard output.", "stdout-attach"),
        _flag("tty", "Give the session a terminal.", "tty-attach"),
    ),
    ("pods", "portforward"): (
        Parameter("ports", "The ports to forward; required with WebSockets.", "integer"),
    ),
    ("pods", "proxy"): (Parameter("path", _PROXY_PATH, key="path-pod"),),
    ("services", "proxy"): (Parameter("path", _PROXY_PATH, key="path-service"),),
    ("nodes", "proxy"): (Parameter("path", _PROXY_PATH, key="path-node"),),
}
PROXY_PATH = Parameter("path", "path to the resource", where="path", key="path-resource")
LOG = (
    Parameter("container", "The container whose log to read. Defaults to the only one.", key="container-log"),
    _flag("follow", "Go on with what is written from now on."),
    _flag("insecureSkipTLSVerifyBackend", "Do not check the kubelet's certificate."),
    Parameter("limitBytes", "The most bytes to answer with.", "integer"),
    _flag("previous", "Read the log of the container's previous run."),
    Parameter("sinceSeconds", "How old the lines may be.", "integer"),
    Parameter("stream", "Which stream: All, Stdout or Stderr."),
    Parameter("tailLines", "How many lines from the end.", "integer"),
    _flag("timestamps", "Put a time before each line."),
)  # fmt: skip


def name_parameter(kind: str) -> Parameter:
    """The object's name in the path."""
    return Parameter("name", f"name of the {kind}", where="path", shared=False)
