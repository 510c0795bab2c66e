"""How a webhook is reached: a URL or a service. Used by admission, conversion and aggregation."""

from typing import Final
from urllib.parse import urlsplit

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.strategy import Object

_HTTPS_PORT: Final = 443


def default_service(client: Object) -> None:
    service = client.get("service")
    if service is not None:
        service.setdefault("port", _HTTPS_PORT)


def validate_client(client: Object, path: str) -> FieldErrors:
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        return [fe.required(path, "exactly one of url or service is required")]
    if url is not None:
        return _validate_url(url, f"{path}.url")
    assert service is not None
    return validate_service(service, f"{path}.service")


def _validate_url(url: str, path: str) -> FieldErrors:
    form = "; desired format: https://host[/path]"
    try:
        found = urlsplit(url)
        host = found.netloc
    except ValueError as e:
        return [fe.required(path, f"url must be a valid URL: {e}{form}")]
    errors: FieldErrors = []
    if found.scheme != "https":
        message = f"'https' is the only allowed URL scheme{form}"
        errors.append(fe.invalid(path, found.scheme, message))
    if not host:
        errors.append(fe.invalid(path, host, f"host must be specified{form}"))
    if found.username is not None:
        message = "user information is not permitted in the URL"
        errors.append(fe.invalid(path, found.username, message))
    if found.fragment:
        errors.append(fe.invalid(path, found.fragment, "fragments are not permitted in the URL"))
    if found.query:
        message = "query parameters are not permitted in the URL"
        errors.append(fe.invalid(path, found.query, message))
    return errors


def validate_service(service: Object, path: str) -> FieldErrors:
    errors: FieldErrors = []
    if not service.get("name"):
        errors.append(fe.required(f"{path}.name", "service name is required"))
    if not service.get("namespace"):
        errors.append(fe.required(f"{path}.namespace", "service namespace is required"))
    port = service.get("port", _HTTPS_PORT)
    errors += [
        fe.invalid(f"{path}.port", port, "port is not valid: " + m) for m in names.port_number(port)
    ]
    where = service.get("path")
    if where is None:
        return errors
    at = f"{path}.path"
    if not where.startswith("/"):
        errors.append(fe.invalid(at, where, "must start with a '/'"))
    if "//" in where:
        errors.append(fe.invalid(at, where, "segment[1] may not be empty"))
    for i, segment in enumerate(where.strip("/").split("/") if where.strip("/") else ()):
        errors += [
            fe.invalid(at, where, f"segment[{i}]: {m}") for m in names.dns1123_subdomain(segment)
        ]
    return errors
