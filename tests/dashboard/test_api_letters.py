"""Dead letters of one app, by the API."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest
from starlette.testclient import TestClient

from pipeline.commands.dashboard import parts
from pipeline.dashboard.app import application
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.dashboard.stage import Stage, staged

PATH = "/api/v1/pipeline/dead-letters/newest"


@pytest.fixture(scope="module")
def stage(clickhouse: EmbeddedClickHouse) -> Iterator[Stage]:
    with staged(f"{clickhouse.url}/test_dashboard_letters") as made:
        made.refuse("missing_field", "first", orjson.dumps({"v": 1, "app_id": "mine", "device_id": "d"}))
        made.refuse("missing_field", "second", orjson.dumps({"v": 1, "app_id": "other", "device_id": "d"}))
        made.refuse("not_json", "third", b"nonsense of mine")
        made.refuse("too_large", "fourth", orjson.dumps({"v": 1, "app_id": "mine", "device_id": "e"}))
        yield made
        clickhouse.command("DROP DATABASE IF EXISTS test_dashboard_letters SYNC")


def test_letters_of_an_app_are_those_whose_bytes_name_it(stage: Stage) -> None:
    with TestClient(application(parts(stage.settings, stage.store, "", frozenset()))) as client:

        def told(**asked: str) -> tuple[list[str], int | None]:
            answer = client.get(PATH, params=asked)
            assert answer.status_code == 200, answer.text
            return sorted(each["detail"] for each in answer.json()["items"]), answer.json()["looked_at"]

        assert told() == (["first", "fourth", "second", "third"], None)
        assert told(app="mine") == (["first", "fourth"], None)
        assert told(app="mine", reason="too_large") == (["fourth"], None)
        assert told(app="nobody") == ([], None)
        few = client.get(PATH, params={"app": "mine", "limit": "1"}).json()
        assert len(few["items"]) == 1 and few["looked_at"] in (1, 2, 3, None)
        one = next(each for each in client.get(PATH).json()["items"] if each["detail"] == "first")
        assert one in client.get(PATH, params={"app": "mine"}).json()["items"], "the same as without"
