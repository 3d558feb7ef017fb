"""The HTTP API where it changes something, and where it gives all sessions as a file."""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient

from pipeline.api.access import Access
from pipeline.api.app import routes
from pipeline.api.outside import Outside
from pipeline.api.table import ENDPOINTS
from pipeline.clickhouse.store import StatementFailed
from pipeline.commands import symbol_changes
from pipeline.commands.answering import not_answered
from pipeline.commands.dashboard import parts
from pipeline.dashboard.app import Parts, application
from pipeline.dashboard.exports import Exports
from pipeline.dashboard.reader import NoRight
from pipeline.embedded.child import LOOPBACK
from pipeline.mcp.tools import TOOLS
from pipeline.symbols import apart
from pipeline.symbols.apart import read_apart
from tests.dashboard.alert_rows import row
from tests.dashboard.stage import Stage
from tests.support.asked_api import V1, bearer, refusal
from tests.support.exporting import ALL, breaking, get, served
from tests.support.symbols import DATA

APP, OTHER = "org.example.changed", "org.example.shop"
RULE, FOREIGN_RULE = "Changed crash-free", "Foreign crash-free"
READS, WRITES, WRITES_ALL = ("r" * 20, "w" * 20, "a" * 20)
MINE, EVERYWHERE = bearer(WRITES), bearer(WRITES_ALL)


@pytest.fixture(scope="module")
def api(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """An open dashboard with keys: one that reads, one that changes what is of an app, and one for all."""
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    path.write_text(
        f'[[keys]]\nkey = "{READS}"\napps = ["*"]\naccess = "read"\n'
        f'[[keys]]\nkey = "{WRITES}"\napps = ["{APP}"]\naccess = "write"\n'
        f'[[keys]]\nkey = "{WRITES_ALL}"\napps = ["*"]\naccess = "write"\n'
    )
    own = replace(stage.settings, api_keys=str(path), api_rate=1_000_000, api_upload_bytes=1_000_000)
    at_ms = int(time.time() * 1_000)
    rules = [row(at_ms, app_id=APP, rule=RULE), row(at_ms, app_id="org.example.foreign", rule=FOREIGN_RULE)]
    stage.store.insert("z_alert_rows", b"\n".join(map(orjson.dumps, rules)), token="changes")
    with TestClient(application(parts(own, stage.store, "", frozenset()))) as client:
        yield client


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbol_changes, "LIST_AGE_S", -1)


CHANGING = [each for each in ENDPOINTS if each.writes]


@pytest.mark.parametrize("endpoint", CHANGING, ids=[each.name for each in CHANGING])
def test_what_changes_something_takes_a_key_that_may(api: TestClient, stage: Stage, endpoint: Any) -> None:
    def ask(client: TestClient, **headers: str) -> Any:
        return client.request(endpoint.method, V1 + endpoint.path, headers=headers)

    told = refusal(ask(api), "no-key")
    assert 'access = "write"' in told["detail"]
    told = refusal(ask(api, **bearer(READS)), "not-allowed")
    assert 'access = "write"' in told["detail"]
    # An open dashboard, or one that somebody is signed in to, is not enough.
    with TestClient(application(parts(stage.settings, stage.store, "", frozenset()))) as open_one:
        assert "PIPELINE_API_KEYS" in refusal(ask(open_one), "no-key")["detail"]
    with TestClient(application(parts(stage.settings, stage.store, "correct horse", frozenset()))) as closed:
        form = {"data": {"password": "correct horse"}, "headers": {"Sec-Fetch-Site": "same-origin"}}
        closed.post("/login", **form, follow_redirects=False)
        assert closed.get(f"{V1}/apps").status_code == 200
        refusal(ask(closed), "no-key")
    # With the key it is not that which is wrong.
    assert ask(api, **MINE).json()["status"] in (400, 415)


def test_no_tool_of_an_assistant_changes_anything() -> None:
    assert CHANGING and not [tool.name for tool in TOOLS if tool.endpoint.writes or tool.endpoint.files]


def test_methods_are_those_of_the_address(api: TestClient) -> None:
    assert api.options(f"{V1}/symbols").headers["Allow"] == "GET, HEAD, POST, DELETE, OPTIONS"
    assert api.options(f"{V1}/alerts/mutes").headers["Allow"] == "POST, DELETE, OPTIONS"
    answer = api.get(f"{V1}/alerts/mutes", headers=MINE)
    assert refusal(answer, "wrong-method") and answer.headers["Allow"] == "POST, DELETE, OPTIONS"
    refusal(api.request("DELETE", f"{V1}/symbols", headers=MINE, content=b"x"), "body")


def mutes(api: TestClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"{V1}/alerts", headers=MINE).json()["mutes"]
    return found


def test_alerts_are_muted_and_unmuted(api: TestClient) -> None:
    asked = {"rule": RULE, "for": "2h", "reason": "a release"}
    told = api.post(f"{V1}/alerts/mutes", json=asked, headers=MINE)
    assert told.status_code == 200 and told.json() == mutes(api)[0]
    assert (told.json()["rule"], told.json()["is_of_group"], told.json()["reason"]) == (
        RULE,
        False,
        "a release",
    )
    assert api.post(f"{V1}/alerts/mutes", json={**asked, "group": ""}, headers=MINE).json()["is_of_group"]
    assert len(mutes(api)) == 2
    for query, was_there in (({"group": ""}, True), ({}, True), ({}, False)):
        told = api.request("DELETE", f"{V1}/alerts/mutes", params={"rule": RULE, **query}, headers=MINE)
        assert told.json() == {"name": RULE, "was_there": was_there}
    assert mutes(api) == []
    for rule in (FOREIGN_RULE, "no such rule"):
        assert (
            rule
            in refusal(
                api.post(f"{V1}/alerts/mutes", json={**asked, "rule": rule}, headers=MINE), "not-found"
            )["detail"]
        ), "as if there were none"
        refusal(api.request("DELETE", f"{V1}/alerts/mutes", params={"rule": rule}, headers=MINE), "not-found")
    for wrong in (
        {"for": "soon"},
        {"for": "-2h"},
        {"for": "401d"},
        {"until": "2h"},
        {"rule": ""},
        {"rule": 1},
    ):
        refusal(api.post(f"{V1}/alerts/mutes", json={**asked, **wrong}, headers=MINE), "bad-request")
    for content in (b"", b"{", b"[]", b'"\xff"', b'{"rule": "a\\u0000", "for": "2h"}', b"[" * 60_000):
        headers = {**MINE, "Content-Type": "application/json; charset=utf-8"}
        refusal(api.post(f"{V1}/alerts/mutes", content=content, headers=headers), "bad-request")
    refusal(api.post(f"{V1}/alerts/mutes", data=asked, headers=MINE), "media-type")
    refusal(api.post(f"{V1}/alerts/mutes", json={**asked, "reason": "x" * 70_000}, headers=MINE), "too-large")


def test_filters_are_saved_and_deleted(api: TestClient) -> None:
    def save(headers: dict[str, str] = MINE, **given: Any) -> Any:
        return api.post(f"{V1}/filters/saved", json={"app": APP, "name": "Paying", **given}, headers=headers)

    def listed() -> list[tuple[str, str, bool]]:
        items = api.get(f"{V1}/filters/saved", params={"app": APP}, headers=MINE).json()["items"]
        return [(each["name"], each["filter"], each["is_default"]) for each in items]

    assert save(filter="session.crash_count>0").json()["filter"] == "session.crash_count > 0"
    assert save(filter="session.tap_count > 1", is_default=True).json()["is_default"]
    assert save(filter="session.tap_count > 2").status_code == 200
    assert listed() == [("Paying", "session.tap_count > 2", True)]
    cohort = api.get(f"{V1}/sessions/counts", params={"app": APP, "cohort": "Paying"}, headers=MINE)
    assert cohort.status_code == 200
    assert not save(filter="session.tap_count > 2", is_default=False).json()["is_default"]
    assert refusal(save(filter="session.mood = 1"), "bad-filter")["place"]
    assert refusal(save(filter="", name=" padded"), "bad-request")["parameter"] == "name"
    refusal(save(app=OTHER, filter=""), "not-your-app")
    refusal(save(app="", filter=""), "not-your-app")
    gone = {"app": APP, "name": "Paying"}
    for was_there in (True, False):
        told = api.request("DELETE", f"{V1}/filters/saved", params=gone, headers=MINE)
        assert told.json() == {"name": "Paying", "was_there": was_there}
    assert listed() == []
    of_all = api.request("DELETE", f"{V1}/filters/saved", params={"name": "none"}, headers=EVERYWHERE)
    assert of_all.json()["was_there"] is False


def test_files_of_symbols_come_and_go(api: TestClient) -> None:
    def upload(content: Any, headers: dict[str, str] = MINE, **query: str) -> Any:
        given = {"app": APP, "name": "mapping.txt", "version": "2.0", **query}
        return api.post(f"{V1}/symbols", params=given, content=content, headers=headers)

    def listed() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = api.get(f"{V1}/symbols", headers=MINE).json()["items"]
        return items

    data = (DATA / "mapping.txt").read_bytes()
    told = upload(iter([data[:1_000], data[1_000:]]))
    assert told.status_code == 200, told.text
    (file,) = listed()
    assert told.json()["items"][0]["digest"] == file["digest"] and file["app_version"] == "2.0"
    # In the words of the command.
    said = refusal(api.post(f"{V1}/symbols", params={"app": APP, "name": "m.txt"}, content=data, headers=MINE),
                   "refused-file")  # fmt: skip
    assert "m.txt: give --version or --build" in said["detail"] and said["refused"][0]["name"] == "m.txt"
    refusal(upload(b""), "refused-file")
    assert refusal(upload(b"x" * 1_000_001), "too-large")["detail"] == "At most 1,000,000 bytes are accepted."
    refusal(upload(iter([b"x" * 700_000] * 2)), "too-large")
    for name in ("../m.txt", "..", "a\\b", "a\nb", "é" * 150):
        refusal(upload(b"x", name=name), "bad-request")
    refusal(upload(data, app=OTHER), "not-your-app")

    def delete(**query: str) -> Any:
        return api.request("DELETE", f"{V1}/symbols", params={"app": APP, **query}, headers=MINE)

    refusal(delete(), "bad-request")
    refusal(delete(digest=file["digest"][:3]), "bad-request")
    assert "has no such file" in refusal(delete(version="3.0"), "not-found")["detail"]
    assert [each["digest"] for each in delete(digest=file["digest"][:8]).json()["items"]] == [file["digest"]]
    assert listed() == []


def _die(path: Path) -> None:
    del path
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_file_that_kills_its_reader_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_read", _die)
    (refused,) = read_apart(DATA / "mapping.txt")
    assert refused.name == "mapping.txt" and "died" in getattr(refused, "why", "")


def test_what_clickhouse_does_not_allow_is_told_as_that() -> None:
    error = StatementFailed("Code: 497. DB::Exception: dashboard: Not enough privileges. (ACCESS_DENIED)")
    assert isinstance(not_answered(error, 0), NoRight)


@pytest.mark.parametrize("format", ["csv", "ndjson", "parquet"])
def test_the_api_gives_the_same_file_as_the_page(api: TestClient, client: TestClient, format: str) -> None:
    asked = {"from": "2020-01-01", "until": "2030-01-01", "order": "-duration", "format": format}
    asked["filter"] = 'session.state = "foreground"'
    told = api.get(f"{V1}/sessions/export", params=asked, headers=EVERYWHERE)
    assert told.status_code == 200 and "longest-first" in told.headers["Content-Disposition"]
    page = get(client, format, {**ALL, "sort": "-duration", "filter": asked["filter"]})
    assert len(told.content) > 10_000 and told.content == page
    head = api.head(f"{V1}/sessions/export", params=asked, headers=EVERYWHERE)
    assert head.headers["Content-Type"] == told.headers["Content-Type"] and not head.content


def test_an_export_is_of_the_apps_of_its_key(api: TestClient) -> None:
    asked = {"from": "2020-01-01", "until": "2030-01-01", "format": "ndjson"}
    assert api.get(f"{V1}/sessions/export", params=asked, headers=MINE).content == b""
    refusal(api.get(f"{V1}/sessions/export", params={**asked, "app": OTHER}, headers=MINE), "not-your-app")
    refusal(api.get(f"{V1}/sessions/export", params={**asked, "format": "xlsx"}, headers=MINE), "bad-request")
    refusal(api.get(f"{V1}/sessions/export", params={**asked, "filter": "x ="}, headers=MINE), "bad-filter")
    refusal(api.get(f"{V1}/sessions/export", params=asked), "no-key")


def breaking_over_the_api(stage: Stage, after: int) -> Parts:
    outside = breaking(stage, after)
    assert outside.export
    access = Access(lambda: None, rate=1_000_000, is_open=True)
    return replace(outside, beside=routes(outside.ask, access, Outside(exports=Exports(outside.export))))


def test_an_export_that_breaks_off_is_no_whole_answer(stage: Stage) -> None:
    path = f"{V1}/sessions/export?format=ndjson&from=2020-01-01"
    with (
        served(stage, breaking_over_the_api(stage, 2)) as port,
        closing(http.client.HTTPConnection(LOOPBACK, port, timeout=60)) as connection,
    ):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    with TestClient(application(breaking_over_the_api(stage, 0))) as failing:
        refusal(failing.get(path), "not-now")
