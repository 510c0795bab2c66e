"""Health checks for load balancers: one HTTP port a Service that asks for it.

A Service of type LoadBalancer with externalTrafficPolicy Local has a `healthCheckNodePort`. A load
balancer asks it on each node, and sends traffic only where 200 says that there are endpoints.
Source: kube-proxy's service health server (words and headers of its answer).
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from skiff.aio.http.message import Handler, Request, Response
from skiff.aio.http.server import Server
from skiff.api.views.service import Service

ANY = "0.0.0.0"  # noqa: S104 - load balancers come from outside

log = logging.getLogger("skiff.proxy")

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Check:
    """What one Service's port answers."""

    port: int
    local_endpoints: int


def health_check_port(service: Service) -> int:
    """The port that `service` wants its health told on; 0 for none."""
    spec = service.spec
    if spec.type != "LoadBalancer" or spec.external_traffic_policy != "Local":
        return 0
    return spec.health_check_node_port or 0


def answer(key: Key, local_endpoints: int, healthy: bool = True) -> Response:
    """kube-proxy's answer: 200 with endpoints on this node, else 503."""
    namespace, name = key
    body = (
        "{\n"
        '\t"service": {\n'
        f'\t\t"namespace": "{namespace}",\n'
        f'\t\t"name": "{name}"\n'
        "\t},\n"
        f'\t"localEndpoints": {local_endpoints},\n'
        f'\t"serviceProxyHealthy": {"true" if healthy else "false"}\n'
        "}"
    )
    return Response(
        status=200 if local_endpoints and healthy else 503,
        body=body.encode(),
        headers=(
            ("X-Content-Type-Options", "nosniff"),
            ("X-Load-Balancing-Endpoint-Weight", str(local_endpoints)),
        ),
    )


class HealthPorts:
    """The listening ports. `healthy` turns false while the packet filter refuses rules."""

    def __init__(self, address: str = ANY) -> None:
        self._address = address
        self._wanted: dict[Key, Check] = {}
        self._servers: dict[Key, tuple[int, Server]] = {}
        self.healthy = True

    def want(self, key: Key, check: Check | None) -> None:
        """Note what a Service wants; `sync` makes it so."""
        if check is None or not check.port:
            self._wanted.pop(key, None)
        else:
            self._wanted[key] = check

    @property
    def ports(self) -> Mapping[Key, int]:
        """Which ports listen."""
        return {key: port for key, (port, _) in self._servers.items()}

    async def sync(self) -> None:
        """Open and close ports until they are those that are wanted. A port that is taken is tried again
        with the next sync."""
        for key, (port, server) in list(self._servers.items()):
            check = self._wanted.get(key)
            if check is None or check.port != port:
                del self._servers[key]
                await server.close(grace_s=0.5)
        for key, check in self._wanted.items():
            if key in self._servers:
                continue
            server = Server(self._handler(key))
            try:
                await server.listen(self._address, check.port)
            except OSError as e:
                log.error(
                    "node %s: failed to start healthcheck %r on port %d: %s",
                    self._address, "/".join(key), check.port, e.strerror,
                )  # fmt: skip
            else:
                self._servers[key] = (check.port, server)

    async def close(self) -> None:
        """Close all ports."""
        self._wanted.clear()
        await self.sync()

    def _handler(self, key: Key) -> Handler:
        def handle(_: Request) -> Response:
            check = self._wanted.get(key)
            return answer(key, check.local_endpoints if check else 0, self.healthy)

        return handle
