"""The steps of starting, by Kubernetes' names and in its order.

Each becomes a check `poststarthook/<name>` of `/healthz`, `/livez` and `/readyz`. Several of Kubernetes'
steps are one here: a step belongs to the milestone after which what it names is there. `started` makes
the milestone of a component, reached when the component says that it has started.

Source: the health endpoints of kube-apiserver 1.36.
"""

from collections.abc import Callable
from typing import Final

from skiff.aio.run import Component, Started

READ: Final = "read"
"""The store is read, the indexes, discovery and admission are there."""
BOOTSTRAPPED: Final = "bootstrapped"
"""What every cluster has is written."""

STEPS: Final[tuple[tuple[str, str], ...]] = (
    ("start-apiserver-admission-initializer", READ),
    ("generic-apiserver-start-informers", READ),
    ("priority-and-fairness-config-consumer", "flow-schema-status"),
    ("priority-and-fairness-filter", READ),
    ("storage-object-count-tracker-hook", READ),
    ("start-apiextensions-informers", READ),
    ("start-apiextensions-controllers", READ),
    ("crd-informer-synced", READ),
    ("start-system-namespaces-controller", BOOTSTRAPPED),
    ("start-cluster-authentication-info-controller", BOOTSTRAPPED),
    ("start-service-ip-repair-controllers", "service-addresses"),
    ("rbac/bootstrap-roles", BOOTSTRAPPED),
    ("scheduling/bootstrap-system-priority-classes", BOOTSTRAPPED),
    ("priority-and-fairness-config-producer", BOOTSTRAPPED),
    ("bootstrap-controller", "kubernetes-service"),
    ("start-kubernetes-service-cidr-controller", BOOTSTRAPPED),
    ("start-kube-aggregator-informers", READ),
    ("apiservice-status-local-available-controller", READ),
    ("apiservice-status-remote-available-controller", READ),
    ("apiservice-registration-controller", READ),
    ("apiservice-discovery-controller", READ),
    ("kube-apiserver-autoregistration", READ),
    ("autoregister-completion", READ),
    ("apiservice-openapi-controller", READ),
    ("apiservice-openapiv3-controller", READ),
)
PLAIN: Final = frozenset({"autoregister-completion"})
"""Checks of the list above whose name has no `poststarthook/` before it."""


class Noted:
    """A component whose start is a milestone."""

    def __init__(self, component: Component, reached: Callable[[], None]) -> None:
        self._component = component
        self._reached = reached

    async def run(self, started: Started) -> None:
        """Run it, and note when it has started."""

        def both() -> None:
            self._reached()
            started()

        await self._component.run(both)
