"""Kinds: per-kind behaviour beside the generic verb engine. `strategy_for(resource)` is the entry."""

from skiff.api.kinds.columns import Column, Columns
from skiff.api.kinds.errors import FieldError, FieldErrors, invalid_kind, invalid_object
from skiff.api.kinds.strategy import Strategy
from skiff.api.kinds.table import strategy_for

__all__ = [
    "Column",
    "Columns",
    "FieldError",
    "FieldErrors",
    "Strategy",
    "invalid_kind",
    "invalid_object",
    "strategy_for",
]
