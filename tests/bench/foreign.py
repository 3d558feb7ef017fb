"""What the router does with bodies of other formats: to native envelopes, CPU alone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline import compiled
from pipeline.formats import faro, measure, sentry
from pipeline.formats.format import Translate
from pipeline.formats.rejected import Rejected
from pipeline.runtime import fit_garbage_collection
from tests.bench.rig import Figures

_EXAMPLES = Path(__file__).resolve().parents[2] / "schemas" / "examples"
_RECORD_MS = 1_795_737_400_000
_DEVICES = 1_000


def faro_bodies(events: int, options: Mapping[str, float]) -> Figures:
    """Bodies of so many events, as the recorded ones are: half of them events, a log, an exception, a measurement."""
    return _translated(faro.translate, _faro, events, int(options["envelope"]))


def sentry_envelopes(events: int, options: Mapping[str, float]) -> Figures:
    """Updates of sessions, one an envelope: two native events each."""
    return _translated(sentry.translate, _sentry, events, 2)


def measure_bodies(events: int, options: Mapping[str, float]) -> Figures:
    """Bodies of so many events of the demo apps' kinds."""
    format, translate = measure.FORMAT, measure.FORMAT.translate
    # Which core is a setting, as of workers.
    core = compiled.core(os.environ.get("PIPELINE_CORE", compiled.AUTO))
    if core is not None and format.with_core is not None:
        translate = format.with_core(core, _never_left)
    assert translate is not None
    return _translated(translate, measure_body, events, int(options["envelope"]))


def _never_left(why: str, count: int) -> None:
    raise AssertionError(f"the core takes all of them: {why}")


def _translated(
    translate: Translate, body: Callable[[int, int], bytes], events: int, per_body: int
) -> Figures:
    fit_garbage_collection()
    bodies = [body(number, per_body) for number in range(events // per_body)]
    made = size = 0
    started_s = time.process_time()
    for value in bodies:
        outcome = translate(value, _RECORD_MS)
        assert not isinstance(outcome, Rejected) and not outcome.refused, outcome
        made += len(outcome.records)
        size += len(value)
    return {"cpu_s": time.process_time() - started_s, "records": made, "bytes_per_event": size / events}


def _stamp(number: int) -> str:
    return f"2026-11-26T23:{number // 60 % 60:02}:{number % 60:02}.{number % 1_000:03}Z"


def _example(path: str) -> Any:
    return json.loads((_EXAMPLES / path).read_text("utf-8"))


def _faro(number: int, count: int) -> bytes:
    body = _example("faro/captured_view_logs_exception_web_vital.json")["value"]
    body["meta"]["app"]["installationId"] = f"device-{number % _DEVICES}"
    kinds = ["events", "events", "events", "logs", "exceptions", "measurements"]
    lists: dict[str, list[Any]] = {kind: [] for kind in kinds}
    for at in range(count):
        kind = kinds[at % len(kinds)]
        lists[kind].append({**body[kind][at % len(body[kind])], "timestamp": _stamp(number * count + at)})
    return json.dumps({"meta": body["meta"], **lists}).encode()


def _sentry(number: int, _: int) -> bytes:
    header, kind, payload = _example("sentry/mobile_session_exited.json")["text"].strip().split("\n")
    session = json.loads(payload)
    session |= {"sid": f"{number:032x}", "did": f"device-{number % _DEVICES}", "timestamp": _stamp(number)}
    told = json.dumps(session)
    return f"{header}\n{json.dumps(json.loads(kind) | {'length': len(told)})}\n{told}\n".encode()


def measure_body(number: int, count: int) -> bytes:
    """The body of this number, of so many events."""
    events = _example("measure/taps_views_and_the_rest.json")["value"]["events"]
    made = [{**events[at % len(events)], "id": f"{number}-{at}"} for at in range(count)]
    return json.dumps({"events": made}).encode()
