"""The course that each kind of object goes through in Kubernetes' API tests, for any kind."""

import json
import threading
import urllib.parse
from http.client import HTTPSConnection

import pytest

from tests.real.harness import wait_for
from tests.real.pods import MERGE, PATHS, ApiFailure, Object, Space


def run_through(space: Space, obj: Object, patch: Object | None = None) -> None:
    """Discovery, create, get, list, watch, patch, update, delete, delete a collection of `obj`'s kind."""
    kind, name = obj["kind"], obj["metadata"]["name"]
    label = f"course-{name}"
    obj["metadata"]["labels"] = {"course": label}
    selector = urllib.parse.urlencode({"labelSelector": f"course={label}"})
    _discovered(space, obj)
    made = space.create(obj)
    assert made["metadata"]["uid"]
    with pytest.raises(ApiFailure) as e:
        space.create(obj)
    assert e.value.reason == "AlreadyExists"
    assert space.get(kind, name)["metadata"]["uid"] == made["metadata"]["uid"]
    assert [o["metadata"]["name"] for o in space.list(kind, selector)] == [name]
    if "{ns}" in PATHS[kind]:
        everywhere = PATHS[kind].replace("namespaces/{ns}/", "")
        assert len(space.api("GET", f"{everywhere}?{selector}")["items"]) == 1
    query = f"{selector}&watch=true&resourceVersion={made['metadata']['resourceVersion']}"
    with _Seen(space, kind, query) as seen:
        change = patch or {"metadata": {"annotations": {"patched": "true"}}}
        space.patch(kind, name, change, how=MERGE)
        space.change(kind, name, lambda o: o["metadata"]["labels"].update(updated="true"))
        now = space.get(kind, name)["metadata"]
        assert now["labels"] == {"course": label, "updated": "true"}
        space.delete(kind, name)
        wait_for(lambda: space.gone(kind, name), f"{kind} {name} is gone", 20)
        wait_for(lambda: "DELETED" in seen, "the watch ends with it", 10)
        assert seen[:2] == ["MODIFIED", "MODIFIED"]
    for index in range(2):
        space.create({**obj, "metadata": {**obj["metadata"], "name": f"{name}-{index}"}})
    assert len(space.list(kind, selector)) == 2
    space.api("DELETE", f"{space.path(kind)}?{selector}")
    wait_for(lambda: not space.list(kind, selector), f"all of {kind} are gone", 20)


def _discovered(space: Space, obj: Object) -> None:
    version = obj["apiVersion"]
    group = version.rpartition("/")[0]
    if group:
        groups = space.api("GET", "apis")["groups"]
        versions = next(g["versions"] for g in groups if g["name"] == group)
        assert version in [v["groupVersion"] for v in versions]
    resources = space.api("GET", f"apis/{version}" if group else f"api/{version}")["resources"]
    found = next(r for r in resources if r["kind"] == obj["kind"] and "/" not in r["name"])
    verbs = {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
    assert verbs <= set(found["verbs"])


class _Seen(list[str]):
    """The types of events that a watch brings."""

    def __init__(self, space: Space, kind: str, query: str) -> None:
        super().__init__()
        self._connection = HTTPSConnection(
            "127.0.0.1", space.api.port, context=space.api.tls, timeout=30
        )
        self._path = f"/{space.path(kind)}?{query}&timeoutSeconds=20"

    def __enter__(self) -> "_Seen":
        self._connection.request("GET", self._path)
        self._answer = self._connection.getresponse()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def _read(self) -> None:
        while "DELETED" not in self and (line := self._answer.readline()):
            self.append(json.loads(line)["type"])

    def __exit__(self, *_: object) -> None:
        self._thread.join(30)
        self._answer.close()
        self._connection.close()
