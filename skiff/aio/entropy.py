"""Randomness, as a thing that is handed in: uids, name suffixes, jitter. A seed makes it repeatable."""

import random
import uuid

# Kubernetes' alphabet for generated names: no vowels, no look-alikes (apimachinery `util/rand`).
SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
SUFFIX_LENGTH = 5


class Entropy:
    """A source of randomness; `seed=None` seeds from the operating system."""

    def __init__(self, seed: int | None = None) -> None:
        self.random = random.Random(seed)  # noqa: S311 - names and jitter, never secrets

    def uid(self) -> str:
        """A random UUID, version 4, as Kubernetes writes `metadata.uid`."""
        bits = self.random.getrandbits(128)
        return str(uuid.UUID(int=bits, version=4))

    def suffix(self, length: int = SUFFIX_LENGTH) -> str:
        """A random name suffix, as `generateName` appends."""
        return "".join(self.random.choices(SUFFIX_ALPHABET, k=length))

    def jitter(self, base: float, factor: float) -> float:
        """`base` lengthened by a random share of up to `factor` of it."""
        return base * (1.0 + self.random.random() * factor)
