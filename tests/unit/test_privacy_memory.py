"""However many apps there are: what is remembered of their rules, resources and users has one bound."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from pipeline.domain.privacy import Privacy, Rules, Samplings
from pipeline.formats import edge as edges
from pipeline.formats import identity
from pipeline.formats.bounded_cache import BoundedCache, SharedBound
from pipeline.formats.edge import Edge

RULES = Rules(
    drop=("payment.*",), hash=("login",), mask=("form.*.phone", "*token*"), emails="mask", user_id="hash"
)
MB = 1_000_000


def test_caches_with_one_bound_keep_no_more_than_it_together() -> None:
    bound = SharedBound(100_000)
    caches = [BoundedCache(lambda text: text * 2, len, bound) for _ in range(3)]
    for number in range(2_000):
        cache = caches[number % 3]
        assert cache[text := f"{number:050}"] == text * 2
        assert text in cache
        assert (
            sum(len(key) + len(value) for cache in caches for key, value in cache.items()) <= bound.byte_count
        )
        assert bound.byte_count <= 100_000
    caches.pop().clear()
    for number in range(2_000):
        assert caches[0][f"{number}"]
    assert len(bound._caches) == 2


@pytest.mark.slow
@pytest.mark.parametrize("is_default", [True, False])
def test_many_apps_with_rules_that_hash_take_no_more_than_is_stated(
    is_default: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edges, "_ALL_APPS_BYTES", 4 * MB)
    apps = [f"app-{number}" for number in range(700)]
    privacy = Privacy(RULES) if is_default else Privacy(Rules(), dict.fromkeys(apps, RULES))
    edge = Edge(privacy, Samplings(), "x" * 32)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for app in apps:
            cleaner = edge.cleaner_of(f"{app}/device".encode())
            assert edge.cleaner_of(f"{app}/other".encode()) is cleaner
            for number in range(8):
                resource = b'{"os.name":"%b","number":%d,"mail":"jane@example.org"}' % (
                    app.encode() * 40,
                    number,
                )
                made = cleaner.resource(resource)
                assert isinstance(made, str) and '"mail":"***"' in made
        identity._kept_resources.clear()  # of all formats, with a bound of its own
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 6 * MB
    assert edge._bound.byte_count <= 4 * MB
