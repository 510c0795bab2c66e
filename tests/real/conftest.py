"""The real ring's fixtures: one cluster for the whole run, and the workshop's images."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.harness import WORKSHOP, RealCluster, free_port
from tests.real.rootfs import busybox_root


@pytest.fixture(scope="session")
def cluster() -> Iterator[RealCluster]:
    if os.geteuid() != 0:
        pytest.skip("real containers need root")
    state_dir = Path(tempfile.mkdtemp(prefix="skiff-real-", dir="/var/tmp"))
    made = RealCluster(state_dir, free_port(), free_port())
    try:
        made.up()
        yield made
    except AssertionError:
        print(made.logs_tail())
        raise
    finally:
        made.skiff("down", "--delete", check=False)
        shutil.rmtree(state_dir, ignore_errors=True)


@pytest.fixture(scope="session")
def images(cluster: RealCluster) -> dict[str, str]:
    """The workshop's images, built from Debian's busybox: web:1, web:2 and client:1."""
    with tempfile.TemporaryDirectory() as directory:
        context = Path(directory)
        for file in WORKSHOP.iterdir():
            if file.is_file():
                shutil.copy(file, context / file.name)
        busybox_root(context / "rootfs")
        for tag in ("web:1", "web:2"):
            cluster.skiff(
                "image", "build", "-t", tag, "--build-arg", f"VERSION={tag[-1]}",
                "-f", str(context / "Dockerfile"), str(context),
            )  # fmt: skip
    return {"web1": "web:1", "web2": "web:2"}
