"""Two releases, or two arms of an experiment, side by side, and how far chance alone may have moved them apart.

The intervals take what is counted as independent. Users are, nearly; sessions of one user are alike, so an interval
over sessions is narrower than the truth: decide by users or devices where there are any.
"""

from __future__ import annotations

import re
from math import comb, sqrt
from statistics import NormalDist
from typing import NamedTuple

from pipeline.query.free_of import FREE_OF, RATED, WHOLES
from pipeline.query.session_range import chosen_sessions, range_parameters
from pipeline.query.statement import Statement

_PLACEHOLDER = re.compile(r"\{(\w+):")
RATED_PREFIX = "rated_"
"""Of the columns that say what rates are of."""
_EXACT_UP_TO = 1_000
"""Values; beyond, the binomial is as good as normal."""


class Interval(NamedTuple):
    """A difference, b less a, and where the true one lies with the confidence asked for."""

    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """No difference at all lies outside."""
        return self.low > 0 or self.high < 0


class Median(NamedTuple):
    """The median of n values, and the values at `rank` from below and from above (1 is the least and the greatest)."""

    n: int
    rank: int
    low: float
    value: float
    high: float


class Side(NamedTuple):
    """One of two sets of an app's sessions: those that start in a range and meet a condition over the columns of
    `sessions`."""

    where: Statement
    start_ms: int
    """Unix milliseconds."""
    end_ms: int
    """The end is left out."""


def compare(app_id: str, a: Side, b: Side) -> Statement:
    """Two sets of an app's sessions, each in a range of its own.

    Two rows, `side` 'a' and 'b', with `sessions`, `devices` and `users`, those in the foreground (`rated_sessions` and
    so on), how many of these are free of each kind of failure (by the names of `free_of.FREE_OF`), and of the duration
    the fields of `Median`: `duration_n`, `duration_rank`, `duration_low`, `duration_value`, `duration_high`
    (milliseconds, 0 without sessions). A user or device that is on both sides (updated between) counts on both.
    """
    if a[1:] == b[1:]:
        return _of_one_range(app_id, a, b)
    rows = [
        of_side(
            app_id,
            side,
            name,
            f"SELECT '{name}' AS side, {_COUNTED} FROM ({chosen_sessions(side.where, with_failed_users=True)})",
        )
        for name, side in (("a", a), ("b", b))
    ]
    return Statement(
        f"SELECT * EXCEPT (sorted), {_DURATION} FROM ({' UNION ALL '.join(row.sql for row in rows)}) ORDER BY side",
        {**rows[0].parameters, **rows[1].parameters},
    )


def _of_one_range(app_id: str, a: Side, b: Side) -> Statement:
    """The same of sides with one range: its sessions are read once, and each counts on every side that it is on."""
    of_a, of_b = (of_side(app_id, side, name, side.where.sql) for name, side in (("a", a), ("b", b)))
    either = chosen_sessions(Statement(f"({of_a.sql}) OR ({of_b.sql})"), with_failed_users=True)
    counted = (
        f"SELECT side, {_COUNTED} FROM ({either})"
        f" ARRAY JOIN arrayConcat(if({of_a.sql}, ['a'], []), if({of_b.sql}, ['b'], [])) AS side GROUP BY side"
    )
    # A side without a session has a row as well: of zeros.
    sql = (
        f"SELECT * EXCEPT (sorted), {_DURATION} FROM (SELECT arrayJoin(['a', 'b']) AS side) AS s"
        f" LEFT JOIN ({counted}) AS c USING side ORDER BY side"
    )
    range = range_parameters(app_id, a.start_ms, a.end_ms)
    return Statement(sql, {**range, **of_a.parameters, **of_b.parameters})


def of_side(app_id: str, side: Side, name: str, sql: str) -> Statement:
    """A part of a statement about one side, which names the parameters of its condition and its range
    (`session_range.range_parameters`): the same with names of its own, since both sides may come from one compiler."""
    return _renamed(
        Statement(sql, {**range_parameters(app_id, side.start_ms, side.end_ms), **side.where.parameters}),
        name,
    )


_COUNTED = ", ".join(
    [
        *(f"{sql} AS {name}" for name, sql in WHOLES.items()),
        *(f"{sql} AS {RATED_PREFIX}{name}" for name, sql in RATED.items()),
        *(f"{each.free} AS {each.name}" for each in FREE_OF),
        "arraySort(groupArray(duration_ms)) AS sorted",
    ]
)
_DURATION = (
    "sessions AS duration_n, greatest(1, toInt64(floor((sessions + 1) / 2 - sqrt(sessions) + 0.5))) AS duration_rank,"
    " sorted[duration_rank] AS duration_low, sorted[intDiv(sessions, 2) + 1] AS duration_value,"
    " sorted[-duration_rank] AS duration_high"
)


def difference(
    successes_a: int, n_a: int, successes_b: int, n_b: int, confidence: float = 0.95
) -> Interval | None:
    """The difference of two proportions, b less a; None where a side is empty.

    Wilson's score intervals of both, put together: method 10 of R. G. Newcombe, "Interval estimation for the
    difference between independent proportions", Statistics in Medicine 17 (1998), 873-890. Sound for rates close
    to 1, where the usual normal interval is not. ValueError where successes are not between 0 and n.
    """
    if not 0 <= successes_a <= n_a or not 0 <= successes_b <= n_b:
        raise ValueError("successes lie between 0 and n")
    if not n_a or not n_b:
        return None
    z = _z(confidence)
    a, low_a, high_a = _wilson(successes_a, n_a, z)
    b, low_b, high_b = _wilson(successes_b, n_b, z)
    return Interval(
        b - a,
        b - a - sqrt((b - low_b) ** 2 + (high_a - a) ** 2),
        b - a + sqrt((high_b - b) ** 2 + (a - low_a) ** 2),
    )


def median_difference(a: Median, b: Median, confidence: float = 0.95) -> Interval | None:
    """The difference of two medians, b less a; None where a side has less than five values.

    The spread of each median is read off two of its order statistics, without resampling: R. M. Price and D. G.
    Bonett, "Distribution-free confidence intervals for difference and ratio of medians", Journal of Statistical
    Computation and Simulation 72 (2002), 119-124.
    """
    if min(a.n, b.n) < 5:
        return None
    value = b.value - a.value
    reach = _z(confidence) * sqrt(_spread(a) ** 2 + _spread(b) ** 2)
    return Interval(value, value - reach, value + reach)


def _spread(median: Median) -> float:
    """The standard error of a median."""
    n, rank = median.n, median.rank
    if n <= _EXACT_UP_TO:
        below = sum(comb(n, i) for i in range(rank)) / 2**n
        z = -NormalDist().inv_cdf(below)
    else:
        z = (n / 2 - rank + 0.5) / (sqrt(n) / 2)
    return (median.high - median.low) / (2 * z)


def _wilson(successes: int, n: int, z: float) -> tuple[float, float, float]:
    """The proportion and its score interval."""
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    reach = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return p, middle - reach, middle + reach


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _renamed(part: Statement, name: str) -> Statement:
    sql = _PLACEHOLDER.sub(
        lambda found: f"{{{name}_{found[1]}:" if found[1] in part.parameters else found[0], part.sql
    )
    return Statement(sql, {f"{name}_{key}": value for key, value in part.parameters.items()})
