"""The kubelet's health endpoint and the counts of its checks."""

import pytest

from skiff.node.health import NodeHealth


def broken() -> None:
    raise OSError("gone")


def test_all_is_well() -> None:
    health = NodeHealth(lambda: None)
    assert (health.answer("", "").status, health.answer("", "").body) == (200, b"ok")
    verbose = health.answer("verbose", "").body
    assert verbose == b"[+]ping ok\n[+]log ok\n[+]syncloop ok\nhealthz check passed\n"
    assert health.answer("", "syncloop").body == b"ok"
    assert health.answer("", "nothing").status == 404


def test_a_check_that_fails() -> None:
    health = NodeHealth(broken)
    answer = health.answer("", "")
    assert answer.status == 500
    assert answer.body == (
        b"[+]ping ok\n[+]log ok\n[-]syncloop failed: reason withheld\nhealthz check failed\n"
    )
    assert health.answer("", "syncloop").body == b"internal server error: gone\n"
    assert health.answer("exclude=syncloop", "").status == 200


@pytest.mark.parametrize(("check", "well"), [(broken, 0), (lambda: None, 1)])
def test_the_counts(check, well: int) -> None:
    health = NodeHealth(check)
    text = health.metrics()
    assert f'kubernetes_healthcheck{{name="syncloop",type="healthz"}} {well}\n' in text
    status = "success" if well else "error"
    total = f'kubernetes_healthchecks_total{{name="syncloop",status="{status}",type="healthz"}} 1\n'
    assert total in text
    assert health.metrics() == text
