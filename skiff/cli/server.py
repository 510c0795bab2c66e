"""`skiff server`: the API server with its store, alone. Flags carry kube-apiserver's names where the
thing exists there. What is not given comes from the state directory's cluster.json, then the default.

Source: https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/
"""

import argparse
import ipaddress
import ssl
from functools import partial
from pathlib import Path

from skiff.aio.clock import RealClock
from skiff.aio.entropy import Entropy
from skiff.cli import foreign_flags
from skiff.cli.access import advertise_address, boolean, names, node_name, settings_of
from skiff.cli.checks import free_port
from skiff.cli.exits import ALREADY_RUNNING, BAD_STATE, USAGE, CommandError
from skiff.cli.layout import Layout, Settings, write_atomically
from skiff.cli.process import run_process
from skiff.server import pki
from skiff.server.authn.tokens import DEFAULT_ISSUER
from skiff.server.discovery.version import GIT_VERSION
from skiff.server.run import ServerComponent, ServerConfig
from skiff.store.protocol import Corrupt, Incompatible, Locked

KUBECONFIGS = ("admin", "control", "scheduler", "node", "proxy")
"""Identities of the PKI that get a kubeconfig."""


FILE_FLAGS = (
    "token_auth_file",
    "client_ca_file",
    "tls_cert_file",
    "tls_private_key_file",
    "service_account_key_file",
    "service_account_signing_key_file",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    add = parser.add_argument
    add(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="where the store keeps its file (STATE-DIR/server)",
    )
    add("--secure-port", type=int, metavar="PORT", help="the port to serve on (6443)")
    add("--bind-address", metavar="IP", help="the address to serve on (0.0.0.0)")
    add("--advertise-address", metavar="IP", help="the address that pods and nodes are told")
    add("--service-cluster-ip-range", dest="service_cidr", metavar="CIDR", help="Service addresses")
    add(
        "--service-node-port-range",
        dest="node_port_range",
        metavar="A-B",
        help="NodePorts (30000-32767)",
    )
    add(
        "--token-auth-file",
        type=Path,
        metavar="FILE",
        help='static tokens: token,user,uid,"group1,group2"',
    )
    add(
        "--client-ca-file",
        type=Path,
        metavar="FILE",
        help="who signs client certificates, besides our own CA",
    )
    add(
        "--tls-cert-file",
        type=Path,
        metavar="FILE",
        help="the serving certificate (made by our own CA)",
    )
    add("--tls-private-key-file", type=Path, metavar="FILE", help="its key")
    add(
        "--authorization-mode",
        default="Node,RBAC",
        metavar="MODES",
        help="Node, RBAC, AlwaysAllow, AlwaysDeny",
    )
    add(
        "--anonymous-auth",
        type=boolean,
        default=True,
        metavar="BOOL",
        help="let requests without credentials in as system:anonymous",
    )
    add(
        "--service-account-issuer",
        default="",
        metavar="URL",
        help="the issuer of service account tokens",
    )
    add(
        "--service-account-key-file",
        type=Path,
        action="append",
        metavar="FILE",
        help="keys that verify service account tokens",
    )
    add(
        "--service-account-signing-key-file",
        type=Path,
        metavar="FILE",
        help="the key that signs them",
    )
    add(
        "--api-audiences",
        default="",
        metavar="NAMES",
        help="whom tokens must be meant for (the issuer)",
    )
    add(
        "--enable-admission-plugins",
        default="",
        metavar="NAMES",
        help="admission plugins to use beside the default ones",
    )
    add(
        "--disable-admission-plugins",
        default="",
        metavar="NAMES",
        help="admission plugins to leave out",
    )
    add(
        "--tls-sans",
        default="",
        metavar="NAMES",
        help="more names and addresses for the serving certificate",
    )
    add(
        "--cert-dir",
        type=Path,
        metavar="DIR",
        help="where apiserver.crt and .key are; made where missing (STATE-DIR/pki)",
    )
    add(
        "--version",
        action=foreign_flags.PrintVersion,
        nargs="?",
        default=GIT_VERSION,
        metavar="VERSION",
        help="print the Kubernetes version, or what to report beyond it: vX.Y.Z-suffix",
    )
    foreign_flags.configure(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM."""
    check(arguments)
    layout, settings = settings_of(arguments)
    port = arguments.secure_port or settings.secure_port
    free_port(port, arguments.bind_address or settings.bind_address, "--secure-port")
    component = server_component(layout, settings, arguments)
    return run_process(
        "server", component, f"https://127.0.0.1:{port}", partial(_explain, component)
    )


def _explain(component: ServerComponent, error: BaseException) -> CommandError | None:
    """The store's refusals and wrong settings are the user's to mend; another try would end the same."""
    if isinstance(error, Corrupt | Incompatible):
        return CommandError(str(error), BAD_STATE)
    if isinstance(error, Locked):
        return CommandError(str(error), ALREADY_RUNNING)
    if isinstance(error, ValueError) and component.assembly is None:
        return CommandError(str(error), USAGE)
    return None


def check(arguments: argparse.Namespace) -> None:
    """What can be seen to be wrong before anything starts. Raises CommandError naming the flag."""
    for name in FILE_FLAGS:
        given = getattr(arguments, name)
        for path in given if isinstance(given, list) else [given] if given else []:
            try:
                with path.open("rb"):
                    pass
            except OSError as e:
                raise CommandError(f"--{name.replace('_', '-')} {path}: {e.strerror}", USAGE) from e
    if bool(arguments.tls_cert_file) != bool(arguments.tls_private_key_file):
        raise CommandError("--tls-cert-file and --tls-private-key-file go together", USAGE)
    for part in (arguments.service_cidr or "").split(","):
        try:
            ipaddress.ip_network(part or "10.96.0.0/16")
        except ValueError as e:
            raise CommandError(f"--service-cluster-ip-range: {e}", USAGE) from e
    _check_tls(arguments)


def _check_tls(arguments: argparse.Namespace) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = _named_pair(arguments)
    try:
        if pair is not None and all(path.exists() for path in pair):
            context.load_cert_chain(*pair)
    except (ssl.SSLError, ValueError, OSError) as e:
        flag = "--tls-cert-file" if arguments.tls_cert_file else "--cert-dir:"
        text = f"{flag} {pair[0] if pair else ''} and its key are no PEM pair: {e}"
        raise CommandError(text, 2) from e
    try:
        if arguments.client_ca_file:
            context.load_verify_locations(arguments.client_ca_file)
    except ssl.SSLError as e:
        raise CommandError(f"--client-ca-file {arguments.client_ca_file}: {e}", USAGE) from e


def node_ports(text: str) -> tuple[int, int]:
    """`30000-32767` as first and last. Raises CommandError."""
    first, dash, last = text.partition("-")
    try:
        low, high = int(first), int(last)
    except ValueError as e:
        raise CommandError(
            f"--service-node-port-range {text!r} is not of the form 30000-32767", 2
        ) from e
    if not (dash and 0 < low <= high < 65536):
        raise CommandError(f"--service-node-port-range {text!r} is no range of ports", USAGE)
    return low, high


def data_directory(layout: Layout, given: Path | None) -> Path:
    """The store's directory, made where it is missing."""
    directory = given or layout.server_data
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as e:
        raise CommandError(f"cannot use {directory} for the store: {e.strerror}", BAD_STATE) from e
    return directory


def server_component(
    layout: Layout, settings: Settings, arguments: argparse.Namespace
) -> ServerComponent:
    """The API server; keys, certificates and kubeconfigs are made where they are missing."""
    service_cidr = arguments.service_cidr or settings.service_cidr
    advertised = advertise_address(settings, arguments.advertise_address)
    port = arguments.secure_port or settings.secure_port
    keys = _keys(layout, settings, service_cidr, advertised, arguments.tls_sans)
    _write_kubeconfigs(layout, settings, keys, port)
    certificate, key = _serving(keys, arguments)
    config = ServerConfig(
        database=data_directory(layout, arguments.data_dir) / "store.db",
        tls_cert_file=certificate,
        tls_private_key_file=key,
        client_ca_file=arguments.client_ca_file or keys.certificate("ca"),
        cluster_ca_file=keys.certificate("ca"),
        bind_address=arguments.bind_address or settings.bind_address,
        secure_port=port,
        advertise_address=advertised,
        service_cluster_ip_range=tuple(service_cidr.split(",")),
        service_node_port_range=node_ports(arguments.node_port_range or settings.node_port_range),
        authorization_mode=tuple(names(arguments.authorization_mode)),
        token_auth_file=arguments.token_auth_file,
        anonymous_auth=arguments.anonymous_auth,
        enable_admission_plugins=tuple(names(arguments.enable_admission_plugins)),
        disable_admission_plugins=tuple(names(arguments.disable_admission_plugins)),
        service_account_signing_key_file=arguments.service_account_signing_key_file
        or keys.key("sa"),
        service_account_key_files=tuple(arguments.service_account_key_file or ()),
        service_account_issuer=arguments.service_account_issuer or DEFAULT_ISSUER,
        api_audiences=tuple(names(arguments.api_audiences)),
        kubelet_client_certificate=keys.certificate("kubelet-client"),
        kubelet_client_key=keys.key("kubelet-client"),
        kubelet_certificate_authority=keys.certificate("ca"),
        requestheader_client_ca_file=keys.certificate("front-proxy-ca"),
        version=arguments.version,
    )
    return ServerComponent(config, RealClock(), Entropy())


def _keys(
    layout: Layout, settings: Settings, service_cidr: str, advertised: str, sans: str
) -> pki.Pki:
    gateway = str(ipaddress.ip_network(settings.cluster_cidr)[1])
    addresses = [*pki.host_addresses(), advertised, gateway]
    request = pki.Request(
        node_name=node_name(settings),
        service_address=str(ipaddress.ip_network(service_cidr.split(",")[0])[1]),
        sans=tuple(names(sans)),
        addresses=tuple(dict.fromkeys(addresses)),
        cluster_domain=settings.cluster_domain,
    )
    try:
        return pki.ensure(layout.pki, request, now=RealClock().now())
    except pki.DamagedError as e:
        raise CommandError(str(e), BAD_STATE) from e
    except OSError as e:
        raise CommandError(f"cannot write keys to {layout.pki}: {e.strerror}", BAD_STATE) from e


def _serving(keys: pki.Pki, arguments: argparse.Namespace) -> tuple[Path, Path]:
    """The serving certificate and its key: those that were named, else those in --cert-dir (ours,
    where it has none), else ours."""
    own = keys.certificate("server"), keys.key("server")
    pair = _named_pair(arguments) or own
    if pair == own or all(path.exists() for path in pair):
        return pair
    try:
        for source, made, mode in zip(own, pair, (0o644, 0o600), strict=True):
            write_atomically(made, source.read_text(), mode)
    except OSError as e:
        raise CommandError(f"--cert-dir {arguments.cert_dir}: {e.strerror}", USAGE) from e
    return pair


def _named_pair(arguments: argparse.Namespace) -> tuple[Path, Path] | None:
    if arguments.tls_cert_file:
        return arguments.tls_cert_file, arguments.tls_private_key_file
    if arguments.cert_dir:
        return arguments.cert_dir / "apiserver.crt", arguments.cert_dir / "apiserver.key"
    return None


def _write_kubeconfigs(layout: Layout, settings: Settings, keys: pki.Pki, port: int) -> None:
    authority = keys.certificate("ca").read_bytes()
    for name in KUBECONFIGS:
        access = pki.Access(
            server=f"https://127.0.0.1:{port}",
            authority=authority,
            certificate=keys.certificate(name).read_bytes(),
            key=keys.key(name).read_bytes(),
            user=f"{settings.context}-{name}",
            context=settings.context,
        )
        pki.write_kubeconfig(layout.kubeconfigs / f"{name}.kubeconfig", access)
