"""`skiff control` alone, with kube-controller-manager's flags."""

import argparse
from pathlib import Path

import pytest

from skiff.cli import control
from skiff.cli.exits import CommandError
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


def test_what_certificates_are_issued_with(tmp_path: Path) -> None:
    cert, key = tmp_path / "ca.crt", tmp_path / "ca.key"
    flags = (f"--cluster-signing-cert-file={cert}", f"--cluster-signing-key-file={key}")
    cert.touch()
    with pytest.raises(CommandError, match=r"--cluster-signing-key-file .* cannot be read"):
        control.check(parsed(*flags))
    with pytest.raises(CommandError, match="go together"):
        control.check(parsed(flags[0]))
    key.touch()
    control.check(parsed(*flags))
    control.check(parsed())
    assert parsed().cluster_signing_duration == 365 * 24 * 3600


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [("8760h0m0s", 8760 * 3600.0), ("1.5h", 5400.0), ("90m", 5400.0), ("1500ms", 1.5)],
)
def test_how_long_certificates_are_valid(text: str, expected_s: float) -> None:
    assert parsed(f"--cluster-signing-duration={text}").cluster_signing_duration == expected_s


@pytest.mark.parametrize("text", ["", "1", "1x", "1.2.3h", "1h "])
def test_what_is_no_time(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(f"--cluster-signing-duration={text}")
    assert "is no time" in capsys.readouterr().err
