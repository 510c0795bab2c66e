"""An IPAddress object for each cluster IP that a Service holds, as Kubernetes keeps them.

The allocators decide who gets which address, at once and in memory; these objects tell of it, a moment
later. An IPAddress that somebody made by hand, for an address in a Service range, keeps the allocators
off that address. What is wrong after a restart is put right at the start. The ranges themselves follow
the ServiceCIDRs.

Source: https://kubernetes.io/docs/reference/networking/virtual-ips/#ip-address-objects
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final

import orjson

from skiff.aio.http.message import Handler, Peer, Request, Response
from skiff.aio.run import Started
from skiff.api.resources import IPADDRESSES, SERVICECIDRS, SERVICES
from skiff.server.allocate import Allocators
from skiff.server.hooks.services import cluster_ips
from skiff.server.seams import Change, Objects

USER = ("system:apiserver", ("system:masters",))
FAMILY_LABEL: Final = "ipaddress.kubernetes.io/ip-family"
MANAGER_LABEL: Final = "ipaddress.kubernetes.io/managed-by"
MANAGER: Final = "ipallocator.k8s.io"
WRITES_MAX = 100
"""Writes under way at once; the rest wait for them."""

Owner = tuple[str, str]


def address_of(ip: str, owner: Owner) -> dict[str, Any]:
    """The object for an address that a Service (namespace, name) holds. Pure."""
    return {
        "apiVersion": IPADDRESSES.api_version,
        "kind": IPADDRESSES.kind,
        "metadata": {
            "name": ip,
            "labels": {FAMILY_LABEL: "IPv6" if ":" in ip else "IPv4", MANAGER_LABEL: MANAGER},
        },
        "spec": {"parentRef": _reference(owner)},
    }


def _reference(owner: Owner) -> dict[str, str]:
    return {"group": "", "resource": SERVICES.plural, "namespace": owner[0], "name": owner[1]}


def is_of(address: Mapping[str, Any], owner: Owner) -> bool:
    """Whether the object says that this Service holds the address."""
    found = address["spec"].get("parentRef") or {}
    return {"group": "", **found} == _reference(owner)


def is_managed(address: Mapping[str, Any]) -> bool:
    """Whether the object was made here."""
    labels = address["metadata"].get("labels") or {}
    return labels.get(MANAGER_LABEL) == MANAGER


def is_ready(service_cidr: Mapping[str, Any]) -> bool:
    """Whether new addresses may come out of the range; one of which nobody has spoken may be used."""
    if service_cidr["metadata"].get("deletionTimestamp"):
        return False
    conditions = (service_cidr.get("status") or {}).get("conditions") or ()
    return all(c["status"] == "True" for c in conditions if c["type"] == "Ready")


class ServiceAddresses:
    """A component. Invariant: `_owners` inverts `_held`; both follow the stored Services."""

    def __init__(self, handler: Handler, stored: Objects, allocators: Allocators) -> None:
        self._handler = handler
        self._stored = stored
        self._allocators = allocators
        self._peer = Peer(("", 0), local=True, state={"user": USER})
        self._held: dict[Owner, tuple[str, ...]] = {}
        self._owners: dict[str, Owner] = {}
        self._foreign: set[str] = set()
        self._due: set[str] = set()
        self._noticed = asyncio.Event()

    async def run(self, started: Started) -> None:
        """Follow Services and addresses until cancelled."""
        ends = [
            self._stored.subscribe(SERVICES, self._services_changed),
            self._stored.subscribe(IPADDRESSES, self._addresses_changed),
            self._stored.subscribe(SERVICECIDRS, self._ranges_changed),
        ]
        self._ranges_changed()
        for service in self._stored.list(SERVICES):
            meta = service["metadata"]
            self._holds((meta["namespace"], meta["name"]), tuple(cluster_ips(service)))
        for address in self._stored.list(IPADDRESSES):
            self._seen(address["metadata"]["name"])
        started()
        try:
            while True:
                await self._noticed.wait()
                self._noticed.clear()
                await self._settle()
        finally:
            for end in ends:
                end()

    def _ranges_changed(self, _changes: Sequence[Change] = ()) -> None:
        """Addresses come out of every range whose object is ready and stays."""
        ranges: dict[str, bool] = {}
        for found in self._stored.list(SERVICECIDRS):
            for cidr in found["spec"].get("cidrs") or ():
                ranges[cidr] = ranges.get(cidr, False) or is_ready(found)
        for family in self._allocators.addresses:
            family.use(ranges)

    def _services_changed(self, changes: Sequence[Change]) -> None:
        for change in changes:
            service = orjson.loads(change.value) if change.value is not None else {}
            self._holds((change.namespace, change.name), tuple(cluster_ips(service)))

    def _holds(self, owner: Owner, addresses: tuple[str, ...]) -> None:
        before = self._held.pop(owner, ())
        if addresses:
            self._held[owner] = addresses
        if before == addresses:
            return
        for ip in before:
            if self._owners.get(ip) == owner:
                del self._owners[ip]
        for ip in addresses:
            self._owners[ip] = owner
        self._due.update(before, addresses)
        self._noticed.set()

    def _addresses_changed(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.value is not None:
                self._seen(change.name)
                continue
            if change.name in self._foreign:
                self._foreign.discard(change.name)
                for family in self._allocators.addresses:
                    family.release(change.name)
            if change.name in self._owners:  # somebody deleted it: make it anew
                self._due.add(change.name)
                self._noticed.set()

    def _seen(self, ip: str) -> None:
        """An object exists. Unless a Service holds the address, no Service is to get it."""
        if ip in self._owners or ip in self._foreign:
            return
        if any(family.keep(ip) for family in self._allocators.addresses):
            self._foreign.add(ip)  # else a Service gets it just now
        self._due.add(ip)
        self._noticed.set()

    async def _settle(self) -> None:
        while self._due:
            batch = [self._due.pop() for _ in range(min(len(self._due), WRITES_MAX))]
            async with asyncio.TaskGroup() as group:  # the writes share a group commit
                for ip in sorted(batch):
                    group.create_task(self._settle_one(ip), name=f"ip address {ip}")

    async def _settle_one(self, ip: str) -> None:
        """A refusal needs no answer: what changed in between brings another look."""
        owner = self._owners.get(ip)
        found = self._stored.get(IPADDRESSES, ip)
        if found is not None and (is_of(found, owner) if owner else not is_managed(found)):
            return
        if found is not None:
            await self._call("DELETE", IPADDRESSES.path(name=ip), b"")
        if owner is not None:
            await self._call("POST", IPADDRESSES.path(), orjson.dumps(address_of(ip, owner)))

    async def _call(self, method: str, path: str, body: bytes) -> Response:
        headers = {"content-type": "application/json", "user-agent": "kube-apiserver"}
        outcome = self._handler(Request(method, path, "", headers, body, self._peer))
        return await outcome if isinstance(outcome, Awaitable) else outcome
