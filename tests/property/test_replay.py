"""Whatever is refused of a body of another format, sent again it is refused again, and brings nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats import embrace, faro, measure, sentry
from pipeline.formats.format import Beside, Headers
from tests.support.hostile_bodies import NOW as MEASURE_NOW
from tests.support.hostile_bodies import bodies as measure_bodies
from tests.support.hostile_bodies import broken, jsons
from tests.support.replaying import check_replayed
from tests.support.web_bodies import LISTS, NOW, QUICK, metas, sentry_envelopes

EMBRACE_HEADERS = (("x-em-aid", b"abcde"), ("x-em-did", b"A" * 32))
nanoseconds = st.integers(NOW - 9, NOW).map(lambda ms: ms * 1_000_000)
moments = st.fixed_dictionaries({"time_unix_nano": nanoseconds | jsons}, optional={"name": jsons})
logs = st.fixed_dictionaries({"time_unix_nano": nanoseconds | jsons}, optional={"body": jsons})
spans = st.fixed_dictionaries(
    {"span_id": st.sampled_from(["a", "b", ""]), "start_time_unix_nano": nanoseconds | jsons},
    optional={"end_time_unix_nano": nanoseconds, "events": st.lists(moments | jsons, max_size=2)},
)
envelopes = st.fixed_dictionaries(
    {
        "data": st.fixed_dictionaries(
            {"logs": st.lists(logs | jsons, min_size=1, max_size=4)},
            optional={
                "spans": st.lists(spans | jsons, max_size=3),
                "span_snapshots": st.lists(spans, max_size=2),
            },
        )
    },
    optional={"resource": jsons, "metadata": jsons},
)


@st.composite
def traces(draw: st.DrawFn) -> dict[str, Any]:
    def span() -> dict[str, Any]:
        ids = {"traceId": "a" * 32, "spanId": draw(st.sampled_from(["b" * 16, "c" * 16, "x"]))}
        times = {
            name: draw(nanoseconds.map(str) | jsons) for name in ("startTimeUnixNano", "endTimeUnixNano")
        }
        return {**ids, **times, "name": "n", "events": [{"name": "exception", "timeUnixNano": draw(jsons)}]}

    scopes = [
        {"spans": [span() for _ in range(draw(st.integers(0, 2)))] + draw(st.lists(jsons, max_size=2))}
        for _ in range(2)
    ]
    return {"resourceSpans": [{"scopeSpans": scopes}, {"resource": draw(jsons), "scopeSpans": scopes[:1]}]}


bodies = st.fixed_dictionaries(
    {"meta": metas},
    optional={
        **{name: st.lists(each | jsons, max_size=3) for name, each in LISTS.items()},
        "traces": traces(),
    },
)


@pytest.mark.slow
@QUICK
@given(broken(bodies))
def test_faro(value: bytes) -> None:
    check_replayed(faro.FORMAT, value, NOW)


@QUICK
@given(broken(envelopes))
def test_embrace(value: bytes) -> None:
    check_replayed(embrace.FORMAT, value, NOW, Beside(EMBRACE_HEADERS))


@pytest.mark.slow
@QUICK
@given(sentry_envelopes(), st.sampled_from([(), (("x-sentry-project", b"9"),)]))
def test_sentry(value: bytes, headers: Headers) -> None:
    check_replayed(sentry.FORMAT, value, NOW, Beside(headers))


@pytest.mark.slow
@QUICK
@given(broken(measure_bodies))
def test_measure(value: bytes) -> None:
    check_replayed(measure.FORMAT, value, MEASURE_NOW)
