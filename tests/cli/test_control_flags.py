"""`skiff control` alone, with kube-controller-manager's flags."""

import argparse

import pytest

from skiff.cli import control
from skiff.cli.layout import Settings


def parsed(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    control.configure(parser)
    return parser.parse_args(flags)


@pytest.mark.parametrize(
    ("flags", "cidr"),
    [
        ((), Settings().cluster_cidr),
        (("--cluster-cidr=10.9.0.0/16",), "10.9.0.0/16"),
        (("--allocate-node-cidrs", "--cluster-cidr=10.9.0.0/16"), "10.9.0.0/16"),
        (("--allocate-node-cidrs=false", "--cluster-cidr=10.9.0.0/16"), ""),
        (("--kube-api-content-type=",), Settings().cluster_cidr),
    ],
)
def test_pod_addresses_of_nodes(flags: tuple[str, ...], cidr: str) -> None:
    assert control.pod_cidr(parsed(*flags), Settings()) == cidr


def test_the_components_speak_json(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--kube-api-content-type=application/vnd.kubernetes.protobuf")
    assert "--kube-api-content-type" in capsys.readouterr().err
