"""`/metrics`: requests, stored objects, the process, the build."""

from collections.abc import Callable, Mapping

from skiff.aio.http.message import Response
from skiff.server.discovery.version import GIT_VERSION, version_info
from skiff.server.metrics.exposition import CONTENT_TYPE, Gauge, Registry
from skiff.server.metrics.process import process_metrics
from skiff.server.metrics.requests import RequestMetrics
from skiff.server.seams import Call, PathHandler

Counts = Callable[[], Mapping[tuple[str, str], int]]
"""How many objects are stored of each (group, plural)."""


class Metrics:
    """The server's registry and its handler."""

    def __init__(
        self,
        start_time: float,
        stored: Counts,
        writing: Callable[[], int] = lambda: 0,
        watching: Counts = dict,
        version: str = GIT_VERSION,
    ) -> None:
        self.registry = Registry()
        self.requests = RequestMetrics(self.registry, writing, watching)
        build = version_info(version)
        fields = ("major", "minor", "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform")  # fmt: skip
        names = ("major", "minor", "git_version", "git_commit", "git_tree_state", "build_date", "go_version", "compiler", "platform")  # fmt: skip
        self.registry.add(
            Gauge(
                "apiserver_storage_objects",
                "[STABLE] Number of stored objects at the time of last check split by kind.",
                ("resource",),
                lambda: {
                    (f"{plural}.{group}" if group else plural,): count
                    for (group, plural), count in stored().items()
                },
            ),
            Gauge(
                "apiserver_resource_objects",
                "[ALPHA] Number of stored objects at the time of last check split by kind.",
                ("group", "resource"),
                lambda: dict(stored().items()),
            ),
            Gauge(
                "kubernetes_build_info",
                "[ALPHA] A metric with a constant '1' value labeled by what was built.",
                names,
                lambda: {tuple(build[f] for f in fields): 1},
            ),
            *process_metrics(start_time),
        )

    def handlers(self) -> dict[str, PathHandler]:
        """By path."""
        return {"/metrics": self.serve}

    def serve(self, call: Call) -> Response:
        """The exposition."""
        return Response(200, self.registry.text(), content_type=CONTENT_TYPE)
