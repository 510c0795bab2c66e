"""Rulesets, their differences and the table of many owners, against a tiny nf_tables and the real one."""

import itertools
import os
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skiff.network.proxy.affinity import remembered, restore
from skiff.network.proxy.base import base_rules
from skiff.network.proxy.endpoints import Place
from skiff.network.proxy.model import NOTHING, Map, Ruleset, Share, Table, changes, whole
from skiff.network.proxy.nft import (
    Nftables,
    NftCommand,
    PacketFilterError,
    RecordedPacketFilter,
    probe,
)
from skiff.network.proxy.plan import plan_service
from tests.network.kernel import Kernel, Refused
from tests.network.namespaces import isolated
from tests.network.objects import endpoint, endpoint_slice, port, service

TABLE = "ip skiff-test"
POD_CIDR = "10.244.0.0/16"
PLACE = Place("here", "zone-a")
real = pytest.mark.real
root = pytest.mark.skipif(os.geteuid() != 0, reason="the packet filter needs root")


def ruleset(chains: dict[str, list[str]], elements: dict[str, str] | None = None) -> Ruleset:
    maps = {"m": Map("map", "type inet_service : verdict", elements or {})}
    return Ruleset(maps, {n: tuple(r) for n, r in chains.items()})


def standing(*transactions: str) -> dict[str, object]:
    kernel = Kernel()
    for text in transactions:
        kernel.run(text)
    return kernel.tables


@st.composite
def rulesets(draw: st.DrawFn) -> Ruleset:
    """Chains that go to later chains, verdicts that go to any, sets that some rules use."""
    names = draw(st.lists(st.sampled_from(string.ascii_lowercase[:8]), unique=True, max_size=6))
    sets = draw(st.lists(st.sampled_from(["s1", "s2", "s3"]), unique=True))
    chains = {}
    for at, name in enumerate(sorted(names)):
        later = sorted(names)[at + 1 :]
        rules = draw(st.lists(st.sampled_from(["drop", "accept", "counter"]), max_size=2))
        rules += [f"goto {draw(st.sampled_from(later))}"] if later and draw(st.booleans()) else []
        rules += (
            [f"ip saddr @{draw(st.sampled_from(sets))} drop"]
            if sets and draw(st.booleans())
            else []
        )
        chains[name] = tuple(rules)
    keys = draw(st.lists(st.integers(1, 6), unique=True, max_size=4))
    elements = {str(k): f"goto {draw(st.sampled_from(names))}" if names else "drop" for k in keys}
    maps = {"m": Map("map", "type inet_service : verdict", elements)}
    maps |= {s: Map("set", "type ipv4_addr") for s in sets}
    return Ruleset(maps, chains)


@given(rulesets(), rulesets())
def test_changes_lead_from_old_to_new(old: Ruleset, new: Ruleset) -> None:
    assert standing(whole(TABLE, old), changes(TABLE, old, new)) == standing(whole(TABLE, new))


@given(rulesets())
def test_no_change_is_no_transaction(rules: Ruleset) -> None:
    assert changes(TABLE, rules, rules) == ""


@root
@real
@settings(max_examples=25, deadline=None)
@given(st.lists(rulesets(), min_size=2, max_size=4))
def test_the_kernel_agrees(rules: list[Ruleset]) -> None:
    def run() -> None:
        kernel = Nftables()
        kernel.run(whole(TABLE, rules[0]))
        for old, new in itertools.pairwise(rules):
            kernel.run(changes(TABLE, old, new))
        assert listed(kernel, TABLE) == fresh(kernel, rules[-1])

    isolated(run)


def listed(kernel: Nftables, table: str) -> list[str]:
    """What stands, in an order that does not depend on history."""
    blocks, block = [], ""
    for line in kernel.run(f"list table {table}\n").splitlines()[1:-1]:
        line = ", ".join(
            sorted(p.strip(" ,") for p in line.replace("elements = {", "").split(", "))
        )
        block += line + "\n"
        if line == "\t}":
            body = block.split("\n")
            blocks.append(
                "\n".join([body[0], *sorted(body[1:])] if "chain" not in body[0] else body)
            )
            block = ""
    return sorted(blocks)


def fresh(kernel: Nftables, rules: Ruleset) -> list[str]:
    kernel.run(whole("ip other", rules))
    return listed(kernel, "ip other")


# The table of many owners

OWNERS = ["a", "b", "c"]
KEYS = ["1", "2", "3"]


@st.composite
def shares(draw: st.DrawFn) -> tuple[str, Share]:
    owner = draw(st.sampled_from(OWNERS))
    if draw(st.integers(0, 4)) == 0:
        return owner, NOTHING
    chain = f"chain-{owner}"
    rules = draw(
        st.lists(st.sampled_from(["drop", "accept", f"ip saddr @set-{owner} drop"]), max_size=3)
    )
    values = st.sampled_from(["drop", f"goto {chain}"])
    elements = draw(st.dictionaries(st.sampled_from(KEYS), values, max_size=3))
    members = draw(st.sets(st.sampled_from(["10.0.0.1", "10.0.0.2"])))
    return owner, Share(
        rank=(draw(st.integers(0, 2)), owner),
        chains={chain: tuple(rules)},
        sets={f"set-{owner}": "type ipv4_addr"},
        elements={"m": elements, "s": dict.fromkeys(members, "")},
    )


def empty_table() -> Table:
    maps = {"m": Map("map", "type inet_service : verdict"), "s": Map("set", "type ipv4_addr")}
    return Table(TABLE, Ruleset(maps, {"base": ("type filter hook input priority 0", "accept")}))


@given(st.lists(st.lists(shares(), max_size=3), max_size=6))
def test_a_table_changed_step_by_step_is_the_table_made_at_once(
    steps: list[list[tuple[str, Share]]],
) -> None:
    table, kernel = empty_table(), Kernel()
    kernel.run(table.start())
    last: dict[str, Share] = {}
    for step in steps:
        for owner, share in step:
            table.put(owner, share)
            last[owner] = share
        kernel.run(table.take())
        once = empty_table()
        for owner, share in last.items():
            once.put(owner, share)
        assert kernel.tables == standing(once.start())
        assert table.take() == ""


def test_the_older_owner_has_an_element_that_two_want() -> None:
    table, kernel = empty_table(), Kernel()
    kernel.run(table.start())
    young = Share((2,), {"y": ("drop",)}, {}, {"m": {"80": "goto y"}})
    old = Share((1,), {"o": ("drop",)}, {}, {"m": {"80": "goto o"}})

    def verdict() -> str:
        kernel.run(table.take())
        return str(kernel.tables[TABLE]["sets"]["m"]["elements"].get("80", ""))

    table.put("young", young)
    assert verdict() == "goto y"
    table.put("old", old)
    assert verdict() == "goto o"
    table.put("old", NOTHING)
    assert verdict() == "goto y"
    table.put("young", NOTHING)
    assert verdict() == ""


def test_a_change_costs_what_changed() -> None:
    table = empty_table()
    for n in range(2000):
        table.put(n, Share((n,), {f"c{n}": ("drop",)}, {}, {"m": {str(n): f"goto c{n}"}}))
    table.start()
    table.put(7, Share((7,), {"c7": ("accept",)}, {}, {"m": {"7": "goto c7"}}))
    assert table.take().splitlines() == [
        f"flush chain {TABLE} c7",
        f"add rule {TABLE} c7 accept",
    ]


# Services, changed at random, on both kernels

ADDRESSES = [f"10.244.0.{n}" for n in range(2, 7)]


@st.composite
def planned(draw: st.DrawFn) -> tuple[str, Share]:
    name = draw(st.sampled_from(["red", "green", "blue"]))
    if draw(st.integers(0, 5)) == 0:
        return name, NOTHING
    number = ["red", "green", "blue"].index(name)
    kind = draw(st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"]))
    protocol = draw(st.sampled_from(["TCP", "UDP", "SCTP"]))
    node_port = {} if kind == "ClusterIP" else {"nodePort": 30000 + number}
    made = service(
        name,
        type=kind,
        clusterIP=f"10.96.0.{number + 1}",
        ports=[port(80, name="main", protocol=protocol, **node_port), port(81, name="other")],
        externalIPs=draw(st.lists(st.sampled_from(["192.0.2.7", "192.0.2.8"]), unique=True)),
        sessionAffinity=draw(st.sampled_from(["None", "ClientIP"])),
        sessionAffinityConfig={"clientIP": {"timeoutSeconds": draw(st.sampled_from([5, 10800]))}},
        internalTrafficPolicy=draw(st.sampled_from(["Cluster", "Local"])),
        externalTrafficPolicy=draw(st.sampled_from(["Cluster", "Local"])),
        loadBalancerSourceRanges=draw(
            st.lists(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "fd00::/8"]))
        ),
        status={"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}},
        created=draw(st.sampled_from(["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"])),
    )
    flags = st.fixed_dictionaries(
        {"ready": st.booleans(), "serving": st.booleans(), "terminating": st.booleans()}
    )
    ends = [
        endpoint(a, nodeName=draw(st.sampled_from(["here", "there"])), **draw(flags))
        for a in draw(st.lists(st.sampled_from(ADDRESSES), unique=True))
    ]
    slices = [
        endpoint_slice(
            *ends, ports=[port(8080, name="main", protocol=protocol), port(8081, name="other")]
        )
    ]
    return name, plan_service(made, slices, PLACE, POD_CIDR).share


def services_table() -> Table:
    return Table(TABLE, base_rules(POD_CIDR, "10.96.0.0/16"))


@given(st.lists(planned(), max_size=8))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_services_that_change_step_by_step(steps: list[tuple[str, Share]]) -> None:
    table, kernel = services_table(), Kernel()
    kernel.run(table.start())
    for owner, share in steps:
        table.put(owner, share)
        kernel.run(table.take())
    assert kernel.tables == standing(table.start())


@root
@real
@given(st.lists(planned(), min_size=1, max_size=6))
@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=25)
def test_services_that_change_step_by_step_in_the_kernel(steps: list[tuple[str, Share]]) -> None:
    def run() -> None:
        kernel, table = Nftables(), services_table()
        kernel.run(table.start())
        for owner, share in steps:
            table.put(owner, share)
            text = table.take()
            if text:
                kernel.run(text)
        assert listed(kernel, TABLE) == fresh(kernel, table.ruleset())

    isolated(run)


# The filter itself


@root
@real
@pytest.mark.parametrize("make", [Nftables, NftCommand])
def test_foreign_tables_stay_as_they_are(make: type) -> None:
    foreign = (
        "add table ip theirs\nadd chain ip theirs c { type nat hook prerouting priority -50 ; }\n"
        "add rule ip theirs c tcp dport 1 dnat to 192.0.2.1\n"
        "add set ip theirs s { type ipv4_addr ; }\nadd element ip theirs s { 192.0.2.9 }\n"
        "add table inet firewall\nadd chain inet firewall in { type filter hook input priority 0 ; policy drop ; }\n"
    )

    def run() -> None:
        kernel, table = make(), services_table()
        kernel.run(foreign)
        theirs = ("list table ip theirs\n", "list table inet firewall\n")
        before = [kernel.run(t) for t in theirs]
        for _ in range(2):
            kernel.run(table.start())
        assert [kernel.run(t) for t in theirs] == before
        assert "service-ips" in kernel.run(f"list table {TABLE}\n")

    isolated(run)


@root
@real
@pytest.mark.parametrize("make", [Nftables, NftCommand])
def test_a_refused_transaction_does_nothing(make: type) -> None:
    def run() -> None:
        kernel = make()
        with pytest.raises(PacketFilterError, match="No such file or directory"):
            kernel.run("add table ip one\nadd element ip none s { 192.0.2.1 }\n")
        assert kernel.run("list tables\n") == ""
        probe(kernel)
        assert kernel.run("list tables\n") == ""

    isolated(run)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Error: Could not process rule: Operation not permitted", "CAP_NET_ADMIN"),
        ("Error: Could not process rule: Operation not supported", "modprobe nf_tables"),
        ("Error: Could not process rule: No such file or directory", "modprobe nf_tables"),
        ("nft is not installed; install nftables", "install nftables"),
    ],
)
def test_a_machine_that_cannot_do_it_is_told_why(said: str, told: str) -> None:
    twin = RecordedPacketFilter()
    twin.fail_next = said
    with pytest.raises(PacketFilterError, match=told):
        probe(twin)


def test_a_missing_library_and_a_missing_program_are_named() -> None:
    with pytest.raises(PacketFilterError, match=r"libnone\.so.*install nftables"):
        Nftables("libnone.so.9")
    with pytest.raises(PacketFilterError, match="no-nft is not installed"):
        NftCommand("no-nft").run("list tables\n")


def test_the_tiny_kernel_refuses_what_the_real_one_refuses() -> None:
    kernel = Kernel()
    kernel.run("add table ip t\nadd chain ip t a\nadd chain ip t b\nadd rule ip t a goto b\n")
    for text in ("delete chain ip t b\n", "delete chain ip t a\n", "add rule ip t a goto c\n"):
        with pytest.raises(Refused):
            kernel.run(text)


# Session affinity over a rewrite

LISTING = """table ip skiff {
    set hairpin {
        type ipv4_addr . ipv4_addr
        elements = { 10.0.0.1 . 10.0.0.1 }
    }

    set from-a-10 {
        type ipv4_addr
        size 65535
        flags dynamic,timeout
        timeout 3h
        elements = { 10.0.0.1 expires 2h3m1s996ms, 10.0.0.2 timeout 1h expires 58m59s,
                10.0.0.3 expires 496ms }
    }
}
""".replace("    ", "\t")


def test_remembered_clients_are_read_and_put_back() -> None:
    clients = remembered(LISTING)
    assert clients == {
        "from-a-10": {"10.0.0.1": "2h3m1s996ms", "10.0.0.2": "58m59s", "10.0.0.3": "496ms"}
    }
    assert restore("ip t", clients, {"from-a-10"}).startswith(
        "add element ip t from-a-10 { 10.0.0.1 expires 2h3m1s996ms, "
    )
    assert restore("ip t", clients, {"another"}) == ""


@given(st.text())
def test_any_listing_can_be_read(text: str) -> None:
    remembered(text)


@root
@real
def test_remembered_clients_survive_in_the_kernel() -> None:
    def run() -> None:
        kernel, table = Nftables(), services_table()
        sticky = service(sessionAffinity="ClientIP")
        table.put(
            "web", plan_service(sticky, [endpoint_slice("10.244.0.2")], PLACE, POD_CIDR).share
        )
        kernel.run(table.start())
        (name,) = table.sets
        kernel.run(f"add element {TABLE} {name} {{ 192.0.2.77 expires 1h }}\n")
        clients = remembered(kernel.run(f"list sets table {TABLE}\n"))
        assert list(clients) == [name]
        assert clients[name]["192.0.2.77"].startswith(("59m59s", "1h"))
        kernel.run(table.start() + restore(TABLE, clients, table.sets))
        again = remembered(kernel.run(f"list sets table {TABLE}\n"))
        assert again[name]["192.0.2.77"].startswith("59m59s")

    isolated(run)
