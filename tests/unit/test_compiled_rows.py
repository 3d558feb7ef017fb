"""The sink with the compiled core: the same rows, ledger and refusals as without, by another way into ClickHouse."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from pipeline.domain.policy_document import PolicyDocument
from pipeline.domain.privacy import Privacy, Rules, Sampling, Samplings
from pipeline.domain.retention import Retention, Retentions
from pipeline.formats.edge import Edge
from pipeline.formats.policy_record import control
from pipeline.roles.metrics import Metrics
from pipeline.roles.sink.batch import Bounds
from pipeline.roles.sink.compiled_rows import NATIVE_COLUMNS
from pipeline.roles.sink.sink import Sink
from pipeline.storage.columns import EVENT_COLUMNS
from pipeline.storage.kept import Keeping
from tests.bench.corpus import Fetched, records, simulated
from tests.fuzz.records import examples
from tests.support.both_rows import SOURCE, made_by, of_pieces
from tests.support.cores import core_or_skip
from tests.support.envelopes import envelope
from tests.support.fetched_envelopes import BUILT_IN, T0, event, record
from tests.support.native_blocks import columns_of, rows_of

BOUNDS = Bounds()
BY_APP = Edge(
    Privacy(by_app={"strict": Rules(drop=("screen",)), "loose": Rules(keep=("user.*",))}), Samplings()
)


def assert_alike(
    chunk: Sequence[Any],
    *,
    least_compiled: int = 0,
    edge: Edge = BUILT_IN,
    bounds: Bounds = Bounds(),  # noqa: B008
    **said: Any,
) -> None:
    by_core = made_by(core_or_skip(), chunk, edge=edge, bounds=bounds, **said)
    by_python = made_by(None, chunk, edge=edge, bounds=bounds, **said)
    assert by_core.rows == by_python.rows
    assert by_core.ledger == by_python.ledger
    assert by_core.refused == by_python.refused
    assert by_python.compiled == 0 and by_core.compiled >= least_compiled


def test_the_columns_are_those_of_the_table() -> None:
    types = dict(EVENT_COLUMNS)
    (piece,) = _sink(core_or_skip()).event_pieces(SOURCE, [record(0, event(1))])
    assert columns_of(piece.block) == [(name, types[name]) for name in NATIVE_COLUMNS]


def test_of_busy_devices_the_core_makes_all_rows() -> None:
    made = [
        Fetched(each.offset, each.timestamp, each.key, each.value)
        for each in records(2_000, envelope=5, devices=50)
    ]
    assert_alike(
        made, least_compiled=len(made), keeping=Keeping(Retentions(Retention(30, 30))), offset_base=2**40
    )


def test_of_a_simulated_fleet_it_makes_all() -> None:
    sent = simulated(3_000, devices=100)
    made = [Fetched(number, T0 + 100 * number, key, value) for number, (key, value) in enumerate(sent)]
    assert_alike(made, least_compiled=len(made))
    rows = made_by(core_or_skip(), made, edge=BUILT_IN).rows
    assert any(files for row in rows for files in row["failure_symbols"]), "a stack needs symbol files"


def test_crashes_are_grouped_and_keep_their_rows_for_the_symbol_files() -> None:
    stack = {"exception.type": "a.c", "exception.stacktrace": "a.c: x\n\tat a.a.a(SourceFile:1)"}
    chunk = [
        record(1, event(1), event(2, name="app.crash", attributes=stack), event(3, name="app.anr")),
        # It has a group, and no stack for which there could be files.
        record(2, event(4, name="exception", attributes={"exception.message": "m"})),
        record(3, event(5)),
        # What is counted as a crash by its kind alone has no group.
        record(4, event(6, name="log", attributes={"severity_text": "FATAL"})),
    ]
    assert_alike(chunk, least_compiled=len(chunk))
    (piece,) = _sink(core_or_skip()).event_pieces(SOURCE, chunk)
    places = [[each[:2] for each in row["failures"]] for row in rows_of(piece.block)]
    assert places == [[], [[1, "crash"]], [[1, "anr"]], [[1, "exception"]], [], []]
    (alone,) = _sink(None).event_pieces(SOURCE, chunk[:1])
    assert piece.failing == alone.rows and not piece.rows


def test_what_is_refused_or_odd_is_as_python_says() -> None:
    rng = Random(5)
    made = []
    for number in range(400):
        body = envelope(rng)
        key = f"{body.get('app_id')}/{body.get('device_id')}".encode()
        made.append(Fetched(number, T0, key, json.dumps(body).encode()))
    made += [
        Fetched(400 + number, T0, _key_of(value), value) for number, value in enumerate(examples("native"))
    ]
    assert_alike(made, least_compiled=1)
    assert_alike(made, least_compiled=1, edge=BY_APP)


@pytest.mark.parametrize(
    "attributes",
    [
        {"text": 'a "quoted"\n\\ line\u0000\u2028 \U0001f600', "é": "ü", "": "empty name"},
        {
            "float": 1.0,
            "large": 12345678901234567890,
            "small": 1e-7,
            "negative": -0.0,
            "yes": True,
            "none": None,
        },
        {"list": [1, 2.50, {"b": "\u00e9"}], "nested": {"z": [], "a": {"c": "\u4e2d"}}},
        {"app.state": "background", "passive": "true"},
        {"http.response.status_code": "503", "severity_text": "fatal2"},
        {"user.email": "a@b.c", "screen": "x"},
        {f"key{number}": number for number in range(300)},
        {},
        None,
    ],
)
@pytest.mark.parametrize(
    "name", ["http.client.request", "log", "app.exit", "device.app.lifecycle", "exception", "ü"]
)
def test_every_kind_of_value_is_the_same(attributes: Any, name: str) -> None:
    made = [
        record(7, event(1, name=name, attributes=attributes, session_id="s"), event(2, session_id=None)),
        record(
            8,
            event(3, attributes=attributes),
            app="strict",
            user={"id": "u\u00e9", "properties": {"plan": "x"}},
        ),
        record(
            9,
            event(3),
            event(4),
            app="loose",
            resource={"service.version": '1."2"'},
            sent_at=T0 - 3 * 86_400_000,
        ),
    ]
    assert_alike(made)
    assert_alike(made, edge=BY_APP)


def test_nothing_is_compiled_where_devices_are_left_out() -> None:
    edge = Edge(Privacy(), Samplings(Sampling(0.5)))
    chunk = [record(number, event(number)) for number in range(3)]
    assert made_by(core_or_skip(), chunk, edge=edge).compiled == 0
    assert_alike(chunk, edge=edge)


def test_what_changes_within_a_chunk_holds_from_its_record_on() -> None:
    """Retention, then privacy, then sampling, then all as it was; each by a record among the others."""
    strict = Privacy(by_app={"app": Rules(drop=("screen",))})
    settings = PolicyDocument(0, T0, retentions=Retentions(Retention(30)))
    versions = {
        10: replace(settings, version=1, retentions=Retentions(Retention(7))),
        20: replace(settings, version=2, privacy=strict),
        30: replace(settings, version=3, samplings=Samplings(Sampling(0.0))),
        40: replace(settings, version=4),
    }
    chunk = [
        Fetched(number, T0, None, control(versions[number]))
        if number in versions
        else record(number, event(number, attributes={"screen": "Home"}))
        for number in range(50)
    ]
    assert_alike(chunk, least_compiled=28, keeping=Keeping(settings.retentions))
    rows = made_by(core_or_skip(), chunk, edge=BUILT_IN, keeping=Keeping(settings.retentions)).rows
    kept = {row["offset"]: (row["retention_days"], "screen" in row["attributes"]) for row in rows}
    assert kept == {
        number: (7 if 10 < number < 20 else 30, not 20 < number < 30)
        for number in range(50)
        if number not in versions and not 30 < number < 40
    }


def test_pieces_are_cut_where_they_are_full_and_follow_one_another() -> None:
    chunk = [record(number, *(event(20 * number + each) for each in range(20))) for number in range(200)]
    bounds = Bounds(max_bytes=100_000)
    pieces = list(_sink(core_or_skip(), bounds).event_pieces(SOURCE, chunk))
    assert len(pieces) > 1 and [piece.is_last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert [(piece.first_offset, piece.last_offset) for piece in pieces] == [
        (piece.records[0].offset, piece.records[-1].offset) for piece in pieces
    ]
    assert [each.offset for piece in pieces for each in piece.records] == list(range(200))
    assert all(piece.byte_count < 150_000 for piece in pieces)
    assert of_pieces(pieces).rows == made_by(None, chunk).rows


def test_a_block_that_is_refused_is_sent_row_by_row_before_anything_is_acknowledged() -> None:
    did: list[str] = []
    stored: list[bytes] = []

    async def insert(table: str, rows: bytes, *, token: str) -> Sequence[Any]:
        did.append(table)
        stored.append(rows)
        return []

    async def insert_native(table: str, block: bytes, *, columns: Sequence[str], token: str) -> str:
        did.append(f"native {table}")
        return "" if did.count(did[0]) > 1 else "not today"

    async def none(*_: Any) -> None:
        raise AssertionError

    sink = Sink(
        insert, none, Metrics(), bounds=Bounds(max_rows=0), core=core_or_skip(), insert_native=insert_native
    )
    chunk = [record(3, event(1), event(2))]

    async def take() -> None:
        pieces = sink.event_pieces(SOURCE, chunk)
        await sink.events.add_all(pieces, acknowledge=lambda: did.append("done"), still_mine=lambda: True)

    asyncio.run(take())
    asyncio.run(take())
    first = ["native z_event_feed", "z_envelope_feed", "ledger_records", "done"]
    assert did == [*first, "native z_event_feed", "ledger_records", "done"]
    assert stored[0] == next(iter(_sink(None).event_pieces(SOURCE, chunk))).rows


def test_the_same_records_make_the_same_block() -> None:
    chunk = [record(number, event(number), user={"id": "u"}) for number in range(9)]
    blocks = {next(iter(_sink(core_or_skip()).event_pieces(SOURCE, chunk))).block for _ in range(3)}
    assert len(blocks) == 1 and len(list(rows_of(blocks.pop()))) == 9


def _sink(core: Any, bounds: Bounds = Bounds()) -> Sink:  # noqa: B008
    async def never(*_: Any, **__: Any) -> Any:
        raise AssertionError

    return Sink(never, never, Metrics(), bounds=bounds, core=core, insert_native=never)


def _key_of(value: bytes) -> bytes:
    try:
        tree = json.loads(value)
        return f"{tree['app_id']}/{tree['device_id']}".encode()
    except (ValueError, TypeError, KeyError):
        return b"a/b"
