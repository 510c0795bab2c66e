"""What to do for a living pod: which containers to start, which to stop, whether it is done.

`plan` is level triggered: it looks at what there is and says what to do next; the worker does it,
observes, and asks again. Order matters as in Kubernetes:

- no ready sandbox: make one, unless the pod has ended for good;
- init containers one after another, each to its success; a sidecar counts as done once it started
  (its startup probe succeeded, its postStart hook ended) and is restarted whenever it ends;
- then the regular containers, in order; ephemeral ones as soon as there is a sandbox;
- a container that ended is restarted as its policy says, after its back-off;
- when no regular container runs or will run again, the pod is done and what remains is stopped;
- an end that a rule answers with RestartAllContainers comes before all of that: every container is
  killed and removed, the one that ended last, and the pod starts from its first init container.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/,
https://kubernetes.io/docs/concepts/workloads/pods/init-containers/ and …/sidecar-containers/
"""

from dataclasses import dataclass, field, replace

from skiff.api.views.container import Container, ContainerRestartRule
from skiff.api.views.pod import Pod
from skiff.node.lifecycle.backoff import Backoffs
from skiff.node.lifecycle.model import (
    ALWAYS,
    NEVER,
    AnyContainer,
    Health,
    Kind,
    Observed,
    SeenContainer,
    definition_hash,
    each_container,
    grace_period_s,
    kind_of_init,
)
from skiff.node.runtime import ANNOTATION_HASH, ContainerState

RESTART = "Restart"
RESTART_ALL = "RestartAllContainers"
ALL_RESTARTING = (
    "AllContainersRestarting"  # the condition of a pod whose containers are being removed
)
KILLED = 128 + 9  # the exit code of what SIGKILL ended


@dataclass(frozen=True, slots=True)
class Start:
    """Start a container; `attempt` is its restart count."""

    kind: Kind
    name: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop a running container. `message` is the Killing event's; `replaces`: it is started anew
    after that, whatever the restart policy says; `held`: its hook runs now, the rest waits for its
    turn, which a later Stop that is not held gives."""

    container_id: str
    name: str
    message: str
    grace_period_s: int
    replaces: bool = False
    held: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """A container in back-off: the worker looks again at `until`."""

    name: str
    delay_s: float
    until: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do next. With `finish`, everything is stopped in order and the sandbox too; `failed_init`
    names the init container whose failure ended the pod. `resets` are to be killed and removed, in
    this order, before anything else is done."""

    create_sandbox: bool = False
    sandbox_attempt: int = 0
    sandbox_changed: bool = False
    starts: tuple[Start, ...] = ()
    stops: tuple[Stop, ...] = ()
    holds: tuple[Hold, ...] = ()
    resets: tuple[SeenContainer, ...] = ()
    finish: bool = False
    wake_at: float | None = None


def container_backoff_key(container: AnyContainer) -> str:
    """Under which a container's crashes are counted: a changed definition starts anew."""
    return f"{container.name}/{definition_hash(container)}"


def plan(pod: Pod, observed: Observed, health: Health, backoffs: Backoffs, now: float) -> Plan:
    """The next steps for a pod that shall live."""
    resets = to_reset(pod, observed)
    if resets:
        return Plan(resets=resets)
    sandbox = observed.sandbox
    if sandbox is None or not sandbox.ready:
        return _plan_sandbox(pod, observed, backoffs, now)
    draft = _Draft(pod, observed, health, backoffs, now, sandbox.id)
    for container in pod.spec.ephemeral_containers:
        if observed.latest(container.name) is None:
            draft.start(Kind.EPHEMERAL, container)
    if not draft.plan_init():
        return draft.finished() if draft.failed else draft.result()
    draft.plan_regular()
    return draft.result()


def should_restart(
    pod: Pod, kind: Kind, container: AnyContainer, seen: SeenContainer | None
) -> bool:
    """Whether a container that does not run shall run (again)."""
    if pod.metadata.deletion_timestamp:
        return False
    if seen is None or seen.status.state in (ContainerState.CREATED, ContainerState.UNKNOWN):
        return True
    if seen.running or kind is Kind.EPHEMERAL:
        return False
    return restarts(pod, kind, container, seen.status.exit_code)


def restarts(pod: Pod, kind: Kind, container: AnyContainer, exit_code: int) -> bool:
    """Whether an end with `exit_code` is followed by a restart."""
    if kind is Kind.SIDECAR:
        return True
    if _rules_action(container, exit_code):
        return True
    policy = container.restart_policy or pod.spec.restart_policy or ALWAYS
    if kind is Kind.INIT:
        return exit_code != 0 and policy != NEVER
    if policy == ALWAYS:
        return True
    return policy != NEVER and exit_code != 0


def next_attempt(pod: Pod, observed: Observed, name: str) -> int:
    """The restart count of the next container of that name: one more than the last, also where the
    runtime has lost it and only the pod's status remembers."""
    seen = observed.latest(name)
    if seen is not None:
        return seen.status.attempt + 1
    statuses = (
        *pod.status.init_container_statuses,
        *pod.status.container_statuses,
        *pod.status.ephemeral_container_statuses,
    )
    known = next((s for s in statuses if s.name == name), None)
    if known is None or not (known.container_id or known.last_state):
        return 0
    return known.restart_count + (1 if known.container_id else 0)


def could_restart_all(pod: Pod) -> bool:
    """Whether the pod has a rule that restarts all its containers."""
    return any(
        rule.action == RESTART_ALL
        for _, container in each_container(pod)
        for rule in container.restart_policy_rules
    )


def to_reset(pod: Pod, observed: Observed) -> tuple[SeenContainer, ...]:
    """The containers that are removed before the pod starts anew; none where no rule asked for that.
    Those whose ends asked come last, so that it is known what is under way to the end.

    Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-all-containers
    """
    if not could_restart_all(pod) or pod.metadata.deletion_timestamp:
        return ()
    sources: list[SeenContainer] = []
    others: list[SeenContainer] = []
    asked = any(c.type == ALL_RESTARTING and c.status == "True" for c in pod.status.conditions)
    for kind, container in each_container(pod):
        if kind is Kind.EPHEMERAL:
            continue
        seen = observed.latest(container.name)
        if seen is None:
            continue
        source = seen.exited and _rules_action(container, seen.status.exit_code) == RESTART_ALL
        asked |= source
        (sources if source else others).extend(reversed(observed.history(container.name)))
    return (*others, *sources) if asked else ()


def _rules_action(container: AnyContainer, exit_code: int) -> str:
    """What the first rule that matches an end asks for; "" where none does."""
    return next((r.action for r in container.restart_policy_rules if _matches(r, exit_code)), "")


def _matches(rule: ContainerRestartRule, exit_code: int) -> bool:
    codes = rule.exit_codes
    if rule.action not in (RESTART, RESTART_ALL) or codes is None:
        return False
    return (exit_code in codes.values) == (codes.operator == "In")


def _plan_sandbox(pod: Pod, observed: Observed, backoffs: Backoffs, now: float) -> Plan:
    """There is no sandbox that could run containers."""
    del backoffs, now
    sandbox = observed.sandbox
    if sandbox is None and not observed.containers:
        return Plan(create_sandbox=True)
    wanted = [
        c for c in pod.spec.containers
        if should_restart(pod, Kind.REGULAR, c, observed.latest(c.name)) or _killed_by_loss(pod, observed, c)
    ]  # fmt: skip
    failed_init = any(
        kind_of_init(c) is Kind.INIT
        and (seen := observed.latest(c.name)) is not None
        and seen.exited
        and seen.status.exit_code != 0
        and not restarts(pod, Kind.INIT, c, seen.status.exit_code)
        for c in pod.spec.init_containers
    )
    if failed_init or not wanted:
        return Plan(finish=True)
    attempt = sandbox.attempt + 1 if sandbox else 0
    return Plan(create_sandbox=True, sandbox_attempt=attempt, sandbox_changed=sandbox is not None)


def _killed_by_loss(pod: Pod, observed: Observed, container: Container) -> bool:
    """Whether the container still runs though its sandbox is gone, and would be replaced once killed."""
    seen = observed.latest(container.name)
    return seen is not None and seen.running and restarts(pod, Kind.REGULAR, container, KILLED)


@dataclass(slots=True)
class _Draft:
    """A plan being made for a pod with a ready sandbox."""

    pod: Pod
    observed: Observed
    health: Health
    backoffs: Backoffs
    now: float
    sandbox_id: str
    starts: list[Start] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    failed: bool = False
    finish: bool = False

    def result(self) -> Plan:
        wakes = [h.until for h in self.holds]
        return Plan(
            starts=tuple(self.starts),
            stops=tuple(self.stops),
            holds=tuple(self.holds),
            finish=self.finish,
            wake_at=min(wakes) if wakes else None,
        )

    def finished(self) -> Plan:
        return replace(self.result(), starts=(), holds=(), finish=True)

    def here(self, name: str) -> SeenContainer | None:
        """The newest container of that name in the current sandbox."""
        seen = self.observed.latest(name)
        return seen if seen is not None and seen.sandbox_id == self.sandbox_id else None

    def stop_superseded(self, container: AnyContainer) -> None:
        """Of several that run, keep the newest: a start that was given up may have come about late."""
        for older in self.observed.history(container.name)[1:]:
            if older.running:
                message = f"Container {container.name} was started more than once"
                self.stops.append(
                    Stop(older.status.id, container.name, message, grace_period_s(self.pod))
                )

    def start(self, kind: Kind, container: AnyContainer) -> None:
        """Start it now, or hold it where it crashed too recently."""
        seen = self.observed.latest(container.name)
        if seen is not None and seen.exited:
            key = container_backoff_key(container)
            until = self.backoffs.until(key, seen.status.finished_at)
            if until > self.now:
                self.holds.append(Hold(container.name, self.backoffs.delay_s(key), until))
                return
        attempt = next_attempt(self.pod, self.observed, container.name)
        self.starts.append(Start(kind, container.name, attempt))

    def plan_init(self) -> bool:
        """Init containers and sidecars; True once regular containers may start."""
        initialized = any(self.here(c.name) is not None for c in self.pod.spec.containers)
        containers = self.pod.spec.init_containers
        # What comes before an init container that exists has been through, even if it is not kept.
        last = max((i for i, c in enumerate(containers) if self.here(c.name)), default=-1)
        blocked = False
        for index, container in enumerate(containers):
            if kind_of_init(container) is Kind.SIDECAR:
                if blocked and self.here(container.name) is None:
                    continue
                blocked |= not self._plan_sidecar(container) and not initialized
            elif not initialized and not blocked and not self._init_done(container, index < last):
                if self.failed:
                    return False
                blocked = True
        return not blocked

    def _plan_sidecar(self, container: Container) -> bool:
        """Keep a sidecar running; True where it has started."""
        seen = self.here(container.name)
        self.stop_superseded(container)
        if seen is not None and seen.running:
            if self._stop_if_wrong(Kind.SIDECAR, container, seen):
                return False
            return self.health.started(seen)
        self.start(Kind.SIDECAR, container)
        return False

    def _init_done(self, container: Container, passed: bool) -> bool:
        """Bring an init container on; True where it has succeeded."""
        seen = self.here(container.name)
        if seen is None:
            if passed:
                return True
            self.start(Kind.INIT, container)
            return False
        if seen.running:
            return False
        if seen.exited and seen.status.exit_code == 0:
            return True
        if should_restart(self.pod, Kind.INIT, container, seen):
            self.start(Kind.INIT, container)
        else:
            self.failed = True
        return False

    def plan_regular(self) -> None:
        """Regular containers; sets `finish` where none runs or will."""
        alive = False
        for container in self.pod.spec.containers:
            seen = self.here(container.name)
            self.stop_superseded(container)
            if seen is not None and seen.running:
                alive = True
                self._stop_if_wrong(Kind.REGULAR, container, seen)
                continue
            before = seen or self.observed.latest(container.name)
            replaced = before is not None and before.status.id in self.health.replaced
            if replaced or should_restart(self.pod, Kind.REGULAR, container, before):
                alive = True
                self.start(Kind.REGULAR, container)
        if not alive and not self.starts and not self.holds:
            self.finish = True
        elif not alive:
            # Only sidecars would be restarted: the pod is done.
            self.starts = [s for s in self.starts if s.kind is not Kind.SIDECAR]
            self.holds = []
            self.finish = not self.starts

    def _stop_if_wrong(self, kind: Kind, container: Container, seen: SeenContainer) -> bool:
        """Stop a running container that failed a probe or whose definition changed."""
        grace = grace_period_s(self.pod)
        failure = self.health.failed.get(seen.status.id)
        which = "Init container" if kind is Kind.SIDECAR else "Container"
        changed = seen.status.annotations.get(ANNOTATION_HASH, "") not in (
            "",
            definition_hash(container),
        )
        if changed:
            message = f"{which} {container.name} definition changed"
        elif failure is not None:
            message = f"{which} {container.name} failed {failure.probe} probe"
            grace = grace if failure.grace_period_s is None else failure.grace_period_s
        else:
            return False
        if kind is Kind.REGULAR and (changed or restarts(self.pod, kind, container, KILLED)):
            message += ", will be restarted"
        self.stops.append(Stop(seen.status.id, container.name, message, grace, replaces=changed))
        return True
