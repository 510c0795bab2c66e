"""Node TTL: for how long kubelets may keep what they read of Secrets and ConfigMaps.

The more nodes there are, the longer; the sizes at which it changes overlap, so that a node that comes
and goes does not change it back and forth. Kubelets read it from an annotation of their Node.

Source: https://kubernetes.io/docs/reference/labels-annotations-taints/#node-alpha-kubernetes-io-ttl
"""

import re
from typing import ClassVar, NamedTuple

from skiff.api.errors import NotFound
from skiff.api.resources import NODES
from skiff.api.views.core import Node
from skiff.client.reconciler import Key, Reconciler, Result
from skiff.controllers.context import Context

ANNOTATION = "node.alpha.kubernetes.io/ttl"


class Step(NamedTuple):
    """A cluster of `least` to `most` nodes has this TTL, or that of the next step."""

    least: int
    most: float
    ttl_s: int


STEPS = (
    Step(0, 100, 0),
    Step(90, 500, 15),
    Step(450, 1000, 30),
    Step(900, 2000, 60),
    Step(1800, float("inf"), 300),
)


class NodeTtl(Reconciler):
    """Keys are nodes."""

    name: ClassVar[str] = "ttl"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=5)
        self._client = context.client
        self._nodes = context.informers.of(Node)
        self._count = self._step = 0
        self.needs(self._nodes)
        self._nodes.subscribe(self._node_changed)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if old is None:
            self._count += 1
            if self._count > STEPS[self._step].most:
                self._step += 1
        elif new is None:
            self._count -= 1
            if self._count < STEPS[self._step].least:
                self._step -= 1
        if new is not None and not self._is_right(new):
            self.queue.add(Key("", new.metadata.name))

    async def reconcile(self, key: Key) -> Result | None:
        """Write the annotation where it says something else."""
        node = self._nodes.get(key.name)
        if node is None or self._is_right(node):
            return None
        change = {"annotations": {ANNOTATION: str(STEPS[self._step].ttl_s)}}
        patch = {"metadata": {"uid": node.metadata.uid, **change}}
        try:
            await self._client.patch(NODES, key.name, "", patch)
        except NotFound:
            pass
        return None

    def _is_right(self, node: Node) -> bool:
        written = node.metadata.annotations.get(ANNOTATION, "")
        return bool(re.fullmatch(r"[+-]?\d+", written)) and int(written) == STEPS[self._step].ttl_s
