"""SIGKILL under load: what the API server acknowledged is there when it comes back, in order, and a
watch goes on from where it was."""

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

WRITERS = 6
LIVES = 3
LIFE_S = 0.7


class Process:
    """`skiff server` on a port of its own, killed and started again."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        read_end, write_end = os.pipe()
        with (self.state_dir / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "skiff", "server", "--state-dir", str(self.state_dir)),
                    *("--secure-port", str(self.port), "--bind-address", "127.0.0.1"),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(write_end,),
                env={**os.environ, "SKIFF_READY_FD": str(write_end)},
            )  # fmt: skip
        os.close(write_end)
        with os.fdopen(read_end) as ready:
            assert ready.readline(), (self.state_dir / "log").read_text()

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @contextlib.contextmanager
    def connection(self) -> Iterator[http.client.HTTPSConnection]:
        config = yaml.safe_load((self.state_dir / "kubeconfig/admin.kubeconfig").read_text())
        pki = self.state_dir / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        assert str(self.port) in config["clusters"][0]["cluster"]["server"]
        made = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=10)
        with contextlib.closing(made):
            yield made


def create(connection: http.client.HTTPSConnection, name: str) -> int:
    body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
    connection.request(
        "POST", "/api/v1/namespaces/default/configmaps", body, {"Content-Type": "application/json"}
    )
    response = connection.getresponse()
    found = json.loads(response.read())
    assert response.status == 201, found
    return int(found["metadata"]["resourceVersion"])


def get(connection: http.client.HTTPSConnection, path: str) -> dict:  # type: ignore[type-arg] # JSON
    connection.request("GET", path)
    return json.loads(connection.getresponse().read())


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    server = Process(tmp_path)
    acknowledged: dict[str, int] = {}
    first_revision = ""
    for life in range(LIVES):
        server.start()
        if not first_revision:
            with server.connection() as connection:
                listed = get(connection, "/api/v1/namespaces/default/configmaps")
            first_revision = listed["metadata"]["resourceVersion"]
        stop = threading.Event()

        def write(writer: int, life: int = life, stop: threading.Event = stop) -> None:
            number = 0
            broken = (OSError, http.client.HTTPException, ValueError)
            with contextlib.suppress(*broken), server.connection() as connection:
                while not stop.is_set():
                    name = f"c-{life}-{writer}-{number}"
                    acknowledged[name] = create(connection, name)
                    number += 1

        writers = [threading.Thread(target=write, args=(n,)) for n in range(WRITERS)]
        for writer in writers:
            writer.start()
        time.sleep(LIFE_S)
        server.kill()
        stop.set()
        for writer in writers:
            writer.join()
    server.start()
    try:
        with server.connection() as connection:
            check(connection, acknowledged, first_revision)
    finally:
        server.kill()


def check(
    connection: http.client.HTTPSConnection, acknowledged: dict[str, int], first_revision: str
) -> None:
    items = get(connection, "/api/v1/namespaces/default/configmaps")["items"]
    found = {i["metadata"]["name"]: int(i["metadata"]["resourceVersion"]) for i in items}
    assert len(acknowledged) > 100
    assert {n: found.get(n) for n in acknowledged} == acknowledged
    assert len(set(found.values())) == len(found)
    path = f"/api/v1/namespaces/default/configmaps?watch=1&resourceVersion={first_revision}&timeoutSeconds=1"
    connection.request("GET", path)
    events = [json.loads(line) for line in connection.getresponse().read().splitlines()]
    seen = [int(e["object"]["metadata"]["resourceVersion"]) for e in events]
    assert seen == sorted(found.values())
    create(connection, "afterwards")
