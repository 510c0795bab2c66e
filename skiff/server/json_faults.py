"""What is wrong with a text that is no JSON, in the words of Go's decoder, which clients know.

Source: the syntax errors of Go's encoding/json, as the API server passes them on.
"""

import json
from typing import Final

_END: Final = "unexpected end of JSON input"
_AFTER: Final = {
    "Expecting value": "looking for beginning of value",
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Illegal trailing comma before end of object": "looking for beginning of object key string",
    "Illegal trailing comma before end of array": "looking for beginning of value",
    "Expecting ':' delimiter": "after object key",
    "Extra data": "after top-level value",
    "Invalid control character at": "in string literal",
    "Invalid \\escape": "in string escape code",
    "Invalid \\uXXXX escape": "in \\u hexadecimal character escape",
}


def json_fault(body: bytes, found: str) -> str:
    """Why `body` is no JSON; `found` (another decoder's word) where only that one refuses it."""
    text = body.decode("utf-8", "replace")
    if not text.strip(" \t\r\n"):
        return _END
    try:
        json.loads(text)
    except json.JSONDecodeError as e:
        return _told(text, e)
    except RecursionError:
        return "exceeded max depth"
    except ValueError:
        pass  # a number of too many digits is none to this decoder
    return found


def _told(text: str, e: json.JSONDecodeError) -> str:
    at = e.pos
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    if at >= len(text) or e.msg.startswith("Unterminated string"):
        return _END
    where = _AFTER.get(e.msg)
    if where is None:
        where = f"after {_container(text[:at])}"
    return f"invalid character {_quoted(text[at])} {where}"


def _container(before: str) -> str:
    """What the innermost open bracket before a missing comma is: an object's pair or an array's item."""
    in_string = False
    skipped = False
    opened: list[str] = []
    for c in before:
        if in_string:
            if skipped:
                skipped = False
            elif c == "\\":
                skipped = True
            elif c == '"':
                in_string = False
        elif c == '"':
            in_string = True
        elif c in "{[":
            opened.append(c)
        elif c in "}]" and opened:
            opened.pop()
    return "object key:value pair" if opened and opened[-1] == "{" else "array element"


def _quoted(c: str) -> str:
    if c == "'":
        return "'\\''"
    if c == "\\":
        return "'\\\\'"
    return f"'{c}'" if c.isprintable() else f"'\\x{ord(c):02x}'"
