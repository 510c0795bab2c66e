"""Following FlowSchemas and PriorityLevelConfigurations; what the chain and the metrics ask.

Classifications are remembered by user and request until an object changes, so that one costs a look-up.
"""

from typing import Final

from skiff.api.resources import FLOWSCHEMAS, PRIORITYLEVELCONFIGURATIONS
from skiff.server.deadline import LONG_RUNNING
from skiff.server.flow.classify import distinguisher, matches, order
from skiff.server.flow.levels import Flow, Hall
from skiff.server.metrics.exposition import Gauge, Labels
from skiff.server.request import RequestInfo
from skiff.server.seams import Call, Objects, User

CACHED: Final = 8192
"""Remembered classifications; past that all are forgotten."""


class FlowControl:
    """The server's flow control."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.hall = Hall()
        self._flows: dict[str, Flow] = {}
        self._ordered: list[tuple[dict[str, object], Flow]] = []
        self._known: dict[tuple[object, ...], Flow | None] = {}
        self._stale = True
        for resource in (FLOWSCHEMAS, PRIORITYLEVELCONFIGURATIONS):
            objects.subscribe(resource, self._changed)

    def classify(self, user: User, info: RequestInfo) -> Flow | None:
        """The flow that a request belongs to; None for what is not limited: long-running requests
        other than watches, and everything as long as there are no schemas."""
        if info.subresource in LONG_RUNNING:
            return None
        if info.is_resource:
            key = (
                user.name, user.groups, info.verb, info.group, info.resource, info.subresource,
                info.namespace,
            )  # fmt: skip
        else:
            key = (user.name, user.groups, info.verb, info.path)  # type: ignore[assignment]
        try:
            return self._known[key]
        except KeyError:
            found = self._find(user, info)
        if len(self._known) >= CACHED:
            self._known.clear()
        self._known[key] = found
        return found

    async def seat(self, call: Call, flow: Flow) -> None:
        """Wait for a seat. Raises Rejected."""
        by = flow.distinguish
        value = call.user.name if by == "ByUser" else call.info.namespace if by else ""
        await self.hall.seat(flow, value)

    def gauges(self) -> list[Gauge]:
        """The metrics, by Kubernetes' names."""
        flow = ("flow_schema", "priority_level")
        head = "apiserver_flowcontrol_"
        return [
            Gauge(
                head + "nominal_limit_seats",
                "[BETA] Nominal number of execution seats configured for each priority level",
                ("priority_level",),
                lambda: {
                    (n,): 0 if lv.exempt else lv.seats for n, lv in self._fresh().levels.items()
                },
            ),
            Gauge(
                head + "current_executing_requests",
                "[BETA] Number of requests in initial (for a WATCH) or any (for a non-WATCH)"
                " execution stage in the API Priority and Fairness subsystem",
                flow,
                lambda: self._count("executing"),
            ),
            Gauge(
                head + "current_inqueue_requests",
                "[BETA] Number of requests currently pending in queues of the API Priority and"
                " Fairness subsystem",
                flow,
                lambda: self._count("waiting"),
            ),
            Gauge(
                head + "dispatched_requests_total",
                "[BETA] Number of requests executed by API Priority and Fairness subsystem",
                flow,
                lambda: self._count("dispatched"),
                "counter",
            ),
            Gauge(
                head + "rejected_requests_total",
                "[BETA] Number of requests rejected by API Priority and Fairness subsystem",
                (*flow, "reason"),
                lambda: {
                    (f.name, f.level.name, reason): count
                    for f in self._flows.values()
                    for reason, count in f.rejected.items()
                },
                "counter",
            ),
        ]

    def _count(self, what: str) -> dict[Labels, float]:
        self._fresh()
        return {(f.name, f.level.name): getattr(f, what) for f in self._flows.values()}

    def _changed(self, changes: object) -> None:
        self._stale = True
        self._known.clear()

    def _find(self, user: User, info: RequestInfo) -> Flow | None:
        self._fresh()
        return next((f for schema, f in self._ordered if matches(schema, user, info)), None)

    def _fresh(self) -> Hall:
        """Take over changed objects. A schema whose level does not exist matches nothing."""
        if not self._stale:
            return self.hall
        self._stale = False
        self.hall.configure(self._objects.list(PRIORITYLEVELCONFIGURATIONS))
        old, self._flows, self._ordered = self._flows, {}, []
        for schema in order(self._objects.list(FLOWSCHEMAS)):
            meta = schema["metadata"]
            level = self.hall.levels.get(schema["spec"]["priorityLevelConfiguration"]["name"])
            if level is None:
                continue
            flow = Flow(meta["name"], meta.get("uid", ""), level, distinguisher(schema))
            before = old.get(flow.name)
            if before is not None:
                flow.dispatched, flow.rejected = before.dispatched, before.rejected
            self._flows[flow.name] = flow
            self._ordered.append((dict(schema), flow))
        return self.hall
