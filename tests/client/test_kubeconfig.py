"""Reading kubeconfig files."""

import base64
from pathlib import Path

import pytest

from skiff.aio.clock import LoopClock
from skiff.client.kubeconfig import KubeconfigError, load
from skiff.client.transport import TokenFile
from tests.client.fake import EPOCH, run

DATA = base64.b64encode(b"PEM").decode()
TEXT = f"""
apiVersion: v1
kind: Config
current-context: one
clusters:
- name: c
  cluster: {{server: "https://127.0.0.1:6443", certificate-authority-data: {DATA}, tls-server-name: x}}
contexts:
- name: one
  context: {{cluster: c, user: u, namespace: n}}
- name: two
  context: {{cluster: c, user: t}}
- name: three
  context: {{cluster: c, user: e}}
- name: four
  context: {{cluster: missing, user: e}}
users:
- name: u
  user: {{client-certificate-data: {DATA}, client-key: key.pem}}
- name: t
  user: {{tokenFile: token}}
- name: e
  user: {{exec: {{command: x}}}}
"""


def test_contexts(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(TEXT)
    (tmp_path / "key.pem").write_bytes(b"KEY")
    access = load(path)
    assert (access.server, access.namespace) == ("https://127.0.0.1:6443", "n")
    assert (access.ca_pem, access.cert_pem, access.key_pem) == (b"PEM", b"PEM", b"KEY")
    assert access.server_name == "x"
    assert load(path, "two").token_file == tmp_path / "token"


@pytest.mark.parametrize(
    ("context", "message"), [("three", "'exec'"), ("four", "'missing'"), ("five", "'five'")]
)
def test_what_is_missing_is_named(tmp_path: Path, context: str, message: str) -> None:
    path = tmp_path / "config"
    path.write_text(TEXT)
    with pytest.raises(KubeconfigError, match=message):
        load(path, context)
    with pytest.raises(KubeconfigError, match="No such file"):
        load(tmp_path / "nowhere")


def test_token_files_are_read_again_after_a_minute(tmp_path: Path) -> None:
    async def main() -> None:
        clock = LoopClock(EPOCH)
        path = tmp_path / "token"
        path.write_text("one\n")
        token = TokenFile(path, clock)
        assert token() == "one"
        path.write_text("two")
        await clock.sleep(30)
        assert token() == "one"
        await clock.sleep(31)
        assert token() == "two"
        path.unlink()
        await clock.sleep(61)
        assert token() == "two"

    run(main)
