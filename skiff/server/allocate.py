"""Allocation of what must be unique in the cluster: cluster IPs and node ports of Services.

What is taken is rebuilt from the stored services at the start and kept up by the writes that follow;
it lives in this process only. A dynamic address is drawn from the upper part of a range first, so
that the lower part stays for addresses that people choose (KEP-3070); likewise node ports. Ranges come
and go with ServiceCIDRs and may overlap: an address is held or free in all of them alike.

Source: https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/ and
https://kubernetes.io/docs/tasks/network/extend-service-ip-ranges/
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from skiff.aio.entropy import Entropy

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

DEFAULT_PORTS = (30000, 32767)
_RANDOM_TRIES = 64


class AllocationError(Exception):
    """What cannot be had; the text is Kubernetes' own."""


class Pool:
    """Numbers of a range [0, size), each held by at most one owner.

    Dynamic ones come from [reserved, size) while there are any, then from the rest.
    """

    def __init__(self, size: int, reserved: int, entropy: Entropy) -> None:
        self._size = size
        self._reserved = reserved
        self._entropy = entropy
        self._taken: set[int] = set()

    @property
    def free(self) -> int:
        return self._size - len(self._taken)

    def take(self, offset: int) -> bool:
        """Take this one; False where it is held."""
        if offset in self._taken:
            return False
        self._taken.add(offset)
        return True

    def release(self, offset: int) -> None:
        self._taken.discard(offset)

    def held(self, offset: int) -> bool:
        return offset in self._taken

    def draw(self) -> int | None:
        """Take any; None where all are held."""
        for low, high in ((self._reserved, self._size), (0, self._reserved)):
            found = self._draw_between(low, high)
            if found is not None:
                self._taken.add(found)
                return found
        return None

    def _draw_between(self, low: int, high: int) -> int | None:
        if high <= low:
            return None
        for _ in range(_RANDOM_TRIES):
            offset = self._entropy.random.randrange(low, high)
            if offset not in self._taken:
                return offset
        return next((o for o in range(low, min(high, low + 65_536)) if o not in self._taken), None)


class AddressRange:
    """One range's addresses. The network's own and (IPv4) broadcast address are left out."""

    def __init__(self, cidr: str, entropy: Entropy) -> None:
        self.network: Network = ipaddress.ip_network(cidr)
        self.family = f"IPv{self.network.version}"
        hosts = self.network.num_addresses - (2 if self.network.version == 4 else 1)
        hosts = min(hosts, 65_536)
        self._base = int(self.network.network_address) + 1
        self._hosts = hosts
        self._pool = Pool(hosts, _reserved(hosts), entropy)

    def __contains__(self, address: Address) -> bool:
        return self._offset(address) is not None

    def take(self, address: Address) -> None:
        """Note that it is held, if it is of this range."""
        offset = self._offset(address)
        if offset is not None:
            self._pool.take(offset)

    def draw(self) -> Address | None:
        """Take any address; None where all are held."""
        offset = self._pool.draw()
        if offset is None:
            return None
        return type(self.network.network_address)(self._base + offset)

    def release(self, address: Address) -> None:
        offset = self._offset(address)
        if offset is not None:
            self._pool.release(offset)

    def _offset(self, address: Address) -> int | None:
        offset = int(address) - self._base
        if address.version != self.network.version or not 0 <= offset < self._hosts:
            return None
        return offset


class Addresses:
    """The cluster IPs of one family, out of one or more ranges; the first is always there.

    Invariant: every address in `_held` is taken in each range that contains it.
    """

    def __init__(self, cidr: str, entropy: Entropy) -> None:
        first = AddressRange(cidr, entropy)
        self.family = first.family
        self._entropy = entropy
        self._first = str(first.network)
        self._ranges = {self._first: first}
        self._ready = {self._first}
        self._held: set[Address] = set()

    def use(self, ranges: Mapping[str, bool]) -> None:
        """Follow the ServiceCIDRs: their ranges, and whether new addresses may come out of each."""
        wanted = {self._first: True}
        for cidr, ready in ranges.items():
            network = ipaddress.ip_network(cidr)
            if f"IPv{network.version}" == self.family:
                wanted[str(network)] = wanted.get(str(network), False) or ready
        for cidr in self._ranges.keys() - wanted.keys():
            del self._ranges[cidr]
        for cidr in wanted.keys() - self._ranges.keys():
            self._ranges[cidr] = made = AddressRange(cidr, self._entropy)
            for address in self._held:
                made.take(address)
        self._ready = {cidr for cidr, ready in wanted.items() if ready}

    def take(self, text: str) -> None:
        """Take one address. Raises AllocationError."""
        address = self._parsed(text)
        if address is None or not any(address in self._ranges[cidr] for cidr in self._ready):
            raise AllocationError("the provided network does not match the current range")
        if address in self._held:
            raise AllocationError("provided IP is already allocated")
        self._hold(address)

    def keep(self, text: str) -> bool:
        """Note that somebody has this address, in a range or not; False where it was held already."""
        address = self._parsed(text)
        if address is None or address in self._held:
            return False
        self._hold(address)
        return True

    def draw(self) -> str:
        """Take any address. Raises AllocationError."""
        for cidr in self._ranges:  # in the order in which they came
            if cidr in self._ready and (address := self._ranges[cidr].draw()) is not None:
                self._hold(address)
                return str(address)
        raise AllocationError("range is full")

    def release(self, text: str) -> None:
        address = self._parsed(text)
        if address is not None:
            self._held.discard(address)
            for found in self._ranges.values():
                found.release(address)

    def _hold(self, address: Address) -> None:
        self._held.add(address)
        for found in self._ranges.values():
            found.take(address)

    def _parsed(self, text: str) -> Address | None:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return None
        return address if f"IPv{address.version}" == self.family else None


def _reserved(size: int) -> int:
    """How many of the range's lowest addresses dynamic allocation leaves alone at first."""
    if size < 16:
        return 0
    return max(16, min(256, size // 16))


class PortRange:
    """Node ports."""

    def __init__(self, low: int, high: int, entropy: Entropy) -> None:
        self.low, self.high = low, high
        size = high - low + 1
        reserved = 0 if size < 16 else max(16, min(128, size // 32))
        self._pool = Pool(size, reserved, entropy)

    def take(self, port: int) -> None:
        """Take one port. Raises AllocationError."""
        if not self.low <= port <= self.high:
            raise AllocationError(
                f"provided port is not in the valid range. The range of valid ports is {self.low}-{self.high}"
            )
        if not self._pool.take(port - self.low):
            raise AllocationError("provided port is already allocated")

    def draw(self) -> int:
        """Take any port. Raises AllocationError."""
        offset = self._pool.draw()
        if offset is None:
            raise AllocationError("range is full")
        return self.low + offset

    def release(self, port: int) -> None:
        self._pool.release(port - self.low)


@dataclass(slots=True)
class Allocators:
    """What this cluster gives out: addresses of one or two families (the first is the default)."""

    addresses: list[Addresses]
    ports: PortRange

    @classmethod
    def of(
        cls, cidrs: list[str], entropy: Entropy, ports: tuple[int, int] = DEFAULT_PORTS
    ) -> "Allocators":
        return cls([Addresses(c, entropy) for c in cidrs], PortRange(*ports, entropy))

    def family(self, family: str) -> Addresses | None:
        return next((a for a in self.addresses if a.family == family), None)
