"""Where the schema files are: inside the installed package, or beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def schema_folder() -> Path:
    """The folder `schemas`. Raises FileNotFoundError if neither place has it."""
    for folder in (_PACKAGE / "schemas", _PACKAGE.parent / "schemas"):
        if (folder / "clickhouse").is_dir():
            return folder
    raise FileNotFoundError(f"no schema files in {_PACKAGE / 'schemas'} nor beside {_PACKAGE}")
