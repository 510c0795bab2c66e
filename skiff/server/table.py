"""Tables: objects as rows, for people's eyes (`kubectl get`).

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from collections.abc import Iterable
from typing import Any

import orjson

from skiff.aio.clock import Clock
from skiff.api.errors import BadRequest
from skiff.api.kinds import Columns
from skiff.server.negotiate import Shape
from skiff.server.shape import STORED, Presenter, partial
from skiff.server.stamp import revision_of

INCLUDES = ("None", "Metadata", "Object")


def check_include(include: str) -> None:
    """Raises BadRequest for an includeObject that does not exist."""
    if include not in INCLUDES:
        raise BadRequest(f'unrecognized includeObject value: "{include}"')


def of_objects(
    columns: Columns,
    values: Iterable[bytes],
    shape: Shape,
    now: float,
    include: str,
    metadata: dict[str, Any],
    base: Presenter = STORED,
) -> dict[str, Any]:
    """A Table of the objects in `values` (stored bytes), as of `now` (Unix seconds). Cells are those
    of the stored version; whole objects, where they are asked for, are as `base` has them."""
    check_include(include)
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{shape.version}",
        "metadata": metadata,
        "columnDefinitions": [c.definition() for c in columns.columns],
        "rows": [row(columns, value, shape, now, include, base) for value in values],
    }


def row(
    columns: Columns, value: bytes, shape: Shape, now: float, include: str, base: Presenter = STORED
) -> dict[str, Any]:
    """One object's row."""
    obj = orjson.loads(value)
    cells = columns.cells(obj, now)
    if include == "None":
        return {"cells": cells, "object": None}
    if include == "Object":
        shown = obj if base is STORED else orjson.loads(base.object(value))
        return {"cells": cells, "object": shown}
    return {"cells": cells, "object": partial(obj, f"meta.k8s.io/{shape.version}")}


class TablePresenter(Presenter):
    """Watch events as Tables of one row. `base` gives the object in the served version."""

    def __init__(
        self, columns: Columns, shape: Shape, include: str, base: Presenter, clock: Clock
    ) -> None:
        check_include(include)
        self.key = ("table", base.key, shape.version, include)
        self._columns = columns
        self._shape = shape
        self._include = include
        self._base = base
        self._clock = clock

    def object(self, value: bytes) -> bytes:
        metadata = {"resourceVersion": str(revision_of(value))}
        found = of_objects(
            self._columns,
            [value],
            self._shape,
            self._clock.now(),
            self._include,
            metadata,
            self._base,
        )
        return orjson.dumps(found)
