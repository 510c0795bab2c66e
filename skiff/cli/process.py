"""Running one component as a process: logging, uvloop, SIGTERM, readiness, exit codes."""

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Callable

import uvloop

from skiff.aio.run import Component
from skiff.cli.exits import FAILED, CommandError
from skiff.cli.supervise import say_ready

LOG_FORMAT = "%(asctime)s.%(msecs)03d %(levelname).1s %(name)s: %(message)s"


Explain = Callable[[BaseException], CommandError | None]
"""What an error means to the user, where it is not our bug."""


def run_process(
    name: str,
    component: Component,
    said: str = "ready",
    explain: Explain = lambda _: None,
) -> int:
    """Run `component` until SIGTERM or SIGINT (exit code 0) or its failure (1, and why on stderr).
    Raises CommandError for failures that `explain` knows."""
    logging.basicConfig(
        level=logging.INFO, format=LOG_FORMAT, datefmt="%Y-%m-%dT%H:%M:%S", stream=sys.stderr
    )
    try:
        uvloop.run(_until_told(name, component, said))
    except CommandError:
        raise
    except BaseExceptionGroup as group:
        return _failed(name, _first(group), explain)
    except Exception as e:  # noqa: BLE001 - the last place that can say why the process ends
        return _failed(name, e, explain)
    return 0


def _failed(name: str, error: BaseException, explain: Explain) -> int:
    known = error if isinstance(error, CommandError) else explain(error)
    if known is not None:
        raise known from error
    _report(name, error)
    return FAILED


async def _until_told(name: str, component: Component, said: str) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(component.run(lambda: _ready(said)), name=name)  # noqa: TID251 - the process's one root task
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _ready(said: str) -> None:
    say_ready(said)
    # What start-up made stays: the collector need not look at it again.
    gc.collect()
    gc.freeze()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _report(name: str, error: BaseException) -> None:
    logging.getLogger("skiff").error("%s failed", name, exc_info=error)
    sys.stderr.write(f"skiff {name}: {type(error).__name__}: {error}\n")
