"""The service account issuer's documents, for whoever checks tokens outside the cluster.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#service-account-issuer-discovery.
"""

import orjson

from skiff.aio.http.message import Response
from skiff.server.authn.tokens import ServiceAccountTokens
from skiff.server.seams import Call, PathHandler

CONFIGURATION_PATH = "/.well-known/openid-configuration"
KEYS_PATH = "/openid/v1/jwks"
_MAX_AGE = (("cache-control", "public, max-age=3600"),)


class IssuerDiscovery:
    """Serves the OpenID configuration and the public keys."""

    def __init__(self, tokens: ServiceAccountTokens, issuer: str, keys_url: str) -> None:
        self._tokens = tokens
        self._issuer = issuer
        self._keys_url = keys_url

    def handlers(self) -> dict[str, PathHandler]:
        """By path."""
        return {CONFIGURATION_PATH: self.configuration, KEYS_PATH: self.keys}

    def configuration(self, call: Call) -> Response:
        """`/.well-known/openid-configuration`."""
        document = {
            "issuer": self._issuer,
            "jwks_uri": self._keys_url,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted(
                {key.algorithm for key in self._tokens.keys}
            ),
        }
        return Response(200, orjson.dumps(document), headers=_MAX_AGE)

    def keys(self, call: Call) -> Response:
        """`/openid/v1/jwks`."""
        document = {"keys": [key.jwk() for key in self._tokens.keys]}
        return Response(
            200, orjson.dumps(document), content_type="application/jwk-set+json", headers=_MAX_AGE
        )
