"""The OpenAPI documents: v2 (JSON and gnostic's protobuf) at /openapi/v2, v3 by group version.

Built when asked for, from the table of resources (paths) and the compiled schemas (definitions);
kept compressed for a while, then dropped.

Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition.
"""

from skiff.server.openapi.serve import OpenApi

__all__ = ["OpenApi"]
