"""Registry credentials of a pod's imagePullSecrets. Pure.

Source: https://kubernetes.io/docs/concepts/containers/images/#config-json
"""

import base64
import binascii
import fnmatch
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from skiff.node.images import InvalidImageName, normalize
from skiff.node.runtime import RegistryAuth

DOCKER_CONFIG_JSON = "kubernetes.io/dockerconfigjson"
DOCKER_CFG = "kubernetes.io/dockercfg"


def credentials_for(
    image: str, secrets: Iterable[tuple[str, Mapping[str, str]]]
) -> list[RegistryAuth]:
    """The credentials that fit `image`, the most specific first. `secrets` are (type, data) pairs with
    data in base64, as the API gives them; what cannot be read is passed over."""
    try:
        name = normalize(image)
    except InvalidImageName:
        return []
    found: list[tuple[int, RegistryAuth]] = []
    for kind, data in secrets:
        for pattern, entry in _entries(kind, data):
            if _matches(pattern, name):
                found.append((len(pattern), _auth(entry)))
    found.sort(key=lambda f: -f[0])
    return [auth for _, auth in found]


def _entries(kind: str, data: Mapping[str, str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        if kind == DOCKER_CONFIG_JSON:
            auths = json.loads(base64.b64decode(data[".dockerconfigjson"])).get("auths") or {}
        elif kind == DOCKER_CFG:
            auths = json.loads(base64.b64decode(data[".dockercfg"]))
        else:
            return
        yield from auths.items()
    except (KeyError, ValueError, AttributeError):
        return


def _auth(entry: Mapping[str, Any]) -> RegistryAuth:
    username, password = entry.get("username") or "", entry.get("password") or ""
    if not username and entry.get("auth"):
        try:
            username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            username = password = ""
    return RegistryAuth(
        username=username,
        password=password.rstrip("\0"),
        identity_token=entry.get("identitytoken") or "",
        registry_token=entry.get("registrytoken") or "",
    )


def _matches(pattern: str, image: str) -> bool:
    """Whether `registry[/path]` (with globs in host labels, maybe with a scheme or version path) covers
    the image."""
    pattern = pattern.removeprefix("https://").removeprefix("http://").rstrip("/")
    for version in ("/v1", "/v2"):
        pattern = pattern.removesuffix(version)
    host, _, path = pattern.partition("/")
    if host in ("index.docker.io", "registry-1.docker.io"):
        host = "docker.io"
    image_host, _, image_path = image.partition("/")
    if ":" not in host:
        image_host = image_host.partition(":")[0]
    labels, image_labels = host.split("."), image_host.split(".")
    if len(labels) != len(image_labels):
        return False
    if not all(fnmatch.fnmatchcase(i, p) for p, i in zip(labels, image_labels, strict=True)):
        return False
    return not path or image_path.startswith(path)
