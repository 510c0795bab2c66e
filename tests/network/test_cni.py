"""The node's pod network, made in a network namespace, and a pod joined to it by the real plugins."""

import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skiff.network.cni import PodNetwork
from tests.network.namespaces import Host
from tests.network.world import Echo, TestProxy, ask

needs_root = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]
PLUGINS = next((d for d in (Path("/usr/lib/cni"), Path("/opt/cni/bin")) if d.is_dir()), Path("/"))
BRIDGE = "skt-cni0"
REPOSITORY = Path(__file__).resolve().parents[2]


def network(directory: Path, **more: Any) -> PodNetwork:
    return PodNetwork(
        BRIDGE, "10.244.3.0/24", "10.96.0.0/16", directory / "cni", directory / "addresses", **more
    )


def test_the_configuration_names_the_standard_plugins(tmp_path: Path) -> None:
    made = json.loads(network(tmp_path).conflist(1400))
    bridge, portmap = made["plugins"]
    assert (made["cniVersion"], made["name"]) == ("0.4.0", BRIDGE)
    assert bridge["type"] == "bridge"
    assert bridge["mtu"] == 1400
    assert bridge["hairpinMode"] is True
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.244.3.0/24"}]]
    assert portmap["capabilities"] == {"portMappings": True}
    assert network(tmp_path).gateway == "10.244.3.1"


class Node(Host):
    """A host on which the real code runs, in a process of its own (as `ip netns exec` gives it /sys)."""

    def network(self, directory: Path, verb: str, **more: Any) -> None:
        program = (
            "import sys; from pathlib import Path; from skiff.network.cni import PodNetwork; "
            f"PodNetwork({BRIDGE!r}, '10.244.3.0/24', '10.96.0.0/16', Path({str(directory / 'cni')!r}), "
            f"Path({str(directory / 'addresses')!r}), **{more!r}).{verb}()"
        )
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, sys.executable, "-c", program],
            capture_output=True, text=True, check=False, cwd=REPOSITORY, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def state(self) -> dict[str, Any]:
        (link,) = json.loads(self.shell("ip", "-j", "-d", "address", "show", "dev", BRIDGE))
        routes = json.loads(self.shell("ip", "-j", "route"))
        return {
            "mac": link["address"],
            "mtu": link["mtu"],
            "up": "UP" in link["flags"],
            "addresses": [f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a["family"] == "inet"],
            "routes": sorted(r["dst"] for r in routes if r.get("dev") == BRIDGE),
        }  # fmt: skip

    def read(self, name: str) -> str:
        return self.run((Path("/proc/sys") / name).read_text).strip()


@pytest.fixture
def node() -> Iterator[Node]:
    host = Node("cninode")
    try:
        yield host
    finally:
        host.close()


@pytest.mark.real
@needs_root[1]
class TestPrepare:
    def test_everything_is_made_and_a_second_time_changes_nothing(
        self, node: Node, tmp_path: Path
    ) -> None:
        node.network(tmp_path, "prepare")
        state = node.state()
        assert state["addresses"] == ["10.244.3.1/24"]
        assert state["up"]
        assert state["routes"] == ["10.244.3.0/24", "10.96.0.0/16"]
        assert state["mtu"] == 1500
        for name, value in (
            ("net/ipv4/ip_forward", "1"),
            ("net/bridge/bridge-nf-call-iptables", "1"),
            (f"net/ipv4/conf/{BRIDGE}/route_localnet", "1"),
            (f"net/ipv4/conf/{BRIDGE}/send_redirects", "0"),
        ):
            assert node.read(name) == value, name
        written = (tmp_path / "cni/10-skiff.conflist").stat().st_mtime_ns
        node.network(tmp_path, "prepare")
        assert node.state() == state
        assert (tmp_path / "cni/10-skiff.conflist").stat().st_mtime_ns == written

    def test_what_was_lost_is_made_again(self, node: Node, tmp_path: Path) -> None:
        """After a reboot all is gone but the files; somebody may also have taken a piece away."""
        node.network(tmp_path, "prepare")
        state = node.state()
        node.ip("link", "delete", BRIDGE)
        node.network(tmp_path, "prepare")
        assert {**node.state(), "mac": ""} == {**state, "mac": ""}
        node.ip("route", "delete", "10.96.0.0/16")
        node.ip("address", "flush", "dev", BRIDGE)
        node.ip("link", "set", BRIDGE, "down")
        (tmp_path / "cni/10-skiff.conflist").write_text("damaged")
        node.network(tmp_path, "prepare")
        assert {**node.state(), "mac": ""} == {**state, "mac": ""}
        assert json.loads((tmp_path / "cni/10-skiff.conflist").read_text())

    def test_remove_leaves_nothing(self, node: Node, tmp_path: Path) -> None:
        node.shell("iptables", "-P", "FORWARD", "DROP")
        before = node.shell("iptables", "-S")
        node.network(tmp_path, "prepare")
        for _ in range(2):
            node.network(tmp_path, "remove")
        assert BRIDGE not in node.shell("ip", "-br", "link")
        assert "10.96" not in node.shell("ip", "route")
        assert node.shell("iptables", "-S") == before

    def test_the_uplinks_mtu_is_taken_over(self, node: Node, tmp_path: Path) -> None:
        for name, mtu, metric in (("slow0", 1400, "200"), ("up0", 1420, "100")):
            node.ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
            node.ip("link", "set", f"{name}p", "up")
            node.ip("link", "set", name, "mtu", str(mtu), "up")
            node.ip("route", "add", "default", "dev", name, "metric", metric)
        node.network(tmp_path, "prepare")
        assert node.state()["mtu"] == 1420
        assert (
            json.loads((tmp_path / "cni/10-skiff.conflist").read_text())["plugins"][0]["mtu"]
            == 1420
        )
        node.network(tmp_path, "prepare", mtu=1300)
        assert node.state()["mtu"] == 1300

    def test_a_firewall_that_drops_what_is_forwarded_lets_pods_through(
        self, node: Node, tmp_path: Path
    ) -> None:
        node.network(tmp_path, "prepare")
        assert BRIDGE not in node.shell("iptables", "-S", "FORWARD")
        node.shell("iptables", "-P", "FORWARD", "DROP")
        for _ in range(2):
            node.network(tmp_path, "prepare")
        rules = node.shell("iptables", "-S", "FORWARD").splitlines()[1:]
        assert sorted(rules) == [
            f"-A FORWARD -i {BRIDGE} -j ACCEPT",
            f"-A FORWARD -o {BRIDGE} -j ACCEPT",
        ]


class Pod(Host):
    """A namespace that the plugins of the configuration join to the network, as a runtime would."""

    def attach(
        self, node: Host, directory: Path, verb: str, ports: list[dict[str, Any]]
    ) -> dict[str, Any]:
        config = json.loads((directory / "cni/10-skiff.conflist").read_text())
        result: dict[str, Any] = {}
        for plugin in config["plugins"] if verb == "ADD" else reversed(config["plugins"]):
            given = {"cniVersion": config["cniVersion"], "name": config["name"], **plugin}
            if result:
                given["prevResult"] = result
            if "portMappings" in plugin.get("capabilities", {}):
                given["runtimeConfig"] = {"portMappings": ports}
            done = subprocess.run(
                ["ip", "netns", "exec", node.name, str(PLUGINS / plugin["type"])],
                input=json.dumps(given), capture_output=True, text=True, check=False, timeout=60,
                env={**os.environ, "CNI_COMMAND": verb, "CNI_CONTAINERID": self.name,
                     "CNI_NETNS": f"/run/netns/{self.name}", "CNI_IFNAME": "eth0", "CNI_PATH": str(PLUGINS)},
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            result = json.loads(done.stdout) if done.stdout.strip() else {}
        return result


@pytest.mark.real
@needs_root[1]
@pytest.mark.skipif(not (PLUGINS / "bridge").exists(), reason="needs the CNI plugins")
def test_pods_join_leave_and_are_reached_by_host_port(node: Node, tmp_path: Path) -> None:
    outside, pods = Host("cniout"), [Pod("cnipod0"), Pod("cnipod1")]
    echo = Echo()
    try:
        node.link("up0", outside, "eth0")
        node.ip("address", "add", "192.0.2.1/24", "dev", "up0")
        outside.ip("address", "add", "192.0.2.2/24", "dev", "eth0")
        node.network(tmp_path, "prepare", mtu=1400)
        TestProxy(node)  # pods' way out is masqueraded by the proxy's table
        mapped = [{"hostPort": 8090, "containerPort": 8080, "protocol": "tcp", "hostIP": ""}]
        addresses = []
        for pod, ports in zip(pods, (mapped, []), strict=True):
            result = pod.attach(node, tmp_path, "ADD", ports)
            addresses.append(result["ips"][0]["address"].split("/")[0])
            (link,) = json.loads(pod.shell("ip", "-j", "address", "show", "dev", "eth0"))
            assert link["mtu"] == 1400
        first, second = addresses
        assert all(
            ipaddress.ip_address(a) in ipaddress.ip_network("10.244.3.0/24") for a in addresses
        )
        assert "default via 10.244.3.1" in pods[0].shell("ip", "route")
        echo.add(pods[0], first, 8080)
        echo.add(outside, "192.0.2.2", 9000)
        assert ask(pods[1], first, 8080) == (first, second)
        assert ask(outside, "192.0.2.1", 8090)[0] == first
        assert ask(node, "127.0.0.1", 8090)[0] == first
        assert ask(pods[1], "192.0.2.1", 8090)[0] == first
        assert ask(pods[0], "192.0.2.2", 9000) == ("192.0.2.2", "192.0.2.1")
        node.network(tmp_path, "prepare", mtu=1400)  # a node that starts anew
        assert ask(outside, "192.0.2.1", 8090)[0] == first
        node.shell("iptables", "-t", "nat", "-N", "CNI-DN-of-another")
        other = [
            "-m",
            "comment",
            "--comment",
            'dnat name: "another" id: "x"',
            "-j",
            "CNI-DN-of-another",
        ]
        node.shell("iptables", "-t", "nat", "-A", "CNI-HOSTPORT-DNAT", *other)
        for pod in pods:
            pod.attach(node, tmp_path, "DEL", mapped)
        with pytest.raises(OSError):
            ask(outside, "192.0.2.1", 8090)
        left = [f.name for f in (tmp_path / "addresses" / BRIDGE).iterdir()]
        assert all(not name.startswith("10.") for name in left)
        pods[0].attach(node, tmp_path, "ADD", mapped)
        assert "8090" in node.shell("iptables", "-t", "nat", "-S")
        node.network(tmp_path, "remove")  # while the pod is still there: its runtime died
        rules = node.shell("iptables", "-t", "nat", "-S")
        assert "8090" not in rules
        assert "CNI-DN-of-another" in rules
    finally:
        echo.stop()
        for host in (outside, *pods):
            host.close()
