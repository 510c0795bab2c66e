"""Signals, their thresholds and readings, and what pods use.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/
"""

from collections.abc import Mapping
from dataclasses import dataclass

from skiff.api.quantity import BINARY_SI, NANO, Quantity, parse

MEMORY = "memory.available"
DISK = "nodefs.available"
INODES = "nodefs.inodesFree"
IMAGES = "imagefs.available"
IMAGE_INODES = "imagefs.inodesFree"
PIDS = "pid.available"

MEMORY_PRESSURE = "MemoryPressure"
DISK_PRESSURE = "DiskPressure"
PID_PRESSURE = "PIDPressure"

# By signal: the node's condition, and the resource as messages name it.
SIGNALS: Mapping[str, tuple[str, str]] = {
    MEMORY: (MEMORY_PRESSURE, "memory"),
    DISK: (DISK_PRESSURE, "ephemeral-storage"),
    INODES: (DISK_PRESSURE, "inodes"),
    IMAGES: (DISK_PRESSURE, "ephemeral-storage"),
    IMAGE_INODES: (DISK_PRESSURE, "inodes"),
    PIDS: (PID_PRESSURE, "pids"),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What there is of something, and how much there could be: bytes, inodes or processes."""

    available: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """Less than `amount`, or than `share` of the capacity, is too little."""

    signal: str
    amount: int = 0
    share: float = 0.0

    def least(self, reading: Reading) -> int:
        """How much there must be."""
        return int(reading.capacity * self.share) if self.share else self.amount

    def met(self, reading: Reading) -> bool:
        """Whether there is too little."""
        return reading.available < self.least(reading)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a container (or a whole pod) uses."""

    memory_bytes: int = 0
    disk_bytes: int = 0
    inodes: int = 0
    processes: int = 0

    def of(self, resource: str) -> int:
        """Of one resource, by its name in messages."""
        return {
            "memory": self.memory_bytes,
            "ephemeral-storage": self.disk_bytes,
            "inodes": self.inodes,
            "pids": self.processes,
        }[resource]


Usages = Mapping[str, Mapping[str, Usage]]  # by pod uid and container name


def thresholds(settings: Mapping[str, str]) -> tuple[Threshold, ...]:
    """The thresholds of kubelet's `evictionHard`: an amount or a percentage by signal. What is 0 is
    switched off. Raises ValueError."""
    found = []
    for signal, text in settings.items():
        if signal not in SIGNALS:
            raise ValueError(f"unsupported eviction signal {signal}")
        if text.endswith("%"):
            share = float(text[:-1]) / 100
            if not 0 <= share < 1:
                raise ValueError(
                    f"eviction percentage threshold {signal} must be below 100%: {text}"
                )
            if share:
                found.append(Threshold(signal, share=share))
        elif amount := parse(text).whole():
            if amount < 0:
                raise ValueError(f"eviction threshold {signal} must be positive: {text}")
            found.append(Threshold(signal, amount=amount))
    return tuple(found)


def shown(amount: int) -> str:
    """An amount as messages show it."""
    return str(Quantity(amount * NANO, BINARY_SI))
