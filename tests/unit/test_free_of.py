"""Crash-free and ANR-free mean the same in metrics, comparisons, pages, and the views that the migrations make."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pipeline
from pipeline.dashboard.verdict import compared
from pipeline.query.compare import compare
from pipeline.query.free_of import FREE_OF, WHOLES, FreeOf
from pipeline.query.metric_definitions import METRICS
from pipeline.query.statement import Statement
from pipeline.schema_files import schema_folder

PACKAGE = Path(pipeline.__file__).parent


def migrations() -> str:
    found = sorted((schema_folder() / "clickhouse").glob("*.sql"))
    assert len(found) > 10
    return "\n".join(path.read_text(encoding="utf-8") for path in found)


def test_no_other_module_says_what_crashed_or_hung() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*")
        if path.suffix in (".py", ".html")
        and re.search(r"\bis_(crashed|hung)\b", path.read_text(encoding="utf-8"))
    }
    assert found == {"query/free_of.py"}


@pytest.mark.parametrize("word", ["crashed", "hung"])
def test_the_views_agree_on_who_failed(word: str) -> None:
    said = re.findall(rf"^\s*(\S.*) AS (?:is_)?{word},?$", migrations(), re.MULTILINE)
    assert len(said) > 1 and len(set(said)) == 1


@pytest.mark.parametrize("share", FREE_OF, ids=lambda share: share.name)
def test_a_share_is_that_of_the_view(share: FreeOf) -> None:
    """As `release_health` counts it, which has shorter names for the same."""
    sql = share.free.replace("is_", "").replace(WHOLES[share.whole], share.whole)
    assert f"{sql} AS {share.name}," in migrations()
    metric = METRICS[share.name]
    assert (metric.label, metric.numerator, metric.denominator) == (
        share.label,
        share.free,
        WHOLES[share.whole],
    )
    sides = compare("app", Statement("1"), Statement("0"), 0, 1).sql
    assert sides.count(f"{share.free} AS {share.name}") == 2
    assert sides.count(f"{WHOLES[share.whole]} AS {share.whole}") == 2


def test_a_comparison_shows_each_of_them() -> None:
    row = dict.fromkeys(WHOLES, 10) | {share.name: 9 for share in FREE_OF}
    row |= {f"duration_{name}": 1 for name in ("n", "rank", "low", "value", "high")}
    shown = {line.label: line.a for line in compared(row, row)}
    assert {label: shown[label] for label in (share.label for share in FREE_OF)} == dict.fromkeys(
        (share.label for share in FREE_OF), shown["Crash-free sessions"]
    )
    assert shown["Crash-free sessions"].startswith("90")
