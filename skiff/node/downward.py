"""The downward API: fields of a pod and resources of its containers, as text. Pure.

Source: https://kubernetes.io/docs/concepts/workloads/pods/downward-api/
"""

import re
from collections.abc import Mapping

from skiff.api import quantity
from skiff.api.quoting import go_quote
from skiff.api.views.core import Container, EphemeralContainer, ObjectFieldSelector, Pod
from skiff.api.views.core import ResourceFieldSelector as ResourceSelector

AnyContainer = Container | EphemeralContainer
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]", re.DOTALL)
# Resources whose missing limits are read as the pod's own, else as what the node can give.
_DEFAULTED_LIMITS = ("cpu", "memory", "ephemeral-storage")


def every_container(pod: Pod) -> tuple[AnyContainer, ...]:
    """Init, plain and ephemeral containers."""
    spec = pod.spec
    return (*spec.init_containers, *spec.containers, *spec.ephemeral_containers)


class FieldError(ValueError):
    """The selector names nothing that can be read."""


def format_map(values: Mapping[str, str]) -> str:
    """Labels or annotations, one `key="value"` a line, sorted."""
    return "\n".join(f"{k}={go_quote(values[k])}" for k in sorted(values))


def field_value(pod: Pod, selector: ObjectFieldSelector, pod_ips: tuple[str, ...] = ()) -> str:
    """The field as text. `pod_ips` are the addresses known now, where the status lags behind. Raises
    FieldError."""
    path = selector.field_path
    if match := _SUBSCRIPT.fullmatch(path):
        values = pod.metadata.labels if match[1] == "labels" else pod.metadata.annotations
        return values.get(match[2], "")
    status = pod.status
    ips = pod_ips or tuple(p.ip for p in status.pod_ips) or tuple(filter(None, (status.pod_ip,)))
    hosts = tuple(h.ip for h in status.host_ips) or tuple(filter(None, (status.host_ip,)))
    values = {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.node_name,
        "spec.host": pod.spec.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.hostIP": hosts[0] if hosts else "",
        "status.hostIPs": ",".join(hosts),
        "status.podIP": ips[0] if ips else "",
        "status.podIPs": ",".join(ips),
    }
    if path in values:
        return values[path]
    if path == "metadata.labels":
        return format_map(pod.metadata.labels)
    if path == "metadata.annotations":
        return format_map(pod.metadata.annotations)
    raise FieldError(f"unsupported fieldPath: {path}")


def resource_value(
    selector: ResourceSelector,
    pod: Pod,
    container: AnyContainer | None,
    allocatable: Mapping[str, str],
) -> str:
    """A container's request or limit in units of the divisor, rounded up. `container` is the one that
    asks, where the selector names none. Raises FieldError."""
    if selector.container_name:
        spec = pod.spec
        every = (*spec.containers, *spec.init_containers)
        container = next((c for c in every if c.name == selector.container_name), None)
    if container is None:
        raise FieldError(f"container {selector.container_name} not found")
    kind, _, resource = selector.resource.partition(".")
    if kind not in ("limits", "requests") or not resource:
        raise FieldError(f"Unsupported container resource : {selector.resource}")
    wanted = container.resources
    values = {} if wanted is None else (wanted.limits if kind == "limits" else wanted.requests)
    amount = quantity.parse(values.get(resource, "0"))
    if kind == "limits" and not amount and resource in _DEFAULTED_LIMITS:
        whole = pod.spec.resources.limits if pod.spec.resources else {}
        amount = quantity.parse(whole.get(resource, "0"))
        amount = amount or quantity.parse(allocatable.get(resource, "0"))
    divisor = quantity.parse(selector.divisor or "1") or quantity.parse("1")
    return str(-(-amount.nano // divisor.nano))
