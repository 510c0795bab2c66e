"""Warnings about pod specs: accepted, but deprecated or likely a mistake.

Source: https://kubernetes.io/docs/reference/labels-annotations-taints/ and the deprecation guide.
"""

from typing import Any, Final

from skiff.api import quantity
from skiff.api.kinds import names
from skiff.api.kinds.resource_amounts import amount

DEPRECATED_LABELS: Final = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": (
        'deprecated since v1.17; use "topology.kubernetes.io/region" instead'
    ),
    "failure-domain.beta.kubernetes.io/zone": (
        'deprecated since v1.17; use "topology.kubernetes.io/zone" instead'
    ),
    "beta.kubernetes.io/instance-type": (
        'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead'
    ),
}
DEPRECATED_VOLUMES: Final = {
    "gitRepo": "deprecated in v1.11",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}


def of_spec(spec: dict[str, Any], path: str) -> list[str]:
    """The warnings for a pod spec that stands at `path`."""
    out = [
        f"{path}.nodeSelector[{key}]: {DEPRECATED_LABELS[key]}"
        for key in spec.get("nodeSelector", ())
        if key in DEPRECATED_LABELS
    ]
    for i, volume in enumerate(spec.get("volumes", ())):
        for kind, text in DEPRECATED_VOLUMES.items():
            if kind in volume:
                out.append(f"{path}.volumes[{i}].{kind}: {text}")
    addresses = [alias.get("ip", "") for alias in spec.get("hostAliases", ())]
    for i, address in enumerate(addresses):
        if address in addresses[:i]:
            out.append(f'{path}.hostAliases[{i}].ip: duplicate ip "{address}"')
    secrets = [secret.get("name", "") for secret in spec.get("imagePullSecrets", ())]
    for i, name in enumerate(secrets):
        if name in secrets[:i]:
            out.append(f'{path}.imagePullSecrets[{i}].name: duplicate name "{name}"')
    for i, name in enumerate(secrets):
        if not name:
            out.append(f'{path}.imagePullSecrets[{i}].name: invalid empty name ""')
    for key in ("initContainers", "containers"):
        for i, container in enumerate(spec.get(key, ())):
            out += _of_container(container, f"{path}.{key}[{i}]")
    return out


def of_name(obj: dict[str, Any], used: str = "Pod names and hostnames") -> list[str]:
    """The warning about a name that cannot be a label of a host name; `used` says what for."""
    found = names.dns1123_label(obj["metadata"].get("name", ""))
    if not found:
        return []
    warning = (
        f"metadata.name: this is used in {used}, which can result in surprising behavior; a DNS "
        f"label is recommended: [{' '.join(found)}]"
    )
    return [warning]


def _of_container(container: dict[str, Any], path: str) -> list[str]:
    out: list[str] = []
    resources = container.get("resources") or {}
    for kind in ("limits", "requests"):
        for name in ("memory", "ephemeral-storage"):
            value = (resources.get(kind) or {}).get(name)
            if value is not None and amount(value) % quantity.NANO:
                out.append(
                    f"{path}.resources.{kind}[{name}]: fractional byte value "
                    f'"{value}" is invalid, must be an integer'
                )
    seen: dict[str, int] = {}
    for i, variable in enumerate(container.get("env", ())):
        name = variable.get("name", "")
        if name in seen and f"$({name})" not in variable.get("value", ""):
            out.append(
                f'{path}.env[{i}]: hides previous definition of "{name}", '
                "which may be dropped when using apply"
            )
        seen[name] = i
    ports: dict[tuple[Any, ...], int] = {}
    for i, port in enumerate(container.get("ports", ())):
        key = (
            port.get("containerPort"),
            port.get("protocol"),
            port.get("hostPort"),
            port.get("hostIP"),
        )
        if key in ports:
            first = f"{path}.ports[{ports[key]}]"
            out.append(f"{path}.ports[{i}]: duplicate port definition with {first}")
        else:
            ports[key] = i
    return out
