"""Node IPAM: each node its own range of pod addresses, out of the cluster's. `Ranges` is pure.

Source: https://kubernetes.io/docs/reference/command-line-tools-reference/kube-controller-manager/
(--allocate-node-cidrs, --cluster-cidr, --node-cidr-mask-size).
"""

import ipaddress
from typing import ClassVar

from skiff.api.errors import NotFound
from skiff.api.resources import NODES
from skiff.api.views.core import Node
from skiff.client.events import NORMAL
from skiff.client.reconciler import Key, Reconciler, Result
from skiff.controllers.context import Context

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Exhausted(Exception):
    """Every range is taken."""


class Ranges:
    """The ranges of one size in a network, and who has which. The search goes round, so that a
    range that was given up is used again as late as possible."""

    def __init__(self, network: str, mask: int) -> None:
        self._network: Network = ipaddress.ip_network(network)
        self._mask = mask
        self._count = 1 << (mask - self._network.prefixlen)
        self._step = 1 << (self._network.max_prefixlen - mask)
        self._taken: dict[int, str] = {}
        self._next = 0

    def occupy(self, cidr: str, owner: str) -> bool:
        """Note that `owner` has `cidr`. False where it is outside, or somebody else's."""
        try:
            start = int(ipaddress.ip_network(cidr).network_address)
        except ValueError:
            return False
        index, odd = divmod(start - int(self._network.network_address), self._step)
        if odd or not 0 <= index < self._count:
            return False
        return self._taken.setdefault(index, owner) == owner

    def allocate(self, owner: str) -> str:
        """A free range, now the owner's. Raises Exhausted."""
        for offset in range(self._count):
            index = (self._next + offset) % self._count
            if index not in self._taken:
                self._taken[index] = owner
                self._next = (index + 1) % self._count
                start = self._network.network_address + index * self._step
                return f"{start}/{self._mask}"
        raise Exhausted

    def release(self, owner: str) -> None:
        """The owner is gone."""
        for index in [i for i, by in self._taken.items() if by == owner]:
            del self._taken[index]


class NodeIpam(Reconciler):
    """Keys are nodes."""

    name: ClassVar[str] = "node-ipam"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=10)
        options = context.options
        self._client = context.client
        self._events = context.events.of("cidrAllocator")
        self._enabled = bool(options.pod_cidr)
        self._ranges = Ranges(options.pod_cidr or "10.244.0.0/16", options.node_cidr_mask)
        self._nodes = context.informers.of(Node)
        self.needs(self._nodes)
        self._nodes.subscribe(self._node_changed)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            assert old is not None
            self._ranges.release(old.metadata.name)
        elif new.spec.pod_cidr:
            self._ranges.occupy(new.spec.pod_cidr, new.metadata.name)
        elif self._enabled:
            self.queue.add(Key("", new.metadata.name))

    async def reconcile(self, key: Key) -> Result | None:
        """Give the node a range if it has none."""
        node = self._nodes.get(key.name)
        if node is None or node.spec.pod_cidr:
            return None
        try:
            cidr = self._ranges.allocate(key.name)
        except Exhausted:
            message = f"Node {key.name} status is now: CIDRNotAvailable"
            self._events.record(node, NORMAL, "CIDRNotAvailable", message)
            return Result(30.0)
        patch = {
            "metadata": {"uid": node.metadata.uid},
            "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        }
        try:
            await self._client.patch(NODES, key.name, "", patch)
        except NotFound:
            self._ranges.release(key.name)
        except BaseException:
            self._ranges.release(key.name)
            raise
        return None
