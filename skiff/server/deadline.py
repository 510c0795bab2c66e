"""The `timeout` of a request's URL: how long the client waits at most.

An answer never takes nearly as long as the server's own limit, so a valid value changes nothing here;
one that is no duration is refused, as Kubernetes refuses it. Long-running requests are not asked.

Source: kube-apiserver's request deadline (`--request-timeout`) and Go's time.ParseDuration.
"""

import re
from typing import Final

from skiff.api.errors import BadRequest
from skiff.server.request import RequestInfo

LONG_RUNNING: Final = frozenset({"attach", "exec", "log", "portforward", "proxy"})
"""Subresources whose requests take as long as the client likes."""
_UNITS: Final = frozenset({"ns", "us", "µs", "μs", "ms", "s", "m", "h"})
_PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)")


def is_long_running(info: RequestInfo) -> bool:
    """Whether a request goes on for as long as both sides like."""
    return info.subresource in LONG_RUNNING or (info.is_resource and info.verb == "watch")


def check_timeout(info: RequestInfo) -> None:
    """Raises BadRequest for a timeout that is no duration."""
    text = info.options.get("timeout", "")
    if text and not is_long_running(info) and (wrong := duration_fault(text)):
        raise BadRequest(f"invalid timeout specified in the request URL - {wrong}")


def duration_fault(text: str) -> str:
    """What Go's time.ParseDuration says of a text, "" where it is a duration."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return ""
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    at = 0
    while at < len(rest):
        found = _PART.match(rest, at)
        if found is None:
            break
        unit = found.group(2)
        if not unit:
            return f"time: missing unit in duration {quoted}"
        if unit not in _UNITS:
            return f'time: unknown unit "{unit}" in duration {quoted}'
        at = found.end()
    return "" if rest and at == len(rest) else f"time: invalid duration {quoted}"
