"""The ConfigMap `kube-root-ca.crt` in every namespace: how pods know the API server.

Source: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/ (projected
service account token volumes).
"""

from typing import ClassVar, Final

from skiff.api.errors import AlreadyExists, ApiError
from skiff.api.resources import CONFIGMAPS
from skiff.api.views.core import ConfigMap, Namespace
from skiff.client.client import Object
from skiff.client.reconciler import Key, Reconciler, Result
from skiff.controllers.context import Context
from skiff.controllers.podcontrol import namespace_ends

NAME: Final = "kube-root-ca.crt"
DESCRIPTION_KEY: Final = "kubernetes.io/description"
DESCRIPTION: Final = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal "
    "endpoints such as the internal service IP or kubernetes.default.svc. No other usage is "
    "guaranteed across distributions of Kubernetes clusters."
)


class RootCaReconciler(Reconciler):
    """Keys are namespaces."""

    name: ClassVar[str] = "root-ca-certificate-publisher"

    def __init__(self, context: Context) -> None:
        super().__init__(workers=10)
        self._client = context.client
        self._data = {"ca.crt": context.options.ca_pem}
        self._namespaces = context.informers.of(Namespace)
        self._maps = context.informers.of(ConfigMap, field_selector=f"metadata.name={NAME}")
        self.follow(self._namespaces)
        self.follow(self._maps, lambda found: (Key("", found.metadata.namespace),))

    async def reconcile(self, key: Key) -> Result | None:
        """Create the map, or put its data right."""
        namespace = self._namespaces.get(key.name)
        if namespace is None or namespace.status.phase != "Active":
            return None
        found = self._maps.get(NAME, key.name)
        if found is None:
            await self._create(key.name)
        elif (
            found.data != self._data
            or found.metadata.annotations.get(DESCRIPTION_KEY) != DESCRIPTION
        ):
            await self._client.update(CONFIGMAPS, NAME, key.name, self._correct)
        return None

    async def _create(self, namespace: str) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": NAME,
                "namespace": namespace,
                "annotations": {DESCRIPTION_KEY: DESCRIPTION},
            },
            "data": self._data,
        }
        try:
            await self._client.create(CONFIGMAPS, body, namespace)
        except AlreadyExists:
            pass
        except ApiError as e:
            if not namespace_ends(e):
                raise

    def _correct(self, current: Object) -> Object:
        metadata = dict(current["metadata"])
        metadata["annotations"] = {
            **(metadata.get("annotations") or {}),
            DESCRIPTION_KEY: DESCRIPTION,
        }
        return {**current, "metadata": metadata, "data": self._data}
