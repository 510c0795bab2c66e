"""The pki directory: complete after a first start, untouched by a second, renewed when it must be."""

import json
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from skiff.server import pki
from skiff.server.pki import authority, certificates

NOW = 1_800_000_000.0
REQUEST = pki.Request("node-1", addresses=("192.0.2.7",), sans=("api.example",))


def snapshot(directory: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in directory.iterdir()}


def test_first_start_makes_everything_with_safe_modes(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path / "pki", REQUEST, now=NOW)
    files = {p.name for p in (tmp_path / "pki").iterdir()}
    assert {
        "ca.crt",
        "ca.key",
        "server.crt",
        "sa.key",
        "sa.pub",
        "admin.key",
        "index.json",
    } <= files
    for path in (tmp_path / "pki").iterdir():
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o644 if path.suffix in (".crt", ".pub") else 0o600), path
    _, sans = certificates.inspect(made.certificate("server").read_bytes())
    assert {
        "10.96.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "node-1",
        "kubernetes.default.svc.cluster.local", "localhost", "127.0.0.1", "::1", "192.0.2.7",
        "api.example",
    } == set(sans)  # fmt: skip


def test_second_start_changes_nothing_and_needs_no_cryptography(tmp_path: Path) -> None:
    pki.ensure(tmp_path, REQUEST, now=NOW)
    before = snapshot(tmp_path)
    program = (
        "import sys; from pathlib import Path; from skiff.server import pki;"
        f"r = pki.Request('node-1', addresses=('192.0.2.7',), sans=('api.example',));"
        f"assert pki.ensure(Path({str(tmp_path)!r}), r, now={NOW + 60}).made == ();"
        "assert 'cryptography' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
    assert snapshot(tmp_path) == before


def test_a_new_name_renews_the_servers_certificates_only(tmp_path: Path) -> None:
    pki.ensure(tmp_path, REQUEST, now=NOW)
    moved = pki.Request("node-1", addresses=("192.0.2.8",), sans=("api.example",))
    assert pki.ensure(tmp_path, moved, now=NOW).made == ("server", "node-server")


def test_near_its_end_a_leaf_is_renewed(tmp_path: Path) -> None:
    first = pki.ensure(tmp_path, REQUEST, now=NOW)
    assert pki.ensure(tmp_path, REQUEST, now=first.renew_at - 10).made == ()
    renewed = pki.ensure(tmp_path, REQUEST, now=first.renew_at + 10).made
    assert "server" in renewed and "admin" in renewed and "ca" not in renewed


def test_a_torn_leaf_is_made_anew_and_a_lost_index_is_rebuilt(tmp_path: Path) -> None:
    pki.ensure(tmp_path, REQUEST, now=NOW)
    (tmp_path / "admin.crt").write_bytes(b"-----BEGIN")
    assert pki.ensure(tmp_path, REQUEST, now=NOW).made == ("admin",)
    (tmp_path / "index.json").unlink()
    before = snapshot(tmp_path)
    assert pki.ensure(tmp_path, REQUEST, now=NOW).made == ()
    after = snapshot(tmp_path)
    assert json.loads(after.pop("index.json")).keys() >= {"ca", "server", "node"}
    assert after == before
    # Adopted rows carry the names read from the certificates: a third start parses nothing more.
    assert pki.ensure(tmp_path, REQUEST, now=NOW).made == ()


@pytest.mark.parametrize("lost", ["ca.key", "ca.crt"])
def test_half_a_ca_is_refused_by_name(tmp_path: Path, lost: str) -> None:
    pki.ensure(tmp_path, REQUEST, now=NOW)
    (tmp_path / lost).unlink()
    with pytest.raises(authority.DamagedError, match=lost.replace(".", r"\.")):
        pki.ensure(tmp_path, REQUEST, now=NOW)
    assert not (tmp_path / lost).exists()


def test_another_cas_key_is_refused(tmp_path: Path) -> None:
    pki.ensure(tmp_path, REQUEST, now=NOW)
    (tmp_path / "ca.key").write_bytes((tmp_path / "front-proxy-ca.key").read_bytes())
    with pytest.raises(authority.DamagedError, match="do not belong together"):
        pki.ensure(tmp_path, REQUEST, now=NOW)


def test_tls_accepts_the_pairs_and_shows_the_subject(tmp_path: Path) -> None:
    """A handshake in memory: the server asks for a client certificate and reads CN and O."""
    import time

    made = pki.ensure(tmp_path, REQUEST, now=time.time())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made.certificate("server"), made.key("server"))
    server.verify_mode = ssl.CERT_OPTIONAL
    server.load_verify_locations(made.certificate("ca"))
    client = ssl.create_default_context(cafile=made.certificate("ca"))
    client.load_cert_chain(made.certificate("node"), made.key("node"))
    one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
    s = server.wrap_bio(one, other, server_side=True)
    c = client.wrap_bio(other, one, server_hostname="kubernetes.default.svc")
    done = {s: False, c: False}
    for _ in range(10):
        for side in done:
            try:
                side.do_handshake()
                done[side] = True
            except ssl.SSLWantReadError:
                pass
    assert all(done.values())
    assert s.getpeercert()["subject"] == (
        (("organizationName", "system:nodes"),),
        (("commonName", "system:node:node-1"),),
    )


def test_kubeconfig_is_yaml_with_credentials_and_owner_only(tmp_path: Path) -> None:
    access = pki.Access("https://127.0.0.1:6443", b"CA", b"CERT", b"KEY", user="u")
    path = tmp_path / "kubeconfig" / "admin.kubeconfig"
    pki.write_kubeconfig(path, access)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    config = yaml.safe_load(path.read_text())
    assert config["current-context"] == "skiff"
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    assert config["users"][0]["user"]["client-key-data"] == "S0VZ"
    stamp = path.stat().st_mtime_ns
    pki.write_kubeconfig(path, access)
    assert path.stat().st_mtime_ns == stamp
