"""Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, CronJobs."""

import pytest

from skiff.api.kinds import cron, strategy_for
from skiff.api.resources import JOBS, REPLICASETS

from .kinds import NOW, container, created, faults, row, updated, workload

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
