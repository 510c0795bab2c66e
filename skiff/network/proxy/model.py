"""What the packet filter is told: a table of chains, verdict maps and sets, and how two of them differ.

A `Ruleset` is plain data. `whole` writes one that replaces whatever stands; `changes` writes only
what leads from one ruleset to the next. Both are one nftables transaction: packets see the old
rules or the new ones.
Source: nft(8).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Map:
    """A verdict map or a set: its type, and its elements (for a set every value is "")."""

    kind: str  # "map" or "set"
    declaration: str
    elements: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ruleset:
    """`chains` maps names to rules (a first rule that starts with `type ` makes it a base chain)."""

    maps: Mapping[str, Map] = field(default_factory=dict)
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def whole(table: str, rules: Ruleset) -> str:
    """The transaction after which `table` holds exactly `rules`, whatever it held before."""
    head = [f"add table {table}", f"delete table {table}", f"add table {table}"]
    return "\n".join([*head, *_lines(table, Ruleset(), rules)]) + "\n"


def changes(table: str, old: Ruleset, new: Ruleset) -> str:
    """The transaction from `old` to `new`; empty where they are the same."""
    lines = list(_lines(table, old, new))
    return "\n".join(lines) + "\n" if lines else ""


def _lines(table: str, old: Ruleset, new: Ruleset) -> Iterable[str]:
    """Order matters: a chain exists before something points at it, and is deleted after nothing does."""
    fresh = [n for n in new.chains if n not in old.chains]
    changed = [n for n in new.chains if n in old.chains and new.chains[n] != old.chains[n]]
    gone = [n for n in old.chains if n not in new.chains]
    for name, made in new.maps.items():
        if name not in old.maps:
            yield f"add {made.kind} {table} {name} {{ {made.declaration} ; }}"
    for name in fresh:
        rules = new.chains[name]
        base = rules[0] if rules and rules[0].startswith("type ") else ""
        yield f"add chain {table} {name}" + (f" {{ {base} ; }}" if base else "")
    for name in changed:
        yield f"flush chain {table} {name}"
    for name in (*fresh, *changed):
        for rule in new.chains[name]:
            if not rule.startswith("type "):
                yield f"add rule {table} {name} {rule}"
    for name, made in new.maps.items():
        yield from _elements(table, name, old.maps.get(name), made)
    for name in gone:
        yield f"flush chain {table} {name}"
    for name in gone:
        yield f"delete chain {table} {name}"
    for name, made in old.maps.items():
        if name not in new.maps:
            yield f"delete {made.kind} {table} {name}"


def _elements(table: str, name: str, old: Map | None, new: Map) -> Iterable[str]:
    before = old.elements if old else {}
    if before is new.elements:
        return
    removed = [k for k, v in before.items() if new.elements.get(k) != v]
    added = [(k, v) for k, v in new.elements.items() if before.get(k) != v]
    if removed:
        yield f"delete element {table} {name} {{ {', '.join(removed)} }}"
    if added:
        body = ", ".join(f"{k} : {v}" if v else k for k, v in added)
        yield f"add element {table} {name} {{ {body} }}"
