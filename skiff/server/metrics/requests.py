"""What is counted of each request: how many, how long, how many at once.

Source: https://kubernetes.io/docs/reference/instrumentation/metrics/ (apiserver_request_…).
"""

from skiff.server.metrics.exposition import Counter, Gauge, Histogram, Labels, Registry
from skiff.server.request import RequestInfo

# Kubernetes' own bounds, in seconds.
DURATION_BOUNDS_S = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30,
    45, 60,
)  # fmt: skip
_LABELS = ("component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version")
_VERBS = {
    "get": "GET",
    "list": "LIST",
    "watch": "WATCH",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "deletecollection": "DELETECOLLECTION",
    "connect": "CONNECT",
}
_READ_ONLY = frozenset({"get", "list", "watch", "head"})
_CONNECT = frozenset({"exec", "attach", "portforward", "proxy"})

_Key = tuple[str, str, str, str, str, bool, bool]


class RequestMetrics:
    """Counts requests. `begin` when one comes in, `end` when it is answered."""

    def __init__(self, registry: Registry) -> None:
        self._total = Counter(
            "apiserver_request_total",
            "[STABLE] Counter of apiserver requests broken out for each verb, dry run value,"
            " group, version, resource, scope, component, and HTTP response code.",
            ("code", *_LABELS),
        )
        self._duration = Histogram(
            "apiserver_request_duration_seconds",
            "[STABLE] Response latency distribution in seconds for each verb, dry run value,"
            " group, version, resource, subresource, scope and component.",
            DURATION_BOUNDS_S,
            _LABELS,
        )
        self._long_running: dict[Labels, float] = {}
        self.reading = 0
        self.writing = 0
        self._labels: dict[_Key, Labels] = {}
        registry.add(
            self._total,
            self._duration,
            Gauge(
                "apiserver_current_inflight_requests",
                "[STABLE] Maximal number of currently used inflight request limit of this"
                " apiserver per request kind in last second.",
                ("request_kind",),
                lambda: {("mutating",): self.writing, ("readOnly",): self.reading},
            ),
            Gauge(
                "apiserver_longrunning_requests",
                "[STABLE] Gauge of all active long-running apiserver requests broken out by verb,"
                " group, version, resource, scope and component.",
                _LABELS,
                lambda: self._long_running,
            ),
        )

    def begin(self, info: RequestInfo) -> None:
        """A request is being worked on (a long-running one not: see `stream`)."""
        if info.verb in _READ_ONLY:
            self.reading += 1
        else:
            self.writing += 1

    def end(self, info: RequestInfo, code: int, seconds: float, *, known: bool = True) -> None:
        """It was answered. `known` says that its resource exists; others share one child."""
        if info.verb in _READ_ONLY:
            self.reading -= 1
        else:
            self.writing -= 1
        self.count(info, code, seconds, known=known)

    def count(self, info: RequestInfo, code: int, seconds: float, *, known: bool = True) -> None:
        """Count an answered request without touching what is under way."""
        labels = self._labels_of(info, known)
        self._total.add((str(code), *labels))
        self._duration.observe(labels, seconds)

    def stream(self, info: RequestInfo, change: int) -> None:
        """A long-running request (watch, exec, log follow) began (1) or ended (-1)."""
        labels = self._labels_of(info, known=True)
        self._long_running[labels] = self._long_running.get(labels, 0) + change

    def _labels_of(self, info: RequestInfo, known: bool) -> Labels:
        if not (info.is_resource and known):
            path = (info.verb, "", "", "", "", False, False)
            return self._labels.get(path) or self._make(path, "")
        key = (
            info.verb, info.group, info.version, info.resource, info.subresource,
            bool(info.name), bool(info.namespace),
        )  # fmt: skip
        labels = self._labels.get(key)
        if labels is None:
            one = info.name or info.verb == "create"
            scope = "resource" if one else "namespace" if info.namespace else "cluster"
            labels = self._make(key, scope)
        if info.query and "dryRun=All" in info.query:
            return (labels[0], "All", *labels[2:])
        return labels

    def _make(self, key: _Key, scope: str) -> Labels:
        verb, group, version, resource, subresource, _, _ = key
        shown = "CONNECT" if subresource in _CONNECT else _VERBS.get(verb, verb.upper())
        labels = ("apiserver", "", group, resource, scope, subresource, shown, version)
        if len(self._labels) < 20_000:  # as many as the counters may have children
            self._labels[key] = labels
        return labels
