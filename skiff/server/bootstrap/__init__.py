"""What every cluster has from its first start: namespaces, policy, priority classes, its own Service."""

from skiff.server.bootstrap.objects import Facts
from skiff.server.bootstrap.run import Bootstrap

__all__ = ["Bootstrap", "Facts"]
