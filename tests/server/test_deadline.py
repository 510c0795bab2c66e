"""The `timeout` of a request's URL."""

import pytest

from skiff.server.deadline import duration_fault
from tests.server.engine_world import CONFIGMAPS, World, play


@pytest.mark.parametrize(
    "text", ["0", "0s", "3m", "1h2m3.5s", "-1s", "+.5s", "1.s", "10ms", "5us", "5µs", "7ns"]
)
def test_durations(text: str) -> None:
    assert duration_fault(text) == ""


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("invalid", 'invalid duration "invalid"'),
        ("5", 'missing unit in duration "5"'),
        ("3d", 'unknown unit "d" in duration "3d"'),
        ("-", 'invalid duration "-"'),
        (".s", 'invalid duration ".s"'),
        ("1s x", 'unknown unit "s x" in duration "1s x"'),
    ],
)
def test_what_is_no_duration(text: str, fault: str) -> None:
    assert duration_fault(text) == f"time: {fault}"


def test_a_bad_timeout_is_refused() -> None:
    async def test(w: World) -> None:
        for path in (CONFIGMAPS, "/version"):
            answer = await w.get(path, timeout="invalid")
            assert answer.status == 400
            assert answer.message == (
                'invalid timeout specified in the request URL - time: invalid duration "invalid"'
            )
        for timeout in ("3m", "0s", ""):
            assert (await w.get(CONFIGMAPS, timeout=timeout)).status == 200
        watching = await w.watch(CONFIGMAPS, timeout="invalid")
        await watching.close()

    play(test)
