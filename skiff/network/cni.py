"""The pod network on one node: a bridge, the CNI configuration that joins pods to it, and the kernel's settings.

Pods sit on a bridge whose address is the node's first pod address; the standard plugins (bridge,
host-local, portmap, loopback) do the work, called by the container runtime. Source:
https://www.cni.dev/docs/spec/ and https://www.cni.dev/plugins/current/main/bridge/.
"""

import ipaddress
import json
import logging
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    # Bridged packets pass the nat hooks: replies between two pods of a Service on one bridge are rewritten.
    "net/bridge/bridge-nf-call-iptables": "1",
    # What comes from a pod for a Service goes back out to the bridge. A redirect would tell the pod a way
    # around the rules, and the kernel sends less of the answers that matter ("refused") for each.
    "net/ipv4/conf/all/send_redirects": "0",
}
NEEDS_MODULE = {"net/bridge/bridge-nf-call-iptables": "br_netfilter"}
DEFAULT_MTU = 1500
COMMAND_TIMEOUT_S = 30.0

log = logging.getLogger("skiff.network")


class NetworkError(Exception):
    """The machine refused what the pod network needs."""


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """One node's pod network. `configuration` is CNI's directory, `addresses` host-local's; `mtu` 0
    stands for the uplink's."""

    bridge: str
    pod_cidr: str
    service_cidr: str
    configuration: Path
    addresses: Path
    mtu: int = 0

    @property
    def gateway(self) -> str:
        """The bridge's address: the first of the node's pod addresses."""
        return str(ipaddress.ip_network(self.pod_cidr)[1])

    def conflist(self, mtu: int = DEFAULT_MTU) -> str:
        """The CNI network configuration list, as JSON."""
        bridge = {
            "type": "bridge",
            "bridge": self.bridge,
            "isGateway": True,
            "isDefaultGateway": True,
            "hairpinMode": True,
            "ipMasq": False,
            "mtu": mtu,
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
        mtu = self.mtu or uplink_mtu()
        _ip("link", "set", self.bridge, "mtu", str(mtu))
        prefix = ipaddress.ip_network(self.pod_cidr).prefixlen
        _ip("address", "replace", f"{self.gateway}/{prefix}", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")
        # NodePorts answer on the loopback address too; their packets leave through the bridge.
        _sysctl(f"net/ipv4/conf/{self.bridge}/route_localnet", "1")
        _sysctl(f"net/ipv4/conf/{self.bridge}/send_redirects", "0")
        # Cluster addresses are reached from the host even where it has no default route.
        _ip("route", "replace", self.service_cidr, "dev", self.bridge)
        _let_through(self.bridge)
        self.configuration.mkdir(parents=True, exist_ok=True)
        target = self.configuration / "10-skiff.conflist"
        text = self.conflist(mtu) + "\n"
        if not target.exists() or target.read_text() != text:
            temporary = target.with_suffix(".tmp")
            temporary.write_text(text)
            temporary.replace(target)

    def remove(self) -> None:
        """Take the bridge (and with it its routes) and what lets its packets through away."""
        remove_bridge(self.bridge)


def remove_bridge(bridge: str) -> None:
    """What `prepare` made on the machine, taken away. Safe to repeat. Raises NetworkError."""
    if Path(f"/sys/class/net/{bridge}").exists():
        _ip("link", "delete", bridge)
    for rule in _forward_rules(bridge):
        while _iptables("-C", "FORWARD", *rule) == 0 and _iptables("-D", "FORWARD", *rule) == 0:
            pass
    _remove_host_ports(bridge)


def _remove_host_ports(network: str) -> None:
    """What the portmap plugin wrote for pods of `network` that nobody took off it (their runtime died)."""
    done = _command("iptables", "-w", "-t", "nat", "-S", "CNI-HOSTPORT-DNAT")
    for line in done.stdout.splitlines() if done is not None and not done.returncode else ():
        words = shlex.split(line)
        if words[0] == "-A" and any(f'dnat name: "{network}"' in word for word in words):
            chain = words[-1]
            _iptables("-t", "nat", "-D", *words[1:])
            _iptables("-t", "nat", "-F", chain)
            _iptables("-t", "nat", "-X", chain)


def uplink_mtu() -> int:
    """The MTU of the interface that the default route goes through, which pods' packets must pass; 1500
    where there is none."""
    try:
        lines = Path("/proc/net/route").read_text().splitlines()[1:]
    except OSError:
        return DEFAULT_MTU
    routes = [line.split() for line in lines]
    defaults = [r for r in routes if len(r) > 7 and r[1] == r[7] == "00000000"]
    if not defaults:
        return DEFAULT_MTU
    interface = min(defaults, key=lambda r: int(r[6]))[0]
    try:
        return int(Path(f"/sys/class/net/{interface}/mtu").read_text())
    except (OSError, ValueError):
        return DEFAULT_MTU


def _forward_rules(bridge: str) -> tuple[tuple[str, ...], ...]:
    return (("-i", bridge, "-j", "ACCEPT"), ("-o", bridge, "-j", "ACCEPT"))


def _let_through(bridge: str) -> None:
    """Where another program (Docker, a firewall) has set iptables to drop what is forwarded, let the pods'
    packets through: an accept in a table of ours would not count there."""
    done = _command("iptables", "-w", "-S", "FORWARD")
    if done is None or done.returncode or "-P FORWARD DROP" not in done.stdout:
        return
    for rule in _forward_rules(bridge):
        if _iptables("-C", "FORWARD", *rule) != 0:
            _iptables("-I", "FORWARD", *rule)
            log.info("iptables drops what is forwarded: added FORWARD %s", " ".join(rule))


def _iptables(*arguments: str) -> int:
    done = _command("iptables", "-w", *arguments)
    return done.returncode if done is not None else -1


def _sysctl(name: str, value: str) -> None:
    path = Path("/proc/sys") / name
    if name in NEEDS_MODULE and not path.exists():
        _command("modprobe", NEEDS_MODULE[name])
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
    done = _command("ip", *arguments)
    if done is None:
        raise NetworkError("ip is not installed; install iproute2")
    if done.returncode:
        raise NetworkError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _command(*arguments: str) -> "subprocess.CompletedProcess[str] | None":
    """What a program said; None where it is not installed. Raises NetworkError where it hangs."""
    try:
        return subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
        )
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired as e:
        raise NetworkError(f"{arguments[0]} took longer than {COMMAND_TIMEOUT_S:.0f} s") from e
