"""Faro and Sentry: nothing makes their decoders raise, and however it is sent again, the events are the same."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.formats import faro, native, sentry
from pipeline.formats.format import Translate
from pipeline.formats.rejected import Rejected
from tests.property.test_decoders import broken, dumps, jsons, texts

NOW = 1_795_737_400_000
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

good_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
stamps = st.integers(0, 200).map(lambda n: f"2026-11-26T23:{n // 60:02}:{n % 60:02}.5Z")
facts = st.dictionaries(good_texts, st.none() | st.booleans() | st.integers(-9, 9) | good_texts, max_size=3)
names = st.sampled_from(
    ["session_start", "view_changed", "click", "faro.navigation.push", "faro.performance.resource", "custom"]
)
LISTS = {
    "events": st.fixed_dictionaries({"name": names, "timestamp": stamps}, optional={"attributes": facts}),
    "logs": st.fixed_dictionaries({"timestamp": stamps, "message": good_texts}, optional={"context": facts}),
    "exceptions": st.fixed_dictionaries(
        {"timestamp": stamps}, optional={"type": good_texts, "value": good_texts}
    ),
    "measurements": st.fixed_dictionaries({"timestamp": stamps, "type": good_texts.filter(bool)}),
}
items = st.one_of([st.tuples(st.just(name), each) for name, each in LISTS.items()])
metas = st.fixed_dictionaries(
    {"app": st.fixed_dictionaries({"name": st.just("shop")}, optional={"installationId": st.just("i1")})},
    optional={part: st.fixed_dictionaries({"id": good_texts}) for part in ("user", "browser")},
).map(lambda meta: {**meta, "session": {"id": "s1"}})


def body(meta: dict[str, Any], some: list[tuple[str, Any]]) -> bytes:
    return dumps({"meta": meta, **{name: [item for kind, item in some if kind == name] for name in LISTS}})


def read(value: bytes) -> tuple[list[Any], str]:
    """The events of a body as the fold sees them, and their device."""
    outcome = faro.translate(value, NOW)
    assert not isinstance(outcome, Rejected), outcome
    found, device = [], ""
    for record in outcome.records:
        envelope = native.decode(record.value, record.key, NOW)
        assert isinstance(envelope, native.Envelope) and not envelope.refused
        found += native.to_events(envelope)
        device = envelope.device_id
    return found, device


@QUICK
@given(metas, st.lists(items, min_size=1, max_size=8), st.data())
def test_however_it_is_cut_and_sent_again_the_sessions_are_the_same(
    meta: dict[str, Any], some: list[tuple[str, Any]], data: st.DataObject
) -> None:
    whole, device = read(body(meta, some))
    assert len(whole) == len(some)
    expected = sessions("shop", device, whole, Policy())
    order = data.draw(st.permutations(some + data.draw(st.lists(st.sampled_from(some), max_size=4))))
    cut: list[Any] = []
    while order:
        size = data.draw(st.integers(1, len(order)))
        cut += read(body(meta, order[:size]))[0]
        order = order[size:]
    assert set(cut) == set(whole)
    assert sessions("shop", device, cut, Policy()) == expected


bodies = st.fixed_dictionaries(
    {"meta": metas | st.dictionaries(texts, jsons, max_size=3)},
    optional={name: st.lists(each | jsons, max_size=3) for name, each in LISTS.items()},
)


@QUICK
@given(broken(bodies))
def test_what_is_written_of_a_broken_body_is_never_refused(value: bytes) -> None:
    check_written(faro.translate, value)


def check_written(translate: Translate, value: bytes) -> None:
    outcome = translate(value, NOW)
    assert outcome == translate(value, NOW)
    if isinstance(outcome, Rejected):
        return
    for record in outcome.records:
        envelope = native.decode(record.value, record.key, NOW)
        assert isinstance(envelope, native.Envelope) and not envelope.refused
    indexes = [each.event_index for each in outcome.refused if each.event_index is not None]
    assert indexes == sorted(set(indexes))


updates = st.fixed_dictionaries(
    {"sid": st.sampled_from(["a1", "A-1", "b2"]), "started": stamps, "timestamp": stamps},
    optional={
        "status": st.sampled_from(["ok", "exited", "crashed", "abnormal", "unhandled"]) | jsons,
        "did": good_texts,
        "errors": jsons,
        "abnormal_mechanism": st.just("anr_x") | jsons,
    },
)
errors = st.fixed_dictionaries(
    {"event_id": good_texts, "timestamp": stamps | st.integers(0, 10**13) | st.floats(allow_nan=False)},
    optional={
        **dict.fromkeys(
            ("level", "platform", "tags", "contexts", "user", "extra", "logentry", "request"), jsons
        ),
        "exception": st.fixed_dictionaries({"values": st.lists(jsons, max_size=2)}) | jsons,
        "spans": st.lists(
            st.fixed_dictionaries({"op": st.just("http.client")}, optional={"data": jsons}), max_size=2
        ),
        "items": st.lists(
            st.fixed_dictionaries({"timestamp": stamps}, optional={"attributes": jsons}), max_size=2
        ),
    },
)
sdk_names = st.sampled_from(
    ["sentry.java.android", "sentry.cocoa", "sentry.javascript.browser", "sentry.python"]
)


@st.composite
def sentry_envelopes(draw: st.DrawFn) -> bytes:
    header = {"sdk": {"name": draw(sdk_names)}, "dsn": "https://k@h/7", "sent_at": draw(stamps | jsons)}
    lines = [dumps(header)]
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["session", "event", "transaction", "log", "sessions", "attachment"]))
        lines.append(
            dumps({"type": kind, **draw(st.dictionaries(texts | st.just("length"), jsons, max_size=1))})
        )
        lines.append(draw(broken(updates if kind == "session" else errors)))
    return b"\n".join(lines)


@QUICK
@given(sentry_envelopes())
def test_what_is_written_of_a_sentry_envelope_is_never_refused(value: bytes) -> None:
    check_written(sentry.translate, value)
