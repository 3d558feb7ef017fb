"""Schema files cut into statements."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.clickhouse.store import Store
from pipeline.errors import Terminal


class MigrationError(Terminal):
    """The schema files and the database contradict each other; the message says how."""


def statements(text: str) -> list[str]:
    """The statements of a file: each ends with a semicolon at the end of a line that is not a comment."""
    parts = re.split(r"^(?!\s*--)(.*);[ \t]*$", text, flags=re.MULTILINE)
    # Split leaves: text before, last line without its semicolon, text before, last line, …, rest.
    found = ["".join(pair).strip() for pair in zip(parts[0::2], parts[1::2], strict=False)]
    rest = parts[-1].strip()
    if any(line.strip() and not line.lstrip().startswith("--") for line in rest.splitlines()):
        raise MigrationError(f"a statement lacks its semicolon at the end of a line: {rest[:80]!r}")
    return found


def run(store: Store, text: str) -> None:
    """Run the statements of a file's text in their order. Blocks. Raises what the store raises."""
    for statement in statements(text):
        store.command(statement)


def run_file(store: Store, path: Path) -> None:
    """The same of a file."""
    run(store, path.read_text(encoding="utf-8"))
