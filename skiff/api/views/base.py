"""What every view is: a frozen struct with Kubernetes' field names on the wire."""

import msgspec


class View(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", gc=False):
    """A typed, read-only window on an object.

    The garbage collector does not track views (`gc=False`): they are trees, so reference counting
    frees them. Never encode a view over a stored object: fields it does not name would be lost.
    """
