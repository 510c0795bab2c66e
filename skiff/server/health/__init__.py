"""`/healthz`, `/livez`, `/readyz`: whether the server works, check by check.

Source: https://kubernetes.io/docs/reference/using-api/health-checks/.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from skiff.aio.http.message import Response
from skiff.api.errors import NotFound
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
    """The checks, in the order in which they were added; "ping" is always there."""

    def __init__(self) -> None:
        self._checks: list[_Named] = []
        self._pending: dict[str, None] = {}
        self._stopping = False
        self.add("ping", lambda: "")
        self.add("log", lambda: "")

    def add(self, name: str, check: Check, endpoints: Sequence[str] = ENDPOINTS) -> None:
        """Ask this too, under these endpoints."""
        self._checks.append(_Named(name, check, endpoints))

    def add_hook(self, name: str) -> Callable[[], None]:
        """A step of starting (`poststarthook/<name>`): not healthy until the result is called."""
        self._pending[name] = None
        check = f"poststarthook/{name}"
        self.add(check, lambda: "not finished" if name in self._pending else "")
        return lambda: self._pending.pop(name, None)

    def stop(self) -> None:
        """From now on the server is not ready."""
        self._stopping = True

    def handlers(self) -> dict[str, PathHandler]:
        """By path prefix."""
        return {f"/{endpoint}": self.serve for endpoint in ENDPOINTS}

    def serve(self, call: Call) -> Response:
        """One endpoint, or one check of it."""
        endpoint, _, name = call.info.path.strip("/").partition("/")
        checks = [c for c in self._checks if endpoint in c.endpoints]
        if endpoint == "readyz":
            checks.append(_Named("shutdown", self._shutdown, (endpoint,)))
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
            raise NotFound("the server could not find the requested resource")
        wrong = found.check()
        if wrong:
            return _text(500, f"internal server error: {wrong}\n")
        return _text(200, "ok")

    @staticmethod
    def _all(
        endpoint: str, checks: Sequence[_Named], verbose: bool, exclude: Sequence[str]
    ) -> Response:
        lines: list[str] = []
        failed = False
        for named in checks:
            if named.name in exclude:
                lines.append(f"[+]{named.name} excluded: ok\n")
            elif named.check():
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
