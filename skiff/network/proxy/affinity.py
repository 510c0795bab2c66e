"""Session affinity across a whole rewrite of the table: which clients the kernel remembers, and how they
are put back. Pure: nft's listing in, `add element` lines out.

A new proxy does not know what stands in the kernel and replaces all of it. Without this, each restart
would send every client of a sticky Service to another endpoint.
"""

import re
from collections.abc import Collection

_SET = re.compile(r"^\tset (\S+) \{$")
_ELEMENT = re.compile(
    r"([0-9.]+)(?: timeout (?:[0-9]+[wdhms]+)+)? expires ((?:[0-9]+(?:ms|[wdhms]))+)"
)


def remembered(listing: str) -> dict[str, dict[str, str]]:
    """From `nft list table`: set name → client address → how long it is still remembered."""
    found: dict[str, dict[str, str]] = {}
    name = ""
    text: list[str] = []
    for line in listing.splitlines():
        opened = _SET.match(line)
        if opened:
            name, text = opened[1], []
        elif line == "\t}" and name:
            clients = dict(_ELEMENT.findall(" ".join(text)))
            if clients and name.startswith("from-"):
                found[name] = clients
            name = ""
        elif name:
            text.append(line)
    return found


def restore(table: str, clients: dict[str, dict[str, str]], sets: Collection[str]) -> str:
    """Lines that put `clients` back into those of their sets that are still wanted."""
    lines = []
    for name, members in clients.items():
        if name in sets:
            body = ", ".join(f"{ip} expires {left}" for ip, left in members.items())
            lines.append(f"add element {table} {name} {{ {body} }}\n")
    return "".join(lines)
