"""YAML as Kubernetes takes and gives it: the JSON types only, so `2024-01-01` stays a string.

Apart from `negotiate.py` because PyYAML is loaded only when YAML is really spoken.
"""

import re
from typing import Any

import yaml

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class Loader(_Base):  # type: ignore[misc]  # the base is the C loader where libyaml is there
    """YAML 1.1 without timestamps and sexagesimal numbers; map keys become strings."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way to say it
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in _Base.yaml_implicit_resolvers.items()
    }


_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_OCTAL = re.compile(r"[-+]?0o[0-7_]+")


def _number(loader: Any, node: Any, otherwise: Any) -> Any:
    text = loader.construct_scalar(node)
    return text if _SEXAGESIMAL.fullmatch(text) else otherwise(loader, node)


def _integer(loader: Any, node: Any) -> Any:
    return _number(loader, node, _Base.construct_yaml_int)


def _float(loader: Any, node: Any) -> Any:
    return _number(loader, node, _Base.construct_yaml_float)


def _mapping(loader: Any, node: Any) -> dict[str, Any]:
    loader.flatten_mapping(node)
    pairs = (
        (loader.construct_object(k, deep=True), loader.construct_object(v, deep=True))
        for k, v in node.value
    )
    return {_key(k): v for k, v in pairs}


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return key if isinstance(key, str) else str(key)


Loader.add_constructor("tag:yaml.org,2002:int", _integer)
Loader.add_constructor("tag:yaml.org,2002:float", _float)
Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def repeated_keys(text: bytes) -> list[tuple[int, str]]:
    """(line, key) of every key that a map of the text gives again; the text parses."""
    found: list[tuple[int, str]] = []
    waiting = [yaml.compose(text, Loader)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if key.value in seen:
                    found.append((key.start_mark.line + 1, key.value))
                seen.add(key.value)
                waiting.append(value)
        elif isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)
    return sorted(found)


class Dumper(_BaseDumper):  # type: ignore[misc]  # as above
    """Block style; a text of several lines is written literally; nothing is aliased."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Any, value: str) -> Any:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


Dumper.add_representer(str, _text)
