"""Kubeconfig files: where the server is, whom to trust, who the client is.

Source: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/.
The text is JSON-quoted YAML, written without a YAML library.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from skiff.server.pki.files import write_atomically


@dataclass(frozen=True, slots=True)
class Access:
    """One way into one cluster; the certificate, its key and the CA in PEM."""

    server: str
    authority: bytes
    certificate: bytes
    key: bytes
    cluster: str = "skiff"
    user: str = "skiff-admin"
    context: str = "skiff"


def render_kubeconfig(access: Access) -> str:
    """The kubeconfig's text, with every credential inside."""
    quote = json.dumps
    return f"""\
apiVersion: v1
kind: Config
clusters:
- name: {quote(access.cluster)}
  cluster:
    server: {quote(access.server)}
    certificate-authority-data: {_data(access.authority)}
contexts:
- name: {quote(access.context)}
  context:
    cluster: {quote(access.cluster)}
    user: {quote(access.user)}
current-context: {quote(access.context)}
preferences: {{}}
users:
- name: {quote(access.user)}
  user:
    client-certificate-data: {_data(access.certificate)}
    client-key-data: {_data(access.key)}
"""


def write_kubeconfig(path: Path, access: Access) -> None:
    """Write the kubeconfig where it differs from what is there: owner-readable only."""
    text = render_kubeconfig(access).encode()
    try:
        if path.read_bytes() == text:
            return
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomically(path, text, mode=0o600)


def _data(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
