"""YAML as manifests use it: JSON's types only, so that `2026-01-01` stays a string.

Apart from `manifest.py` because PyYAML is loaded only where there is a manifest.
"""

from typing import Any

import yaml


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the C loader where libyaml is there
    """Without timestamps."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def load(text: bytes) -> Any:
    """The first document of `text`. Raises ValueError."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ValueError(str(e)) from e
