"""A dead letter holds what was refused alone: sent again, it gives no event that was stored already."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from pipeline.domain.privacy import Privacy, Rules, Samplings
from pipeline.formats import embrace, faro, sentry
from pipeline.formats.edge import OPEN_EDGE, Edge
from pipeline.formats.format import Beside, Format, Headers
from pipeline.formats.rejected import Rejected
from pipeline.formats.translation import Translation
from tests.support.replaying import ids_of, letters_of, reasons_of, sent_again, translated

NOW = 1_795_737_400_000
NOW_S = NOW // 1_000
NOW_NS = NOW * 1_000_000
STAMP = "2026-11-26T23:50:00Z"
MAIL = "a@b.cc"
EDGES = {
    "no rules": OPEN_EDGE,
    "default rules": Edge(Privacy(), Samplings()),
    "mails masked": Edge(Privacy(Rules(emails="mask")), Samplings()),
}


class Case(NamedTuple):
    format: Format
    value: bytes
    good: str
    """Stands in what is taken alone."""
    bad: str
    """In what is refused alone."""
    headers: Headers = ()


def of_faro(**lists: Any) -> bytes:
    meta = {"app": {"name": "shop"}, "session": {"id": "s1"}}
    return json.dumps({"meta": meta, **lists}).encode()


def of_sentry(*items: tuple[str, Any], sdk: str = "sentry.java.android", **header: Any) -> bytes:
    lines: list[Any] = [{"sdk": {"name": sdk, "version": "8"}, **header}]
    for kind, payload in items:
        lines += [{"type": kind}, payload]
    return "\n".join(map(json.dumps, lines)).encode()


def sentry_log(body: str, timestamp: float) -> dict[str, Any]:
    return {"timestamp": timestamp, "body": body, "attributes": {"device.id": {"value": "d1"}}}


def span(name: str, start_ns: Any, **more: Any) -> dict[str, Any]:
    ids = {"traceId": "a" * 32, "spanId": name.encode().hex()[:16].ljust(16, "1")}
    return {**ids, "name": name, "startTimeUnixNano": start_ns, "endTimeUnixNano": str(NOW_NS), **more}


def traces(*spans: Any) -> dict[str, Any]:
    return {
        "resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "web"}, "spans": list(spans)}]}]
    }


EMBRACE_HEADERS = (("x-em-aid", b"abcde"), ("x-em-did", b"A" * 32))
RELEASE = {"release": "org.x@1.4.0"}
CASES = {
    "faro": Case(
        faro.FORMAT,
        of_faro(
            events=[
                {"name": "good", "timestamp": STAMP, "attributes": {"user.email": MAIL}},
                {"name": "bad", "timestamp": "x"},
            ],
            logs=[{"timestamp": STAMP, "message": f"good {MAIL}"}, {"timestamp": 5, "message": "bad"}],
        ),
        "good",
        "bad",
    ),
    "faro, spans": Case(
        faro.FORMAT,
        of_faro(
            logs=[{"timestamp": STAMP, "message": f"good {MAIL}"}],
            traces=traces(span("good", str(NOW_NS)), span("bad", "x")),
        ),
        "good",
        "bad",
    ),
    "embrace": Case(
        embrace.FORMAT,
        json.dumps(
            {
                "resource": {"app_version": "1"},
                "metadata": {"locale": "de"},
                "data": {
                    "logs": [
                        {
                            "time_unix_nano": NOW_NS,
                            "body": "good",
                            "attributes": [{"key": "user.email", "value": MAIL}],
                        },
                        {"time_unix_nano": 1, "body": "bad"},
                    ],
                    "spans": [{"span_id": "bad"}],
                },
            }
        ).encode(),
        "good",
        "bad",
        EMBRACE_HEADERS,
    ),
    "sentry": Case(
        sentry.FORMAT,
        of_sentry(
            ("log", {"items": [sentry_log(f"good {MAIL}", NOW_S), sentry_log("bad", 1)]}),
            (
                "session",
                {"sid": "s1", "did": "d1", "started": STAMP, "status": "ok", "attrs": {"release": "1.4.0"}},
            ),
            ("event", {"event_id": "bad", "timestamp": 1}),
        ),
        "good",
        "bad",
        (("x-sentry-project", b"7"),),
    ),
}


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_nothing_that_was_taken_is_in_a_dead_letter(case: Case, edge: Edge) -> None:
    beside = Beside(case.headers)
    outcome = translated(case.format, case.value, NOW, beside)
    assert isinstance(outcome, Translation) and ids_of(outcome) and outcome.refused
    letters = letters_of(case.format, case.value, NOW, beside, edge)
    assert len(letters) == len(reasons_of(outcome))
    for letter in letters:
        assert letter.value and case.good.encode() not in letter.value and case.bad.encode() in letter.value
        again = sent_again(case.format, letter)
        assert ids_of(again) == []
        reason = str(letter.rejected.reason)
        assert reasons_of(again) == {reason: reasons_of(outcome)[reason]}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_good_after_a_fix_has_the_id_that_it_would_have_had(case: Case) -> None:
    """What the fix mends is the record time: what was refused as too far ahead is not any more."""
    at_once = ids_of(translated(case.format, case.value, NOW, Beside(case.headers)))
    letters = letters_of(case.format, case.value, NOW - 40 * 86_400_000, Beside(case.headers))
    mended = [each._replace(record_ms=NOW) for each in letters]
    again = [id_ for each in mended for id_ in ids_of(sent_again(case.format, each))]
    assert sorted(again) == sorted(at_once)


def test_what_is_refused_whole_stays_byte_for_byte() -> None:
    value = of_faro(events=[{"name": "bad", "timestamp": "x"}]) + b"  "
    (letter,) = letters_of(faro.FORMAT, value, NOW)
    assert letter.value == value


def test_an_item_of_sentry_whose_session_was_taken_is_still_its_device_s() -> None:
    session = {"sid": "S-1", "did": "d1", "started": STAMP, "timestamp": STAMP, "attrs": RELEASE}
    thrown = {"values": [{"type": "E", "mechanism": {"handled": False}}]}
    value = of_sentry(
        ("session", {**session, "status": "crashed"}),
        ("event", {"event_id": "e1", "timestamp": 1, "platform": "java", "exception": thrown}),
        ("attachment", "unread"),
    )
    (letter,) = letters_of(sentry.FORMAT, value, NOW)
    assert letter.rejected.reason == "time_out_of_range"
    assert b"unread" not in (letter.value or b"")
    again = sent_again(sentry.FORMAT, letter)
    assert ids_of(again) == [] and reasons_of(again) == {"time_out_of_range": 1}
    mended = (letter.value or b"").replace(b'"timestamp": 1,', b'"timestamp": %d,' % NOW_S)
    fixed = sent_again(sentry.FORMAT, letter._replace(value=mended))
    assert isinstance(fixed, Translation)
    assert [(each.key, ids_of(fixed)) for each in fixed.records] == [(b"org.x/d1", ["e1"])]


def test_a_session_of_sentry_whose_crash_was_taken_is_no_crash_more() -> None:
    thrown = {"values": [{"type": "E", "mechanism": {"handled": False}}]}
    value = of_sentry(
        (
            "session",
            {
                "sid": "s1",
                "did": "d1",
                "started": "x",
                "timestamp": STAMP,
                "status": "crashed",
                "attrs": RELEASE,
            },
        ),
        ("event", {"event_id": "e1", "timestamp": NOW_S, "platform": "java", "exception": thrown}),
    )
    (letter,) = letters_of(sentry.FORMAT, value, NOW)
    assert ids_of(sent_again(sentry.FORMAT, letter)) == []


def test_requests_of_a_transaction_are_cut_out_one_by_one() -> None:
    def request(at: int, start: float) -> dict[str, Any]:
        return {"op": "http.client", "trace_id": "t", "span_id": f"span{at}", "start_timestamp": start}

    trace = {"op": "ui.load", "trace_id": "t", "span_id": "root"}
    value = of_sentry(
        (
            "transaction",
            {
                "start_timestamp": 1,
                "contexts": {"trace": trace, "device": {"id": "d1"}},
                "release": "org.x@1",
                "spans": [request(0, NOW_S), request(1, 1), request(2, NOW_S)],
            },
        )
    )
    (letter,) = letters_of(sentry.FORMAT, value, NOW)
    again = sent_again(sentry.FORMAT, letter)
    assert ids_of(again) == [] and reasons_of(again) == {"time_out_of_range": 2}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"type":"event"}\n{"event_id"', "malformed_json"),
        (b'{"type":"event","length":99}\n{"event_id"\n', "malformed_json"),
        (b'{"type":5}\n{}', "invalid_type"),
        (b'{"type":"event"\n{}\n{"type":"event"}\n{}', "malformed_json"),
        (b'{"type":"sessions"}\n{}', "unsupported"),
    ],
)
def test_items_of_sentry_that_cannot_be_read_are_cut_out_as_they_are(bad: bytes, reason: str) -> None:
    good = of_sentry(
        ("event", {"event_id": "good", "timestamp": NOW_S, "contexts": {"device": {"id": "d"}}, **RELEASE})
    )
    (letter,) = letters_of(sentry.FORMAT, good + b"\n" + bad, NOW)
    assert (letter.value or b"").endswith(bad) and b"good" not in (letter.value or b"")
    again = sent_again(sentry.FORMAT, letter)
    assert ids_of(again) == [] and reasons_of(again) == {reason: 1}


def test_as_many_dead_letters_as_reasons_and_no_more_bytes_than_came() -> None:
    logs = [{"time_unix_nano": 1 if at % 2 else "x"} for at in range(19_999)]
    good = {"time_unix_nano": NOW_NS, "body": "good"}
    value = json.dumps({"data": {"logs": [*logs, good]}}).encode()
    letters = letters_of(embrace.FORMAT, value, NOW, Beside(EMBRACE_HEADERS))
    assert len(letters) == 2
    assert sum(len(each.value or b"") for each in letters) <= len(value)


@pytest.mark.parametrize("key", [None, b"", b"shop/phone", b"x-sentry-project", b"\xff"])
@pytest.mark.parametrize(
    ("format", "name", "value"),
    [
        (
            sentry.FORMAT,
            "X-Sentry-Project",
            of_sentry(("event", {"timestamp": 1, "contexts": {"device": {"id": "d"}}})),
        ),
        (
            faro.FORMAT,
            "X-Faro-Session-Id",
            of_faro(events=[{"name": "bad", "timestamp": "x"}]).replace(b'"s1"', b'""'),
        ),
    ],
    ids=["sentry", "faro"],
)
def test_a_header_that_says_whose_it_is_goes_into_the_key(
    format: Format, name: str, value: bytes, key: bytes | None
) -> None:
    for said in (b"7", b"a/b", b"\xff"):
        told = Beside(((name, said),), key=key)
        (letter,) = letters_of(format, value, NOW, told)
        assert sent_again(format, letter) == translated(format, value, NOW, told)
        assert format.kept_key_of((), letter.key) == letter.key
        assert format.kept_key_of(told.headers, letter.key) == letter.key
    untold = translated(format, value, NOW, Beside(((name, b""),), key=key))
    faults = [untold] if isinstance(untold, Rejected) else untold.refused
    assert [str(each.reason) for each in faults] == ["missing_field"]
    assert format.kept_key_of(((name, b""),), key) == key
