"""`/healthz`, `/livez`, `/readyz`: whether the server works, check by check.

The checks carry Kubernetes' names and stand in its order: `ping`, `log`, the store (`etcd`), what only
readiness asks, then the steps of starting (`steps.py`), and whether the server is ending.

Source: https://kubernetes.io/docs/reference/using-api/health-checks/.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from skiff.aio.http.message import Response
from skiff.aio.run import Component
from skiff.server.health import steps
from skiff.server.metrics.exposition import CONTENT_TYPE, Counter, Gauge, Labels, Registry
from skiff.server.seams import Call, PathHandler

ENDPOINTS = ("healthz", "livez", "readyz")
_TEXT = "text/plain; charset=utf-8"
_HEADERS = (("cache-control", "no-cache, private"), ("x-content-type-options", "nosniff"))

Check = Callable[[], str]
"""Says what is wrong; "" where nothing is."""


@dataclass(frozen=True, slots=True)
class _Named:
    name: str
    check: Check
    endpoints: Sequence[str]


class Health:
    """See the module's text. `store` says what is wrong with the store."""

    def __init__(self, store: Check = lambda: "") -> None:
        self._checks: list[_Named] = []
        self._pending = {milestone for _, milestone in steps.STEPS}
        self._stopping = False
        self._results: dict[Labels, float] = {}
        self._count = Counter(
            "kubernetes_healthchecks_total",
            "[STABLE] This metric records the results of all healthcheck.",
            ("name", "status", "type"),
        )
        self._metrics = Registry(
            (
                Gauge(
                    "kubernetes_healthcheck",
                    "[STABLE] This metric records the result of a single healthcheck.",
                    ("name", "type"),
                    lambda: self._results,
                ),
                self._count,
            )
        )
        self.add("ping", lambda: "")
        self.add("log", lambda: "")
        self.add("etcd", store)
        self.add("etcd-readiness", store, ("readyz",))
        self.add("informer-sync", lambda: self._due(steps.READ), ("readyz",))
        for name, milestone in steps.STEPS:
            full = name if name in steps.PLAIN else f"poststarthook/{name}"
            self.add(full, lambda milestone=milestone: self._due(milestone))  # type: ignore[misc]
        self.add("shutdown", self._shutdown, ("readyz",))

    def add(self, name: str, check: Check, endpoints: Sequence[str] = ENDPOINTS) -> None:
        """Ask this too, under these endpoints."""
        self._checks.append(_Named(name, check, endpoints))

    def reached(self, milestone: str) -> None:
        """The steps that belong to `milestone` are done."""
        self._pending.discard(milestone)

    def noted(self, name: str, component: Component) -> Component:
        """`component`, which reaches the milestone `name` when it has started."""
        return steps.Noted(component, lambda: self.reached(name))

    def _due(self, milestone: str) -> str:
        return "not finished" if milestone in self._pending else ""

    def stop(self) -> None:
        """From now on the server is not ready."""
        self._stopping = True

    def handlers(self) -> dict[str, PathHandler]:
        """By path prefix."""
        return {
            **{f"/{endpoint}": self.serve for endpoint in ENDPOINTS},
            "/metrics/slis": self.serve_results,
        }

    def serve_results(self, call: Call) -> Response:
        """How the checks went, those that were asked for with all others. What nobody has asked for
        yet is asked now."""
        for endpoint in ENDPOINTS:
            if not any(of == endpoint for _, of in self._results):
                for named in self._checks:
                    if endpoint in named.endpoints:
                        self._passes(named, endpoint)
        return Response(200, self._metrics.text(), content_type=CONTENT_TYPE)

    def paths(self) -> list[str]:
        """Every endpoint's checks, each of which can be asked alone."""
        return [f"/{e}/{c.name}" for c in self._checks for e in c.endpoints]

    def serve(self, call: Call) -> Response:
        """One endpoint, or one check of it."""
        endpoint, _, name = call.info.path.strip("/").partition("/")
        checks = [c for c in self._checks if endpoint in c.endpoints]
        if name:
            return self._one(checks, name)
        verbose = "verbose" in call.info.all_options
        return self._all(endpoint, checks, verbose, call.info.all_options.get("exclude", []))

    def _shutdown(self) -> str:
        return "process is shutting down" if self._stopping else ""

    @staticmethod
    def _one(checks: Sequence[_Named], name: str) -> Response:
        found = next((c for c in checks if c.name == name), None)
        if found is None:
            return Response(404, b"404 page not found\n", content_type=_TEXT)
        wrong = found.check()
        if wrong:
            return _text(500, f"internal server error: {wrong}\n")
        return _text(200, "ok")

    def _passes(self, named: _Named, endpoint: str) -> bool:
        """Make a check, and count how it went."""
        well = not named.check()
        self._results[named.name, endpoint] = well
        self._count.add((named.name, "success" if well else "error", endpoint))
        return well

    def _all(
        self, endpoint: str, checks: Sequence[_Named], verbose: bool, exclude: Sequence[str]
    ) -> Response:
        lines: list[str] = []
        failed = False
        for named in checks:
            if named.name in exclude:
                lines.append(f"[+]{named.name} excluded: ok\n")
            elif not self._passes(named, endpoint):
                failed = True
                # Why is for the log, not for whoever may ask here.
                lines.append(f"[-]{named.name} failed: reason withheld\n")
            else:
                lines.append(f"[+]{named.name} ok\n")
        unknown = [e for e in exclude if e not in {c.name for c in checks}]
        if unknown:
            shown = ",".join(f'"{e}"' for e in unknown)
            lines.append(f"warn: some health checks cannot be excluded: no matches for {shown}\n")
        if failed:
            return _text(500, "".join(lines) + f"{endpoint} check failed\n")
        if verbose:
            return _text(200, "".join(lines) + f"{endpoint} check passed\n")
        return _text(200, "ok")


def _text(status: int, text: str) -> Response:
    return Response(status, text.encode(), content_type=_TEXT, headers=_HEADERS)
