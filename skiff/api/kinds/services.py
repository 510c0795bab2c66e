"""Services. Cluster IPs, IP families and node ports are the server's to allocate.

Source: https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/
"""

from typing import Any, ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import AGE, NAME, NONE, Columns, columns, labels_text, since
from skiff.api.kinds.containers import validate_port_or_name
from skiff.api.kinds.endpoints import validate_special_ip
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.metadata import validate_labels
from skiff.api.kinds.strategy import Object, Strategy

_TYPES: Final = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_AFFINITY_MAX_S: Final = 86400
_FAMILIES: Final = ("IPv4", "IPv6")
_POLICIES: Final = ("PreferDualStack", "RequireDualStack", "SingleStack")
HEADLESS: Final = "None"


def _ports_text(ports: list[Object]) -> str:
    texts = []
    for port in ports:
        text = f"{port.get('port', 0)}/{port.get('protocol', 'TCP')}"
        if port.get("nodePort"):
            text = f"{port.get('port', 0)}:{port['nodePort']}/{port.get('protocol', 'TCP')}"
        texts.append(text)
    return ",".join(texts) or NONE


def _external_text(service: Object) -> str:
    spec = service.get("spec", {})
    given: list[str] = spec.get("externalIPs", [])
    kind = spec.get("type")
    if kind == "ExternalName":
        return str(spec.get("externalName", ""))
    if kind == "LoadBalancer":
        found = service.get("status", {}).get("loadBalancer", {}).get("ingress", ())
        addresses = [i.get("ip") or i.get("hostname", "") for i in found]
        return ",".join(addresses + given) or "<pending>"
    return ",".join(given) or NONE


def _cells(obj: Object, now: float) -> list[Any]:
    spec = obj.get("spec", {})
    return [
        obj["metadata"].get("name", ""),
        spec.get("type", ""),
        spec.get("clusterIP") or NONE,
        _external_text(obj),
        _ports_text(spec.get("ports", [])),
        since(obj["metadata"].get("creationTimestamp"), now),
        labels_text(spec.get("selector")),
    ]


class ServiceStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(NAME, "Type", "Cluster-IP", "External-IP", "Port(s)", AGE, "Selector*"), _cells
    )
    empty_status: ClassVar[Object | None] = {"loadBalancer": {}}
    selectable_fields: ClassVar[tuple[str, ...]] = ("spec.clusterIP", "spec.type")
    name_rule = staticmethod(names.dns1123_label)

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        if not spec.get("sessionAffinity"):
            spec["sessionAffinity"] = "None"
        if spec["sessionAffinity"] == "None":
            spec.pop("sessionAffinityConfig", None)
        elif spec["sessionAffinity"] == "ClientIP":
            config = spec.setdefault("sessionAffinityConfig", {})
            config.setdefault("clientIP", {}).setdefault("timeoutSeconds", 10800)
        if not spec.get("type"):
            spec["type"] = "ClusterIP"
        for port in spec.get("ports", ()):
            if not port.get("protocol"):
                port["protocol"] = "TCP"
            if port.get("targetPort") in (None, 0, ""):
                port["targetPort"] = port.get("port", 0)
        kind = spec["type"]
        if _needs_external_policy(spec) and not spec.get("externalTrafficPolicy"):
            spec["externalTrafficPolicy"] = "Cluster"
        if kind in ("NodePort", "LoadBalancer", "ClusterIP"):
            spec.setdefault("internalTrafficPolicy", "Cluster")
        if kind == "LoadBalancer":
            spec.setdefault("allocateLoadBalancerNodePorts", True)
            balancer = (obj.get("status") or {}).get("loadBalancer") or {}
            for ingress in balancer.get("ingress") or ():
                if ingress.get("ip"):
                    ingress.setdefault("ipMode", "VIP")

    def prepare_update(self, new: Object, old: Object, subresource: str = "") -> None:
        super().prepare_update(new, old, subresource)
        if not subresource:
            _drop_by_type(new["spec"], old.get("spec", {}))

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        kind = spec.get("type", "")
        errors: FieldErrors = []
        ports = spec.get("ports", [])
        if not ports and spec.get("clusterIP") != HEADLESS and kind != "ExternalName":
            errors.append(fe.required("spec.ports"))
        errors += _validate_type(spec, kind)
        errors += _validate_ports(spec, ports, kind)
        errors += validate_labels(spec.get("selector", {}), "spec.selector")
        errors += _validate_affinity(spec)
        errors += _validate_addresses(spec)
        errors += _validate_traffic(spec, kind)
        if kind == "ClusterIP":
            message = "may not be used when `type` is 'ClusterIP'"
            errors += [
                fe.forbidden(f"spec.ports[{i}].nodePort", message)
                for i, port in enumerate(ports)
                if port.get("nodePort")
            ]
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        after, before = new["spec"], old["spec"]
        errors: FieldErrors = []
        if "ExternalName" not in (after.get("type"), before.get("type")):
            errors += _validate_kept_ips(after, before)
        if before.get("type") == "LoadBalancer" and after.get("type") == "LoadBalancer":
            had, has = before.get("loadBalancerClass"), after.get("loadBalancerClass")
            if had != has:
                message = "may not change once set"
                errors.append(fe.invalid("spec.loadBalancerClass", has, message))
        return errors

    def warnings(self, obj: Object, old: Object | None = None) -> list[str]:
        del old
        spec = obj.get("spec", {})
        out = []
        if spec.get("externalIPs") and spec.get("type") == "ExternalName":
            out.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
        if spec.get("sessionAffinity", "None") != "None" and spec.get("clusterIP") == HEADLESS:
            out.append("spec.SessionAffinity is ignored for headless services")
        return out

    def selectable(self, obj: Object) -> dict[str, str]:
        spec = obj.get("spec", {})
        return {"spec.clusterIP": spec.get("clusterIP", ""), "spec.type": spec.get("type", "")}


def _needs_external_policy(spec: Object) -> bool:
    kind = spec.get("type")
    return kind in ("NodePort", "LoadBalancer") or (
        kind == "ClusterIP" and bool(spec.get("externalIPs"))
    )


def _drop_by_type(spec: Object, before: Object) -> None:
    """Fields that only the old type had go with it, where the client did not change them."""

    def drop(field: str, needed: bool, needed_before: bool) -> None:
        if needed_before and not needed and spec.get(field) == before.get(field):
            spec.pop(field, None)

    kind, old_kind = spec.get("type"), before.get("type")
    balanced, was_balanced = kind == "LoadBalancer", old_kind == "LoadBalancer"
    policy, had_policy = _needs_external_policy(spec), _needs_external_policy(before)
    drop("externalTrafficPolicy", policy, had_policy)
    drop("allocateLoadBalancerNodePorts", balanced, was_balanced)
    drop("loadBalancerClass", balanced, was_balanced)
    drop("internalTrafficPolicy", kind != "ExternalName", old_kind != "ExternalName")
    drop("externalName", kind == "ExternalName", old_kind == "ExternalName")


def _validate_type(spec: Object, kind: str) -> FieldErrors:
    errors: FieldErrors = []
    if not kind:
        return [fe.required("spec.type")]
    if kind not in _TYPES:
        return [fe.not_supported("spec.type", kind, _TYPES)]
    if kind == "ExternalName":
        for field in ("clusterIPs", "clusterIP"):
            if spec.get(field):
                message = "may not be set for ExternalName services"
                errors.append(fe.forbidden("spec.clusterIPs", message))
                break
        name = spec.get("externalName", "").rstrip(".") if spec.get("externalName") else ""
        if not name:
            errors.append(fe.required("spec.externalName"))
        else:
            errors += [
                fe.invalid("spec.externalName", name, m) for m in names.dns1123_subdomain(name)
            ]
    elif kind == "LoadBalancer":
        for i, port in enumerate(spec.get("ports", ())):
            if port.get("port") == 10250:
                message = "may not expose port 10250 externally since it is used by kubelet"
                errors.append(fe.invalid(f"spec.ports[{i}].port", 10250, message))
        if spec.get("clusterIP") == HEADLESS:
            message = "may not be set to 'None' for LoadBalancer services"
            errors.append(fe.invalid("spec.clusterIPs[0]", HEADLESS, message))
    elif kind == "NodePort" and spec.get("clusterIP") == HEADLESS:
        message = "may not be set to 'None' for NodePort services"
        errors.append(fe.invalid("spec.clusterIPs[0]", HEADLESS, message))
    return errors


def _validate_ports(spec: Object, ports: list[Object], kind: str) -> FieldErrors:
    errors: FieldErrors = []
    port_names: set[str] = set()
    numbers: set[tuple[str, int]] = set()
    node_ports: set[tuple[str, int]] = set()
    headless = spec.get("clusterIP") == HEADLESS
    for i, port in enumerate(ports):
        at = f"spec.ports[{i}]"
        name = port.get("name", "")
        if not name:
            if len(ports) > 1:
                errors.append(fe.required(f"{at}.name"))
        else:
            errors += [fe.invalid(f"{at}.name", name, m) for m in names.dns1123_label(name)]
            if name in port_names:
                errors.append(fe.duplicate(f"{at}.name", name))
            port_names.add(name)
        number, protocol = port.get("port", 0), port.get("protocol", "")
        errors += [fe.invalid(f"{at}.port", number, m) for m in names.port_number(number)]
        if not protocol:
            errors.append(fe.required(f"{at}.protocol"))
        elif protocol not in _PROTOCOLS:
            errors.append(fe.not_supported(f"{at}.protocol", protocol, _PROTOCOLS))
        target: int | str = port.get("targetPort") or number
        errors += validate_port_or_name(target, f"{at}.targetPort")
        application = port.get("appProtocol")
        if application:
            where = f"{at}.appProtocol"
            errors += [fe.invalid(where, application, m) for m in names.qualified_name(application)]
        if headless and kind == "ExternalName" and isinstance(target, str):
            message = "must be equal to the value of 'port' when clusterIP = None"
            errors.append(fe.invalid(f"{at}.port", number, message))
        if (protocol, number) in numbers:
            errors.append(fe.duplicate(at, {"protocol": protocol, "port": number}))
        numbers.add((protocol, number))
        node = port.get("nodePort")
        if node and (protocol, node) in node_ports:
            errors.append(fe.duplicate(f"{at}.nodePort", node))
        if node:
            node_ports.add((protocol, node))
    return errors


def _validate_affinity(spec: Object) -> FieldErrors:
    affinity = spec.get("sessionAffinity")
    if not affinity:
        return [fe.required("spec.sessionAffinity")]
    if affinity not in ("ClientIP", "None"):
        return [fe.not_supported("spec.sessionAffinity", affinity, ("ClientIP", "None"))]
    config = spec.get("sessionAffinityConfig")
    if affinity == "None":
        if config is None:
            return []
        message = "must not be set when session affinity is None"
        return [fe.forbidden("spec.sessionAffinityConfig", message)]
    seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds", 0)
    if 0 < seconds <= _AFFINITY_MAX_S:
        return []
    at = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
    return [fe.invalid(at, seconds, f"must be greater than 0 and less than {_AFFINITY_MAX_S}")]


def _validate_addresses(spec: Object) -> FieldErrors:
    errors: FieldErrors = []
    for i, address in enumerate(spec.get("externalIPs", ())):
        if not names.is_ip(address):
            errors.append(fe.invalid(f"spec.externalIPs[{i}]", address, names.IP_MESSAGE))
        else:
            errors += validate_special_ip(address, f"spec.externalIPs[{i}]")
    for i, cidr in enumerate(spec.get("loadBalancerSourceRanges", ())):
        at = f"spec.loadBalancerSourceRanges[{i}]"
        if spec.get("type") != "LoadBalancer":
            message = "may only be used when `type` is 'LoadBalancer'"
            errors.append(fe.forbidden("spec.loadBalancerSourceRanges", message))
            break
        if not names.is_cidr(cidr.strip()):
            errors.append(fe.invalid(at, cidr, names.CIDR_MESSAGE))
    return errors


def _validate_kept_ips(after: Object, before: Object) -> FieldErrors:
    """Cluster IPs stay; a second one comes and, in a single stack, goes."""
    has, had = after.get("clusterIPs", []), before.get("clusterIPs", [])
    if has == [HEADLESS] and had == [HEADLESS]:
        return []
    once = "may not change once set"
    if len(has) == len(had):
        return [
            fe.invalid(f"spec.clusterIPs[{i}]", has, once)
            for i, address in enumerate(had)
            if address != has[i]
        ]
    errors: FieldErrors = []
    if not has:
        errors.append(fe.invalid("spec.clusterIPs[0]", has, "primary clusterIP can not be unset"))
    elif had and has[0] != had[0]:
        errors.append(fe.invalid("spec.clusterIPs[0]", has, once))
    policy = after.get("ipFamilyPolicy")
    if len(had) > len(has) == 1 and policy != "SingleStack":
        message = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        errors.append(fe.invalid("spec.ipFamilyPolicy", policy, message))
    return errors


def cluster_ip_errors(spec: Object) -> FieldErrors:
    """What is wrong with clusterIP, clusterIPs and ipFamilies as a client gave them, before
    addresses are allocated.

    Source: https://kubernetes.io/docs/concepts/services-networking/dual-stack/#services
    """
    if spec.get("type") == "ExternalName":
        return []
    at = "spec.clusterIPs"
    single, several = spec.get("clusterIP", ""), spec.get("clusterIPs", [])
    families = spec.get("ipFamilies", [])
    errors: FieldErrors = []
    if single and several[:1] != [single]:
        errors.append(fe.invalid(at, several, "first value must match `clusterIP`"))
    elif several and not single:
        errors.append(fe.invalid(at, several, "must be empty when `clusterIP` is not specified"))
    for i, family in enumerate(families):
        where = f"spec.ipFamilies[{i}]"
        if family not in _FAMILIES:
            errors.append(fe.not_supported(where, family, _FAMILIES))
        if family in families[:i]:
            errors.append(fe.duplicate(where, family))
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in _POLICIES:
        errors.append(fe.not_supported("spec.ipFamilyPolicy", policy, _POLICIES))
    wrong: FieldErrors = []
    if several[:1] == [HEADLESS] and len(several) > 1:
        wrong.append(fe.invalid(at, several, "'None' must be the first and only value"))
    wrong += [
        fe.invalid(f"{at}[{i}]", address, names.IP_MESSAGE)
        for i, address in enumerate(several)
        if not names.is_ip(address) and not (i == 0 and address == HEADLESS)
    ]
    errors += wrong
    if len(several) > 2:
        errors.append(fe.invalid(at, several, "may only hold up to 2 values"))
    if wrong:
        return errors
    own = ["IPv6" if ":" in address else "IPv4" for address in several]
    if len(several) > 1 and set(own) != set(_FAMILIES):
        message = "may specify no more than one IP for each IP family"
        errors.append(fe.invalid(at, several, message))
    if several != [HEADLESS]:
        errors += [
            fe.invalid(
                f"{at}[{i}]",
                several[i],
                f"expected an {family} value as indicated by `ipFamilies[{i}]`",
            )
            for i, (family, found) in enumerate(zip(families, own, strict=False))
            if family in _FAMILIES and family != found
        ]
    return errors


def _validate_traffic(spec: Object, kind: str) -> FieldErrors:
    errors: FieldErrors = []
    external, internal = spec.get("externalTrafficPolicy"), spec.get("internalTrafficPolicy")
    if not _needs_external_policy(spec):
        if external:
            message = "may only be set for externally-accessible services"
            errors.append(fe.invalid("spec.externalTrafficPolicy", external, message))
    elif external not in ("Cluster", "Local"):
        supported = ("Cluster", "Local")
        errors.append(fe.not_supported("spec.externalTrafficPolicy", external, supported))
    if internal is None:
        if kind in ("NodePort", "LoadBalancer", "ClusterIP"):
            errors.append(fe.required("spec.internalTrafficPolicy"))
    elif internal not in ("Cluster", "Local"):
        supported = ("Cluster", "Local")
        errors.append(fe.not_supported("spec.internalTrafficPolicy", internal, supported))
    if kind != "LoadBalancer":
        for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if spec.get(field) is not None:
                message = "may only be used when `type` is 'LoadBalancer'"
                errors.append(fe.forbidden(f"spec.{field}", message))
    distribution = spec.get("trafficDistribution")
    if distribution is not None:
        preferences = ("PreferClose", "PreferSameNode", "PreferSameZone")
        if distribution not in preferences:
            at = "spec.trafficDistribution"
            errors.append(fe.not_supported(at, distribution, preferences))
    return errors
