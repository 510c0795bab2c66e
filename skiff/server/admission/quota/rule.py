"""ResourceQuota as an admission rule. It runs last: what it charges is what will be written."""

from collections.abc import Mapping

from skiff.api.quantity import Quantity
from skiff.api.resources import Resource
from skiff.server.admission.quota.ledger import Key, Ledger, Quota
from skiff.server.admission.quota.usage import CONSTRAINED, ZERO, Usage, unspecified
from skiff.server.admission.rule import CREATE, UPDATE, Object, Rule, object_name, refuse
from skiff.server.seams import Attributes

# Kinds whose updates can use more than before.
_UPDATED = frozenset({("", "persistentvolumeclaims"), ("", "services")})
_PODS = ("", "pods")


class ResourceQuota(Rule):
    """See the package's text."""

    name = "ResourceQuota"

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        if not resource.namespaced or not resource.persisted:
            return False
        if operation == CREATE:
            return not subresource
        if operation != UPDATE:
            return False
        storage = resource.storage
        return (storage in _UPDATED and not subresource) or (
            storage == _PODS and subresource == "resize"
        )

    def validate(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        account = self._ledger.account(attributes.namespace)
        if account is None:
            return
        storage = attributes.resource.storage
        by_quota = self._ledger.usage(account, storage, obj)
        if not by_quota:
            return
        key: Key = (storage, object_name(attributes, obj))
        before = self._ledger.held(account, key)
        if attributes.operation == CREATE and before:
            return  # there is one of that name already: the write will fail
        for name, usage in sorted(by_quota.items()):
            quota = account.quotas[name]
            if storage == _PODS and attributes.operation == CREATE:
                self._check_specified(attributes, obj, quota)
            self._check_amounts(attributes, obj, quota, usage, before.get(name, {}))
        if not attributes.dry_run:
            self._ledger.reserve(account, key, by_quota)

    @staticmethod
    def _check_specified(attributes: Attributes, obj: Object, quota: Quota) -> None:
        if any(n in quota.hard for n in CONSTRAINED):
            missing = unspecified(obj, quota.hard)
            if missing:
                text = f"failed quota: {quota.name}: must specify {missing}"
                raise refuse(attributes, obj, text)

    @staticmethod
    def _check_amounts(
        attributes: Attributes,
        obj: Object,
        quota: Quota,
        usage: Usage,
        before: Mapping[str, Quantity],
    ) -> None:
        delta = {n: amount - before.get(n, ZERO) for n, amount in usage.items()}
        exceeded = sorted(
            n
            for n, amount in delta.items()
            if amount > ZERO and quota.used[n] + amount > quota.hard[n]
        )
        if exceeded:

            def shown(amounts: Mapping[str, Quantity]) -> str:
                return ",".join(f"{n}={amounts[n]}" for n in exceeded)

            raise refuse(
                attributes,
                obj,
                f"exceeded quota: {quota.name}, requested: {shown(delta)}, used:"
                f" {shown(quota.used)}, limited: {shown(quota.hard)}",
            )
