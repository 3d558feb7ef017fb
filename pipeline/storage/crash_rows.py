"""Crashes, ANRs and non-fatal exceptions as rows: their groups, and the symbol files that their stacks need.

The sink writes them beside the events (`rows.event_line`). Where there are such files it writes them once more, with
the groups that the files make of them: `again`. Both are rows of `z_crash_rows`, of which the one written last counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import orjson

from pipeline.formats.stacks.asking import AppBuild, AskedFile
from pipeline.formats.stacks.crash_group import CrashGroup, group_of
from pipeline.formats.stacks.symbolicate import symbolicated, texts_of
from pipeline.formats.stacks.symbols import Need, Symbols

if TYPE_CHECKING:
    from pipeline.formats.envelope import Envelope, NativeEvent


class FailureRow(msgspec.Struct, array_like=True, gc=False):
    """Fields are those of FAILURES."""

    place: int
    kind: str
    crash_group: str
    title: str
    culprit: str


class SymbolsAsked(msgspec.Struct, array_like=True, gc=False):
    """A file that a stack needs. Fields are those of FAILURE_SYMBOLS."""

    kind: str
    id: str
    name: str
    arch: str
    app_version: str
    app_build: str
    is_wanted: int
    file: str


class StoredFailure(NamedTuple):
    """A crash, ANR or exception as it was stored."""

    app: AppBuild
    kind: str
    attributes: dict[str, str]
    """Those that its group is made of."""
    needs: list[Need]
    key: Mapping[str, Any]
    """The columns of `z_crash_rows` that are not of its group."""


class _Event(msgspec.Struct, array_like=True):
    """The first fields of an event in ENVELOPE_COLUMNS, as far as the attributes."""

    event_id: str
    time: msgspec.Raw
    raw_time: msgspec.Raw
    name: str
    kind: str
    seq: int
    client_session_id: str
    exit_reason: str
    counters: int
    stated: str
    attributes: msgspec.Raw


class _Line(msgspec.Struct):
    """Of ENVELOPE_COLUMNS what tells of failures."""

    app_id: str
    device_id: str
    resource_json: dict[str, Any]
    offset: int
    event_index: int
    events: list[msgspec.Raw]
    stored_on: str
    retention_days: int
    failures: list[FailureRow] = []
    failure_symbols: list[list[SymbolsAsked]] = []


_MARK = b',"failure_symbols":[['
_decode_line = msgspec.json.Decoder(_Line).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_LAST_OFFSET = 9_223_372_036_854_775_807
_EVENTS_OF_AN_OFFSET = 512


def failures_of(
    envelope: Envelope, failing: list[tuple[int, str, NativeEvent]]
) -> tuple[list[FailureRow], list[list[SymbolsAsked]]]:
    """The groups of events, given with place and kind, and what files each of them needs."""
    app = AppBuild.of(envelope.app_id, orjson.loads(envelope.resource))
    groups = [FailureRow(place, *group_of(app.id, kind, event.attributes)) for place, kind, event in failing]
    asked = [symbolicated(app, texts_of(event.attributes)).asked for _, _, event in failing]
    return groups, [[_as_row(each) for each in files] for files in asked]


def failures_in(line: bytes) -> list[tuple[FailureRow, list[SymbolsAsked]]]:
    """The failures of a row of `z_envelope_feed`, each with the files that its stack needs."""
    told = _decode_line(line)
    return list(zip(told.failures, told.failure_symbols, strict=True))


def failing_events(rows: bytes) -> Iterator[StoredFailure]:
    """Of rows of `z_envelope_feed` the failures whose stacks need any file. Costs next to nothing where none does."""
    end = 0
    while (at := rows.find(_MARK, end)) >= 0:
        # A block has megabytes: it is not cut into all of its lines.
        start, end = rows.rfind(b"\n", 0, at) + 1, rows.find(b"\n", at)
        end = len(rows) if end < 0 else end
        line = _decode_line(rows[start:end])
        app = AppBuild.of(line.app_id, line.resource_json)
        for failure, files in zip(line.failures, line.failure_symbols, strict=True):
            if files:
                yield _stored(line, app, failure, files)


def _stored(line: _Line, app: AppBuild, failure: FailureRow, files: list[SymbolsAsked]) -> StoredFailure:
    event = _decode_event(line.events[failure.place - 1])
    place = line.offset * _EVENTS_OF_AN_OFFSET + line.event_index + failure.place - 1
    key = {
        "app_id": line.app_id,
        "device_id": line.device_id,
        "event_id": event.event_id,
        "time": orjson.Fragment(bytes(event.time)),
        "raw_time": orjson.Fragment(bytes(event.raw_time)),
        # As migration 0029 makes it.
        "version": str((_LAST_OFFSET - place) * 2),
        "stored_on": line.stored_on,
        "retention_days": line.retention_days,
    }
    return StoredFailure(
        app, failure.kind, texts_of(bytes(event.attributes)), [need_of(each) for each in files], key
    )


def need_of(file: SymbolsAsked) -> Need:
    """What a row says that a stack needs."""
    return Need(file.kind, file.id, file.name, file.arch, file.app_version, file.app_build)  # type: ignore[arg-type]


def again(failure: StoredFailure, symbols: Symbols | None) -> bytes:
    """The row of `z_crash_rows` of a failure, its group made with these symbols. Raises what they do."""
    group, asked = grouped(failure.app, failure.kind, failure.attributes, symbols)
    row = {
        **failure.key,
        "kind": group.kind, "crash_group": group.id, "title": group.title, "culprit": group.culprit,
        "symbols": [msgspec.to_builtins(_as_row(each)) for each in asked],
        "is_asked": 1,
    }  # fmt: skip
    return orjson.dumps(row)


def grouped(
    app: AppBuild, kind: str, attributes: Mapping[str, str], symbols: Symbols | None
) -> tuple[CrashGroup, list[AskedFile]]:
    """The group of an event by what the source calls its stack, and the files that this takes. Raises what `symbols`
    does."""
    told = symbolicated(app, attributes, symbols)
    return group_of(app.id, kind, orjson.dumps(told.attributes)), told.asked


def _as_row(asked: AskedFile) -> SymbolsAsked:
    return SymbolsAsked(*asked.need, int(asked.is_wanted), asked.file)
