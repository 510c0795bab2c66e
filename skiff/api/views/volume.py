# ruff: noqa: RUF012 - msgspec makes a new dict of an empty default for each struct
"""Views: volumes, claims and persistent volumes.

Source: https://kubernetes.io/docs/reference/kubernetes-api/ (fields and types)
"""

from typing import ClassVar

from msgspec import field

from skiff.api.resources import RESOURCES, Resource
from skiff.api.views.affinity import NodeSelector
from skiff.api.views.base import View
from skiff.api.views.container import (
    LocalObjectReference,
    ObjectFieldSelector,
    ObjectReference,
    ResourceFieldSelector,
    TypedLocalObjectReference,
    TypedObjectReference,
)
from skiff.api.views.meta import LabelSelector, ObjectMeta


class KeyToPath(View, frozen=True, kw_only=True):
    key: str = ""
    mode: int | None = None
    path: str = ""


class EmptyDirVolumeSource(View, frozen=True, kw_only=True):
    medium: str = ""
    size_limit: str = ""


class HostPathVolumeSource(View, frozen=True, kw_only=True):
    path: str = ""
    type: str = ""


class ConfigMapVolumeSource(View, frozen=True, kw_only=True):
    default_mode: int | None = None
    items: tuple[KeyToPath, ...] = ()
    name: str = ""
    optional: bool | None = None


class SecretVolumeSource(View, frozen=True, kw_only=True):
    default_mode: int | None = None
    items: tuple[KeyToPath, ...] = ()
    optional: bool | None = None
    secret_name: str = ""


class DownwardAPIVolumeFile(View, frozen=True, kw_only=True):
    field_ref: ObjectFieldSelector | None = None
    mode: int | None = None
    path: str = ""
    resource_field_ref: ResourceFieldSelector | None = None


class DownwardAPIVolumeSource(View, frozen=True, kw_only=True):
    default_mode: int | None = None
    items: tuple[DownwardAPIVolumeFile, ...] = ()


class ConfigMapProjection(View, frozen=True, kw_only=True):
    items: tuple[KeyToPath, ...] = ()
    name: str = ""
    optional: bool | None = None


class SecretProjection(View, frozen=True, kw_only=True):
    items: tuple[KeyToPath, ...] = ()
    name: str = ""
    optional: bool | None = None


class DownwardAPIProjection(View, frozen=True, kw_only=True):
    items: tuple[DownwardAPIVolumeFile, ...] = ()


class ServiceAccountTokenProjection(View, frozen=True, kw_only=True):
    audience: str = ""
    expiration_seconds: int | None = None
    path: str = ""


class ClusterTrustBundleProjection(View, frozen=True, kw_only=True):
    label_selector: LabelSelector | None = None
    name: str = ""
    optional: bool | None = None
    path: str = ""
    signer_name: str = ""


class PodCertificateProjection(View, frozen=True, kw_only=True):
    certificate_chain_path: str = ""
    credential_bundle_path: str = ""
    key_path: str = ""
    key_type: str = ""
    max_expiration_seconds: int | None = None
    signer_name: str = ""
    user_annotations: dict[str, str] = {}


class VolumeProjection(View, frozen=True, kw_only=True):
    cluster_trust_bundle: ClusterTrustBundleProjection | None = None
    config_map: ConfigMapProjection | None = None
    downward_api: DownwardAPIProjection | None = field(default=None, name="downwardAPI")
    pod_certificate: PodCertificateProjection | None = None
    secret: SecretProjection | None = None
    service_account_token: ServiceAccountTokenProjection | None = None


class ProjectedVolumeSource(View, frozen=True, kw_only=True):
    default_mode: int | None = None
    sources: tuple[VolumeProjection, ...] = ()


class NFSVolumeSource(View, frozen=True, kw_only=True):
    path: str = ""
    read_only: bool = False
    server: str = ""


class CSIVolumeSource(View, frozen=True, kw_only=True):
    driver: str = ""
    fs_type: str = ""
    node_publish_secret_ref: LocalObjectReference | None = None
    read_only: bool = False
    volume_attributes: dict[str, str] = {}


class ImageVolumeSource(View, frozen=True, kw_only=True):
    pull_policy: str = ""
    reference: str = ""


class LocalVolumeSource(View, frozen=True, kw_only=True):
    fs_type: str = ""
    path: str = ""


class SecretReference(View, frozen=True, kw_only=True):
    name: str = ""
    namespace: str = ""


class CSIPersistentVolumeSource(View, frozen=True, kw_only=True):
    controller_expand_secret_ref: SecretReference | None = None
    controller_publish_secret_ref: SecretReference | None = None
    driver: str = ""
    fs_type: str = ""
    node_expand_secret_ref: SecretReference | None = None
    node_publish_secret_ref: SecretReference | None = None
    node_stage_secret_ref: SecretReference | None = None
    read_only: bool = False
    volume_attributes: dict[str, str] = {}
    volume_handle: str = ""


class PersistentVolumeClaimVolumeSource(View, frozen=True, kw_only=True):
    claim_name: str = ""
    read_only: bool = False


class VolumeResourceRequirements(View, frozen=True, kw_only=True):
    limits: dict[str, str] = {}
    requests: dict[str, str] = {}


class PersistentVolumeClaimSpec(View, frozen=True, kw_only=True):
    access_modes: tuple[str, ...] = ()
    data_source: TypedLocalObjectReference | None = None
    data_source_ref: TypedObjectReference | None = None
    resources: VolumeResourceRequirements | None = None
    selector: LabelSelector | None = None
    storage_class_name: str | None = None
    volume_attributes_class_name: str = ""
    volume_mode: str = ""
    volume_name: str = ""


class PersistentVolumeClaimTemplate(View, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: PersistentVolumeClaimSpec = PersistentVolumeClaimSpec()


class EphemeralVolumeSource(View, frozen=True, kw_only=True):
    volume_claim_template: PersistentVolumeClaimTemplate | None = None


class Volume(View, frozen=True, kw_only=True):
    config_map: ConfigMapVolumeSource | None = None
    csi: CSIVolumeSource | None = None
    downward_api: DownwardAPIVolumeSource | None = field(default=None, name="downwardAPI")
    empty_dir: EmptyDirVolumeSource | None = None
    ephemeral: EphemeralVolumeSource | None = None
    host_path: HostPathVolumeSource | None = None
    image: ImageVolumeSource | None = None
    name: str = ""
    nfs: NFSVolumeSource | None = None
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None
    projected: ProjectedVolumeSource | None = None
    secret: SecretVolumeSource | None = None


class PersistentVolumeClaimCondition(View, frozen=True, kw_only=True):
    last_probe_time: str = ""
    last_transition_time: str = ""
    message: str = ""
    reason: str = ""
    status: str = ""
    type: str = ""


class ModifyVolumeStatus(View, frozen=True, kw_only=True):
    status: str = ""
    target_volume_attributes_class_name: str = ""


class PersistentVolumeClaimStatus(View, frozen=True, kw_only=True):
    access_modes: tuple[str, ...] = ()
    allocated_resource_statuses: dict[str, str] = {}
    allocated_resources: dict[str, str] = {}
    capacity: dict[str, str] = {}
    conditions: tuple[PersistentVolumeClaimCondition, ...] = ()
    current_volume_attributes_class_name: str = ""
    modify_volume_status: ModifyVolumeStatus | None = None
    phase: str = ""


class PersistentVolumeClaim(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["", "v1", "persistentvolumeclaims"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: PersistentVolumeClaimSpec = PersistentVolumeClaimSpec()
    status: PersistentVolumeClaimStatus = PersistentVolumeClaimStatus()


class VolumeNodeAffinity(View, frozen=True, kw_only=True):
    required: NodeSelector | None = None


class PersistentVolumeSpec(View, frozen=True, kw_only=True):
    access_modes: tuple[str, ...] = ()
    capacity: dict[str, str] = {}
    claim_ref: ObjectReference | None = None
    csi: CSIPersistentVolumeSource | None = None
    host_path: HostPathVolumeSource | None = None
    local: LocalVolumeSource | None = None
    mount_options: tuple[str, ...] = ()
    nfs: NFSVolumeSource | None = None
    node_affinity: VolumeNodeAffinity | None = None
    persistent_volume_reclaim_policy: str = ""
    storage_class_name: str | None = None
    volume_attributes_class_name: str = ""
    volume_mode: str = ""


class PersistentVolumeStatus(View, frozen=True, kw_only=True):
    last_phase_transition_time: str = ""
    message: str = ""
    phase: str = ""
    reason: str = ""


class PersistentVolume(View, frozen=True, kw_only=True):
    RESOURCE: ClassVar[Resource] = RESOURCES["", "v1", "persistentvolumes"]
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: PersistentVolumeSpec = PersistentVolumeSpec()
    status: PersistentVolumeStatus = PersistentVolumeStatus()
