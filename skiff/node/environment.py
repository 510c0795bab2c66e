"""A container's environment, command and arguments. Pure, given what it refers to.

`build_env` puts together envFrom, env (later ones win, `$(NAME)` refers to earlier ones and to
services) and the services' variables; `expand_command` fills the same references into command and
arguments.

Source: https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
and https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from skiff.api.views.core import (
    ConfigMap,
    ConfigMapEnvSource,
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    Pod,
    Secret,
    SecretEnvSource,
    Service,
)
from skiff.node.downward import AnyContainer, FieldError, field_value, resource_value

_REFERENCE = re.compile(r"\$(?:(\$)|\(([^)]*)\))")
# What an environment variable may be called: printable ASCII without "=".
_NAME = re.compile(r"[ -<>-~]+")
# Services of the default namespace whose variables every container gets.
_MASTER_SERVICES = ("kubernetes",)
DEFAULT_NAMESPACE = "default"


class ConfigError(Exception):
    """The container cannot be made as its spec stands now: CreateContainerConfigError."""


class Sources(Protocol):
    """What environments refer to."""

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        """The ConfigMap, or None where there is none."""

    def secret(self, namespace: str, name: str) -> Secret | None:
        """The Secret, or None where there is none."""

    def services(self) -> Iterable[Service]:
        """The services of all namespaces."""

    def allocatable(self) -> Mapping[str, str]:
        """The node's allocatable resources."""

    def env_file(self, pod: Pod, volume: str, path: str) -> str | None:
        """A file of a pod's volume, for `fileKeyRef`; None where there is none."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables in order, and texts for Warning events with reason
    InvalidEnvironmentVariableNames."""

    variables: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...] = ()


def expand(text: str, values: Mapping[str, str]) -> str:
    """`text` with `$(NAME)` filled in; `$$` stands for `$`; what is not known stays as it is."""
    if "$" not in text:
        return text

    def replace(match: re.Match[str]) -> str:
        return "$" if match[1] else values.get(match[2], match[0])

    return _REFERENCE.sub(replace, text)


def expand_command(
    container: AnyContainer, variables: Iterable[tuple[str, str]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Command and arguments with their references filled in."""
    values = dict(variables)
    return (
        tuple(expand(c, values) for c in container.command),
        tuple(expand(a, values) for a in container.args),
    )


def service_variables(
    services: Iterable[Service], namespace: str, *, links: bool
) -> dict[str, str]:
    """The variables of services: those of the namespace where `links`, and `kubernetes` always."""
    chosen: dict[str, Service] = {}
    for service in services:
        address, name = service.spec.cluster_ip, service.metadata.name
        if address in ("", "None") or not service.spec.ports:
            continue
        if service.metadata.namespace == namespace and links:
            chosen[name] = service
        elif service.metadata.namespace == DEFAULT_NAMESPACE and name in _MASTER_SERVICES:
            chosen.setdefault(name, service)
    result: dict[str, str] = {}
    for name in sorted(chosen):
        _one_service(chosen[name], result)
    return result


def _one_service(service: Service, result: dict[str, str]) -> None:
    prefix = _variable(service.metadata.name)
    address, ports = service.spec.cluster_ip, service.spec.ports
    result[f"{prefix}_SERVICE_HOST"] = address
    result[f"{prefix}_SERVICE_PORT"] = str(ports[0].port)
    for port in ports:
        if port.name:
            result[f"{prefix}_SERVICE_PORT_{_variable(port.name)}"] = str(port.port)
    host = f"[{address}]" if ":" in address else address
    for index, port in enumerate(ports):
        protocol = (port.protocol or "TCP").lower()
        url = f"{protocol}://{host}:{port.port}"
        if index == 0:
            result[f"{prefix}_PORT"] = url
        link = f"{prefix}_PORT_{port.port}_{protocol.upper()}"
        result[link] = url
        result[f"{link}_PROTO"] = protocol
        result[f"{link}_PORT"] = str(port.port)
        result[f"{link}_ADDR"] = address


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")


@dataclass(slots=True)
class _Build:
    """One container's environment under construction."""

    pod: Pod
    container: AnyContainer
    sources: Sources
    pod_ips: tuple[str, ...]
    values: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        return self.pod.metadata.namespace

    def add_all(self, source: EnvFromSource) -> None:
        """One entry of envFrom."""
        reference: ConfigMapEnvSource | SecretEnvSource | None
        if source.config_map_ref is not None:
            reference, kind = source.config_map_ref, "configMap"
            data = self._config_map(reference.name, optional=bool(reference.optional))
        elif source.secret_ref is not None:
            reference, kind = source.secret_ref, "secret"
            data = self._secret(reference.name, optional=bool(reference.optional))
        else:
            return
        skipped = []
        for key, value in (data or {}).items():
            name = source.prefix + key
            if _NAME.fullmatch(name):
                self.values[name] = value
            else:
                skipped.append(name)
        if skipped:
            self.warnings.append(
                f"Keys [{', '.join(sorted(skipped))}] from the EnvFrom {kind} "
                f"{self.namespace}/{reference.name} were skipped since they are considered invalid "
                "environment variable names."
            )

    def add(self, variable: EnvVar, services: Mapping[str, str]) -> None:
        """One entry of env."""
        if variable.value or variable.value_from is None:
            known = {**services, **self.values}
            self.values[variable.name] = expand(variable.value, known)
            return
        value = self._from(variable.value_from)
        if value is not None:
            self.values[variable.name] = value

    def _from(self, source: EnvVarSource) -> str | None:
        """The value of one valueFrom; None where it is optional and not there."""
        try:
            if source.field_ref is not None:
                return field_value(self.pod, source.field_ref, self.pod_ips)
            if source.resource_field_ref is not None:
                return resource_value(
                    source.resource_field_ref, self.pod, self.container, self.sources.allocatable()
                )
        except FieldError as e:
            raise ConfigError(str(e)) from e
        if source.config_map_key_ref is not None:
            key = source.config_map_key_ref
            data = self._config_map(key.name, optional=bool(key.optional))
            return self._key(data, "ConfigMap", key.name, key.key, optional=bool(key.optional))
        if source.secret_key_ref is not None:
            secret = source.secret_key_ref
            data = self._secret(secret.name, optional=bool(secret.optional))
            return self._key(
                data, "Secret", secret.name, secret.key, optional=bool(secret.optional)
            )
        if source.file_key_ref is not None:
            ref = source.file_key_ref
            text = self.sources.env_file(self.pod, ref.volume_name, ref.path)
            found = {} if text is None else parse_env_file(text)
            if ref.key in found or ref.optional:
                return found.get(ref.key)
            raise ConfigError(
                f'environment variable key "{ref.key}" not found in file "{ref.path}" '
                f'of volume "{ref.volume_name}"'
            )
        return ""

    def _key(
        self, data: Mapping[str, str] | None, kind: str, name: str, key: str, *, optional: bool
    ) -> str | None:
        if data is None:
            return None
        if key not in data and not optional:
            raise ConfigError(f"couldn't find key {key} in {kind} {self.namespace}/{name}")
        return data.get(key)

    def _config_map(self, name: str, *, optional: bool) -> Mapping[str, str] | None:
        found = self.sources.config_map(self.namespace, name)
        if found is not None:
            return found.data
        if optional:
            return None
        raise ConfigError(f'configmap "{name}" not found')

    def _secret(self, name: str, *, optional: bool) -> Mapping[str, str] | None:
        found = self.sources.secret(self.namespace, name)
        if found is not None:
            return {
                k: base64.b64decode(v).decode("utf-8", "surrogateescape")
                for k, v in found.data.items()
            }
        if optional:
            return None
        raise ConfigError(f'secret "{name}" not found')


def build_env(
    pod: Pod, container: AnyContainer, sources: Sources, pod_ips: Sequence[str] = ()
) -> Environment:
    """The container's environment. Raises ConfigError with the message that the container's waiting
    state and the event carry."""
    build = _Build(pod, container, sources, tuple(pod_ips))
    links = pod.spec.enable_service_links is not False
    services = service_variables(sources.services(), pod.metadata.namespace, links=links)
    for source in container.env_from:
        build.add_all(source)
    for variable in container.env:
        build.add(variable, services)
    own = build.values
    rest = ((k, v) for k, v in services.items() if k not in own)
    return Environment((*own.items(), *rest), tuple(build.warnings))


def parse_env_file(text: str) -> dict[str, str]:
    """The variables of a file of `NAME=value` lines; a value in single quotes may span lines, lines
    that begin with # are comments. Raises ConfigError."""
    values: dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise ConfigError(f"invalid environment variable file: line {line!r}")
        if value.startswith("'"):
            value = value[1:]
            while "'" not in value:
                more = next(lines, None)
                if more is None:
                    raise ConfigError(f"invalid environment variable file: quote of {name} is open")
                value += "\n" + more
            value, _, rest = value.partition("'")
            if rest.strip():
                raise ConfigError(f"invalid environment variable file: text behind {name}'s quote")
        values[name] = value
    return values
