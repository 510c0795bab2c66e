"""YAML as Kubernetes takes and gives it: the JSON types only, so `2024-01-01` stays a string.

What would not end well is refused before it is built: libyaml's composer recurses on the C stack, so
that depth is bounded, and a few lines of aliases can stand for more nodes than there is memory.

Apart from `negotiate.py` because PyYAML is loaded only when YAML is really spoken.
"""

import re
from typing import Any

import yaml

from skiff.server.negotiate import DEPTH_MAX

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


ALIASED_NODES_MAX = 10_000
"""Nodes that aliases stand for, counted as often as they appear."""


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


def load(text: bytes) -> Any:
    """The one document of the text. Raises YAMLError, UnicodeDecodeError."""
    if check(text):
        # Aliases make several places share an object, and objects are changed in place.
        return _unshared(yaml.load(text, Loader))  # noqa: S506 - as below
    return yaml.load(text, Loader)  # noqa: S506 - a safe loader with fewer types still


def check(text: bytes) -> bool:
    """Whether the text has aliases. Raises YAMLError where it is too deep, or they are too many.

    The events come from libyaml's parser, which does not recurse. Most texts need no look: they
    have no alias, and too few brackets and too short lines to be deep.
    """
    if b"*" not in text and _deepest(text) < DEPTH_MAX:
        return False
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    total = aliased = 0
    for event in yaml.parse(text, Loader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise yaml.YAMLError(
                    f"yaml: anchor '{event.anchor}' value contains itself or is unknown"
                )
            total += sizes[event.anchor]
            aliased += sizes[event.anchor]
            if aliased > ALIASED_NODES_MAX:
                raise yaml.YAMLError("yaml: document contains excessive aliasing")
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, total))
            total += 1
            if len(open_nodes) > DEPTH_MAX:
                raise yaml.YAMLError(f"yaml: exceeded max depth of {DEPTH_MAX}")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = total - before
    return aliased > 0


def _unshared(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _unshared(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_unshared(v) for v in value]
    return value


def _deepest(text: bytes) -> int:
    """No text is deeper than this: each level needs a bracket, or a column of its own (two for the
    lists and maps that may begin in the same column)."""
    longest = max(map(len, text.split(b"\n")))
    return text.count(b"[") + text.count(b"{") + 2 * longest


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
