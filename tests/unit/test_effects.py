"""How the records of a device are cut into parts, and what steps count together."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.state.device import Counts
from pipeline.state.effects import PART_BYTES, beyond_part, device_of, in_halves, record_at


def fields_of(*sizes: int | None) -> list[Any]:
    """Records of these sizes, at offsets 0, 1 and so on."""
    records = [(n, 1_000 + n, None if size is None else bytes(size), None) for n, size in enumerate(sizes)]
    return [field for record in records for field in record]


def offsets(fields: list[Any]) -> list[int]:
    return fields[::4]


@pytest.mark.parametrize(
    ("sizes", "part", "beyond"),
    [
        ((PART_BYTES - 1, 1), [0, 1], []),
        ((PART_BYTES, 1), [0], [1]),
        ((600_000, 300_000, 100_000, 1, 50_000), [0, 1, 2], [3, 4]),
        ((2 * PART_BYTES, 1), [0], [1]),
        ((None, PART_BYTES, 1), [0, 1], [2]),
        ((1, None, PART_BYTES), [0, 1], [2]),
        ((None, None), [0, 1], []),
    ],
)
def test_a_part_ends_before_the_record_that_would_be_too_much(
    sizes: tuple[int | None, ...], part: list[int], beyond: list[int]
) -> None:
    fields = fields_of(*sizes)
    assert offsets(beyond_part(fields)) == beyond
    assert offsets(fields) == part


@pytest.mark.parametrize(("count", "first", "second"), [(2, [0], [1]), (3, [0], [1, 2]), (4, [0, 1], [2, 3])])
def test_the_first_half_is_taken_first(count: int, first: list[int], second: list[int]) -> None:
    rest: list[tuple[bytes | None, list[Any]]] = [(b"other", [])]
    in_halves(b"k", fields_of(*[1] * count), rest)
    assert [(key, offsets(fields)) for key, fields in reversed(rest)] == [
        (b"k", first), (b"k", second), (b"other", []),
    ]  # fmt: skip


def test_a_record_is_found_by_its_offset() -> None:
    fields = fields_of(1, 2, None)
    assert list(record_at(fields, 1)) == [(1_001, bytes(2), None)]
    assert list(record_at(fields, 2)) == [(1_002, None, None)]
    assert list(record_at(fields, 3)) == []


def test_the_device_of_an_entry() -> None:
    assert [device_of(key) for key in (b"a/d", b"a/d\0steps", b"a/d\0aside", b"\0partition")] == [
        b"a/d"
    ] * 3 + [b""]


def test_counts_are_added_each_to_its_own() -> None:
    counts = Counts(1, 2, 3, 4, 5)
    counts.add(Counts(10, 20, 30, 40, 50))
    assert counts == Counts(11, 22, 33, 44, 55)
