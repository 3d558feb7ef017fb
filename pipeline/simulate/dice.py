"""Chance that falls alike everywhere: only IEEE arithmetic and the documented draws of Mersenne Twister.

Logarithms and the like differ in their last bit between C libraries, and some of `random`'s own methods have
changed between Python versions. So every draw here is made from `Random.random()` and `Random.getrandbits()`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")


def subseed(*parts: int | str) -> int:
    """A 64-bit seed from what it is for: the same parts give the same seed on any platform."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def spread(rng: Random, quantiles: Sequence[int]) -> int:
    """A whole number whose distribution has these evenly spaced quantiles, first and last included."""
    place = rng.random() * (len(quantiles) - 1)
    index = int(place)
    low = quantiles[index]
    return low + int((place - index) * (quantiles[index + 1] - low))


def between(rng: Random, low: int, high: int) -> int:
    """A whole number, `low <= number < high`."""
    return low + int(rng.random() * (high - low))


def pick(rng: Random, choices: Sequence[T]) -> T:
    """One of the choices, each as likely as any other."""
    return choices[int(rng.random() * len(choices))]


class Weighted(Generic[T]):
    """Choices of unequal likelihood, given as (choice, weight) with whole weights."""

    def __init__(self, pairs: Iterable[tuple[T, int]]) -> None:
        listed = [(choice, weight) for choice, weight in pairs if weight > 0]
        self.choices = [choice for choice, _ in listed]
        self._ends = list(accumulate(weight for _, weight in listed))

    def pick(self, rng: Random) -> T:
        """One of the choices, as likely as its weight says."""
        return self.choices[bisect_right(self._ends, int(rng.random() * self._ends[-1]))]
