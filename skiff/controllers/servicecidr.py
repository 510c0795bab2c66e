"""ServiceCIDRs: that each is ready, and that none goes while Services have addresses of it alone.

Source: https://kubernetes.io/docs/tasks/network/extend-service-ip-ranges/
"""

import ipaddress
from collections.abc import Iterable
from typing import Any, ClassVar, Final

from skiff.api.errors import NotFound
from skiff.api.resources import SERVICECIDRS
from skiff.api.views.networking import IPAddress, ServiceCIDR
from skiff.client.client import Object
from skiff.client.reconciler import Key, Reconciler, Result
from skiff.controllers.context import Context
from skiff.controllers.status import conditions_of, set_condition

FINALIZER: Final = "networking.k8s.io/service-cidr-finalizer"
READY: Final = "Ready"
READY_MESSAGE: Final = "Kubernetes Service CIDR is ready"
WAITING_MESSAGE: Final = (
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new "
    "ServiceCIDR"
)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def orphans(going: Iterable[str], others: Iterable[str], addresses: Iterable[str]) -> list[str]:
    """The addresses that lie in ranges that go, and in none of the others. Pure."""
    leaving = [ipaddress.ip_network(c) for c in going]
    staying = [ipaddress.ip_network(c) for c in others]
    return [a for a in addresses if _within(a, leaving) and not _within(a, staying)]


def _within(address: str, networks: Iterable[Network]) -> bool:
    found = ipaddress.ip_address(address)
    return any(found in network for network in networks)


class ServiceCidrReconciler(Reconciler):
    """Keys are ServiceCIDRs."""

    name: ClassVar[str] = "service-cidr"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=1)
        self._client = context.client
        self._clock = context.clock
        self._cidrs = context.informers.of(ServiceCIDR)
        self._addresses = context.informers.of(IPAddress)
        # What one range may do depends on the others.
        self.follow(self._cidrs, lambda _: [Key("", c.metadata.name) for c in self._cidrs.list()])
        self.needs(self._addresses)
        self._addresses.subscribe(self._address_changed)

    def _address_changed(self, old: IPAddress | None, new: IPAddress | None) -> None:
        """One less may let a range go."""
        if new is None:
            for cidr in self._cidrs.list():
                if cidr.metadata.deletion_timestamp:
                    self.queue.add(Key("", cidr.metadata.name))

    async def reconcile(self, key: Key) -> Result | None:
        """Set the finalizer and the condition, or take the finalizer off."""
        cidr = self._cidrs.get(key.name)
        if cidr is None:
            return None
        going = bool(cidr.metadata.deletion_timestamp)
        try:
            if not going:
                await self._finalizer(cidr, present=True)
                await self._condition(cidr, "True", "", READY_MESSAGE)
            elif self._in_use(cidr):
                await self._condition(cidr, "False", "Terminating", WAITING_MESSAGE)
            else:
                await self._finalizer(cidr, present=False)
        except NotFound:
            pass  # it went in between
        return None

    def _in_use(self, cidr: ServiceCIDR) -> bool:
        others = [
            text
            for c in self._cidrs.list()
            if c.metadata.name != cidr.metadata.name and not c.metadata.deletion_timestamp
            for text in c.spec.cidrs
        ]
        names = (a.metadata.name for a in self._addresses.list())
        return bool(orphans(cidr.spec.cidrs, others, names))

    async def _finalizer(self, cidr: ServiceCIDR, *, present: bool) -> None:
        if (FINALIZER in cidr.metadata.finalizers) == present:
            return

        def correct(current: Object) -> Object | None:
            metadata: dict[str, Any] = dict(current["metadata"])
            found = list(metadata.get("finalizers") or ())
            if (FINALIZER in found) == present:
                return None
            others = [f for f in found if f != FINALIZER]
            metadata["finalizers"] = [*others, FINALIZER] if present else others
            return {**current, "metadata": metadata}

        await self._client.update(SERVICECIDRS, cidr.metadata.name, "", correct)

    async def _condition(self, cidr: ServiceCIDR, status: str, reason: str, message: str) -> None:
        found = next((c for c in cidr.status.conditions if c.type == READY), None)
        if found is not None and found.status == status:
            return
        conditions = conditions_of(cidr.status.conditions)
        set_condition(conditions, READY, status, reason, message, self._clock.now())
        for condition in conditions:
            condition.setdefault("reason", "")
        await self._client.patch(
            SERVICECIDRS,
            cidr.metadata.name,
            "",
            {
                "metadata": {"resourceVersion": cidr.metadata.resource_version},
                "status": {"conditions": conditions},
            },
            subresource="status",
        )
