"""`skiff up` refuses address ranges that this machine uses for something else, and says which."""

import dataclasses
import ipaddress
import struct
from pathlib import Path

import pytest

from skiff.cli import checks
from skiff.cli.exits import RANGE_IN_USE, CommandError
from skiff.cli.layout import Settings
from skiff.network.proxy.nft import NftCommand, PacketFilterError

HEADER = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
BRIDGE = "skiff0"


def table(directory: Path, *routes: tuple[str, str]) -> Path:
    """A /proc/net/route with `interface, destination` rows; a destination that starts with ! is a reject."""
    lines = []
    for interface, text in routes:
        flags = "0201" if text.startswith("!") else "0001"
        net = ipaddress.IPv4Network(text.removeprefix("!"))
        words = [
            f"{struct.unpack('=I', part.packed)[0]:08X}"
            for part in (net.network_address, net.netmask)
        ]
        lines.append(f"{interface}\t{words[0]}\t00000000\t{flags}\t0\t0\t0\t{words[1]}\t0\t0\t0\n")
    path = directory / "route"
    path.write_text(HEADER + "".join(lines))
    return path


def look(path: Path, *, fresh: bool = True, **settings: str) -> None:
    checks.free_ranges(
        dataclasses.replace(Settings(), **settings), BRIDGE, fresh=fresh, routes=path
    )


@pytest.mark.parametrize(
    "routes",
    [
        [],
        [("eth0", "0.0.0.0/0"), ("eth0", "192.168.1.0/24"), ("docker0", "172.17.0.0/16")],
        [(BRIDGE, "10.244.0.0/24"), (BRIDGE, "10.96.0.0/16")],  # the cluster's own
        [("tun0", "10.97.0.0/16"), ("tun0", "10.243.0.0/16"), ("tun0", "10.245.0.0/16")],
        [("*", "!10.244.0.0/16")],
    ],
)
def test_ranges_that_nobody_uses(routes: list[tuple[str, str]], tmp_path: Path) -> None:
    look(table(tmp_path, *routes))
    look(table(tmp_path, *routes), fresh=False)


@pytest.mark.parametrize(
    ("route", "range_", "flag"),
    [
        (("cni0", "10.244.0.0/24"), "the pod range 10.244.0.0/16", "--cluster-cidr"),
        (("cni0", "10.244.0.0/16"), "the pod range 10.244.0.0/16", "--cluster-cidr"),
        (("tun0", "10.0.0.0/8"), "the pod range 10.244.0.0/16", "--cluster-cidr"),
        (("eth1", "10.96.4.0/22"), "the service range 10.96.0.0/16", "--service-cluster-ip-range"),
        (("eth1", "10.96.0.0/12"), "the service range 10.96.0.0/16", "--service-cluster-ip-range"),
    ],
)
def test_a_new_cluster_takes_no_part_of_what_is_used(
    route: tuple[str, str], range_: str, flag: str, tmp_path: Path
) -> None:
    with pytest.raises(CommandError) as raised:
        look(table(tmp_path, ("eth0", "0.0.0.0/0"), route))
    assert raised.value.code == RANGE_IN_USE
    assert str(raised.value) == (
        f"{range_} overlaps with {route[1]}, which this machine reaches through interface {route[0]}; "
        f"choose another with {flag}"
    )


def test_other_ranges_may_be_chosen(tmp_path: Path) -> None:
    path = table(tmp_path, ("tun0", "10.0.0.0/8"))
    look(path, cluster_cidr="172.30.0.0/16", service_cidr="172.31.0.0/16")


def test_a_cluster_that_exists_yields_only_to_routes_that_would_take_its_packets(
    tmp_path: Path,
) -> None:
    look(table(tmp_path, ("tun0", "10.0.0.0/8")), fresh=False)
    with pytest.raises(CommandError, match=r"interface cni0; take that route away, or start a new"):
        look(table(tmp_path, ("cni0", "10.244.0.0/16")), fresh=False)


def test_the_two_ranges_must_not_overlap(tmp_path: Path) -> None:
    with pytest.raises(
        CommandError, match=r"10\.96\.0\.0/12 and the service range 10\.96\.0\.0/16 overlap"
    ):
        look(table(tmp_path), cluster_cidr="10.96.0.0/12")


def test_a_second_range_of_another_family_is_left_alone(tmp_path: Path) -> None:
    look(table(tmp_path), service_cidr="10.96.0.0/16,fd00:96::/108")


def test_a_machine_without_a_route_table(tmp_path: Path) -> None:
    look(tmp_path / "none")


def test_a_kernel_without_the_packet_filter_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: NftCommand, transaction: str) -> str:
        raise PacketFilterError("Error: Could not process rule: Operation not supported\nadd table")

    monkeypatch.setattr(NftCommand, "run", refuse)
    (reason,) = checks.missing_kernel_parts()
    assert "this kernel cannot do Services: nf_tables with NAT" in reason
    monkeypatch.setattr(NftCommand, "run", lambda *_: "")
    assert checks.missing_kernel_parts() == []
