"""One cluster of processes for all outside clients; each test module works in namespaces of its own."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.cluster import Kubectl, ProcessCluster, wait_for
from tests.clients.upstream import program


@pytest.fixture(scope="session")
def cluster() -> Iterator[ProcessCluster]:
    made = ProcessCluster(Path(tempfile.mkdtemp(prefix="skiff-clients-")))
    try:
        made.up()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session", params=["found", "upstream"])
def kubectl(cluster: ProcessCluster, request: pytest.FixtureRequest) -> Kubectl:
    """The machine's own kubectl (on Debian an old one), then that of our release."""
    if request.param == "upstream":
        return Kubectl(str(program("kubectl")), cluster.kubeconfig)
    binary = shutil.which("kubectl")
    if binary is None:
        pytest.skip("no kubectl on PATH")
    return Kubectl(binary, cluster.kubeconfig)


@pytest.fixture
def kube(kubectl: Kubectl) -> Iterator[Kubectl]:
    """kubectl in a namespace of the test's own."""
    own = Kubectl(kubectl.binary, kubectl.kubeconfig, f"test-{uuid.uuid4().hex[:8]}")
    kubectl("create", "namespace", own.namespace)
    wait_for(lambda: own("get", "serviceaccount", "default"), "the default service account")
    yield own
    kubectl("delete", "namespace", own.namespace, "--wait=false")
