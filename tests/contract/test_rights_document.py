"""deploy/KAFKA-RIGHTS.md shows the rights that programs are tested with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.roles.rights import USERS, rights

DOCUMENT = (Path(__file__).resolve().parents[2] / "deploy" / "KAFKA-RIGHTS.md").read_text()


@pytest.mark.parametrize("user", USERS)
def test_each_list_is_there(user: str) -> None:
    command = {"operator": "migrate", "replay": "dead-letters replay"}.get(user, user)
    (section,) = re.findall(
        rf"^## [^\n]*`(?:worker --role )?{command}`[^\n]*\n(.*?)(?=^## )", DOCUMENT, re.M | re.S
    )
    rows = set(re.findall(r"^\| (\w+)( \(prefix\))? \| `([^`]+)` \| ([^|]+) \|$", section, re.M))
    assert rows == {
        (right.resource, " (prefix)" if right.is_prefix else "", right.name, ", ".join(right.operations))
        for right in rights(user)
    }
