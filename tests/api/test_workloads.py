"""Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, CronJobs."""

import pytest

from skiff.api import cron
from skiff.api.kinds import strategy_for
from skiff.api.kinds.workloads import validate_workload_template
from skiff.api.resources import JOBS, REPLICASETS, by_kind

from .kinds import NOW, container, created, faults, row, updated, workload

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
MISMATCH = "`selector` does not match template `labels`"


def set_image(obj):
    obj["spec"]["template"]["spec"]["containers"][0]["image"] = "img:2"


def test_deployment_defaults():
    spec = created(workload("Deployment"))["spec"]
    template = spec.pop("template")
    assert template["spec"]["dnsPolicy"] == "ClusterFirst"
    assert "enableServiceLinks" not in template["spec"]
    assert spec == {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "web"}},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
        },
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    }


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (workload("Deployment"), []),
        (workload("Deployment", replicas=-1),
         ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
        (workload("Deployment", selector=None), ["spec.selector: Required value"]),
        (workload("Deployment", selector={}),
         ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]),
        (workload("Deployment", selector={"matchLabels": {"app": "db"}}),
         ['spec.template.metadata.labels: Invalid value: {"app":"web"}: ' + MISMATCH]),
        (workload("Deployment", restart="Never"),
         ['spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"']),
        (workload("Deployment", strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}),
         ['spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when '
          "`maxSurge` is 0"]),
        (workload("Deployment", strategy={"type": "Recreate", "rollingUpdate": {}}),
         ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is "
          "'Recreate'"]),
        (workload("Deployment", minReadySeconds=600),
         ["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"]),
        (workload("DaemonSet", updateStrategy={"rollingUpdate": {"maxUnavailable": 0}}),
         ["spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0 when "
          "maxSurge is 0"]),
        (workload("StatefulSet", podManagementPolicy="Any"),
         ["spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'"]),
        (workload("StatefulSet", volumeClaimTemplates=[{"metadata": {"name": "d"}, "spec": {}}]),
         ["spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is "
          "required",
          "spec.volumeClaimTemplates[0].spec.resources[storage]: Required value"]),
    ],
)  # fmt: skip
def test_rules(obj, expected):
    assert faults(obj) == expected


def test_a_statefulsets_containers_mount_its_claims():
    def mounting(name):
        template = {"metadata": {"name": "www"}, "spec": CLAIM}
        obj = workload("StatefulSet", volumeClaimTemplates=[template])
        mount = {"name": name, "mountPath": "/www"}
        obj["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [mount]
        return obj

    assert faults(mounting("www")) == []
    assert faults(mounting("other")) == [
        'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "other"'
    ]


def test_a_deployments_selector_is_immutable():
    def change(obj):
        obj["spec"]["selector"] = {"matchLabels": {"app": "x"}}
        obj["spec"]["template"]["metadata"]["labels"] = {"app": "x"}

    for kind in ("Deployment", "ReplicaSet", "DaemonSet"):
        _, errors = updated(workload(kind), change)
        assert errors == [
            'spec.selector: Invalid value: {"matchLabels":{"app":"x"}}: field is immutable'
        ]


def test_generation_follows_the_spec():
    old = created(workload("Deployment"))
    assert old["metadata"]["generation"] == 1
    new, _ = updated(old, set_image)
    assert new["metadata"]["generation"] == 2
    new, _ = updated(old, lambda o: o["metadata"].update(labels={"a": "b"}))
    assert new["metadata"]["generation"] == 1
    new, _ = updated(old, lambda o: o["metadata"].update(annotations={"a": "b"}))
    assert new["metadata"]["generation"] == 2, "a deployment's annotations reach its ReplicaSets"
    new, _ = updated(old, lambda o: o["metadata"].update(generation=9))
    assert new["metadata"]["generation"] == 1


def test_status_and_spec_are_written_apart():
    old = created(workload("ReplicaSet"))
    assert old["status"] == {"replicas": 0}

    def change(obj):
        set_image(obj)
        obj["spec"]["replicas"] = 5
        obj["status"] = {"replicas": 2}

    new, errors = updated(old, change)
    assert (new["spec"]["replicas"], new["status"], errors) == (5, {"replicas": 0}, [])
    new, errors = updated(old, change, "status")
    assert (new["spec"], new["status"], errors) == (old["spec"], {"replicas": 2}, [])
    assert strategy_for(REPLICASETS).selectable(new) == {"status.replicas": "2"}


def test_what_a_stateful_set_may_change():
    old = created(workload("StatefulSet", serviceName="web"))

    def allowed(obj):
        set_image(obj)
        obj["spec"] |= {"replicas": 3, "minReadySeconds": 1, "updateStrategy": {"type": "OnDelete"}}

    assert updated(old, allowed)[1] == []
    _, errors = updated(old, lambda o: o["spec"].update(serviceName="other"))
    assert errors == [
        "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', "
        "'template', 'updateStrategy', 'revisionHistoryLimit', "
        "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
    ]


def job(restart="Never", **spec):
    obj = workload("Job", "batch/v1", restart, **spec)
    del obj["spec"]["selector"]
    return obj


def test_a_job_selects_its_pods_by_its_uid():
    made = created(job())
    spec = made["spec"]
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}}
    assert spec["template"]["metadata"]["labels"] == {
        "app": "web",
        "batch.kubernetes.io/controller-uid": "u-1",
        "batch.kubernetes.io/job-name": "web",
        "controller-uid": "u-1",
        "job-name": "web",
    }
    assert {k: v for k, v in spec.items() if k not in ("selector", "template")} == {
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "completions": 1,
        "manualSelector": False,
        "parallelism": 1,
        "podReplacementPolicy": "TerminatingOrFailed",
        "suspend": False,
    }
    assert made["metadata"]["labels"] == {"app": "web"}
    assert faults(job()) == []


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (job("Always"),
         ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"']),
        (job(completionMode="Indexed", parallelism=2),
         ["spec.completions: Required value: when completion mode is Indexed"]),
        (job(parallelism=-1), ["spec.parallelism: Invalid value: -1: must be greater than or equal to 0"]),
    ],
)  # fmt: skip
def test_rules_of_jobs(obj, expected):
    assert faults(obj) == expected


def test_a_jobs_template_is_immutable_unless_it_waits_suspended():
    old = created(job())
    _, errors = updated(old, set_image)
    assert [e.partition(":")[0] for e in errors] == ["spec.template"]
    assert errors[0].endswith(": field is immutable")
    suspended = created(job(suspend=True))
    _, errors = updated(
        suspended, lambda o: o["spec"]["template"]["spec"].update(nodeSelector={"a": "b"})
    )
    assert errors == []
    _, errors = updated(old, lambda o: o["spec"].update(parallelism=3, suspend=True))
    assert errors == []


def cron_job(schedule="*/5 * * * *", name="web", **spec):
    obj = workload("CronJob", "batch/v1")
    obj["metadata"]["name"] = name
    template = obj["spec"]["template"]
    template["spec"]["restartPolicy"] = "OnFailure"
    obj["spec"] = {"schedule": schedule, "jobTemplate": {"spec": {"template": template}}, **spec}
    return obj


def test_cron_job_defaults():
    spec = created(cron_job())["spec"]
    assert {k: v for k, v in spec.items() if k != "jobTemplate"} == {
        "schedule": "*/5 * * * *",
        "concurrencyPolicy": "Allow",
        "suspend": False,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 1,
    }
    assert faults(cron_job()) == []


@pytest.mark.parametrize(
    ("schedule", "fault"),
    [
        ("*/5 * * * *", ""),
        ("@hourly", ""),
        ("@every 5m", ""),
        ("0 0 1 jan-mar sun", ""),
        ("0,30 8-18/2 ? * MON-FRI", ""),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("@often", "unrecognized descriptor: @often"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("0-9/2/3 * * * *", "too many slashes: 0-9/2/3"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1,,2 * * * *", ""),
        ("@every 10ms", ""),
        ("@every 5", 'failed to parse duration @every 5: time: missing unit in duration "5"'),
        (
            "@every 5y",
            'failed to parse duration @every 5y: time: unknown unit "y" in duration "5y"',
        ),
        ("TZ=UTC 0 0 * * *", ""),
        (
            "CRON_TZ=Mars/Base 0 0 * * *",
            "provided bad location Mars/Base: unknown time zone Mars/Base",
        ),
    ],
)
def test_schedules(schedule, fault):
    assert cron.fault(schedule) == fault


def test_rules_of_cron_jobs():
    assert faults(cron_job("")) == ["spec.schedule: Required value"]
    assert faults(cron_job(timeZone="Mars/Base")) == [
        'spec.timeZone: Invalid value: "Mars/Base": unknown time zone Mars/Base'
    ]
    assert faults(cron_job(timeZone="Europe/Paris")) == []
    assert faults(cron_job(name="x" * 53)) == [
        f'metadata.name: Invalid value: "{"x" * 53}": must be no more than 52 characters'
    ]


def test_columns():
    made = created(workload("Deployment", replicas=3))
    made["status"] = {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}
    assert row(made, NOW + 60) == {
        "NAME": "web", "READY": "1/3", "UP-TO-DATE": 2, "AVAILABLE": 1, "AGE": "60s",
        "CONTAINERS": "c", "IMAGES": "img:1", "SELECTOR": "app=web",
    }  # fmt: skip
    made = created(workload("ReplicaSet", replicas=3))
    assert row(made) == {
        "NAME": "web", "DESIRED": 3, "CURRENT": 0, "READY": 0, "AGE": "0s",
        "CONTAINERS": "c", "IMAGES": "img:1", "SELECTOR": "app=web",
    }  # fmt: skip
    made = created(workload("DaemonSet"))
    made["status"] |= {"desiredNumberScheduled": 2, "numberReady": 1}
    assert row(made, wide=False) == {
        "NAME": "web", "DESIRED": 2, "CURRENT": 0, "READY": 1, "UP-TO-DATE": 0, "AVAILABLE": 0,
        "NODE SELECTOR": "<none>", "AGE": "0s",
    }  # fmt: skip
    made = created(workload("StatefulSet", replicas=2))
    assert row(made, wide=False) == {"NAME": "web", "READY": "0/2", "AGE": "0s"}
    made = created(job())
    made["status"] = {
        "succeeded": 1,
        "startTime": "2024-01-01T00:00:00Z",
        "completionTime": "2024-01-01T00:00:09Z",
        "conditions": [{"type": "Complete", "status": "True"}],
    }
    assert row(made, NOW + 60, wide=False) == {
        "NAME": "web", "STATUS": "Complete", "COMPLETIONS": "1/1", "DURATION": "9s", "AGE": "60s",
    }  # fmt: skip
    assert strategy_for(JOBS).selectable(made) == {"status.successful": "1"}
    made = created(cron_job())
    assert row(made, wide=False) == {
        "NAME": "web", "SCHEDULE": "*/5 * * * *", "TIMEZONE": "<none>", "SUSPEND": "False",
        "ACTIVE": 0, "LAST SCHEDULE": "<none>", "AGE": "0s",
    }  # fmt: skip


def test_replication_controllers_take_labels_from_their_template():
    obj = workload("ReplicationController", "v1", selector=None)
    made = created(obj)
    assert made["spec"]["selector"] == {"app": "web"}
    assert made["metadata"]["labels"] == {"app": "web"}
    assert faults(obj) == []
    assert row(made)["SELECTOR"] == "app=web"


def test_controller_revisions_are_immutable():
    obj = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": "r",
            "namespace": "ns",
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": True}
            ],
        },
        "data": {"x": container()},
        "revision": 3,
    }  # fmt: skip
    assert faults(obj) == []
    assert row(created(obj)) == {
        "NAME": "r", "CONTROLLER": "daemonset.apps/d", "REVISION": 3, "AGE": "0s",
    }  # fmt: skip
    _, errors = updated(obj, lambda o: o.update(data={}))
    assert errors == ["data: Invalid value: {}: field is immutable"]


def failure_policy(**rule):
    return {"podFailurePolicy": {"rules": [rule]}}


def success_policy(**rule):
    return {
        "successPolicy": {"rules": [rule]}, "completionMode": "Indexed", "completions": 5,
        "parallelism": 2,
    }  # fmt: skip


OMIT = "spec.podFailurePolicy.rules[0]: Invalid value: specifying "
EXIT = "spec.podFailurePolicy.rules[0].onExitCodes"
MET = "spec.successPolicy.rules[0]"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (failure_policy(action="Count"),
         [OMIT + "one of OnExitCodes and OnPodConditions is required"]),
        (failure_policy(action="Ignore", onExitCodes={"operator": "In", "values": [1]},
                        onPodConditions=[{"type": "DisruptionTarget"}]),
         [OMIT + "both OnExitCodes and OnPodConditions is not supported"]),
        (failure_policy(action="FailIndex", onExitCodes={"operator": "In", "values": [0, 3, 2, 2],
                                                         "containerName": "x"}),
         ['spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the '
          "backoffLimitPerIndex to be set",
          EXIT + '.containerName: Invalid value: "x": must be one of the container or initContainer '
          "names in the pod template",
          EXIT + ".values[0]: Invalid value: 0: must not be 0 for the In operator",
          EXIT + ".values[3]: Duplicate value: 2",
          EXIT + ".values: Invalid value: [0,3,2,2]: must be ordered"]),
        (failure_policy(action="Count", onPodConditions=[{"type": "x/y/z", "status": "Maybe"}])
         | {"podReplacementPolicy": "TerminatingOrFailed"},
         ['spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: '
          '"Failed"']),
        ({"maxFailedIndexes": 1},
         ["spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
          "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode"]),
        ({"successPolicy": {"rules": []}},
         ['spec.successPolicy: Invalid value: {"rules":[]}: requires indexed completion mode']),
        (success_policy(),
         [MET + ": Required value: at least one of succeededCount or succeededIndexes must be specified"]),
        (success_policy(succeededIndexes="0-2,2"),
         [MET + '.succeededIndexes: Invalid value: "0-2,2": error parsing succeededIndexes: '
          "non-increasing order, previous: 2, current: 2"]),
        (success_policy(succeededIndexes="0-2-3"),
         [MET + '.succeededIndexes: Invalid value: "0-2-3": error parsing succeededIndexes: the '
          'fragment "0-2-3" violates the requirement that an index interval can have at most two '
          "parts separated by '-'"]),
        (success_policy(succeededIndexes="0,7"),
         [MET + '.succeededIndexes: Invalid value: "0,7": error parsing succeededIndexes: too large '
          'index: "7"']),
        (success_policy(succeededIndexes="0,1", succeededCount=3),
         [MET + ".succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of "
          "indexes in the specified succeededIndexes field)"]),
        ({"managedBy": "me"},
         ['spec.managedBy: Invalid value: "me": must be a domain-prefixed path (such as "acme.io/foo")']),
        ({"managedBy": "example.com/me"}, []),
    ],
)  # fmt: skip
def test_rules_of_job_policies(spec, expected):
    found = faults(job(**spec))
    assert [f for f in found if "onPodConditions" not in f] == expected


def test_a_job_that_brings_the_labels_of_another_is_refused():
    obj = job()
    obj["spec"]["template"]["metadata"]["labels"]["controller-uid"] = "other"
    at = "spec.template.metadata.labels"
    (fault,) = faults(obj)
    assert fault.startswith(f"{at}[controller-uid]: Invalid value: ")
    assert fault.endswith(": must be 'u-1'")
    obj = job()
    obj["spec"]["selector"] = {"matchLabels": {"app": "web"}}
    assert "spec.selector: Invalid value: " in faults(obj)[0]
    assert faults(obj)[0].endswith(": `selector` not auto-generated")
    obj["spec"]["manualSelector"] = True
    assert faults(obj) == []


def test_an_indexed_job_changes_its_size_in_tandem():
    old = created(job(completionMode="Indexed", completions=3, parallelism=2))
    _, errors = updated(old, lambda o: o["spec"].update(completions=4))
    assert errors == [
        "spec.completions: Invalid value: 4: can only be modified in tandem with spec.parallelism"
    ]
    _, errors = updated(old, lambda o: o["spec"].update(completions=4, parallelism=4))
    assert errors == []
    _, errors = updated(created(job()), lambda o: o["spec"].update(completions=4, parallelism=4))
    assert errors == ["spec.completions: Invalid value: 4: field is immutable"]


def test_a_jobs_name_becomes_host_names():
    obj = job(completionMode="Indexed", completions=11, parallelism=1)
    obj["metadata"]["name"] = "x" * 61
    assert faults(obj) == [
        f'metadata.name: Invalid value: "{"x" * 61}": will not able to create pod with invalid DNS '
        f"label: {'x' * 61}-10"
    ]
    obj = job()
    obj["metadata"]["name"] = "a.b"
    (warning,) = strategy_for(JOBS).warnings(created(obj))
    assert warning.startswith("metadata.name: this is used in Pod names and hostnames, which can")


def test_what_of_a_suspended_jobs_template_may_change():
    near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}}
    wants = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
    suspended = created(job(suspend=True))

    def pods(**change):
        return lambda o: o["spec"]["template"]["spec"].update(change)

    for change, allowed in ((pods(affinity=wants), True), (pods(affinity=near), False)):
        _, errors = updated(suspended, change)
        assert (errors == []) is allowed
    started = created(job(suspend=True))
    started["status"] = {"startTime": "2024-01-01T00:00:00Z"}
    _, errors = updated(started, pods(nodeSelector={"a": "b"}))
    assert errors
    started["status"]["conditions"] = [{"type": "Suspended", "status": "True"}]
    _, errors = updated(started, pods(nodeSelector={"a": "b"}))
    assert errors == []
    started["status"]["active"] = 1
    _, errors = updated(started, pods(nodeSelector={"a": "b"}))
    assert errors


def true(*kinds):
    return [{"type": kind, "status": "True"} for kind in kinds]


THEN, LATER = "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"
BEGUN = {"startTime": THEN}
DONE = BEGUN | {"completionTime": LATER, "conditions": true("SuccessCriteriaMet", "Complete")}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, BEGUN | {"active": 1, "ready": 1}, []),
        (BEGUN, DONE, []),
        (BEGUN, DONE | {"active": 1}, ["status.active: Invalid value: 1: active>0 is invalid for finished job"]),
        (BEGUN, {"startTime": LATER}, ["status.startTime: Required value: startTime cannot be removed for unsuspended job"]),
        (BEGUN | {"failed": 1}, BEGUN, ["status.failed: Invalid value: 0: cannot decrease the failed counter"]),
        (BEGUN | {"succeeded": 1}, BEGUN, ["status.succeeded: Invalid value: 0: cannot decrease the succeeded counter"]),
        (DONE, BEGUN | {"conditions": true("SuccessCriteriaMet")},
         ["status.conditions: Invalid value: cannot disable the terminal Complete=True condition"]),
        (BEGUN, BEGUN | {"conditions": true("SuccessCriteriaMet", "Complete")},
         ["status.completionTime: Required value: completionTime is required for Complete jobs"]),
        (BEGUN, BEGUN | {"completionTime": LATER},
         [f'status.completionTime: Invalid value: "{LATER}": cannot set completionTime when there is no '
          "Complete=True condition"]),
        (BEGUN, BEGUN | {"conditions": true("Failed")},
         ["status.conditions: Invalid value: cannot set Failed=True condition without the "
          "FailureTarget=true condition"]),
        (BEGUN, BEGUN | {"conditions": true("SuccessCriteriaMet", "FailureTarget")},
         ["status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true "
          "conditions"]),
        ({}, {"conditions": true("FailureTarget", "Failed")},
         ["status.startTime: Required value: startTime is required for finished job"]),
        (BEGUN, BEGUN | {"ready": 2, "active": 1},
         ["status.ready: Invalid value: 2: cannot set more ready pods than active"]),
        (BEGUN, BEGUN | {"completedIndexes": "0"},
         ['status.completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes when '
          "non-indexed completion mode"]),
        (BEGUN, BEGUN | {"failedIndexes": ""},
         ['status.failedIndexes: Invalid value: "": cannot set non-null failedIndexes when '
          "backoffLimitPerIndex is null"]),
        (BEGUN, BEGUN | {"uncountedTerminatedPods": {"succeeded": ["a"], "failed": ["a", ""]}},
         ['status.uncountedTerminatedPods.failed[0]: Duplicate value: "a"',
          'status.uncountedTerminatedPods.failed[1]: Invalid value: "": must not be empty']),
    ],
)  # fmt: skip
def test_rules_of_a_jobs_status(old, new, expected):
    before = created(job())
    before["status"] = old
    _, errors = updated(before, lambda o: o.update(status=new), "status")
    assert errors == expected


def test_failed_and_completed_indexes_are_apart():
    before = created(
        job(completionMode="Indexed", completions=5, parallelism=5, backoffLimitPerIndex=1)
    )
    wrong = {"completedIndexes": "0-2,9", "failedIndexes": "2"}
    _, errors = updated(before, lambda o: o.update(status=wrong), "status")
    assert errors == [
        'status.completedIndexes: Invalid value: "0-2,9": error parsing completedIndexes: too large '
        'index: "9"'
    ]
    wrong = {"completedIndexes": "0-2", "failedIndexes": "2"}
    _, errors = updated(before, lambda o: o.update(status=wrong), "status")
    assert errors == [
        'status.failedIndexes: Invalid value: "2": failedIndexes and completedIndexes overlap at '
        "index: 2"
    ]


def test_time_zones_have_their_own_field():
    zoned = "TZ=UTC 0 0 * * *"
    assert faults(cron_job(zoned)) == [
        f'spec.schedule: Invalid value: "{zoned}": cannot use TZ or CRON_TZ in schedule, use timeZone '
        "field instead"
    ]
    old = created(cron_job())
    _, errors = updated(old, lambda o: o["spec"].update(schedule=zoned))
    assert len(errors) == 1
    old["spec"]["schedule"] = zoned
    _, errors = updated(old, lambda o: o["spec"].update(schedule="TZ=UTC 0 1 * * *"))
    assert errors == []
    _, errors = updated(old, lambda o: o["spec"].update(timeZone="Etc/UTC"))
    assert errors == [
        f'spec.schedule: Invalid value: "{zoned}": cannot use both timeZone field and TZ or CRON_TZ in '
        "schedule"
    ]
    assert faults(cron_job(timeZone="local")) == [
        'spec.timeZone: Invalid value: "local": timeZone must be an explicit time zone as defined in '
        "https://www.iana.org/time-zones",
        'spec.timeZone: Invalid value: "local": unknown time zone local',
    ]


def test_daemon_sets_count_their_templates():
    name = "deprecated.daemonset.template.generation"
    made = created(workload("DaemonSet"))
    assert made["metadata"]["annotations"] == {name: "1"}
    new, errors = updated(made, set_image)
    assert (new["metadata"]["annotations"][name], errors) == ("2", [])
    new, _ = updated(made, lambda o: o["metadata"]["annotations"].clear())
    assert new["metadata"]["annotations"] == {name: "1"}


def test_stateful_set_defaults():
    spec = created(workload("StatefulSet"))["spec"]
    assert spec["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"partition": 0, "maxUnavailable": 1},
    }
    plain = created(workload("StatefulSet", updateStrategy={"type": "RollingUpdate"}))["spec"]
    assert plain["updateStrategy"] == {"type": "RollingUpdate"}


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "ReplicationController"])
def test_names_become_host_names(kind):
    obj = workload(kind, "v1" if kind == "ReplicationController" else "apps/v1")
    if kind == "ReplicationController":
        obj["spec"]["selector"] = {"app": "web"}
    made = created(obj)
    strategy = strategy_for(by_kind(made["apiVersion"], kind))
    assert strategy.warnings(made) == []
    made["metadata"]["name"] = "a.b"
    assert strategy.warnings(made) == [
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising "
        "behavior; a DNS label is recommended: [must not contain dots]"
    ]
    assert strategy.warnings(made, {**made, "spec": {}}) == []


@pytest.mark.parametrize(
    ("kind", "told"), [("Deployment", ": invalid label selector"), ("StatefulSet", "")]
)
def test_an_unreadable_selector_hides_the_template(kind, told):
    selector = {"matchExpressions": [{"key": "a", "operator": "Like", "values": ["b"]}]}
    spec = {"selector": selector, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {}}}
    found = validate_workload_template(spec, "spec", kind=kind)
    assert [str(e) for e in found] == [
        'spec.selector: Invalid value: {"matchExpressions":[{"key":"a","operator":"Like","values":'
        f'["b"]}}]}}{told}'
    ]
