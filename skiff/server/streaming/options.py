"""Options of the streaming subresources, read from the query as Kubernetes reads them. Pure.

Source: the PodLogOptions, PodExecOptions, PodAttachOptions and PodPortForwardOptions of
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from skiff.aio.clock import parse_rfc3339
from skiff.api.errors import BadRequest, Cause, Invalid

Query = Mapping[str, Sequence[str]]

LOG_STREAMS = ("All", "Stdout", "Stderr")
MAX_PORT = 65535


def text(query: Query, name: str) -> str:
    """The first value of an option, or nothing."""
    values = query.get(name)
    return values[0] if values else ""


def flag(query: Query, name: str, default: bool = False) -> bool:
    """A boolean option: present and not "false" or "0"."""
    values = query.get(name)
    return default if not values else values[0].lower() not in ("false", "0")


@dataclass(frozen=True, slots=True)
class Streams:
    """Which streams an exec or attach asks for, of which container, and exec's command."""

    container: str
    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool
    command: tuple[str, ...] = ()

    def node_query(self) -> str:
        """The query in the kubelet's words."""
        pairs = [("command", c) for c in self.command]
        flags = (
            ("error", self.stderr), ("input", self.stdin), ("output", self.stdout), ("tty", self.tty),
        )  # fmt: skip
        return urlencode([*pairs, *((name, "1") for name, on in flags if on)])


def exec_streams(query: Query) -> Streams:
    """Of pods/exec."""
    return Streams(
        text(query, "container"),
        flag(query, "stdin"),
        flag(query, "stdout"),
        flag(query, "stderr"),
        flag(query, "tty"),
        tuple(query.get("command", ())),
    )


def attach_streams(query: Query) -> Streams:
    """Of pods/attach: output is on unless it is turned off."""
    return Streams(
        text(query, "container"),
        flag(query, "stdin"),
        flag(query, "stdout", default=True),
        flag(query, "stderr", default=not flag(query, "tty")),
        flag(query, "tty"),
    )


def ports(query: Query) -> tuple[int, ...]:
    """Of pods/portforward: repeated or joined with commas; empty for SPDY clients, who name the
    ports on the streams. Raises BadRequest."""
    found = []
    for value in query.get("ports", ()):
        for part in value.split(","):
            if not part.isdigit() or int(part) > MAX_PORT:
                raise BadRequest(
                    f'cannot convert to []int32: strconv.ParseUint: parsing "{part}": invalid syntax'
                )
            found.append(int(part))
    return tuple(found)


def log_query(pod: str, query: Query) -> str:
    """The options of pods/log in the kubelet's words, checked. Raises Invalid, BadRequest."""
    pairs: list[tuple[str, str]] = []
    causes: list[Cause] = []
    numbers: dict[str, int] = {}
    for name in ("tailLines", "sinceSeconds", "limitBytes"):
        if value := text(query, name):
            try:
                numbers[name] = int(value)
            except ValueError:
                raise BadRequest(f'strconv.ParseInt: parsing "{value}": invalid syntax') from None
    since_time = text(query, "sinceTime")
    if since_time:
        try:
            parse_rfc3339(since_time)
        except ValueError:
            raise BadRequest(
                f'parsing time "{since_time}" as "2006-01-02T15:04:05Z07:00": cannot parse '
                f'"{since_time}" as "2006"'
            ) from None
    _check_numbers(numbers, causes)
    if since_time and "sinceSeconds" in numbers:
        message = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
        causes.append(Cause("FieldValueForbidden", message, "sinceSeconds"))
    stream = text(query, "stream")
    if stream and stream not in LOG_STREAMS:
        supported = ", ".join(f'"{s}"' for s in LOG_STREAMS)
        message = f'Unsupported value: "{stream}": supported values: {supported}'
        causes.append(Cause("FieldValueNotSupported", message, "stream"))
    elif stream in ("Stdout", "Stderr") and "tailLines" in numbers:
        message = "Forbidden: `tailLines` and specific `stream` are mutually exclusive for now"
        causes.append(Cause("FieldValueForbidden", message))
    if causes:
        raise _invalid(pod, causes)
    pairs += [(name, "true") for name in ("follow", "previous", "timestamps") if flag(query, name)]
    pairs += [(name, str(value)) for name, value in numbers.items()]
    if since_time:
        pairs.append(("sinceTime", since_time))
    if stream:
        pairs.append(("stream", stream))
    return urlencode(pairs)


def _check_numbers(numbers: Mapping[str, int], causes: list[Cause]) -> None:
    for name, least, words in (
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("sinceSeconds", 1, "must be greater than 0"),
        ("limitBytes", 1, "must be greater than 0"),
    ):
        value = numbers.get(name)
        if value is not None and value < least:
            causes.append(Cause("FieldValueInvalid", f"Invalid value: {value}: {words}", name))


def _invalid(pod: str, causes: Sequence[Cause]) -> Invalid:
    texts = [f"{c.field}: {c.message}" if c.field else c.message for c in causes]
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return Invalid(
        f'PodLogOptions "{pod}" is invalid: {joined}',
        kind="PodLogOptions",
        name=pod,
        causes=causes,
    )


def choose_container(pod: Mapping[str, Any], wanted: str) -> str:
    """The container that is meant. Raises BadRequest where that is unclear or it is not there."""
    name = pod["metadata"]["name"]
    spec = pod.get("spec") or {}
    plain = [c["name"] for c in spec.get("containers") or ()]
    initial = [c["name"] for c in spec.get("initContainers") or ()]
    ephemeral = [c["name"] for c in spec.get("ephemeralContainers") or ()]
    if wanted:
        if wanted not in (*plain, *initial, *ephemeral):
            raise BadRequest(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(plain) == 1:
        return str(plain[0])
    message = f"a container name must be specified for pod {name}"
    if plain:
        message += f", choose one of: [{' '.join(plain)}]"
        if initial:
            message += f" or one of the init containers: [{' '.join(initial)}]"
    raise BadRequest(message)
