"""What is counted of each request: how many, how long, how many at once.

Source: https://kubernetes.io/docs/reference/instrumentation/metrics/ (apiserver_request_…).
"""

from collections.abc import Callable, Mapping

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
_CONNECT = frozenset({"exec", "attach", "portforward", "proxy"})

_Key = tuple[str, str, str, str, str, bool, bool]


Counts = Callable[[], Mapping[tuple[str, str], int]]


class RequestMetrics:
    """Counts answered requests. `writing` tells how many writes are under way (reads are answered at
    once), `watching` how many watches of each (group, plural)."""

    def __init__(self, registry: Registry, writing: Callable[[], int], watching: Counts) -> None:
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
        self._labels: dict[_Key, Labels] = {}
        registry.add(
            self._total,
            self._duration,
            Gauge(
                "apiserver_current_inflight_requests",
                "[STABLE] Maximal number of currently used inflight request limit of this"
                " apiserver per request kind in last second.",
                ("request_kind",),
                lambda: {("mutating",): writing(), ("readOnly",): 0},
            ),
            Gauge(
                "apiserver_longrunning_requests",
                "[STABLE] Gauge of all active long-running apiserver requests broken out by verb,"
                " group, version, resource, scope and component.",
                ("component", "group", "resource", "verb"),
                lambda: {
                    ("apiserver", group, plural, "WATCH"): count
                    for (group, plural), count in watching().items()
                },
            ),
        )

    def count(self, info: RequestInfo, code: int, seconds: float, *, known: bool = True) -> None:
        """Count an answered request. `known` says that its resource exists; others share one child."""
        labels = self._labels_of(info, known)
        self._total.add((str(code), *labels))
        self._duration.observe(labels, seconds)

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
