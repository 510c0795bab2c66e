"""`skiff control`: the scheduler and the controllers, alone.

Source: https://kubernetes.io/docs/reference/command-line-tools-reference/kube-controller-manager/
"""

import argparse
import os
import socket
from pathlib import Path

from skiff.aio.clock import RealClock
from skiff.aio.entropy import Entropy
from skiff.aio.run import Component, Group, Started
from skiff.cli.access import (
    boolean,
    connect,
    duration_s,
    kubeconfig_path,
    names,
    settings_of,
)
from skiff.cli.exits import USAGE, CommandError
from skiff.cli.layout import Layout, Settings
from skiff.cli.process import run_process
from skiff.client.events import EventRecorder
from skiff.client.informer import InformerFactory
from skiff.client.leader import Election, LeaderElector
from skiff.controllers.certificates.authority import Authority
from skiff.controllers.context import Options, Sign
from skiff.controllers.manager import ControllerManager
from skiff.scheduler.run import NAME as SCHEDULER_NAME
from skiff.scheduler.run import Scheduler
from skiff.server.authn.jwt import Signer


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    add = parser.add_argument
    add("--kubeconfig", type=Path, metavar="FILE", help="how the controllers reach the API server")
    add(
        "--scheduler-kubeconfig",
        type=Path,
        metavar="FILE",
        help="how the scheduler reaches it (STATE-DIR/kubeconfig/scheduler.kubeconfig)",
    )
    add("--cluster-cidr", metavar="CIDR", help="pod addresses, a /24 for each node")
    add(
        "--allocate-node-cidrs",
        type=boolean,
        nargs="?",
        const=True,
        default=True,
        metavar="BOOL",
        help="give each node its part of the pod addresses (true)",
    )
    add("--kube-api-content-type", choices=("", "application/json"), help=argparse.SUPPRESS)
    add(
        "--service-account-private-key-file",
        type=Path,
        metavar="FILE",
        help="the key that tokens of service account Secrets are signed with (STATE-DIR/pki/sa.key)",
    )
    for flag, what in (("cert", "certificate"), ("key", "key")):
        add(
            f"--cluster-signing-{flag}-file",
            type=Path,
            metavar="FILE",
            help=f"the CA's {what} that signing requests are issued with (STATE-DIR/pki/ca)",
        )
    add(
        "--cluster-signing-duration",
        type=duration_s,
        default=Options().signing_duration_s,
        metavar="TIME",
        help="how long the certificates that are issued are valid at most (8760h)",
    )
    add(
        "--leader-elect",
        action="store_true",
        help="work only while holding the lease: several may run",
    )
    add("--controllers", default="*", metavar="NAMES", help="`*`, or without some: `*,-deployment`")


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM."""
    check(arguments)
    layout, settings = settings_of(arguments)
    return run_process("control", ControlPlane(layout, settings, arguments))


def check(arguments: argparse.Namespace) -> None:
    """What can be seen to be wrong before anything starts. Raises CommandError naming the flag."""
    given = {
        "--cluster-signing-cert-file": arguments.cluster_signing_cert_file,
        "--cluster-signing-key-file": arguments.cluster_signing_key_file,
    }
    if len([path for path in given.values() if path]) == 1:
        raise CommandError(f"{' and '.join(given)} go together", USAGE)
    for flag, path in given.items():
        if path and not os.access(path, os.R_OK):
            raise CommandError(f"{flag} {path} cannot be read", USAGE)


class ControlPlane:
    """Scheduler and controllers in one process, over one set of informers. A component."""

    def __init__(self, layout: Layout, settings: Settings, arguments: argparse.Namespace) -> None:
        self._layout = layout
        self._settings = settings
        self._arguments = arguments

    async def run(self, started: Started) -> None:
        """Wait for the kubeconfigs (the server makes them), then run both."""
        clock, entropy, arguments = RealClock(), Entropy(), self._arguments
        control = await connect(
            kubeconfig_path(self._layout, "control", arguments.kubeconfig),
            clock,
            entropy,
            "kube-controller-manager",
        )
        scheduling = await connect(
            kubeconfig_path(self._layout, "scheduler", arguments.scheduler_kubeconfig),
            clock,
            entropy,
            "kube-scheduler",
        )
        informers = InformerFactory(control)
        recorder = EventRecorder(scheduling, SCHEDULER_NAME)
        options = Options(
            ca_pem=(self._layout.pki / "ca.crt").read_text(),
            pod_cidr=pod_cidr(arguments, self._settings),
            sign_token=token_signer(
                arguments.service_account_private_key_file or self._layout.pki / "sa.key"
            ),
            signing_authority=signing_authority(
                arguments.cluster_signing_cert_file or self._layout.pki / "ca.crt",
                arguments.cluster_signing_key_file or self._layout.pki / "ca.key",
            ),
            signing_duration_s=arguments.cluster_signing_duration,
        )
        group = Group(
            [
                ("informers", informers),
                (
                    "controllers",
                    ControllerManager(
                        control,
                        clock,
                        entropy,
                        informers=informers,
                        options=options,
                        without=left_out(arguments.controllers),
                    ),
                ),
                ("scheduler's events", recorder),
                ("scheduler", Scheduler(scheduling, informers, recorder, clock, entropy)),
            ]
        )
        component: Component = group
        if arguments.leader_elect:
            identity = f"{socket.gethostname()}_{entropy.uid()}"
            component = LeaderElector(
                control, Election("kube-system", "kube-controller-manager", identity), group
            )
        await component.run(started)


def signing_authority(certificate: Path, key: Path) -> Authority | None:
    """The CA in these files, read when it is first needed; None where one is missing."""
    if not (certificate.exists() and key.exists()):
        return None
    return Authority(certificate.read_bytes, key.read_bytes)


def token_signer(key: Path) -> Sign | None:
    """Signs with the key in the file, which is read when it is first needed; None where there is none."""
    return Signer(key.read_bytes).sign if key.exists() else None


def pod_cidr(arguments: argparse.Namespace, settings: Settings) -> str:
    """Where nodes get their pod addresses from; empty: they get none."""
    return (
        (arguments.cluster_cidr or settings.cluster_cidr) if arguments.allocate_node_cidrs else ""
    )


def left_out(controllers: str) -> frozenset[str]:
    """Names after a minus in `*,-deployment`. Raises CommandError for anything else than that form."""
    given = names(controllers)
    if "*" not in given or any(n != "*" and not n.startswith("-") for n in given):
        raise CommandError(
            f"--controllers {controllers!r}: give * and what to leave out, `*,-NAME`", 2
        )
    return frozenset(n[1:] for n in given if n.startswith("-"))
