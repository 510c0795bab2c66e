"""Ingresses, IngressClasses, NetworkPolicies, IPAddresses and ServiceCIDRs.

Source: https://kubernetes.io/docs/reference/kubernetes-api/service-resources/ingress-v1/ and
https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/
"""

from typing import Any, ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import (
    AGE,
    NAME,
    NONE,
    Columns,
    columns,
    selector_text,
    since,
)
from skiff.api.kinds.errors import FieldErrors, immutable
from skiff.api.kinds.metadata import validate_label_selector
from skiff.api.kinds.strategy import Object, Strategy

CLASS_ANNOTATION: Final = "kubernetes.io/ingress.class"
_PATH_TYPES: Final = ("Exact", "ImplementationSpecific", "Prefix")
_HOSTS_SHOWN: Final = 3


def _hosts_text(rules: list[Object]) -> str:
    found = [r.get("host") for r in rules if r.get("host")]
    texts = [str(h) for h in found[:_HOSTS_SHOWN]]
    if not texts:
        return "*"
    more = len(found) - len(texts)
    return ",".join(texts) + (f" + {more} more..." if more > 0 else "")


def _ingress_cells(obj: Object, now: float) -> list[Any]:
    meta, spec = obj["metadata"], obj.get("spec", {})
    found = obj.get("status", {}).get("loadBalancer", {}).get("ingress", ())
    addresses = [i.get("ip") or i.get("hostname", "") for i in found]
    name = spec.get("ingressClassName") or meta.get("annotations", {}).get(CLASS_ANNOTATION)
    return [
        meta.get("name", ""),
        name or NONE,
        _hosts_text(spec.get("rules", [])),
        ",".join(addresses),
        "80, 443" if spec.get("tls") else "80",
        since(meta.get("creationTimestamp"), now),
    ]


class IngressStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(NAME, "Class", "Hosts", "Address", "Ports", AGE), _ingress_cells
    )
    has_generation: ClassVar[bool] = True
    empty_status: ClassVar[Object | None] = {"loadBalancer": {}}

    def validate_new(self, obj: Object) -> FieldErrors:
        annotated = obj["metadata"].get("annotations", {}).get(CLASS_ANNOTATION)
        if annotated is not None and obj.get("spec", {}).get("ingressClassName") is not None:
            message = "can not be set when the class field is also set"
            at = f"annotations.{CLASS_ANNOTATION}"
            return [fe.invalid(at, annotated, message)]
        return []

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors: FieldErrors = []
        rules, backend = spec.get("rules", ()), spec.get("defaultBackend")
        if not rules and backend is None:
            message = "either `defaultBackend` or `rules` must be specified"
            errors.append(fe.invalid("spec", spec, message))
        if backend is not None:
            errors += _validate_backend(backend, "spec.defaultBackend")
        for i, rule in enumerate(rules):
            errors += _validate_rule(rule, f"spec.rules[{i}]")
        for i, tls in enumerate(spec.get("tls", ())):
            for j, host in enumerate(tls.get("hosts", ())):
                at = f"spec.tls[{i}].hosts[{j}]"
                rule_of = names.wildcard_subdomain if "*" in host else names.dns1123_subdomain
                errors += [fe.invalid(at, host, m) for m in rule_of(host)]
            secret = tls.get("secretName")
            if secret:
                at = f"spec.tls[{i}].secretName"
                errors += [fe.invalid(at, secret, m) for m in names.dns1123_subdomain(secret)]
        name = spec.get("ingressClassName")
        if name is not None:
            at = "spec.ingressClassName"
            errors += [fe.invalid(at, name, m) for m in names.dns1123_subdomain(name)]
        return errors

    def warnings(self, obj: Object, old: Object | None = None) -> list[str]:
        before = (old or {}).get("metadata", {}).get("annotations", {})
        if CLASS_ANNOTATION in obj["metadata"].get("annotations", {}) and (
            CLASS_ANNOTATION not in before
        ):
            instead = "please use 'spec.ingressClassName' instead"
            return [f'annotation "{CLASS_ANNOTATION}" is deprecated, {instead}']
        return []


def _validate_rule(rule: Object, path: str) -> FieldErrors:
    errors: FieldErrors = []
    host = rule.get("host")
    if host:
        at = f"{path}.host"
        if names.is_ip(host):
            message = "must be a DNS name, not an IP address"
            errors.append(fe.invalid(at, host, message))
        rule_of = names.wildcard_subdomain if "*" in host else names.dns1123_subdomain
        errors += [fe.invalid(at, host, m) for m in rule_of(host)]
    http = rule.get("http")
    if http is None:
        return errors
    if not http.get("paths"):
        errors.append(fe.required(f"{path}.http.paths"))
    for i, found in enumerate(http.get("paths", ())):
        at = f"{path}.http.paths[{i}]"
        kind, where = found.get("pathType"), found.get("path", "")
        if kind is None:
            errors.append(fe.required(f"{at}.pathType", "pathType must be specified"))
        elif kind not in _PATH_TYPES:
            errors.append(fe.not_supported(f"{at}.pathType", kind, _PATH_TYPES))
        elif kind != "ImplementationSpecific":
            errors += _validate_path(where, f"{at}.path")
        elif where and not where.startswith("/"):
            errors.append(fe.invalid(f"{at}.path", where, "must be an absolute path"))
        errors += _validate_backend(found.get("backend", {}), f"{at}.backend")
    return errors


def _validate_path(where: str, path: str) -> FieldErrors:
    if not where.startswith("/"):
        return [fe.invalid(path, where, "must be an absolute path")]
    errors = [
        fe.invalid(path, where, f"must not contain '{s}'")
        for s in ("//", "/./", "/../", "%2f", "%2F")
        if s in where
    ]
    errors += [
        fe.invalid(path, where, f"cannot end with '{s}'")
        for s in ("/..", "/.")
        if where.endswith(s)
    ]
    return errors


def _validate_backend(backend: Object, path: str) -> FieldErrors:
    service, resource = backend.get("service"), backend.get("resource")
    if service is None and resource is None:
        return [fe.required(path, "resource or service backend is required")]
    if service is not None and resource is not None:
        message = "cannot set both resource and service backends"
        return [fe.invalid(path, "", message)]
    errors: FieldErrors = []
    if resource is not None:
        errors += [
            fe.required(f"{path}.resource.{f}") for f in ("kind", "name") if not resource.get(f)
        ]
        return errors
    assert service is not None
    name, port = service.get("name", ""), service.get("port") or {}
    at = f"{path}.service"
    if not name:
        errors.append(fe.required(f"{at}.name"))
    else:
        errors += [fe.invalid(f"{at}.name", name, m) for m in names.dns1123_label(name)]
    if port.get("name") and port.get("number"):
        errors.append(fe.invalid(at, "", "cannot set both port name & port number"))
    elif port.get("name"):
        value = port["name"]
        errors += [fe.invalid(f"{at}.port.name", value, m) for m in names.port_name(value)]
    elif port.get("number"):
        value = port["number"]
        errors += [fe.invalid(f"{at}.port.number", value, m) for m in names.port_number(value)]
    else:
        errors.append(fe.required(at, "port name or number is required"))
    return errors


def _class_cells(obj: Object, now: float) -> list[Any]:
    meta, spec = obj["metadata"], obj.get("spec", {})
    parameters = spec.get("parameters")
    text = NONE
    if parameters:
        kind, group = parameters.get("kind", ""), parameters.get("apiGroup")
        text = f"{kind}.{group}" if group else kind
        text += f"/{parameters.get('name', '')}"
    age = since(meta.get("creationTimestamp"), now)
    return [meta.get("name", ""), spec.get("controller", ""), text, age]


class IngressClassStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(NAME, "Controller", "Parameters", AGE), _class_cells
    )
    has_generation: ClassVar[bool] = True

    def default(self, obj: Object) -> None:
        parameters = obj.setdefault("spec", {}).get("parameters")
        if parameters is not None:
            parameters.setdefault("scope", "Cluster")

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        controller = spec.get("controller", "")
        errors: FieldErrors = []
        if len(controller) > 250:
            errors.append(fe.too_long("spec.controller", 250))
        prefix, slash, rest = controller.partition("/")
        if not slash or not rest or names.dns1123_subdomain(prefix):
            message = 'must be a domain-prefixed path (such as "acme.io/foo")'
            errors.append(fe.invalid("spec.controller", controller, message))
        parameters = spec.get("parameters")
        if parameters is not None:
            at = "spec.parameters"
            errors += [fe.required(f"{at}.{f}") for f in ("kind", "name") if not parameters.get(f)]
            scope, namespace = parameters.get("scope"), parameters.get("namespace")
            if scope not in ("Cluster", "Namespace"):
                errors.append(fe.not_supported(f"{at}.scope", scope, ("Cluster", "Namespace")))
            if scope == "Namespace" and not namespace:
                message = "`parameters.scope` is set to 'Namespace'"
                errors.append(fe.required(f"{at}.namespace", message))
            if scope == "Cluster" and namespace is not None:
                message = "`parameters.scope` is set to 'Cluster'"
                errors.append(fe.forbidden(f"{at}.namespace", message))
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        after, before = new["spec"].get("controller"), old["spec"].get("controller")
        return immutable("spec.controller", after, before)


def _policy_cells(obj: Object, now: float) -> list[Any]:
    meta = obj["metadata"]
    selector = obj.get("spec", {}).get("podSelector")
    return [
        meta.get("name", ""),
        selector_text(selector),
        since(meta.get("creationTimestamp"), now),
    ]


class NetworkPolicyStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(columns(NAME, "Pod-Selector", AGE), _policy_cells)
    has_generation: ClassVar[bool] = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("podSelector", {})
        if not spec.get("policyTypes"):
            spec["policyTypes"] = ["Ingress"] + (["Egress"] if spec.get("egress") else [])
        for direction in ("ingress", "egress"):
            for rule in spec.get(direction, ()):
                for port in rule.get("ports", ()):
                    port.setdefault("protocol", "TCP")

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors = validate_label_selector(spec.get("podSelector"), "spec.podSelector")
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            for i, rule in enumerate(spec.get(direction, ())):
                at = f"spec.{direction}[{i}]"
                for j, port in enumerate(rule.get("ports", ())):
                    errors += _validate_policy_port(port, f"{at}.ports[{j}]")
                for j, peer in enumerate(rule.get(peers, ())):
                    errors += _validate_peer(peer, f"{at}.{peers}[{j}]")
        types = spec.get("policyTypes", ())
        if len(types) > 2:
            message = "may not specify more than two policyTypes"
            return [*errors, fe.invalid("spec.policyTypes", types, message)]
        errors += [
            fe.not_supported(f"spec.policyTypes[{i}]", kind, ("Egress", "Ingress"))
            for i, kind in enumerate(types)
            if kind not in ("Egress", "Ingress")
        ]
        return errors


def _validate_policy_port(port: Object, path: str) -> FieldErrors:
    errors: FieldErrors = []
    protocol, number, end = port.get("protocol", "TCP"), port.get("port"), port.get("endPort")
    if protocol not in ("SCTP", "TCP", "UDP"):
        errors.append(fe.not_supported(f"{path}.protocol", protocol, ("SCTP", "TCP", "UDP")))
    if number is None:
        if end is not None:
            errors.append(fe.required(f"{path}.port", "must be specified when `endPort` is set"))
    elif isinstance(number, str):
        if end is not None:
            message = "may not be specified when `port` is non-numeric"
            errors.append(fe.invalid(f"{path}.endPort", end, message))
        errors += [fe.invalid(f"{path}.port", number, m) for m in names.port_name(number)]
    else:
        errors += [fe.invalid(f"{path}.port", number, m) for m in names.port_number(number)]
        if end is not None:
            if end < number:
                message = "must be greater than or equal to `port`"
                errors.append(fe.invalid(f"{path}.endPort", end, message))
            errors += [fe.invalid(f"{path}.endPort", end, m) for m in names.port_number(end)]
    return errors


def _validate_peer(peer: Object, path: str) -> FieldErrors:
    errors: FieldErrors = []
    for field in ("podSelector", "namespaceSelector"):
        errors += validate_label_selector(peer.get(field), f"{path}.{field}")
    block = peer.get("ipBlock")
    if not peer:
        errors.append(fe.required(path, "must specify a peer"))
    if block is None:
        return errors
    if len(peer) > 1:
        errors.append(fe.forbidden(path, "may not specify both ipBlock and another peer"))
    cidr = block.get("cidr", "")
    if not cidr:
        errors.append(fe.required(f"{path}.ipBlock.cidr"))
    elif not names.is_cidr(cidr):
        errors.append(fe.invalid(f"{path}.ipBlock.cidr", cidr, names.CIDR_MESSAGE))
    for i, other in enumerate(block.get("except", ())):
        at = f"{path}.ipBlock.except[{i}]"
        if not names.is_cidr(other):
            errors.append(fe.invalid(at, other, names.CIDR_MESSAGE))
        elif names.is_cidr(cidr) and not _strictly_within(other, cidr):
            errors.append(fe.invalid(at, other, "must be a strict subset of `cidr`"))
    return errors


def _strictly_within(inner: str, outer: str) -> bool:
    import ipaddress  # here: rarely needed, and not small

    a, b = ipaddress.ip_network(inner, strict=False), ipaddress.ip_network(outer, strict=False)
    return a.version == b.version and a != b and a.subnet_of(b)  # type: ignore[arg-type] # same version


def _address_cells(obj: Object, now: float) -> list[Any]:
    meta, parent = obj["metadata"], obj.get("spec", {}).get("parentRef") or {}
    group = parent.get("group")
    text = parent.get("resource", "") + (f".{group}" if group else "")
    text += f"/{parent['namespace']}" if parent.get("namespace") else ""
    text += f"/{parent.get('name', '')}"
    return [meta.get("name", ""), text, since(meta.get("creationTimestamp"), now)]


def _ip_name(name: str, /) -> list[str]:
    return [] if names.is_ip(name) else [names.IP_MESSAGE]


class IPAddressStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(columns(NAME, "ParentRef", AGE), _address_cells)
    has_generation: ClassVar[bool] = True
    selectable_fields: ClassVar[tuple[str, ...]] = ()
    name_rule = staticmethod(_ip_name)

    def validate_body(self, obj: Object) -> FieldErrors:
        parent = obj.get("spec", {}).get("parentRef")
        at = "spec.parentRef"
        if parent is None:
            return [fe.required(at)]
        return [fe.required(f"{at}.{f}") for f in ("resource", "name") if not parent.get(f)]

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        after = new.get("spec", {}).get("parentRef")
        return immutable("spec.parentRef", after, old.get("spec", {}).get("parentRef"))


def _cidr_cells(obj: Object, now: float) -> list[Any]:
    meta = obj["metadata"]
    cidrs = ",".join(obj.get("spec", {}).get("cidrs", ()))
    return [meta.get("name", ""), cidrs, since(meta.get("creationTimestamp"), now)]


class ServiceCIDRStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(columns(NAME, "CIDRs", AGE), _cidr_cells)
    has_generation: ClassVar[bool] = True

    def validate_body(self, obj: Object) -> FieldErrors:
        cidrs = obj.get("spec", {}).get("cidrs", ())
        if not cidrs:
            return [fe.required("spec.cidrs", "at least one CIDR required")]
        if len(cidrs) > 2:
            return [fe.invalid("spec", obj["spec"], "may only hold up to 2 values")]
        errors = [
            fe.invalid(f"spec.cidrs[{i}]", cidr, names.CIDR_MESSAGE)
            for i, cidr in enumerate(cidrs)
            if not names.is_cidr(cidr)
        ]
        if len(cidrs) == 2 and (":" in cidrs[0]) == (":" in cidrs[1]):
            message = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
            errors.append(fe.invalid("spec.cidrs", cidrs, message))
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        after, before = new.get("spec", {}).get("cidrs"), old.get("spec", {}).get("cidrs")
        if before and after and len(after) > len(before) and after[0] == before[0]:
            return []  # a second family may be added
        return immutable("spec.cidrs", after, before)
