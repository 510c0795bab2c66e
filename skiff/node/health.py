"""The kubelet's `/healthz` and what became of its checks (`/metrics/slis`).

The checks are kubelet's: `ping`, `log`, and `syncloop`, which fails when the pods' workers cannot be asked.

Source: https://kubernetes.io/docs/reference/using-api/health-checks/ (the kubelet's are alike) and
https://kubernetes.io/docs/reference/instrumentation/slis/.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import parse_qs

from skiff.aio.http.message import Response

_TEXT: Final = "text/plain; charset=utf-8"
Check = Callable[[], object]
"""Raises where something is wrong."""


class NodeHealth:
    """See the module's text. `syncloop` asks the workers."""

    def __init__(self, syncloop: Check) -> None:
        self._checks: dict[str, Check] = {
            "ping": lambda: None,
            "log": lambda: None,
            "syncloop": syncloop,
        }
        self._results: dict[str, bool] = {}
        self._counts: Counter[tuple[str, bool]] = Counter()

    def answer(self, query: str, name: str) -> Response:
        """All checks (`name` empty), or one."""
        options = parse_qs(query, keep_blank_values=True)
        if name:
            if name not in self._checks:
                return Response(404, b"404 page not found\n", _TEXT)
            if fault := self._fault(name):
                return Response(500, f"internal server error: {fault}\n".encode(), _TEXT)
            return Response(200, b"ok", _TEXT)
        excluded = options.get("exclude", [])
        lines, failed = [], False
        for check in self._checks:
            if check in excluded:
                lines.append(f"[+]{check} excluded: ok\n")
            elif self._passes(check):
                lines.append(f"[+]{check} ok\n")
            else:
                failed = True
                lines.append(f"[-]{check} failed: reason withheld\n")
        if failed:
            return Response(500, "".join([*lines, "healthz check failed\n"]).encode(), _TEXT)
        if "verbose" in options:
            return Response(200, "".join([*lines, "healthz check passed\n"]).encode(), _TEXT)
        return Response(200, b"ok", _TEXT)

    def metrics(self) -> str:
        """How the checks went. What nobody has asked for yet is asked now."""
        if not self._results:
            self.answer("", "")
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        name, total = "kubernetes_healthcheck", "kubernetes_healthchecks_total"
        yield f"# HELP {name} [STABLE] This metric records the result of a single healthcheck."
        yield f"# TYPE {name} gauge"
        for check, well in self._results.items():
            yield f'{name}{{name="{check}",type="healthz"}} {int(well)}'
        yield f"# HELP {total} [STABLE] This metric records the results of all healthcheck."
        yield f"# TYPE {total} counter"
        for (check, well), count in self._counts.items():
            status = "success" if well else "error"
            yield f'{total}{{name="{check}",status="{status}",type="healthz"}} {count}'

    def _passes(self, name: str) -> bool:
        well = not self._fault(name)
        self._results[name] = well
        self._counts[name, well] += 1
        return well

    def _fault(self, name: str) -> str:
        try:
            self._checks[name]()
        except Exception as e:  # noqa: BLE001 - whatever it is, the check failed
            return str(e) or type(e).__name__
        return ""
