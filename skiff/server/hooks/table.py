"""The table of hooks: one row a kind (by storage) whose writes mean more than storing it."""

from typing import Final

from skiff.server.hooks.base import Hooks
from skiff.server.hooks.kinds import (
    BatchJobHooks,
    CertificateHooks,
    EventHooks,
    NamespaceHooks,
    PodHooks,
    ReplicationControllerHooks,
    ReturnedHooks,
    VolumeHooks,
)
from skiff.server.hooks.services import ServiceHooks

_PLAIN: Final = Hooks()
_RETURNED: Final = ReturnedHooks()

TABLE: Final[dict[tuple[str, str], Hooks]] = {
    ("", "events"): EventHooks(),  # nothing depends on an event
    ("", "namespaces"): NamespaceHooks(),  # deleted in two steps
    ("", "persistentvolumeclaims"): _RETURNED,
    ("", "persistentvolumes"): VolumeHooks(),  # dated phases
    ("", "pods"): PodHooks(),  # end gracefully
    ("", "podtemplates"): _RETURNED,
    ("", "replicationcontrollers"): ReplicationControllerHooks(),  # orphan by default
    ("", "resourcequotas"): _RETURNED,
    ("", "serviceaccounts"): _RETURNED,
    ("", "services"): ServiceHooks(),  # cluster IPs and node ports
    ("batch", "jobs"): BatchJobHooks(),  # orphan by default
    ("certificates.k8s.io", "certificatesigningrequests"): CertificateHooks(),  # dated conditions
    ("resource.k8s.io", "deviceclasses"): _RETURNED,
    ("resource.k8s.io", "resourceclaims"): _RETURNED,
    ("resource.k8s.io", "resourceclaimtemplates"): _RETURNED,
    ("resource.k8s.io", "resourceslices"): _RETURNED,
    ("storage.k8s.io", "csidrivers"): _RETURNED,
    ("storage.k8s.io", "csinodes"): _RETURNED,
    ("storage.k8s.io", "storageclasses"): _RETURNED,
    ("storage.k8s.io", "volumeattachments"): _RETURNED,
    ("storage.k8s.io", "volumeattributesclasses"): _RETURNED,
}


def hooks_for(storage: tuple[str, str]) -> Hooks:
    """The hooks of a stored resource."""
    return TABLE.get(storage, _PLAIN)
