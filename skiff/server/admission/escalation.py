"""The RBAC escalation check as an admission rule (`authz/escalation.py` decides)."""

from skiff.api.resources import Resource
from skiff.server.admission.rule import CREATE, UPDATE, Object, Rule
from skiff.server.authz.escalation import GROUP, EscalationCheck
from skiff.server.seams import Attributes


class Escalation(Rule):
    """Roles and bindings give nobody more than their writer has."""

    name = "RBACEscalation"

    def __init__(self, check: EscalationCheck) -> None:
        self._check = check

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        return resource.group == GROUP and operation in (CREATE, UPDATE) and not subresource

    def validate(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        self._check.check(attributes, obj, old)
