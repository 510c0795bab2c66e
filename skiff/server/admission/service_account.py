"""ServiceAccount: a pod runs as an account, and finds the account's token.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/ and
https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-token-volume.
"""

from typing import Any, NamedTuple

import orjson

from skiff.aio.entropy import Entropy
from skiff.api.resources import SERVICEACCOUNTS, Resource
from skiff.server.admission.rule import CREATE, UPDATE, Object, Rule, refuse
from skiff.server.seams import Attributes, Objects

DEFAULT_ACCOUNT = "default"
VOLUME_PREFIX = "kube-api-access-"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_LIFETIME_S = 3607
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
_ENFORCE_SECRETS = "kubernetes.io/enforce-mountable-secrets"


class _Account(NamedTuple):
    """What of an account matters here, and the bytes it was read from."""

    stored: bytes
    automount: bool | None
    pull_secrets: list[dict[str, Any]]
    mountable: frozenset[str] | None


class ServiceAccount(Rule):
    """See the module's text."""

    name = "ServiceAccount"

    def __init__(self, objects: Objects, entropy: Entropy) -> None:
        self._objects = objects
        self._entropy = entropy
        self._accounts: dict[tuple[str, str], _Account] = {}

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        if resource.plural != "pods" or resource.group:
            return False
        if subresource == "ephemeralcontainers":
            return operation == UPDATE
        return operation == CREATE and not subresource

    def admit(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        if attributes.operation != CREATE or _is_mirror(obj):
            return
        spec = obj["spec"]
        name = spec.get("serviceAccountName")
        if not name:
            name = spec["serviceAccountName"] = spec["serviceAccount"] = DEFAULT_ACCOUNT
        account = self._account(attributes, obj, name)
        automount = spec.get("automountServiceAccountToken")
        if automount is None:
            automount = account.automount is not False
        if automount:
            self._mount_token(spec)
        if account.pull_secrets and not spec.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(s) for s in account.pull_secrets]

    def validate(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        spec = obj["spec"]
        if _is_mirror(obj):
            self._check_mirror(attributes, obj)
            return
        if attributes.operation == UPDATE:
            account = self._account(attributes, obj, spec.get("serviceAccountName", ""))
            parts: tuple[str, ...] = ("ephemeralContainers",)
        else:
            account = self._account(attributes, obj, spec.get("serviceAccountName", ""))
            parts = ("initContainers", "containers")
        if account.mountable is not None:
            self._check_secrets(attributes, obj, account, parts)

    def _account(self, attributes: Attributes, obj: Object, name: str) -> _Account:
        namespace = attributes.namespace
        stored = self._objects.get_bytes(SERVICEACCOUNTS, name, namespace)
        if stored is None:
            raise refuse(
                attributes,
                obj,
                f"error looking up service account {namespace}/{name}:"
                f' serviceaccount "{name}" not found',
            )
        known = self._accounts.get((namespace, name))
        if known is not None and known.stored is stored:
            return known
        found = orjson.loads(stored)
        annotations = found["metadata"].get("annotations") or {}
        enforce = annotations.get(_ENFORCE_SECRETS, "") in ("1", "t", "T", "true", "TRUE", "True")
        secrets = frozenset(s.get("name", "") for s in found.get("secrets") or ())
        known = _Account(
            stored,
            found.get("automountServiceAccountToken"),
            found.get("imagePullSecrets") or [],
            secrets if enforce else None,
        )
        if len(self._accounts) > 10_000:  # accounts that are long gone stay until then
            self._accounts.clear()
        self._accounts[namespace, name] = known
        return known

    def _mount_token(self, spec: dict[str, Any]) -> None:
        """Mount the token volume in each container that has nothing at its place."""
        volumes = spec.setdefault("volumes", [])
        existing = next((v["name"] for v in volumes if v["name"].startswith(VOLUME_PREFIX)), "")
        volume_name = existing
        for part in ("initContainers", "containers"):
            for container in spec.get(part) or ():
                mounts = container.get("volumeMounts")
                if mounts is None:
                    mounts = container["volumeMounts"] = []
                elif any(m.get("mountPath") == MOUNT_PATH for m in mounts):
                    continue
                if not volume_name:
                    volume_name = VOLUME_PREFIX + self._entropy.suffix()
                mounts.append({"name": volume_name, "readOnly": True, "mountPath": MOUNT_PATH})
        if volume_name and not existing:
            volumes.append(token_volume(volume_name))
        if not volumes:
            del spec["volumes"]

    @staticmethod
    def _check_mirror(attributes: Attributes, obj: Object) -> None:
        spec = obj["spec"]
        if spec.get("serviceAccountName"):
            raise refuse(attributes, obj, "a mirror pod may not reference service accounts")
        for volume in spec.get("volumes") or ():
            sources = (volume.get("projected") or {}).get("sources") or ()
            if any(s.get("serviceAccountToken") for s in sources):
                raise refuse(
                    attributes,
                    obj,
                    "a mirror pod may not use ServiceAccountToken volume projections",
                )

    @staticmethod
    def _check_secrets(
        attributes: Attributes, obj: Object, account: _Account, parts: tuple[str, ...]
    ) -> None:
        """The deprecated rule that a pod may use only its account's own secrets."""
        spec = obj["spec"]
        mountable = account.mountable or frozenset[str]()
        who = spec.get("serviceAccountName", "")
        for volume in spec.get("volumes") or ():
            secret = (volume.get("secret") or {}).get("secretName")
            if secret and secret not in mountable:
                raise refuse(
                    attributes,
                    obj,
                    f'volume with secret.secretName="{secret}" is not allowed because service'
                    f" account {who} does not reference that secret",
                )
        for part in parts:
            for container in spec.get(part) or ():
                for variable in container.get("env") or ():
                    key = (variable.get("valueFrom") or {}).get("secretKeyRef")
                    if key and key.get("name", "") not in mountable:
                        raise refuse(
                            attributes,
                            obj,
                            f"container {container['name']} with envVar {variable['name']}"
                            f' referencing secret.secretName="{key.get("name", "")}" is not'
                            f" allowed because service account {who} does not reference that secret",
                        )


def token_volume(name: str) -> dict[str, Any]:
    """The projected volume that holds token, CA and namespace."""
    return {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_LIFETIME_S, "path": "token"}},
                {
                    "configMap": {
                        "name": "kube-root-ca.crt",
                        "items": [{"key": "ca.crt", "path": "ca.crt"}],
                    }
                },
                {
                    "downwardAPI": {
                        "items": [
                            {
                                "path": "namespace",
                                "fieldRef": {
                                    "apiVersion": "v1",
                                    "fieldPath": "metadata.namespace",
                                },
                            }
                        ]
                    }
                },
            ],
            "defaultMode": 0o644,
        },
    }


def _is_mirror(pod: Object) -> bool:
    return MIRROR_ANNOTATION in (pod["metadata"].get("annotations") or ())
