"""The pod network on one node: a bridge, the CNI configuration that joins pods to it, and the kernel's settings.

Pods sit on a bridge whose address is the node's first pod address; the standard plugins (bridge,
host-local, portmap, loopback) do the work, called by the container runtime. Source:
https://www.cni.dev/docs/spec/ and https://www.cni.dev/plugins/current/main/bridge/.
"""

import ipaddress
import json
import logging
import subprocess
from dataclasses import dataclass
from pathlib import Path

SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    # Bridged packets pass the nat hooks: replies between two pods of a Service on one bridge are rewritten.
    "net/bridge/bridge-nf-call-iptables": "1",
}

log = logging.getLogger("skiff.network")


class NetworkError(Exception):
    """The machine refused what the pod network needs."""


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """One node's pod network. `configuration` is CNI's directory, `addresses` host-local's."""

    bridge: str
    pod_cidr: str
    service_cidr: str
    configuration: Path
    addresses: Path

    @property
    def gateway(self) -> str:
        """The bridge's address: the first of the node's pod addresses."""
        return str(ipaddress.ip_network(self.pod_cidr)[1])

    def conflist(self) -> str:
        """The CNI network configuration list, as JSON."""
        bridge = {
            "type": "bridge",
            "bridge": self.bridge,
            "isGateway": True,
            "isDefaultGateway": True,
            "hairpinMode": True,
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": self.pod_cidr}]],
                "dataDir": str(self.addresses),
            },
        }
        portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
        plugins = [bridge, portmap]
        return json.dumps(
            {"cniVersion": "0.4.0", "name": self.bridge, "plugins": plugins}, indent=2
        )

    def prepare(self) -> None:
        """Make the bridge, routes and sysctls, and write the configuration. Safe to repeat.
        Raises NetworkError."""
        for name, value in SYSCTLS.items():
            _sysctl(name, value)
        if not Path(f"/sys/class/net/{self.bridge}").exists():
            _ip("link", "add", self.bridge, "type", "bridge")
            # A bridge takes its lowest port's address unless it is given one: pods would lose their gateway.
            own = Path(f"/sys/class/net/{self.bridge}/address").read_text().strip()
            _ip("link", "set", self.bridge, "address", own)
        prefix = ipaddress.ip_network(self.pod_cidr).prefixlen
        _ip("address", "replace", f"{self.gateway}/{prefix}", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")
        # NodePorts answer on the loopback address too; their packets leave through the bridge.
        _sysctl(f"net/ipv4/conf/{self.bridge}/route_localnet", "1")
        # Cluster addresses are reached from the host even where it has no default route.
        _ip("route", "replace", self.service_cidr, "dev", self.bridge)
        self.configuration.mkdir(parents=True, exist_ok=True)
        target = self.configuration / "10-skiff.conflist"
        text = self.conflist() + "\n"
        if not target.exists() or target.read_text() != text:
            temporary = target.with_suffix(".tmp")
            temporary.write_text(text)
            temporary.replace(target)

    def remove(self) -> None:
        """Take the bridge (and with it its routes) and the addresses' records away."""
        if Path(f"/sys/class/net/{self.bridge}").exists():
            _ip("link", "delete", self.bridge)


def _sysctl(name: str, value: str) -> None:
    path = Path("/proc/sys") / name
    try:
        if path.read_text().strip() == value:
            return
        path.write_text(value)
        log.info("set %s = %s", name.replace("/", "."), value)
    except FileNotFoundError:
        log.warning(
            "%s is not known to this kernel; load br_netfilter where Services misbehave", name
        )
    except OSError as e:
        raise NetworkError(f"cannot set {name.replace('/', '.')} = {value}: {e.strerror}") from e


def _ip(*arguments: str) -> None:
    done = subprocess.run(
        ["ip", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NetworkError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
