"""The single checks of the baseline and restricted standards: a pod in, what is wrong out. Pure.

Each check gives (reason, detail) or None. `since` is the first minor version whose standard has it;
a restricted check may replace a baseline one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Spec = Mapping[str, Any]
Finding = tuple[str, str]


class Check(NamedTuple):
    """One row of the table."""

    name: str
    run: Callable[["PodView"], Finding | None]
    since: int = 0
    replaces: str = ""


class PodView:
    """A pod's metadata and spec, and its containers of every sort, each with its securityContext."""

    __slots__ = ("annotations", "containers", "context", "spec", "windows")

    def __init__(self, metadata: Mapping[str, Any], spec: Spec) -> None:
        self.spec = spec
        self.annotations: Mapping[str, str] = metadata.get("annotations") or {}
        self.context: Mapping[str, Any] = spec.get("securityContext") or {}
        self.windows = (spec.get("os") or {}).get("name") == "windows"
        self.containers: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = [
            (c, c.get("securityContext") or {})
            for part in ("initContainers", "containers", "ephemeralContainers")
            for c in spec.get(part) or ()
        ]

    def failing(self, wrong: Callable[[Mapping[str, Any]], bool]) -> list[str]:
        """The names of the containers whose securityContext is wrong."""
        return [c["name"] for c, context in self.containers if wrong(context)]


def quoted(values: Sequence[str]) -> str:
    return ", ".join(f'"{v}"' for v in values)


def plural(word: str, values: Sequence[object]) -> str:
    return word if len(values) == 1 else word + "s"


def who(names: Sequence[str]) -> str:
    """`container "a"`, `containers "a", "b"`."""
    return f"{plural('container', names)} {quoted(names)}"


def unique(values: Sequence[str]) -> list[str]:
    return sorted(set(values))


# --- baseline ---------------------------------------------------------------------------------

_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
        "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
    }
)  # fmt: skip
_SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})  # fmt: skip
_APPARMOR_PREFIX = "container.apparmor.security.beta.kubernetes.io/"


def app_armor(pod: PodView) -> Finding | None:
    details = []
    own = (pod.context.get("appArmorProfile") or {}).get("type")
    values: list[str] = []
    setters: list[str] = []
    if own == "Unconfined":
        setters.append("pod")
        values.append(own)
    bad = [
        c["name"]
        for c, context in pod.containers
        if (context.get("appArmorProfile") or {}).get("type") == "Unconfined"
    ]
    if bad:
        setters.append(who(bad))
        values.append("Unconfined")
    if setters:
        details.append(
            f"{' and '.join(setters)} must not set AppArmor profile type to"
            f" {quoted(unique(values))}"
        )
    annotations = sorted(
        f'{k}="{v}"'
        for k, v in pod.annotations.items()
        if k.startswith(_APPARMOR_PREFIX)
        and v not in ("", "runtime/default")
        and not v.startswith("localhost/")
    )
    if annotations:
        details.append(f"{plural('annotation', annotations)} {', '.join(annotations)}")
    if not details:
        return None
    count = len(setters) + len(annotations)
    title = "forbidden AppArmor profile" if count == 1 else "forbidden AppArmor profiles"
    return title, " and ".join(details)


def added_capabilities(pod: PodView, allowed: frozenset[str]) -> tuple[list[str], list[str]]:
    """The containers that add a capability which is not allowed, and those capabilities."""
    names: list[str] = []
    found: list[str] = []
    for container, context in pod.containers:
        added = (context.get("capabilities") or {}).get("add") or ()
        wrong = [c for c in added if c not in allowed]
        if wrong:
            names.append(container["name"])
            found += wrong
    return names, unique(found)


def capabilities_baseline(pod: PodView) -> Finding | None:
    names, found = added_capabilities(pod, _CAPABILITIES)
    if not names:
        return None
    detail = f"{who(names)} must not include {quoted(found)} in securityContext.capabilities.add"
    return "non-default capabilities", detail


def host_namespaces(pod: PodView) -> Finding | None:
    shared = [f"{f}=true" for f in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(f)]
    return ("host namespaces", ", ".join(shared)) if shared else None


def host_path(pod: PodView) -> Finding | None:
    names = [v["name"] for v in pod.spec.get("volumes") or () if v.get("hostPath") is not None]
    return ("hostPath volumes", f"{plural('volume', names)} {quoted(names)}") if names else None


def host_ports(pod: PodView) -> Finding | None:
    names: list[str] = []
    ports: set[int] = set()
    for container, _ in pod.containers:
        used = {p["hostPort"] for p in container.get("ports") or () if p.get("hostPort")}
        if used:
            names.append(container["name"])
            ports |= used
    if not names:
        return None
    verb = "uses" if len(names) == 1 else "use"
    shown = ", ".join(str(p) for p in sorted(ports))
    return "hostPort", f"{who(names)} {verb} {plural('hostPort', tuple(ports))} {shown}"


def host_probes(pod: PodView) -> Finding | None:
    names: list[str] = []
    hosts: set[str] = set()
    for container, _ in pod.containers:
        used = set(_handler_hosts(container))
        if used:
            names.append(container["name"])
            hosts |= used
    if not names:
        return None
    verb = "uses" if len(names) == 1 else "use"
    detail = f"{who(names)} {verb} probe or lifecycle {plural('host', tuple(hosts))} {quoted(sorted(hosts))}"
    return "probe or lifecycle host", detail


def _handler_hosts(container: Mapping[str, Any]) -> Iterator[str]:
    handlers = [container.get(p) for p in ("livenessProbe", "readinessProbe", "startupProbe")]
    lifecycle = container.get("lifecycle") or {}
    handlers += [lifecycle.get("postStart"), lifecycle.get("preStop")]
    for handler in handlers:
        for kind in ("httpGet", "tcpSocket"):
            host = ((handler or {}).get(kind) or {}).get("host")
            if host:
                yield host


def privileged(pod: PodView) -> Finding | None:
    names = pod.failing(lambda c: c.get("privileged") is True)
    return (
        ("privileged", f"{who(names)} must not set securityContext.privileged=true")
        if names
        else None
    )


def proc_mount(pod: PodView) -> Finding | None:
    if pod.spec.get("hostUsers") is False:
        return None
    names: list[str] = []
    values: list[str] = []
    for container, context in pod.containers:
        value = context.get("procMount")
        if value not in (None, "", "Default"):
            names.append(container["name"])
            values.append(value)
    if not names:
        return None
    return (
        "procMount",
        f"{who(names)} must not set securityContext.procMount to {quoted(unique(values))}",
    )


def se_linux(pod: PodView) -> Finding | None:
    setters: list[str] = []
    types: list[str] = []
    user = role = False
    for name, context in [("", pod.context), *((c["name"], s) for c, s in pod.containers)]:
        options = context.get("seLinuxOptions")
        if not options:
            continue
        bad_type = options.get("type", "") not in _SELINUX_TYPES
        if bad_type:
            types.append(options["type"])
        if bad_type or options.get("user") or options.get("role"):
            setters.append(name)
        user = user or bool(options.get("user"))
        role = role or bool(options.get("role"))
    if not setters:
        return None
    containers = [s for s in setters if s]
    subject = " and ".join(
        (["pod"] if "" in setters else []) + ([who(containers)] if containers else [])
    )
    wrong = [f"{plural('type', unique(types))} {quoted(unique(types))}"] if types else []
    wrong += ["user may not be set"] if user else []
    wrong += ["role may not be set"] if role else []
    verb = "set" if len(setters) > 1 else "sets"
    return (
        "seLinuxOptions",
        f"{subject} {verb} forbidden securityContext.seLinuxOptions: {'; '.join(wrong)}",
    )


def seccomp_baseline(pod: PodView) -> Finding | None:
    return _seccomp_forbidden(pod, lambda kind: kind == "Unconfined")


def _seccomp_forbidden(pod: PodView, bad: Callable[[str], bool]) -> Finding | None:
    own = (pod.context.get("seccompProfile") or {}).get("type", "")
    values: list[str] = []
    setters: list[str] = []
    if own and bad(own):
        setters.append("pod")
        values.append(own)
    names = []
    for container, context in pod.containers:
        kind = (context.get("seccompProfile") or {}).get("type", "")
        if kind and bad(kind):
            names.append(container["name"])
            values.append(kind)
    if names:
        setters.append(who(names))
    if not setters:
        return None
    detail = (
        f"{' and '.join(setters)} must not set securityContext.seccompProfile.type to"
        f" {quoted(unique(values))}"
    )
    return "seccompProfile", detail


def sysctls(pod: PodView) -> Finding | None:
    names = [s["name"] for s in pod.context.get("sysctls") or () if s["name"] not in _SYSCTLS]
    return ("forbidden sysctls", ", ".join(names)) if names else None


def host_process(pod: PodView) -> Finding | None:
    def wrong(context: Mapping[str, Any]) -> bool:
        return (context.get("windowsOptions") or {}).get("hostProcess") is True

    setters = ["pod"] if wrong(pod.context) else []
    names = pod.failing(wrong)
    if names:
        setters.append(who(names))
    if not setters:
        return None
    return (
        "hostProcess",
        f"{' and '.join(setters)} must not set securityContext.windowsOptions.hostProcess=true",
    )


# --- restricted -------------------------------------------------------------------------------

_VOLUME_TYPES = frozenset(
    {
        "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
        "projected", "secret",
    }
)  # fmt: skip


def privilege_escalation(pod: PodView) -> Finding | None:
    if pod.windows:
        return None
    names = pod.failing(lambda c: c.get("allowPrivilegeEscalation") is not False)
    if not names:
        return None
    return (
        "allowPrivilegeEscalation != false",
        f"{who(names)} must set securityContext.allowPrivilegeEscalation=false",
    )


def capabilities_restricted(pod: PodView) -> Finding | None:
    if pod.windows:
        return None
    details = []
    keeping = pod.failing(lambda c: "ALL" not in ((c.get("capabilities") or {}).get("drop") or ()))
    if keeping:
        details.append(f'{who(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    names, found = added_capabilities(pod, frozenset({"NET_BIND_SERVICE"}))
    if names:
        details.append(
            f"{who(names)} must not include {quoted(found)} in securityContext.capabilities.add"
        )
    return ("unrestricted capabilities", "; ".join(details)) if details else None


def volume_types(pod: PodView) -> Finding | None:
    names: list[str] = []
    kinds: list[str] = []
    for volume in pod.spec.get("volumes") or ():
        kind = next((k for k in volume if k != "name"), "")
        if kind not in _VOLUME_TYPES:
            names.append(volume["name"])
            kinds.append(kind or "unknown")
    if not names:
        return None
    kinds = unique(kinds)
    verb = "uses" if len(names) == 1 else "use"
    detail = (
        f"{plural('volume', names)} {quoted(names)} {verb} restricted"
        f" {plural('volume type', kinds)} {quoted(kinds)}"
    )
    return "restricted volume types", detail


def run_as_non_root(pod: PodView) -> Finding | None:
    if pod.spec.get("hostUsers") is False:
        return None
    own = pod.context.get("runAsNonRoot")
    explicit = pod.failing(lambda c: c.get("runAsNonRoot") is False)
    implicit = pod.failing(lambda c: c.get("runAsNonRoot") is None)
    setters = ["pod"] if own is False else []
    if explicit:
        setters.append(who(explicit))
    reason = "runAsNonRoot != true"
    if setters and (explicit or implicit):
        return reason, f"{' and '.join(setters)} must not set securityContext.runAsNonRoot=false"
    if own is not True and implicit:
        return reason, f"pod or {who(implicit)} must set securityContext.runAsNonRoot=true"
    return None


def run_as_user(pod: PodView) -> Finding | None:
    if pod.spec.get("hostUsers") is False:
        return None
    setters = ["pod"] if pod.context.get("runAsUser") == 0 else []
    names = pod.failing(lambda c: c.get("runAsUser") == 0)
    if names:
        setters.append(who(names))
    return ("runAsUser=0", f"{' and '.join(setters)} must not set runAsUser=0") if setters else None


def seccomp_restricted(pod: PodView) -> Finding | None:
    if pod.windows:
        return None
    good = ("RuntimeDefault", "Localhost")
    forbidden = _seccomp_forbidden(pod, lambda kind: kind not in good)
    if forbidden:
        return forbidden
    if (pod.context.get("seccompProfile") or {}).get("type"):
        return None
    names = pod.failing(lambda c: not (c.get("seccompProfile") or {}).get("type"))
    if not names:
        return None
    detail = (
        f"pod or {who(names)} must set securityContext.seccompProfile.type to"
        ' "RuntimeDefault" or "Localhost"'
    )
    return "seccompProfile", detail


BASELINE: tuple[Check, ...] = (
    Check("appArmorProfile", app_armor),
    Check("capabilities_baseline", capabilities_baseline),
    Check("hostNamespaces", host_namespaces),
    Check("hostPathVolumes", host_path),
    Check("hostPorts", host_ports),
    Check("hostProbesAndhostLifecycle", host_probes, since=34),
    Check("privileged", privileged),
    Check("procMount", proc_mount),
    Check("seLinuxOptions", se_linux),
    Check("seccompProfile_baseline", seccomp_baseline),
    Check("sysctls", sysctls),
    Check("windowsHostProcess", host_process),
)
RESTRICTED: tuple[Check, ...] = (
    Check("allowPrivilegeEscalation", privilege_escalation, since=8),
    Check(
        "capabilities_restricted", capabilities_restricted, since=22,
        replaces="capabilities_baseline",
    ),
    Check("restrictedVolumes", volume_types, replaces="hostPathVolumes"),
    Check("runAsNonRoot", run_as_non_root),
    Check("runAsUser", run_as_user, since=23),
    Check(
        "seccompProfile_restricted", seccomp_restricted, since=19,
        replaces="seccompProfile_baseline",
    ),
)  # fmt: skip
