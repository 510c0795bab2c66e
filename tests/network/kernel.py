"""A tiny nf_tables in Python: carries out transactions as text, and refuses what the kernel refuses.

Knows just the forms that the proxy writes. Its state can be compared; `Refused` is what nft would say.
"""

import re
from typing import Any

Elements = dict[str, str]


class Refused(Exception):
    """The transaction is not possible."""


class Kernel:
    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Any]] = {}

    def run(self, transaction: str) -> str:
        before = {n: _copy(t) for n, t in self.tables.items()}
        try:
            for line in transaction.splitlines():
                self._line(line)
            self._check()
        except Refused:
            self.tables = before
            raise
        return ""

    def _line(self, line: str) -> None:
        verb, what, rest = line.split(" ", 2)
        words = rest.split(" ")
        name = " ".join(words[:2])
        if what == "table":
            if verb == "add":
                self.tables.setdefault(name, {"sets": {}, "chains": {}})
            elif name not in self.tables:
                raise Refused(line)
            else:
                del self.tables[name]
            return
        table = self.tables.get(name)
        if table is None:
            raise Refused(f"no table: {line}")
        target = words[2]
        body = rest.split(" ", 3)[3] if len(words) > 3 else ""
        getattr(self, f"_{verb}_{'set' if what == 'map' else what}")(table, target, body)

    def _add_set(self, table: dict[str, Any], name: str, body: str) -> None:
        if name in table["sets"]:
            raise Refused(f"set {name} exists")
        table["sets"][name] = {"declaration": body.strip("{} ;"), "elements": {}}

    def _delete_set(self, table: dict[str, Any], name: str, body: str) -> None:
        if name not in table["sets"]:
            raise Refused(f"no set {name}")
        del table["sets"][name]

    def _add_chain(self, table: dict[str, Any], name: str, body: str) -> None:
        if name in table["chains"]:
            raise Refused(f"chain {name} exists")
        table["chains"][name] = {"base": body.strip("{} ;"), "rules": []}

    def _flush_chain(self, table: dict[str, Any], name: str, body: str) -> None:
        self._chain(table, name)["rules"] = []

    def _delete_chain(self, table: dict[str, Any], name: str, body: str) -> None:
        if self._chain(table, name)["rules"]:
            raise Refused(f"chain {name} is not empty")
        for verdict in _verdicts(table):
            if verdict == name:
                raise Refused(f"chain {name} is in use")
        del table["chains"][name]

    def _add_rule(self, table: dict[str, Any], name: str, body: str) -> None:
        for target in re.findall(r"\b(?:goto|jump) ([^\s,}]+)", body):
            self._chain(table, target)
        for used in re.findall(r"@(\S+)", body):
            if used not in table["sets"]:
                raise Refused(f"no set {used}")
        self._chain(table, name)["rules"].append(body)

    def _add_element(self, table: dict[str, Any], name: str, body: str) -> None:
        elements: Elements = table["sets"][name]["elements"]
        for item in body.strip("{} ").split(", "):
            key, _, value = item.partition(" : ")
            if elements.setdefault(key, value) != value:
                raise Refused(f"element {key} of {name} is another already")
            for target in re.findall(r"\bgoto ([^\s,}]+)", value):
                self._chain(table, target)

    def _delete_element(self, table: dict[str, Any], name: str, body: str) -> None:
        elements: Elements = table["sets"][name]["elements"]
        for key in body.strip("{} ").split(", "):
            if key not in elements:
                raise Refused(f"no element {key} in {name}")
            del elements[key]

    def _chain(self, table: dict[str, Any], name: str) -> dict[str, Any]:
        if name not in table["chains"]:
            raise Refused(f"no chain {name}")
        chain: dict[str, Any] = table["chains"][name]
        return chain

    def _check(self) -> None:
        for table in self.tables.values():
            for chain in table["chains"].values():
                for rule in chain["rules"]:
                    for used in re.findall(r"@(\S+)", rule):
                        if used not in table["sets"]:
                            raise Refused(f"set {used} is in use")


def _copy(table: dict[str, Any]) -> dict[str, Any]:
    return {
        "sets": {n: {**s, "elements": dict(s["elements"])} for n, s in table["sets"].items()},
        "chains": {n: {**c, "rules": list(c["rules"])} for n, c in table["chains"].items()},
    }


def _verdicts(table: dict[str, Any]) -> list[str]:
    texts = [rule for chain in table["chains"].values() for rule in chain["rules"]]
    texts += [v for s in table["sets"].values() for v in s["elements"].values()]
    return [t for text in texts for t in re.findall(r"\b(?:goto|jump) ([^\s,}]+)", text)]
