"""A ServiceAccount named `default` in every namespace, at any time.

Source: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#serviceaccount-controller.
"""

from typing import ClassVar, Final

from skiff.api.errors import AlreadyExists, ApiError
from skiff.api.resources import SERVICEACCOUNTS
from skiff.api.views.core import Namespace, ServiceAccount
from skiff.client.reconciler import Key, Reconciler, Result
from skiff.controllers.context import Context
from skiff.controllers.podcontrol import namespace_ends

DEFAULT: Final = "default"


class ServiceAccountReconciler(Reconciler):
    """Keys are namespaces."""

    name: ClassVar[str] = "serviceaccount"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=10)
        self._client = context.client
        self._accounts = context.informers.of(ServiceAccount)
        self._namespaces = context.informers.of(Namespace)
        self.follow(self._namespaces)
        self.needs(self._accounts)
        self._accounts.subscribe(self._account_changed)

    def _account_changed(self, old: ServiceAccount | None, new: ServiceAccount | None) -> None:
        if new is None and old is not None and old.metadata.name == DEFAULT:
            self.queue.add(Key("", old.metadata.namespace))

    async def reconcile(self, key: Key) -> Result | None:
        """Create the account where it is missing."""
        namespace = self._namespaces.get(key.name)
        if namespace is None or namespace.status.phase != "Active":
            return None
        if self._accounts.get(DEFAULT, key.name) is not None:
            return None
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": DEFAULT, "namespace": key.name},
        }
        try:
            await self._client.create(SERVICEACCOUNTS, account, key.name)
        except AlreadyExists:
            pass
        except ApiError as e:
            if not namespace_ends(e):
                raise
        return None
