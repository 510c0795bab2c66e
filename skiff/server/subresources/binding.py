"""binding: a pod gets its node. What the scheduler writes.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/binding-v1/
"""

from typing import Any

from skiff.aio.http.message import Response
from skiff.api.errors import ApiError, BadRequest, Conflict
from skiff.api.kinds.errors import FieldError, invalid_kind
from skiff.api.resources import PODS
from skiff.server.engine import Engine, decode
from skiff.server.options import write_options
from skiff.server.seams import Attributes, Call
from skiff.server.served import Served
from skiff.server.verbs.answer import answer_object
from skiff.server.virtual import read_body
from skiff.store.protocol import Conflict as StoreConflict

Object = dict[str, Any]

RETRIES = 5
SUCCESS: Object = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Success",
    "code": 201,
}


async def create(engine: Engine, call: Call, served: Served) -> Response:
    """POST pods/x/binding, or POST bindings with the pod's name in the body."""
    options = write_options(call.info, "CreateOptions")
    binding = read_body(call, "v1", "Binding")
    metadata = binding.get("metadata") or {}
    name = call.info.name or metadata.get("name", "")
    if call.info.name and metadata.get("name", "") not in ("", call.info.name):
        raise BadRequest("name in URL does not match name in Binding object")
    namespace = metadata.get("namespace")
    if namespace and namespace != call.info.namespace:
        raise BadRequest(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    _validate(binding, name)
    pods = engine.registry.of(PODS)
    attributes = Attributes(
        "CREATE", call.user, pods.resource, "binding", call.info.namespace, name, options.dry_run,
        {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}, call.warnings,
    )  # fmt: skip
    for step in (engine.admission.admit, engine.admission.validate):
        waiting = step(attributes, binding, None)
        if waiting is not None:
            await waiting
    for _ in range(RETRIES):
        try:
            await _bind(engine, pods, call.info.namespace, name, binding, options.dry_run)
        except StoreConflict:
            continue
        return answer_object(call, SUCCESS, 201)
    raise served.conflict(name)


def _validate(binding: Object, name: str) -> None:
    target = binding.get("target") or {}
    errors = []
    if target.get("kind", "") not in ("", "Node"):
        errors.append(
            FieldError(
                "FieldValueNotSupported", "target.kind", 'supported values: "Node", "<empty>"',
                target["kind"],
            )
        )  # fmt: skip
    if not target.get("name"):
        errors.append(FieldError("FieldValueRequired", "target.name"))
    if errors:
        raise invalid_kind("", "Binding", name, errors)


async def _bind(
    engine: Engine, pods: Served, namespace: str, name: str, binding: Object, dry_run: bool
) -> None:
    entry = engine.latest(pods, namespace, name)
    if entry is None:
        raise pods.not_found(name)
    pod = decode(entry)
    metadata, wanted = pod["metadata"], binding.get("metadata") or {}
    for field, found in (
        ("uid", metadata["uid"]),
        ("resourceVersion", metadata["resourceVersion"]),
    ):
        if wanted.get(field) and wanted[field] != found:
            label = "UID" if field == "uid" else "ResourceVersion"
            raise _conflict(
                name,
                f"Precondition failed: {label} in precondition: {wanted[field]}, "
                f"{label} in object meta: {found}",
            )
    spec = pod["spec"]
    if metadata.get("deletionTimestamp"):
        raise _conflict(name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise _conflict(name, f'pod {name} is already assigned to node "{spec["nodeName"]}"')
    if spec.get("schedulingGates"):
        raise _conflict(name, f"pod {name} has non-empty .spec.schedulingGates")
    spec["nodeName"] = binding["target"]["name"]
    for part in ("annotations", "labels"):
        if wanted.get(part):
            metadata[part] = {**metadata.get(part, {}), **wanted[part]}
    _scheduled(pod, engine.now())
    if not dry_run:
        await engine.commit(pods, entry.key, pod, entry.revision)


def _scheduled(pod: Object, now: str) -> None:
    """The condition PodScheduled becomes True; where the pod was nominated is forgotten (KEP-5278)."""
    status = pod.setdefault("status", {})
    status.pop("nominatedNodeName", None)
    conditions = status.setdefault("conditions", [])
    condition = {
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": now,
    }
    generation = pod["metadata"].get("generation")
    if generation:
        condition["observedGeneration"] = generation
    for i, found in enumerate(conditions):
        if found.get("type") == "PodScheduled":
            conditions[i] = condition
            return
    conditions.append(condition)


def _conflict(name: str, why: str) -> ApiError:
    return Conflict(
        f'Operation cannot be fulfilled on pods/binding "{name}": {why}',
        kind="pods/binding",
        name=name,
    )
