"""The field numbers and zero marks of Kubernetes' messages: a text file a definition package, read when needed.

A line is a message and its fields, `Pod metadata=1 spec=2 status=3`; a line that begins with blanks
goes on with the one before. Names are those of JSON; types are in the schemas. Marks:

- `hostNetwork=11?`: not a pointer, and left out of JSON when zero: a zero on the wire is no value.
  (Messages always carry fields that are no pointers; a pointer's zero was meant.)
- `+VolumeSource=2`: a message of the same file whose fields stand in the outer JSON object.

A message without a line has no fields.

Source: the `generated.proto` files of Kubernetes' API, https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).resolve().parent / "numbers"


class Row(NamedTuple):
    """One field of a message."""

    name: str
    """The JSON name, or the inlined message's."""
    number: int
    inline: bool
    zero_is_absent: bool


@cache
def _lines(package: str) -> dict[str, str]:
    """Each message's fields as text. Raises KeyError for a package without a table."""
    found: dict[str, str] = {}
    message = ""
    try:
        text = (_FOLDER / f"{package}.txt").read_text("ascii")
    except FileNotFoundError:
        raise KeyError(package) from None
    for line in text.splitlines():
        if line.startswith(" "):
            found[message] += line
        else:
            message, _, found[message] = line.partition(" ")
    return found


def known(package: str) -> bool:
    """Whether there are numbers for this package (`io.k8s.api.core.v1`)."""
    return (_FOLDER / f"{package}.txt").exists()


def rows(package: str, message: str) -> list[Row]:
    """A message's fields, by number. Raises KeyError for a package without a table."""
    return [_row(word) for word in _lines(package).get(message, "").split()]


def _row(word: str) -> Row:
    name, _, number = word.partition("=")
    return Row(
        name.removeprefix("+"),
        int(number.rstrip("?")),
        name.startswith("+"),
        number.endswith("?"),
    )
