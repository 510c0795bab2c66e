"""Selectors of views, as matchers."""

from functools import lru_cache
from typing import Any, Final

from skiff.api.selectors import NOTHING, LabelSelector, structured
from skiff.api.views import meta

CACHED_SELECTORS: Final = 8192


def matcher(selector: meta.LabelSelector | None) -> LabelSelector:
    """The matcher of a LabelSelector; None selects nothing, an empty one everything.

    Raises SelectorError where an expression is malformed.
    """
    if selector is None:
        return NOTHING
    return _matcher(
        tuple(selector.match_labels.items()),
        tuple((e.key, e.operator, e.values) for e in selector.match_expressions),
    )


@lru_cache(maxsize=CACHED_SELECTORS)
def _matcher(
    labels: tuple[tuple[str, str], ...], expressions: tuple[tuple[str, str, tuple[str, ...]], ...]
) -> LabelSelector:
    body: dict[str, Any] = {
        "matchLabels": dict(labels),
        "matchExpressions": [{"key": k, "operator": o, "values": v} for k, o, v in expressions],
    }
    return structured(body)
