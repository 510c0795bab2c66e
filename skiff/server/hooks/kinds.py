"""Hooks of single kinds that need few words. Services have a file of their own."""

from typing import TYPE_CHECKING, ClassVar, Final

from skiff.aio.clock import rfc3339
from skiff.server.hooks.base import Finish, Hooks, Object

if TYPE_CHECKING:
    from skiff.server.engine import Engine
    from skiff.server.options import DeleteOptions


_PHASE_TIME: Final = "lastPhaseTransitionTime"


class ReturnedHooks(Hooks):
    """A delete answers with the object."""

    returns_deleted: ClassVar[bool] = True


class EventHooks(Hooks):
    """Events own nothing."""

    collects_garbage: ClassVar[bool] = False


class ReplicationControllerHooks(Hooks):
    """v1 ReplicationControllers leave their pods alive unless told otherwise."""

    orphans_by_default: ClassVar[bool] = True


class BatchJobHooks(Hooks):
    """batch/v1 Jobs leave their pods alive unless told otherwise."""

    orphans_by_default: ClassVar[bool] = True


class PodHooks(ReturnedHooks):
    """Pods end gracefully: they are told, and are gone when their node says so.

    Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
    """

    def grace_s(self, obj: Object, options: "DeleteOptions") -> int | None:
        spec = obj.get("spec", {})
        period = options.grace_s
        if period is None:
            period = spec.get("terminationGracePeriodSeconds") or 0
        # There is nobody to wait for: not scheduled, or ended already.
        ended = obj.get("status", {}).get("phase") in ("Failed", "Succeeded")
        if not spec.get("nodeName") or ended:
            return 0
        return period if period >= 0 else 1


class CertificateHooks(Hooks):
    """The conditions of a signing request carry times even where the writer gives none.

    Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
    """

    def set_times(self, engine: "Engine", new: Object, old: Object) -> None:
        before = {(c["type"], c["status"]): c for c in _conditions(old)}
        for condition in _conditions(new):
            now = rfc3339(engine.clock.now())
            same = before.get((condition.get("type", ""), condition.get("status", "")), {})
            if not condition.get("lastUpdateTime"):
                condition["lastUpdateTime"] = now
            if not condition.get("lastTransitionTime"):
                condition["lastTransitionTime"] = same.get("lastTransitionTime") or now


def _conditions(request: Object) -> list[Object]:
    found: list[Object] = (request.get("status") or {}).get("conditions") or []
    return found


class VolumeHooks(ReturnedHooks):
    """A volume's status tells when its phase changed last.

    Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#phase-transition-timestamp
    """

    def begin_create(self, engine: "Engine", obj: Object, *, dry_run: bool) -> Finish | None:
        del dry_run
        obj.setdefault("status", {})[_PHASE_TIME] = rfc3339(engine.clock.now())
        return None

    def set_times(self, engine: "Engine", new: Object, old: Object) -> None:
        status, before = new.get("status") or {}, old.get("status") or {}
        if status.get("phase") != before.get("phase"):
            given = status.get(_PHASE_TIME)
            if not given or given == before.get(_PHASE_TIME):
                status[_PHASE_TIME] = rfc3339(engine.clock.now())


class NamespaceHooks(Hooks):
    """A namespace is marked first; it goes when its finalizers are gone (namespace controller).

    Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/
    """

    def delete_first(self, obj: Object, now: str) -> bool:
        meta = obj["metadata"]
        if meta.get("deletionTimestamp"):
            return bool(obj.get("spec", {}).get("finalizers"))
        meta["deletionTimestamp"] = now
        obj.setdefault("status", {})["phase"] = "Terminating"
        return True

    def gone_on_update(self, new: Object, old: Object) -> bool:
        del old
        meta = new["metadata"]
        held = meta.get("finalizers") or new.get("spec", {}).get("finalizers")
        return bool(meta.get("deletionTimestamp")) and not held
