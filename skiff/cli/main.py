"""The `skiff` command line: one table of commands, each imported only when it runs."""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from skiff import __version__
from skiff.cli.exits import CommandError
from skiff.cli.layout import default_state_dir

Parser = argparse.ArgumentParser

RUNTIMES = "containerd (its own), simulated, or the endpoint of another CRI runtime (unix:///…)"


def _up(parser: Parser) -> None:
    parser.add_argument(
        "-d", "--detach", action="store_true", help="return once the cluster is ready"
    )
    parser.add_argument(
        "--secure-port", type=int, metavar="PORT", help="the API server's port (6443)"
    )
    parser.add_argument(
        "--kubelet-port", type=int, metavar="PORT", help="the kubelet's port (10250)"
    )
    parser.add_argument(
        "--bind-address", metavar="IP", help="where the API server listens (0.0.0.0)"
    )
    parser.add_argument("--advertise-address", metavar="IP", help="how pods reach the API server")
    parser.add_argument(
        "--service-cluster-ip-range",
        dest="service_cidr",
        metavar="CIDR",
        help="Service addresses (10.96.0.0/16)",
    )
    parser.add_argument(
        "--service-node-port-range",
        dest="node_port_range",
        metavar="A-B",
        help="NodePorts (30000-32767)",
    )
    parser.add_argument("--cluster-cidr", metavar="CIDR", help="pod addresses (10.244.0.0/16)")
    parser.add_argument(
        "--cluster-domain", metavar="NAME", help="the cluster's DNS domain (cluster.local)"
    )
    parser.add_argument("--node-name", metavar="NAME", help="this node's name (the host name)")
    parser.add_argument("--runtime", metavar="RUNTIME", help=RUNTIMES)
    parser.add_argument("--nodes", type=int, metavar="N", help="how many simulated nodes (1)")
    parser.add_argument("--context", metavar="NAME", help="the kubeconfig context to write (skiff)")
    parser.add_argument(
        "--no-kubeconfig", action="store_true", help="leave the user's kubeconfig alone"
    )


def _down(parser: Parser) -> None:
    parser.add_argument("--delete", action="store_true", help="delete the cluster's state too")


def _kubeconfig(parser: Parser) -> None:
    parser.add_argument("--merge", action="store_true", help="merge it into the user's kubeconfig")
    parser.add_argument("--context", metavar="NAME", default="", help="the context's name (skiff)")


def _logs(parser: Parser) -> None:
    parser.add_argument(
        "component", nargs="?", help="containerd, server, control or node (default: all)"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is written")
    parser.add_argument("--tail", type=int, default=50, metavar="N", help="the last N lines (50)")


def _image(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    load = actions.add_parser("load", help="load a docker or OCI archive into the cluster")
    load.add_argument(
        "file", type=Path, help="a tar file as `docker save` or `skopeo copy oci-archive:` write it"
    )
    build = actions.add_parser("build", help="build an image from a Dockerfile and load it")
    build.add_argument("context", type=Path, metavar="DIRECTORY", help="the build context")
    build.add_argument("-t", "--tag", required=True, metavar="NAME[:TAG]", help="the image's name")
    build.add_argument(
        "-f", "--file", type=Path, metavar="FILE", help="the Dockerfile (DIRECTORY/Dockerfile)"
    )
    build.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    build.add_argument("--target", default="", metavar="STAGE")
    listing = actions.add_parser("ls", help="list the images on the node")
    for action in (load, build, listing):
        # Also after the action; what is not given there keeps what was given before it.
        action.add_argument("--state-dir", type=Path, default=argparse.SUPPRESS, metavar="DIR")


def _nothing(parser: Parser) -> None:
    pass


def _external(module: str) -> Callable[[Parser], None]:
    """A command whose many flags live beside it: imported only when it was asked for."""

    def configure(parser: Parser) -> None:
        importlib.import_module(module).configure(parser)

    return configure


# Name, help, its flags, and `module:function` that runs it. The order is that of `skiff --help`.
COMMANDS: tuple[tuple[str, str, Callable[[Parser], None], str], ...] = (
    ("up", "start a cluster on this machine", _up, "skiff.cli.up:run"),
    ("down", "stop it, containers and all", _down, "skiff.cli.up:down"),
    ("status", "show what runs", _nothing, "skiff.cli.inspect:status"),
    (
        "kubeconfig",
        "print the administrator's kubeconfig, or merge it",
        _kubeconfig,
        "skiff.cli.kubeconfig:run",
    ),
    ("logs", "show the components' logs", _logs, "skiff.cli.inspect:logs"),
    ("image", "load, build and list container images", _image, "skiff.cli.image:run"),
    ("server", "run the API server alone", _external("skiff.cli.server"), "skiff.cli.server:run"),
    (
        "control",
        "run the scheduler and controllers alone",
        _external("skiff.cli.control"),
        "skiff.cli.control:run",
    ),
    (
        "node",
        "run a node (kubelet, proxy, DNS) alone",
        _external("skiff.cli.node"),
        "skiff.cli.node:run",
    ),
    (
        "clean",
        "remove a dead cluster's containers, interfaces and rules",
        _nothing,
        "skiff.cli.up:clean",
    ),
)


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, str]:
    """The arguments, and `module:function` of the command. argparse ends the process on bad usage."""
    parser = Parser(
        prog="skiff", description="Kubernetes in Python: a light cluster on this machine."
    )
    parser.add_argument(
        "--version", action="version", version=f"skiff {__version__} (Kubernetes v1.36.0)"
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text, configure, entry in COMMANDS:
        sub = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.add_argument(
            "--state-dir",
            type=Path,
            default=default_state_dir(),
            metavar="DIR",
            help="where the cluster keeps its state (default: %(default)s)",
        )
        if argv and argv[0] == name:
            configure(sub)
        sub.set_defaults(entry=entry, argv=list(argv))
    arguments = parser.parse_args(argv)
    return arguments, str(arguments.entry)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code (see `exits`)."""
    arguments, entry = parse(sys.argv[1:] if argv is None else argv)
    module, function = entry.split(":")
    try:
        run: Callable[[argparse.Namespace], int] = getattr(
            importlib.import_module(module), function
        )
        return run(arguments)
    except CommandError as e:
        sys.stderr.write(f"skiff: {e}\n")
        return e.code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1
