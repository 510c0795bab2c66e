"""Whatever happens: a list, and the events after it, give what is there in the end."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.engine_world import CONFIGMAPS, World, configmap, play

NAMES = [f"c{i}" for i in range(5)]
COLOURS = ["red", "green", "blue"]
SELECTORS = ["", "colour=red", "colour!=red", "colour in (red,blue)", "!colour"]

step = st.tuples(
    st.sampled_from(["put", "delete"]), st.sampled_from(NAMES), st.sampled_from([*COLOURS, ""])
)


async def act(w: World, action: str, name: str, colour: str, count: int) -> None:
    path = f"{CONFIGMAPS}/{name}"
    if action == "delete":
        await w.call("DELETE", path)
        return
    labels = {"colour": colour} if colour else {}
    obj = configmap(name, {"count": str(count)}, labels=labels)
    if (await w.call("PUT", path, obj)).status == 404:
        await w.create(CONFIGMAPS, obj)


def key(obj: dict[str, Any]) -> str:
    return obj["metadata"]["name"]


async def collect(w: World, selector: str, revision: str) -> list[dict[str, Any]]:
    """The events after a revision, up to now."""
    watching = await w.watch(CONFIGMAPS, labelSelector=selector, resourceVersion=revision)
    events = []
    while not await watching.quiet():
        events.append(await watching.event())
    await watching.close()
    return events


def apply(state: dict[str, Any], events: list[dict[str, Any]]) -> None:
    """Take events in; each must be possible where it comes, and newer than the one before."""
    last = 0
    for event in events:
        obj = event["object"]
        revision = int(obj["metadata"]["resourceVersion"])
        assert revision > last
        last = revision
        present = key(obj) in state
        assert present == (event["type"] != "ADDED")
        if event["type"] == "DELETED":
            del state[key(obj)]
        else:
            state[key(obj)] = obj


@given(before=st.lists(step, max_size=12), after=st.lists(step, max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_list_and_what_follows_give_the_end(
    before: list[tuple[str, str, str]], after: list[tuple[str, str, str]]
) -> None:
    async def test(w: World) -> None:
        for count, (action, name, colour) in enumerate(before):
            await act(w, action, name, colour, count)
        starts, live = {}, {}
        for selector in SELECTORS:
            starts[selector] = (await w.get(CONFIGMAPS, labelSelector=selector)).json
            revision = starts[selector]["metadata"]["resourceVersion"]
            live[selector] = await w.watch(
                CONFIGMAPS, labelSelector=selector, resourceVersion=revision
            )
        for count, (action, name, colour) in enumerate(after, 100):
            await act(w, action, name, colour, count)
        for selector in SELECTORS:
            end = {
                key(o): o for o in (await w.get(CONFIGMAPS, labelSelector=selector)).json["items"]
            }
            revision = starts[selector]["metadata"]["resourceVersion"]
            heard = []
            while not await live[selector].quiet():
                heard.append(await live[selector].event())
            await live[selector].close()
            replayed = await collect(w, selector, revision)
            assert heard == replayed
            state = {key(o): o for o in starts[selector]["items"]}
            apply(state, replayed)
            assert state == end
            # As of then, the list is still what it was.
            exact = await w.get(
                CONFIGMAPS,
                labelSelector=selector,
                resourceVersion=revision,
                resourceVersionMatch="Exact",
            )
            assert exact.json["items"] == starts[selector]["items"]

    play(test)
