"""The resourceVersion inside an object's bytes: put in by the store when it numbers a write.

A stored object is JSON that begins with apiVersion, kind and `"metadata":{`; the stamp goes right
behind that brace, so it is found without parsing.
"""

_METADATA = b'"metadata":{'
_STAMP = b'"metadata":{"resourceVersion":"'


def stamp(value: bytes, revision: int) -> bytes:
    """`value` with its resourceVersion spliced in (the store's Stamp)."""
    at = value.index(_METADATA) + 12
    return b'%b"resourceVersion":"%d",%b' % (value[:at], revision, value[at:])


def restamp(value: bytes, revision: int) -> bytes:
    """A stamped value with another resourceVersion, as the last event of an object carries."""
    at = value.index(_STAMP) + 31
    return b"%b%d%b" % (value[:at], revision, value[value.index(b'"', at) :])


def revision_of(value: bytes) -> int:
    """The resourceVersion of a stamped value; 0 where there is none (a dry run's)."""
    at = value.find(_STAMP) + 31
    if at < 31:
        return 0
    return int(value[at : value.index(b'"', at)])
