"""Which resources are stored in another version, and how they convert.

The conversions themselves are pure code of the kinds (`api/convert.py`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from skiff.api.resources import Resource

Convert = Callable[[dict[str, Any]], dict[str, Any]]


def converters(resource: Resource) -> dict[str, Convert]:
    """`to_storage` and `from_storage` of a resource that is kept in another version, else nothing."""
    if not resource.persisted or resource.storage_version == resource.api_version:
        return {}
    from skiff.api import convert  # few resources have versions

    return {
        "to_storage": partial(convert.convert, to=resource.storage_version),
        "from_storage": partial(convert.convert, to=resource.api_version),
    }
