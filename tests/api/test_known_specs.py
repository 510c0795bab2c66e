"""Pod specs that are remembered as faultless: the memory never changes an answer."""

from typing import Any

import pytest

from skiff.api.kinds import known_specs, strategy_for
from skiff.api.resources import PODS

STRATEGY = strategy_for(PODS)


def spec(token: str = "kube-api-access-bcdfg", **more: Any) -> dict[str, Any]:
    mount = {"name": token, "mountPath": "/var/run/secrets/x"}
    container = {
        "name": "main",
        "image": "i",
        "imagePullPolicy": "Always",
        "terminationMessagePolicy": "File",
        "volumeMounts": [mount],
    }
    return {
        "containers": [container],
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "volumes": [{"name": token, "emptyDir": {}}],
        **more,
    }


def pod(of: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "default"}, "spec": of}


def test_only_the_name_of_the_token_volume_is_overlooked():
    key = known_specs.key_of(spec())
    assert key == known_specs.key_of(spec("kube-api-access-2467x"))
    assert key != known_specs.key_of(spec(priority=1))


@pytest.mark.parametrize("suffix", ["ABCDE", "bcdf", "bc fg", "bcdf-", "bcdfé", '",x"y'])
def test_what_is_no_such_name_stays_in_the_key(suffix):
    key = known_specs.key_of(spec("kube-api-access-" + suffix))
    assert key != known_specs.key_of(spec())
    assert b"\0" not in key


def test_a_second_name_stays_in_the_key():
    one = spec()
    one["volumes"].append({"name": "kube-api-access-zzzzz", "emptyDir": {}})
    other = spec("kube-api-access-zzzzz")
    other["volumes"].append({"name": "kube-api-access-bcdfg", "emptyDir": {}})
    same = spec()
    same["volumes"].append({"name": "kube-api-access-bcdfg", "emptyDir": {}})
    keys = {known_specs.key_of(s) for s in (one, other, same)}
    assert len(keys) == 3
    assert STRATEGY.validate_body(pod(one)) == []
    assert STRATEGY.validate_body(pod(same)) != []


def test_a_fault_is_found_however_often_its_like_was_right():
    for _ in range(3):
        assert STRATEGY.validate_body(pod(spec())) == []
        assert STRATEGY.validate_body(pod(spec(restartPolicy="Perhaps"))) != []
        wrong = spec()
        wrong["containers"][0]["volumeMounts"][0]["name"] = "kube-api-access-zzzzz"
        assert STRATEGY.validate_body(pod(wrong)) != []


def test_a_warning_is_given_each_time():
    old = spec(nodeSelector={"beta.kubernetes.io/os": "linux"})
    for _ in range(3):
        assert STRATEGY.warnings(pod(spec())) == []
        assert len(STRATEGY.warnings(pod(old))) == 1


def test_few_are_remembered_and_none_that_is_large():
    known = known_specs.Known()
    for i in range(known_specs.SPECS_MAX + 1):
        known.note(b"%d" % i)
    assert not known.knows(b"0")
    assert known.knows(b"1")
    known.note(known_specs.key_of(spec(hostname="x" * known_specs.BYTES_MAX)))
    assert not known.knows(b"")
