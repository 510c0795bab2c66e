"""Defaults of a pod spec: containers, ports, probes, volumes. Used by pods and by every pod template.

Source: the API reference of v1.36 (each field's "Defaults to …").
"""

from functools import lru_cache
from typing import Any, Final

from skiff.api import quantity

Spec = dict[str, Any]

_FILE_MODE: Final = 0o644
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_HOOKS: Final = ("postStart", "preStop")
_CONTAINERS: Final = ("containers", "initContainers", "ephemeralContainers")


@lru_cache(1024)
def pull_policy(image: str) -> str:
    """Always where the tag is `latest` or absent, else IfNotPresent (a digest needs no new pull)."""
    if "@" in image:
        name = image.partition("@")[0]
        return "Always" if name.rpartition("/")[2].partition(":")[2] == "latest" else "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def default_pod(pod: dict[str, Any]) -> None:
    """A pod's defaults: those of its spec, and what only a pod itself gets."""
    spec = pod.setdefault("spec", {})
    default_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    if spec["terminationGracePeriodSeconds"] < 0:
        # Of a pod only, never of a template: what was once accepted ends as quickly as it can.
        spec["terminationGracePeriodSeconds"] = 1
    for container in spec.get("containers", ()):
        _requests_from_limits(container)
    for container in spec.get("initContainers", ()):
        _requests_from_limits(container)
    if "resources" in spec:
        _pod_requests_from_limits(spec)


def default_template(template: dict[str, Any]) -> None:
    """The defaults of a pod template (`metadata` and `spec`)."""
    template.setdefault("metadata", {})
    default_pod_spec(template.setdefault("spec", {}))


def default_pod_spec(spec: Spec) -> None:
    """The defaults that pods and pod templates share."""
    put = spec.setdefault
    put("restartPolicy", "Always")
    put("dnsPolicy", "ClusterFirst")
    put("schedulerName", "default-scheduler")
    put("securityContext", {})
    put("terminationGracePeriodSeconds", 30)
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:  # the deprecated name always mirrors the other
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    host_network = spec.get("hostNetwork")
    for key in _CONTAINERS:
        for container in spec.get(key, ()):
            default_container(container)
            if host_network:
                for port in container.get("ports", ()):
                    if not port.get("hostPort"):
                        port["hostPort"] = port.get("containerPort", 0)
    for volume in spec.get("volumes", ()):
        default_volume(volume)


def default_container(container: dict[str, Any]) -> None:
    """The defaults of one container, of any of the three sorts."""
    if "imagePullPolicy" not in container:
        container["imagePullPolicy"] = pull_policy(container.get("image", ""))
    put = container.setdefault
    put("terminationMessagePath", "/dev/termination-log")
    put("terminationMessagePolicy", "File")
    put("resources", {})
    for port in container.get("ports", ()):
        if "protocol" not in port:
            port["protocol"] = "TCP"
    for env in container.get("env", ()):
        source = env.get("valueFrom")
        if source:
            _default_downward(source)
            if "fileKeyRef" in source:
                source["fileKeyRef"].setdefault("optional", False)
    for name in _PROBES:
        probe = container.get(name)
        if probe is not None:
            default_probe(probe)
    lifecycle = container.get("lifecycle")
    if lifecycle:
        for name in _HOOKS:
            hook = lifecycle.get(name)
            if hook and "httpGet" in hook:
                _default_http_get(hook["httpGet"])


def default_probe(probe: dict[str, Any]) -> None:
    put = probe.setdefault
    if not probe.get("timeoutSeconds"):
        probe["timeoutSeconds"] = 1
    if not probe.get("periodSeconds"):
        probe["periodSeconds"] = 10
    if not probe.get("successThreshold"):
        probe["successThreshold"] = 1
    if not probe.get("failureThreshold"):
        probe["failureThreshold"] = 3
    if "httpGet" in probe:
        _default_http_get(put("httpGet", {}))
    elif "grpc" in probe:
        probe["grpc"].setdefault("service", "")


def _default_http_get(action: dict[str, Any]) -> None:
    if not action.get("path"):
        action["path"] = "/"
    if not action.get("scheme"):
        action["scheme"] = "HTTP"


def _default_downward(source: dict[str, Any]) -> None:
    """An env value or a downward API file: the fields' API version, the resources' divisor."""
    field = source.get("fieldRef")
    if field is not None:
        field.setdefault("apiVersion", "v1")
    resource = source.get("resourceFieldRef")
    if resource is not None:
        resource.setdefault("divisor", "0")


def default_volume(volume: dict[str, Any]) -> None:
    """The defaults of one volume; without a source it is an emptyDir."""
    if not volume.keys() - {"name"}:
        volume["emptyDir"] = {}
        return
    for key in ("secret", "configMap"):
        if key in volume:
            volume[key].setdefault("defaultMode", _FILE_MODE)
            return
    source = volume.get("projected")
    if source is not None:
        source.setdefault("defaultMode", _FILE_MODE)
        for projection in source.get("sources", ()):
            _default_projection(projection)
        return
    source = volume.get("downwardAPI")
    if source is not None:
        source.setdefault("defaultMode", _FILE_MODE)
        for item in source.get("items", ()):
            _default_downward(item)
        return
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
        return
    _default_rare_volume(volume)


def _default_projection(projection: dict[str, Any]) -> None:
    token = projection.get("serviceAccountToken")
    if token is not None:
        token.setdefault("expirationSeconds", 3600)
    downward = projection.get("downwardAPI")
    if downward is not None:
        for item in downward.get("items", ()):
            _default_downward(item)
    certificate = projection.get("podCertificate")
    if certificate is not None:
        certificate.setdefault("maxExpirationSeconds", 86400)


# Kinds of volume whose drivers live outside Kubernetes by now, but whose defaults remain.
RARE_SOURCES: Final[dict[str, dict[str, Any]]] = {
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {
        "cachingMode": "ReadWrite", "fsType": "ext4", "kind": "Shared", "readOnly": False,
    },
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}  # fmt: skip


def _default_rare_volume(volume: dict[str, Any]) -> None:
    for key, defaults in RARE_SOURCES.items():
        if key in volume:
            for field, value in defaults.items():
                volume[key].setdefault(field, value)
    image = volume.get("image")
    if image is not None:
        image.setdefault("pullPolicy", pull_policy(image.get("reference", "")))
    ephemeral = volume.get("ephemeral")
    if ephemeral is not None:
        claim = ephemeral.get("volumeClaimTemplate")
        if claim is not None:
            claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def _requests_from_limits(container: dict[str, Any]) -> None:
    resources = container["resources"]
    limits = resources.get("limits")
    if limits:
        requests = resources.setdefault("requests", {})
        for name, amount in limits.items():
            if name not in requests:
                requests[name] = amount


def _pod_requests_from_limits(spec: Spec) -> None:
    """Pod-level requests that are not given: what the containers request, else the pod's limit."""
    resources = spec["resources"]
    limits = resources.get("limits")
    if not limits:
        return
    requests = resources.setdefault("requests", {})
    for name, amount in limits.items():
        if name in requests:
            continue
        asked = [
            found
            for c in spec.get("containers", ())
            if (found := c["resources"].get("requests", {}).get(name)) is not None
        ]
        if asked:
            total = quantity.parse(asked[0])
            for more in asked[1:]:
                total = total + quantity.parse(more)
            requests[name] = str(total)
        else:
            requests[name] = amount
