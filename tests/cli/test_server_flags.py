"""`skiff server` alone, with kube-apiserver's flags."""

import base64
import http.client
import json
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from skiff.cli.foreign_flags import REFUSED
from skiff.server.pki import certificates
from tests.clients.cluster import ROOT, ProcessCluster, wait_for


@dataclass
class Server:
    state: ProcessCluster
    process: "subprocess.Popen[bytes]"

    def context(self, *, certificate: bool) -> ssl.SSLContext:
        made = ssl.create_default_context()
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
        if certificate:
            config = yaml.safe_load(self.state.kubeconfig.read_text())["users"][0]["user"]
            with tempfile.NamedTemporaryFile("wb") as file:
                for kind in ("client-certificate-data", "client-key-data"):
                    file.write(base64.b64decode(config[kind]))
                file.flush()
                made.load_cert_chain(file.name)
        return made

    def call(
        self,
        path: str,
        *,
        token: str = "",
        certificate: bool = False,
        method: str = "GET",
        body: Any = None,
    ) -> tuple[int, Any]:
        connection = http.client.HTTPSConnection(
            "127.0.0.1",
            self.state.secure_port,
            timeout=10,
            context=self.context(certificate=certificate),
        )
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text.decode()

    def whoami(self, **credentials: Any) -> tuple[int, Any]:
        status, body = self.call(
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            method="POST",
            body={"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
            **credentials,
        )
        return status, body.get("status", {}).get("userInfo", body)


Run = Callable[..., Server]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run a server with the given flags; stopped at the end."""
    servers: list[Server] = []

    def start(*flags: str) -> Server:
        state = ProcessCluster(tmp_path / "state")
        state.state_dir.mkdir(exist_ok=True)
        log = (tmp_path / "log").open("wb")
        process = subprocess.Popen(
            state.command(
                "server",
                "--secure-port",
                str(state.secure_port),
                "--bind-address=127.0.0.1",
                *flags,
            ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=ROOT,
        )
        log.close()
        server = Server(state, process)
        servers.append(server)

        def up() -> bool:
            assert process.poll() is None, (tmp_path / "log").read_text()
            # 401 too: with --anonymous-auth=false not even this is told to just anybody.
            return server.call("/livez")[0] in (200, 401, 403)

        wait_for(up, "the server")
        return server

    yield start
    for server in servers:
        server.process.terminate()
        assert server.process.wait(10) == 0


def test_alone(run: Run) -> None:
    server = run()
    status, admin = server.whoami(certificate=True)
    assert (status, admin["username"]) == (201, "kubernetes-admin")
    assert set(admin["groups"]) == {"system:masters", "system:authenticated"}
    assert server.call("/version")[1]["gitVersion"].startswith("v1.36")
    assert server.call("/api/v1/pods")[0] == 403  # anonymous may see nothing of this
    assert server.call("/api/v1/pods", token="wrong")[0] == 401


def test_token_auth_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text('abc,ann,u1,"devs,system:masters"\nxyz,bob,u2\n')
    server = run("--token-auth-file", str(file))
    status, ann = server.whoami(token="abc")
    assert (status, ann["username"], ann["uid"]) == (201, "ann", "u1")
    assert {"devs", "system:masters"} <= set(ann["groups"])
    assert server.call("/api/v1/pods", token="abc")[0] == 200
    status, body = server.call("/api/v1/pods", token="xyz")
    assert status == 403
    assert 'User "bob" cannot list resource "pods"' in body["message"]


def test_anonymous_auth_off(run: Run) -> None:
    server = run("--anonymous-auth=false")
    assert server.call("/api")[0] == 401
    assert server.call("/livez")[0] == 401
    assert server.call("/livez", certificate=True) == (200, "ok")


def test_always_allow_needs_credentials(run: Run) -> None:
    """kube-apiserver turns anonymous requests off where everything is allowed."""
    server = run("--authorization-mode=AlwaysAllow")
    assert server.call("/api/v1/secrets")[0] == 401
    assert server.call("/api/v1/secrets", certificate=True)[0] == 200


def test_always_deny(run: Run) -> None:
    server = run("--authorization-mode=RBAC,AlwaysDeny")
    assert server.call("/api/v1/secrets", certificate=True)[0] == 200  # RBAC comes first
    assert server.call("/api/v1/secrets")[0] == 403


def test_tls_and_client_ca(run: Run, tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=own", "-days", "2", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(tmp_path / "own.key"), "-out", str(tmp_path / "own.crt")],
        check=True, capture_output=True, timeout=20,
    )  # fmt: skip
    server = run(
        "--tls-cert-file", str(tmp_path / "own.crt"),
        "--tls-private-key-file", str(tmp_path / "own.key"),
        "--client-ca-file", str(tmp_path / "own.crt"),
    )  # fmt: skip
    served = ssl.get_server_certificate(("127.0.0.1", server.state.secure_port))
    assert served == (tmp_path / "own.crt").read_text()
    # The cluster's own components are still believed, and so are those whom the other CA signed.
    assert server.call("/api/v1/secrets", certificate=True)[0] == 200
    context = ssl.create_default_context(cafile=str(tmp_path / "own.crt"))
    context.load_cert_chain(tmp_path / "own.crt", tmp_path / "own.key")
    connection = http.client.HTTPSConnection(
        "127.0.0.1", server.state.secure_port, context=context, timeout=10
    )
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    connection.request("POST", path, b"{}", {"content-type": "application/json"})
    review = json.loads(connection.getresponse().read())
    connection.close()
    assert review["status"]["userInfo"]["username"] == "own"


def test_service_ranges(run: Run) -> None:
    server = run(
        "--service-cluster-ip-range=10.50.0.0/24",
        "--service-node-port-range=31000-31001",
        "--advertise-address=192.0.2.7",
    )
    _, own = server.call("/api/v1/namespaces/default/services/kubernetes", certificate=True)
    assert own["spec"]["clusterIP"] == "10.50.0.1"
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
    _, found = server.call(slices, certificate=True)
    assert found["endpoints"][0]["addresses"] == ["192.0.2.7"]
    body = {
        "metadata": {"generateName": "np-"},
        "spec": {"type": "NodePort", "ports": [{"port": 80}]},
    }
    made = [
        server.call(
            "/api/v1/namespaces/default/services", certificate=True, method="POST", body=body
        )
        for _ in range(3)
    ]
    assert {m[1]["spec"]["ports"][0]["nodePort"] for m in made[:2]} == {31000, 31001}
    assert made[2][0] in (422, 500)
    assert "range is full" in made[2][1]["message"]


def test_service_account_keys_and_issuer(run: Run, tmp_path: Path) -> None:
    key = certificates.new_key()
    (tmp_path / "sa.key").write_bytes(key)
    server = run(
        "--service-account-issuer=https://issuer.example",
        "--api-audiences=mine,other",
        "--service-account-signing-key-file", str(tmp_path / "sa.key"),
        "--service-account-key-file", str(tmp_path / "sa.key"),
    )  # fmt: skip
    server.call(
        "/api/v1/namespaces/default/serviceaccounts",
        certificate=True,
        method="POST",
        body={"metadata": {"name": "robot"}},
    )
    status, made = server.call(
        "/api/v1/namespaces/default/serviceaccounts/robot/token",
        certificate=True,
        method="POST",
        body={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    )
    assert status == 201, made
    token = made["status"]["token"]
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["iss"] == "https://issuer.example"
    assert claims["aud"] == ["mine", "other"]
    assert server.whoami(token=token)[1]["username"] == "system:serviceaccount:default:robot"


def test_admission_plugins(run: Run) -> None:
    server = run(
        "--enable-admission-plugins=AlwaysPullImages",
        # What kube-apiserver has and Skiff has not may be turned off, as it is off.
        "--disable-admission-plugins=ServiceAccount,ValidatingAdmissionWebhook,ImagePolicyWebhook",
    )
    status, pod = server.call(
        "/api/v1/namespaces/default/pods",
        certificate=True,
        method="POST",
        body={"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}},
    )
    assert status == 201, pod
    assert pod["spec"]["containers"][0]["imagePullPolicy"] == "Always"
    assert "volumes" not in pod["spec"]


def test_data_dir(run: Run, tmp_path: Path) -> None:
    run("--data-dir", str(tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere/store.db").exists()
    assert not (tmp_path / "state/server").exists()


def test_flags_that_say_what_is_so_anyway(run: Run, tmp_path: Path) -> None:
    """As kube-apiserver is started for kubectl's own tests."""
    server = run(
        "--feature-gates=",
        "--runtime-config=api/v1,apps/v1=true,api/beta=false",
        "--service-account-lookup=true",
        "--storage-media-type=",
        "--allow-privileged",
        "--version=v1.36.0-custom",
        f"--cert-dir={tmp_path / 'certs'}",
    )
    assert server.call("/version")[1]["gitVersion"] == "v1.36.0-custom"
    build = server.call("/metrics", certificate=True)[1]
    assert 'git_version="v1.36.0-custom"' in build
    served = ssl.get_server_certificate(("127.0.0.1", server.state.secure_port))
    assert (tmp_path / "certs/apiserver.crt").read_text().startswith(served.strip())
    assert (tmp_path / "certs/apiserver.key").stat().st_mode & 0o777 == 0o600


def test_certificates_of_a_directory(run: Run, tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=own", "-days", "2", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(tmp_path / "apiserver.key"), "-out", str(tmp_path / "apiserver.crt")],
        check=True, capture_output=True, timeout=20,
    )  # fmt: skip
    server = run(f"--cert-dir={tmp_path}")
    served = ssl.get_server_certificate(("127.0.0.1", server.state.secure_port))
    assert served == (tmp_path / "apiserver.crt").read_text()


@pytest.mark.parametrize("flag", ["--version", "--version=true"])
def test_version_is_printed(flag: str, tmp_path: Path) -> None:
    done = ProcessCluster(tmp_path).skiff("server", flag)
    assert (done.returncode, done.stdout) == (0, "Kubernetes v1.36.0\n")


@pytest.mark.parametrize("spelling", ["--{}=x", "--{} x"])
def test_other_flags_of_kube_apiserver_are_refused_by_name(spelling: str, tmp_path: Path) -> None:
    state = ProcessCluster(tmp_path)
    done = state.skiff("server", *spelling.format("etcd-servers").split())
    assert done.returncode == 2
    assert "--etcd-servers is kube-apiserver's: the store is Skiff's own" in done.stderr
    assert "--data-dir" in done.stderr
    assert all(REFUSED.values())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--nonsense", "unrecognized arguments: --nonsense"),
        ("--etcd", "unrecognized arguments: --etcd"),
        ("--secure-port=x", "argument --secure-port: invalid int value: 'x'"),
        ("--anonymous-auth=perhaps", "'perhaps' is neither true nor false"),
        ("--authorization-mode=Magic", 'authorization mode "Magic" is not supported'),
        ("--tls-cert-file=/none", "--tls-cert-file /none: No such file or directory"),
        ("--tls-cert-file=/dev/null", "--tls-cert-file and --tls-private-key-file go together"),
        (
            "--tls-cert-file=/dev/null --tls-private-key-file=/dev/null",
            "--tls-cert-file /dev/null and its key are no PEM pair",
        ),
        ("--token-auth-file=/none", "--token-auth-file /none: No such file or directory"),
        ("--client-ca-file=/dev/null", "--client-ca-file /dev/null"),
        ("--service-node-port-range=5", "--service-node-port-range '5' is not of the form"),
        ("--service-node-port-range=9-5", "--service-node-port-range '9-5' is no range of ports"),
        ("--service-cluster-ip-range=ten", "--service-cluster-ip-range: 'ten' does not appear"),
        ("--feature-gates=Magic=true", "--feature-gates=Magic=true is not possible: Skiff has"),
        ("--service-account-lookup=false", "tokens of service accounts that are gone are not"),
        ("--allow-privileged=false", "restrict them with Pod Security labels"),
        ("--runtime-config=api/all=true", "Skiff serves every stable API, and no other"),
        ("--runtime-config=apps/v1=false", "Skiff serves every stable API, and no other"),
        ("--runtime-config=apps/v1beta1", "Skiff serves every stable API, and no other"),
        ("--version=v1.35.0", "'v1.35.0' does not start with the default version 'v1.36.0'"),
        ("--cert-dir=/dev/null", "--cert-dir /dev/null: "),
        ("--enable-admission-plugins=Magic", "unknown admission plugins: Magic"),
        ("--disable-admission-plugins=Magic", "unknown admission plugins: Magic"),
        (
            "--enable-admission-plugins=ImagePolicyWebhook",
            "unknown admission plugins: ImagePolicyWebhook",
        ),
        (
            "--enable-admission-plugins=LimitRanger --disable-admission-plugins=LimitRanger",
            "LimitRanger in enable-admission-plugins and disable-admission-plugins overlapped",
        ),
    ],
)
def test_bad_values_are_refused(tmp_path: Path, flags: str, words: str) -> None:
    state = ProcessCluster(tmp_path)
    done = state.skiff("server", f"--secure-port={state.secure_port}", *flags.split())
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_token_file_that_is_wrong_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("ok,ann,1\nbad,bob\n")
    state = ProcessCluster(tmp_path)
    done = state.skiff(
        "server",
        f"--secure-port={state.secure_port}",
        "--token-auth-file",
        str(tmp_path / "tokens"),
    )
    assert done.returncode == 2
    assert "line 2" in done.stderr
