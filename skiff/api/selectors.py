"""Label and field selectors: parsed once into an immutable matcher, matched many times.

A selector is a tuple of requirements that must all hold. Equality requirements are also kept apart
(`equalities`), so that most matches are a few dictionary look-ups and a store can use an index.
Selector texts repeat, so parses are cached.

What it does not do: decide which fields of a kind can be selected (the kind's strategy does) and
node selectors of the scheduler (they use `Requirement`, whose operators include Gt and Lt).

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/ and
https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

_PARSE_CACHE: Final = 4096  # selectors; the least recently used is dropped

_NAME_PATTERN: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_SUBDOMAIN_PATTERN: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_NAME: Final = re.compile(_NAME_PATTERN, re.ASCII)
_SUBDOMAIN: Final = re.compile(_SUBDOMAIN_PATTERN, re.ASCII)
_NAME_RULE: Final = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    f"validation is '{_NAME_PATTERN}')"
)
_VALUE_RULE: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or "
    f"'12345', regex used for validation is '({_NAME_PATTERN})?')"
)
_SUBDOMAIN_RULE: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    f"for validation is '{_SUBDOMAIN_PATTERN}')"
)


class SelectorError(ValueError):
    """The text or structure is no selector; the message is Kubernetes' own."""


# --- label keys and values -----------------------------------------------------------------------


def label_key_errors(key: str) -> list[str]:
    """What is wrong with a label key (a qualified name), in Kubernetes' words; empty when valid."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        optional = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a qualified name {_NAME_RULE} {optional}"]
    errors = []
    if slash and not prefix:
        errors.append("prefix part must be non-empty")
    elif slash:
        if len(prefix.encode()) > 253:
            errors.append("prefix part must be no more than 253 bytes")
        if not _SUBDOMAIN.fullmatch(prefix):
            errors.append(f"prefix part {_SUBDOMAIN_RULE}")
    if not name:
        errors.append("name part must be non-empty")
    elif len(name.encode()) > 63:
        errors.append("name part must be no more than 63 bytes")
    if not _NAME.fullmatch(name):
        errors.append(f"name part {_NAME_RULE}")
    return errors


def label_value_errors(value: str) -> list[str]:
    """What is wrong with a label value, in Kubernetes' words; empty when valid."""
    errors = []
    if len(value.encode()) > 63:
        errors.append("must be no more than 63 bytes")
    if value and not _NAME.fullmatch(value):
        errors.append(_VALUE_RULE)
    return errors


# --- requirements --------------------------------------------------------------------------------

_SINGLE: Final = ("=", "==", "!=")
_ORDERED: Final = ("gt", "lt")
_SETS: Final = ("in", "notin")
_PRESENCE: Final = ("exists", "!")


class Requirement:
    """One condition on one key. Operators: `in notin = == != gt lt exists !`. Immutable."""

    __slots__ = ("_bound", "key", "operator", "values")

    def __init__(self, key: str, operator: str, values: Iterable[str] = ()) -> None:
        """Checks nothing: `requirement` does."""
        self.key = key
        self.operator = operator
        self.values = tuple(sorted(set(values)))
        self._bound = int(self.values[0]) if operator in _ORDERED else 0

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "=" | "==":
                return value == self.values[0]
            case "in":
                return value in self.values
            case "notin" | "!=":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        try:
            number = int(value) if value is not None else None
        except ValueError:
            return False
        if number is None:
            return False
        return number > self._bound if self.operator == "gt" else number < self._bound

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                # The empty value alone would print as "()", which does not parse again.
                return f"{self.key} {self.operator} ({','.join(self.values) or ','})"
            case "gt":
                return f"{self.key}>{self.values[0]}"
            case "lt":
                return f"{self.key}<{self.values[0]}"
        return f"{self.key}{self.operator}{self.values[0]}"

    def __repr__(self) -> str:
        return f"Requirement({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Requirement) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[str, str, tuple[str, ...]]:
        return (self.key, self.operator, self.values)


def requirement(key: str, operator: str, values: Sequence[str] = ()) -> Requirement:
    """A checked Requirement. Raises SelectorError with every fault found, as Kubernetes words it."""
    faults = _key_faults("key", key)
    shown = json.dumps(list(values), ensure_ascii=False, separators=(",", ":"))
    if operator in _SETS and not values:
        faults.append(
            _invalid("values", shown, "for 'in', 'notin' operators, values set can't be empty")
        )
    elif operator in _SINGLE and len(values) != 1:
        faults.append(
            _invalid("values", shown, "exact-match compatibility requires one single value")
        )
    elif operator in _PRESENCE and values:
        faults.append(
            _invalid("values", shown, "values set must be empty for exists and does not exist")
        )
    elif operator in _ORDERED:
        if len(values) != 1:
            faults.append(
                _invalid("values", shown, "for 'Gt', 'Lt' operators, exactly one value is required")
            )
        faults += [
            _invalid(f"values[{i}]", _quote(value), "for 'Gt', 'Lt' operators, the value must be an integer")
            for i, value in enumerate(values)
            if not re.fullmatch(r"[+-]?[0-9]{1,18}", value, re.ASCII)
        ]  # fmt: skip
    for i, value in enumerate(values):
        if wrong := label_value_errors(value):
            faults.append(_invalid(f"values[{i}][{key}]", _quote(value), "; ".join(wrong)))
    if faults:
        unique = list(dict.fromkeys(faults))
        raise SelectorError(unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]")
    return Requirement(key, operator, values)


def _key_faults(path: str, key: str) -> list[str]:
    wrong = label_key_errors(key)
    return [_invalid(path, _quote(key), "; ".join(wrong))] if wrong else []


def _invalid(path: str, value: str, detail: str) -> str:
    return f"{path}: Invalid value: {value}: {detail}"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


# --- label selectors -----------------------------------------------------------------------------


class LabelSelector:
    """All of `requirements` (sorted by key). Empty selects everything; `nothing` selects nothing."""

    __slots__ = ("_rest", "_text", "equalities", "nothing", "requirements")

    def __init__(self, requirements: Iterable[Requirement] = (), *, nothing: bool = False) -> None:
        self.requirements = tuple(sorted(requirements, key=lambda r: r.key))
        self.nothing = nothing
        self.equalities = tuple(
            (r.key, r.values[0])
            for r in self.requirements
            if r.operator in ("=", "==") or (r.operator == "in" and len(r.values) == 1)
        )
        equal = {("=", 1), ("==", 1), ("in", 1)}
        self._rest = tuple(r for r in self.requirements if (r.operator, len(r.values)) not in equal)
        self._text = ",".join(map(str, self.requirements))

    @property
    def everything(self) -> bool:
        """Whether it selects every object."""
        return not self.requirements and not self.nothing

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        """Whether an object with these labels is selected."""
        if self.nothing:
            return False
        if labels is None:
            labels = _NO_LABELS
        for key, value in self.equalities:
            if labels.get(key) != value:
                return False
        return all(r.matches(labels) for r in self._rest)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"LabelSelector({self._text!r})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, LabelSelector)
            and self.requirements == other.requirements
            and self.nothing == other.nothing
        )

    def __hash__(self) -> int:
        return hash((self.requirements, self.nothing))


_NO_LABELS: Final[dict[str, str]] = {}
EVERYTHING: Final = LabelSelector()
NOTHING: Final = LabelSelector(nothing=True)


@lru_cache(maxsize=_PARSE_CACHE)
def parse_labels(text: str) -> LabelSelector:
    """The selector of a text such as `app=web,tier in (a,b),!old`. Raises SelectorError."""
    return LabelSelector(_LabelParser(text).parse()) if text else EVERYTHING


def labels_selector(labels: Mapping[str, str] | None) -> LabelSelector:
    """The selector of a plain map (`spec.selector` of Services and ReplicationControllers)."""
    return LabelSelector(Requirement(k, "=", (v,)) for k, v in (labels or {}).items())


_STRUCTURED: Final = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


def structured(selector: Mapping[str, Any] | None) -> LabelSelector:
    """The selector of a LabelSelector structure; None selects nothing, an empty one everything.

    Raises SelectorError. Source: metav1 LabelSelector.
    """
    if selector is None:
        return NOTHING
    labels: Mapping[str, str] = selector.get("matchLabels") or {}
    expressions: Sequence[Mapping[str, Any]] = selector.get("matchExpressions") or ()
    if not expressions:
        return _structured_labels(tuple(labels.items())) if labels else EVERYTHING
    requirements = list(_structured_labels(tuple(labels.items())).requirements)
    for expression in expressions:
        operator = _STRUCTURED.get(expression.get("operator", ""))
        if operator is None:
            raise SelectorError(
                f"{_quote(expression.get('operator', ''))} is not a valid label selector operator"
            )
        requirements.append(
            requirement(expression.get("key", ""), operator, tuple(expression.get("values") or ()))
        )
    return LabelSelector(requirements)


@lru_cache(maxsize=_PARSE_CACHE)
def _structured_labels(labels: tuple[tuple[str, str], ...]) -> LabelSelector:
    return LabelSelector(requirement(k, "=", (v,)) for k, v in labels)


# Tokens of the text form. A word is everything up to white space or a special character.
_TOKEN: Final = re.compile(r"[ \t\r\n]*(?:(==|!=|[=!(),<>])|([^ \t\r\n=!(),<>]+)|$)")
_BINARY_OPERATORS: Final = "in, notin, =, ==, !=, gt, lt"
_END: Final = ("end", "")


class _LabelParser:
    """Recursive descent over the tokens, with Kubernetes' error words."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        for symbol, word in _TOKEN.findall(text):
            if symbol:
                self._tokens.append((symbol, symbol))
            elif word:
                self._tokens.append(("word", word))
        self._next = 0

    def parse(self) -> list[Requirement]:
        found: list[Requirement] = []
        while True:
            kind, literal = self._peek()
            if kind == "end":
                return found
            if kind not in ("word", "!"):
                raise SelectorError(
                    f"found '{literal}', expected: !, identifier, or 'end of string'"
                )
            try:
                found.append(self._requirement())
            except SelectorError as e:
                raise SelectorError(f"unable to parse requirement: {e}") from None
            kind, literal = self._take()
            if kind == "end":
                return found
            if kind != ",":
                raise SelectorError(f"found '{literal}', expected: ',' or 'end of string'")
            kind, literal = self._peek()
            if kind not in ("word", "!"):
                raise SelectorError(f"found '{literal}', expected: identifier after ','")

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._next] if self._next < len(self._tokens) else _END

    def _take(self) -> tuple[str, str]:
        token = self._peek()
        self._next += 1
        return token

    def _requirement(self) -> Requirement:
        kind, key = self._take()
        absent = kind == "!"
        if absent:
            kind, key = self._take()
        if kind != "word":
            raise SelectorError(f"found '{key}', expected: identifier")
        if faults := _key_faults("<nil>", key):
            raise SelectorError(faults[0])
        if absent:
            return requirement(key, "!")
        if self._peek()[0] in ("end", ","):
            return requirement(key, "exists")
        kind, operator = self._take()
        if kind == "word" and operator in _SETS:
            return requirement(key, operator, sorted(self._values()))
        if kind in ("=", "==", "!=", ">", "<"):
            operator = {">": "gt", "<": "lt"}.get(operator, operator)
            return requirement(key, operator, (self._exact_value(),))
        raise SelectorError(f"found '{operator}', expected: {_BINARY_OPERATORS}")

    def _exact_value(self) -> str:
        if self._peek()[0] in ("end", ","):
            return ""
        kind, literal = self._take()
        if kind != "word":
            raise SelectorError(f"found '{literal}', expected: identifier")
        return literal

    def _values(self) -> set[str]:
        kind, literal = self._take()
        if kind != "(":
            raise SelectorError(f"found '{literal}', expected: '('")
        kind, literal = self._peek()
        if kind == ")":
            self._take()
            return set()
        if kind not in ("word", ","):
            raise SelectorError(f"found '{literal}', expected: ',', ')' or identifier")
        values = self._list()
        self._take()  # the list ended before a closing parenthesis
        return values

    def _list(self) -> set[str]:
        """Words between commas; nothing before, between or after commas is the empty value."""
        values: set[str] = set()
        while True:
            kind, literal = self._take()
            if kind == "word":
                values.add(literal)
                following, literal = self._peek()
                if following == ")":
                    return values
                if following != ",":
                    raise SelectorError(f"found '{literal}', expected: ',' or ')'")
            elif kind == ",":
                if not values:
                    values.add("")
                following = self._peek()[0]
                if following == ")":
                    values.add("")
                    return values
                if following == ",":
                    self._take()
                    values.add("")
            else:
                raise SelectorError(f"found '{literal}', expected: ',', or identifier")


# --- field selectors -----------------------------------------------------------------------------


class FieldSelector:
    """All of `terms`: (field, `=` or `!=`, value). A field that an object lacks is ""."""

    __slots__ = ("_text", "terms")

    def __init__(self, terms: Iterable[tuple[str, str, str]] = ()) -> None:
        self.terms = tuple(terms)
        self._text = ",".join(f"{f}{op}{_escape(v)}" for f, op, v in self.terms)

    @property
    def everything(self) -> bool:
        return not self.terms

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Whether an object with these selectable fields is selected."""
        return all((fields.get(f, "") == v) == (op == "=") for f, op, v in self.terms)

    def exact(self, field: str) -> str | None:
        """The value that `field` must have, where the selector demands one (`metadata.name=x`)."""
        return next((v for f, op, v in self.terms if f == field and op == "="), None)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"FieldSelector({self._text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldSelector) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(self.terms)


EVERY_FIELD: Final = FieldSelector()


@lru_cache(maxsize=_PARSE_CACHE)
def parse_fields(text: str) -> FieldSelector:
    """The selector of a text such as `metadata.name=a,status.phase!=Running`.

    Raises SelectorError. A backslash escapes a comma, an equals sign or itself in a value.
    """
    if not text:
        return EVERY_FIELD
    terms = []
    for part in _split_unescaped(text):
        if not part:
            continue
        at = next((i for i in range(len(part)) if part[i] == "=" or part.startswith("!=", i)), -1)
        if at < 0:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{part}'")
        if part[at] == "!":
            terms.append((part[:at], "!=", _unescape(part[at + 2 :])))
        else:
            width = 2 if part.startswith("==", at) else 1
            terms.append((part[:at], "=", _unescape(part[at + width :])))
    return FieldSelector(terms)


def _split_unescaped(text: str) -> list[str]:
    parts, start, escaped = [], 0, False
    for i, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == ",":
            parts.append(text[start:i])
            start = i + 1
    parts.append(text[start:])
    return parts


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _unescape(value: str) -> str:
    if not any(c in value for c in "\\,="):
        return value
    out, escaped = [], False
    for char in value:
        if escaped:
            if char not in "\\,=":
                raise SelectorError(f"invalid field selector: invalid escape sequence: \\{char}")
            out.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        elif char in ",=":
            raise SelectorError(f"invalid field selector: unescaped character in value: {char}")
        else:
            out.append(char)
    if escaped:
        raise SelectorError("invalid field selector: invalid escape sequence: \\")
    return "".join(out)
