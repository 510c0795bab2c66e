"""Who manages which field: the server's side of server-side apply's bookkeeping.

Thin: the field sets and their merging are pure code in `api/fields`. Here is when they are applied
and under whose name.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/#managers
"""

from functools import lru_cache
from typing import Any

from skiff.api.fields import apply, managed
from skiff.api.fields.sets import FieldSet
from skiff.server.options import WriteOptions
from skiff.server.served import Served

Object = dict[str, Any]


@lru_cache(maxsize=1024)
def manager_of(option: str, user_agent: str) -> str:
    """The manager of a call: as asked for, else the program's name in the User-Agent header."""
    return managed.manager_name(option, user_agent) or "unknown"


class ManagedFields:
    """Keeps metadata.managedFields."""

    def created(self, served: Served, obj: Object, manager: str, now: str) -> None:
        """`manager` sent a new object (changed in place)."""
        ignored: FieldSet | None = {} if served.strategy.created_with_status else None
        managed.on_create(
            obj, manager, served.resource.api_version, now, served.schema, ignored=ignored
        )

    def updated(
        self, served: Served, old: Object, new: Object, manager: str, subresource: str, now: str
    ) -> None:
        """`manager` wrote `new` (changed in place) over `old`."""
        managed.on_update(
            old,
            new,
            manager,
            served.resource.api_version,
            now,
            served.schema,
            subresource,
            versions=served.versions,
        )

    def applied(
        self,
        served: Served,
        live: Object | None,
        config: Object,
        options: WriteOptions,
        subresource: str,
        now: str,
    ) -> Object:
        """The object that results from a manager applying `config` to `live`. Raises Conflict."""
        return apply.apply(
            live,
            config,
            options.manager,
            bool(options.force),
            served.resource.api_version,
            now,
            served.schema,
            subresource,
            versions=served.versions,
        )
