"""Batches that the core fills are aiokafka's, byte for byte, and a panic leaves them to aiokafka."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder

from pipeline.kafka.compiled_batches import CompiledBatch, pack_by
from pipeline.kafka.record_batches import Item, Pack, pack_by_aiokafka
from tests.support.cores import core_or_skip

NOW_MS = 1_800_000_000_000
MOST_BYTES = 4_000
ZSTD, LZ4 = 4, 3


@pytest.fixture
def core() -> Iterator[ModuleType]:
    yield (found := core_or_skip())
    found.poison("", b"")


def producer(codec: int = ZSTD) -> Any:
    accumulator = SimpleNamespace(_compression_type=codec, _batch_size=MOST_BYTES)
    return SimpleNamespace(
        _message_accumulator=accumulator, create_batch=lambda: BatchBuilder(MOST_BYTES, codec)
    )


def some_items(rng: Random) -> list[Item]:
    """Of all sizes, with what is not there, and headers."""
    found: list[Item] = []
    for _ in range(rng.randrange(300)):
        key = None if rng.random() < 0.1 else f"a/{rng.randrange(9)}".encode()
        size = rng.choice((0, 1, 63, 64, 200, 200, 9_000 if rng.random() < 0.1 else 1))
        value = None if rng.random() < 0.1 else rng.choice((rng.randbytes(size), b"x" * size))
        headers = [("replayed_record_ms", b"7"), ("ß", None)][: rng.choice((0, 0, 1, 2))]
        found.append((key, value, *headers))  # type: ignore[arg-type]
    return found


def sent(pack: Pack, items: list[Item], codec: int = ZSTD) -> list[tuple[bytes, list[Item], int, int]]:
    """Batches as they go to the broker, with what they hold."""
    found = []
    for number, (batch, held) in enumerate(pack(producer(codec), iter(items), NOW_MS)):
        batch.close()
        batch._set_producer_state(77, 3, 1_000 * number)
        assert batch.closed() and batch.append(timestamp=NOW_MS, key=b"k", value=b"v") is None
        before = batch.size()
        found.append((bytes(batch._build()), list(held), batch.record_count(), before))
        assert batch.size() == len(found[-1][0])
    return found


@pytest.mark.parametrize("codec", [ZSTD, LZ4])
def test_a_batch_is_that_of_aiokafka(core: ModuleType, codec: int) -> None:
    for seed in range(40):
        items = some_items(Random(seed))
        assert sent(pack_by(core), items, codec) == sent(pack_by_aiokafka, items, codec)


def test_without_a_core_it_is_aiokafkas() -> None:
    assert pack_by(None) is pack_by_aiokafka


@pytest.mark.parametrize("at", [0, 100, 299])
def test_what_a_panic_leaves_aiokafka_sends(
    core: ModuleType, caplog: pytest.LogCaptureFixture, at: int
) -> None:
    """Nothing is lost or sent twice, wherever it happens."""
    items: list[Item] = [(f"a/{number}".encode(), b"v" * 100) for number in range(300)]
    core.poison("batch", f"a/{at}".encode())
    left: list[tuple[str, int]] = []
    found = sent(pack_by(core, lambda *told: left.append(told)), items)
    assert [why for why, _ in left] == ["panic"] and 1 <= left[0][1] <= len(items)
    assert [item for _, held, *_ in found for item in held] == items
    assert found == sent(pack_by_aiokafka, items)
    assert "the compiled core fails at a batch" in caplog.text


def test_a_panic_as_it_is_built(core: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    items = some_items(Random(3))
    core.poison("build", b"")
    assert sent(pack_by(core), items) == sent(pack_by_aiokafka, items)
    assert "the compiled core fails at a batch" in caplog.text


def test_it_is_built_once(core: ModuleType) -> None:
    """aiokafka asks again where it sends again: the same bytes."""
    batch = CompiledBatch(core, MOST_BYTES, NOW_MS)
    assert batch.fill(None, iter([(b"k", b"v")])) is None
    assert batch._build() is batch._build()
