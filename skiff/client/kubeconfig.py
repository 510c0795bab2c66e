"""Reading kubeconfig files: where the server is, whom to trust, who we are.

Source: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/.
Exec and auth-provider plugins are refused by name; they are for people's clients, not components.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from skiff.aio.clock import Clock
from skiff.aio.http.client import Origin
from skiff.aio.http.client_tls import client_context
from skiff.client.transport import HttpTransport, TokenFile


class KubeconfigError(Exception):
    """The file is missing something or asks for something that is not supported."""


@dataclass(frozen=True, slots=True)
class Access:
    """What one context of a kubeconfig says; PEM in bytes, the token or the file that holds it."""

    server: str
    namespace: str = "default"
    ca_pem: bytes = b""
    cert_pem: bytes = b""
    key_pem: bytes = b""
    token: str = ""
    token_file: Path | None = None
    server_name: str = ""
    insecure: bool = False

    def transport(self, clock: Clock) -> HttpTransport:
        """A transport to that server as that user."""
        url = urlsplit(self.server)
        tls = None
        if url.scheme == "https":
            tls = client_context(
                ca_pem=self.ca_pem,
                cert_pem=self.cert_pem,
                key_pem=self.key_pem,
                verify=not self.insecure,
            )
        port = url.port or (443 if tls else 80)
        origin = Origin(url.hostname or "", port, tls, server_name=self.server_name)
        return HttpTransport(origin, bearer=self._bearer(clock), base_path=url.path)

    def _bearer(self, clock: Clock) -> Callable[[], str] | None:
        if self.token_file is not None:
            return TokenFile(self.token_file, clock)
        if self.token:
            return lambda: self.token
        return None


def load(path: Path, context: str = "") -> Access:
    """The access that `context` (default: the current one) of the kubeconfig at `path` gives."""
    import yaml  # slow to import, and needed once

    try:
        text = path.read_text()
    except OSError as e:
        raise KubeconfigError(f"kubeconfig {path}: {e.strerror}") from e
    try:
        config = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe
    except yaml.YAMLError as e:
        raise KubeconfigError(f"kubeconfig {path} is not YAML: {e}") from e
    if not isinstance(config, dict):
        raise KubeconfigError(f"kubeconfig {path} holds no mapping")
    name = context or config.get("current-context") or ""
    if not name:
        raise KubeconfigError(f"kubeconfig {path} has no current-context; name one")
    chosen = _named(config, "contexts", name, path)["context"]
    cluster = _named(config, "clusters", chosen.get("cluster", ""), path)["cluster"]
    user = _named(config, "users", chosen.get("user", ""), path).get("user") or {}
    for unsupported in ("exec", "auth-provider", "username"):
        if unsupported in user:
            raise KubeconfigError(f"kubeconfig {path}: user field {unsupported!r} is not supported")
    token_file = user.get("tokenFile")
    return Access(
        server=cluster["server"],
        namespace=chosen.get("namespace") or "default",
        ca_pem=_pem(cluster, "certificate-authority", path),
        cert_pem=_pem(user, "client-certificate", path),
        key_pem=_pem(user, "client-key", path),
        token=user.get("token", ""),
        token_file=path.parent / token_file if token_file else None,
        server_name=cluster.get("tls-server-name", ""),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
    )


def _named(config: dict[str, Any], section: str, name: str, path: Path) -> dict[str, Any]:
    for entry in config.get(section) or ():
        if entry.get("name") == name:
            return dict(entry)
    raise KubeconfigError(f"kubeconfig {path}: no entry {name!r} in {section}")


def _pem(entry: dict[str, Any], name: str, path: Path) -> bytes:
    if data := entry.get(f"{name}-data"):
        return base64.b64decode(str(data))
    if file := entry.get(name):
        try:
            return (path.parent / str(file)).read_bytes()
        except OSError as e:
            raise KubeconfigError(f"kubeconfig {path}: {name} {file}: {e.strerror}") from e
    return b""
