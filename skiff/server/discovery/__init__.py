"""Discovery: which groups, versions and resources the server has, and what version it is."""

from skiff.server.discovery.catalog import Catalog, Group
from skiff.server.discovery.handlers import Discovery
from skiff.server.discovery.version import version_info

__all__ = ["Catalog", "Discovery", "Group", "version_info"]
