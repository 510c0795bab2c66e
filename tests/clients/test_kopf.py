"""An operator built with kopf, run by `kopf run` against a cluster."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from tests.clients.cluster import ROOT, ProcessCluster, wait_for

OPERATOR = Path(__file__).parent / "operator_example.py"

pytestmark = pytest.mark.filterwarnings("ignore:unclosed.*ssl.SSLSocket:ResourceWarning")


@dataclass
class Operator:
    core: client.CoreV1Api
    namespace: str
    log: Path

    def site(self, name: str, **data: str) -> None:
        self.core.create_namespaced_config_map(
            self.namespace, {"metadata": {"name": name, "labels": {"kind": "site"}}, "data": data}
        )

    def read(self, name: str) -> Any:
        return self.core.read_namespaced_config_map(name, self.namespace)

    def noted(self, name: str, key: str, value: str) -> None:
        def look() -> bool:
            notes = self.read(name).metadata.annotations or {}
            return bool(notes.get(f"example/{key}") == value)

        try:
            wait_for(look, f"{key} of {name} to be {value}", 8)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.read(name)}\n{self.log.read_text()[-6000:]}") from e


@pytest.fixture(scope="module")
def operator(
    cluster: ProcessCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    api = config.new_client_from_config(str(cluster.kubeconfig))
    core = client.CoreV1Api(api)
    namespace = f"kopf-{uuid.uuid4().hex[:8]}"
    core.create_namespace({"metadata": {"name": namespace}})
    wait_for(lambda: core.read_namespaced_service_account("default", namespace), "service account")
    log = tmp_path_factory.mktemp("kopf") / "log"
    command = ["-m", "kopf", "run", str(OPERATOR), "--namespace", namespace, "--standalone"]
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *command, "--verbose"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=ROOT,
            env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)},
        )
    try:
        yield Operator(core, namespace, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(10)
        finally:
            process.kill()
            core.delete_namespace(namespace)
            api.rest_client.pool_manager.clear()
    assert code in (0, -signal.SIGTERM), log.read_text()[-3000:]


def test_create_update_delete(operator: Operator) -> None:
    operator.site("one", size="1")
    operator.noted("one", "created", "after 0 retries")
    operator.noted("one", "pod", "Running")
    pod = operator.core.read_namespaced_pod("one-pod", operator.namespace)
    assert pod.metadata.owner_references[0].name == "one"
    assert operator.read("one").metadata.finalizers == ["example.skiff.dev/finalizer"]
    operator.core.patch_namespaced_config_map("one", operator.namespace, {"data": {"size": "2"}})
    operator.noted("one", "updated", "1 to 2")
    operator.core.delete_namespaced_config_map("one", operator.namespace)
    wait_for(lambda: operator.read("one-was-here"), "the deletion handler's mark", 8)

    def gone() -> bool:
        left = 0
        for read, name in (
            (operator.core.read_namespaced_config_map, "one"),
            (operator.core.read_namespaced_pod, "one-pod"),
        ):
            try:
                read(name, operator.namespace)
                left += 1
            except ApiException as e:
                assert e.status == 404
        return left == 0

    wait_for(gone, "the object and its pod gone", 40)


def test_timers_and_daemons(operator: Operator) -> None:
    operator.site("timed")
    operator.noted("timed", "daemon", "started")
    operator.noted("timed", "beats", "3")
    operator.core.delete_namespaced_config_map("timed", operator.namespace)


def test_handlers_are_retried(operator: Operator) -> None:
    operator.site("flaky", flaky="yes")
    operator.noted("flaky", "created", "after 1 retries")


def test_events_are_posted(operator: Operator) -> None:
    operator.site("events")
    operator.noted("events", "created", "after 0 retries")

    def posted() -> bool:
        found = operator.core.list_namespaced_event(
            operator.namespace, field_selector="involvedObject.name=events"
        )
        return any(e.source.component == "kopf" and e.type == "Normal" for e in found.items)

    wait_for(posted, "kopf's events", 8)
