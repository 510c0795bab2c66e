"""The cluster's zone: from Services and EndpointSlices to answers, made when they change, not when asked.

Records as the Kubernetes DNS specification 1.1.0 wants them
(https://github.com/kubernetes/dns/blob/master/docs/specification.md): A/AAAA, SRV, PTR, CNAME for
ExternalName, and `a-b-c-d.namespace.pod` names. Pure.
"""

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from skiff.api.views.discovery import Endpoint, EndpointSlice
from skiff.api.views.service import Service
from skiff.network.dns import wire

TTL_S = 5
"""How long a client may keep an answer; as CoreDNS's kubernetes plugin has it."""
NEGATIVE_TTL_S = 5

Key = tuple[bytes, int]


@dataclass(slots=True)
class Records:
    """What one Service adds to the zone: owner name → list of (type, data), and its PTR records."""

    names: dict[bytes, list[tuple[int, bytes]]] = field(default_factory=lambda: defaultdict(list))


class Zone:
    """All answers about `domain`. `put` and `remove` change what one Service adds; `find` looks up."""

    def __init__(self, domain: str = "cluster.local") -> None:
        self.domain = domain
        self._suffix = wire.encode_name(domain)
        self._parts: dict[tuple[str, str], Records] = {}
        self._owners: dict[bytes, dict[tuple[str, str], None]] = defaultdict(dict)
        self._answers: dict[Key, wire.Answer] = {}
        self._existing: dict[bytes, int] = defaultdict(int)
        self._namespaces: set[bytes] = set()
        self._serial = 1
        self._soa = b""
        self._pod_suffix = wire.encode_name(f"pod.{domain}")
        version = Records()
        version.names[wire.encode_name(f"dns-version.{domain}")].append(
            (wire.TXT, wire.txt_data(["1.1.0"]))
        )
        for name in (domain, f"svc.{domain}", f"pod.{domain}"):
            version.names[wire.encode_name(name)] = []
        self._set(("", ""), version)

    def put(self, service: Service, slices: Sequence[EndpointSlice]) -> None:
        """Replace what `service` adds to the zone."""
        key = (service.metadata.namespace, service.metadata.name)
        self._set(key, service_records(service, slices, self.domain))

    def remove(self, namespace: str, name: str) -> None:
        """Take away what a Service added."""
        self._set((namespace, name), Records())

    def set_namespaces(self, namespaces: Iterable[str]) -> None:
        """Which namespaces exist: `namespace.svc` and `namespace.pod` are names without records."""
        self._namespaces = {wire.encode_name(n)[:-1] for n in namespaces}

    def owns(self, name: bytes) -> bool:
        """Whether this zone is the authority for a (lower-case, wire) name."""
        return name.endswith(self._suffix) or (name, wire.PTR) in self._answers

    def find(self, name: bytes, rtype: int) -> wire.Answer:
        """The answer to a question about a name that the zone owns."""
        answer = self._answers.get((name, rtype))
        if answer is not None:
            return answer
        if name in self._existing or self._is_namespace(name):
            return self._negative(wire.NOERROR)
        if name.endswith(self._pod_suffix):
            return self._pod(name, rtype)
        return self._negative(wire.NXDOMAIN)

    def _set(self, key: tuple[str, str], records: Records) -> None:
        before = self._parts.pop(key, None)
        touched = set(before.names) if before else set()
        for name in touched:
            self._owners[name].pop(key, None)
            if not self._owners[name]:
                del self._owners[name]
            self._count(name, -1)
        if records.names:
            self._parts[key] = records
            for name in records.names:
                self._owners[name][key] = None
                self._count(name, 1)
        for name in touched | set(records.names):
            self._rebuild(name)
        self._serial += 1
        data = wire.soa_data(self._suffix, self._serial, NEGATIVE_TTL_S)
        self._soa = wire.record(self._suffix, wire.SOA, NEGATIVE_TTL_S, data)
        self._answers[self._suffix, wire.SOA] = wire.Answer(wire.NOERROR, 1, 0, 0, self._soa)

    def _count(self, name: bytes, step: int) -> None:
        """Count `name` and the names above it, which exist because it does (RFC 8020)."""
        while len(name) > 1 and name != self._suffix:
            self._existing[name] += step
            if self._existing[name] == 0:
                del self._existing[name]
            name = name[name[0] + 1 :]

    def _rebuild(self, name: bytes) -> None:
        records = [r for key in self._owners.get(name, ()) for r in self._parts[key].names[name]]
        for rtype in (wire.A, wire.AAAA, wire.SRV, wire.PTR, wire.TXT, wire.CNAME):
            self._answers.pop((name, rtype), None)
        by_type: dict[int, list[bytes]] = defaultdict(list)
        for rtype, data in dict.fromkeys(records):
            by_type[rtype].append(data)
        for rtype, datas in by_type.items():
            body = b"".join(wire.record(wire.QUESTION_POINTER, rtype, TTL_S, d) for d in datas)
            extra = b""
            count = 0
            if rtype == wire.SRV:
                extra, count = self._targets(datas)
            answer = wire.Answer(wire.NOERROR, len(datas), 0, count, body + extra)
            self._answers[name, rtype] = answer
            if rtype == wire.CNAME:
                for asked in (wire.A, wire.AAAA):
                    self._answers[name, asked] = answer

    def _targets(self, datas: Iterable[bytes]) -> tuple[bytes, int]:
        """The addresses of SRV targets, for the additional section."""
        out, count = bytearray(), 0
        for target in dict.fromkeys(data[6:] for data in datas):
            for key in self._owners.get(target, ()):
                for rtype, data in self._parts[key].names[target]:
                    if rtype in (wire.A, wire.AAAA):
                        out += wire.record(target, rtype, TTL_S, data)
                        count += 1
        return bytes(out), count

    def _is_namespace(self, name: bytes) -> bool:
        head = name[: name[0] + 1]
        rest = name[len(head) :]
        return head in self._namespaces and rest in (b"\x03svc" + self._suffix, self._pod_suffix)

    def _pod(self, name: bytes, rtype: int) -> wire.Answer:
        """`10-244-0-5.default.pod.cluster.local`: the address is the name, for namespaces that exist."""
        address = _dashed(name[1 : name[0] + 1])
        rest = name[name[0] + 1 :]
        head = rest[: rest[0] + 1]
        if address is None or head not in self._namespaces or rest[len(head) :] != self._pod_suffix:
            return self._negative(wire.NXDOMAIN)
        kind, data = wire.address_data(address)
        if kind != rtype:
            return self._negative(wire.NOERROR)
        body = wire.record(wire.QUESTION_POINTER, kind, TTL_S, data)
        return wire.Answer(wire.NOERROR, 1, 0, 0, body)

    def _negative(self, rcode: int) -> wire.Answer:
        return wire.Answer(rcode, 0, 1, 0, self._soa)


def _dashed(label: bytes) -> str | None:
    text = label.decode(errors="replace")
    for candidate in (text.replace("-", "."), text.replace("-", ":")):
        try:
            return str(ipaddress.ip_address(candidate))
        except ValueError:
            continue
    return None


def service_records(service: Service, slices: Sequence[EndpointSlice], domain: str) -> Records:
    """What one Service adds to the zone."""
    records = Records()
    spec = service.spec
    base = f"{service.metadata.name}.{service.metadata.namespace}.svc.{domain}"
    owner = wire.encode_name(base)
    if spec.type == "ExternalName":
        records.names[owner].append((wire.CNAME, wire.encode_name(spec.external_name)))
    elif spec.cluster_ip in ("", "None"):
        if spec.cluster_ip == "None":
            _headless(records, owner, slices, service.spec.publish_not_ready_addresses)
    else:
        for address in spec.cluster_ips or (spec.cluster_ip,):
            records.names[owner].append(wire.address_data(address))
            records.names[wire.reverse_name(address)].append((wire.PTR, owner))
        for port in spec.ports:
            if port.name:
                protocol = (port.protocol or "TCP").lower()
                name = _srv_name(port.name, protocol, owner)
                records.names[name].append((wire.SRV, wire.srv_data(0, 100, port.port, owner)))
    return records


def _srv_name(port: str, protocol: str, owner: bytes) -> bytes:
    return wire.encode_name(f"_{port}._{protocol}")[:-1] + owner


def _headless(
    records: Records, owner: bytes, slices: Sequence[EndpointSlice], publish_not_ready: bool
) -> None:
    for piece in slices:
        if piece.address_type not in ("IPv4", "IPv6"):
            continue
        for endpoint in piece.endpoints:
            if not (publish_not_ready or _published(endpoint)):
                continue
            for address in endpoint.addresses:
                label = endpoint.hostname or address.replace(".", "-").replace(":", "-")
                name = wire.encode_name(label)[:-1] + owner
                data = wire.address_data(address)
                records.names[owner].append(data)
                records.names[name].append(data)
                if endpoint.hostname:
                    records.names[wire.reverse_name(address)].append((wire.PTR, name))
                for port in piece.ports:
                    if port.name and port.port is not None:
                        srv = _srv_name(port.name, (port.protocol or "TCP").lower(), owner)
                        records.names[srv].append(
                            (wire.SRV, wire.srv_data(0, 100, port.port, name))
                        )


def _published(endpoint: Endpoint) -> bool:
    return endpoint.conditions is None or endpoint.conditions.ready is not False
