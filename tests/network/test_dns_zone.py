"""Every kind of record that the Kubernetes DNS specification knows, read back by another implementation."""

from typing import Any

import dnslib
import pytest

from skiff.network.dns import wire
from skiff.network.dns.zone import Zone
from tests.network.objects import endpoint, endpoint_slice, port, service

DOMAIN = "cluster.local"
RANGES = ("10.96.0.0/16", "10.244.0.0/16")


def zone() -> Zone:
    made = Zone(DOMAIN, "10.96.0.10", RANGES)
    made.set_namespaces(["default", "other"])
    return made


def ask(of: Zone, name: str, kind: str, **more: int) -> dnslib.DNSRecord:
    """The response to a question, as dnslib reads it; `limit` as a datagram has it."""
    query = wire.parse_query(bytes(dnslib.DNSRecord.question(name, kind).pack()))
    assert of.owns(query.name), name
    return dnslib.DNSRecord.parse(
        of.find(query.name, query.type).response(query, more.get("limit", 65535))
    )


def answers(of: Zone, name: str, kind: str) -> list[str]:
    return sorted(str(r.rdata) for r in ask(of, name, kind).rr)


def code(of: Zone, name: str, kind: str = "A") -> str:
    found = ask(of, name, kind)
    return str(dnslib.RCODE[found.header.rcode]) + ("" if found.rr else " (nothing)")


WEB = "web.default.svc.cluster.local"


@pytest.fixture
def cluster() -> Zone:
    made = zone()
    web = service(ports=[port(80, name="http"), port(53, name="dns", protocol="UDP"), port(99)])
    made.put(web, [endpoint_slice("10.244.0.2")])
    made.put(service("api", "other", clusterIP="10.96.0.30", ports=[port(443, name="https")]), [])
    ends = [
        endpoint("10.244.0.2", hostname="db-0"),
        endpoint("10.244.0.3", hostname="db-1"),
        endpoint("10.244.0.4"),
        endpoint("10.244.0.5", ready=False, hostname="db-3"),
    ]
    made.put(
        service("db", clusterIP="None", ports=[port(5432, name="sql")]),
        [endpoint_slice(*ends, of="db", ports=[port(5433, name="sql")])],
    )
    made.put(service("ext", type="ExternalName", externalName="Example.COM."), [])
    return made


DB = "db.default.svc.cluster.local"

TABLE: list[tuple[str, str, list[str]]] = [
    # 2.1 schema version
    ("dns-version.cluster.local", "TXT", ['"1.1.0"']),
    # 2.3 Services with a cluster IP
    (WEB, "A", ["10.96.0.20"]),
    ("api.other.svc.cluster.local", "A", ["10.96.0.30"]),
    (f"_http._tcp.{WEB}", "SRV", [f"0 100 80 {WEB}."]),
    (f"_dns._udp.{WEB}", "SRV", [f"0 100 53 {WEB}."]),
    (WEB, "SRV", [f"0 100 53 {WEB}.", f"0 100 80 {WEB}.", f"0 100 99 {WEB}."]),
    ("20.0.96.10.in-addr.arpa", "PTR", [f"{WEB}."]),
    # 2.4 headless
    (DB, "A", ["10.244.0.2", "10.244.0.3", "10.244.0.4"]),
    (f"db-0.{DB}", "A", ["10.244.0.2"]),
    (f"10-244-0-4.{DB}", "A", ["10.244.0.4"]),
    (f"_sql._tcp.{DB}", "SRV", [f"0 100 5433 10-244-0-4.{DB}.", f"0 100 5433 db-0.{DB}.", f"0 100 5433 db-1.{DB}."]),
    (DB, "SRV", [f"0 100 5433 10-244-0-4.{DB}.", f"0 100 5433 db-0.{DB}.", f"0 100 5433 db-1.{DB}."]),
    ("2.0.244.10.in-addr.arpa", "PTR", [f"db-0.{DB}."]),
    # 2.5 ExternalName
    ("ext.default.svc.cluster.local", "CNAME", ["example.com."]),
    ("ext.default.svc.cluster.local", "MX", ["example.com."]),
    # pods
    ("10-244-0-9.default.pod.cluster.local", "A", ["10.244.0.9"]),
    ("fd00--9.default.pod.cluster.local", "AAAA", ["fd00::9"]),
    # the zone itself
    ("cluster.local", "NS", ["ns.dns.cluster.local."]),
    ("ns.dns.cluster.local", "A", ["10.96.0.10"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind", "wanted"), TABLE)
def test_records(cluster: Zone, name: str, kind: str, wanted: list[str]) -> None:
    assert answers(cluster, name, kind) == wanted
    found = ask(cluster, name.upper(), kind)
    assert sorted(str(r.rdata) for r in found.rr) == wanted
    assert str(found.q.qname) == name.upper() + "."  # as it was asked
    assert all(str(r.rname) == name.upper() + "." for r in found.rr)
    assert all(r.ttl == 5 for r in found.rr)
    assert found.header.aa


NOTHING = "NOERROR (nothing)"
ABSENT = "NXDOMAIN (nothing)"


@pytest.mark.parametrize(
    ("name", "kind", "wanted"),
    [
        (WEB, "AAAA", NOTHING),
        (WEB, "MX", NOTHING),
        (f"_tcp.{WEB}", "SRV", NOTHING),
        (f"_http._tcp.{WEB}", "A", NOTHING),
        (f"_nothing._tcp.{WEB}", "SRV", ABSENT),
        (f"_http._udp.{WEB}", "SRV", ABSENT),
        (f"x.{WEB}", "A", ABSENT),
        (f"10-244-0-3.{WEB}", "A", ABSENT),  # no endpoint of it
        (f"10-244-0-2.{WEB}", "AAAA", NOTHING),
        (f"db-3.{DB}", "A", ABSENT),  # not ready
        (f"db-0.{DB}", "AAAA", NOTHING),
        ("nope.default.svc.cluster.local", "A", ABSENT),
        ("*.default.svc.cluster.local", "A", ABSENT),
        ("default.svc.cluster.local", "A", NOTHING),
        ("default.pod.cluster.local", "A", NOTHING),
        ("none.svc.cluster.local", "A", ABSENT),
        ("none.pod.cluster.local", "A", ABSENT),
        ("svc.cluster.local", "A", NOTHING),
        ("pod.cluster.local", "A", NOTHING),
        ("cluster.local", "A", NOTHING),
        ("google.com.default.svc.cluster.local", "A", ABSENT),
        ("10-244-0-9.none.pod.cluster.local", "A", ABSENT),
        ("10-244-0-900.default.pod.cluster.local", "A", ABSENT),
        ("10-244-0-9.default.pod.cluster.local", "AAAA", NOTHING),
        ("x.10-244-0-9.default.pod.cluster.local", "A", ABSENT),
        ("pod.default.pod.cluster.local", "A", ABSENT),
        ("4.0.244.10.in-addr.arpa", "PTR", ABSENT),  # it has no hostname
        ("99.0.96.10.in-addr.arpa", "PTR", ABSENT),
        ("20.0.96.10.in-addr.arpa", "A", NOTHING),
    ],
)
def test_what_has_no_answer(cluster: Zone, name: str, kind: str, wanted: str) -> None:
    assert code(cluster, name, kind) == wanted
    found = ask(cluster, name, kind)
    (soa,) = found.auth
    assert found.header.aa
    assert dnslib.QTYPE[soa.rtype] == "SOA"
    assert soa.ttl == soa.rdata.times[-1] == 5  # RFC 2308: the shorter of both
    assert (name + ".").endswith(str(soa.rname))


def test_soa_is_answered_and_its_serial_moves(cluster: Zone) -> None:
    def serial() -> int:
        (soa,) = ask(cluster, DOMAIN, "SOA").rr
        assert str(soa.rdata.mname) == "ns.dns.cluster.local."
        assert str(soa.rdata.rname) == "hostmaster.cluster.local."
        return int(soa.rdata.times[0])

    before = serial()
    cluster.put(service("new", clusterIP="10.96.0.99"), [])
    assert serial() == before + 1
    cluster.put(service("new", clusterIP="10.96.0.99", labels={"a": "b"}), [])
    assert serial() == before + 1


def test_srv_carries_its_targets_addresses(cluster: Zone) -> None:
    found = ask(cluster, f"_sql._tcp.{DB}", "SRV")
    assert {str(r.rname): str(r.rdata) for r in found.ar} == {
        f"db-0.{DB}.": "10.244.0.2",
        f"db-1.{DB}.": "10.244.0.3",
        f"10-244-0-4.{DB}.": "10.244.0.4",
    }


@pytest.mark.parametrize(
    ("name", "owned"),
    [
        ("cluster.local", True),
        ("a.cluster.local", True),
        ("mycluster.local", False),
        ("local", False),
        ("example.com", False),
        ("cluster.local.example.com", False),
        ("1.2.3.10.in-addr.arpa", False),
        ("1.0.96.10.in-addr.arpa", True),
        ("255.255.244.10.in-addr.arpa", True),
        ("1.0.97.10.in-addr.arpa", False),
        ("96.10.in-addr.arpa", True),
        ("10.in-addr.arpa", False),
        ("in-addr.arpa", False),
        ("", False),
    ],
)
def test_what_belongs_to_the_zone(cluster: Zone, name: str, owned: bool) -> None:
    encoded = wire.encode_name(name) if name else b"\0"
    assert cluster.owns(encoded) == owned


@pytest.mark.parametrize(
    ("cidr", "inside", "outside"),
    [
        ("10.0.0.0/8", "1.2.3.10", "1.2.3.11"),
        ("10.96.0.0/12", "1.0.111.10", "1.0.112.10"),
        ("192.168.5.0/24", "1.5.168.192", "1.6.168.192"),
        ("192.168.5.128/25", "200.5.168.192", "1.5.168.192"),
    ],
)
def test_ranges_that_do_not_end_at_a_dot(cidr: str, inside: str, outside: str) -> None:
    made = Zone(DOMAIN, "", [cidr, "fd00::/108"])
    assert made.owns(wire.encode_name(f"{inside}.in-addr.arpa"))
    assert not made.owns(wire.encode_name(f"{outside}.in-addr.arpa"))


def test_a_service_outside_the_ranges_still_has_its_reverse_name() -> None:
    made = zone()
    made.put(service(clusterIP="172.30.0.1"), [])
    assert answers(made, "1.0.30.172.in-addr.arpa", "PTR") == [f"{WEB}."]
    assert not made.owns(wire.encode_name("2.0.30.172.in-addr.arpa"))


def test_six_and_dual_stack() -> None:
    made = zone()
    made.put(service(clusterIP="10.96.0.20", clusterIPs=["10.96.0.20", "fd00::20"]), [])
    made.put(service("db", clusterIP="None"), [endpoint_slice("fd00::2", of="db", family="IPv6", name="6"),
                                              endpoint_slice("10.244.0.2", of="db")])  # fmt: skip
    assert answers(made, WEB, "A") == ["10.96.0.20"]
    assert answers(made, WEB, "AAAA") == ["fd00::20"]
    assert answers(made, DB, "AAAA") == ["fd00::2"]
    assert answers(made, f"fd00--2.{DB}", "AAAA") == ["fd00::2"]
    reverse = wire.decode_name(wire.reverse_name("fd00::20"))
    assert answers(made, reverse, "PTR") == [f"{WEB}."]


def test_headless_publishes_what_is_not_ready_where_asked_to() -> None:
    made = zone()
    unready = endpoint_slice(endpoint("10.244.0.5", ready=False), of="db")
    made.put(service("db", clusterIP="None"), [unready])
    assert code(made, DB) == ABSENT
    made.put(service("db", clusterIP="None", publishNotReadyAddresses=True), [unready])
    assert answers(made, DB, "A") == ["10.244.0.5"]


def test_endpoints_of_a_cluster_ip_have_names_too() -> None:
    made = zone()
    ends = [
        endpoint("10.244.0.2"),
        endpoint("10.244.0.3", hostname="web-0"),
        endpoint("10.244.0.4", ready=False),
        endpoint("10.244.0.5", ready=False, hostname="web-1"),
    ]
    made.put(service(), [endpoint_slice(*ends)])
    assert answers(made, f"10-244-0-2.{WEB}", "A") == ["10.244.0.2"]
    assert answers(made, f"web-0.{WEB}", "A") == ["10.244.0.3"]
    assert answers(made, "3.0.244.10.in-addr.arpa", "PTR") == [f"web-0.{WEB}."]
    for absent in ("10-244-0-3", "10-244-0-4", "web-1"):
        assert code(made, f"{absent}.{WEB}") == ABSENT
    made.put(service(clusterIP="None"), [])
    assert code(made, f"10-244-0-2.{WEB}") == code(made, f"web-0.{WEB}") == ABSENT


def test_an_address_is_no_external_name() -> None:
    made = zone()
    made.put(service(type="ExternalName", externalName="192.0.2.1"), [])
    assert code(made, WEB) == ABSENT


def test_headless_over_several_slices_has_each_address_once() -> None:
    made = zone()
    slices = [
        endpoint_slice("10.244.0.2", "10.244.0.3", of="db"),
        endpoint_slice("10.244.0.3", "10.244.0.4", of="db", name="second"),
        endpoint_slice(endpoint("db.example"), of="db", name="names", family="FQDN"),
    ]
    made.put(service("db", clusterIP="None"), slices)
    assert answers(made, DB, "A") == ["10.244.0.2", "10.244.0.3", "10.244.0.4"]


def test_what_goes_is_gone_and_what_another_has_stays(cluster: Zone) -> None:
    cluster.remove("default", "web")
    assert code(cluster, WEB) == ABSENT
    assert code(cluster, f"_http._tcp.{WEB}", "SRV") == ABSENT
    assert code(cluster, "20.0.96.10.in-addr.arpa", "PTR") == ABSENT
    assert code(cluster, "default.svc.cluster.local") == NOTHING
    cluster.put(service("db", clusterIP="None"), [endpoint_slice("10.244.0.7", of="db")])
    assert answers(cluster, DB, "A") == ["10.244.0.7"]
    assert code(cluster, f"db-0.{DB}") == ABSENT
    cluster.put(service("db", clusterIP="10.96.0.44"), [])
    assert answers(cluster, DB, "A") == ["10.96.0.44"]
    cluster.put(service("db", type="ExternalName", externalName="x.example"), [])
    assert answers(cluster, DB, "CNAME") == ["x.example."]
    cluster.put(service("db", clusterIP="10.96.0.44"), [])
    assert code(cluster, DB, "CNAME") == NOTHING


@pytest.mark.parametrize(
    "odd",
    [
        service("a" * 64),
        service(clusterIP="not an address"),
        service(type="ExternalName", externalName=""),
        service(type="ExternalName", externalName="a..b"),
        service(type="ExternalName", externalName="x." * 200),
        service(ports=[]),
    ],
)
def test_odd_services_harm_nobody(cluster: Zone, odd: Any) -> None:
    cluster.put(odd, [endpoint_slice(endpoint("?", hostname="-" * 80))])
    cluster.put(
        service("y", clusterIP="None"), [endpoint_slice(endpoint("10.0.0.1", hostname="h" * 64))]
    )
    assert answers(cluster, DB, "A") == ["10.244.0.2", "10.244.0.3", "10.244.0.4"]


def test_addresses_take_turns(cluster: Zone) -> None:
    query = wire.parse_query(bytes(dnslib.DNSRecord.question(DB, "A").pack()))
    answer = cluster.find(query.name, query.type)
    firsts = []
    for turn in range(6):
        found = dnslib.DNSRecord.parse(answer.response(query, 512, turn))
        assert sorted(str(r.rdata) for r in found.rr) == ["10.244.0.2", "10.244.0.3", "10.244.0.4"]
        firsts.append(str(found.rr[0].rdata))
    assert firsts == ["10.244.0.2", "10.244.0.3", "10.244.0.4"] * 2


@pytest.mark.parametrize("edns", [False, True])
def test_what_does_not_fit_is_cut_between_records_and_marked(edns: bool) -> None:
    made = zone()
    made.put(
        service("db", clusterIP="None"),
        [endpoint_slice(*[f"10.244.1.{n}" for n in range(200)], of="db")],
    )
    question = dnslib.DNSRecord.question(DB, "A")
    if edns:
        question.add_ar(dnslib.EDNS0(udp_len=1232))
    query = wire.parse_query(bytes(question.pack()))
    limit = query.udp_bytes
    assert limit == (1232 if edns else 512)
    message = made.find(query.name, query.type).response(query, limit)
    found = dnslib.DNSRecord.parse(message)
    assert limit - 16 < len(message) <= limit
    assert found.header.tc
    assert len(found.rr) > 20
    assert len(found.ar) == (1 if edns else 0)
    whole = dnslib.DNSRecord.parse(made.find(query.name, query.type).response(query, 65535))
    assert not whole.header.tc
    assert len(whole.rr) == 200
