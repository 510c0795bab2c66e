"""The plain hooks: nothing special happens."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from skiff.server.engine import Engine
    from skiff.server.options import DeleteOptions

Object = dict[str, Any]
Finish = Callable[[bool], None]
"""Called once when a write has ended: True where it took place, False where it must be undone."""


class Hooks:
    """What generic deletion and allocation need to know of one kind."""

    returns_deleted: ClassVar[bool] = False
    """A delete answers with the object instead of a Status of success."""
    orphans_by_default: ClassVar[bool] = False
    """A delete without a propagation policy leaves dependents alive."""
    collects_garbage: ClassVar[bool] = True
    """Whether dependents and finalizers of garbage collection mean anything for this kind."""

    def begin_create(self, engine: "Engine", obj: Object, *, dry_run: bool) -> Finish | None:
        """Allocate what the new object needs, in place, before it is validated. Raises ApiError."""
        del engine, obj, dry_run
        return None

    def begin_update(
        self, engine: "Engine", new: Object, old: Object, *, dry_run: bool
    ) -> Finish | None:
        """The same for an update."""
        del engine, new, old, dry_run
        return None

    def set_times(self, engine: "Engine", new: Object, old: Object) -> None:
        """Fill in the times that the server sets in an update, of a subresource too."""
        del engine, new, old

    def deleted(self, engine: "Engine", obj: Object) -> None:
        """Give back what the object held; it is gone from the store."""
        del engine, obj

    def grace_s(self, obj: Object, options: "DeleteOptions") -> int | None:
        """How long the object may take to end; None where the kind knows no graceful deletion."""
        del obj, options
        return None

    def delete_first(self, obj: Object, now: str) -> bool:
        """Whether a delete request, instead of deleting, only changed the object in place."""
        del obj, now
        return False

    def gone_on_update(self, new: Object, old: Object) -> bool:
        """Whether an update that leaves `new` ends the object's life."""
        meta, before = new["metadata"], old["metadata"]
        return not meta.get("finalizers") and before.get("deletionGracePeriodSeconds") == 0
