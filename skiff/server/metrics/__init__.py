"""The server's own metrics, in Prometheus' text format at `/metrics`."""

from skiff.server.metrics.exposition import CONTENT_TYPE, Counter, Gauge, Histogram, Registry
from skiff.server.metrics.requests import RequestMetrics
from skiff.server.metrics.serve import Metrics

__all__ = [
    "CONTENT_TYPE",
    "Counter",
    "Gauge",
    "Histogram",
    "Metrics",
    "Registry",
    "RequestMetrics",
]
