"""Rules that are off unless `--enable-admission-plugins` names them."""

from typing import Any

from skiff.api.resources import Resource, by_kind
from skiff.server.admission.rule import CREATE, DELETE, UPDATE, Object, Rule, refuse
from skiff.server.request import RequestInfo
from skiff.server.seams import Attributes, Authorizer

_OWN_DOMAIN = "kubernetes.io/"


class OwnerReferencesPermissionEnforcement(Rule):
    """Owner references change only by who may delete the object; those that block its owner's
    deletion are set only by who may set the owner's finalizers."""

    name = "OwnerReferencesPermissionEnforcement"

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in (CREATE, UPDATE) and not subresource

    def validate(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        after = obj["metadata"].get("ownerReferences") or []
        before = ((old or {}).get("metadata") or {}).get("ownerReferences") or []
        if after == before:
            return
        resource = attributes.resource
        if attributes.operation == UPDATE and not self._may(
            attributes, "delete", resource.group, resource.version, resource.plural,
            attributes.namespace, attributes.name,
        ):  # fmt: skip
            text = "cannot set an ownerRef on a resource you can't delete: , <nil>"
            raise refuse(attributes, obj, text)
        blocking_before = {r.get("uid") for r in before if r.get("blockOwnerDeletion")}
        for reference in after:
            if reference.get("blockOwnerDeletion") and reference.get("uid") not in blocking_before:
                self._check_owner(attributes, obj, reference)

    def _check_owner(self, attributes: Attributes, obj: Object, reference: dict[str, Any]) -> None:
        head = "cannot set blockOwnerDeletion"
        try:
            owner = by_kind(reference.get("apiVersion", ""), reference.get("kind", ""))
        except KeyError:
            text = f"{head} in this case because cannot find RESTMapping for APIVersion"
            raise refuse(
                attributes,
                obj,
                f"{text} {reference.get('apiVersion', '')} Kind {reference.get('kind', '')}",
            ) from None
        namespace = attributes.namespace if owner.namespaced else ""
        if not self._may(
            attributes, "update", owner.group, owner.version, owner.plural, namespace,
            reference.get("name", ""), "finalizers",
        ):  # fmt: skip
            text = f"{head} if an ownerReference refers to a resource you can't set finalizers on: , <nil>"
            raise refuse(attributes, obj, text)

    def _may(
        self,
        attributes: Attributes,
        verb: str,
        group: str,
        version: str,
        plural: str,
        namespace: str,
        name: str,
        subresource: str = "",
    ) -> bool:
        info = RequestInfo.of_resource(
            verb, group, version, plural, namespace=namespace, name=name, subresource=subresource
        )
        return self._authorizer.allowed(attributes.user, info).allowed


class ExtendedResourceToleration(Rule):
    """A pod that asks for an extended resource tolerates nodes that are tainted with its name."""

    name = "ExtendedResourceToleration"

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        pods = resource.plural == "pods" and not resource.group
        return pods and not subresource and operation in (CREATE, UPDATE)

    def admit(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        spec = obj["spec"]
        names: set[str] = set()
        for part in ("containers", "initContainers"):
            for container in spec.get(part) or ():
                requests = (container.get("resources") or {}).get("requests") or {}
                names.update(n for n in requests if _is_extended(n))
        tolerations = spec.get("tolerations") or []
        for name in sorted(names):
            if not any(_tolerates(t, name) for t in tolerations):
                tolerations = [*tolerations, {"key": name, "operator": "Exists"}]
                spec["tolerations"] = tolerations


class AlwaysPullImages(Rule):
    """Every container's image is pulled by its own pod's right to it."""

    name = "AlwaysPullImages"

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        pods = resource.plural == "pods" and not resource.group
        return pods and operation in (CREATE, UPDATE) and subresource in ("", "ephemeralcontainers")

    def admit(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        for part in ("containers", "initContainers", "ephemeralContainers"):
            for container in obj["spec"].get(part) or ():
                container["imagePullPolicy"] = "Always"


class DenyServiceExternalIPs(Rule):
    """Services get no new external addresses."""

    name = "DenyServiceExternalIPs"

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        services = resource.plural == "services" and not resource.group
        return services and not subresource and operation in (CREATE, UPDATE)

    def validate(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        before = set(((old or {}).get("spec") or {}).get("externalIPs") or ())
        if set((obj.get("spec") or {}).get("externalIPs") or ()) - before:
            text = "Use of external IPs is denied by admission control"
            raise refuse(attributes, obj, text)


class AlwaysDeny(Rule):
    """Nothing is written."""

    name = "AlwaysDeny"

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in (CREATE, UPDATE, DELETE)

    def validate(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        raise refuse(attributes, obj, "admission control is denying all modifications")


def _is_extended(name: str) -> bool:
    return (
        "/" in name and not name.startswith(("requests.", "hugepages-")) and _OWN_DOMAIN not in name
    )


def _tolerates(toleration: dict[str, Any], key: str) -> bool:
    return (
        toleration.get("key") == key
        and toleration.get("operator", "Equal") == "Exists"
        and not toleration.get("effect")
    )
