"""The node object: labels, capacity, conditions. Pure.

Source: https://kubernetes.io/docs/reference/node/node-status/ and
https://kubernetes.io/docs/reference/labels-annotations-taints/
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skiff.aio.clock import rfc3339
from skiff.api.quantity import BINARY_SI, NANO, Quantity, parse
from skiff.api.views.node import NodeCondition
from skiff.node.config import KubeletConfig
from skiff.node.machine import Machine
from skiff.node.runtime import Image, RuntimeVersion

KUBELET_VERSION = "v1.36.0"
EVICTION_MEMORY_BYTES = 100 << 20
EVICTION_DISK_SHARE = 10  # percent that stays free
MAX_IMAGES = 50

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RuntimeHealth:
    """What is wrong with the runtime; empty where nothing is."""

    problem: str = ""
    network_problem: str = ""


def capacity(config: KubeletConfig, machine: Machine) -> dict[str, str]:
    """What the machine has; the configuration may say otherwise, resource by resource."""
    found = {
        "cpu": str(machine.cpus),
        "memory": f"{machine.memory_bytes // 1024}Ki",
        "ephemeral-storage": f"{machine.disk_bytes // 1024}Ki",
        "pods": str(config.max_pods),
    }
    for size, amount in machine.hugepages.items():
        found[f"hugepages-{size}"] = str(Quantity(amount * NANO, BINARY_SI))
    return dict(sorted((found | dict(config.capacity)).items()))


def allocatable(config: KubeletConfig, machine: Machine) -> dict[str, str]:
    """What of it pods may ask for: less what is reserved, and what eviction would keep free."""
    found = capacity(config, machine)
    for name, amount in config.system_reserved.items():
        if name in found:
            found[name] = str(_at_least_zero(parse(found[name]) - parse(amount)))
    if "memory" not in config.capacity:
        eviction = Quantity(EVICTION_MEMORY_BYTES * NANO, BINARY_SI)
        left = _at_least_zero(parse(found["memory"]) - eviction)
        found["memory"] = f"{left.whole() // 1024}Ki"
    if "ephemeral-storage" not in config.capacity:
        whole = parse(found["ephemeral-storage"]).whole()
        found["ephemeral-storage"] = str(whole * (100 - EVICTION_DISK_SHARE) // 100)
    return found


def _at_least_zero(amount: Quantity) -> Quantity:
    return amount if amount.nano > 0 else parse(0)


def new_node(config: KubeletConfig, machine: Machine) -> Object:
    """The object to register."""
    spec: Object = {}
    if config.register_with_taints:
        spec["taints"] = [dict(t) for t in config.register_with_taints]
    if config.provider_id:
        spec["providerID"] = config.provider_id
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": config.node_name,
            "labels": node_labels(config, machine),
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": spec,
    }


def node_labels(config: KubeletConfig, machine: Machine) -> dict[str, str]:
    """The labels that the kubelet keeps right."""
    return {
        "beta.kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "kubernetes.io/hostname": config.node_name,
        "kubernetes.io/os": "linux",
        **config.node_labels,
    }


def node_status(
    config: KubeletConfig,
    machine: Machine,
    version: RuntimeVersion | None,
    health: RuntimeHealth,
    images: Iterable[Image],
    before: Sequence[NodeCondition],
    now: float,
    pressures: Collection[str] = (),
) -> Object:
    """The whole status but for what others write. `before` are the conditions as they were; `pressures`
    the conditions of eviction that hold."""
    runtime = f"{version.name}://{version.version}" if version else "unknown"
    return {
        "addresses": [
            {"type": "InternalIP", "address": config.node_ip},
            {"type": "Hostname", "address": config.node_name},
        ],
        "allocatable": allocatable(config, machine),
        "capacity": capacity(config, machine),
        "conditions": conditions(health, before, now, pressures),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.port}},
        "images": _images(images),
        "nodeInfo": {
            "architecture": machine.architecture,
            "bootID": machine.boot_id,
            "containerRuntimeVersion": runtime,
            "kernelVersion": machine.kernel_version,
            "kubeProxyVersion": "",
            "kubeletVersion": KUBELET_VERSION,
            "machineID": machine.machine_id,
            "operatingSystem": "linux",
            "osImage": machine.os_image,
            "swap": {"capacity": machine.swap_bytes},
            "systemUUID": machine.system_uuid,
        },
        "features": {"supplementalGroupsPolicy": False},
        "runtimeHandlers": [
            {"name": name, "features": {"recursiveReadOnlyMounts": False, "userNamespaces": False}}
            for name in ("", "runc")
        ],
    }


# What each condition of eviction says while it does not hold, and while it does.
_PRESSURES = (
    ("MemoryPressure", ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
     ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available")),
    ("DiskPressure", ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
     ("KubeletHasDiskPressure", "kubelet has disk pressure")),
    ("PIDPressure", ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
     ("KubeletHasInsufficientPID", "kubelet has insufficient PID available")),
)  # fmt: skip


def conditions(
    health: RuntimeHealth,
    before: Sequence[NodeCondition],
    now: float,
    pressures: Collection[str] = (),
) -> list[Object]:
    """The node's conditions; their transition times change with their status only."""
    problems = [p for p in (health.problem, health.network_problem) if p]
    if problems:
        text = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        ready = ("Ready", "False", "KubeletNotReady", text)
    else:
        ready = ("Ready", "True", "KubeletReady", "kubelet is posting ready status")
    wanted = (
        *(
            (kind, "True", *low) if kind in pressures else (kind, "False", *enough)
            for kind, enough, low in _PRESSURES
        ),
        ready,
    )
    old = {c.type: c for c in before}
    result = []
    for kind, status, reason, message in wanted:
        known = old.get(kind)
        same = known is not None and known.status == status and known.last_transition_time
        result.append(
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": rfc3339(now),
                "lastTransitionTime": known.last_transition_time
                if known and same
                else rfc3339(now),
            }
        )
    return result


# What a condition that has become false, or true, is called in events.
_EVENTS = {
    "MemoryPressure": ("NodeHasSufficientMemory", "NodeHasInsufficientMemory"),
    "DiskPressure": ("NodeHasNoDiskPressure", "NodeHasDiskPressure"),
    "PIDPressure": ("NodeHasSufficientPID", "NodeHasInsufficientPID"),
    "Ready": ("NodeNotReady", "NodeReady"),
}


def transitions(before: Mapping[str, str], now: Sequence[Object]) -> list[str]:
    """The reasons of events about conditions that changed. `before` is their status by type."""
    return [
        _EVENTS[c["type"]][c["status"] == "True"]
        for c in now
        if before.get(c["type"]) != c["status"]
    ]


def without_heartbeat(status: Mapping[str, Any]) -> Object:
    """The status apart from its times: what decides whether it is worth writing."""
    kept = dict(status)
    kept["conditions"] = [
        {k: v for k, v in c.items() if k not in ("lastHeartbeatTime", "lastTransitionTime")}
        for c in status.get("conditions", ())
    ]
    return kept


def _images(images: Iterable[Image]) -> list[Object]:
    largest = sorted(images, key=lambda i: (-i.size_bytes, i.id))[:MAX_IMAGES]
    return [
        {"names": [*i.digests, *i.tags][:5], "sizeBytes": i.size_bytes}
        for i in largest
        if i.digests or i.tags
    ]
