"""The cluster's keys and certificates: who trusts whom, on files.

`ensure` makes whatever is missing in a `pki/` directory, renews what is near its end or lacks a
name, and writes the kubeconfigs. A warm start reads one index and hashes the small files; it never
imports `cryptography`, which is needed only when something must be made or parsed.
"""

from skiff.server.pki.authority import (
    DamagedError,
    Identity,
    Layout,
    Pki,
    Request,
    ensure,
    host_addresses,
)
from skiff.server.pki.kubeconfig import Access, render_kubeconfig, write_kubeconfig

__all__ = [
    "Access",
    "DamagedError",
    "Identity",
    "Layout",
    "Pki",
    "Request",
    "ensure",
    "host_addresses",
    "render_kubeconfig",
    "write_kubeconfig",
]
