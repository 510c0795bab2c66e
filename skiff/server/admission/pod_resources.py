"""What a pod asks for as a whole. Pure.

Source: https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers,
KEP-753 (sidecars), KEP-2837 (pod-level resources), KEP-688 (overhead).
"""

from collections.abc import Mapping
from typing import Any

from skiff.api.quantity import Quantity, parse

Totals = dict[str, Quantity]

_POD_LEVEL = ("cpu", "memory")


def pod_totals(spec: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """The pod's requests and limits, as canonical texts."""
    return (
        {k: str(v) for k, v in pod_sum(spec, "requests").items()},
        {k: str(v) for k, v in pod_sum(spec, "limits").items()},
    )


def pod_sum(spec: Mapping[str, Any], field: str) -> Totals:
    """The pod's requests or limits: containers and sidecars together, or the greediest moment of
    starting where that is more; what is said for the whole pod wins; overhead comes on top."""
    running: Totals = {}
    for container in spec.get("containers") or ():
        _add(running, _amounts(container, field))
    started: Totals = {}
    peak: Totals = {}
    for container in spec.get("initContainers") or ():
        amounts = _amounts(container, field)
        if container.get("restartPolicy") == "Always":
            _add(running, amounts)
            _add(started, amounts)
            _raise_to(peak, started)
        else:
            moment = dict(amounts)
            _add(moment, started)
            _raise_to(peak, moment)
    _raise_to(running, peak)
    whole = (spec.get("resources") or {}).get(field) or {}
    for name, value in whole.items():
        if name in _POD_LEVEL or name.startswith("hugepages-"):
            running[name] = parse(value)
    overhead = spec.get("overhead") or {}
    for name, value in overhead.items():
        # Overhead adds to a limit only where there is one.
        if field == "requests" or name in running:
            running[name] = running.get(name, Quantity(0)) + parse(value)
    return running


def _amounts(container: Mapping[str, Any], field: str) -> Totals:
    found = (container.get("resources") or {}).get(field) or {}
    return {name: parse(value) for name, value in found.items()}


def _add(totals: Totals, amounts: Mapping[str, Quantity]) -> None:
    for name, amount in amounts.items():
        totals[name] = totals[name] + amount if name in totals else amount


def _raise_to(totals: Totals, amounts: Mapping[str, Quantity]) -> None:
    for name, amount in amounts.items():
        if name not in totals or totals[name] < amount:
            totals[name] = amount
