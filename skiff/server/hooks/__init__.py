"""Hooks: what the server does around the writes of single kinds, beyond the kind's own strategy.

A strategy (`api/kinds`) is pure and knows one object. A hook may look at others and hold state of the
server: allocate a cluster IP, decide that a namespace with finalizers stays. One row a kind that
has any; everything else has the plain `Hooks`.
"""

from skiff.server.hooks.base import Finish, Hooks
from skiff.server.hooks.table import hooks_for

__all__ = ["Finish", "Hooks", "hooks_for"]
