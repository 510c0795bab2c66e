"""Running the rules.

For each sort of request (operation, resource, subresource) the rules that concern it are worked out
once; a request then costs one look-up and those rules' own work. Rules that wait (webhooks,
policies) come after the plain ones, and the last rules (quota) after those, since what waits may
still change the object: the chain then gives back a coroutine, else None.
"""

from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple

from skiff.server.admission.rule import RemoteRule, Rule, Step
from skiff.server.seams import Attributes

_PLANS_MAX = 20_000


class _Plan(NamedTuple):
    admit: tuple[Step, ...]
    validate: tuple[Step, ...]
    last: tuple[Step, ...]


class AdmissionChain:
    """The server's `Admission`. `rules` in order; `last` run after everything, `remote` between."""

    def __init__(
        self,
        rules: Sequence[Rule],
        last: Sequence[Rule] = (),
        remote: Sequence[RemoteRule] = (),
    ) -> None:
        self.rules = tuple(rules)
        self.last = tuple(last)
        self.remote = tuple(remote)
        self._plans: dict[tuple[str, str, str, str], _Plan] = {}

    def admit(self, attributes: Attributes, obj: Any, old: Any) -> Awaitable[None] | None:
        """Let every rule change `obj` or refuse. Raises ApiError."""
        for step in self._plan(attributes).admit:
            step(attributes, obj, old)
        waiting = [r for r in self.remote if r.interested(attributes)] if self.remote else ()
        return self._wait(waiting, "admit", attributes, obj, old) if waiting else None

    def validate(self, attributes: Attributes, obj: Any, old: Any) -> Awaitable[None] | None:
        """Let every rule judge the final object. Raises ApiError."""
        plan = self._plan(attributes)
        for step in plan.validate:
            step(attributes, obj, old)
        waiting = [r for r in self.remote if r.interested(attributes)] if self.remote else ()
        if waiting:
            return self._wait(waiting, "validate", attributes, obj, old, plan.last)
        for step in plan.last:
            step(attributes, obj, old)
        return None

    async def _wait(
        self,
        waiting: Sequence[RemoteRule],
        method: str,
        attributes: Attributes,
        obj: Any,
        old: Any,
        last: tuple[Step, ...] = (),
    ) -> None:
        for rule in waiting:
            await getattr(rule, method)(attributes, obj, old)
        for step in last:
            step(attributes, obj, old)

    def _plan(self, attributes: Attributes) -> _Plan:
        resource = attributes.resource
        key = (attributes.operation, resource.group, resource.plural, attributes.subresource)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _PLANS_MAX:
                self._plans.clear()
            plan = self._plans[key] = self._work_out(attributes)
        return plan

    def _work_out(self, a: Attributes) -> _Plan:
        concerned = [r for r in self.rules if r.concerns(a.operation, a.resource, a.subresource)]
        last = [r for r in self.last if r.concerns(a.operation, a.resource, a.subresource)]
        return _Plan(
            tuple(r.admit for r in concerned if type(r).admit is not Rule.admit),
            tuple(r.validate for r in concerned if type(r).validate is not Rule.validate),
            tuple(r.validate for r in last),
        )
