"""Faro bodies: identity, ids, sessions of tabs, limits, and the requests that the real SDK sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.domain.event import COUNTERS, Kind
from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.formats import faro, native
from pipeline.formats.format import Beside
from pipeline.formats.limits import MAX_BODY_EVENTS, MAX_NESTING, MAX_RECORD_BYTES
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.translation import Translation

NOW = 1_795_737_400_000
TIME = "2026-11-26T23:52:32.577Z"
EXAMPLES = Path(__file__).resolve().parents[2] / "schemas" / "examples" / "faro"
BROWSER = {"name": "Firefox", "version": "140"}


def meta(session: str | None = "s1", installation: str | None = None, **more: Any) -> dict[str, Any]:
    app = {"name": "shop"} | ({"installationId": installation} if installation else {})
    return {"app": app, **({"session": {"id": session}} if session else {}), **more}


def item(name: str, at: str = TIME, **more: Any) -> dict[str, Any]:
    return {"name": name, "timestamp": at, **more}


def translated(meta: dict[str, Any], **lists: Any) -> Translation:
    outcome = faro.translate(orjson.dumps({"meta": meta, **lists}), NOW)
    assert isinstance(outcome, Translation), outcome
    return outcome


def envelopes(translation: Translation) -> list[native.Envelope]:
    found = [native.decode(record.value, record.key, NOW) for record in translation.records]
    assert all(isinstance(each, native.Envelope) and not each.refused for each in found), found
    return [each for each in found if isinstance(each, native.Envelope)]


def events(translation: Translation) -> list[native.NativeEvent]:
    return [event for envelope in envelopes(translation) for event in envelope.events]


def counted(event: native.NativeEvent) -> set[str]:
    return {name for bit, name in enumerate(COUNTERS) if event.counters >> bit & 1}


def said(event: native.NativeEvent) -> dict[str, Any]:
    tree: dict[str, Any] = orjson.loads(event.attributes)
    return tree


def test_a_browser_without_installation_is_a_device_of_its_session_and_says_so() -> None:
    (envelope,) = envelopes(translated(meta(), events=[item("e")]))
    assert (envelope.app_id, envelope.device_id) == ("shop", "session:s1")
    assert said(envelope.events[0])["device.id.source"] == "session"
    assert envelope.events[0].client_session_id == "s1"


def test_an_installation_is_the_device_and_says_nothing_of_a_session_in_its_place() -> None:
    (envelope,) = envelopes(translated(meta(installation="i1"), events=[item("e")]))
    assert envelope.device_id == "i1" and "device.id.source" not in said(envelope.events[0])
    assert envelope.events[0].client_session_id == "s1"


@pytest.mark.parametrize(
    ("app", "app_id"),
    [({"name": "shop"}, "shop"), ({"name": "s/p", "namespace": "org/x"}, "org.x.s.p")],
)
def test_an_app_is_its_namespace_and_name(app: dict[str, str], app_id: str) -> None:
    assert envelopes(translated(meta(app=app), events=[item("e")]))[0].app_id == app_id


def test_two_tabs_of_one_installation_are_one_use() -> None:
    """Each has a session of its own, by Faro; if they told, each new one would end the other's."""
    tabs = [
        translated(
            meta(f"tab{n % 2}", installation="i1", browser=BROWSER),
            events=[item("e", f"2026-11-26T23:52:{n:02}Z")],
        )
        for n in range(10)
    ]
    found = [event for tab in tabs for envelope in envelopes(tab) for event in native.to_events(envelope)]
    (session,) = sessions("shop", "i1", found, Policy())
    assert session.event_count == 10
    assert {said(event)["faro.session.id"] for tab in tabs for event in events(tab)} == {"tab0", "tab1"}


def test_ids_are_of_the_item_alone() -> None:
    """However a body is cut, and wherever its page is when it is sent again."""
    items = [item("a"), item("b", attributes={"x": "1"}), item("a", "2026-11-26T23:52:32.578Z")]
    whole = [event.id for event in events(translated(meta(), events=items))]
    alone = [
        events(translated(meta(page={"url": f"/{n}"}), events=[each]))[0].id for n, each in enumerate(items)
    ]
    assert whole == alone and len(set(whole)) == 3
    swapped = dict(reversed(items[1].items()))
    assert events(translated(meta(), events=[swapped]))[0].id == whole[1]
    log = {"message": "a", "timestamp": TIME}
    others = [
        *events(translated(meta("s2"), events=items[:1])),
        *events(translated(meta(installation="i"), events=items[:1])),
        *events(translated(meta(app={"name": "other"}), events=items[:1])),
        *events(translated(meta(), logs=[log], exceptions=[log])),
    ]
    assert len({*whole, *(event.id for event in others)}) == 8


def test_an_exception_ends_nothing_whatever_faro_says() -> None:
    told = {"type": "E", "value": "v", "timestamp": TIME, "fatal": True}
    (event,) = events(translated(meta(), exceptions=[told]))
    assert (event.kind, counted(event)) == (Kind.ACTIVITY, {"exception_count"})
    assert said(event)["exception.fatal"] is True and "fatal" not in said(event)


@pytest.mark.parametrize("level", ["error", "ERROR"])
def test_a_log_of_an_error_counts_as_one(level: str) -> None:
    (event,) = events(translated(meta(), logs=[{"message": "m", "level": level, "timestamp": TIME}]))
    assert counted(event) == {"log_error_count"} and said(event)["severity_number"] == 17


@pytest.mark.parametrize(
    ("name", "counters"),
    [
        *((name, {"view_count"}) for name in ("view_changed", "route_change")),
        ("click", {"tap_count"}),
        *(
            (name, set())
            for name in ("session_start", "session_resume", "session_extend", "faro.user.action", "x")
        ),
    ],
)
def test_what_an_event_counts_as(name: str, counters: set[str]) -> None:
    (event,) = events(translated(meta(), events=[item(name)]))
    assert (event.kind, counted(event)) == (Kind.ACTIVITY, counters)


def test_what_a_page_loads_by_itself_is_no_use() -> None:
    (event,) = events(translated(meta(), events=[item("faro.performance.resource")]))
    assert event.kind is Kind.PASSIVE


@pytest.mark.parametrize(
    ("name", "from_url", "to_url", "screen"),
    [
        ("navigation", None, "https://a.example/b?c=1", "/b"),
        ("faro.navigation.push", "https://a.example/a", "https://a.example/b?c=1#d", "/b"),
        ("faro.navigation.push", "https://a.example/a?x=1", "https://a.example/a?x=2", "/a"),
        ("faro.navigation.push", "https://a.example/a#x", "https://a.example/a#y", None),
        ("faro.navigation.hashchange", "https://a.example#x", "https://a.example/#y", None),
        ("faro.navigation.pushState", "https://a.example/a", "/a", None),
        ("faro.navigation.replaceState", "/a", "/b", None),
        ("faro.navigation.back", None, None, None),
    ],
)
def test_a_navigation_is_a_view_if_it_shows_another_page(
    name: str, from_url: str | None, to_url: str | None, screen: str | None
) -> None:
    (event,) = events(
        translated(meta(), events=[item(name, attributes={"fromUrl": from_url, "toUrl": to_url})])
    )
    assert counted(event) == ({"view_count"} if screen else set())
    assert said(event).get("app.screen.name") == screen


def test_a_users_mail_and_names_are_left_out() -> None:
    told = {
        "id": "u1",
        "email": "ann@example.org",
        "username": "ann",
        "fullName": "Ann Example",
        "roles": "a, b",
    }
    found = translated(meta(user=told), events=[item("e")])
    assert orjson.loads(envelopes(found)[0].user) == {"id": "u1", "personas": ["a", "b"]}
    assert not any(
        word in record.value for record in found.records for word in (b"example.org", b"ann", b"Ann")
    )


def test_the_viewport_makes_no_other_sender() -> None:
    one, two = (
        envelopes(translated(meta(browser={**BROWSER, "viewportWidth": width}), events=[item("e")]))[
            0
        ].resource
        for width in ("1", "2")
    )
    assert one == two


def test_the_session_of_the_request_stands_in_for_one_that_is_missing() -> None:
    value = orjson.dumps({"meta": meta(None), "events": [item("e")]})
    outcome = faro.translate(value, NOW, Beside([("X-Faro-Session-Id", b"s9")]))
    assert isinstance(outcome, Translation) and envelopes(outcome)[0].device_id == "session:s9"
    without = faro.translate(value, NOW)
    assert isinstance(without, Rejected) and without.reason is Reason.MISSING_FIELD


def test_a_body_of_more_items_than_it_may_have_is_refused() -> None:
    half = [item("e")] * (MAX_BODY_EVENTS // 2)
    many = {"meta": meta(), "events": half, "logs": [*half, {"message": "m", "timestamp": TIME}]}
    outcome = faro.translate(orjson.dumps(many), NOW)
    assert isinstance(outcome, Rejected) and outcome.reason is Reason.TOO_MANY_EVENTS


def test_an_item_that_fills_more_than_a_record_is_refused_alone() -> None:
    huge = {"message": "x" * MAX_RECORD_BYTES, "timestamp": TIME}
    found = translated(meta(), events=[item("e")], logs=[huge])
    assert [event.name for event in events(found)] == ["e"]
    ((refused),) = found.refused
    assert (refused.reason, refused.event_index) == (Reason.RECORD_TOO_LARGE, 1)
    assert refused.detail.startswith("logs[0]: ")


@pytest.mark.parametrize("field", ["attributes", "odd"])
def test_what_nests_as_deep_as_it_may_is_taken(field: str) -> None:
    def body(levels: int) -> bytes:
        return orjson.dumps({"meta": meta(), "events": [item("e", **{field: {"deep": "@"}})]}).replace(
            b'"@"', b"[" * levels + b"]" * levels
        )

    deepest = (
        MAX_NESTING - 5
    )  # below the body, its list, the item and two objects; one more is for the native form
    outcome = faro.translate(body(deepest), NOW)
    assert isinstance(outcome, Translation) and len(events(outcome)) == 1
    beyond = faro.translate(body(deepest + 1), NOW)
    assert isinstance(beyond, Rejected) and beyond.reason is Reason.TOO_DEEP


def test_requests_of_the_real_sdk_make_the_session_that_was_there() -> None:
    """Five requests of `@grafana/faro-web-sdk` 2.12.1, of one installation and three of Faro's sessions."""
    found = []
    for path in sorted(EXAMPLES.glob("captured_*.json")):
        example = json.loads(path.read_text("utf-8"))
        outcome = faro.translate(orjson.dumps(example["value"]), example["record_ms"])
        assert isinstance(outcome, Translation) and not outcome.refused
        found += [event for each in envelopes(outcome) for event in native.to_events(each)]
    (session,) = sessions("org.example.shop-web", "5c2608b0-018b-4fdd-b01d-800316208b96", found, Policy())
    counters = dict(zip(COUNTERS, session.counters, strict=True))
    assert session.event_count == 12
    assert (counters["exception_count"], counters["log_error_count"], counters["view_count"]) == (2, 1, 1)
    assert orjson.loads(session.user) == {"id": "u1", "properties": {"plan": "pro"}}


def test_what_every_event_repeats_has_a_bound() -> None:
    def size(chars: int, count: int = MAX_BODY_EVENTS) -> int:
        page = {"attributes": {"x": "y" * chars}}
        body = orjson.dumps({"meta": meta(page=page), "events": [item("e")] * count})
        outcome = faro.translate(body, NOW)
        if isinstance(outcome, Rejected):
            assert outcome.reason is Reason.RECORD_TOO_LARGE and outcome.detail.startswith("meta: ")
            return 0
        return sum(len(record.value) for record in outcome.records)

    assert 12_000_000 < size(8_000) < 14_000_000
    assert size(8_200) == size(600_000) == 0


def span(n: int, **more: Any) -> dict[str, Any]:
    start_ns = 1_795_737_152_577_000_000
    told = {"traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": f"{n:016x}", "name": "work"}
    return {
        **told,
        "startTimeUnixNano": f"{start_ns + n}",
        "endTimeUnixNano": f"{start_ns + 5_000_000}",
        **more,
    }


def traces(*spans: Any) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


def test_a_span_is_an_event_of_the_sender_that_meta_names() -> None:
    found = translated(meta(page={"url": "/p"}), events=[item("e")], traces=traces(span(7)))
    (envelope,) = envelopes(found)
    event = envelope.events[1]
    assert (event.id, event.name, event.seq) == (
        "4bf92f3577b34da6a3ce929d0e0e4736-0000000000000007.e",
        "span",
        7,
    )
    assert event.client_session_id == "s1" and said(event)["url.full"] == "/p"


def test_more_events_of_spans_than_a_body_may_have_are_refused() -> None:
    many = {
        "meta": meta(),
        "events": [item("e")],
        "traces": traces(*map(span, range(1, MAX_BODY_EVENTS + 1))),
    }
    outcome = faro.translate(orjson.dumps(many), NOW)
    assert isinstance(outcome, Rejected) and outcome.reason is Reason.TOO_MANY_EVENTS


@pytest.mark.parametrize(
    "bad",
    [
        {"resourceSpans": 7},
        {"resourceSpans": [7]},
        traces(7),
        traces(span(0)),
        traces(span(1, startTimeUnixNano=1e300)),
    ],
)
def test_faults_of_traces_cost_nothing_else(bad: Any) -> None:
    found = translated(meta(), events=[item("e")], traces=bad)
    assert len(events(found)) == 1 and len(found.refused) == 1
    assert found.refused[0].event_index == 1 and found.refused[0].detail.startswith("traces.")
