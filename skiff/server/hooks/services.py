"""Services: cluster IPs and node ports are allocated before validation and given back afterwards.

Source: https://kubernetes.io/docs/concepts/services-networking/service/ and
https://kubernetes.io/docs/concepts/services-networking/dual-stack/
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from skiff.api.errors import ApiError, Invalid
from skiff.api.kinds.errors import FieldError, invalid_kind
from skiff.api.kinds.services import cluster_ip_errors
from skiff.server.allocate import AllocationError, Allocators
from skiff.server.hooks.base import Finish, Hooks, Object

if TYPE_CHECKING:
    from skiff.server.engine import Engine

HEADLESS = "None"
_WITH_PORTS = ("NodePort", "LoadBalancer")
Undo = Callable[[], None]


class ServiceHooks(Hooks):
    """Allocates on create and on update, releases on delete and on change of type."""

    returns_deleted: ClassVar[bool] = True

    def begin_create(self, engine: "Engine", obj: Object, *, dry_run: bool) -> Finish | None:
        return _write(engine.allocators, obj, None, dry_run=dry_run)

    def begin_update(
        self, engine: "Engine", new: Object, old: Object, *, dry_run: bool
    ) -> Finish | None:
        return _write(engine.allocators, new, old, dry_run=dry_run)

    def deleted(self, engine: "Engine", obj: Object) -> None:
        release(engine.allocators, obj)


def rebuild(allocators: Allocators, services: list[Object]) -> None:
    """Take what the stored services hold, at the start. Two that hold the same are both left be."""
    for service in services:
        for address in cluster_ips(service):
            for family in allocators.addresses:
                family.keep(address)
        for port in node_ports(service):
            try:
                allocators.ports.take(port)
            except AllocationError:
                pass  # not of this range, or held twice: reported when somebody writes it


def release(allocators: Allocators, service: Object) -> None:
    """Give back everything that a service holds."""
    for address in cluster_ips(service):
        for family in allocators.addresses:
            family.release(address)
    for port in node_ports(service):
        allocators.ports.release(port)


def cluster_ips(service: Object) -> list[str]:
    """The real cluster IPs of a service: none for a headless or external one."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return []
    found = list(spec.get("clusterIPs") or ())
    single = spec.get("clusterIP")
    if not found and single:
        found = [single]
    return [a for a in found if a and a != HEADLESS]


def node_ports(service: Object) -> list[int]:
    """The node ports that a service holds, each once; the health check's too."""
    spec = service.get("spec") or {}
    ports = [p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort")]
    health = spec.get("healthCheckNodePort")
    if health:
        ports.append(health)
    return list(dict.fromkeys(ports))


def _write(allocators: Allocators, new: Object, old: Object | None, *, dry_run: bool) -> Finish:
    """Allocate for `new`, which may keep what `old` holds. What is finished without success is
    undone; what `old` held and `new` does not is released on success."""
    undo: list[Undo] = []
    try:
        _normalize(new, old)
        _patch_from_old(new, old)
        if errors := cluster_ip_errors(new["spec"]):
            raise _refuse(new, errors)
        _families(allocators, new)
        _addresses(allocators, new, old, undo)
        _node_ports(allocators, new, old, undo)
    except ApiError:
        _undo(undo)
        raise

    def finish(success: bool) -> None:
        if not success or dry_run:
            _undo(undo)
        elif old is not None:
            _release_dropped(allocators, new, old)

    return finish


def _undo(undo: list[Undo]) -> None:
    for step in undo:
        step()
    undo.clear()


def _refuse(new: Object, errors: list[FieldError]) -> Invalid:
    return invalid_kind("", "Service", new["metadata"].get("name", ""), errors)


def _normalize(new: Object, old: Object | None) -> None:
    """clusterIPs follows clusterIP, where the client tells only that."""
    spec = new.setdefault("spec", {})
    single, several = spec.get("clusterIP"), spec.get("clusterIPs")
    if old is None:
        if single and not several:
            spec["clusterIPs"] = [single]
        return
    before = old.get("spec") or {}
    had, had_several = before.get("clusterIP"), before.get("clusterIPs")
    if had_several and not several and (single or "") == (had or ""):
        spec["clusterIPs"] = list(had_several)
    elif (single or "") != (had or "") and (several or []) == (had_several or []):
        if single:
            spec["clusterIPs"] = [single]
        else:
            spec.pop("clusterIPs", None)


def _patch_from_old(new: Object, old: Object | None) -> None:
    """What an update leaves out is kept: addresses and ports, unless the type gives them up."""
    if old is None:
        return
    spec, before = new["spec"], old.get("spec") or {}
    external = spec.get("type") == "ExternalName"
    if not external and before.get("type") != "ExternalName":
        _keep_addresses(spec, before)
    elif external:
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if spec.get(name) == before.get(name):
                spec.pop(name, None)
    if before.get("type") in _WITH_PORTS:
        if spec.get("type") in _WITH_PORTS:
            _keep_ports(spec, before)
        else:
            _drop_ports(spec, before)
    health = before.get("healthCheckNodePort")
    if health and _needs_health_port(spec):
        spec["healthCheckNodePort"] = spec.get("healthCheckNodePort") or health
    elif health and spec.get("healthCheckNodePort") == health:
        del spec["healthCheckNodePort"]


def _keep_addresses(spec: Object, before: Object) -> None:
    if not spec.get("clusterIP") and before.get("clusterIP"):
        spec["clusterIP"] = before["clusterIP"]
    if not spec.get("clusterIPs") and before.get("clusterIPs"):
        spec["clusterIPs"] = list(before["clusterIPs"])


def _numbers(spec: Object) -> set[int]:
    return {p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort")}


def _keep_ports(spec: Object, before: Object) -> None:
    """A port without a number gets that of the old port of its name, unless another has it now."""
    used = _numbers(spec) & _numbers(before)
    known = {p.get("name", ""): p.get("nodePort") for p in before.get("ports") or ()}
    for port in spec.get("ports") or ():
        number = known.get(port.get("name", ""))
        if number and not port.get("nodePort") and number not in used:
            port["nodePort"] = number


def _drop_ports(spec: Object, before: Object) -> None:
    """The numbers go with the type, where the client asks for none that the service did not have."""
    if _numbers(spec) <= _numbers(before):
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)


def _needs_health_port(spec: Object) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _families(allocators: Allocators, new: Object) -> None:
    """Settle ipFamilies and ipFamilyPolicy."""
    spec = new["spec"]
    if spec.get("type") == "ExternalName":
        return
    policy = spec.get("ipFamilyPolicy") or "SingleStack"
    families: list[str] = list(spec.get("ipFamilies") or ())
    have = [a.family for a in allocators.addresses]
    if not families:
        given = [a for a in spec.get("clusterIPs") or () if a and a != HEADLESS]
        families = ["IPv6" if ":" in a else "IPv4" for a in given]
    errors = []
    for i, family in enumerate(families):
        if family not in have:
            message = "not configured on this cluster"
            errors.append(FieldError("FieldValueInvalid", f"spec.ipFamilies[{i}]", message, family))
    if policy == "RequireDualStack" and len(have) < 2:
        message = "this cluster is not configured for dual-stack services"
        errors.append(FieldError("FieldValueInvalid", "spec.ipFamilyPolicy", message, policy))
    if errors:
        raise _refuse(new, errors)
    if not families:
        families = have[:1]
    if policy != "SingleStack" and len(families) == 1 and len(have) == 2:
        families.append(next(f for f in have if f != families[0]))
    if spec.get("clusterIP") == HEADLESS and not spec.get("selector") and "ipFamilies" not in spec:
        # Nobody selects endpoints for it: every family is possible.
        policy = spec.get("ipFamilyPolicy") or "RequireDualStack"
        if len(have) < 2:
            policy = spec.get("ipFamilyPolicy") or "SingleStack"
    spec["ipFamilies"] = families
    spec["ipFamilyPolicy"] = policy


def _addresses(allocators: Allocators, new: Object, old: Object | None, undo: list[Undo]) -> None:
    spec = new["spec"]
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") == HEADLESS:
        return
    before = cluster_ips(old) if old is not None else []
    held = set(before)
    given = [a for a in spec.get("clusterIPs") or () if a]
    if before and given and given[0] != before[0]:
        return  # validation refuses that; nothing is taken for it
    chosen: list[str] = []
    for i, family in enumerate(spec["ipFamilies"]):
        found = allocators.family(family)
        if found is None:
            continue
        wanted = given[i] if i < len(given) else ""
        if wanted in held and wanted:
            chosen.append(wanted)
            continue
        try:
            if wanted:
                found.take(wanted)
            else:
                wanted = found.draw()
        except AllocationError as e:
            where = "spec.clusterIPs"
            if wanted:
                message = f"failed to allocate IP {wanted}: {e}"
                error = FieldError("FieldValueInvalid", where, message, given)
            else:
                message = f"failed to allocate a serviceIP: {e}"
                error = FieldError("InternalError", where, message)
            raise _refuse(new, [error]) from None
        chosen.append(wanted)
        undo.append(lambda r=found, a=wanted: r.release(a))  # type: ignore[misc]  # bound now
    if chosen:
        spec["clusterIPs"] = chosen
        spec["clusterIP"] = chosen[0]


def _node_ports(allocators: Allocators, new: Object, old: Object | None, undo: list[Undo]) -> None:
    spec = new["spec"]
    held = set(node_ports(old)) if old is not None else set()
    wants = spec.get("type") in _WITH_PORTS and not (
        spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False
    )
    explicit = spec.get("type") in _WITH_PORTS
    taken: dict[int, set[str]] = {}
    if explicit:
        ports = spec.get("ports") or []
        for i, port in enumerate(ports):
            number = port.get("nodePort") or 0
            protocol = port.get("protocol", "TCP")
            if number:
                # The same number may serve several protocols of one service.
                if number in taken and protocol not in taken[number]:
                    taken[number].add(protocol)
                    continue
                taken.setdefault(number, set()).add(protocol)
                if number not in held:
                    _take_port(allocators, new, f"spec.ports[{i}].nodePort", number, undo)
        for i, port in enumerate(ports):
            if wants and not port.get("nodePort"):
                same = next(
                    (
                        n for p in ports
                        if p.get("port") == port.get("port")
                        and (n := p.get("nodePort"))
                        and port.get("protocol", "TCP") not in taken.get(n, ())
                    ),
                    0,
                )  # fmt: skip
                number = same or _draw_port(allocators, new, f"spec.ports[{i}].nodePort", undo)
                taken.setdefault(number, set()).add(port.get("protocol", "TCP"))
                port["nodePort"] = number
    if _needs_health_port(spec):
        number = spec.get("healthCheckNodePort") or 0
        if number and number not in held:
            _take_port(allocators, new, "spec.healthCheckNodePort", number, undo)
        elif not number:
            spec["healthCheckNodePort"] = _draw_port(
                allocators, new, "spec.healthCheckNodePort", undo
            )


def _take_port(allocators: Allocators, new: Object, path: str, port: int, undo: list[Undo]) -> None:
    try:
        allocators.ports.take(port)
    except AllocationError as e:
        raise _refuse(new, [FieldError("FieldValueInvalid", path, str(e), port)]) from None
    undo.append(lambda: allocators.ports.release(port))


def _draw_port(allocators: Allocators, new: Object, path: str, undo: list[Undo]) -> int:
    try:
        port = allocators.ports.draw()
    except AllocationError as e:
        message = f"failed to allocate a nodePort: {e}"
        raise _refuse(new, [FieldError("InternalError", path, message)]) from None
    undo.append(lambda: allocators.ports.release(port))
    return port


def _release_dropped(allocators: Allocators, new: Object, old: Object) -> None:
    kept = set(cluster_ips(new))
    for address in cluster_ips(old):
        if address not in kept:
            for family in allocators.addresses:
                family.release(address)
    ports = set(node_ports(new))
    for port in node_ports(old):
        if port not in ports:
            allocators.ports.release(port)
