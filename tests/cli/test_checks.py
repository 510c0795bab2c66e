"""What is looked at before a cluster starts."""

import os
import socket
from pathlib import Path

import pytest

from skiff.cli import checks
from skiff.cli.exits import ALREADY_RUNNING, BAD_STATE, PORT_IN_USE, CommandError
from skiff.cli.layout import Layout


def test_a_port_in_use_names_its_program() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CommandError) as refused:
            checks.free_port(port, "0.0.0.0", "--secure-port")
    assert refused.value.code == PORT_IN_USE
    name = Path("/proc/self/comm").read_text().strip()
    assert str(refused.value) == (
        f"port {port} is in use by {name} (pid {os.getpid()}); "
        "stop that program or choose another port with --secure-port"
    )
    checks.free_port(port, "0.0.0.0", "--secure-port")


def test_missing_programs_name_their_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checks, "NEEDED", {"no-such-program": "some-package", "sh": "dash"})
    monkeypatch.setattr(checks, "CNI_DIRECTORIES", (tmp_path,))
    assert checks.missing_programs() == [
        "no-such-program (some-package)",
        "CNI plugins (containernetworking-plugins)",
    ]
    for plugin in checks.CNI_NEEDED:
        (tmp_path / plugin).touch()
    assert checks.cni_directory() == tmp_path


def test_one_cluster_a_directory(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    checks.usable_state(layout)
    held = checks.lock(layout)
    with pytest.raises(CommandError, match=rf"already running .*pid {os.getpid()}") as refused:
        checks.lock(layout)
    assert refused.value.code == ALREADY_RUNNING
    held.close()
    checks.lock(layout).close()


def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    checks.usable_state(layout)
    layout.lock.write_text("1\n")
    checks.lock(layout).close()
    assert layout.lock.read_text() == f"{os.getpid()}\n"


def test_a_state_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="is not a directory") as refused:
        checks.usable_state(Layout(tmp_path / "file"))
    assert refused.value.code == BAD_STATE
