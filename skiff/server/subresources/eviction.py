"""eviction: delete a pod if its disruption budget allows it.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
"""

from typing import Any

from skiff.aio.http.message import Response
from skiff.api.errors import ApiError, BadRequest, Cause, Forbidden, InternalError, TooManyRequests
from skiff.api.resources import PODDISRUPTIONBUDGETS
from skiff.api.selectors import SelectorError, structured
from skiff.server.engine import Engine, decode
from skiff.server.options import DeleteOptions, delete_options, write_options
from skiff.server.seams import Call
from skiff.server.served import Served
from skiff.server.subresources.binding import SUCCESS
from skiff.server.verbs.answer import answer_object
from skiff.server.verbs.delete import delete_object
from skiff.server.virtual import read_body
from skiff.store.protocol import Conflict as StoreConflict

Object = dict[str, Any]

DISRUPTED_PODS_MAX = 2000
RETRIES = 5
_CANNOT = "Cannot evict pod as it would violate the pod's disruption budget."


class Undecided(InternalError):
    """The pod has several budgets: which one counts cannot be said."""

    reason = ""


async def create(engine: Engine, call: Call, served: Served) -> Response:
    """POST pods/x/eviction."""
    options = write_options(call.info, "CreateOptions")
    # Kubernetes goes on reading the older version here: old clients drain with it.
    eviction = read_body(call, "policy/v1", "Eviction", also=("policy/v1beta1",))
    name, namespace = call.info.name, call.info.namespace
    if (eviction.get("metadata") or {}).get("name", name) not in ("", name):
        raise BadRequest("name in URL does not match name in Eviction object")
    wanted = delete_options(call.info, eviction.get("deleteOptions"))
    wanted.dry_run = wanted.dry_run or options.dry_run
    entry = engine.latest(served, namespace, name)
    if entry is None:
        raise served.not_found(name)
    pod = decode(entry)
    if wanted.uid and wanted.uid != pod["metadata"]["uid"]:
        raise served.conflict(
            name,
            f"the UID in the precondition ({wanted.uid}) does not match the UID in record "
            f"({pod['metadata']['uid']}). The object might have been deleted and then recreated",
        )
    if not _ends_anyway(pod):
        await _ask_budget(engine, pod, namespace, wanted)
    if not wanted.dry_run:
        await _mark(engine, served, namespace, name, wanted)
    await delete_object(engine, call, served, namespace, name, wanted)
    return answer_object(call, SUCCESS, 201)


async def _mark(
    engine: Engine, served: Served, namespace: str, name: str, wanted: DeleteOptions
) -> None:
    """Say on the pod why it goes: the condition DisruptionTarget."""
    for _ in range(RETRIES):
        entry = engine.latest(served, namespace, name)
        if entry is None:
            raise served.not_found(name)
        if wanted.revision and wanted.revision != str(entry.revision):
            raise served.conflict(name)
        pod = decode(entry)
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
            "lastProbeTime": None,
            "lastTransitionTime": engine.now(),
        }
        if generation := pod["metadata"].get("generation"):
            condition["observedGeneration"] = generation
        status = pod.setdefault("status", {})
        others = [c for c in status.get("conditions") or () if c["type"] != "DisruptionTarget"]
        status["conditions"] = [*others, condition]
        try:
            _, revision = engine.stage(served, entry.key, pod, entry.revision)
        except StoreConflict:
            continue
        written = await revision
        wanted.revision = str(written) if wanted.revision else ""
        return
    raise served.conflict(name)


def _ends_anyway(pod: Object) -> bool:
    """Pods that do not run, or are being deleted, do not disrupt anything."""
    phase = pod.get("status", {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or bool(
        pod["metadata"].get("deletionTimestamp")
    )


def budgets_of(engine: Engine, pod: Object, namespace: str) -> list[Object]:
    """The disruption budgets whose selector chooses the pod."""
    labels = pod["metadata"].get("labels") or {}
    found = []
    for budget in engine.list(PODDISRUPTIONBUDGETS, namespace):
        try:
            selector = structured(budget.get("spec", {}).get("selector"))
        except SelectorError:
            continue  # the budget's own condition tells of it
        if selector.matches(labels):
            found.append(budget)
    return found


def _ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


async def _ask_budget(engine: Engine, pod: Object, namespace: str, options: DeleteOptions) -> None:
    """Take one disruption from the pod's budget. Raises TooManyRequests, Forbidden."""
    budgets = budgets_of(engine, pod, namespace)
    if len(budgets) > 1:
        raise Undecided(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does "
            "not support."
        )
    if not budgets:
        return
    served = engine.registry.of(PODDISRUPTIONBUDGETS)
    for _ in range(RETRIES):
        entry = engine.latest(served, namespace, budgets[0]["metadata"]["name"])
        if entry is None:
            return
        budget = decode(entry)
        if _exempt(pod, budget):
            return
        _decrement(pod["metadata"]["name"], budget, engine.now())
        if options.dry_run:
            return
        try:
            await engine.commit(served, entry.key, budget, entry.revision)
        except StoreConflict:
            continue
        return
    raise served.conflict(budgets[0]["metadata"]["name"])


def _exempt(pod: Object, budget: Object) -> bool:
    """Whether an unhealthy pod may go without asking the budget."""
    if _ready(pod):
        return False
    if budget.get("spec", {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status", {})
    desired = status.get("desiredHealthy", 0)
    return bool(desired > 0 and status.get("currentHealthy", 0) >= desired)


def _decrement(pod_name: str, budget: Object, now: str) -> None:
    """Take one allowed disruption, in place. Raises where there is none."""
    name = budget["metadata"]["name"]
    status = budget.setdefault("status", {})
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _refused(f"The disruption budget {name} is still being processed by the server.")
    allowed = status.get("disruptionsAllowed", 0)
    if allowed < 0:
        raise _forbidden(name, "pdb disruptions allowed is negative")
    disrupted = status.get("disruptedPods") or {}
    if len(disrupted) > DISRUPTED_PODS_MAX:
        raise _forbidden(
            name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        )
    if allowed == 0:
        failed = next(
            (
                c.get("message", "")
                for c in status.get("conditions") or ()
                if c.get("type") == "DisruptionAllowed" and c.get("reason") == "SyncFailed"
            ),
            None,
        )
        if failed is not None:
            raise _refused(
                f"The disruption budget {name} does not allow evicting pods currently because it "
                f"failed sync: {failed}"
            )
        raise _refused(
            f"The disruption budget {name} needs {status.get('desiredHealthy', 0)} healthy pods and "
            f"has {status.get('currentHealthy', 0)} currently"
        )
    status["disruptionsAllowed"] = allowed - 1
    if allowed == 1:
        for condition in status.get("conditions") or ():
            if condition.get("type") == "DisruptionAllowed" and condition.get("status") == "True":
                condition.update(
                    {"status": "False", "reason": "InsufficientPods", "lastTransitionTime": now}
                )
    status["disruptedPods"] = {**disrupted, pod_name: now}


def _refused(why: str) -> ApiError:
    return TooManyRequests(_CANNOT, causes=[Cause("DisruptionBudget", why)])


def _forbidden(name: str, why: str) -> ApiError:
    return Forbidden(
        f'poddisruptionbudgets.policy "{name}" is forbidden: {why}',
        group="policy",
        kind="poddisruptionbudgets",
        name=name,
    )
