"""Quality of service: what a pod's requests and limits make of it.

Guaranteed where every container has limits for cpu and memory and requests equal to them,
BestEffort where none has any, else Burstable. Pod-level resources, where given, decide alone.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/
"""

from collections.abc import Iterable, Mapping

from skiff.api.quantity import parse
from skiff.api.views.container import ResourceRequirements
from skiff.api.views.pod import Pod

GUARANTEED = "Guaranteed"
BURSTABLE = "Burstable"
BEST_EFFORT = "BestEffort"
_COUNTED = ("cpu", "memory")


def qos_class(pod: Pod) -> str:
    """The pod's class."""
    if pod.spec.resources is not None and (
        pod.spec.resources.requests or pod.spec.resources.limits
    ):
        return _classify([pod.spec.resources])
    containers = (*pod.spec.init_containers, *pod.spec.containers)
    return _classify([c.resources or ResourceRequirements() for c in containers])


def _classify(all_resources: Iterable[ResourceRequirements]) -> str:
    any_given, guaranteed = False, True
    for resources in all_resources:
        requests, limits = _positive(resources.requests), _positive(resources.limits)
        any_given = any_given or bool(requests or limits)
        guaranteed = guaranteed and all(
            name in limits and requests.get(name, limits[name]) == limits[name] for name in _COUNTED
        )
    if not any_given:
        return BEST_EFFORT
    return GUARANTEED if guaranteed else BURSTABLE


def _positive(amounts: Mapping[str, str]) -> dict[str, int]:
    found = {name: parse(amounts[name]).nano for name in _COUNTED if name in amounts}
    return {name: nano for name, nano in found.items() if nano > 0}
