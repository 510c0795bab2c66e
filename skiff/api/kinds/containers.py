"""Validation of containers: names, images, ports, environment, mounts, probes, hooks, resources.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#Container
"""

import re
from typing import Any, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.resource_amounts import NOT_NEGATIVE, amount, validate_requirements
from skiff.api.kinds.security_context import validate_container_context

Container = dict[str, Any]

_POSITIVE: Final = "must be greater than zero"
_PULL: Final = ("Always", "IfNotPresent", "Never")
_PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_MESSAGE_POLICIES: Final = ("FallbackToLogsOnError", "File")
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
ENV_FIELDS: Final = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
    "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
FILE_FIELDS: Final = (
    "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid",
)  # fmt: skip
_ENV_RESOURCES: Final = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu",
    "requests.ephemeral-storage", "requests.memory",
)  # fmt: skip
_SUBSCRIPT: Final = re.compile(r"(metadata\.(?:annotations|labels))\['([^']*)'\]")


class Context:
    """What a container's rules refer to in its pod: volumes, claims, other containers' names."""

    __slots__ = ("claims", "names", "restart_policy", "volumes")

    def __init__(self, spec: dict[str, Any], volumes: dict[str, dict[str, Any]]) -> None:
        self.volumes = volumes
        self.claims = frozenset(c.get("name", "") for c in spec.get("resourceClaims", ()))
        self.names: set[str] = set()
        self.restart_policy: str = spec.get("restartPolicy", "Always")


def validate_containers(spec: dict[str, Any], path: str, context: Context) -> FieldErrors:
    """`containers`, `initContainers` and `ephemeralContainers` of a pod spec."""
    containers = spec.get("containers")
    errors: FieldErrors = []
    if not containers:
        errors.append(fe.required(f"{path}.containers"))
        containers = ()
    for i, container in enumerate(containers):
        at = f"{path}.containers[{i}]"
        errors += validate_container(container, at, context)
        if "restartPolicy" in container or "restartPolicyRules" in container:
            errors += _validate_restarts(container, at)
    for i, container in enumerate(spec.get("initContainers", ())):
        at = f"{path}.initContainers[{i}]"
        errors += validate_container(container, at, context)
        errors += _validate_init(container, at)
    if spec.get("ephemeralContainers"):
        errors += _validate_ephemeral(spec, path, context)
    errors += _validate_host_ports(spec, path)
    return errors


_RULE_POLICIES: Final = ("Always", "Never", "OnFailure")
_RULE_ACTIONS: Final = ("Restart", "RestartAllContainers")
_RULE_OPERATORS: Final = ("In", "NotIn")
_MAX_RULES: Final = 20
_MAX_EXIT_CODES: Final = 255


def _validate_restarts(container: Container, at: str) -> FieldErrors:
    """A container's own restart policy and the rules that come before it.

    Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy
    """
    errors: FieldErrors = []
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or ()
    if policy is not None and policy not in _RULE_POLICIES:
        errors.append(fe.not_supported(f"{at}.restartPolicy", policy, _RULE_POLICIES))
    if rules and policy is None:
        message = "must specify restartPolicy when restart rules are used"
        errors.append(fe.required(f"{at}.restartPolicy", message))
    if len(rules) > _MAX_RULES:
        errors.append(fe.too_many(f"{at}.restartPolicyRules", len(rules), _MAX_RULES))
    for i, rule in enumerate(rules):
        path = f"{at}.restartPolicyRules[{i}]"
        action, codes = rule.get("action", ""), rule.get("exitCodes")
        if action not in _RULE_ACTIONS:
            errors.append(fe.not_supported(f"{path}.action", action, _RULE_ACTIONS))
        if codes is None:
            errors.append(fe.required(f"{path}.exitCodes", "must be specified"))
            continue
        operator, values = codes.get("operator", ""), codes.get("values") or ()
        if operator not in _RULE_OPERATORS:
            where = f"{path}.exitCodes.operator"
            errors.append(fe.not_supported(where, operator, _RULE_OPERATORS))
        if len(values) > _MAX_EXIT_CODES:
            where = f"{path}.exitCodes.values"
            errors.append(fe.too_many(where, len(values), _MAX_EXIT_CODES))
    return errors


def _validate_init(container: Container, at: str) -> FieldErrors:
    errors = _validate_restarts(container, at)
    if container.get("restartPolicy") == "Always":
        for name in _PROBES:
            probe = container.get(name)
            if probe and name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
                path = f"{at}.{name}.successThreshold"
                errors.append(fe.invalid(path, probe["successThreshold"], "must be 1"))
        return errors
    message = "may not be set for init containers without restartPolicy=Always"
    errors += [
        fe.forbidden(f"{at}.{name}", message)
        for name in ("lifecycle", *_PROBES)
        if name in container
    ]
    return errors


def validate_container(container: Container, path: str, context: Context) -> FieldErrors:
    """What all three sorts of container have in common."""
    errors: FieldErrors = []
    name = container.get("name")
    if not name:
        errors.append(fe.required(f"{path}.name"))
    else:
        for message in names.dns1123_label(name):
            errors.append(fe.invalid(f"{path}.name", name, message))
        if name in context.names:
            errors.append(fe.duplicate(f"{path}.name", name))
        context.names.add(name)
    image = container.get("image")
    if not image:
        errors.append(fe.required(f"{path}.image"))
    elif image != image.strip():
        message = "must not have leading or trailing whitespace"
        errors.append(fe.invalid(f"{path}.image", image, message))
    policy = container.get("terminationMessagePolicy", "File")
    if policy not in _MESSAGE_POLICIES:
        at = f"{path}.terminationMessagePolicy"
        errors.append(fe.not_supported(at, policy, _MESSAGE_POLICIES))
    policy = container.get("imagePullPolicy", "Always")
    if policy not in _PULL:
        errors.append(fe.not_supported(f"{path}.imagePullPolicy", policy, _PULL))
    return errors + _validate_parts(container, path, context)


def _validate_parts(container: Container, path: str, context: Context) -> FieldErrors:
    errors: FieldErrors = []
    if "lifecycle" in container:
        errors += _validate_lifecycle(container["lifecycle"], f"{path}.lifecycle")
    for field in _PROBES:
        if field in container:
            errors += _validate_probe(container[field], f"{path}.{field}")
            if field != "readinessProbe" and container[field].get("successThreshold", 1) != 1:
                value = container[field]["successThreshold"]
                errors.append(fe.invalid(f"{path}.{field}.successThreshold", value, "must be 1"))
    if "ports" in container:
        errors += validate_container_ports(container["ports"], f"{path}.ports")
    if "env" in container:
        errors += validate_env(container["env"], f"{path}.env")
    if "envFrom" in container:
        errors += _validate_env_from(container["envFrom"], f"{path}.envFrom")
    if "volumeMounts" in container or "volumeDevices" in container:
        errors += _validate_mounts(container, path, context)
    if container.get("resources"):
        errors += validate_requirements(container["resources"], f"{path}.resources", context.claims)
    if container.get("securityContext"):
        at = f"{path}.securityContext"
        errors += validate_container_context(container["securityContext"], at)
    if "resizePolicy" in container:
        errors += _validate_resize(container["resizePolicy"], f"{path}.resizePolicy")
    return errors


def _validate_resize(policies: list[dict[str, Any]], path: str) -> FieldErrors:
    errors: FieldErrors = []
    seen: set[str] = set()
    for i, policy in enumerate(policies):
        name, restart = policy.get("resourceName", ""), policy.get("restartPolicy", "")
        if name in seen:
            errors.append(fe.duplicate(f"{path}[{i}]", name))
        seen.add(name)
        if name not in ("cpu", "memory"):
            errors.append(fe.not_supported(f"{path}[{i}]", name, ("cpu", "memory")))
        if restart not in ("NotRequired", "RestartContainer"):
            supported = ("NotRequired", "RestartContainer")
            errors.append(fe.not_supported(f"{path}[{i}]", restart, supported))
    return errors


def validate_container_ports(ports: list[dict[str, Any]], path: str) -> FieldErrors:
    errors: FieldErrors = []
    seen: set[str] = set()
    for i, port in enumerate(ports):
        name = port.get("name")
        if name:
            messages = names.port_name(name)
            if messages:
                errors += [fe.invalid(f"{path}[{i}].name", name, m) for m in messages]
            else:
                if name in seen:
                    errors.append(fe.duplicate(f"{path}[{i}].name", name))
                seen.add(name)
        number = port.get("containerPort", 0)
        if not number:
            errors.append(fe.required(f"{path}[{i}].containerPort"))
        elif not 0 < number < 65536:
            message = names.port_number(number)[0]
            errors.append(fe.invalid(f"{path}[{i}].containerPort", number, message))
        host = port.get("hostPort", 0)
        if host and not 0 < host < 65536:
            errors.append(fe.invalid(f"{path}[{i}].hostPort", host, names.port_number(host)[0]))
        protocol = port.get("protocol")
        if not protocol:
            errors.append(fe.required(f"{path}[{i}].protocol"))
        elif protocol not in _PROTOCOLS:
            errors.append(fe.not_supported(f"{path}[{i}].protocol", protocol, _PROTOCOLS))
    return errors


def _validate_host_ports(spec: dict[str, Any], path: str) -> FieldErrors:
    """Host ports are unique in a pod; with the host's network they are the container's own."""
    errors: FieldErrors = []
    seen: set[tuple[str, str, int]] = set()
    host_network = spec.get("hostNetwork")
    for i, container in enumerate(spec.get("containers", ())):
        for j, port in enumerate(container.get("ports", ())):
            host = port.get("hostPort")
            if not host:
                continue
            at = f"{path}.containers[{i}].ports[{j}]"
            if host_network and host != port.get("containerPort"):
                message = "must match `hostPort` when `hostNetwork` is true"
                value = port.get("containerPort", 0)
                errors.append(fe.invalid(f"{at}.containerPort", value, message))
            key = (port.get("protocol", "TCP"), port.get("hostIP", ""), host)
            if key in seen:
                errors.append(fe.duplicate(f"{at}.hostPort", f"{key[0]}/{key[1]}/{host}"))
            seen.add(key)
    return errors


def validate_env(env: list[dict[str, Any]], path: str) -> FieldErrors:
    errors: FieldErrors = []
    for i, variable in enumerate(env):
        name = variable.get("name")
        if not name:
            errors.append(fe.required(f"{path}[{i}].name"))
        elif not names.is_env_name(name):
            errors += [fe.invalid(f"{path}[{i}].name", name, m) for m in names.env_name(name)]
        if "valueFrom" in variable:
            errors += _validate_env_source(variable, f"{path}[{i}].valueFrom")
    return errors


def _validate_env_source(variable: dict[str, Any], path: str) -> FieldErrors:
    errors: FieldErrors = []
    source = variable["valueFrom"]
    if "fieldRef" in source:
        errors += validate_field_ref(source["fieldRef"], f"{path}.fieldRef", ENV_FIELDS)
    if "resourceFieldRef" in source:
        at = f"{path}.resourceFieldRef"
        errors += validate_resource_field(source["resourceFieldRef"], at, in_file=False)
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if kind in source:
            reference = source[kind]
            key = reference.get("key")
            at = f"{path}.{kind}"
            if not reference.get("name"):
                errors.append(fe.required(f"{at}.name"))
            if not key:
                errors.append(fe.required(f"{at}.key"))
            else:
                errors += [fe.invalid(f"{at}.key", key, m) for m in names.config_key(key)]
    if "fileKeyRef" in source:
        reference = source["fileKeyRef"]
        for field in ("volumeName", "path", "key"):
            if not reference.get(field):
                errors.append(fe.required(f"{path}.fileKeyRef.{field}"))
    if not source:
        message = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        errors.append(fe.invalid(path, "", message))
    elif variable.get("value"):
        message = "may not be specified when `value` is not empty"
        errors.append(fe.invalid(path, "", message))
    elif len(source) > 1:
        message = "may not have more than one field specified at a time"
        errors.append(fe.invalid(path, "", message))
    return errors


def validate_field_ref(
    reference: dict[str, Any], path: str, fields: tuple[str, ...]
) -> FieldErrors:
    """A downward API reference to a field, one of `fields` or an annotation or label by key."""
    if not reference.get("apiVersion"):
        return [fe.required(f"{path}.apiVersion")]
    field = reference.get("fieldPath")
    if not field:
        return [fe.required(f"{path}.fieldPath")]
    if reference["apiVersion"] != "v1":
        message = f"error converting fieldPath: unsupported pod version: {reference['apiVersion']}"
        return [fe.invalid(f"{path}.fieldPath", field, message)]
    match = _SUBSCRIPT.fullmatch(field)
    if match:
        key = match[2] if match[1].endswith("labels") else match[2].lower()
        return [fe.invalid(path, match[2], m) for m in names.qualified_name(key)]
    if field.endswith("']"):
        at = f"{path}.fieldPath"
        message = "does not support subscript"
        return [fe.invalid(at, field, f"error converting fieldPath: field label {message}")]
    if field in fields:
        return []
    if field in ENV_FIELDS or field in FILE_FIELDS:
        return [fe.not_supported(f"{path}.fieldPath", field, sorted(fields))]
    message = f"error converting fieldPath: field label not supported: {field}"
    return [fe.invalid(f"{path}.fieldPath", field, message)]


def validate_resource_field(reference: dict[str, Any], path: str, *, in_file: bool) -> FieldErrors:
    """A downward API reference to a container's resource. In a file the container must be named."""
    errors: FieldErrors = []
    if in_file and not reference.get("containerName"):
        errors.append(fe.required(f"{path}.containerName"))
    resource = reference.get("resource")
    if not resource:
        errors.append(fe.required(f"{path}.resource"))
        return errors
    hugepages = resource.startswith(("limits.hugepages-", "requests.hugepages-"))
    if resource not in _ENV_RESOURCES and not hugepages:
        errors.append(fe.not_supported(f"{path}.resource", resource, _ENV_RESOURCES))
    divisor = reference.get("divisor", "0")
    nano = amount(divisor)
    if nano == 0:
        return errors
    if resource.endswith(".cpu"):
        if nano not in (10**6, 10**9):
            message = "only divisor's values 1m and 1 are supported with the cpu resource"
            errors.append(fe.invalid(f"{path}.divisor", divisor, message))
    elif divisor not in _DIVISORS:
        word = "memory" if resource.endswith(".memory") else "local ephemeral storage"
        message = (
            f"only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are "
            f"supported with the {word} resource"
        )
        errors.append(fe.invalid(f"{path}.divisor", divisor, message))
    return errors


_DIVISORS: Final = frozenset(
    ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
)


def _validate_env_from(sources: list[dict[str, Any]], path: str) -> FieldErrors:
    errors: FieldErrors = []
    for i, source in enumerate(sources):
        at = f"{path}[{i}]"
        prefix = source.get("prefix")
        if prefix:
            errors += [fe.invalid(f"{at}.prefix", prefix, m) for m in names.env_name(prefix)]
        kinds = [k for k in ("configMapRef", "secretRef") if k in source]
        for kind in kinds:
            errors += _source_name(source[kind].get("name", ""), f"{at}.{kind}.name")
        if not kinds:
            message = "must specify one of: `configMapRef` or `secretRef`"
            errors.append(fe.invalid(path, "", message))
        elif len(kinds) > 1:
            message = "may not have more than one field specified at a time"
            errors.append(fe.invalid(path, "", message))
    return errors


def _source_name(name: str, path: str) -> FieldErrors:
    if not name:
        return [fe.required(path)]
    return [fe.invalid(path, name, m) for m in names.dns1123_subdomain(name)]


_PLAIN_MOUNT: Final = frozenset(("name", "mountPath", "readOnly"))


def _validate_mounts(container: Container, path: str, context: Context) -> FieldErrors:
    errors: FieldErrors = []
    devices = container.get("volumeDevices", ())
    device_names = {d.get("name") for d in devices}
    points: set[str] = set()
    for i, mount in enumerate(container.get("volumeMounts", ())):
        name, point = mount.get("name"), mount.get("mountPath")
        known = name in context.volumes and name not in device_names
        if known and point and point not in points and mount.keys() <= _PLAIN_MOUNT:
            points.add(point)
            continue
        at = f"{path}.volumeMounts[{i}]"
        if not name:
            errors.append(fe.required(f"{at}.name"))
        if name not in context.volumes:
            errors.append(fe.not_found(f"{at}.name", name or ""))
        elif name in device_names:
            errors.append(fe.invalid(f"{at}.name", name, "must not already exist in volumeDevices"))
        if not point:
            errors.append(fe.required(f"{at}.mountPath"))
        elif point in points:
            errors.append(fe.invalid(f"{at}.mountPath", point, "must be unique"))
        points.add(point or "")
        errors += _validate_mount_options(mount, at, container)
    seen: set[str] = set()
    for i, device in enumerate(devices):
        at = f"{path}.volumeDevices[{i}]"
        name, point = device.get("name"), device.get("devicePath")
        if not name:
            errors.append(fe.required(f"{at}.name"))
        elif name not in context.volumes:
            errors.append(fe.not_found(f"{at}.name", name))
        elif not {"persistentVolumeClaim", "ephemeral"} & context.volumes[name].keys():
            message = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            errors.append(fe.invalid(f"{at}.name", name, message))
        if not point:
            errors.append(fe.required(f"{at}.devicePath"))
        elif point in points or point in seen:
            errors.append(fe.invalid(f"{at}.devicePath", point, "must be unique"))
        elif ".." in point.split("/"):
            errors.append(fe.invalid(f"{at}.devicePath", point, "must not contain '..'"))
        seen.add(point or "")
    return errors


def _validate_mount_options(mount: dict[str, Any], at: str, container: Container) -> FieldErrors:
    errors: FieldErrors = []
    for field in ("subPath", "subPathExpr"):
        value = mount.get(field)
        if value:
            errors += validate_local_path(value, f"{at}.{field}")
    if mount.get("subPath") and mount.get("subPathExpr"):
        message = "subPathExpr and subPath are mutually exclusive"
        errors.append(fe.invalid(f"{at}.subPathExpr", mount["subPathExpr"], message))
    propagation = mount.get("mountPropagation")
    if propagation is not None:
        supported = ("Bidirectional", "HostToContainer", "None")
        if propagation not in supported:
            errors.append(fe.not_supported(f"{at}.mountPropagation", propagation, supported))
        elif propagation == "Bidirectional" and not (container.get("securityContext") or {}).get(
            "privileged"
        ):
            message = "Bidirectional mount propagation is available only to privileged containers"
            errors.append(fe.forbidden(f"{at}.mountPropagation", message))
    recursive = mount.get("recursiveReadOnly")
    if recursive is not None:
        supported = ("Disabled", "Enabled", "IfPossible")
        path = f"{at}.recursiveReadOnly"
        if recursive not in supported:
            errors.append(fe.not_supported(path, recursive, supported))
        elif recursive != "Disabled":
            if not mount.get("readOnly"):
                errors.append(fe.forbidden(path, "may only be specified when readOnly is true"))
            if propagation not in (None, "None"):
                message = "may only be specified when mountPropagation is None or not specified"
                errors.append(fe.forbidden(path, message))
    return errors


def validate_local_path(value: str, path: str) -> FieldErrors:
    """A relative path below a volume that does not leave it."""
    if value.startswith("/"):
        return [fe.invalid(path, value, "must be a relative path")]
    if ".." in value.split("/"):
        return [fe.invalid(path, value, "must not contain '..'")]
    return []


def _validate_lifecycle(lifecycle: dict[str, Any], path: str) -> FieldErrors:
    errors: FieldErrors = []
    for name in ("postStart", "preStop"):
        if name in lifecycle:
            errors += _validate_handler(lifecycle[name], f"{path}.{name}")
    return errors


def _validate_handler(handler: dict[str, Any], path: str) -> FieldErrors:
    """Exactly one of exec, httpGet, tcpSocket, grpc (probes) or sleep (hooks)."""
    errors: FieldErrors = []
    found = [k for k in _HANDLERS if k in handler]
    for extra in found[1:]:
        message = "may not specify more than 1 handler type"
        errors.append(fe.forbidden(f"{path}.{extra}", message))
    if not found:
        errors.append(fe.required(path, "must specify a handler type"))
        return errors
    kind, action = found[0], handler[found[0]]
    at = f"{path}.{kind}"
    if kind == "exec":
        if not action.get("command"):
            errors.append(fe.required(f"{at}.command"))
    elif kind == "httpGet":
        errors += _validate_http_get(action, at)
    elif kind == "tcpSocket":
        errors += validate_port_or_name(action.get("port", 0), f"{at}.port")
    elif kind == "grpc":
        port = action.get("port", 0)
        errors += [fe.invalid(f"{at}.port", port, m) for m in names.port_number(port)]
    elif action.get("seconds", 0) < 0:
        message = "must be greater than 0 and less than terminationGracePeriodSeconds (30)"
        errors.append(fe.invalid(at, action["seconds"], message))
    return errors


def _validate_http_get(action: dict[str, Any], at: str) -> FieldErrors:
    errors: FieldErrors = []
    if not action.get("path"):
        errors.append(fe.required(f"{at}.path"))
    errors += validate_port_or_name(action.get("port", 0), f"{at}.port")
    if action.get("scheme") not in ("HTTP", "HTTPS"):
        scheme = action.get("scheme", "")
        errors.append(fe.not_supported(f"{at}.scheme", scheme, ("HTTP", "HTTPS")))
    for header in action.get("httpHeaders", ()):
        name = header.get("name", "")
        errors += [fe.invalid(f"{at}.httpHeaders", name, m) for m in names.http_header(name)]
    return errors


def validate_port_or_name(port: int | str, path: str) -> FieldErrors:
    if isinstance(port, str):
        return [fe.invalid(path, port, m) for m in names.port_name(port)]
    return [fe.invalid(path, port, m) for m in names.port_number(port)]


_PROBE_NUMBERS: Final = frozenset(
    (
        "initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold",
        "failureThreshold",
    )
)  # fmt: skip


def _validate_probe(probe: dict[str, Any], path: str) -> FieldErrors:
    errors = _validate_handler(probe, path)
    errors += [
        fe.invalid(f"{path}.{field}", value, NOT_NEGATIVE)
        for field, value in probe.items()
        if field in _PROBE_NUMBERS and value < 0
    ]
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        at = f"{path}.terminationGracePeriodSeconds"
        errors.append(fe.invalid(at, grace, "must be greater than 0"))
    return errors


_EPHEMERAL_FORBIDDEN: Final = (
    "ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy",
    "restartPolicy",
)  # fmt: skip


def _validate_ephemeral(spec: dict[str, Any], path: str, context: Context) -> FieldErrors:
    errors: FieldErrors = []
    targets = {c.get("name") for key in ("containers", "initContainers") for c in spec.get(key, ())}
    for i, container in enumerate(spec["ephemeralContainers"]):
        at = f"{path}.ephemeralContainers[{i}]"
        errors += validate_container(container, at, context)
        target = container.get("targetContainerName")
        if target and target not in targets:
            errors.append(fe.not_found(f"{at}.targetContainerName", target))
        message = "cannot be set for an Ephemeral Container"
        errors += [
            fe.forbidden(f"{at}.{field}", message)
            for field in _EPHEMERAL_FORBIDDEN
            if field in container
        ]
        if container.get("resources"):
            errors.append(fe.forbidden(f"{at}.resources", message))
        for j, mount in enumerate(container.get("volumeMounts", ())):
            for field in ("subPath", "subPathExpr"):
                if mount.get(field):
                    where = f"{at}.volumeMounts[{j}].{field}"
                    errors.append(fe.forbidden(where, message))
    return errors
