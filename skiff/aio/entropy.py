"""Randomness, as a thing that is handed in: uids, name suffixes, jitter. A seed makes it repeatable."""

import random

# Kubernetes' alphabet for generated names: no vowels, no look-alikes (apimachinery `util/rand`).
SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
SUFFIX_LENGTH = 5

# Version 4 and the variant of RFC 9562, in a UUID's 128 bits.
_UID_MASK = ~((0xF000 << 64) | (0xC000 << 48))
_UID_BITS = (0x4000 << 64) | (0x8000 << 48)


class Entropy:
    """A source of randomness; `seed=None` seeds from the operating system."""

    def __init__(self, seed: int | None = None) -> None:
        self.random = random.Random(seed)  # noqa: S311 - names and jitter, never secrets

    def uid(self) -> str:
        """A random UUID, version 4, as Kubernetes writes `metadata.uid`."""
        bits = self.random.getrandbits(128) & _UID_MASK | _UID_BITS
        text = f"{bits:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def suffix(self, length: int = SUFFIX_LENGTH) -> str:
        """A random name suffix, as `generateName` appends."""
        return "".join(self.random.choices(SUFFIX_ALPHABET, k=length))

    def jitter(self, base: float, factor: float) -> float:
        """`base` lengthened by a random share of up to `factor` of it."""
        return base * (1.0 + self.random.random() * factor)
