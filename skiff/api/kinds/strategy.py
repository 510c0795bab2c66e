"""`Strategy`: what the generic verb engine needs to know of one kind.

The base class serves a kind that has no rules of its own; each kind's file has a subclass that adds
defaults, rules and columns. Strategies are pure: what a server allocates (uid, timestamps, cluster IPs,
node ports, tokens) is the server's business, and so are the checks that need other objects.

Order on create: `default`, `prepare_create`, (the server fills metadata and allocates), `validate`.
Order on update: `default`, `prepare_update`, (the server fills metadata), `validate` and `validate_update`.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from skiff.api.errors import BadRequest
from skiff.api.kinds import metadata, names
from skiff.api.kinds.columns import DEFAULT, Columns
from skiff.api.kinds.errors import FieldErrors
from skiff.api.resources import Resource

Object = dict[str, Any]


class Strategy:
    """The rules of one kind. Methods change `obj` or `new` in place where they say so."""

    columns: ClassVar[Columns] = DEFAULT
    # Bump metadata.generation when anything outside metadata and status changes.
    has_generation: ClassVar[bool] = False
    # What a new object's status is: Kubernetes writes some zero values out.
    empty_status: ClassVar[Object | None] = None
    # A new object keeps the status that it comes with, and its creator owns that.
    created_with_status: ClassVar[bool] = False
    # Field selectors beyond metadata.name and metadata.namespace.
    selectable_fields: ClassVar[tuple[str, ...]] = ()
    # PUT to a name that does not exist creates it.
    create_on_update: ClassVar[bool] = False
    # An update without resourceVersion overwrites.
    unconditional_update: ClassVar[bool] = True

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.has_status = "status" in resource.subresources

    @staticmethod
    def name_rule(name: str, /) -> Sequence[str]:
        """Why a name is not allowed for this kind. (A class may set another function of `names`.)"""
        return names.dns1123_subdomain(name)

    def default(self, obj: Object) -> None:
        """Fills in, in place, what the API defines as defaults. Idempotent."""

    def prepare_create(self, obj: Object) -> None:
        """In place: what a client may not set on create is cleared; generation starts at 1."""
        if self.has_status:
            if self.empty_status is None:
                obj["status"] = {}
            else:
                obj["status"] = _copy(self.empty_status)
        if self.has_generation:
            obj["metadata"]["generation"] = 1

    def prepare_update(self, new: Object, old: Object, subresource: str = "") -> None:
        """In place: an update of the main resource keeps the status; one of status keeps the rest."""
        if self.has_status:
            if subresource == "status":
                self.keep_but_status(new, old)
            elif "status" in old:
                new["status"] = old["status"]
            else:
                new.pop("status", None)
        if self.has_generation:
            generation = old["metadata"].get("generation", 0)
            if subresource != "status" and self.changed(new, old):
                generation += 1
            if generation:
                new["metadata"]["generation"] = generation
            else:
                new["metadata"].pop("generation", None)

    def keep_but_status(self, new: Object, old: Object) -> None:
        """In place: everything but metadata and status is the old object's."""
        for key in [k for k in new if k not in _OWN]:
            if key not in old:
                del new[key]
        for key, value in old.items():
            if key not in _OWN:
                new[key] = value

    def changed(self, new: Object, old: Object) -> bool:
        """Whether the generation moves: anything outside metadata and status differs."""
        if "spec" in new or "spec" in old:
            return bool(new.get("spec") != old.get("spec"))
        return any(new.get(k) != old.get(k) for k in new.keys() | old.keys() if k not in _OWN)

    def reset_fields(self, subresource: str = "") -> tuple[str, ...]:
        """Top-level fields that a write to this (sub)resource does not own (server-side apply)."""
        if not self.has_status:
            return ()
        return ("spec",) if subresource == "status" else ("status",)

    def validate(self, obj: Object) -> FieldErrors:
        """All faults of an object that is to be stored."""
        errors = metadata.validate_metadata(
            obj["metadata"], self.name_rule, self.resource.namespaced
        )
        return errors + self.validate_body(obj)

    def validate_create(self, obj: Object) -> FieldErrors:
        """All faults of an object that is to be created."""
        return self.validate(obj) + self.validate_new(obj)

    def validate_new(self, obj: Object) -> FieldErrors:
        """The faults that only a new object can have."""
        del obj
        return []

    def validate_body(self, obj: Object) -> FieldErrors:
        """The faults beyond metadata."""
        del obj
        return []

    def validate_update(self, new: Object, old: Object, subresource: str = "") -> FieldErrors:
        """What this update may not change. `validate` runs apart, before."""
        errors = metadata.validate_metadata_update(new["metadata"], old["metadata"])
        if subresource == "status":
            return errors + self.validate_status_update(new, old)
        return errors + self.validate_change(new, old)

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        """The faults of a change of the main resource, beyond metadata."""
        del new, old
        return []

    def validate_status_update(self, new: Object, old: Object) -> FieldErrors:
        """The faults of a change of status, beyond metadata."""
        del new, old
        return []

    def warnings(self, obj: Object, old: Object | None = None) -> list[str]:
        """What the client should be told in `Warning` headers about this object."""
        del obj, old
        return []

    def selectable(self, obj: Object) -> dict[str, str]:
        """The values of `selectable_fields`."""
        del obj
        return {}

    def check_field_label(self, label: str) -> None:
        """Raises BadRequest where a field selector names a field that this kind cannot select on."""
        if label in self.selectable_fields or label in ("metadata.name", "metadata.namespace"):
            return
        if self.selectable_fields:
            raise BadRequest(f"field label not supported: {label}")
        raise BadRequest(
            f'"{label}" is not a known field selector: only "metadata.name", "metadata.namespace"'
        )


_OWN: Final = frozenset(("apiVersion", "kind", "metadata", "status"))


def _copy(value: Any) -> Any:
    """A deep copy of plain JSON."""
    if isinstance(value, dict):
        return {k: _copy(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_copy(v) for v in value]
    return value
