"""Fixtures of the server's tests."""

import pytest

from tests.server.objects import FakeObjects


@pytest.fixture
def objects() -> FakeObjects:
    return FakeObjects()
