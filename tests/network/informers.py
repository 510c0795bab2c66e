"""Informers whose API server is the test."""

import asyncio
import itertools
from typing import Any

import msgspec

from skiff.client.cache import Cache


class TestInformer(Cache[Any]):
    """A cache that is synced; `put` and `gone` are what the watch would bring."""

    __test__ = False

    def __init__(self) -> None:
        super().__init__()
        self.synced = asyncio.Event()
        self.synced.set()
        self._revisions = itertools.count(1)

    def put(self, *objects: Any) -> None:
        for obj in objects:
            meta = msgspec.structs.replace(
                obj.metadata, resource_version=str(next(self._revisions))
            )
            self.apply(msgspec.structs.replace(obj, metadata=meta))

    def gone(self, obj: Any) -> None:
        self.apply(obj, gone=True)
