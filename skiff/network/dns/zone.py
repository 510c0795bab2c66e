"""The cluster's zone: from Services and EndpointSlices to answers, made when they change, not when asked.

Records as the Kubernetes DNS specification 1.1.0 wants them
(https://github.com/kubernetes/dns/blob/master/docs/specification.md): A/AAAA, SRV, PTR, CNAME for
ExternalName, and `a-b-c-d.namespace.pod` names. As with CoreDNS, SRV is answered for a Service's
plain name too, with all of its ports, and the endpoints of Services with a cluster IP have names as
those of headless ones do. The reverse names of the cluster's own address ranges
belong to the zone: who has no name does not exist, and nobody outside is asked. Pure.
"""

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Sequence

from skiff.api.views.discovery import EndpointSlice
from skiff.api.views.service import Service
from skiff.network.dns import wire
from skiff.network.dns.records import Records, endpoint_addresses, service_records

TTL_S = 5
"""How long a client may keep an answer; as CoreDNS's kubernetes plugin has it."""
NEGATIVE_TTL_S = 5
REVERSE = b"\x07in-addr\x04arpa\x00"

Key = tuple[str, str]


class Zone:
    """All answers about `domain`. `put` and `remove` change what one Service adds; `find` looks up.

    `name_server` is the address of the cluster's DNS; `ranges` are the cluster's IPv4 ranges."""

    def __init__(
        self, domain: str = "cluster.local", name_server: str = "", ranges: Iterable[str] = ()
    ) -> None:
        self.domain = domain
        self._suffix = wire.encode_name(domain)
        self._reverse = frozenset(name for text in ranges for name in _reverse_zones(text))
        self._parts: dict[Key, Records] = {}
        self._owners: dict[bytes, dict[Key, None]] = defaultdict(dict)
        self._answers: dict[tuple[bytes, int], wire.Answer] = {}
        self._aliases: dict[bytes, wire.Answer] = {}
        self._existing: dict[bytes, int] = defaultdict(int)
        self._endpoints: dict[bytes, frozenset[str]] = {}
        self._namespaces: frozenset[bytes] = frozenset()
        self._serial = 0
        self._service_suffix = wire.encode_name(f"svc.{domain}")
        self._pod_suffix = wire.encode_name(f"pod.{domain}")
        self._name_server = wire.encode_name(f"ns.dns.{domain}")
        self._mailbox = wire.encode_name(f"hostmaster.{domain}")
        self._set(("", ""), self._own_records(name_server))

    def _own_records(self, name_server: str) -> Records:
        records: Records = {self._service_suffix: [], self._pod_suffix: []}
        records[self._suffix] = [(wire.NS, self._name_server)]
        records[self._name_server] = [wire.address_data(name_server)] if name_server else []
        version = wire.encode_name(f"dns-version.{self.domain}")
        records[version] = [(wire.TXT, wire.txt_data(["1.1.0"]))]
        return records

    def put(self, service: Service, slices: Sequence[EndpointSlice]) -> None:
        """Replace what `service` adds to the zone."""
        key = (service.metadata.namespace, service.metadata.name)
        self._set(key, service_records(service, slices, self.domain))
        self._set_endpoints(key, endpoint_addresses(service, slices))

    def remove(self, namespace: str, name: str) -> None:
        """Take away what a Service added."""
        self._set((namespace, name), {})
        self._set_endpoints((namespace, name), frozenset())

    def _set_endpoints(self, key: Key, addresses: frozenset[str]) -> None:
        try:
            owner = wire.encode_name(f"{key[1]}.{key[0]}.svc.{self.domain}")
        except ValueError:
            return
        if addresses:
            self._endpoints[owner] = addresses
        else:
            self._endpoints.pop(owner, None)

    def set_namespaces(self, namespaces: Iterable[str]) -> None:
        """Which namespaces exist: `namespace.svc` and `namespace.pod` are names without records."""
        self._namespaces = frozenset(wire.encode_name(n)[:-1] for n in namespaces)

    def owns(self, name: bytes) -> bool:
        """Whether this zone is the authority for a (lower-case, wire) name."""
        if name.endswith(self._suffix):
            return self._at_label(name, len(self._suffix))
        if not name.endswith(b"\x04arpa\x00"):
            return False
        return (name, wire.PTR) in self._answers or self._reverse_zone(name) != b""

    def find(self, name: bytes, rtype: int) -> wire.Answer:
        """The answer to a question about a name that the zone owns."""
        answer = self._answers.get((name, rtype))
        if answer is not None:
            return answer
        alias = self._aliases.get(name)
        if alias is not None:
            return alias
        if name in self._existing or self._is_namespace(name):
            return self._negative(name, wire.NOERROR)
        if name.endswith(self._pod_suffix):
            return self._pod(name, rtype)
        if _dashed(name[1 : name[0] + 1]) in self._endpoints.get(name[name[0] + 1 :], ()):
            return self._address(name, rtype)
        return self._negative(name, wire.NXDOMAIN)

    def _at_label(self, name: bytes, length: int) -> bool:
        """Whether the last `length` bytes of `name` begin with a label, not within one."""
        at, wanted = 0, len(name) - length
        while at < wanted:
            at += name[at] + 1
        return at == wanted

    def _set(self, key: Key, records: Records) -> None:
        before = self._parts.pop(key, {})
        if before == records:
            if records:
                self._parts[key] = before
            return
        if records:
            self._parts[key] = records
        for name in before:
            if name not in records:
                self._owners[name].pop(key, None)
                if not self._owners[name]:
                    del self._owners[name]
                self._count(name, -1)
        for name in records:
            if name not in before:
                self._owners[name][key] = None
                self._count(name, 1)
        # SRV answers carry the addresses of other names of the same Service: those are made anew too.
        for name in {*before, *records}:
            self._rebuild(name)
        self._serial += 1
        apex = self._soa(self._suffix)
        self._nodata = wire.Answer(wire.NOERROR, 0, 1, 0, apex)
        self._no_name = wire.Answer(wire.NXDOMAIN, 0, 1, 0, apex)
        self._answers[self._suffix, wire.SOA] = wire.Answer(wire.NOERROR, 1, 0, 0, apex)

    def _count(self, name: bytes, step: int) -> None:
        """Count `name` and the names above it, which exist because it does (RFC 8020)."""
        while len(name) > 1:
            self._existing[name] += step
            if self._existing[name] == 0:
                del self._existing[name]
            if name == self._suffix:
                break
            name = name[name[0] + 1 :]

    def _rebuild(self, name: bytes) -> None:
        records = [r for key in self._owners.get(name, ()) for r in self._parts[key][name]]
        for rtype in (wire.A, wire.AAAA, wire.SRV, wire.PTR, wire.TXT, wire.NS):
            self._answers.pop((name, rtype), None)
        self._aliases.pop(name, None)
        by_type: dict[int, list[bytes]] = defaultdict(list)
        for rtype, data in dict.fromkeys(records):
            by_type[rtype].append(data)
        for rtype, datas in by_type.items():
            body = b"".join(wire.record(wire.QUESTION_POINTER, rtype, TTL_S, d) for d in datas)
            if rtype == wire.CNAME:
                self._aliases[name] = wire.Answer(wire.NOERROR, 1, 0, 0, body, alias=datas[0])
                break  # a name that is an alias has nothing else
            extra, count = self._targets(datas) if rtype == wire.SRV else (b"", 0)
            stride = len(body) // len(datas) if rtype in (wire.A, wire.AAAA) else 0
            self._answers[name, rtype] = wire.Answer(
                wire.NOERROR, len(datas), 0, count, body + extra, stride=stride
            )

    def _targets(self, datas: Iterable[bytes]) -> tuple[bytes, int]:
        """The addresses of SRV targets, for the additional section."""
        out, count = bytearray(), 0
        for target in dict.fromkeys(data[6:] for data in datas):
            for key in self._owners.get(target, ()):
                for rtype, data in self._parts[key][target]:
                    if rtype in (wire.A, wire.AAAA):
                        out += wire.record(target, rtype, TTL_S, data)
                        count += 1
        return bytes(out), count

    def _is_namespace(self, name: bytes) -> bool:
        head = name[: name[0] + 1]
        return head in self._namespaces and name[len(head) :] in (
            self._service_suffix,
            self._pod_suffix,
        )

    def _pod(self, name: bytes, rtype: int) -> wire.Answer:
        """`10-244-0-5.default.pod.cluster.local`: the address is the name, for namespaces that exist."""
        rest = name[name[0] + 1 :]
        head = rest[: rest[0] + 1]
        if head not in self._namespaces or rest[len(head) :] != self._pod_suffix:
            return self._no_name
        return self._address(name, rtype)

    def _address(self, name: bytes, rtype: int) -> wire.Answer:
        """The address that the name's first label spells."""
        address = _dashed(name[1 : name[0] + 1])
        if address is None:
            return self._no_name
        kind, data = wire.address_data(address)
        if kind != rtype:
            return self._nodata
        body = wire.record(wire.QUESTION_POINTER, kind, TTL_S, data)
        return wire.Answer(wire.NOERROR, 1, 0, 0, body)

    def _negative(self, name: bytes, rcode: int) -> wire.Answer:
        if name.endswith(self._suffix):
            return self._nodata if rcode == wire.NOERROR else self._no_name
        soa = self._soa(self._reverse_zone(name) or name)
        return wire.Answer(rcode, 0, 1, 0, soa)

    def _soa(self, apex: bytes) -> bytes:
        data = wire.soa_data(self._name_server, self._mailbox, self._serial, NEGATIVE_TTL_S)
        return wire.record(apex, wire.SOA, NEGATIVE_TTL_S, data)

    def _reverse_zone(self, name: bytes) -> bytes:
        """The zone of the cluster's addresses that a reverse name is in; empty where it is in none."""
        while len(name) > len(REVERSE):
            if name in self._reverse:
                return name
            name = name[name[0] + 1 :]
        return b""


def _reverse_zones(cidr: str) -> list[bytes]:
    """The names under in-addr.arpa that cover an IPv4 range (RFC 1035, section 3.5)."""
    network = ipaddress.ip_network(cidr, strict=False)
    if network.version != 4:
        return []
    length = max(8, min(32, -(-network.prefixlen // 8) * 8))
    names = []
    for part in network.subnets(new_prefix=max(length, network.prefixlen)):
        octets = str(part.network_address).split(".")[: length // 8]
        names.append(wire.encode_name(".".join([*reversed(octets), "in-addr.arpa"])))
    return names


def _dashed(label: bytes) -> str | None:
    text = label.decode(errors="replace")
    for candidate in (text.replace("-", "."), text.replace("-", ":")):
        try:
            return str(ipaddress.ip_address(candidate))
        except ValueError:
            continue
    return None
