"""`validate`, and what `send` says of what it sends: faults, doubts, and where they are."""

from __future__ import annotations

import gzip
import io
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline import wiring
from pipeline.commands import traffic
from pipeline.commands.failure import CommandFailed
from pipeline.commands.validate import Output, validate
from pipeline.formats import native
from pipeline.formats.meaning import KNOWN_NAMES
from pipeline.formats.native.doubts import Doubt, doubts_of, misnamed, slips_of
from pipeline.formats.native.near_names import nearest
from pipeline.simulate.fleet import fleet
from tests.support.examples import EXAMPLES, REFUSED, load, value_of

NOW = 1_764_000_000_000


def envelope(*events: dict[str, Any], **head: Any) -> dict[str, Any]:
    filled = [{"id": f"e{n}", "name": "a", "time": NOW, **each} for n, each in enumerate(events)]
    return {"v": 1, "app_id": "a", "device_id": "d", "events": filled, **head}


def found(*events: dict[str, Any], **head: Any) -> list[tuple[Doubt, str]]:
    document = orjson.dumps(envelope(*events, **head))
    read = native.decode(document, b"a/d", NOW)
    assert isinstance(read, native.Envelope)
    return [(each.doubt, each.path) for each in (*doubts_of(read), *slips_of(document))]


def said(name: str, **attributes: Any) -> list[tuple[Doubt, str]]:
    given = {key.replace("__", "."): value for key, value in attributes.items()}
    return found({"name": name, "attributes": given})


AT = "events[0].attributes"
SHOWN: dict[str, dict[str, Any]] = {
    "app.crash": {"exception.type": "E"},
    "exception": {"exception.message": "gone"},
    "app.screen.view": {"app.screen.name": "Home"},
    "app.widget.click": {"app.widget.id": "pay"},
    "http.client.request": {"url.full": "https://example.org"},
    "log": {"body": {"a": 1}},
}
"""Of events that need something to be shown, some of it."""


@pytest.mark.parametrize(
    ("name", "attribute", "bad", "good", "doubt"),
    [
        ("device.app.lifecycle", "android.app.state", ["paused", "Foreground", 1], ["created", "background"],
         Doubt.UNKNOWN_STATE),
        ("device.app.lifecycle", "ios.app.state", ["created", True], ["active", "inactive", "terminate"],
         Doubt.UNKNOWN_STATE),
        ("device.app.lifecycle", "browser.page.visibility", ["shown"], ["visible", "hidden"], Doubt.UNKNOWN_STATE),
        ("app.launch", "app.launch.type", ["frozen", 1], ["cold", "warm", "hot"], Doubt.UNKNOWN_STATE),
        ("any", "app.state", ["active", 0], ["foreground", "background"], Doubt.UNKNOWN_STATE),
        ("any", "passive", [1, "yes", []], [True, False, "true", "false"], Doubt.NOT_A_BOOLEAN),
        ("exception", "fatal", [1, "True", {}], [True, "true", False], Doubt.NOT_A_BOOLEAN),
        ("app.anr", "fatal", [0], ["false"], Doubt.NOT_A_BOOLEAN),
        ("app.screen.view", "app.screen.view.derived", ["1"], [True], Doubt.NOT_A_BOOLEAN),
        ("http.client.request", "http.response.status_code", ["OK", True, "20000", [200]], [200, "404", 200.0],
         Doubt.NOT_A_NUMBER),
        ("log", "severity_number", ["ERROR", False], [17, "9"], Doubt.NOT_A_NUMBER),
        ("log", "severity_text", [17], ["ERROR", "Whatever"], Doubt.UNKNOWN_STATE),
        ("app.exit", "app.exit.reason", ["BOOM", 3, "", "x" * 65], ["CRASH", "crash_native", "unknown", "anr"],
         Doubt.UNKNOWN_EXIT_REASON),
    ],
)  # fmt: skip
def test_what_means_nothing_is_doubted(name: str, attribute: str, bad: Any, good: Any, doubt: Doubt) -> None:
    shown = SHOWN.get(name, {})
    for value in bad:
        told = found({"name": name, "attributes": {**shown, attribute: value}})
        assert told == [(doubt, f"{AT}.{attribute}")], value
    for value in good:
        assert found({"name": name, "attributes": {**shown, attribute: value}}) == [], value


def test_what_says_no_state_is_doubted() -> None:
    assert found({"name": "device.app.lifecycle"}) == [(Doubt.UNKNOWN_STATE, AT)]
    assert found({"name": "app.launch"}) == [(Doubt.UNKNOWN_STATE, f"{AT}.app.launch.type")]
    assert found({"name": "app.exit"}) == [(Doubt.UNKNOWN_EXIT_REASON, f"{AT}.app.exit.reason")]
    thrown = {"name": "exception", "attributes": SHOWN["exception"]}
    assert found(thrown) == [], "an exception that says nothing of it is not fatal"


NOT_SHOWN: dict[str, dict[str, Any]] = {
    "app.crash": {"type": "E", "message": "gone"},
    "exception": {"exception.stacktrace": "at a.b", "exception.type": ""},
    "app.screen.view": {"screen.name": "Home", "app.screen.name": None},
    "app.widget.click": {"id": "pay"},
    "http.client.request": {"url": "https://example.org", "method": "GET", "status": 200},
    "log": {"message": "hello", "severity_number": 9},
}


@pytest.mark.parametrize("name", NOT_SHOWN)
def test_an_event_of_a_known_name_with_nothing_to_show_is_doubted(name: str) -> None:
    for given in (NOT_SHOWN[name], {}):
        assert found({"name": name, "attributes": given}) == [(Doubt.NOTHING_TO_SHOW, AT)]
    assert found({"name": name}) == [(Doubt.NOTHING_TO_SHOW, AT)]
    assert found({"name": name, "attributes": {**NOT_SHOWN[name], **SHOWN[name]}}) == []
    document = orjson.dumps(envelope({"name": name, "attributes": NOT_SHOWN[name]}))
    read = native.decode(document, b"a/d", NOW)
    assert isinstance(read, native.Envelope)
    (doubt,) = doubts_of(read)
    assert all(attribute in doubt.detail for attribute in SHOWN[name]), "it names what is shown"


def test_a_name_that_is_nearly_a_known_one_is_doubted() -> None:
    near = {
        "crash": "app.crash", "App.Crash": "app.crash", "app_crash": "app.crash", "app.crashes": "app.crash",
        "click": "app.widget.click", "screen_view": "app.screen.view", "app.screen.viewed": "app.screen.view",
        "Foreground": "device.app.lifecycle", "app.lifecycle": "device.app.lifecycle", "exceptions": "exception",
        "http.client.requests": "http.client.request", "session_end": "session.end",
    }  # fmt: skip
    for name, known in near.items():
        read = native.decode(orjson.dumps(envelope({"id": ""}, {"name": name})), b"a/d", NOW)
        assert isinstance(read, native.Envelope)
        (doubt,) = misnamed(read)
        assert (doubt.doubt, doubt.path) == (Doubt.NEARLY_A_KNOWN_NAME, "events[1].name")
        assert f"the known name is {known}" in doubt.detail, name
    others = (
        "a",
        "app.screen.close",
        "login",
        "blog",
        "checkout",
        "purchase",
        "app.jank",
        "span",
        "metrickit.x",
    )
    assert [name for name in (*others, *KNOWN_NAMES) if nearest(name)] == []


def test_slips_are_found_and_other_fields_are_an_sdks_own() -> None:
    assert found({"attribute": {}}, sentAt=NOW) == [
        (Doubt.UNKNOWN_FIELD, "sentAt"),
        (Doubt.UNKNOWN_FIELD, "events[0].attribute"),
    ]
    assert found({"sessionId": "x"}) == [(Doubt.UNKNOWN_FIELD, "events[0].sessionId")]
    assert found({"attribute": {}, "attributes": {}, "trace_id": "1"}, sdk="x", schema_url="y") == []


def test_ids_times_and_repairs_are_doubted_where_they_are() -> None:
    assert found({}, {}, {"id": "e0"}) == [(Doubt.DUPLICATE_ID, "events[2].id")]
    assert found({"time": NOW + 3_600_000}) == [(Doubt.TIME_MOVED, "events[].time")]
    assert found({}, sent_at=NOW + 86_400_000) == [(Doubt.TIME_MOVED, "events[].time")]
    text = orjson.dumps(envelope({}, {"attributes": {"x": "X"}})).replace(b'"X"', rb'"\ud83d"')
    read = native.decode(text, b"a/d", NOW)
    assert isinstance(read, native.Envelope)
    assert [(each.doubt, each.path, each.event_id) for each in doubts_of(read)] == [
        (Doubt.REPAIRED, "events[1]", "e1")
    ]
    # What is refused counts where it stands.
    assert found({"id": ""}, {"name": "exception", "attributes": {**SHOWN["exception"], "fatal": 1}}) == [
        (Doubt.NOT_A_BOOLEAN, "events[1].attributes.fatal")
    ]


def test_a_simulated_fleet_gives_no_false_alarm() -> None:
    """Its faults are of networks and clocks; of what it says nothing is doubtful."""
    doubts = set()
    for sent in fleet(40, 3, 6_000):
        read = native.decode(sent.value, sent.key, sent.at_ms)
        assert isinstance(read, native.Envelope)
        doubts |= {each.doubt for each in (*doubts_of(read), *misnamed(read), *slips_of(sent.value))}
    assert doubts <= {Doubt.TIME_MOVED, Doubt.DUPLICATE_ID, Doubt.REPAIRED}


def _kept(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `send` would produce."""
    kept: list[Any] = []

    async def produce(connection: Any, records: Any, **_: Any) -> int:
        kept.extend(records)
        return len(kept)

    monkeypatch.setattr(traffic, "produce", produce)
    return kept


def written(path: Path, documents: Iterable[bytes]) -> str:
    text = b"\n".join(documents) + b"\n"
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return str(path)


def run(
    file: str, capsys: Any, format: str = "native", **options: Any
) -> tuple[list[dict[str, Any]], str, str]:
    """The findings, the last line, and how the command failed."""
    chosen = {"live": False, "output": Output.json_lines, "limit": 0, **options}
    failed = ""
    try:
        validate(wiring.settings(), [file], format, **chosen)
    except CommandFailed as failure:
        failed = str(failure)
    out, err = capsys.readouterr()
    return [json.loads(line) for line in out.splitlines()], err.splitlines()[-1], failed


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_what_is_refused_is_what_the_decoder_refuses(path: Path, tmp_path: Path, capsys: Any) -> None:
    """At the present time, under the key that `send` gives it."""
    value = value_of(load(path))
    if not value or b"\n" in value or value.startswith(b"["):
        pytest.skip("no line of a file, or several envelopes there")
    line = value.strip()
    findings, _, failed = run(written(tmp_path / "x.ndjson", [b"", line]), capsys)
    key = native.key_of(line)

    read = native.decode(line, key, int(time.time() * 1_000))
    refused = read.refused if isinstance(read, native.Envelope) else [read]
    told = [each for each in findings if each["severity"] == "refused"]
    assert [(each["reason"], each["line"], each["path"]) for each in told] == [
        (each.reason.value, 2, each.path) for each in refused
    ]
    assert bool(failed) == bool(refused)


def test_files_compressed_ones_and_standard_input_are_alike(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [orjson.dumps(envelope({})), b"", b"no json", orjson.dumps(envelope({"name": "app.launch"}))]
    plain = run(written(tmp_path / "x", lines), capsys)
    packed = run(written(tmp_path / "x.gz", lines), capsys)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n".join(lines))))
    piped = run("-", capsys)
    for findings, last, failed in (plain, packed, piped):
        assert [(each["line"], each["severity"], each["reason"]) for each in findings] == [
            (3, "refused", "malformed_json"),
            (4, "warning", "unknown_state"),
        ]
        assert last == "3 records, 2 events taken, 1 warnings, 1 record refused"
        assert failed == "1 record refused"


@pytest.mark.parametrize("name", ["x.json", "x.json.gz"])
def test_json_on_several_lines_is_judged_as_one_document_and_not_sent(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kept = _kept(monkeypatch)
    pretty = json.dumps(envelope({"name": "app.launch", "attributes": {"x": '}{"['}}), indent=1).encode()
    file = written(tmp_path / name, [b"", pretty, b"", pretty.replace(b'"id"', b"id")])
    findings, last, failed = run(file, capsys)
    assert [(each["line"], each["severity"], each["reason"]) for each in findings] == [
        (2, "warning", "unknown_state"),
        (pretty.count(b"\n") + 4, "refused", "malformed_json"),
    ]
    assert "jq -c" in last and failed == "1 record refused"
    fine = written(tmp_path / "fine", [orjson.dumps(envelope({}))])
    with pytest.raises(CommandFailed, match=r"several lines.*jq -c .*nothing of it was sent"):
        traffic.send(wiring.settings(), [fine, file], "native")
    assert kept == []


def test_a_first_line_that_nothing_closes_is_a_line(tmp_path: Path, capsys: Any) -> None:
    good = orjson.dumps(envelope({}))
    for bad in (good[:50], b"{" + good, b"not { closed"):
        findings, last, _ = run(written(tmp_path / "x", [bad, good, good]), capsys)
        assert [(each["line"], each["reason"]) for each in findings] == [(1, "malformed_json")]
        assert last.startswith("3 records, 2 events taken")


def test_an_array_of_envelopes_is_taken_apart_as_over_http(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = _kept(monkeypatch)
    several = [orjson.dumps(envelope({"id": f"{n}"}, device_id=f"d{n}")) for n in range(2)]
    file = written(tmp_path / "x", [b"[" + b",".join(several) + b",7]", several[0], b"[]"])
    findings, last, failed = run(file, capsys)
    assert [(each["line"], each["reason"]) for each in findings] == [(1, "invalid_type"), (3, "invalid_type")]
    assert last.startswith("5 records, 3 events taken") and failed == "2 records refused"
    traffic.send(wiring.settings(), [file], "native")
    assert [record.value for record in kept] == [*several, b"7", several[0], b"[]"]
    assert [record.key for record in kept][:2] == [b"a/d0", b"a/d1"]


def test_more_than_500_events_are_judged_as_http_does_where_that_is_asked(
    tmp_path: Path, capsys: Any
) -> None:
    file = written(tmp_path / "x", [orjson.dumps(envelope(*[{}] * 600))])
    findings, _, failed = run(file, capsys)
    assert [each["reason"] for each in findings] == ["too_many_events"]
    assert failed.endswith("--format native-events judges as it does")
    assert run(file, capsys, "native-events")[::2] == ([], "")


def test_all_formats_of_the_registry_are_understood(tmp_path: Path, capsys: Any) -> None:
    body = load(EXAMPLES / "measure" / "bad_events_beside_a_good_one.json")
    findings, last, failed = run(written(tmp_path / "x", [orjson.dumps(body["value"])]), capsys, "measure")
    expected = [(each["reason"], each["detail"]) for each in body["expect"]["refused"]]
    assert [
        (each["reason"], each["detail"]) for each in findings if each["severity"] == "refused"
    ] == expected
    assert failed and "1 records" in last
    with pytest.raises(CommandFailed, match="morse is not a known format"):
        validate(wiring.settings(), [], "morse", live=False, output=Output.text, limit=0)
    with pytest.raises(CommandFailed, match="is not a file"):
        validate(wiring.settings(), [str(tmp_path)], "native", live=False, output=Output.text, limit=0)


def test_a_recording_is_judged_as_of_its_time_and_live_traffic_as_of_now(tmp_path: Path, capsys: Any) -> None:
    old = envelope({}, sent_at=NOW)
    file = written(tmp_path / "x", [orjson.dumps(old)])
    assert run(file, capsys)[0] == []
    (moved,) = run(file, capsys, live=True)[0]
    assert moved["reason"] == "time_moved"


def test_a_session_id_that_never_changes_is_doubted_once_a_day(tmp_path: Path, capsys: Any) -> None:
    hours = [envelope({"id": f"{n}", "time": NOW + n * 3_600_000, "session_id": "s"}) for n in range(24)]
    others = [
        envelope({"id": f"{n}", "time": NOW + n * 3_600_000, "session_id": f"s{n // 6}"}) for n in range(24)
    ]
    findings, _, failed = run(written(tmp_path / "x", map(orjson.dumps, hours)), capsys)
    assert [(each["reason"], each["line"]) for each in findings] == [
        ("endless_session_id", 14)
    ] and not failed
    assert run(written(tmp_path / "x", map(orjson.dumps, others)), capsys)[0] == []


def test_of_each_kind_so_many_are_shown_and_all_counted(tmp_path: Path, capsys: Any) -> None:
    lines = [b"no json"] * 5 + [orjson.dumps(envelope({"name": "app.launch"}))] * 3
    file = written(tmp_path / "x", lines)
    with pytest.raises(CommandFailed, match="5 records refused"):
        validate(wiring.settings(), [file], "native", live=False, output=Output.text, limit=2)
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 2 + 2 + 2 + 1
    assert f"{file}:1: refused malformed_json: " in shown[0]
    assert "refused malformed_json: 3 more of 5 are not shown (--limit)" in shown
    assert shown[-1] == "8 records, 3 events taken, 3 warnings, 5 records refused"


@pytest.mark.parametrize("validated", [True, False])
def test_send_says_the_first_faults_and_sends_all(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, validated: bool
) -> None:
    kept = _kept(monkeypatch)
    lines = [b"no json"] * 7 + [orjson.dumps(envelope({"name": "app.launch"}))]
    traffic.send(wiring.settings(), [written(tmp_path / "x", lines)], "native", validated=validated)
    out, err = capsys.readouterr()
    assert [record.value for record in kept] == lines
    if validated:
        assert out.endswith("7 records refused (session-pipeline dead-letters list)\n")
        assert err.count("refused malformed_json") == 5
        assert err.splitlines()[-1] == (
            "2 more faults and 1 warnings in the first 1,000 documents: session-pipeline validate shows them"
        )
    else:
        assert out == "sent 8 records to sdk-events, not validated\n" and err == ""
