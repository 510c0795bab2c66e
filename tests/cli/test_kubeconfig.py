"""The merge into the user's kubeconfig."""

import argparse
from pathlib import Path

import pytest
import yaml

from skiff.cli import kubeconfig
from skiff.cli.exits import NOT_RUNNING, CommandError
from skiff.cli.layout import Layout, Settings

ADMIN = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "any", "cluster": {"server": "https://127.0.0.1:6443"}}],
    "users": [{"name": "any", "user": {"client-certificate-data": "eA=="}}],
    "contexts": [{"name": "any", "context": {"cluster": "any", "user": "any"}}],
    "current-context": "any",
}


def merge(state: Path, context: str = "") -> None:
    kubeconfig.run(argparse.Namespace(state_dir=state, merge=True, context=context))


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    layout = Layout(tmp_path / "state")
    layout.save_settings(Settings())
    layout.kubeconfigs.mkdir()
    layout.admin_kubeconfig.write_text(yaml.safe_dump(ADMIN))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'config'}:{tmp_path / 'other'}")
    return layout.root


def test_into_nothing(state: Path, tmp_path: Path) -> None:
    merge(state)
    made = yaml.safe_load((tmp_path / "config").read_text())
    assert made["current-context"] == "skiff"
    assert made["contexts"] == [{"name": "skiff", "context": {"cluster": "skiff", "user": "skiff"}}]
    assert (tmp_path / "config").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "other").exists()


def test_beside_others_and_again(state: Path, tmp_path: Path) -> None:
    theirs = {
        "clusters": [{"name": "work", "cluster": {"server": "https://work"}}],
        "contexts": [{"name": "work", "context": {"cluster": "work", "user": "me"}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
        "current-context": "work",
        "preferences": {"colors": True},
        "extensions": [{"name": "kept"}],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(theirs))
    merge(state)
    merge(state)
    made = yaml.safe_load((tmp_path / "config").read_text())
    assert [c["name"] for c in made["clusters"]] == ["work", "skiff"]
    assert made["users"][0] == {"name": "me", "user": {"token": "t"}}
    assert made["preferences"] == {"colors": True}
    assert made["extensions"] == [{"name": "kept"}]
    merge(state, "second")
    made = yaml.safe_load((tmp_path / "config").read_text())
    assert [c["name"] for c in made["contexts"]] == ["work", "skiff", "second"]
    assert made["current-context"] == "second"


@pytest.mark.parametrize("text", ["a: [", "- a\n- b\n"])
def test_what_is_no_kubeconfig_is_left_alone(state: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(CommandError, match="left alone"):
        merge(state)
    assert (tmp_path / "config").read_text() == text


@pytest.mark.parametrize("empty", ["", "clusters: null\n"])
def test_empty_lists(state: Path, tmp_path: Path, empty: str) -> None:
    (tmp_path / "config").write_text(empty)
    merge(state)
    assert len(yaml.safe_load((tmp_path / "config").read_text())["clusters"]) == 1


def test_print(state: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    kubeconfig.run(argparse.Namespace(state_dir=state, merge=False, context="x"))
    assert yaml.safe_load(capsys.readouterr().out)["current-context"] == "x"
    assert not (tmp_path / "config").exists()


def test_no_cluster(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="there is no cluster in") as refused:
        merge(tmp_path)
    assert refused.value.code == NOT_RUNNING


def test_no_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kubeconfig.user_kubeconfig() == tmp_path / ".kube/config"
