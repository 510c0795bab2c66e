"""Pods: defaults, rules, what an update may change, quality of service, columns."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.api.errors import BadRequest
from skiff.api.kinds import invalid_object, strategy_for
from skiff.api.kinds.columns import human_duration
from skiff.api.kinds.pod_defaults import pull_policy
from skiff.api.kinds.pods import UPDATE_FORBIDDEN, qos_class
from skiff.api.resources import CONFIGMAPS, PODS

from .kinds import NOW, container, created, faults, pod, row, updated

HTTP = {"httpGet": {"port": 80}}


def test_a_small_pod_gets_kubernetes_defaults():
    made = created(
        pod(
            container(
                ports=[{"containerPort": 80}],
                livenessProbe=HTTP,
                env=[{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                resources={"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "500m"}},
            ),
            serviceAccountName="robot",
            volumes=[
                {"name": "a"},
                {"name": "b", "secret": {"secretName": "s"}},
                {"name": "c", "hostPath": {"path": "/x"}},
                {
                    "name": "d",
                    "projected": {
                        "sources": [
                            {"serviceAccountToken": {"path": "t"}},
                            {"downwardAPI": {"items": [
                                {"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                        ]
                    },
                },
            ],
        )
    )  # fmt: skip
    assert made["status"] == {"phase": "Pending", "qosClass": "Burstable"}
    assert made["metadata"]["generation"] == 1
    spec = made["spec"]
    found = spec.pop("containers")[0]
    assert spec == {
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
        "enableServiceLinks": True,
        "serviceAccountName": "robot",
        "serviceAccount": "robot",
        "volumes": [
            {"name": "a", "emptyDir": {}},
            {"name": "b", "secret": {"secretName": "s", "defaultMode": 420}},
            {"name": "c", "hostPath": {"path": "/x", "type": ""}},
            {
                "name": "d",
                "projected": {
                    "defaultMode": 420,
                    "sources": [
                        {"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}},
                        {"downwardAPI": {"items": [{"path": "n", "fieldRef": {
                            "apiVersion": "v1", "fieldPath": "metadata.name"}}]}},
                    ],
                },
            },
        ],
    }  # fmt: skip
    assert found == {
        "name": "c",
        "image": "img:1",
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "ports": [{"containerPort": 80, "protocol": "TCP"}],
        "env": [{"name": "N", "valueFrom": {"fieldRef": {
            "apiVersion": "v1", "fieldPath": "metadata.name"}}}],
        "resources": {
            "limits": {"cpu": "1", "memory": "64Mi"},
            "requests": {"cpu": "500m", "memory": "64Mi"},
        },
        "livenessProbe": {
            "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
            "timeoutSeconds": 1,
            "periodSeconds": 10,
            "successThreshold": 1,
            "failureThreshold": 3,
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.2", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:aa", "IfNotPresent"),
    ],
)
def test_pull_policy_follows_the_tag(image, policy):
    assert pull_policy(image) == policy


def test_host_network_makes_container_ports_host_ports():
    made = created(pod(container(ports=[{"containerPort": 80}]), hostNetwork=True))
    assert made["spec"]["containers"][0]["ports"][0]["hostPort"] == 80


LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must "
    "start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for "
    "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
MOUNT = {"name": "v", "mountPath": "/x"}


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (pod({}), ["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"]),
        (pod(container("A")), [f'spec.containers[0].name: Invalid value: "A": {LABEL}']),
        (pod(container(), container()), ['spec.containers[1].name: Duplicate value: "c"']),
        (
            pod(container(imagePullPolicy="Often")),
            ['spec.containers[0].imagePullPolicy: Unsupported value: "Often": supported values: '
             '"Always", "IfNotPresent", "Never"'],
        ),
        (
            pod(container(ports=[{"containerPort": 70000}])),
            ["spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and "
             "65535, inclusive"],
        ),
        (
            pod(container(ports=[{"containerPort": 80, "protocol": "tcp"}])),
            ['spec.containers[0].ports[0].protocol: Unsupported value: "tcp": supported values: '
             '"SCTP", "TCP", "UDP"'],
        ),
        (
            pod(container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})),
            ['spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to '
             "cpu limit of 1"],
        ),
        (
            pod(container(resources={"limits": {"cpu": "-1"}})),
            ['spec.containers[0].resources.limits[cpu]: Invalid value: "-1": must be greater than or '
             "equal to 0",
             'spec.containers[0].resources.requests[cpu]: Invalid value: "-1": must be greater than or '
             "equal to 0"],
        ),
        (pod(container(volumeMounts=[MOUNT])), ['spec.containers[0].volumeMounts[0].name: Not found: "v"']),
        (
            pod(
                container(volumeMounts=[MOUNT, {**MOUNT, "name": "w"}]),
                volumes=[{"name": "v"}, {"name": "w"}],
            ),
            ['spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/x": must be unique'],
        ),
        (
            pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]),
            ["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            pod(restartPolicy="Sometimes"),
            ['spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", '
             '"OnFailure", "Never"'],
        ),
        (
            pod(container(livenessProbe={})),
            ["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
        ),
        (
            pod(container(livenessProbe={**HTTP, "successThreshold": 2})),
            ["spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
        ),
        (
            pod(container(env=[{"name": "", "value": "x"}, {"name": "A=B"}])),
            ["spec.containers[0].env[0].name: Required value",
             'spec.containers[0].env[1].name: Invalid value: "A=B": a valid environment variable name '
             "must consist only of printable ASCII characters other than '='"],
        ),
        (
            pod(container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}])),
            ['spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: '
             '"metadata.labels": supported values: "metadata.name", "metadata.namespace", '
             '"metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", '
             '"status.hostIPs", "status.podIP", "status.podIPs"'],
        ),
        (
            pod(tolerations=[{"key": "k", "operator": "Exists", "value": "v"}]),
            ['spec.tolerations[0].operator: Invalid value: {"key":"k","operator":"Exists","value":"v"}: '
             "value must be empty when `operator` is 'Exists'"],
        ),
        (
            pod(activeDeadlineSeconds=0),
            ["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
        (
            pod(schedulingGates=[{"name": "g"}], nodeName="n"),
            ["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
        ),
        (
            pod(initContainers=[container("i", livenessProbe=HTTP)]),
            ["spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers "
             "without restartPolicy=Always"],
        ),
        (pod(initContainers=[container("i", livenessProbe=HTTP, restartPolicy="Always")]), []),
        (
            pod(ephemeralContainers=[container("e")]),
            ["spec.ephemeralContainers: Forbidden: cannot be set on create"],
        ),
        (
            pod(container(ports=[{"containerPort": 80, "hostPort": 81}]), hostNetwork=True),
            ["spec.containers[0].ports[0].containerPort: Invalid value: 80: must match `hostPort` when "
             "`hostNetwork` is true"],
        ),
        (
            pod(dnsPolicy="None"),
            ["spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when "
             "`dnsPolicy` is None"],
        ),
        (
            pod(topologySpreadConstraints=[
                {"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]),
            ["spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"],
        ),
        (
            pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": []}}}),
            ["spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution."
             "nodeSelectorTerms: Required value: must have at least one node selector term"],
        ),
        (
            pod(container(securityContext={"runAsUser": -1})),
            ["spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and "
             "2147483647, inclusive"],
        ),
    ],
)  # fmt: skip
def test_rules(obj, expected):
    assert faults(obj) == expected


NO_NAME = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with "
    "an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


def test_what_has_no_name_is_not_found_either():
    assert faults(pod(container(volumeMounts=[{"name": "", "mountPath": "/a"}]))) == [
        "spec.containers[0].volumeMounts[0].name: Required value",
        'spec.containers[0].volumeMounts[0].name: Not found: ""',
    ]
    term = {"topologyKey": "", "labelSelector": {"matchLabels": {"a": "b"}}}
    rule = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    at = "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey"
    assert faults(pod(affinity={"podAffinity": rule})) == [
        f"{at}: Required value: can not be empty",
        f'{at}: Invalid value: "": name part must be non-empty',
        f'{at}: Invalid value: "": {NO_NAME}',
    ]


def test_names_of_sources_of_the_environment():
    at = "spec.containers[0].envFrom[0].configMapRef.name"
    (found,) = faults(pod(container(envFrom=[{"configMapRef": {"name": "/x"}}])))
    assert found.startswith(
        f'{at}: Invalid value: "/x": a lowercase RFC 1123 subdomain must consist'
    )


def test_the_first_of_two_spread_rules_alike_is_told():
    rule = {"maxSkew": 1, "topologyKey": "k", "whenUnsatisfiable": "DoNotSchedule"}
    assert faults(pod(topologySpreadConstraints=[rule, dict(rule)])) == [
        "spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: "
        '"{k, DoNotSchedule}"'
    ]


def test_a_volume_without_a_name_keeps_its_source():
    made = created(pod(volumes=[{"hostPath": {"path": "/x"}}]))
    assert "emptyDir" not in made["spec"]["volumes"][0]


def test_pull_secrets_without_names_are_warned_of():
    made = created(pod(imagePullSecrets=[{"name": "a"}, {"name": "a"}, {}]))
    assert strategy_for(PODS).validate(made) == []
    assert strategy_for(PODS).warnings(made) == [
        'spec.imagePullSecrets[1].name: duplicate name "a"',
        'spec.imagePullSecrets[2].name: invalid empty name ""',
    ]


def test_restart_rules_are_checked():
    codes = {"operator": "In", "values": [42]}
    good = [{"action": a, "exitCodes": codes} for a in ("Restart", "RestartAllContainers")]
    assert faults(pod(container(restartPolicy="Never", restartPolicyRules=good))) == []
    bad = [
        {"action": "DoNotRestart", "exitCodes": {"operator": "Equals"}},
        {"action": "Restart"},
    ]
    rules = "spec.containers[0].restartPolicyRules"
    assert faults(pod(container(restartPolicyRules=bad))) == [
        "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart "
        "rules are used",
        f'{rules}[0].action: Unsupported value: "DoNotRestart": supported values: "Restart", '
        '"RestartAllContainers"',
        f'{rules}[0].exitCodes.operator: Unsupported value: "Equals": supported values: "In", "NotIn"',
        f"{rules}[1].exitCodes: Required value: must be specified",
    ]
    init = container("i", restartPolicyRules=good)
    assert faults(pod(initContainers=[init])) == [
        "spec.initContainers[0].restartPolicy: Required value: must specify restartPolicy when "
        "restart rules are used"
    ]
    assert faults(pod(container(restartPolicy="Never", restartPolicyRules=good * 11))) == [
        f"{rules}: Too many: 22: must have at most 20 items"
    ]


def test_a_negative_grace_period_becomes_the_shortest():
    made = created(pod(terminationGracePeriodSeconds=-1))
    assert made["spec"]["terminationGracePeriodSeconds"] == 1
    change = {"terminationGracePeriodSeconds": -1}
    new, errors = updated(made, lambda o: o["spec"].update(change))
    assert errors == []
    assert new["spec"]["terminationGracePeriodSeconds"] == 1


def test_the_error_names_every_fault_with_its_path():
    obj = created(pod(container("A"), {"name": "b"}))
    error = invalid_object(PODS, "p", strategy_for(PODS).validate(obj))
    assert error.message == (
        f'Pod "p" is invalid: [spec.containers[0].name: Invalid value: "A": {LABEL}, '
        "spec.containers[1].image: Required value]"
    )
    status = error.status()
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert status["details"]["kind"] == "Pod"
    assert status["details"]["causes"][1] == {
        "reason": "FieldValueRequired",
        "message": "Required value",
        "field": "spec.containers[1].image",
    }


def set_image(obj):
    obj["spec"]["containers"][0]["image"] = "img:2"


def test_what_an_update_may_change():
    old = created(pod(activeDeadlineSeconds=10, tolerations=[{"key": "a", "operator": "Exists"}]))

    def change(obj):
        set_image(obj)
        obj["spec"]["activeDeadlineSeconds"] = 5
        obj["spec"]["tolerations"].append({"key": "b", "operator": "Exists"})
        obj["metadata"]["labels"] = {"x": "y"}

    new, errors = updated(old, change)
    assert errors == []
    assert new["metadata"]["generation"] == 2


def test_a_change_of_metadata_keeps_the_generation():
    new, errors = updated(pod(), lambda o: o["metadata"].update(labels={"x": "y"}))
    assert errors == []
    assert new["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda s: s.update(hostname="h"), f"spec: Forbidden: {UPDATE_FORBIDDEN}\n"),
        (
            lambda s: s["containers"][0].update(command=["x"]),
            f"spec: Forbidden: {UPDATE_FORBIDDEN}\n",
        ),
        (
            lambda s: s["containers"].append(container("d")),
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ),
        (
            lambda s: s.update(activeDeadlineSeconds=11),
            "spec.activeDeadlineSeconds: Invalid value: 11: must be less than or equal to previous value",
        ),
        (
            lambda s: s.pop("activeDeadlineSeconds"),
            "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer "
            "to nil value",
        ),
        (
            lambda s: s.update(schedulingGates=[{"name": "new"}]),
            "spec.schedulingGates: Forbidden: only deletion is allowed, but found new scheduling gate "
            "'new'",
        ),
    ],
)
def test_what_an_update_may_not_change(change, error):
    old = created(pod(activeDeadlineSeconds=10))
    _, errors = updated(old, lambda o: change(o["spec"]))
    assert len(errors) == 1
    assert errors[0].startswith(error)


def test_the_forbidden_update_shows_the_fields():
    _, errors = updated(pod(), lambda o: o["spec"].update(hostname="h"))
    assert errors[0].endswith('- spec.hostname: null\n+ spec.hostname: "h"\n')


def test_status_updates_keep_the_spec_and_main_updates_the_status():
    old = created(pod())

    def change(obj):
        set_image(obj)
        obj["status"] = {"phase": "Running"}
        obj["metadata"]["annotations"] = {"a": "b"}

    new, errors = updated(old, change, "status")
    assert errors == []
    assert new["spec"] == old["spec"]
    assert new["status"] == {"phase": "Running", "qosClass": "BestEffort"}
    assert new["metadata"]["annotations"] == {"a": "b"}
    assert new["metadata"]["generation"] == 1
    new, errors = updated(old, change)
    assert new["status"] == old["status"]


def test_gated_pods_may_narrow_their_node_selector_and_drop_gates():
    old = created(pod(schedulingGates=[{"name": "g"}]))
    assert old["status"]["conditions"][0]["reason"] == "SchedulingGated"
    new, errors = updated(old, lambda o: o["spec"].update(nodeSelector={"disk": "ssd"}))
    assert errors == []
    _, errors = updated(new, lambda o: o["spec"].update(nodeSelector={}))
    assert errors[0].startswith("spec: Forbidden: ")
    _, errors = updated(new, lambda o: o["spec"].pop("schedulingGates"))
    assert errors == []


def test_ephemeral_containers_are_added_through_their_subresource_alone():
    old = created(pod())

    def add(obj):
        obj["spec"]["ephemeralContainers"] = [container("debug")]
        set_image(obj)

    new, errors = updated(old, add, "ephemeralcontainers")
    assert errors == []
    assert new["spec"]["containers"] == old["spec"]["containers"]
    assert [c["name"] for c in new["spec"]["ephemeralContainers"]] == ["debug"]
    _, errors = updated(new, lambda o: o["spec"].pop("ephemeralContainers"), "ephemeralcontainers")
    assert errors == [
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "debug" may not be removed\n'
    ]


def test_resize_changes_resources_alone():
    old = created(pod(container(resources={"requests": {"cpu": "1"}})))

    def resize(obj):
        set_image(obj)
        obj["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "2"}}

    new, errors = updated(old, resize, "resize")
    assert errors == []
    assert new["spec"]["containers"][0]["image"] == "img:1"
    assert new["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "2"}}
    assert new["metadata"]["generation"] == 2


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([{}], "BestEffort"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"requests": {"cpu": "0"}}], "BestEffort"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}], "Burstable"),
        ([{"limits": {"cpu": "1000m", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
    ],
)  # fmt: skip
def test_quality_of_service(resources, expected):
    made = created(pod(*(container(f"c{i}", resources=r) for i, r in enumerate(resources))))
    assert qos_class(made["spec"]) == expected
    assert made["status"]["qosClass"] == expected


def test_selectable_fields():
    made = created(pod(nodeName="n1", serviceAccountName="robot"))
    made["status"] |= {"podIPs": [{"ip": "10.0.0.1"}], "phase": "Running"}
    strategy = strategy_for(PODS)
    assert strategy.selectable(made) == {
        "spec.nodeName": "n1",
        "spec.restartPolicy": "Always",
        "spec.schedulerName": "default-scheduler",
        "spec.serviceAccountName": "robot",
        "spec.hostNetwork": "false",
        "status.phase": "Running",
        "status.podIP": "10.0.0.1",
        "status.podIPs": "10.0.0.1",
    }
    for label in (*strategy.selectable_fields, "metadata.name", "metadata.namespace"):
        strategy.check_field_label(label)
    with pytest.raises(BadRequest, match=r"^field label not supported: spec\.foo$"):
        strategy.check_field_label("spec.foo")
    with pytest.raises(BadRequest) as e:
        strategy_for(CONFIGMAPS).check_field_label("data.x")
    assert e.value.message == (
        '"data.x" is not a known field selector: only "metadata.name", "metadata.namespace"'
    )


def state(**states):
    return {"state": states}


def statuses(*found):
    return [{"name": f"c{i}", "ready": False, "restartCount": 0, **s} for i, s in enumerate(found)]


RUNNING = {"ready": True, "started": True, **state(running={})}


def shown(containers=1, init=(), deleted=False, gates=(), **status):
    obj = pod(*(container(f"c{i}") for i in range(containers)), initContainers=list(init))
    obj["metadata"]["creationTimestamp"] = "2024-01-01T00:00:00Z"
    if deleted:
        obj["metadata"]["deletionTimestamp"] = "2024-01-01T00:00:00Z"
    obj["spec"]["readinessGates"] = list(gates)
    obj["status"] = {"phase": "Running", **status}
    return row(obj, NOW + 600)


INIT = [container("c0"), container("c1")]
SIDECAR = [container("c0", restartPolicy="Always")]
READY = [{"type": "Ready", "status": "True"}]


@pytest.mark.parametrize(
    ("given", "ready", "status", "restarts"),
    [
        ({"phase": "Pending"}, "0/1", "Pending", "0"),
        ({"containerStatuses": statuses(RUNNING)}, "1/1", "Running", "0"),
        ({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]},
         "0/1", "SchedulingGated", "0"),
        ({"containerStatuses": statuses(state(waiting={"reason": "ContainerCreating"}))},
         "0/1", "ContainerCreating", "0"),
        ({"containerStatuses": statuses({
            **state(waiting={"reason": "CrashLoopBackOff"}), "restartCount": 2,
            "lastState": {"terminated": {"finishedAt": "2024-01-01T00:05:00Z"}}})},
         "0/1", "CrashLoopBackOff", "2 (5m ago)"),
        ({"phase": "Succeeded", "containerStatuses": statuses(
            state(terminated={"reason": "Completed", "exitCode": 0}))}, "0/1", "Completed", "0"),
        ({"containerStatuses": statuses(state(terminated={"signal": 9}))}, "0/1", "Signal:9", "0"),
        ({"containerStatuses": statuses(state(terminated={"exitCode": 3}))}, "0/1", "ExitCode:3", "0"),
        ({"containers": 2, "conditions": READY, "containerStatuses": statuses(
            state(terminated={"reason": "Completed", "exitCode": 0}), RUNNING)}, "1/2", "Running", "0"),
        ({"containers": 2, "containerStatuses": statuses(
            state(terminated={"reason": "Completed", "exitCode": 0}), RUNNING)}, "1/2", "NotReady", "0"),
        ({"init": INIT, "phase": "Pending", "initContainerStatuses": statuses(
            state(terminated={"exitCode": 0}), state(running={}))}, "0/1", "Init:1/2", "0"),
        ({"init": INIT, "phase": "Pending", "initContainerStatuses": statuses(
            {**state(waiting={"reason": "CrashLoopBackOff"}), "restartCount": 3})},
         "0/1", "Init:CrashLoopBackOff", "3"),
        ({"init": INIT, "phase": "Pending", "initContainerStatuses": statuses(
            state(terminated={"exitCode": 1, "reason": "Error"}))}, "0/1", "Init:Error", "0"),
        ({"init": SIDECAR, "initContainerStatuses": statuses(RUNNING),
          "containerStatuses": statuses(RUNNING)}, "2/2", "Running", "0"),
        ({"deleted": True, "containerStatuses": statuses(RUNNING)}, "1/1", "Terminating", "0"),
        ({"deleted": True, "reason": "NodeLost"}, "0/1", "Unknown", "0"),
        ({"phase": "Failed", "reason": "Evicted"}, "0/1", "Evicted", "0"),
    ],
)  # fmt: skip
def test_columns(given, ready, status, restarts):
    cells = shown(**given)
    assert (cells["READY"], cells["STATUS"], cells["RESTARTS"]) == (ready, status, restarts)
    assert (cells["NAME"], cells["AGE"]) == ("p", "10m")


def test_wide_columns():
    cells = shown(
        podIPs=[{"ip": "10.0.0.1"}],
        gates=[{"conditionType": "x"}, {"conditionType": "y"}],
        conditions=[{"type": "x", "status": "True"}],
    )
    assert list(cells) == [
        "NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED NODE",
        "READINESS GATES",
    ]  # fmt: skip
    assert (cells["IP"], cells["NODE"], cells["READINESS GATES"]) == ("10.0.0.1", "<none>", "1/2")
    narrow = {c.name for c in strategy_for(PODS).columns.columns if not c.priority}
    assert narrow == {"Name", "Ready", "Status", "Restarts", "Age"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (-0.5, "0s"), (-5, "<invalid>"), (119, "119s"), (120, "2m"), (125, "2m5s"),
        (599, "9m59s"), (600, "10m"), (3 * 3600 - 1, "179m"), (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"), (8 * 3600, "8h"), (47 * 3600, "47h"), (48 * 3600, "2d"),
        (49 * 3600, "2d1h"), (8 * 86400, "8d"), (729 * 86400, "729d"), (731 * 86400, "2y1d"),
        (8 * 365 * 86400, "8y"),
    ],
)  # fmt: skip
def test_durations(seconds, text):
    assert human_duration(seconds) == text


@given(st.integers(0, 10**9))
def test_durations_have_two_units_at_most(seconds):
    assert sum(c.isalpha() for c in human_duration(seconds)) <= 2


def test_warnings():
    made = created(
        pod(
            container(
                env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
                ports=[{"containerPort": 80}, {"containerPort": 80}],
                resources={"limits": {"memory": "100m"}},
            ),
            nodeSelector={"beta.kubernetes.io/os": "linux"},
        )
    )
    out = strategy_for(PODS).warnings(made)
    assert out == [
        'spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead',
        'spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer',
        'spec.containers[0].resources.requests[memory]: fractional byte value "100m" is invalid, must be an integer',
        'spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply',
        "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
    ]
    assert strategy_for(PODS).warnings(made, copy.deepcopy(made)) == []


def test_a_name_that_is_no_host_name_is_warned_of():
    made = created(pod(container()))
    assert strategy_for(PODS).warnings(made) == []
    made["metadata"]["name"] = "a.b"
    assert strategy_for(PODS).warnings(made) == [
        "metadata.name: this is used in the Pod's hostname, which can result in surprising "
        "behavior; a DNS label is recommended: [must not contain dots]"
    ]
    assert strategy_for(PODS).warnings(made, copy.deepcopy(made)) == []


def test_label_keys_are_written_into_the_selectors_of_a_pod():
    def asks(**selector):
        obj = pod(
            topologySpreadConstraints=[
                {
                    "maxSkew": 1,
                    "topologyKey": "zone",
                    "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": selector,
                    "matchLabelKeys": ["hash"],
                }
            ]
        )
        obj["metadata"]["labels"] = {"app": "web", "hash": "1"}
        return obj

    good = asks(matchLabels={"app": "web"})
    assert faults(good) == []
    (constraint,) = created(good)["spec"]["topologySpreadConstraints"]
    assert constraint["labelSelector"] == {
        "matchLabels": {"app": "web"},
        "matchExpressions": [{"key": "hash", "operator": "In", "values": ["1"]}],
    }
    words = (
        'matchLabelKeys[0]: Invalid value: "hash": exists in both matchLabelKeys and labelSelector'
    )
    for twice in (
        asks(matchLabels={"hash": "1"}),
        asks(matchExpressions=[{"key": "hash", "operator": "Exists"}]),
    ):
        assert faults(twice) == [f"spec.topologySpreadConstraints[0].{words}"]


def annotated(annotations, **spec):
    made = pod(container(), **spec)
    made["metadata"]["annotations"] = annotations
    return made


COST = "controller.kubernetes.io/pod-deletion-cost"
MIRROR = "kubernetes.io/config.mirror"
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


@pytest.mark.parametrize("cost", ["+10", "008", "ten", "", "2147483648", "-2147483649", "1.5"])
def test_a_deletion_cost_is_a_number(cost):
    assert faults(annotated({COST: cost})) == [
        f'metadata.annotations[{COST}]: Invalid value: "{cost}": must be a 32bit integer'
    ]


@pytest.mark.parametrize("cost", ["0", "10", "-10", "2147483647", "-2147483648"])
def test_a_deletion_cost_may_be_negative(cost):
    assert faults(annotated({COST: cost})) == []


def test_what_annotations_say_of_a_pod_is_checked():
    assert faults(annotated({MIRROR: "x"})) == [
        f'metadata.annotations[{MIRROR}]: Invalid value: "x": '
        "must set spec.nodeName if mirror pod annotation is set"
    ]
    assert faults(annotated({MIRROR: "x"}, nodeName="n")) == []
    assert faults(annotated({APPARMOR + "nobody": "mine"})) == [
        f'metadata.annotations[{APPARMOR}nobody]: Invalid value: "nobody": container not found',
        f'metadata.annotations[{APPARMOR}nobody]: Invalid value: "mine": '
        'invalid AppArmor profile name: "mine"',
    ]


def test_some_annotations_stay_as_they_are():
    name = container()["name"]
    old = annotated({APPARMOR + name: "unconfined", MIRROR: "x", "free": "1"}, nodeName="n")

    def change(**annotations):
        return lambda p: p["metadata"].update(annotations={"free": "2", **annotations})

    where = "metadata.annotations"
    assert updated(old, change())[1] == [
        f"{where}[{APPARMOR}{name}]: Forbidden: may not remove or update AppArmor annotations",
        f"{where}[{MIRROR}]: Forbidden: may not remove or update mirror pod annotation",
    ]
    plain = annotated({"free": "1"}, nodeName="n")
    assert updated(plain, change(**{MIRROR: "x"}))[1] == [
        f"{where}[{MIRROR}]: Forbidden: may not add mirror pod annotation"
    ]
    assert updated(plain, change(**{APPARMOR + name: "unconfined"}))[1] == [
        f"{where}[{APPARMOR}{name}]: Forbidden: may not add AppArmor annotations"
    ]
    assert updated(plain, change())[1] == []
