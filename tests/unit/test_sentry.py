"""Sentry envelopes: lines, identity, facts of sessions that are told again and again, and what real SDKs sent."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.domain.event import COUNTERS, Kind
from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.domain.session import Session
from pipeline.formats import native, sentry
from pipeline.formats.format import Beside
from pipeline.formats.limits import MAX_BODY_EVENTS, MAX_NESTING
from pipeline.formats.options import Options
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.translation import Translation

NOW = 1_795_737_400_000
EXAMPLES = Path(__file__).resolve().parents[2] / "schemas" / "examples" / "sentry"
ANDROID = {"name": "sentry.java.android", "version": "8.0.0"}
BROWSER = {"name": "sentry.javascript.browser", "version": "11.12.0"}
SID = "3c1ffc32f68f4af2a1eedd72f4d62d17"
INSTALLATION = "631693c2-3d61-4a93-8fd1-89817426ba5a"
STARTED, LATER = "2026-11-26T23:50:00.000Z", "2026-11-26T23:55:00.250Z"


def envelope(*items: tuple[str, Any], sdk: dict[str, str] | None = None, **header: Any) -> bytes:
    lines = [json.dumps({"sdk": ANDROID if sdk is None else sdk, **header})]
    for kind, payload in items:
        lines += [json.dumps({"type": kind}), payload if isinstance(payload, str) else json.dumps(payload)]
    return "\n".join(lines).encode()


def update(status: str = "ok", **more: Any) -> tuple[str, dict[str, Any]]:
    told = {"sid": SID, "did": INSTALLATION, "started": STARTED, "timestamp": LATER, "status": status}
    return "session", {**told, "errors": 0, "attrs": {"release": "org.example.shop@2.0.1+77"}, **more}


def error(handled: bool | None = False, level: str = "error", platform: str = "java", **more: Any) -> Any:
    mechanism = {} if handled is None else {"mechanism": {"type": "x", "handled": handled}}
    thrown = {"type": "E", "value": "v", **mechanism}
    told = {
        "event_id": "13f2",
        "level": level,
        "platform": platform,
        "timestamp": LATER,
        "release": "org.example.shop@2",
    }
    return "event", {**told, "exception": {"values": [thrown]}, **more}


def translated(value: bytes, *headers: tuple[str, bytes]) -> Translation:
    outcome = sentry.translate(value, NOW, Beside(headers))
    assert isinstance(outcome, Translation), outcome
    return outcome


def envelopes(translation: Translation) -> list[native.Envelope]:
    found = [native.decode(record.value, record.key, NOW) for record in translation.records]
    assert all(isinstance(each, native.Envelope) and not each.refused for each in found), found
    return [each for each in found if isinstance(each, native.Envelope)]


def events(translation: Translation) -> list[native.NativeEvent]:
    return [event for each in envelopes(translation) for event in each.events]


def folded(*values: bytes) -> list[Session]:
    found = [each for value in values for each in envelopes(translated(value))]
    assert len({(each.app_id, each.device_id) for each in found}) == 1
    return sessions(
        found[0].app_id,
        found[0].device_id,
        [event for each in found for event in native.to_events(each)],
        Policy(),
    )


def counted(session: Session) -> dict[str, int]:
    return {name: n for name, n in zip(COUNTERS, session.counters, strict=True) if n}


def kinds(translation: Translation) -> list[tuple[str, str, Kind]]:
    return [(event.id.removeprefix(SID), event.name, event.kind) for event in events(translation)]


@pytest.mark.parametrize(
    ("status", "more", "fact"),
    [
        ("ok", {}, None),
        ("exited", {}, (".e", "device.app.lifecycle", Kind.BACKGROUND)),
        ("crashed", {}, (".c", "app.crash", Kind.CRASH)),
        ("abnormal", {"abnormal_mechanism": "anr_foreground"}, (".a", "app.exit", Kind.EXIT)),
        ("abnormal", {}, (".a", "app.exit", Kind.EXIT)),
        ("unhandled", {}, (".u", "exception", Kind.ACTIVITY)),
        ("new in some version", {}, None),
    ],
)
def test_facts_of_an_apps_session(
    status: str, more: dict[str, Any], fact: tuple[str, str, Kind] | None
) -> None:
    found = kinds(translated(envelope(update(status, **more))))
    assert found == [(".s", "device.app.lifecycle", Kind.FOREGROUND), *([fact] if fact else [])]


@pytest.mark.parametrize(
    ("status", "fact"),
    [
        ("ok", None),
        ("exited", (".e", "session.end.reported", Kind.PASSIVE)),
        ("crashed", (".u", "exception", Kind.ACTIVITY)),
        ("unhandled", (".u", "exception", Kind.ACTIVITY)),
    ],
)
def test_facts_of_a_browsers_session(status: str, fact: tuple[str, str, Kind] | None) -> None:
    found = kinds(translated(envelope(update(status), sdk=BROWSER)))
    assert found == [(".s", "session.start", Kind.ACTIVITY), *([fact] if fact else [])]


@pytest.mark.parametrize(
    ("mechanism", "reason"),
    [("anr_background", "anr"), ("anr_foreground", "anr"), ("other", "abnormal"), (3, "abnormal")],
)
def test_an_abnormal_end_is_an_anr_if_its_mechanism_says_so(mechanism: Any, reason: str) -> None:
    (session,) = folded(envelope(update("abnormal", abnormal_mechanism=mechanism)))
    assert (session.end_reason, session.exit_reason) == (reason, reason)


def test_a_session_that_is_told_again_and_again_is_one_in_any_order() -> None:
    updates = [
        envelope(update("ok", init=True, timestamp=STARTED)),
        envelope(update("ok", errors=1)),
        envelope(error(handled=True, level="error", contexts={"device": {"id": INSTALLATION}})),
        envelope(update("exited", errors=1)),
    ]
    expected = folded(*updates)
    (session,) = expected
    assert (session.ended_at_ms - session.started_at_ms, counted(session)) == (
        300_250,
        {"exception_count": 1},
    )
    for order in permutations(updates):
        assert [each.ended_at_ms for each in folded(*order, *order)] == [session.ended_at_ms]
        assert [counted(each) for each in folded(*order, *order)] == [counted(session)]


@pytest.mark.parametrize("event_too", [True, False])
def test_a_crash_is_one_whether_an_event_tells_of_it_or_not(event_too: bool) -> None:
    items = [*([error(level="fatal")] if event_too else []), update("crashed")]
    for order in permutations(items):
        (session,) = folded(envelope(*order))
        assert (session.end_reason, counted(session)) == ("crash", {"crash_count": 1})


@pytest.mark.parametrize("event_too", [True, False])
def test_an_unhandled_error_is_one_whether_an_event_tells_of_it_or_not(event_too: bool) -> None:
    items = [*([error(platform="dart")] if event_too else []), update("unhandled")]
    (session,) = folded(envelope(*items))
    assert counted(session) == {"exception_count": 1}


@pytest.mark.parametrize(
    ("sdk", "platform", "handled", "name"),
    [
        *((ANDROID, platform, False, "app.crash") for platform in ("java", "native")),
        ({"name": "sentry.cocoa"}, "cocoa", False, "app.crash"),
        (ANDROID, "java", True, "exception"),
        (ANDROID, "java", None, "exception"),
        ({"name": "sentry.dart.flutter"}, "dart", False, "exception"),
        ({"name": "sentry.javascript.react-native"}, "javascript", False, "exception"),
        (BROWSER, "javascript", False, "exception"),
        (BROWSER, "native", False, "exception"),
    ],
)
def test_what_ends_a_process_is_a_crash(
    sdk: dict[str, str], platform: str, handled: bool | None, name: str
) -> None:
    found = translated(envelope(error(handled, platform=platform), update(), sdk=sdk))
    assert [event.name for event in events(found) if event.id == "13f2"] == [name]


def test_an_apps_device_is_its_installation_and_no_user() -> None:
    (one,) = envelopes(translated(envelope(update())))
    assert (one.app_id, one.device_id, one.user) == ("org.example.shop", INSTALLATION, "")
    told = {"contexts": {"device": {"id": INSTALLATION}}, "user": {"id": INSTALLATION}}
    (event,) = envelopes(translated(envelope(error(**told))))
    assert (event.device_id, event.user) == (INSTALLATION, "")


@pytest.mark.parametrize(("did", "user"), [("u1", '{"id":"u1"}'), ("ann@example.org", ""), (None, "")])
def test_a_browsers_did_is_its_user_and_no_device(did: str | None, user: str) -> None:
    found = translated(envelope(update(did=did), sdk=BROWSER))
    (one,) = envelopes(found)
    assert (one.device_id, one.user) == (f"session:{SID}", user)
    assert orjson.loads(one.events[0].attributes)["device.id.source"] == "session"
    assert not any(b"example.org" in record.value for record in found.records)


@pytest.mark.parametrize("sid", ["3C1FFC32-F68F-4AF2-A1EE-DD72F4D62D17", SID])
def test_a_session_id_is_the_same_in_both_forms(sid: str) -> None:
    assert events(translated(envelope(update(sid=sid))))[0].client_session_id == SID


def test_a_browsers_error_names_its_session_in_a_tag_or_is_refused() -> None:
    (event,) = envelopes(translated(envelope(error(tags={"session.id": SID}), sdk=BROWSER)))
    assert event.device_id == f"session:{SID}" and event.events[0].client_session_id == SID
    (refused,) = translated(envelope(error(), sdk=BROWSER)).refused
    assert refused.reason is Reason.MISSING_FIELD and refused.detail.startswith("items[0].tags[session.id]: ")


def streamed(operation: str, number: int = 1, session: str = SID, **more: Any) -> dict[str, Any]:
    said = {"sentry.op": operation, "sentry.release": "org.example.shop@2", "user.id": "u1", **more}
    if session:
        said["session.id"] = session
    return {
        "name": "Pageload" if operation == "pageload" else operation,
        "trace_id": "615f29d9741c4374af4170ef19b8cf25",
        "span_id": f"{number:016x}",
        "start_timestamp": 1795737000.25,
        "end_timestamp": 1795737000.35,
        "is_segment": operation in ("pageload", "task"),
        "status": "ok",
        "attributes": {key: {"value": value, "type": "string"} for key, value in said.items()},
    }


def test_streamed_spans_are_views_and_requests() -> None:
    """What `@sentry/browser` 11 sends in place of transactions. Parts of a page's loading are none of these."""
    spans = [
        streamed("pageload", 1, **{"sentry.segment.name.source": "url", "url.path": "/cart",
                                   "user.ip_address": "1.2.3.4"}),
        streamed("pageload", 2, **{"sentry.segment.name.source": "route"}),
        streamed("http.client", 3, **{"url.full": "https://a.example/x", "http.response.status_code": 404}),
        {**streamed("http.client", 4, **{"url.full": "https://a.example/y"}), "status": "error"},
        streamed("browser.dns", 5),
        streamed("task", 6),
        "no span",
    ]  # fmt: skip
    found = translated(envelope(("span", {"version": 2, "items": spans}), sdk=BROWSER))
    (one,) = envelopes(found)
    assert (one.app_id, one.device_id, found.refused) == ("org.example.shop", f"session:{SID}", [])
    told = [(event.name, json.loads(event.attributes)) for event in events(found)]
    assert [name for name, _ in told] == ["app.screen.view"] * 2 + ["http.client.request"] * 2 + ["span"]
    assert [attributes.get("app.screen.name") for _, attributes in told[:2]] == ["/cart", "Pageload"]
    assert told[2][1]["http.response.status_code"] == 404 and told[3][1]["error.type"] == "error"
    assert all("user.ip_address" not in attributes for _, attributes in told)
    (session,) = folded(envelope(("span", {"version": 2, "items": spans}), sdk=BROWSER))
    counted = dict(zip(COUNTERS, session.counters, strict=True))
    assert (counted["view_count"], counted["network_count"], counted["network_error_count"]) == (2, 2, 2)


def test_a_span_is_one_event_streamed_or_in_a_transaction() -> None:
    span = streamed("http.client", 7)
    inner = {"op": "http.client", "trace_id": span["trace_id"], "span_id": span["span_id"]}
    transaction = {"contexts": {"trace": {"trace_id": "1" * 32, "span_id": "2" * 16}}, "start_timestamp": LATER,
                   "spans": [{**inner, "start_timestamp": LATER}], "release": "org.example.shop@2",
                   "tags": {"session.id": SID}}  # fmt: skip
    by_transaction = events(translated(envelope(("transaction", transaction), sdk=BROWSER)))
    (alone,) = events(translated(envelope(("span", {"items": [span]}), sdk=BROWSER)))
    assert alone.id in {event.id for event in by_transaction}


def test_a_streamed_span_of_no_session_is_refused_with_its_own_bytes() -> None:
    spans = [streamed("pageload", 1), streamed("pageload", 2, session=""), streamed("browser.dns", 3)]
    found = translated(envelope(("span", {"items": spans}), sdk=BROWSER))
    (fault,) = found.refused
    assert (fault.reason, fault.detail.partition(":")[0]) == (
        Reason.MISSING_FIELD,
        "items[0].items[1].attributes[session.id]",
    )
    assert fault.part is not None and json.loads(fault.part.split(b"\n")[2])["items"] == [spans[1]]


def test_mail_and_name_of_a_user_are_left_out() -> None:
    user = {"id": "u1", "email": "ann@example.org", "username": "ann", "ip_address": "192.0.2.7"}
    found = translated(
        envelope(error(user=user), update(attrs={"release": "a@1", "ip_address": "192.0.2.7"}))
    )
    assert {each.user for each in envelopes(found)} == {'{"id":"u1"}', ""}
    assert not any(
        word in record.value for record in found.records for word in (b"example.org", b"ann", b"192.0")
    )


def test_the_project_stands_in_for_a_release_that_names_no_package() -> None:
    value = envelope(update(attrs={"release": "1.4.0"}))
    assert envelopes(translated(value, ("X-Sentry-Project", b"42")))[0].app_id == "sentry-42"
    (refused,) = translated(value).refused[:1]
    assert refused.reason is Reason.MISSING_FIELD and "x-sentry-project" in refused.detail


def test_a_project_is_the_app_that_was_chosen_for_it_whatever_its_releases_say() -> None:
    options = Options(sentry_apps=(("7", "org.example.web"), ("8", "other")))
    updates = [update(attrs={"release": release}) for release in ("org.example.shop@2.0.1", "5f3c2a1")]
    for one in updates:
        value, header = envelope(one), [("X-Sentry-Project", b"7")]
        for each, beside in (
            (value, Beside(header, options)),
            (value, Beside((), options, b"x-sentry-project/7")),
            (envelope(one, dsn="https://k@h/7"), Beside((), options)),
        ):
            outcome = sentry.translate(each, NOW, beside)
            assert isinstance(outcome, Translation)
            assert {record.key.partition(b"/")[0] for record in outcome.records} == {b"org.example.web"}
        of_another = sentry.translate(value, NOW, Beside([("X-Sentry-Project", b"9")], options))
        assert of_another == sentry.translate(value, NOW, Beside([("X-Sentry-Project", b"9")]))


def test_a_public_key_is_the_app_that_was_chosen_for_it_where_its_project_has_none() -> None:
    options = Options(sentry_apps=(("abc1", "org.example.web"), ("8", "other")))
    for header, app in (
        ({"dsn": "https://abc1@h/7"}, b"org.example.web"),
        ({"trace": {"public_key": "abc1", "trace_id": "a" * 32}}, b"org.example.web"),
        ({"dsn": "https://abc1@h/8"}, b"other"),
        ({"dsn": "https://abc2@h/7"}, b"org.example.shop"),
    ):
        value = envelope(update(attrs={"release": "org.example.shop@2.0.1"}), **header)
        outcome = sentry.translate(value, NOW, Beside((), options))
        assert isinstance(outcome, Translation)
        assert {record.key.partition(b"/")[0] for record in outcome.records} == {app}


def test_the_time_of_sending_corrects_a_clock_and_no_delay() -> None:
    def times(sent_at: str | None) -> list[tuple[int, int]]:
        found = translated(envelope(update("exited"), **({"sent_at": sent_at} if sent_at else {})))
        return [(event.time_ms - event.raw_time_ms, event.raw_time_ms) for event in events(found)]

    stamps = [1_795_737_000_000, 1_795_737_300_250]
    assert times(None) == times("2026-11-26T23:56:00Z") == times("soon") == [(0, stamp) for stamp in stamps]
    assert times("2026-11-26T01:00:00Z") == [(0, stamp) for stamp in stamps], "kept for a night"
    back_ms = 2 * 3_600_000
    assert times("2026-11-27T01:56:40Z") == [(-back_ms, stamp) for stamp in stamps]


def test_what_a_device_stamped_is_kept_when_its_times_are_moved_twice() -> None:
    late = "2026-11-27T04:00:00Z"
    found = translated(envelope(update("exited", timestamp=late), sent_at="2026-11-27T01:56:40Z"))
    assert [event.raw_time_ms for event in events(found)] == [1_795_737_000_000, 1_795_752_000_000]


@pytest.mark.parametrize(
    ("stamp", "time"),
    [
        (1795737216.977125, (1_795_737_216_977, 125_000)),
        ("2026-11-26T23:53:36.977123456Z", (1_795_737_216_977, 123_456)),
    ],
)
def test_times_are_texts_or_seconds(stamp: Any, time: tuple[int, int]) -> None:
    event = events(translated(envelope(update(started=stamp))))[0]
    assert (event.time_ms, event.seq) == time


@pytest.mark.parametrize("stamp", [1e300, -1e300, True, [], "soon", 1795737216977])
def test_a_time_that_is_none_refuses_its_fact_alone(stamp: Any) -> None:
    found = translated(envelope(update("exited", started=stamp)))
    assert [event.id for event in events(found)] == [f"{SID}.e"] and len(found.refused) == 1
    assert found.refused[0].detail.startswith("items[0].started: ")


def test_payloads_go_by_their_length_or_end_with_their_line() -> None:
    payload = json.dumps(update()[1])
    spread = json.dumps(update()[1], indent=1)
    head, kind = b"{}\n", '{"type":"session"'
    for text in (
        f"{kind}}}\n{payload}",
        f"{kind}}}\r\n{payload}\r\n\n\n",
        f'{kind},"length":{len(payload)}}}\n{payload}\n',
        f'{kind},"length":{len(spread)}}}\n{spread}',
        f'{{"type":"attachment","length":4}}\n{{\n}}\n\n{kind}}}\n{payload}',
    ):
        found = translated(head + text.encode(), ("x-sentry-project", b"1"))
        assert len(events(found)) + len(found.refused) == 1, text


def test_an_envelope_may_come_as_one_json_text() -> None:
    value = envelope(update())
    assert translated(json.dumps(value.decode()).encode()) == translated(value)


def test_what_is_not_taken_costs_nothing() -> None:
    found = translated(envelope(("attachment", "no json"), ("client_report", {}), ("check_in", {})))
    assert found == Translation([], [])


def test_an_envelope_of_more_than_a_record_may_hold_is_refused() -> None:
    logs = ("log", {"items": [{"timestamp": LATER, "body": "x"}] * (MAX_BODY_EVENTS + 1)})
    outcome = sentry.translate(envelope(logs), NOW)
    assert isinstance(outcome, Rejected) and outcome.reason is Reason.TOO_MANY_EVENTS
    many = sentry.translate(envelope(*[("attachment", "x")] * (MAX_BODY_EVENTS + 1)), NOW)
    assert isinstance(many, Translation) and many.refused[0].reason is Reason.TOO_MANY_EVENTS


@pytest.mark.parametrize(
    "item", [update(errors="@"), error(extra={"deep": "@"}), error(tags=[["deep", "@"]])]
)
def test_what_nests_as_deep_as_it_may_is_taken(item: tuple[str, Any]) -> None:
    for levels in range(MAX_NESTING - 8, MAX_NESTING + 1):
        value = envelope(update(), item).replace(b'"@"', b"[" * levels + b"]" * levels)
        found = translated(value)
        assert len(events(found)) + len(found.refused) >= 2
        assert {refused.reason for refused in found.refused} <= {Reason.TOO_DEEP}


def test_requests_of_the_real_sdk_make_the_sessions_that_were_there() -> None:
    """Nine requests of `@sentry/browser` 11.12.0: two sessions, an error handled and one not."""
    found, refused = [], []
    for path in sorted(EXAMPLES.glob("captured_*.json")):
        example = json.loads(path.read_text("utf-8"))
        outcome = sentry.translate(example["text"].encode(), example["record_ms"])
        assert isinstance(outcome, Translation)
        found += envelopes(outcome)
        refused += outcome.refused
    by_device: dict[str, list[Any]] = {}
    for each in found:
        by_device.setdefault(each.device_id, []).extend(native.to_events(each))
    folded = [sessions("org.example.app", device, of_it, Policy()) for device, of_it in by_device.items()]
    assert [[counted(session) for session in each] for each in folded] == [[{"exception_count": 1}], [{}]]
    # The two events: a browser does not say of which session they are.
    assert [each.reason for each in refused] == [Reason.MISSING_FIELD] * 2


def test_what_every_item_repeats_has_a_bound() -> None:
    """Each user is a sender of his own, and each sender's envelope has the resource."""

    def logs(release: str) -> bytes:
        said = [{"user.id": {"value": f"u{n}"}, "session.id": {"value": SID}} for n in range(1_000)]
        items = [{"timestamp": LATER, "body": "x", "attributes": each} for each in said]
        return envelope(
            ("log", {"items": items}), sdk=BROWSER, trace={"release": release}, dsn="https://k@h/7"
        )

    found = [
        sum(len(record.value) for record in translated(logs("a@" + "1" * n)).records) for n in (1_000, 60_000)
    ]
    assert found[0] < 2_000_000 and found[1] < 1_000_000
