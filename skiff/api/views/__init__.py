"""Views: frozen typed structs that components read objects through, decoded straight from bytes.

One module a group (the core group in several; `core` re-exports them all). A view holds the fields
that Skiff's components use, which is nearly all of each kind: left out are `managedFields` and the
volume sources of in-tree cloud drivers, which Kubernetes has removed. What is absent on the wire
is the zero value here (`""`, `0`, `()`, `{}`, `False`), or None where absent means something else
than zero. Times stay text (RFC 3339), quantities text, int-or-string fields `int | str`.
A top-level view names its resource in `RESOURCE`.
"""

from skiff.api.views.base import View

__all__ = ["View"]
