"""Translating Embrace's envelopes: what the router does with them, but for reading and writing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import orjson

from pipeline.formats import embrace
from pipeline.formats.format import Beside
from pipeline.formats.rejected import Rejected
from tests.bench.rig import Figures
from tests.support.embrace import HEADERS, START_MS, envelope, event, log, part, span

_KINDS = 4


def translate(events: int, options: Mapping[str, float]) -> Figures:
    """Envelopes to native ones; CPU seconds for each of the native events, of which `events` are made at least.

    Every other envelope is of a session part with taps, requests and views, the others are of logs; `envelope` events
    each.
    """
    made = 0
    cpu_s = 0.0
    input_bytes = 0
    beside = Beside(HEADERS)
    for value in _envelopes(int(options["envelope"])):
        started_s = time.process_time()
        outcome = embrace.decode(value, START_MS + 86_400_000, beside)
        cpu_s += time.process_time() - started_s
        assert not isinstance(outcome, Rejected) and not outcome.refused
        made += sum(record.value.count(b'"attributes":{') for record in outcome.records)
        input_bytes += len(value)
        if made >= events:
            break
    return {"cpu_s": cpu_s * events / made, "bytes_per_event": input_bytes / made}


def _envelopes(size: int) -> Iterator[bytes]:
    for number in count():
        yield orjson.dumps(_spans(number, size) if number % 2 else envelope(logs=_logs(number, size)))


def _spans(number: int, size: int) -> dict[str, Any]:
    mine = {"emb__session_part_id": f"part-{number}"}
    each = max(1, (size - 3) // (_KINDS - 1))
    taps = [
        event("ui-tap", at, emb__type="ux.tap", view__name="pay", tap__coords="12,30") for at in range(each)
    ]
    requests = [
        span(
            "emb-GET",
            at,
            at + 90,
            id=f"r{number}-{at}",
            emb__type="perf.network_request",
            http__request__method="GET",
            url__full="https://shop.example/api/cart",
            http__response__status_code="200",
            **mine,
        )
        for at in range(each)
    ]
    views = [
        span(
            "emb-screen-view",
            at,
            at + 90,
            id=f"v{number}-{at}",
            emb__type="ux.view",
            view__name="Cart",
            **mine,
        )
        for at in range(each)
    ]
    session = part(0, 60_000, f"part-{number}", emb__cold_start="true", events=taps)
    return envelope([session, *requests, *views])


def _logs(number: int, size: int) -> list[dict[str, Any]]:
    return [
        log(
            at,
            f"uid-{number}-{at}",
            "sys.log",
            "Something happened",
            emb__state="foreground",
            emb__user_session_id="us1",
            emb__session_part_id=f"part-{number}",
            cart="3",
        )
        for at in range(size)
    ]
