# ruff: noqa: RUF012 - msgspec makes a new dict of an empty default for each struct
"""Views of the API group storage/v1.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from typing import ClassVar

from msgspec import field

from skiff.api.resources import RESOURCES, Resource
from skiff.api.views.affinity import TopologySelectorTerm
from skiff.api.views.base import View
from skiff.api.views.meta import LabelSelector, ObjectMeta
from skiff.api.views.volume import PersistentVolumeSpec


class TokenRequest(View, frozen=True, kw_only=True):
    audience: str = ""
    expiration_seconds: int | None = None


class CSIDriverSpec(View, frozen=True, kw_only=True):
    attach_required: bool | None = None
    fs_group_policy: str = ""
    node_allocatable_update_period_seconds: int | None = None
    pod_info_on_mount: bool | None = None
    prevent_pod_scheduling_if_missing: bool = False
    requires_republish: bool | None = None
    se_linux_mount: bool | None = None
    service_account_token_in_secrets: bool = False
    storage_capacity: bool | None = None
    token_requests: tuple[TokenRequest, ...] = ()
    volume_lifecycle_modes: tuple[str, ...] = ()


class CSIDriver(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["storage.k8s.io", "v1", "csidrivers"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: CSIDriverSpec = CSIDriverSpec()


class VolumeNodeResources(View, frozen=True, kw_only=True):
    count: int = 0


class CSINodeDriver(View, frozen=True, kw_only=True):
    allocatable: VolumeNodeResources | None = None
    name: str = ""
    node_id: str = field(default="", name="nodeID")
    topology_keys: tuple[str, ...] = ()


class CSINodeSpec(View, frozen=True, kw_only=True):
    drivers: tuple[CSINodeDriver, ...] = ()


class CSINode(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["storage.k8s.io", "v1", "csinodes"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: CSINodeSpec = CSINodeSpec()


class CSIStorageCapacity(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["storage.k8s.io", "v1", "csistoragecapacities"]
    api_version: str = ""
    capacity: str = ""
    kind: str = ""
    maximum_volume_size: str = ""
    metadata: ObjectMeta = ObjectMeta()
    node_topology: LabelSelector | None = None
    storage_class_name: str | None = None


class StorageClass(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["storage.k8s.io", "v1", "storageclasses"]
    allow_volume_expansion: bool | None = None
    allowed_topologies: tuple[TopologySelectorTerm, ...] = ()
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    mount_options: tuple[str, ...] = ()
    parameters: dict[str, str] = {}
    provisioner: str = ""
    reclaim_policy: str = ""
    volume_binding_mode: str = ""


class VolumeAttachmentSource(View, frozen=True, kw_only=True):
    inline_volume_spec: PersistentVolumeSpec | None = None
    persistent_volume_name: str = ""


class VolumeAttachmentSpec(View, frozen=True, kw_only=True):
    attacher: str = ""
    node_name: str = ""
    source: VolumeAttachmentSource | None = None


class VolumeError(View, frozen=True, kw_only=True):
    error_code: int | None = None
    message: str = ""
    time: str = ""


class VolumeAttachmentStatus(View, frozen=True, kw_only=True):
    attach_error: VolumeError | None = None
    attached: bool = False
    attachment_metadata: dict[str, str] = {}
    detach_error: VolumeError | None = None


class VolumeAttachment(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["storage.k8s.io", "v1", "volumeattachments"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: VolumeAttachmentSpec = VolumeAttachmentSpec()
    status: VolumeAttachmentStatus = VolumeAttachmentStatus()


class VolumeAttributesClass(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["storage.k8s.io", "v1", "volumeattributesclasses"]
    api_version: str = ""
    driver_name: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    parameters: dict[str, str] = {}
