"""`skiff kubeconfig`: print the administrator's kubeconfig, or merge it into the user's.

The merge replaces only the cluster, user and context of that name, makes the context current, and
writes the file anew in one step, mode 0600. Source:
https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from skiff.cli.exits import NOT_RUNNING, CommandError
from skiff.cli.layout import Layout, write_atomically


def run(arguments: argparse.Namespace) -> int:
    """Print or merge."""
    layout = Layout(arguments.state_dir.resolve())
    settings = layout.load_settings()
    if settings is None or not layout.admin_kubeconfig.exists():
        raise CommandError(
            f"there is no cluster in {layout.root}; start one with `skiff up`", NOT_RUNNING
        )
    text = layout.admin_kubeconfig.read_text()
    name = arguments.context or settings.context
    ours = renamed(yaml.safe_load(text), name)
    if not arguments.merge:
        sys.stdout.write(yaml.safe_dump(ours, sort_keys=False))
        return 0
    target = user_kubeconfig()
    write_atomically(target, yaml.safe_dump(merged(_load(target), ours), sort_keys=False), 0o600)
    sys.stdout.write(f"context {name} is in {target}\n")
    return 0


def user_kubeconfig() -> Path:
    """The file that kubectl writes: the first of `$KUBECONFIG`, else ~/.kube/config."""
    named = [p for p in os.environ.get("KUBECONFIG", "").split(":") if p]
    return Path(named[0]) if named else Path.home() / ".kube/config"


def renamed(config: dict[str, Any], name: str) -> dict[str, Any]:
    """`config`'s one cluster, user and context under `name`."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": config["clusters"][0]["cluster"]}],
        "users": [{"name": name, "user": config["users"][0]["user"]}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def merged(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """`theirs` with the entries of `ours` in place of those of the same name."""
    result = {"apiVersion": "v1", "kind": "Config", "preferences": {}, **theirs}
    for kind in ("clusters", "users", "contexts"):
        names = {entry["name"] for entry in ours[kind]}
        kept = [entry for entry in theirs.get(kind) or [] if entry.get("name") not in names]
        result[kind] = [*kept, *ours[kind]]
    result["current-context"] = ours["current-context"]
    return result


def _load(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as e:
        raise CommandError(f"{path} is not valid YAML and was left alone: {e}") from e
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise CommandError(f"{path} is not a kubeconfig and was left alone")
    return data
