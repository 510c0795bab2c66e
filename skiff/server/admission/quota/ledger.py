"""The account of what each namespace with quotas uses.

Theory: for a namespace that has a quota, the ledger holds what each counted object uses, by object.
It follows the visible changes; a write that was admitted but is not visible yet is held as pending
under the object's key, so that two writes at once cannot both take the last place. What is pending
becomes visible, or is dropped after `PENDING_S` (its write failed). Namespaces without quotas cost a
dict look-up.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson

from skiff.aio.clock import Clock
from skiff.api.quantity import Quantity, parse
from skiff.api.resources import RESOURCEQUOTAS, TABLE, Resource
from skiff.server.admission.quota.usage import (
    ZERO,
    Storage,
    Usage,
    in_scopes,
    storage_of,
    usage_of,
)
from skiff.server.seams import Change, Objects

PENDING_S = 30.0

Key = tuple[Storage, str]
"""(storage, name) of an object in a namespace."""

_BY_STORAGE: dict[Storage, Resource] = {r.storage: r for r in TABLE if r.persisted}


@dataclass(slots=True)
class Quota:
    """One quota: its limits, what it counts, and what is used of it."""

    name: str
    spec: Mapping[str, Any]
    hard: Usage
    storages: frozenset[Storage]
    used: Usage


@dataclass(slots=True)
class _Held:
    """What one object uses, of which quotas (by name)."""

    by_quota: dict[str, Usage]
    until: float = float("inf")


@dataclass(slots=True)
class Account:
    """One namespace."""

    quotas: dict[str, Quota]
    visible: dict[Key, _Held] = field(default_factory=dict)
    pending: dict[Key, _Held] = field(default_factory=dict)

    def charge(self, held: _Held, sign: int) -> None:
        """Add (1) or take away (-1) what an object uses."""
        for name, usage in held.by_quota.items():
            used = self.quotas[name].used
            for resource, amount in usage.items():
                used[resource] = used[resource] + (amount if sign > 0 else -amount)


class Ledger:
    """See the module's text."""

    def __init__(self, objects: Objects, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock
        self._accounts: dict[str, Account | None] = {}
        self._followed: set[Storage] = set()
        self.changed: list[Callable[[str], None]] = []
        """Called with a namespace whose quotas, or use of them, changed."""
        objects.subscribe(RESOURCEQUOTAS, self._quotas_changed)

    def account(self, namespace: str) -> Account | None:
        """The namespace's account; None where it has no quotas."""
        if namespace in self._accounts:
            account = self._accounts[namespace]
        else:
            account = self._accounts[namespace] = self._open(namespace)
        if account is not None and account.pending:
            self._expire(account)
        return account

    def namespaces(self) -> set[str]:
        """Every namespace with a quota."""
        return {q["metadata"]["namespace"] for q in self._objects.list(RESOURCEQUOTAS)}

    def usage(self, account: Account, storage: Storage, obj: Mapping[str, Any]) -> dict[str, Usage]:
        """What an object uses of each quota that counts it."""
        whole: Usage | None = None
        out: dict[str, Usage] = {}
        for quota in account.quotas.values():
            if storage not in quota.storages or not in_scopes(quota.spec, storage, obj):
                continue
            if whole is None:
                whole = usage_of(storage, obj, self._clock.now())
            out[quota.name] = {n: a for n, a in whole.items() if n in quota.hard}
        return out

    def held(self, account: Account, key: Key) -> dict[str, Usage]:
        """What the object under `key` is charged with now."""
        held = account.pending.get(key) or account.visible.get(key)
        return held.by_quota if held else {}

    def reserve(self, account: Account, key: Key, by_quota: dict[str, Usage]) -> None:
        """Charge an admitted write until it becomes visible."""
        before = account.pending.get(key) or account.visible.get(key)
        if before is not None:
            account.charge(before, -1)
        held = _Held(by_quota, self._clock.now() + PENDING_S)
        account.pending[key] = held
        account.charge(held, 1)

    def _expire(self, account: Account) -> None:
        now = self._clock.now()
        for key in [k for k, h in account.pending.items() if h.until < now]:
            account.charge(account.pending.pop(key), -1)
            if key in account.visible:
                account.charge(account.visible[key], 1)

    def _open(self, namespace: str) -> Account | None:
        stored = self._objects.list(RESOURCEQUOTAS, namespace)
        if not stored:
            return None
        quotas = [_quota(q) for q in stored]
        account = Account({q.name: q for q in quotas})
        for storage in sorted({s for q in quotas for s in q.storages}):
            resource = _BY_STORAGE.get(storage) or _custom(storage)
            if storage not in self._followed:
                self._followed.add(storage)
                self._objects.subscribe(resource, partial(self._objects_changed, storage))
            for raw in self._objects.list_bytes(resource, namespace):
                self._take(account, storage, orjson.loads(raw))
        return account

    def _take(self, account: Account, storage: Storage, obj: Mapping[str, Any]) -> None:
        by_quota = self.usage(account, storage, obj)
        if by_quota:
            held = _Held(by_quota)
            account.visible[storage, obj["metadata"]["name"]] = held
            account.charge(held, 1)

    def _objects_changed(self, storage: Storage, changes: Sequence[Change]) -> None:
        touched: set[str] = set()
        for change in changes:
            account = self._accounts.get(change.namespace)
            if account is None:
                continue
            key = (storage, change.name)
            before = account.visible.pop(key, None)
            pending = account.pending.pop(key, None)
            charged = pending or before
            if charged is not None:
                account.charge(charged, -1)
            if change.value is not None:
                self._take(account, storage, orjson.loads(change.value))
            touched.add(change.namespace)
        self._tell(touched)

    def _quotas_changed(self, changes: Sequence[Change]) -> None:
        """A quota came, went, or changed its spec: the account is opened anew, with what is pending."""
        touched = {c.namespace for c in changes}
        for namespace in touched:
            old = self._accounts.get(namespace)
            stored = self._objects.list(RESOURCEQUOTAS, namespace)
            if old is not None and _same(old, stored):
                continue  # only a status changed
            self._accounts.pop(namespace, None)
            account = self.account(namespace)
            if account is not None and old is not None:
                for key, held in old.pending.items():
                    kept = {n: u for n, u in held.by_quota.items() if n in account.quotas}
                    held = _Held(
                        {
                            n: {r: a for r, a in u.items() if r in account.quotas[n].hard}
                            for n, u in kept.items()
                        },
                        held.until,
                    )
                    if key in account.visible:
                        account.charge(account.visible[key], -1)
                    account.pending[key] = held
                    account.charge(held, 1)
        self._tell(touched)

    def _tell(self, namespaces: Iterable[str]) -> None:
        for namespace in namespaces:
            for call in self.changed:
                call(namespace)


def _quota(obj: Mapping[str, Any]) -> Quota:
    spec = obj.get("spec") or {}
    hard = {name: parse(value) for name, value in (spec.get("hard") or {}).items()}
    storages = frozenset(s for s in (storage_of(n) for n in hard) if s is not None)
    used: dict[str, Quantity] = dict.fromkeys(hard, ZERO)
    return Quota(obj["metadata"]["name"], spec, hard, storages, used)


def _same(account: Account, stored: Sequence[Mapping[str, Any]]) -> bool:
    specs = {q["metadata"]["name"]: q.get("spec") or {} for q in stored}
    return specs == {q.name: q.spec for q in account.quotas.values()}


def _custom(storage: Storage) -> Resource:
    """A resource that is not built in: enough of it to find its objects."""
    group, plural = storage
    return Resource(group, "", plural, "", "", True, storage=storage)
