"""Paths and settings of a state directory."""

import json
import os
from pathlib import Path

import pytest

from skiff.cli.exits import BAD_STATE, CommandError
from skiff.cli.layout import ROOT_STATE_DIR, Layout, Settings, default_state_dir, write_atomically


def test_clusters_share_no_names() -> None:
    default, one, two = Layout(ROOT_STATE_DIR), Layout(Path("/a")), Layout(Path("/b"))
    assert (default.name, default.bridge) == ("skiff", "skiff0")
    assert len({default.name, one.name, two.name}) == 3
    assert len({default.bridge, one.bridge, two.bridge}) == 3
    assert all(len(x.bridge) <= 15 for x in (default, one, two))  # what Linux takes
    assert Layout(Path("/a")).name == one.name


def test_settings_come_back(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert layout.load_settings() is None
    layout.save_settings(Settings(secure_port=1, runtime="simulated"))
    assert layout.load_settings() == Settings(secure_port=1, runtime="simulated")


def test_settings_of_another_version(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.settings_file.write_text(json.dumps({"secure_port": 7, "unknown": 1}))
    assert layout.load_settings() == Settings(secure_port=7)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"nodes": "3"}', '{"nodes": true}'])
def test_torn_settings(tmp_path: Path, text: str) -> None:
    layout = Layout(tmp_path)
    layout.settings_file.write_text(text)
    with pytest.raises(CommandError, match="repair or remove it") as refused:
        layout.load_settings()
    assert str(layout.settings_file) in str(refused.value)
    assert refused.value.code == BAD_STATE


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "f"
    write_atomically(file, "old", 0o600)
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "\udcff")
    assert file.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_default_state_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SKIFF_STATE_DIR", "/x")
    assert default_state_dir() == Path("/x")
    monkeypatch.delenv("SKIFF_STATE_DIR")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_state_dir() == ROOT_STATE_DIR
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_state_dir() == tmp_path / "skiff"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/a")
    assert default_state_dir() == Path("/home/a/.local/share/skiff")
