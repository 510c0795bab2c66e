"""Pods that run to their end and tell what they saw: commands, environment, users, messages, files.

All pods are created at once; each test looks at what came of its own.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.real.harness import RealCluster, wait_for
from tests.real.pods import (
    Api,
    ApiFailure,
    Object,
    Space,
    config_map,
    container,
    pod,
    secret,
    state,
)

pytestmark = pytest.mark.real


def ref(**source: Any) -> Object:
    return {"valueFrom": source}


def field(path: str) -> Object:
    return ref(fieldRef={"apiVersion": "v1", "fieldPath": path})


def resource(name: str) -> Object:
    return ref(resourceFieldRef={"resource": name})


def env(**values: Any) -> list[Object]:
    """Environment variables, in order."""
    return [
        {"name": name, **(value if isinstance(value, dict) else {"value": value})}
        for name, value in values.items()
    ]


LIMITS = {
    "requests": {"cpu": "250m", "memory": "32Mi"},
    "limits": {"cpu": "1250m", "memory": "64Mi"},
}
ECHO = "echo entry"


def images_and_environment() -> list[Object]:
    return [
        pod("defaults", container()),
        pod("arguments", container(args=["override", "arguments"])),
        pod("command", container(command=["/bin/busybox", "echo", "my command"])),
        pod("both", container(command=["/bin/echo"], args=["override", "arguments"])),
        pod(
            "env-map",
            container(
                command=["env"],
                env=env(CONFIG_DATA_1=ref(configMapKeyRef={"name": "data", "key": "data-1"})),
                envFrom=[
                    {"configMapRef": {"name": "data"}},
                    {"prefix": "p-", "configMapRef": {"name": "data"}},
                    {"prefix": "p.", "configMapRef": {"name": "data"}},
                    {"configMapRef": {"name": "nowhere", "optional": True}},
                ],
            ),
        ),
        pod(
            "env-secret",
            container(
                command=["env"],
                env=env(SECRET_DATA=ref(secretKeyRef={"name": "hidden", "key": "data-1"})),
                envFrom=[
                    {"secretRef": {"name": "hidden"}},
                    {"prefix": "p-", "secretRef": {"name": "hidden"}},
                ],
            ),
        ),
        pod(
            "downward",
            container(
                command=["env"],
                env=env(
                    POD_NAME=field("metadata.name"),
                    POD_NAMESPACE=field("metadata.namespace"),
                    POD_UID=field("metadata.uid"),
                    POD_IP=field("status.podIP"),
                    HOST_IP=field("status.hostIP"),
                    HOST_IPS=field("status.hostIPs"),
                    NODE=field("spec.nodeName"),
                    LABEL=field("metadata.labels['name']"),
                    CPU_LIMIT=resource("limits.cpu"),
                    MEMORY_LIMIT=resource("limits.memory"),
                    CPU_REQUEST=resource("requests.cpu"),
                    MEMORY_REQUEST=resource("requests.memory"),
                ),
                resources=LIMITS,
            ),
        ),
        pod(
            "downward-defaults",
            container(
                command=["env"],
                env=env(CPU_LIMIT=resource("limits.cpu"), MEMORY_LIMIT=resource("limits.memory")),
            ),
        ),
        pod(
            "composed",
            container(
                command=["env"],
                env=env(FOO="foo-value", BAR="bar-value", FOOBAR="$(FOO);;$(BAR)", RAW="$$(FOO)"),
            ),
        ),
        pod(
            "expanded",
            container(
                "command",
                command=["sh", "-c", "TEST_VAR=wrong echo \"$(TEST_VAR)\""],
                env=env(TEST_VAR="test-value"),
            ),
            container(
                "args",
                command=["sh", "-c"],
                args=['TEST_VAR=wrong echo "$(TEST_VAR)"'],
                env=env(TEST_VAR="test-value"),
            ),
        ),
    ]  # fmt: skip


def ends() -> list[Object]:
    fallback = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    write = "printf %s DONE > /dev/termination-log"
    at = {"terminationMessagePath": "/dev/termination-custom-log"}
    return [
        pod(
            "messages",
            container("path", "printf %s DONE > /dev/termination-custom-log",
                securityContext={"runAsUser": 1000}, **at),
            container("log", "printf %s DONE; exit 1", **fallback),
            container("succeeds", "printf %s OTHER", **fallback),
            container("file", f"printf %s OTHER; {write}", **fallback),
            container("long", "head -c 5000 /dev/zero | tr '\\0' x > /dev/termination-log"),
            container("lines", "seq 1 3000; exit 1", **fallback),
        ),
        pod("rpa", "sleep 1; exit 1", restartPolicy="Always"),
        pod("rpof", "test -f /here/x && exit 0; touch /here/x; exit 1", restartPolicy="OnFailure"),
        pod("rpn", "exit 1"),
        pod("fails", "/bin/false", restartPolicy="Always"),
        pod("says", "echo 'Hello World'"),
        pod("nowhere", container(command=["/no/such/command"])),
        pod("nowhere-always", container(command=["/no/such/command"]), restartPolicy="Always"),
        pod("no-directory", container(script="pwd", workingDir="/made/for/it")),
        pod("killed", "sh -c 'kill -9 $$$$'; exit $?"),
        pod("memory", container(
            script="exec tail /dev/zero", resources={"limits": {"memory": "20Mi"}})),
    ]  # fmt: skip


def security() -> list[Object]:
    status = "grep -E '^(NoNewPrivs|CapEff|Groups)' /proc/self/status"
    net = "ip link add made1 type bridge && echo made || true"
    return [
        pod("user", container(script="id -u", securityContext={"runAsUser": 65534})),
        pod("user-pod", "id", securityContext={"runAsUser": 1001, "runAsGroup": 2002}),
        pod(
            "user-container",
            container(script="id", securityContext={"runAsUser": 1001, "runAsGroup": 2002}),
            securityContext={"runAsUser": 7, "supplementalGroups": [1234, 5678], "fsGroup": 69},
        ),
        pod("unprivileged", container(script=f"{net}; {status}", securityContext={"privileged": False})),
        pod("privileged", container(script=f"{net}; {status}", securityContext={"privileged": True})),
        pod("no-escalation", container(
            script=status, securityContext={"runAsUser": 1000, "allowPrivilegeEscalation": False})),
        pod("escalation", container(
            script=status, securityContext={"runAsUser": 1000, "allowPrivilegeEscalation": True})),
        pod("capabilities", container(
            script=status, securityContext={"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}})),
        pod("non-root", container(script="id", securityContext={"runAsNonRoot": True})),
        pod("writable", container(
            script="echo x > /file && cat /file", securityContext={"readOnlyRootFilesystem": False})),
        pod("read-only", container(
            script="echo test > /file; sleep 1", securityContext={"readOnlyRootFilesystem": True})),
        pod("sysctls", "cat /proc/sys/kernel/shm_rmid_forced", securityContext={
            "sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]}),
        pod("sysctls-unsafe", "true", securityContext={
            "sysctls": [{"name": "kernel.msgmax", "value": "10000000000"}]}),
    ]  # fmt: skip


def hosts() -> list[Object]:
    mount = {"name": "hosts", "mountPath": "/etc/hosts"}
    own = [
        {"name": "hosts", "configMap": {"name": "data", "items": [{"key": "data-1", "path": "h"}]}}
    ]
    return [
        pod("aliases", "cat /etc/hosts", hostAliases=[
            {"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}]),
        pod(
            "hosts",
            container("managed", "cat /etc/hosts"),
            container("own", "cat /etc/hosts", volumeMounts=[{**mount, "subPath": "h"}]),
            volumes=own,
        ),
        pod("hosts-host", "cat /etc/hosts", hostNetwork=True),
        pod("named", "hostname; hostname -f; cat /etc/hosts", hostname="name", subdomain="sub"),
    ]  # fmt: skip


def initialized() -> list[Object]:
    one, two = container("init1", "exit 0"), container("init2", "exit 0")
    bad = container("init1", "exit 1")
    return [
        pod("init-never", "exit 0", initContainers=[one, two]),
        pod("init-always", container("run1", "sleep 600"), initContainers=[one, two], restartPolicy="Always"),
        pod("init-bad-always", "exit 0", initContainers=[bad, two], restartPolicy="Always"),
        pod("init-bad-never", "exit 0", initContainers=[container("init1", "exit 0"), container("init2", "exit 1")]),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def ran(cluster: RealCluster, images: dict[str, str]) -> Iterator[Space]:
    api = Api(cluster)
    space = Space(cluster, api, "containers")
    data = {"data-1": "value-1", "data-2": "value-2", "data_3": "value-3"}
    space.create(config_map("data", data))
    space.create(secret("hidden", data))
    made = [*images_and_environment(), *ends(), *security(), *hosts(), *initialized()]
    for one in made:
        if one["metadata"]["name"] == "rpof":
            one["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}]
            one["spec"]["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": "/here"}]
    space.create_all(made)
    yield space
    space.delete("Namespace", space.name)
    api.close()


@pytest.mark.conformance(
    "[sig-node] Containers should use the image defaults if command and args are blank [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Containers should be able to override the image's default arguments (container cmd) [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Containers should be able to override the image's default command (container entrypoint) [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Containers should be able to override the image's default command and arguments [NodeConformance] [Conformance]"
)
def test_commands_and_arguments(ran: Space) -> None:
    assert ran.output("command") == "my command\n"
    assert ran.output("both") == "override arguments\n"
    for name, arguments in (("defaults", []), ("arguments", ["override", "arguments"])):
        ran.ready(name)
        line = ran.exec(name, "tr '\\0' ' ' < /proc/1/cmdline").split()
        assert line[:2] == ["/bin/busybox", "sh"], line
        assert line[2:] == ["/bin/serve", *arguments]
        assert "serving version 1" in ran.log(name)


@pytest.mark.conformance(
    "[sig-node] ConfigMap should be consumable via environment variable [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] ConfigMap should be consumable via the environment [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] ConfigMap should be consumable as environment variable names with various prefixes [Conformance]"
)
def test_environment_from_config_maps(ran: Space) -> None:
    lines = ran.output("env-map").splitlines()
    for line in (
        "CONFIG_DATA_1=value-1",
        "data-1=value-1",
        "data-2=value-2",
        "data_3=value-3",
        "p-data-1=value-1",
        "p-data_3=value-3",
        "p.data-1=value-1",
        "p.data_3=value-3",
    ):
        assert line in lines  # fmt: skip


@pytest.mark.conformance(
    "[sig-node] Secrets should be consumable from pods in env vars [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Secrets should be consumable via the environment [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Secrets should be consumable as environment variable names variable names with various prefixes [Conformance]"
)
def test_environment_from_secrets(ran: Space) -> None:
    lines = ran.output("env-secret").splitlines()
    for line in ("SECRET_DATA=value-1", "data-1=value-1", "data-2=value-2", "p-data-1=value-1"):
        assert line in lines


@pytest.mark.conformance(
    "[sig-node] Downward API should provide pod name, namespace and IP address as env vars [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Downward API should provide host IP as an env var [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Downward API should provide hostIPs as an env var [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Downward API should provide pod UID as env vars [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Downward API should provide container's limits.cpu/memory and requests.cpu/memory as env vars [NodeConformance] [Conformance]"
)
def test_downward_environment(ran: Space) -> None:
    values = dict(line.split("=", 1) for line in ran.output("downward").splitlines())
    seen = ran.get("Pod", "downward")
    meta, status = seen["metadata"], seen["status"]
    assert values["POD_NAME"] == values["LABEL"] == "downward"
    assert values["POD_NAMESPACE"] == ran.name
    assert values["POD_UID"] == meta["uid"]
    assert values["POD_IP"] == status["podIP"]
    assert values["HOST_IP"] == status["hostIP"]
    assert values["HOST_IPS"] == ",".join(i["ip"] for i in status["hostIPs"])
    assert values["NODE"] == seen["spec"]["nodeName"]
    assert values["CPU_LIMIT"] == "2"
    assert values["CPU_REQUEST"] == "1"
    assert values["MEMORY_LIMIT"] == str(64 << 20)
    assert values["MEMORY_REQUEST"] == str(32 << 20)


@pytest.mark.conformance(
    "[sig-node] Downward API should provide default limits.cpu/memory from node allocatable [NodeConformance] [Conformance]"
)
def test_downward_defaults_are_the_nodes(ran: Space) -> None:
    values = dict(line.split("=", 1) for line in ran.output("downward-defaults").splitlines())
    node = ran.list("Node")[0]["status"]["allocatable"]
    assert values["CPU_LIMIT"] == node["cpu"]
    assert int(values["MEMORY_LIMIT"]) == int(node["memory"].removesuffix("Ki")) * 1024


@pytest.mark.conformance(
    "[sig-node] Variable Expansion should allow composing env vars into new env vars [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Variable Expansion should allow substituting values in a container's command [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Variable Expansion should allow substituting values in a container's args [NodeConformance] [Conformance]"
)
def test_variables_are_expanded(ran: Space) -> None:
    lines = ran.output("composed").splitlines()
    assert "FOOBAR=foo-value;;bar-value" in lines
    assert "RAW=$(FOO)" in lines
    assert ran.output("expanded", "command") == "test-value\n"
    assert ran.output("expanded", "args") == "test-value\n"


@pytest.mark.conformance(
    "[sig-node] Container Runtime blackbox test on terminated container should report termination message if TerminationMessagePath is set as non-root user and at a non-default path [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Container Runtime blackbox test on terminated container should report termination message from log output if TerminationMessagePolicy FallbackToLogsOnError is set [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Container Runtime blackbox test on terminated container should report termination message as empty when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Container Runtime blackbox test on terminated container should report termination message from file when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set [NodeConformance] [Conformance]"
)
def test_termination_messages(ran: Space) -> None:
    seen = ran.ended("messages")

    def message(name: str) -> str:
        return str(state(seen, name)["state"]["terminated"].get("message", ""))

    assert message("path") == "DONE"
    assert message("log") == "DONE"
    assert message("succeeds") == ""
    assert message("file") == "DONE"
    assert message("long") == "x" * 4096
    assert len(message("lines")) <= 2048
    assert message("lines").endswith("3000\n")
    assert len(message("lines").splitlines()) <= 80


@pytest.mark.conformance(
    "[sig-node] Kubelet when scheduling a busybox command in a pod should print the output to logs [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Kubelet when scheduling a busybox command that always fails in a pod should have an terminated reason [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Kubelet when scheduling a busybox command that always fails in a pod should be possible to delete [NodeConformance] [Conformance]"
)
def test_busybox_pods(ran: Space) -> None:
    assert ran.output("says") == "Hello World\n"

    def crashed(seen: Object) -> bool:
        one = state(seen)
        return "terminated" in one.get("state", {}) or "terminated" in one.get("lastState", {})

    seen = state(ran.until("fails", crashed, "crashes"))
    end = seen["state"].get("terminated") or seen["lastState"]["terminated"]
    assert end["exitCode"] != 0
    assert end["reason"] == "Error"
    ran.until(
        "fails",
        lambda p: state(p)["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff",
        "backs off",
        60,
    )
    ran.has_event("fails", "BackOff", "Back-off restarting failed container main in pod fails_")
    ran.delete("Pod", "fails")
    wait_for(lambda: ran.gone("Pod", "fails"), "the failing pod is gone", 20)


def test_what_cannot_start_says_why(ran: Space) -> None:
    end = state(ran.ended("nowhere"))["state"]["terminated"]
    assert (end["exitCode"], end["reason"]) == (128, "StartError")
    assert "no such file or directory" in end["message"]
    seen = ran.until(
        "nowhere-always",
        lambda p: (
            state(p).get("state", {}).get("waiting", {}).get("reason")
            in ("RunContainerError", "CrashLoopBackOff")
        ),
        "cannot start",
    )
    assert state(seen)["lastState"]["terminated"]["exitCode"] == 128
    assert state(ran.ended("killed"))["state"]["terminated"]["exitCode"] == 137
    assert ran.output("no-directory") == "/made/for/it\n"
    end = state(ran.ended("memory"))["state"]["terminated"]
    assert (end["exitCode"], end["reason"]) == (137, "OOMKilled")


@pytest.mark.conformance(
    "[sig-node] Security Context When creating a container with runAsUser should run the container with uid 65534 [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Security Context should support pod.Spec.SecurityContext.RunAsUser And pod.Spec.SecurityContext.RunAsGroup [LinuxOnly] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Security Context should support container.SecurityContext.RunAsUser And container.SecurityContext.RunAsGroup [LinuxOnly] [Conformance]"
)
def test_users_and_groups(ran: Space) -> None:
    assert ran.output("user") == "65534\n"
    assert ran.output("user-pod").strip() == "uid=1001 gid=2002 groups=2002"
    told = ran.output("user-container")
    assert "uid=1001 gid=2002" in told
    assert set(told.split("groups=")[1].strip().split(",")) == {"2002", "1234", "5678", "69"}
    seen = ran.until("non-root", lambda p: state(p).get("state", {}).get("waiting", {}).get(
        "reason") == "CreateContainerConfigError", "is refused")  # fmt: skip
    assert (
        "container has runAsNonRoot and image will run as root"
        in state(seen)["state"]["waiting"]["message"]
    )


@pytest.mark.conformance(
    "[sig-node] Security Context When creating a pod with privileged should run the container as unprivileged when false [LinuxOnly] [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Security Context when creating containers with AllowPrivilegeEscalation should not allow privilege escalation when false [LinuxOnly] [NodeConformance] [Conformance]"
)
def test_privileges(ran: Space) -> None:
    assert "Operation not permitted" in ran.output("unprivileged")
    assert "made" in ran.output("privileged")
    assert "NoNewPrivs:\t1" in ran.output("no-escalation")
    assert "NoNewPrivs:\t0" in ran.output("escalation")
    assert "CapEff:\t0000000000001000" in ran.output("capabilities")


@pytest.mark.conformance(
    "[sig-node] Security Context When creating a pod with readOnlyRootFilesystem should run the container with writable rootfs when readOnlyRootFilesystem=false [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Kubelet when scheduling a read only busybox container should not write to root filesystem [LinuxOnly] [NodeConformance] [Conformance]"
)
def test_root_file_systems(ran: Space) -> None:
    assert ran.output("writable") == "x\n"
    assert ran.output("read-only") == "sh: can't create /file: Read-only file system\n"


@pytest.mark.conformance(
    "[sig-node] Sysctls [LinuxOnly] [NodeConformance] should support sysctls [Environment:NotInUserNS] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Sysctls [LinuxOnly] [NodeConformance] should reject invalid sysctls [Conformance]"
)
def test_sysctls(ran: Space) -> None:
    assert ran.output("sysctls") == "1\n"
    refused = ran.ended("sysctls-unsafe")["status"]
    assert (refused["phase"], refused["reason"]) == ("Failed", "SysctlForbidden")
    bad = ["foo-", "kernel.shmmax", "safe-and-unsafe", "bar.."]
    sysctls = [{"name": name, "value": "100000000"} for name in bad]
    with pytest.raises(ApiFailure) as e:
        ran.create(pod("sysctls-invalid", "true", securityContext={"sysctls": sysctls}))
    text = str(e.value)
    assert 'Invalid value: "foo-"' in text
    assert 'Invalid value: "bar.."' in text
    assert "safe-and-unsafe" not in text
    assert "kernel.shmmax" not in text


@pytest.mark.conformance(
    "[sig-node] Kubelet when scheduling an agnhost Pod with hostAliases should write entries to /etc/hosts [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] KubeletManagedEtcHosts should test kubelet managed /etc/hosts file [NodeConformance] [Conformance]"
)
def test_hosts_files(ran: Space) -> None:
    managed = "# Kubernetes-managed hosts file."
    told = ran.output("aliases")
    assert told.startswith(managed)
    assert "# Entries added by HostAliases.\n123.45.67.89\tfoo\tbar\n" in told
    told = ran.output("hosts", "managed")
    assert managed in told
    assert f"{ran.get('Pod', 'hosts')['status']['podIP']}\thosts\n" in told
    assert ran.output("hosts", "own") == "value-1"
    assert managed not in ran.output("hosts-host")
    told = ran.output("named")
    full = f"name.sub.{ran.name}.svc.cluster.local"
    assert told.startswith(f"name\n{full}\n")
    assert f"\t{full}\tname\n" in told


@pytest.mark.conformance(
    "[sig-node] InitContainer [NodeConformance] should invoke init containers on a RestartNever pod [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] InitContainer [NodeConformance] should invoke init containers on a RestartAlways pod [Conformance]"
)
def test_init_containers_run_first(ran: Space) -> None:
    done = ran.ended("init-never")
    lives = ran.ready("init-always")
    for seen in (done, lives):
        conditions = {c["type"]: c["status"] for c in seen["status"]["conditions"]}
        assert conditions["Initialized"] == "True"
        assert [c["name"] for c in seen["status"]["initContainerStatuses"]] == ["init1", "init2"]
        for one in seen["status"]["initContainerStatuses"]:
            assert one["ready"]
            assert one["state"]["terminated"]["exitCode"] == 0
    assert done["status"]["phase"] == "Succeeded"


@pytest.mark.conformance(
    "[sig-node] Container Runtime blackbox test when starting a container that exits should run with the expected status [NodeConformance] [Conformance]"
)
def test_restart_policies(ran: Space) -> None:
    again = ran.until("rpa", lambda p: state(p).get("restartCount", 0) >= 2, "restarts")
    assert again["status"]["phase"] == "Running"
    once = ran.ended("rpof")
    assert once["status"]["phase"] == "Succeeded"
    assert state(once)["restartCount"] == 1
    assert not state(once)["ready"]
    never = ran.ended("rpn")
    assert never["status"]["phase"] == "Failed"
    assert state(never)["restartCount"] == 0
    end = state(never)["state"]["terminated"]
    assert (end["exitCode"], end["reason"]) == (1, "Error")


@pytest.mark.conformance(
    "[sig-node] InitContainer [NodeConformance] should not start app containers and fail the pod if init containers fail on a RestartNever pod [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] InitContainer [NodeConformance] should not start app containers if init containers fail on a RestartAlways pod [Conformance]"
)
def test_failing_init_containers_hold_the_others(ran: Space) -> None:
    seen = ran.ended("init-bad-never")
    assert seen["status"]["phase"] == "Failed"
    first, second = seen["status"]["initContainerStatuses"]
    assert first["state"]["terminated"]["exitCode"] == 0
    assert second["state"]["terminated"]["exitCode"] == 1
    assert state(seen)["state"] == {"waiting": {"reason": "PodInitializing"}}
    conditions = {c["type"]: c for c in seen["status"]["conditions"]}
    assert conditions["Initialized"]["status"] == "False"
    seen = ran.until(
        "init-bad-always",
        lambda p: state(p, "init1", "initContainerStatuses").get("restartCount", 0) >= 2,
        "restarts its init container",
        60,
    )
    assert seen["status"]["phase"] == "Pending"
    conditions = {c["type"]: c for c in seen["status"]["conditions"]}
    assert conditions["Initialized"]["status"] == "False"
    assert conditions["Initialized"]["reason"] == "ContainersNotInitialized"
    assert (
        conditions["Initialized"]["message"] == "containers with incomplete status: [init1 init2]"
    )
    two = seen["status"]["initContainerStatuses"][1]
    assert "waiting" in two["state"]
    assert two["restartCount"] == 0
    assert state(seen)["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert not state(seen)["ready"]
