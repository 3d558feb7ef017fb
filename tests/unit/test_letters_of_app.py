"""Dead letters of an app are looked for in the newest alone, some at a time by their bytes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from pipeline.api import letters_of_app as module
from pipeline.api.letters_of_app import LettersOfApp, letters_of_app
from pipeline.query.dead_letters import DeadLetterChoice


class Letters:
    """Answers as ClickHouse does: of each letter, the newest first, the app that it names and its bytes."""

    def __init__(self, apps: list[str], size: int = 10, left_out: frozenset[int] = frozenset()) -> None:
        self._rows = [
            {
                "topic": "t", "partition": 0, "offset": f"{offset}", "event_index": -1, "reason": "r", "bytes": size,
                "is_left_out": offset in left_out, "app": app,
            }
            for offset, app in enumerate(apps)
        ]  # fmt: skip
        self.asked: list[int] = []
        """How many were asked for at once."""

    def __call__(self, sql: str, parameters: Mapping[str, Any]) -> bytes:
        if "value64" not in sql:
            return b"\n".join(map(orjson.dumps, self._rows[: parameters["limit"]]))
        self.asked.append(len(parameters["offsets"]))
        found = [row for row in self._rows if int(row["offset"]) in parameters["offsets"]]
        return b"\n".join(
            orjson.dumps({**row, "key64": "", "value64": base64.b64encode(row["app"].encode()).decode()})
            for row in found
        )


def looked(letters: Letters, limit: int = 10) -> LettersOfApp:
    return letters_of_app(
        DeadLetterChoice(), "mine", limit, lambda topic, key, value: frozenset({value.decode()} - {""})
    )(letters)


def offsets(found: LettersOfApp) -> list[int]:
    return [int(row["offset"]) for row in found.rows]


def test_those_of_the_app_are_found_newest_first_up_to_the_limit() -> None:
    found = looked(Letters(["mine", "other", "", "mine", "mine"]))
    assert offsets(found) == [0, 3, 4] and found.is_all
    found = looked(Letters(["mine", "other", "", "mine", "mine"]), limit=2)
    assert offsets(found) == [0, 3] and found.looked_at == 4 and not found.is_all
    assert looked(Letters([])) == LettersOfApp([], 0, True)


def test_no_more_is_looked_at_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LOOKED_AT", 5)
    assert looked(Letters(["other"] * 5)) == LettersOfApp([], 5, True)
    assert looked(Letters(["other"] * 5 + ["mine"])) == LettersOfApp([], 5, False)


def test_bytes_are_read_some_at_a_time_and_not_all() -> None:
    letters = Letters(["other"] * 30, 4_000_000)
    assert looked(letters) == LettersOfApp([], 16, False)
    assert letters.asked == [2] * 8
    letters = Letters(["mine"] * 3, 60_000_000, frozenset({0, 1}))
    assert offsets(looked(letters)) == [0, 1, 2], "what was left out has no bytes here"
    assert looked(Letters(["mine"], 64_000_001)) == LettersOfApp([], 0, False)
