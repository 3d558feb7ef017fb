"""The campaign over legal worst cases: input at every limit, through real workers with little memory.

None of them may die, and all rows must be right: each event stored once, sessions as the definition has them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from pipeline import topics
from pipeline.domain.event import Event
from pipeline.domain.policy import Policy
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.formats import limits, measure
from pipeline.kafka.produce import RecordToSend, produce
from tests.fuzz.limited import VARIABLE
from tests.support.expected_rows import Device, Row, decoded, each_session_row
from tests.support.services import start_broker
from tests.support.stack import Stack
from tests.support.worst_cases import (
    CONTROL,
    WIDE,
    Json,
    Record,
    envelope,
    fat_record,
    flat_body,
    measure_body,
    resource,
    turns,
    user,
)

ADDRESS_SPACE = 1 << 30
_ROLES = ("router", "sessionizer", "sink")
_HOUR_MS = 3_600_000
_Dice = Random
_Case = Callable[[_Dice, str, int], Iterator[Record]]
"""Dice, a mark that no other case has, and the time of its first event; records for a topic, in order."""


def _one_device(dice: _Dice, mark: str, at_ms: int) -> Iterator[Record]:
    """Each record has another user and resource, as large as they may be, on 500 events."""
    character = dice.choice((WIDE, CONTROL))
    for number in range(2):
        yield fat_record(number, at_ms, device=mark, character=character)


def _many_sessions(dice: _Dice, mark: str, at_ms: int) -> Iterator[Record]:
    """Each second event begins a session, which carries what is largest."""
    del dice
    for number in range(2):
        begin_ms = at_ms + number * 250 * _HOUR_MS
        events = turns(f"{mark}-{number}", begin_ms, 240, step_ms=_HOUR_MS)
        yield envelope("app", mark, events, user=user(f"{number}"), resource=resource(f"{number}"))


def _wide_ids(dice: _Dice, mark: str, at_ms: int) -> Iterator[Record]:
    """All ids of 128 characters of four bytes."""
    del dice

    def wide(text: str) -> str:
        return text + WIDE * (limits.MAX_ID_CHARS - len(text))

    events = [
        {**event, "id": wide(event["id"]), "session_id": wide(f"{number // 50}"), "seq": limits.MAX_SEQ}
        for number, event in enumerate(turns("", at_ms))
    ]
    yield envelope(wide("app"), wide(mark), events, batch_id=wide("b"))


def _many_devices(dice: _Dice, mark: str, at_ms: int) -> Iterator[Record]:
    """Each record is of another device of another app, with a large user."""
    for number in range(dice.randrange(20, 40)):
        name = f"{mark}-{number}"
        yield envelope(name, name, turns(name, at_ms, 2), user=user(name, properties=5))


def _late(dice: _Dice, mark: str, at_ms: int) -> Iterator[Record]:
    """2,000 events, then some before all of them, each of which computes all sessions anew."""
    del dice
    for number in range(3):
        begin_ms = at_ms + _HOUR_MS + number * 500 * 40_000
        yield envelope("app", mark, turns(f"{mark}-{number}", begin_ms, 500, step_ms=40_000))
    for number in range(10):
        yield envelope("app", mark, turns(f"{mark}-late{number}", at_ms - number * 1_000, 1))


def _with_attributes(make: Callable[[_Dice], Json]) -> _Case:
    def case(dice: _Dice, mark: str, at_ms: int) -> Iterator[Record]:
        event = {"id": mark, "name": "note", "time": at_ms, "attributes": make(dice)}
        yield envelope("app", mark, [event])

    return case


def _nested(dice: _Dice) -> Json:
    del dice
    inside: Json = {}
    for _ in range(limits.MAX_NESTING - 6):
        inside = {"a": inside}
    return inside


def _measure(senders: int, size: int) -> _Case:
    def case(dice: _Dice, mark: str, at_ms: int) -> Iterator[Record]:
        del dice
        yield measure_body(mark, at_ms, senders=senders, size=size)

    return case


def _flat(dice: _Dice, mark: str, at_ms: int) -> Iterator[Record]:
    del dice
    yield flat_body(mark, at_ms, size=2_500_000)


NATIVE: dict[str, _Case] = {
    "one device": _one_device,
    "many sessions": _many_sessions,
    "wide ids": _wide_ids,
    "many devices": _many_devices,
    "late": _late,
    "many names": _with_attributes(lambda dice: {f"n{n}": dice.randrange(9) for n in range(80_000)}),
    "containers": _with_attributes(lambda _: {"a": [[] for _ in range(limits.MAX_CONTAINERS - 100)]}),
    "nested": _with_attributes(_nested),
    "control characters": _with_attributes(lambda _: {"a": CONTROL * 160_000}),
    "a long text": _with_attributes(lambda _: {"a": WIDE * 245_000}),
}
MEASURE: dict[str, _Case] = {
    "a body of one device": _measure(1, limits.MAX_BODY_BYTES),
    "a body of many devices": _measure(limits.MAX_BODY_EVENTS, 2_500_000),
    "a body of many attributes": _flat,
}


@dataclass
class Outcome:
    """What came of it."""

    sent_bytes: int = 0
    events: int = 0
    sessions: int = 0
    cases: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    peak_mb: dict[str, float] = field(default_factory=dict)
    """By role: the most that a worker had in memory."""


def traffic(seed: int, most_bytes: int, now_ms: int) -> Iterator[tuple[str, str, Record]]:
    """Case, topic and record until there are so many bytes. Each case comes once before any comes twice."""
    dice = Random(seed)
    left, number = most_bytes, 0
    while left > 0:
        cases = [*NATIVE.items(), *MEASURE.items()]
        dice.shuffle(cases)
        for name, case in cases:
            number += 1
            topic = measure.FORMAT.topic if name in MEASURE else topics.SDK_EVENTS
            for record in case(dice, f"c{number}", now_ms - 40 * 24 * _HOUR_MS):
                if len(record.value) <= left:
                    yield name, topic, record
                    left -= len(record.value)
        if left < 2_000:
            return


def run(seed: int, most_bytes: int, broker_kind: str, say: Callable[[str], None]) -> Outcome:
    """A run with services of its own. Its folder is deleted if all went well."""
    folder = Path(tempfile.mkdtemp(prefix="session-pipeline-worst-"))
    say(f"logs are in {folder}")
    with EmbeddedClickHouse(folder=folder / "clickhouse") as clickhouse:
        outcome = run_on(seed, most_bytes, broker_kind, clickhouse, folder)
    if not outcome.problems:
        shutil.rmtree(folder)
    return outcome


def run_on(
    seed: int, most_bytes: int, broker_kind: str, clickhouse: EmbeddedClickHouse, folder: Path
) -> Outcome:
    """The same on a given ClickHouse."""
    outcome, started_s = Outcome(), time.monotonic()
    now_ms = int(time.time() * 1_000)
    found = list(traffic(seed, most_bytes, now_ms))
    for name, _, record in found:
        outcome.cases[name] = outcome.cases.get(name, 0) + 1
        outcome.sent_bytes += len(record.value)
    broker = start_broker(broker_kind, folder / "broker")
    settings = {"PIPELINE_IDLE_TIMEOUT": "2s", "PIPELINE_PARTITIONS": "4"}
    try:
        with closing(Stack(broker, clickhouse, folder, settings)) as stack:
            stack.prepare()
            stack.worker_program = "tests.fuzz.limited"
            stack.worker_settings = {VARIABLE: str(ADDRESS_SPACE)}
            # All of it is there before the workers are: chunks as large as there may be.
            records = (RecordToSend(topic, record.key, record.value) for _, topic, record in found)
            asyncio.run(produce(stack.connection, records))
            try:
                stack.start_workers(*_ROLES)
                stack.wait_idle(900)
            except (AssertionError, RuntimeError) as error:
                outcome.problems.append(str(error))
            outcome.peak_mb = {name: _peak_mb(child.pid) for name, child in stack.workers.items()}
            if not outcome.problems:
                _judge(outcome, stack, _expected(found, now_ms))
    finally:
        broker.stop()
    outcome.seconds = time.monotonic() - started_s
    return outcome


def _peak_mb(pid: int | None) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines() if pid else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1_024 / 1e6
    return 0.0


def _expected(found: list[tuple[str, str, Record]], now_ms: int) -> dict[Device, list[Event]]:
    """What was sent as the fold sees it, by device, in the order in which it was sent."""
    events: dict[Device, list[Event]] = {}
    for _, topic, record in found:
        pairs = [(record.key, record.value)]
        if topic == measure.FORMAT.topic:
            translated = measure.decode(record.value, now_ms)
            assert isinstance(translated, measure.Translation) and not translated.refused
            pairs = [(native.key, native.value) for native in translated.records]
        for key, value in pairs:
            device, some = decoded(key, value, now_ms)
            events.setdefault(device, []).extend(some)
    return events


_MAP = (
    "arrayStringConcat(arraySort(arrayMap((k, v) -> concat(k, '=', v), mapKeys({0}), mapValues({0}))), '\n')"
)
_DIGEST = f"lower(hex(MD5(concat({_MAP.format('resource')}, '\\0', {_MAP.format('properties')}))))"
_SESSIONS_SQL = (
    "SELECT app_id, device_id, toString(session_id) AS session_id, toUnixTimestamp64Milli(started_at) AS started_at_ms,"
    " toUnixTimestamp64Milli(ended_at) AS ended_at_ms, status, start_reason, end_reason, event_count, user_id,"
    f" stitched_index, {_DIGEST} AS texts FROM sessions"
)
_EVENTS_SQL = (
    "SELECT app_id, device_id, count() AS found, uniqExact(event_id) AS different,"
    " hex(MD5(arrayStringConcat(arraySort(groupArray(event_id)), ','))) AS ids FROM events GROUP BY app_id, device_id"
)


def _judge(outcome: Outcome, stack: Stack, sent: dict[Device, list[Event]]) -> None:
    stored = {(row["app_id"], row["device_id"]): row for row in stack.query(_EVENTS_SQL)}
    for device, events in sent.items():
        ids = sorted({event.id.encode() for event in events})
        row = stored.pop(device, None)
        found = row and (row["found"], row["different"], row["ids"].lower())
        wanted = (len(ids), len(ids), hashlib.md5(b",".join(ids)).hexdigest())
        if found != wanted:
            outcome.problems.append(f"events of {_short(device)}: {found}, not {wanted}")
        outcome.events += len(ids)
    outcome.problems += [f"events of {_short(device)}, which was not sent" for device in stored]
    sessions = {row["session_id"]: row for row in stack.query(_SESSIONS_SQL)}
    for wanted_row in each_session_row(sent, Policy()):
        outcome.sessions += 1
        brief = _brief(wanted_row)
        found_row = sessions.pop(brief["session_id"], None)
        if found_row != brief:
            outcome.problems.append(f"session: {_short(found_row)}, not {_short(brief)}")
    outcome.problems += [f"a session that is none: {_short(row)}" for row in sessions.values()]
    dead = stack.query("SELECT reason, detail FROM dead_letters LIMIT 5")
    outcome.problems += [f"refused: {row}" for row in dead]
    aside = stack.query("SELECT device_id FROM devices_set_aside LIMIT 5")
    outcome.problems += [f"set aside: {_short(row)}" for row in aside]


def _brief(row: Row) -> Row:
    """A session with a digest in the place of its large texts, as `_SESSIONS_SQL` has it."""
    texts = [
        b"\n".join(sorted(f"{k}={v}".encode() for k, v in row[name].items()))
        for name in ("resource", "properties")
    ]
    names = (
        *("app_id", "device_id", "session_id", "started_at_ms", "ended_at_ms", "status", "start_reason"),
        *("end_reason", "event_count", "user_id", "stitched_index"),
    )
    return {**{name: row[name] for name in names}, "texts": hashlib.md5(b"\0".join(texts)).hexdigest()}


def _short(what: object) -> str:
    return str(what)[:400]


def main(seed: int, most_bytes: int, broker: str) -> int:
    """Run it and print one JSON object; the exit code."""
    outcome = run(seed, most_bytes, broker, print)
    for problem in outcome.problems[:20]:
        print("PROBLEM", problem[-6_000:])
    summary = {
        "worst_cases": outcome.cases,
        "sent_bytes": outcome.sent_bytes,
        "events": outcome.events,
        "sessions": outcome.sessions,
        "address_space": ADDRESS_SPACE,
        "peak_mb": {name: round(mb) for name, mb in outcome.peak_mb.items()},
        "problems": len(outcome.problems),
        "seconds": round(outcome.seconds, 1),
    }
    print(json.dumps(summary))
    sys.stdout.flush()
    return 1 if outcome.problems or not outcome.sessions else 0
