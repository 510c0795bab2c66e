"""Counters, gauges and histograms, and how they are written out.

A metric's children live in a dict by the tuple of their label values; counting is one look-up and one
addition. The label texts are made only when somebody scrapes.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# A metric's children; past that, new label values are counted together as one child of empty labels.
CHILDREN_MAX = 20_000

Labels = tuple[str, ...]


class Metric(Protocol):
    """What the registry writes out."""

    def lines(self) -> Iterator[str]:
        """The metric's HELP and TYPE lines and its samples."""


class Counter:
    """A number that only grows, for each set of label values."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        self._name = name
        self._help = help_text
        self._labels = tuple(labels)
        self._other: Labels = ("",) * len(self._labels)
        self.children: dict[Labels, float] = {}

    def add(self, values: Labels = (), amount: float = 1) -> None:
        """Count."""
        children = self.children
        if values in children:
            children[values] += amount
        elif len(children) < CHILDREN_MAX:
            children[values] = amount
        else:
            children[self._other] = children.get(self._other, 0) + amount

    def lines(self) -> Iterator[str]:
        yield from _head(self._name, self._help, "counter")
        for values, number in self.children.items():
            yield f"{self._name}{label_text(self._labels, values)} {_number(number)}"


class Gauge:
    """A number that is asked for at each scrape: label values → number."""

    def __init__(
        self,
        name: str,
        help_text: str,
        labels: Sequence[str],
        read: Callable[[], Mapping[Labels, float]],
        kind: str = "gauge",
    ) -> None:
        self._name = name
        self._help = help_text
        self._labels = tuple(labels)
        self._read = read
        self._kind = kind

    def lines(self) -> Iterator[str]:
        yield from _head(self._name, self._help, self._kind)
        for values, number in self._read().items():
            yield f"{self._name}{label_text(self._labels, values)} {_number(number)}"


class Histogram:
    """How often a value lay under each bound, for each set of label values."""

    def __init__(
        self, name: str, help_text: str, bounds: Sequence[float], labels: Sequence[str] = ()
    ) -> None:
        self._name = name
        self._help = help_text
        self._bounds = tuple(bounds)
        self._labels = tuple(labels)
        self._other: Labels = ("",) * len(self._labels)
        self._empty = [0.0] * (len(self._bounds) + 2)
        # Per child: a count for each bucket, one for what is above all bounds, then the sum.
        self.children: dict[Labels, list[float]] = {}

    def observe(self, values: Labels, value: float) -> None:
        """Count one value."""
        child = self.children.get(values)
        if child is None:
            if len(self.children) >= CHILDREN_MAX:
                values = self._other
            child = self.children.setdefault(values, self._empty.copy())
        child[bisect_left(self._bounds, value)] += 1
        child[-1] += value

    def lines(self) -> Iterator[str]:
        yield from _head(self._name, self._help, "histogram")
        names = (*self._labels, "le")
        for values, child in self.children.items():
            total = 0.0
            for bound, count in zip((*self._bounds, None), child[:-1], strict=True):
                total += count
                text = "+Inf" if bound is None else _number(bound)
                yield f"{self._name}_bucket{label_text(names, (*values, text))} {_number(total)}"
            labels = label_text(self._labels, values)
            yield f"{self._name}_sum{labels} {_number(child[-1])}"
            yield f"{self._name}_count{labels} {_number(total)}"


class Registry:
    """All metrics of a process, in the order in which they were added."""

    def __init__(self, metrics: Iterable[Metric] = ()) -> None:
        self._metrics = list(metrics)

    def add(self, *metrics: Metric) -> None:
        """Write these out too."""
        self._metrics += metrics

    def text(self) -> bytes:
        """The exposition."""
        lines = [line for metric in self._metrics for line in metric.lines()]
        lines.append("")
        return "\n".join(lines).encode()


def label_text(names: Sequence[str], values: Sequence[str]) -> str:
    """`{a="1",b="2"}`, escaped; nothing where there are no labels."""
    if not names:
        return ""
    pairs = (
        f'{n}="{v}"' if v.isalnum() else f'{n}="{_escape(v)}"'
        for n, v in zip(names, values, strict=True)
    )
    return "{" + ",".join(pairs) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _head(name: str, help_text: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"
