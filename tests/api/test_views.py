"""Views decode what the wire carries, and name their resources."""

import msgspec
import pytest

from skiff.api.views import apps, batch, coordination, core, discovery
from skiff.api.views.core import Pod, Service

TOP = [
    core.Pod, core.Node, core.Service, core.Endpoints, core.Event, apps.Deployment,
    apps.ReplicaSet, batch.Job, coordination.Lease, discovery.EndpointSlice,
]  # fmt: skip


def test_pod_names_on_the_wire() -> None:
    pod = msgspec.json.decode(
        b'{"metadata":{"name":"a","managedFields":[{"manager":"x"}]},'
        b'"spec":{"hostIPC":true,"containers":[{"name":"c","ports":[{"containerPort":80}],'
        b'"livenessProbe":{"httpGet":{"port":"http"}}}]},"status":{"podIP":"10.0.0.1",'
        b'"podIPs":[{"ip":"10.0.0.1"}],"containerStatuses":[{"containerID":"c://1"}]}}',
        type=Pod,
    )
    assert pod.metadata.name == "a"
    assert pod.spec.host_ipc
    assert pod.spec.containers[0].ports[0].container_port == 80
    probe = pod.spec.containers[0].liveness_probe
    assert probe and probe.http_get and probe.http_get.port == "http"
    assert pod.status.pod_ips[0].ip == pod.status.pod_ip == "10.0.0.1"
    assert pod.status.container_statuses[0].container_id == "c://1"


def test_absent_is_zero() -> None:
    service = msgspec.json.decode(b"{}", type=Service)
    assert service.spec.ports == ()
    assert service.spec.cluster_ip == ""
    assert service.metadata.labels == {}


def test_views_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Pod().metadata = core.Pod().metadata  # type: ignore[misc]


@pytest.mark.parametrize("view", TOP)
def test_top_level_views_name_their_resource(view: type[core.Pod]) -> None:
    assert view.RESOURCE.kind == view.__name__
