"""Secrets of type kubernetes.io/service-account-token: each gets a token of its service account that
has no end, and goes with the account.

Source: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#token-controller.
Nothing is done where no signing key was handed in, as in Kubernetes.
"""

import base64
import contextlib
from typing import Any, ClassVar, Final

from skiff.api.errors import Conflict, NotFound
from skiff.api.resources import SECRETS, SERVICEACCOUNTS
from skiff.api.views.core import Secret, ServiceAccount
from skiff.client.client import Object
from skiff.client.reconciler import Key, Reconciler, Result
from skiff.controllers.context import Context, Sign

TYPE: Final = "kubernetes.io/service-account-token"
NAME: Final = "kubernetes.io/service-account.name"
UID: Final = "kubernetes.io/service-account.uid"
CA, NAMESPACE, TOKEN = "ca.crt", "namespace", "token"

_ISSUER: Final = "kubernetes/serviceaccount"
_CLAIM: Final = "kubernetes.io/serviceaccount"
_OF_ACCOUNT: Final = "service account tokens: whose they are"
_NAMED: Final = "service account tokens: who names them"


class ServiceAccountTokens(Reconciler):
    """Keys are secrets."""

    name: ClassVar[str] = "serviceaccount-tokens"

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._client = context.client
        self._sign = context.options.sign_token
        self._ca = _encoded(context.options.ca_pem) if context.options.ca_pem else ""
        if self._sign is None:
            return
        self._secrets = context.informers.of(Secret, field_selector=f"type={TYPE}")
        self._secrets.add_index(_OF_ACCOUNT, _account_key)
        self._accounts = context.informers.of(ServiceAccount)
        self._accounts.add_index(
            _NAMED, lambda a: tuple(Key(a.metadata.namespace, s.name) for s in a.secrets)
        )
        self.follow(self._secrets)
        self.needs(self._accounts)
        self._accounts.subscribe(self._account_changed)

    def _account_changed(self, old: ServiceAccount | None, new: ServiceAccount | None) -> None:
        for account in (old, new):
            if account is None:
                continue
            owner = Key(account.metadata.namespace, account.metadata.name)
            for secret in self._secrets.by_index(_OF_ACCOUNT, owner):
                self.queue.add(Key(secret.metadata.namespace, secret.metadata.name))

    async def reconcile(self, key: Key) -> Result | None:
        """Fill the secret in; delete it where its account is gone."""
        sign = self._sign
        assert sign is not None
        secret = self._secrets.get(key.name, key.namespace)
        if secret is None:
            await self._take_from_accounts(key)
            return None
        with contextlib.suppress(NotFound, Conflict):
            account = await self._account_of(secret)
            if account is None:
                await self._client.delete(SECRETS, key.name, key.namespace, uid=secret.metadata.uid)
            elif self._lacks(secret.data):
                await self._client.update(
                    SECRETS, key.name, key.namespace, lambda s: self._filled(s, account, sign)
                )
        return None

    async def _account_of(self, secret: Secret) -> ServiceAccount | None:
        """The account that the secret names; asked for where the cache has none, it may be new."""
        meta = secret.metadata
        name = meta.annotations.get(NAME, "")
        found = self._accounts.get(name, meta.namespace)
        if found is None and name:
            try:
                found = await self._client.read(ServiceAccount, name, meta.namespace)
            except NotFound:
                return None
        uid = meta.annotations.get(UID, "")
        return found if found is not None and uid in ("", found.metadata.uid) else None

    def _lacks(self, data: dict[str, str]) -> bool:
        stale_ca = bool(self._ca) and data.get(CA) != self._ca
        return stale_ca or not data.get(NAMESPACE) or not data.get(TOKEN)

    def _filled(self, secret: Object, account: ServiceAccount, sign: Sign) -> Object | None:
        """With what it lacks; None where it lacks nothing, or is another one by now."""
        meta, data = dict(secret["metadata"]), dict(secret.get("data") or {})
        owner = account.metadata
        annotations = dict(meta.get("annotations") or {})
        if secret.get("type") != TYPE or annotations.get(NAME) != owner.name:
            return None
        if not self._lacks(data):
            return None
        annotations |= {NAME: owner.name, UID: owner.uid}
        if self._ca:
            data[CA] = self._ca
        data[NAMESPACE] = data.get(NAMESPACE) or _encoded(meta["namespace"])
        data[TOKEN] = data.get(TOKEN) or _encoded(sign(_claims(owner, meta["name"])))
        return {**secret, "metadata": {**meta, "annotations": annotations}, "data": data}

    async def _take_from_accounts(self, key: Key) -> None:
        """Accounts that list the secret among theirs do so no more."""

        def without(account: Object) -> Object | None:
            listed = account.get("secrets") or []
            left = [s for s in listed if s.get("name") != key.name]
            return None if left == listed else {**account, "secrets": left}

        for account in self._accounts.by_index(_NAMED, key):
            with contextlib.suppress(NotFound, Conflict):
                await self._client.update(
                    SERVICEACCOUNTS, account.metadata.name, key.namespace, without
                )


def _account_key(secret: Secret) -> tuple[Key, ...]:
    return (Key(secret.metadata.namespace, secret.metadata.annotations.get(NAME, "")),)


def _claims(account: Any, secret: str) -> dict[str, Any]:
    """What a token says that a Secret carries: for ever, for every audience of the server."""
    return {
        "iss": _ISSUER,
        f"{_CLAIM}/namespace": account.namespace,
        f"{_CLAIM}/secret.name": secret,
        f"{_CLAIM}/service-account.name": account.name,
        f"{_CLAIM}/service-account.uid": account.uid,
        "sub": f"system:serviceaccount:{account.namespace}:{account.name}",
    }


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
