"""Pod specs that were looked at before and found to be in order.

The pods of one template differ in metadata only, and a pod is validated again with every write of
its status; so what was found of a spec is remembered under its bytes. Only the good answer is: a fault
or a warning is worked out each time.

The volume of the service account's token has a name of its own in each pod (`kube-api-access-` and
five characters). It stands in a key as a placeholder that no JSON contains. Two specs with one key
so differ in that name alone, everywhere alike, and no rule tells such names apart.
"""

from typing import Any, Final

import orjson

SPECS_MAX: Final = 512
"""Remembered; then the oldest goes."""
BYTES_MAX: Final = 8192
"""Larger specs are looked at each time."""

_TOKEN: Final = b"kube-api-access-"
_NAME_BYTES: Final = len(_TOKEN) + 5
_PLACEHOLDER: Final = b"\0"


def key_of(spec: Any) -> bytes:
    """What a spec is remembered under; b"" if it is not to be."""
    data = orjson.dumps(spec)
    if len(data) > BYTES_MAX:
        return b""
    at = data.find(_TOKEN)
    if at < 0:
        return data
    name = data[at : at + _NAME_BYTES]
    suffix = name[len(_TOKEN) :]
    if len(suffix) == 5 and suffix.isalnum() and suffix == suffix.lower():
        return data.replace(name, _PLACEHOLDER)
    return data


class Known:
    """Keys of specs of which one thing is known."""

    def __init__(self) -> None:
        self._keys: dict[bytes, None] = {}

    def knows(self, key: bytes) -> bool:
        return key in self._keys

    def note(self, key: bytes) -> None:
        if not key:
            return
        if len(self._keys) >= SPECS_MAX:
            del self._keys[next(iter(self._keys))]
        self._keys[key] = None


FAULTLESS: Final = Known()
"""Specs that `validate_body` has no fault to find in."""
HARMLESS: Final = Known()
"""Specs that there is nothing to warn of."""
