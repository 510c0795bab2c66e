"""What every behaviour asserts without saying so: no part of the cluster met a defect."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_defects(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Components log what must not happen (a bug, a lost task) as errors."""
    yield
    errors = [r for when in ("setup", "call") for r in caplog.get_records(when)]
    told = [
        f"{r.name}: {r.getMessage()} {r.exc_info or ''}"
        for r in errors
        if r.levelno >= logging.ERROR
    ]
    assert not told
