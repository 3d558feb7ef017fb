"""Intervals against published figures, and against chance itself."""

from __future__ import annotations

import random
from math import floor, sqrt

import pytest

from pipeline.query.compare import Interval, Median, Side, compare, difference, median_difference
from pipeline.query.statement import Statement


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [
        # Newcombe 1998, table II, method 10.
        ((48, 80), (56, 70), 0.0524, 0.3339),
        ((3, 10), (9, 10), 0.1705, 0.8090),
        ((2, 7), (6, 7), 0.0582, 0.8062),
        ((0, 29), (5, 56), -0.0381, 0.1926),
        ((0, 20), (0, 10), -0.1611, 0.2775),
        ((0, 10), (10, 10), 0.6075, 1.0),
    ],
)
def test_difference_of_proportions(a: tuple[int, int], b: tuple[int, int], low: float, high: float) -> None:
    found = difference(*a, *b)
    assert found is not None
    assert found.value == pytest.approx(b[0] / b[1] - a[0] / a[1])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.00006)
    swapped = difference(*b, *a)
    assert swapped is not None
    assert (swapped.low, swapped.high) == pytest.approx((-high, -low), abs=0.00006)


def test_nothing_to_compare() -> None:
    assert difference(0, 0, 5, 10) is None
    with pytest.raises(ValueError, match="between 0 and n"):
        difference(6, 5, 1, 2)
    with pytest.raises(ValueError, match="between 0 and n"):
        difference(1, 2, -1, 2)


def test_more_confidence_is_wider() -> None:
    sure, unsure = difference(90, 100, 95, 100, 0.99), difference(90, 100, 95, 100, 0.8)
    assert sure is not None and unsure is not None
    assert sure.low < unsure.low < unsure.high < sure.high
    assert unsure.is_clear is (unsure.low > 0)
    assert not sure.is_clear


def median_of(values: list[float]) -> Median:
    """As the statement of `compare` finds it."""
    n = len(values)
    values = sorted(values)
    rank = max(1, floor((n + 1) / 2 - sqrt(n) + 0.5))
    return Median(n, rank, values[rank - 1], values[n // 2], values[n - rank])


@pytest.mark.slow
@pytest.mark.parametrize(("n_a", "n_b"), [(41, 61), (1_501, 1_201)])
def test_interval_of_medians_covers_the_truth_as_often_as_it_says(n_a: int, n_b: int) -> None:
    """Durations are skewed: lognormal, medians 60 and 90."""
    rng = random.Random(7)
    hits = 0
    for _ in range(600):
        a = median_of([60 * rng.lognormvariate(0, 1.2) for _ in range(n_a)])
        b = median_of([90 * rng.lognormvariate(0, 1.2) for _ in range(n_b)])
        found = median_difference(a, b)
        assert isinstance(found, Interval)
        hits += found.low <= 30 <= found.high
    # Three standard deviations of 600 draws around 95 of a hundred, and the method errs to the wide side.
    assert 0.923 <= hits / 600 <= 0.99


def test_few_values_have_no_interval() -> None:
    assert median_difference(median_of([1.0] * 4), median_of([1.0] * 50)) is None


def test_sides_keep_their_values_apart() -> None:
    """Both come from one compiler, so their placeholders bear the same names."""
    side_a = Statement("app_version = {f0:String}", {"f0": "1.0"})
    side_b = Statement("app_version = {f0:String} AND os_name = {f1:String}", {"f0": "2.0", "f1": "iOS"})
    both = compare("app", Side(side_a, 0, 1), Side(side_b, 2, 3))
    assert "app_version = {a_f0:String}" in both.sql
    assert "app_version = {b_f0:String} AND os_name = {b_f1:String}" in both.sql
    expected = {
        "a_f0": "1.0",
        "b_f0": "2.0",
        "b_f1": "iOS",
        "a_m_start": 0,
        "a_m_end": 1,
        "b_m_start": 2,
        "b_m_end": 3,
    }
    assert {key: both.parameters[key] for key in expected} == expected
