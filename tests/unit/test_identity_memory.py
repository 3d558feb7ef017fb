"""What is remembered of resources and users stays within its bytes, whatever texts come."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from pipeline.formats.identity import KEPT_BYTES, canonical_resource, canonical_user

# A character beyond the 16-bit ones makes Python keep four bytes for each of a text, and each quote is kept as two.
WIDE = '"\\ud83d\\ude00","k":[' + ",".join(['""'] * 1_300) + "]"


@pytest.mark.parametrize(
    ("canonical", "text"),
    [
        (canonical_resource, '{"n":"%d","a":' + WIDE + "}"),
        (canonical_user, '{"id":"%d","properties":{"a":%s}}'),
    ],
    ids=["resource", "user"],
)
def test_what_is_remembered_is_bounded_by_bytes(canonical: Callable[[bytes], object], text: str) -> None:
    tracemalloc.start()
    try:
        for number in range(2_500):
            given = (text % number if text.count("%") == 1 else text % (number, WIDE_TEXT)).encode()
            assert len(given) <= 4_096
            assert isinstance(canonical(given), str)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1.2 * KEPT_BYTES


WIDE_TEXT = '"\\ud83d\\ude00%s"' % ("x" * 1_000) + "".join(f',"k{n}":"{"y" * 1_000}"' for n in range(2))
