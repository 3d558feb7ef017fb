"""Schema files cut into statements."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.clickhouse.statements import MigrationError, statements
from pipeline.schema_files import schema_folder

FILES = sorted((schema_folder() / "clickhouse").glob("*.sql"))
MOVE_FILES = sorted((schema_folder() / "move").glob("*.sql"))


def test_a_statement_ends_with_a_semicolon_at_the_end_of_a_line() -> None:
    text = "-- why;\nSELECT 1,\n  ';' -- in between; not the end, as this is not\n  AS x;\n\nSELECT 2;  \n-- the end;\n"
    first, second = statements(text)
    assert first.startswith("-- why;\nSELECT 1") and first.endswith("AS x")
    assert second == "SELECT 2"


def test_what_lacks_its_semicolon_is_not_passed_over() -> None:
    with pytest.raises(MigrationError, match="SELECT 2"):
        statements("SELECT 1;\nSELECT 2\n")


@pytest.mark.parametrize("path", [*FILES, *MOVE_FILES], ids=lambda path: path.name)
def test_files_are_numbered_and_every_statement_can_run_again(path: Path) -> None:
    """Two migrations at once, or one after a kill, run statements twice."""
    name, text = path.name, path.read_text(encoding="utf-8")
    assert path in MOVE_FILES or re.fullmatch(r"\d{4}_[a-z_]+\.sql", name)
    for statement in statements(text):
        body = "\n".join(line for line in statement.splitlines() if not line.lstrip().startswith("--"))
        assert re.match(
            r"CREATE (TABLE|DATABASE|MATERIALIZED VIEW|VIEW) IF NOT EXISTS|CREATE OR REPLACE (VIEW|TABLE|DICTIONARY)|"
            # The rows of the past for a view: copies have one key and version, and so they collapse.
            r"INSERT INTO (notable_event_feed|event_version_rows|told_session_rows)\b|DROP .* IF EXISTS|"
            r"INSERT INTO z_session_revision_rows\b|"
            # Places: one too many does no harm.
            r"INSERT INTO z_(day_feed|session_places|id_places|device_days|user_days|apps|ledger_end|ledger_days)\b|"
            # The latest touch counts: one more has ranges summed again.
            r"INSERT INTO z_ledger_ranges\b|"
            # The highest offset counts.
            r"INSERT INTO z_(session|dead_letter)_ends\b|"
            r"ALTER TABLE \w+ (ADD (COLUMN|INDEX) IF NOT EXISTS|DROP (COLUMN|INDEX) IF EXISTS|MODIFY|MATERIALIZE)",
            body.lstrip(),
        ), body[:100]


def test_numbers_are_given_once() -> None:
    numbers = [path.name[:4] for path in FILES]
    assert numbers == [f"{number:04}" for number in range(len(FILES))]
