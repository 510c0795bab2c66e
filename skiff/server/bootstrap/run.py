"""Bringing a store to what every cluster has, at each start; keeping the server's own Service and the
default FlowSchemas and priority levels right from then on.

The objects go through the server's own handler, as the user system:apiserver, so that they get what
every object gets. Each wave's writes are under way at once and share group commits: one wave for the
namespaces and what has none, one for what lies in a namespace. What is there and right is not written.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

import orjson

from skiff.aio.http.message import Handler, Peer, Request
from skiff.aio.run import Started
from skiff.api.errors import ApiError, from_status
from skiff.api.resources import (
    ENDPOINTS,
    ENDPOINTSLICES,
    FLOWSCHEMAS,
    PRIORITYLEVELCONFIGURATIONS,
    SERVICES,
    Resource,
    by_kind,
)
from skiff.server.authz import policy
from skiff.server.authz.aggregation import aggregate
from skiff.server.bootstrap import flow_control, objects
from skiff.server.bootstrap.objects import DEFAULT, SERVICE_NAME, Facts
from skiff.server.bootstrap.reconcile import (
    reconcile_binding,
    reconcile_fields,
    reconcile_role,
    reconcile_spec,
)
from skiff.server.seams import Change, Objects

USER = ("system:apiserver", ("system:masters",))
REPAIR_ATTEMPTS = 5

_Object = dict[str, Any]
_Fix = Callable[[Mapping[str, Any], Mapping[str, Any]], _Object | None]

_CREATED_ONLY: _Fix = lambda expected, live: None  # noqa: E731 - what users may change freely


class Bootstrap:
    """See the module's text. `apply` once; `run` watches over the Service as a component."""

    def __init__(self, handler: Handler, stored: Objects, facts: Facts) -> None:
        self._handler = handler
        self._stored = stored
        self._facts = facts
        self._peer = Peer(("", 0), local=True, state={"user": USER})
        self._disturbed = asyncio.Event()

    async def apply(self) -> int:
        """Write what is missing or wrong; returns how many objects were written."""
        roles = list(policy.objects())
        aggregate([r for r in roles if r["kind"] == "ClusterRole"])
        first: list[tuple[_Object, _Fix]] = [
            *((o, _CREATED_ONLY) for o in objects.namespaces()),
            *((o, _CREATED_ONLY) for o in objects.priority_classes()),
            *_flow_defaults(),
            *((o, _rbac_fix(o)) for o in roles if "namespace" not in o["metadata"]),
            *((o, _CREATED_ONLY) for o in objects.service_cidr(self._facts)),
        ]
        second: list[tuple[_Object, _Fix]] = [
            *((o, _rbac_fix(o)) for o in roles if "namespace" in o["metadata"]),
            *((o, partial(_fix_fields, "data")) for o in objects.config_maps(self._facts)),
            *self._own_service(),
        ]
        return await self._write_all(first) + await self._write_all(second)

    async def run(self, started: Started) -> None:
        """Put the server's own Service and endpoints, and flow control's defaults, right whenever they
        are disturbed."""
        own = (SERVICES, ENDPOINTS, ENDPOINTSLICES)
        ends = [
            *(self._stored.subscribe(r, self._noticed) for r in own),
            self._stored.subscribe(FLOWSCHEMAS, self._noticed_flow),
            self._stored.subscribe(PRIORITYLEVELCONFIGURATIONS, self._noticed_flow),
        ]
        started()
        try:
            while True:
                await self._disturbed.wait()
                self._disturbed.clear()
                await self._repair()
        finally:
            for end in ends:
                end()

    async def _repair(self) -> None:
        for _ in range(REPAIR_ATTEMPTS):
            disturbed = False
            try:
                await self._write_all([*self._own_service(), *_flow_defaults()])
            except* ApiError:
                disturbed = True  # somebody else wrote in between: look again
            if not disturbed:
                return

    def _own_service(self) -> list[tuple[_Object, _Fix]]:
        service: tuple[_Object, _Fix] = (objects.service(self._facts), _fix_service)
        if ipaddress.ip_address(self._facts.advertise_address).is_loopback:
            return [service]  # no pod could use such an endpoint, and validation refuses it
        return [
            service,
            (objects.endpoints(self._facts), partial(_fix_fields, "subsets")),
            (objects.endpoint_slice(self._facts), _fix_slice),
        ]

    def _noticed(self, changes: Iterable[Change]) -> None:
        if any(c.name == SERVICE_NAME and c.namespace == DEFAULT for c in changes):
            self._disturbed.set()

    def _noticed_flow(self, changes: Iterable[Change]) -> None:
        if any(c.name in _FLOW_NAMES for c in changes):
            self._disturbed.set()

    async def _write_all(self, wanted: Iterable[tuple[_Object, _Fix]]) -> int:
        written = 0
        async with asyncio.TaskGroup() as group:
            for expected, fix in wanted:
                resource = by_kind(expected["apiVersion"], expected["kind"])
                meta = expected["metadata"]
                name, namespace = meta["name"], meta.get("namespace", "")
                live = self._stored.get(resource, name, namespace)
                change = expected if live is None else fix(expected, live)
                if change is None:
                    continue
                written += 1
                group.create_task(
                    self._write(resource, change, live), name=f"bootstrap {resource.plural}/{name}"
                )
        return written

    async def _write(self, resource: Resource, obj: _Object, live: _Object | None) -> None:
        meta = obj["metadata"]
        namespace = meta.get("namespace", "")
        if live is not None and obj.get("roleRef") != live.get("roleRef"):
            await self._call("DELETE", resource.path(namespace, meta["name"]), b"")
            live = None
        if live is None:
            made = await self._call("POST", resource.path(namespace), orjson.dumps(obj))
            if "status" in obj:  # a create does not take it
                await self._write_status(resource, orjson.loads(made), obj["status"])
        else:
            await self._call("PUT", resource.path(namespace, meta["name"]), orjson.dumps(obj))

    async def _write_status(self, resource: Resource, made: _Object, status: _Object) -> None:
        meta = made["metadata"]
        for condition in status["conditions"]:
            condition["lastTransitionTime"] = meta["creationTimestamp"]
        path = resource.path(meta.get("namespace", ""), meta["name"], "status")
        await self._call("PUT", path, orjson.dumps({**made, "status": status}))

    async def _call(self, method: str, path: str, body: bytes) -> bytes:
        headers = {"content-type": "application/json", "user-agent": "kube-apiserver"}
        outcome = self._handler(Request(method, path, "", headers, body, self._peer))
        response = await outcome if isinstance(outcome, Awaitable) else outcome
        answer = response.body if isinstance(response.body, bytes) else b"".join(response.body)
        if response.status >= 400:
            raise from_status(orjson.loads(answer), response.status)
        return answer


_FLOW_NAMES = frozenset(o["metadata"]["name"] for o in flow_control.objects())


def _flow_defaults() -> list[tuple[_Object, _Fix]]:
    return [(o, reconcile_spec) for o in flow_control.objects()]


def _rbac_fix(obj: Mapping[str, Any]) -> _Fix:
    return _fix_binding if obj["kind"].endswith("Binding") else reconcile_role


def _fix_binding(expected: Mapping[str, Any], live: Mapping[str, Any]) -> _Object | None:
    if expected["roleRef"] != live.get("roleRef"):
        return dict(expected)
    return reconcile_binding(expected, live)


def _fix_fields(field: str, expected: Mapping[str, Any], live: Mapping[str, Any]) -> _Object | None:
    return reconcile_fields(expected, live, field)


def _fix_slice(expected: Mapping[str, Any], live: Mapping[str, Any]) -> _Object | None:
    return reconcile_fields(expected, live, "endpoints", "ports")


def _fix_service(expected: Mapping[str, Any], live: Mapping[str, Any]) -> _Object | None:
    """Its ports and labels; the address is the allocator's to keep."""
    wanted = {**expected, "spec": {**(live.get("spec") or {}), "ports": expected["spec"]["ports"]}}
    return reconcile_fields(wanted, live, "spec")
