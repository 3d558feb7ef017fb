"""Strategies for bodies of Faro's and Sentry's SDKs."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.support.hostile_bodies import broken, dumps, jsons, texts

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
metas = st.fixed_dictionaries(
    {"app": st.fixed_dictionaries({"name": st.just("shop")}, optional={"installationId": st.just("i1")})},
    optional={part: st.fixed_dictionaries({"id": good_texts}) for part in ("user", "browser")},
).map(lambda meta: {**meta, "session": {"id": "s1"}})
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
