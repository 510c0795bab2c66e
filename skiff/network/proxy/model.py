"""What the packet filter is told: a table of chains, verdict maps and sets, and how two of them differ.

A `Ruleset` is plain data. `whole` writes one that replaces whatever stands; `changes` writes only
what leads from one ruleset to the next. Both are one nftables transaction: packets see the old
rules or the new ones.

`Table` holds what many owners (Services) want of one table and says what changed since it was last
asked, at a cost that follows the change, not the table. Where two owners want the same element, the
one of lower rank has it; when that one goes, the other's takes its place.
Source: nft(8).
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


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


@dataclass(frozen=True, slots=True)
class Share:
    """What one owner adds to a table: chains and sets of its own (by names that nobody else uses; what a
    set is declared as never changes under one name), and elements of shared maps."""

    rank: tuple[Any, ...] = ()
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)
    elements: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


NOTHING = Share()


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


class Table:
    """One table and its owners' shares. `put` takes a share, `take` tells what changed, `ruleset` all."""

    def __init__(self, name: str, fixed: Ruleset) -> None:
        self.name = name
        self._fixed = fixed
        self._shares: dict[Hashable, Share] = {}
        self._claims: dict[str, dict[str, dict[Hashable, str]]] = {m: {} for m in fixed.maps}
        # What stood when `take` was last called, of all that was touched since; None: it did not exist.
        self._chains_before: dict[str, tuple[str, ...] | None] = {}
        self._sets_before: dict[str, str | None] = {}
        self._elements_before: dict[tuple[str, str], str | None] = {}
        self._owners_touched: set[Hashable] = set()

    def put(self, owner: Hashable, share: Share) -> None:
        """Replace what `owner` wants (`NOTHING` takes all of it away)."""
        old = self._shares.get(owner, NOTHING)
        self._owners_touched.add(owner)
        for name in {*old.chains, *share.chains}:
            self._chains_before.setdefault(name, old.chains.get(name))
        for name in {*old.sets, *share.sets}:
            self._sets_before.setdefault(name, old.sets.get(name))
        for name in {*old.elements, *share.elements}:
            before, after = old.elements.get(name, {}), share.elements.get(name, {})
            for key in {*before, *after}:
                if before.get(key) != after.get(key) or old.rank != share.rank:
                    self._elements_before.setdefault((name, key), self._winner(name, key))
        self._shares.pop(owner, None)
        self._claim(owner, old, share)
        if share.chains or share.sets or share.elements:
            self._shares[owner] = share

    def _claim(self, owner: Hashable, old: Share, share: Share) -> None:
        for name, elements in old.elements.items():
            claims = self._claims[name]
            for key in elements:
                del claims[key][owner]
                if not claims[key]:
                    del claims[key]
        for name, elements in share.elements.items():
            claims = self._claims[name]
            for key, value in elements.items():
                claims.setdefault(key, {})[owner] = value

    def _winner(self, name: str, key: str) -> str | None:
        """The value of an element among its claims; None where nobody claims it."""
        claims = self._claims[name].get(key)
        if not claims:
            return None
        if len(claims) == 1:
            return next(iter(claims.values()))
        return claims[min(claims, key=lambda owner: self._shares[owner].rank)]

    def take(self) -> str:
        """The transaction from where the last `take` (or `start`) left off; empty where nothing changed."""
        old, new = self._touched()
        self._settle()
        return changes(self.name, old, new)

    def start(self) -> str:
        """The transaction that replaces whatever stands by all that is wanted."""
        self._settle()
        return whole(self.name, self.ruleset())

    def ruleset(self) -> Ruleset:
        """All that is wanted."""
        chains = dict(self._fixed.chains)
        maps: dict[str, Map] = {}
        for name, made in self._fixed.maps.items():
            won = {k: self._winner(name, k) or "" for k in self._claims[name]}
            maps[name] = Map(made.kind, made.declaration, {**made.elements, **won})
        for share in self._shares.values():
            chains.update(share.chains)
            maps.update({n: Map("set", declared) for n, declared in share.sets.items()})
        return Ruleset(maps, chains)

    @property
    def sets(self) -> set[str]:
        """The names of all sets that owners have of their own."""
        return {name for share in self._shares.values() for name in share.sets}

    def _touched(self) -> tuple[Ruleset, Ruleset]:
        """The touched part of the table, as it was and as it is."""
        chains_now: dict[str, tuple[str, ...]] = {}
        sets_now: dict[str, str] = {}
        for share in self._touched_shares():
            chains_now.update({n: r for n, r in share.chains.items() if n in self._chains_before})
            sets_now.update({n: d for n, d in share.sets.items() if n in self._sets_before})
        old_maps = {n: Map("set", d) for n, d in self._sets_before.items() if d is not None}
        new_maps = {n: Map("set", d) for n, d in sets_now.items()}
        before: dict[str, dict[str, str]] = {}
        after: dict[str, dict[str, str]] = {}
        for (name, key), was in self._elements_before.items():
            before.setdefault(name, {})
            after.setdefault(name, {})
            if was is not None:
                before[name][key] = was
            now = self._winner(name, key)
            if now is not None:
                after[name][key] = now
        for name, elements in before.items():
            made = self._fixed.maps[name]
            old_maps[name] = Map(made.kind, made.declaration, elements)
            new_maps[name] = Map(made.kind, made.declaration, after[name])
        chains_before = {n: r for n, r in self._chains_before.items() if r is not None}
        return Ruleset(old_maps, chains_before), Ruleset(new_maps, chains_now)

    def _touched_shares(self) -> Iterable[Share]:
        return (self._shares[o] for o in self._owners_touched if o in self._shares)

    def _settle(self) -> None:
        self._chains_before.clear()
        self._sets_before.clear()
        self._elements_before.clear()
        self._owners_touched.clear()
