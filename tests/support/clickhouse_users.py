"""What deploy/clickhouse-users.sql gives to each user, read off the file."""

from __future__ import annotations

import re
from pathlib import Path

FILE = Path(__file__).parents[2] / "deploy" / "clickhouse-users.sql"
DATABASE = "app_sessions"
_PREFIX = "session_pipeline_"
_USERS = {
    "operator": "migrate", "sink": "write", "dashboard": "read", "alerts": "alerts", "erase": "erase",
    "retention": "retention", "rebuild": "rebuild", "replay": "rebuild",
}  # fmt: skip


def user_of(program: str) -> str:
    """The user, without what all of their names begin with, as whom a program runs."""
    return _USERS[program]


def statements() -> list[str]:
    """Each on one line, without comments."""
    text = re.sub(r"--.*", "", FILE.read_text(encoding="utf-8"))
    return [" ".join(statement.split()) for statement in text.split(";") if statement.strip()]


def given_to(user: str) -> list[str]:
    """As `INSERT ON app_sessions.session_rows`."""
    found = []
    for statement in statements():
        match = re.fullmatch(rf"GRANT (.+) ON (\S+) TO {_PREFIX}{user}", statement)
        if match:
            found += [f"{access.strip()} ON {match[2]}" for access in match[1].split(",")]
    assert found, f"the file gives {user} something"
    return found


def policies_of(user: str) -> dict[str, str]:
    """The condition of each table of which a user sees some rows, for the app `a`."""
    found = {}
    for statement in statements():
        match = re.fullmatch(
            rf"CREATE ROW POLICY IF NOT EXISTS \S+ ON {DATABASE}\.(\w+) FOR SELECT USING (.+) TO {_PREFIX}{user}",
            statement,
        )
        if match:
            found[match[1]] = match[2].replace("'org.example.shop", "'a")
    return found


_VALUES = {"UUID": "'00000000-0000-0000-0000-000000000000'"}


def asked(name: str, made: str) -> str:
    """What to select from for a table or view, given how it was made: some views want values."""
    wanted = dict(re.findall(r"\{(\w+):(\w+)", made))
    given = ", ".join(
        f"{value} = {_VALUES.get(kind, 1 if kind.startswith(('UInt', 'Int')) else repr('2026-01-05'))}"
        for value, kind in wanted.items()
    )
    return f"{name}({given})" if given else name
