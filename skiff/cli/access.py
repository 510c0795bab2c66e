"""What the components' commands share: names, kubeconfigs, the client of an identity."""

import argparse
import ipaddress
import re
import socket
from pathlib import Path

from skiff import __version__
from skiff.aio.clock import Clock
from skiff.aio.entropy import Entropy
from skiff.cli.exits import MISSING, CommandError
from skiff.cli.layout import Layout, Settings
from skiff.client import kubeconfig
from skiff.client.client import Client

KUBECONFIG_WAIT_S = 60.0
KUBECONFIG_LOOK_S = 0.02

ADVERTISE_PROBE = ("192.0.2.1", 9)
"""An address of the documentation range: where packets to the world would leave; none is sent."""


def settings_of(arguments: argparse.Namespace) -> tuple[Layout, Settings]:
    """The layout and settings that a component's command works with."""
    layout = Layout(arguments.state_dir.resolve())
    return layout, layout.load_settings() or Settings()


def node_name(settings: Settings) -> str:
    """This machine's node name: what was said, else the host name in lower case."""
    return (settings.node_name or socket.gethostname()).lower()


def advertise_address(settings: Settings, given: str | None) -> str:
    """How pods reach the server: what was said, else the address of the default route, else the first
    pod network gateway (a machine without a network)."""
    chosen = given or settings.advertise_address
    if chosen:
        return chosen
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(ADVERTISE_PROBE)
            return str(probe.getsockname()[0])
        except OSError:
            return str(ipaddress.ip_network(settings.cluster_cidr)[1])


def names(text: str) -> list[str]:
    """The parts of a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def boolean(text: str) -> bool:
    """The value of a flag that is on or off. Raises argparse.ArgumentTypeError."""
    if text.lower() in ("true", "1", "t"):
        return True
    if text.lower() in ("false", "0", "f"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def duration_s(text: str) -> float:
    """Seconds of a time as Go writes them: `8760h0m0s`, `1.5h`. For argparse: raises its error."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}
    parts = re.findall(r"([0-9.]+)(ms|[hms])", text)
    try:
        if parts and "".join(number + unit for number, unit in parts) == text:
            return sum(float(number) * units[unit] for number, unit in parts)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no time such as 8760h or 1h30m")


def kubeconfig_path(layout: Layout, name: str, given: Path | None) -> Path:
    """The kubeconfig of an identity: the one that was named, else the state directory's."""
    return given or layout.kubeconfigs / f"{name}.kubeconfig"


async def connect(path: Path, clock: Clock, entropy: Entropy, component: str) -> Client:
    """A client by a kubeconfig, which may appear only when the server has started for the first time.
    `component` is Kubernetes' name for who calls: objects name it as the manager of its fields."""
    waited_s = 0.0
    while not path.exists():  # noqa: ASYNC240 - a look at one file
        if waited_s > KUBECONFIG_WAIT_S:
            raise CommandError(
                f"{path} does not exist: start the API server first, or name another with --kubeconfig",
                MISSING,
            )
        await clock.sleep(KUBECONFIG_LOOK_S)
        waited_s += KUBECONFIG_LOOK_S
    transport = kubeconfig.load(path).transport(clock)
    return Client(transport, clock, entropy, f"{component}/{__version__}")
