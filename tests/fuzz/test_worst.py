"""A small run over legal worst cases on real workers, and that the cases are what they say."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from pipeline import topics
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.formats import limits, measure, native
from tests.fuzz import worst

NOW_MS = int(time.time() * 1_000)


@pytest.mark.parametrize("name", [*worst.NATIVE, *worst.MEASURE])
def test_each_case_is_legal(name: str) -> None:
    case = (worst.NATIVE | worst.MEASURE)[name]
    for record in case(Random(1), "m", NOW_MS - 40 * 86_400_000):
        pairs = [(record.key, record.value)]
        if name in worst.MEASURE:
            translated = measure.decode(record.value, NOW_MS)
            assert isinstance(translated, measure.Translation) and not translated.refused
            pairs = [(each.key, each.value) for each in translated.records]
        for key, value in pairs:
            envelope = native.decode(value, key, NOW_MS)
            assert isinstance(envelope, native.Envelope) and not envelope.refused, envelope


@pytest.mark.slow
def test_the_cases_are_at_the_limits_and_follow_from_the_seed() -> None:
    found = list(worst.traffic(3, 20_000_000, NOW_MS))
    assert {name for name, _, _ in found} == {*worst.NATIVE, *worst.MEASURE}
    few, again, others = (list(islice(worst.traffic(seed, 20_000_000, NOW_MS), 30)) for seed in (4, 4, 5))
    assert few == again != others
    assert 19_000_000 < sum(len(record.value) for _, _, record in found) <= 20_000_000
    sizes = {topic: max(len(r.value) for _, t, r in found if t == topic) for topic in topics_of(found)}
    assert sizes[topics.SDK_EVENTS] > 0.95 * limits.MAX_RECORD_BYTES
    assert sizes[measure.FORMAT.topic] > 0.9 * limits.MAX_BODY_BYTES


def topics_of(found: list[tuple[str, str, object]]) -> set[str]:
    return {topic for _, topic, _ in found}


@pytest.mark.slow
def test_workers_with_little_memory_store_some_of_the_worst(
    clickhouse: EmbeddedClickHouse, tmp_path: Path
) -> None:
    outcome = worst.run_on(5, 1_500_000, "embedded", clickhouse, tmp_path)
    assert not outcome.problems, "\n".join(outcome.problems)[-6_000:]
    assert outcome.events > 500
    assert outcome.sessions > 100
