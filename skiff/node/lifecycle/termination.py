"""How a pod ends: which containers to stop now, which later.

Regular, init and ephemeral containers are stopped at once. Sidecars run their preStop hooks at once
too, then wait until all of those have ended and go one after another, last first, so that each
outlives what it serves; when the grace period is over, all go.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination and
…/#termination-with-sidecars
"""

from dataclasses import dataclass, replace

from skiff.api.views.pod import Pod
from skiff.node.lifecycle.model import Kind, Observed, SeenContainer, kind_of_init
from skiff.node.lifecycle.plan import Stop

MINIMUM_GRACE_S = 2


@dataclass(frozen=True, slots=True)
class Ending:
    """What to stop now, when to look again, and whether everything has ended."""

    stops: tuple[Stop, ...] = ()
    wake_at: float | None = None
    ended: bool = False


def plan_ending(pod: Pod, observed: Observed, grace_s: int, began_at: float, now: float) -> Ending:
    """The next steps for a pod that shall end. `began_at` is when its ending began."""
    running = observed.running()
    if not running:
        return Ending(ended=True)
    deadline = began_at + grace_s
    sidecars = _sidecars_last_first(pod, running)
    others = [c for c in running if c not in sidecars]
    stops = [_stop(c, grace_s) for c in others]
    for index, sidecar in enumerate(sidecars):
        held = now < deadline and (bool(others) or index > 0)
        stops.append(replace(_stop(sidecar, grace_s), held=held))
    waits = bool(sidecars) and now < deadline
    return Ending(tuple(stops), deadline if waits else None)


def _sidecars_last_first(pod: Pod, running: list[SeenContainer]) -> list[SeenContainer]:
    order = [c.name for c in pod.spec.init_containers if kind_of_init(c) is Kind.SIDECAR]
    found = [c for c in running if c.status.name in order]
    return sorted(found, key=lambda c: order.index(c.status.name), reverse=True)


def _stop(container: SeenContainer, grace_s: int) -> Stop:
    name = container.status.name
    return Stop(container.status.id, name, f"Stopping container {name}", grace_s)
