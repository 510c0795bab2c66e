"""Which names are valid: labels, subdomains, keys, ports. Each function returns its messages.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and .../labels/;
RFC 1123, RFC 1035. The messages are Kubernetes' own, as clients show them.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

Names = Callable[[str], Sequence[str]]

LABEL_MAX: Final = 63
SUBDOMAIN_MAX: Final = 253

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = _LABEL + r"(\." + _LABEL + r")*"
_LABEL_1035 = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = "(" + _QUALIFIED + ")?"
_CONFIG_KEY = r"[-._a-zA-Z0-9]+"
_C_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"
_WILDCARD = r"\*\." + _SUBDOMAIN
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_HEADER = r"[-A-Za-z0-9]+"

_label = re.compile(_LABEL).fullmatch
_subdomain = re.compile(_SUBDOMAIN).fullmatch
_label_1035 = re.compile(_LABEL_1035).fullmatch
_qualified = re.compile(_QUALIFIED).fullmatch
_label_value = re.compile(_LABEL_VALUE).fullmatch
_config_key = re.compile(_CONFIG_KEY).fullmatch
_c_identifier = re.compile(_C_IDENTIFIER).fullmatch
_wildcard = re.compile(_WILDCARD).fullmatch
_env_name = re.compile(r"[ -<>-~]+").fullmatch
_http_path = re.compile(_HTTP_PATH).fullmatch
_header = re.compile(_HEADER).fullmatch
_port_chars = re.compile(r"[-a-z0-9]+").fullmatch
_port_letter = re.compile(r"[a-z]").search


def max_length(most: int) -> str:
    return f"must be no more than {most} bytes"


def regex_message(message: str, pattern: str, *examples: str) -> str:
    """`message (e.g. 'a',  or 'b', regex used for validation is '…')`."""
    shown = ",  or ".join(f"'{e}'" for e in examples)
    if not examples:
        return f"{message} (regex used for validation is '{pattern}')"
    return f"{message} (e.g. {shown}, regex used for validation is '{pattern}')"


_LABEL_MESSAGE = regex_message(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must "
    "start and end with an alphanumeric character",
    _LABEL, "my-name", "123-abc",
)  # fmt: skip
_SUBDOMAIN_MESSAGE = regex_message(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character",
    _SUBDOMAIN, "example.com",
)  # fmt: skip
_LABEL_1035_MESSAGE = regex_message(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
    "alphabetic character, and end with an alphanumeric character",
    _LABEL_1035, "my-name", "abc-123",
)  # fmt: skip
_QUALIFIED_MESSAGE = regex_message(
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character",
    _QUALIFIED, "MyName", "my.name", "123-abc",
)  # fmt: skip
_LABEL_VALUE_MESSAGE = regex_message(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character",
    _LABEL_VALUE, "MyValue", "my_value", "12345",
)  # fmt: skip
_CONFIG_KEY_MESSAGE = regex_message(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    _CONFIG_KEY, "key.name", "KEY_NAME", "key-name",
)  # fmt: skip
_C_IDENTIFIER_MESSAGE = regex_message(
    "a valid C identifier must start with alphabetic character or '_', followed by a string of "
    "alphanumeric characters or '_'",
    _C_IDENTIFIER, "my_name", "MY_NAME", "MyName",
)  # fmt: skip
_WILDCARD_MESSAGE = regex_message(
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which "
    "must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric "
    "character",
    _WILDCARD, "*.example.com",
)  # fmt: skip
_ENV_NAME_MESSAGE = (
    "a valid environment variable name must consist only of printable ASCII characters other than "
    "'='"
)
_HTTP_PATH_MESSAGE = "must be a valid URL path"
BAD_PATH: Final = regex_message("Invalid path", _HTTP_PATH)
_HEADER_MESSAGE = regex_message(
    "a valid HTTP header must consist of alphanumeric characters or '-'", _HEADER, "X-Header-Name"
)


@lru_cache(1024)
def dns1123_label(value: str) -> tuple[str, ...]:
    out = []
    if len(value) > LABEL_MAX:
        out.append(max_length(LABEL_MAX))
    if not _label(value):
        # A valid subdomain fails only by its dots: name that.
        out.append("must not contain dots" if _subdomain(value) else _LABEL_MESSAGE)
    return tuple(out)


@lru_cache(1024)
def dns1123_subdomain(value: str) -> tuple[str, ...]:
    out = []
    if len(value) > SUBDOMAIN_MAX:
        out.append(max_length(SUBDOMAIN_MAX))
    if not _subdomain(value):
        out.append(_SUBDOMAIN_MESSAGE)
    return tuple(out)


def dns1035_label(value: str) -> list[str]:
    out = []
    if len(value) > LABEL_MAX:
        out.append(max_length(LABEL_MAX))
    if not _label_1035(value):
        out.append(_LABEL_1035_MESSAGE)
    return out


def wildcard_subdomain(value: str) -> list[str]:
    out = []
    if len(value) > SUBDOMAIN_MAX:
        out.append(max_length(SUBDOMAIN_MAX))
    if not _wildcard(value):
        out.append(_WILDCARD_MESSAGE)
    return out


@lru_cache(2048)
def qualified_name(value: str) -> tuple[str, ...]:
    """A label or annotation key, a finalizer, a resource name: `example.com/name` or `name`."""
    out: list[str] = []
    prefix, slash, name = value.rpartition("/")
    if slash:
        if "/" in prefix:
            return (
                "a qualified name " + _QUALIFIED_MESSAGE + " with an optional DNS subdomain prefix "
                "and '/' (e.g. 'example.com/MyName')",
            )
        if not prefix:
            out.append("prefix part must be non-empty")
        else:
            out += ["prefix part " + m for m in dns1123_subdomain(prefix)]
    if not name:
        out.append("name part must be non-empty")
    elif len(name) > LABEL_MAX:
        out.append("name part " + max_length(LABEL_MAX))
    if not _qualified(name):
        out.append("name part " + _QUALIFIED_MESSAGE)
    return tuple(out)


@lru_cache(2048)
def label_value(value: str) -> tuple[str, ...]:
    out = []
    if len(value) > LABEL_MAX:
        out.append(max_length(LABEL_MAX))
    if not _label_value(value):
        out.append(_LABEL_VALUE_MESSAGE)
    return tuple(out)


def path_segment(value: str) -> list[str]:
    """A name that may stand as one segment of a URL path (RBAC roles, custom resources' parts)."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{c}'" for c in "/%" if c in value]


def config_key(value: str) -> list[str]:
    """A key of a ConfigMap or Secret."""
    out = []
    if len(value) > SUBDOMAIN_MAX:
        out.append(max_length(SUBDOMAIN_MAX))
    if not _config_key(value):
        out.append(_CONFIG_KEY_MESSAGE)
    if value == ".":
        out.append("must not be '.'")
    elif value == "..":
        out.append("must not be '..'")
    elif value.startswith(".."):
        out.append("must not start with '..'")
    return out


@lru_cache(1024)
def is_env_name(value: str) -> bool:
    """Whether `env_name` has nothing to say."""
    return _env_name(value) is not None


def env_name(value: str) -> list[str]:
    """An environment variable's name (relaxed rule: all printable ASCII but '=')."""
    return [] if is_env_name(value) else [_ENV_NAME_MESSAGE]


def c_identifier(value: str) -> list[str]:
    return [] if _c_identifier(value) else [_C_IDENTIFIER_MESSAGE]


def http_header(value: str) -> list[str]:
    return [] if _header(value) else [_HEADER_MESSAGE]


def http_path(value: str) -> bool:
    return _http_path(value) is not None


@lru_cache(1024)
def port_name(value: str) -> tuple[str, ...]:
    """An IANA service name: a container port's or a probe's port given by name."""
    out = []
    if len(value) > 15:
        out.append(max_length(15))
    if not _port_chars(value):
        out.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not _port_letter(value):
        out.append("must contain at least one letter (a-z)")
    if "--" in value:
        out.append("must not contain consecutive hyphens")
    if value and (value[0] == "-" or value[-1] == "-"):
        out.append("must not begin or end with a hyphen")
    return tuple(out)


def port_number(value: int) -> list[str]:
    return [] if 1 <= value <= 65535 else ["must be between 1 and 65535, inclusive"]


def percent(value: str) -> bool:
    return value.endswith("%") and value[:-1].isdigit() and value.isascii()


PERCENT_MESSAGE: Final = regex_message(
    "a valid percent string must be a numeric string followed by an ending '%'",
    "[0-9]+%", "1%", "93%",
)  # fmt: skip


def cron_job_name(value: str) -> list[str]:
    """A CronJob's name leaves 11 characters for its jobs' suffix."""
    out = list(dns1123_subdomain(value))
    if len(value) > LABEL_MAX - 11:
        out.append(max_length(LABEL_MAX - 11))
    return out


_IPV4 = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})", re.ASCII)


@lru_cache(1024)
def is_ip(value: str) -> bool:
    """An IPv4 or IPv6 address in canonical octets (no leading zeros in IPv4)."""
    match = _IPV4.fullmatch(value)
    if match:
        return all(int(p) < 256 and (p == "0" or p[0] != "0") for p in match.groups())
    return ":" in value and _ipv6(value)


def _ipv6(value: str) -> bool:
    import ipaddress  # here: rarely needed, and not small

    try:
        return "%" not in value and ipaddress.IPv6Address(value) is not None
    except ValueError:
        return False


def is_cidr(value: str) -> bool:
    address, slash, bits = value.partition("/")
    if not slash or not bits.isdigit() or not bits.isascii() or (len(bits) > 1 and bits[0] == "0"):
        return False
    return is_ip(address) and int(bits) <= (128 if ":" in address else 32)


IP_MESSAGE: Final = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
CIDR_MESSAGE: Final = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def mask_trailing_dash(prefix: str) -> str:
    """A generateName as a name: its ending dash, if any, would be followed by more."""
    if len(prefix) > 1 and prefix.endswith("-"):
        return prefix[:-2] + "a"
    return prefix
