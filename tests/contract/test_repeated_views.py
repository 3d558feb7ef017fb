"""What statements repeat of a view, since they pass it by, is what the view has."""

from __future__ import annotations

import re

from pipeline.query import crash_group
from pipeline.schema_files import schema_folder


def _newest(view: str) -> str:
    """The text of a view as the last file that makes it has it."""
    texts = [path.read_text() for path in sorted((schema_folder() / "clickhouse").glob("*.sql"))]
    made = re.compile(rf"VIEW (?:IF NOT EXISTS )?{view} AS\b(.*?);\n", re.DOTALL)
    return [found for text in texts for found in made.findall(text)][-1]


def _plain(sql: str) -> str:
    """Without blanks, of which only those inside of texts mean something, and with the arrow as it is read."""
    return re.sub(r"\s+", "", sql.replace("concat(' ', char(226, 134, 146), ' ')", "' → '"))


def test_a_step_before_a_crash_is_as_the_view_has_it() -> None:
    assert f"{_plain(crash_group.STEP)}ASstep" in _plain(_newest("crash_paths"))
