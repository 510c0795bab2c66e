"""ControllerRevisions: immutable snapshots of a workload's state.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/controller-revision-v1/
"""

from typing import Any, ClassVar

from skiff.api.kinds import errors as fe
from skiff.api.kinds.columns import AGE, NAME, NONE, Columns, columns, since
from skiff.api.kinds.errors import FieldErrors, immutable
from skiff.api.kinds.strategy import Object, Strategy


def _cells(obj: Object, now: float) -> list[Any]:
    meta = obj["metadata"]
    owner = next((o for o in meta.get("ownerReferences", ()) if o.get("controller")), None)
    controller = NONE
    if owner is not None:
        group = owner.get("apiVersion", "").rpartition("/")[0]
        kind = owner.get("kind", "").lower()
        controller = (
            f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"
        )
    return [
        meta.get("name", ""),
        controller,
        obj.get("revision", 0),
        since(meta.get("creationTimestamp"), now),
    ]


class ControllerRevisionStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(NAME, "Controller", "Revision:integer", AGE), _cells
    )

    def validate_body(self, obj: Object) -> FieldErrors:
        errors: FieldErrors = []
        if obj.get("data") is None:
            errors.append(fe.required("data", "data is mandatory"))
        revision = obj.get("revision", 0)
        if revision < 0:
            message = "must be greater than or equal to 0"
            errors.append(fe.invalid("revision", revision, message))
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        return immutable("data", new.get("data"), old.get("data"))
