"""Which files a cluster's `pki/` directory holds, and keeping them whole.

Theory: a table of identities says what must exist. `index.json` beside the files records, for each
pair, when it ends, its names and the SHA-256 of both files, so that a start where nothing changed
costs a few file reads. Where a hash or a file does not agree with the index, the pair is parsed and
either adopted (a user's own certificate that fits) or made anew. A CA is never replaced silently:
one that is damaged, or whose key is missing, is refused by name.
"""

import hashlib
import ipaddress
import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skiff.server.pki import certificates
from skiff.server.pki.certificates import Pair
from skiff.server.pki.files import write_atomically

DAY_S = 86_400.0
AUTHORITY_LIFETIME_S = 3650 * DAY_S
LEAF_LIFETIME_S = 365 * DAY_S
# Leaves are renewed at a start within this time of their end.
RENEW_BEFORE_S = 60 * DAY_S

ISSUER = "https://kubernetes.default.svc.cluster.local"
FIXED_SERVER_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
    "127.0.0.1",
    "::1",
)


class DamagedError(Exception):
    """A CA or the service account key is there but cannot be used; it is left as it is."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One certificate of the table. `file` is the stem of its .crt and .key files."""

    file: str
    common_name: str
    organizations: tuple[str, ...] = ()
    authority: str = "ca"
    sans: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """What a cluster's certificates must say."""

    node_name: str
    service_address: str = "10.96.0.1"
    sans: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"

    def identities(self) -> tuple[Identity, ...]:
        """The leaf certificates, as a table."""
        domain = f"kubernetes.default.svc.{self.cluster_domain}"
        own = (self.node_name, *self.addresses)
        server = _unique((*FIXED_SERVER_NAMES, domain, self.service_address, *own, *self.sans))
        node = f"system:node:{self.node_name}"
        kubelet = _unique(("localhost", "127.0.0.1", "::1", *own))
        return (
            Identity("server", "kube-apiserver", sans=server),
            Identity("admin", "kubernetes-admin", ("system:masters",)),
            Identity("control", "system:kube-controller-manager"),
            Identity("scheduler", "system:kube-scheduler"),
            Identity("proxy", "system:kube-proxy"),
            Identity("node", node, ("system:nodes",)),
            Identity("node-server", node, ("system:nodes",), sans=kubelet),
            Identity("kubelet-client", "kube-apiserver-kubelet-client", ("system:masters",)),
            Identity("front-proxy-client", "front-proxy-client", authority="front-proxy-ca"),
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the files lie."""

    directory: Path

    def certificate(self, name: str) -> Path:
        return self.directory / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.directory / f"{name}.key"

    @property
    def index(self) -> Path:
        return self.directory / "index.json"


@dataclass(frozen=True, slots=True)
class Pki:
    """A complete directory. `made` names what this start made or renewed."""

    layout: Layout
    made: tuple[str, ...]
    renew_at: float

    def certificate(self, name: str) -> Path:
        """The path of a certificate: "ca", "server", "admin", "control", "node"…"""
        return self.layout.certificate(name)

    def key(self, name: str) -> Path:
        """The path of a private key."""
        return self.layout.key(name)


@dataclass(slots=True)
class _Index:
    """What index.json says, and whether it must be written again."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    changed: bool = False


def ensure(directory: Path, request: Request, *, now: float) -> Pki:
    """Make `directory` hold every key and certificate of `request` at `now` (Unix seconds).

    Raises DamagedError where a CA or the service account key is unusable, OSError from the disk.
    """
    layout = Layout(directory)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    index = _read_index(layout)
    authorities = {
        name: _ensure_authority(layout, index, name, common_name, now)
        for name, common_name in (("ca", "kubernetes-ca"), ("front-proxy-ca", "front-proxy-ca"))
    }
    _ensure_signing_key(layout, index)
    for identity in request.identities():
        _ensure_leaf(layout, index, identity, authorities[identity.authority], now)
    if index.changed:
        text = json.dumps(index.rows, indent=1, sort_keys=True).encode()
        write_atomically(layout.index, text, mode=0o600, durable=True)
    ends = [float(row["notAfter"]) for row in index.rows.values() if "notAfter" in row]
    return Pki(layout, tuple(index.made), min(ends) - RENEW_BEFORE_S)


def host_addresses() -> tuple[str, ...]:
    """This machine's own addresses, as far as they can be told without asking the network.

    A datagram socket that is "connected" sends nothing: it only reveals the address that the
    default route would use.
    """
    found: list[str] = []
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                found.append(str(probe.getsockname()[0]))
        except OSError:
            continue
    return _unique(a for a in found if not ipaddress.ip_address(a).is_unspecified)


def _ensure_authority(
    layout: Layout, index: _Index, name: str, common_name: str, now: float
) -> Pair:
    certificate, key = layout.certificate(name), layout.key(name)
    stored = _stored(layout, name)
    if stored is None:
        if certificate.exists() or name in index.rows:
            lost = key if certificate.exists() else certificate
            raise DamagedError(
                f"the CA file {lost} is missing: restore it, or move its pair and"
                f" {layout.index} away to get a new CA"
            )
        pair = certificates.make_authority(common_name, now=now, lifetime_s=AUTHORITY_LIFETIME_S)
        _store(layout, index, name, pair, (), durable=True)
        return pair
    row = index.rows.get(name)
    if row is None or row["sha256"] != _digest(*stored):
        if not certificates.matches(*stored):
            raise DamagedError(
                f"{certificate} and {key} do not belong together: restore them, or move both"
                f" and {layout.index} away to get a new CA"
            )
        not_after, _ = certificates.inspect(stored[0])
        _record(index, name, Pair(*stored, not_after), ())
        row = index.rows[name]
    if float(row["notAfter"]) <= now:
        raise DamagedError(
            f"{certificate} has expired: move it, {key} and {layout.index} away to get a new CA"
        )
    return Pair(*stored, float(row["notAfter"]))


def _ensure_signing_key(layout: Layout, index: _Index) -> None:
    private, public = layout.key("sa"), layout.directory / "sa.pub"
    if not private.exists():
        write_atomically(private, certificates.new_key(), mode=0o600, durable=True)
        public.unlink(missing_ok=True)
        index.made.append("sa")
    if not public.exists():
        try:
            text = certificates.public_pem(private.read_bytes())
        except ValueError as e:
            raise DamagedError(f"{private} is not a private key in PEM: {e}") from e
        write_atomically(public, text, mode=0o644)


def _ensure_leaf(
    layout: Layout, index: _Index, identity: Identity, authority: Pair, now: float
) -> None:
    stored = _stored(layout, identity.file)
    row = index.rows.get(identity.file)
    if stored is not None:
        if row is None or row["sha256"] != _digest(*stored):
            row = _adopt(index, identity, stored, authority)
        if row is not None and _fits(row, identity, authority, now):
            return
    pair = certificates.make_certificate(
        authority,
        identity.common_name,
        identity.organizations,
        sans=identity.sans,
        now=now,
        lifetime_s=LEAF_LIFETIME_S,
    )
    _store(layout, index, identity.file, pair, identity.sans, identity, authority)


def _adopt(
    index: _Index, identity: Identity, stored: tuple[bytes, bytes], authority: Pair
) -> dict[str, Any] | None:
    """The row for files that the index does not know, or None where they cannot be used."""
    if not (
        certificates.matches(*stored) and certificates.issued_by(stored[0], authority.certificate)
    ):
        return None
    not_after, sans = certificates.inspect(stored[0])
    _record(index, identity.file, Pair(*stored, not_after), sans, identity, authority)
    return index.rows[identity.file]


def _fits(row: dict[str, Any], identity: Identity, authority: Pair, now: float) -> bool:
    left = float(row["notAfter"]) - now
    # A leaf may be as short-lived as its CA: renewing it would change nothing.
    renewable = authority.not_after - float(row["notAfter"]) > DAY_S
    return (
        left > (RENEW_BEFORE_S if renewable else 0)
        and set(row["sans"]) >= {_canonical(s) for s in identity.sans}
        and row.get("subject") == _subject(identity)
        and row.get("authority") == _digest(authority.certificate)
    )


def _store(
    layout: Layout,
    index: _Index,
    name: str,
    pair: Pair,
    sans: Sequence[str],
    identity: Identity | None = None,
    authority: Pair | None = None,
    *,
    durable: bool = False,
) -> None:
    write_atomically(layout.key(name), pair.key, mode=0o600, durable=durable)
    write_atomically(layout.certificate(name), pair.certificate, mode=0o644, durable=durable)
    _record(index, name, pair, sans, identity, authority)
    index.made.append(name)


def _record(
    index: _Index,
    name: str,
    pair: Pair,
    sans: Sequence[str],
    identity: Identity | None = None,
    authority: Pair | None = None,
) -> None:
    row: dict[str, Any] = {
        "notAfter": pair.not_after,
        "sans": sorted(_canonical(s) for s in sans),
        "sha256": _digest(pair.certificate, pair.key),
    }
    if identity is not None and authority is not None:
        row["subject"] = _subject(identity)
        row["authority"] = _digest(authority.certificate)
    index.rows[name] = row
    index.changed = True


def _read_index(layout: Layout) -> _Index:
    try:
        rows = json.loads(layout.index.read_bytes())
    except (FileNotFoundError, ValueError):
        return _Index()
    return _Index(rows if isinstance(rows, dict) else {})


def _stored(layout: Layout, name: str) -> tuple[bytes, bytes] | None:
    try:
        return layout.certificate(name).read_bytes(), layout.key(name).read_bytes()
    except FileNotFoundError:
        return None


def _subject(identity: Identity) -> str:
    return "/".join((*(f"O={o}" for o in identity.organizations), f"CN={identity.common_name}"))


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _canonical(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()


def _unique(names: "Sequence[str] | Any") -> tuple[str, ...]:
    return tuple(dict.fromkeys(_canonical(n) for n in names if n))
