"""`send` and `simulate`: traffic into Kafka, or into a file."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline import topics, wiring
from pipeline.commands.documents import (
    DocumentLine,
    Files,
    FormatName,
    checked_files,
    documents,
)
from pipeline.commands.failure import CommandFailed
from pipeline.commands.judging import Finding, Judge, documents_of, formats_of, record_of
from pipeline.commands.times import TIMES, unix_ms
from pipeline.commands.validate import shown
from pipeline.errors import path_of
from pipeline.formats import native
from pipeline.formats.record_time import header_of
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.produce import RecordToSend, produce
from pipeline.settings import Settings
from pipeline.simulate import START_MS, Sent, fleet, start_for

_console = Console(stderr=True)
_MOST_TOLD = 5
"""Faults that `send` tells; `validate` tells all."""
_DOUBTED = 1_000
"""Documents that `send` looks at for what means nothing: such faults are an SDK's, in all that it sends."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A simulated fleet: the same numbers give the same bytes."""

    devices: int
    seed: int
    events: int
    days: int = 0
    """How long it lasts, about; 0 is as long as it does by nature."""
    apps: int = 0
    """Of its devices; 0 is all."""
    start_ms: int = START_MS
    """When it begins, Unix ms."""

    def until(self, at_ms: int) -> Fleet:
        """The one of the same devices and habits that ends then, Unix ms. It takes as long as to make it."""
        start_ms = start_for(at_ms, self.devices, self.seed, self.events, days=self.days, apps=self.apps)
        return replace(self, start_ms=start_ms)


def send_command(
    files: Files,
    format: FormatName = "native",
    live: Annotated[
        bool, typer.Option("--live", help="It comes from devices now and is not a recording.")
    ] = False,
    validate: Annotated[
        bool, typer.Option(help="Judge each document before it is sent, and report the first faults.")
    ] = True,
) -> None:
    """Send recorded traffic, one JSON document per line.

    A document whose sent_at is more than 24 h ago counts as having arrived then: a recording keeps its times.

    With --live it counts as arriving now, from a device whose clock is slow, which is corrected. All others arrive now
    in any case.

    What will be refused is sent too, and kept as dead letters. To prevent that, run validate first. Of JSON that is on
    several lines nothing is sent.
    """
    send(wiring.settings(), files, format, live=live, validated=validate)


def send(
    settings: Settings, files: list[str], format: str, *, live: bool = False, validated: bool = True
) -> None:
    """Produce each line of the files, in order, and say how much of it is going to be refused.

    What was sent long ago is of that time, and not of a device with a slow clock; unless it is `live`: then it comes
    from devices now. A single document does not tell the one from the other. If it is `validated`, each document is
    judged before it is sent, and the first faults are told; it is sent all the same, since what is refused is kept.
    Raises `CommandFailed`, `KafkaFailure`.
    """
    alike = formats_of(format)
    checked_files(files)
    judge = Judge(settings.policies, wiring.options(settings), doubts_records=_DOUBTED)
    told = Told()
    sent_to: dict[str, None] = {}

    def records() -> Iterator[RecordToSend]:
        for name in files:
            for line in documents_of(name, alike):
                _refuse_spread(line)
                record, known, record_ms = record_of(line, alike, int(time.time() * 1_000), live)
                if validated:
                    for finding in judge.judge(line, record, known, record_ms):
                        told.of(finding)
                sent_to[known.topic] = None
                yield record

    # Before anything is sent; standard input can be read only once.
    for name in files:
        if name != "-" and (first := next(documents(name), None)):
            _refuse_spread(first)
    sent = _run(wiring.connection(settings), records(), total=None, rate=0)
    told.of_the_rest()
    words = judge.refused.words if validated else "not validated"
    print(f"sent {sent} records to {' and '.join(sent_to or [alike[0].topic])}, {words}")


def _refuse_spread(line: DocumentLine) -> None:
    """Raises `CommandFailed` for a document on several lines: a line would be sent as a record."""
    if line.is_spread:
        raise CommandFailed(
            f"{line.file}: its JSON is on several lines, of which each would be sent as a record: jq -c . makes one"
            " line of each document; nothing of it was sent"
        )


class Told:
    """The first of what is found, on standard error, and how much there is besides."""

    def __init__(self) -> None:
        self._refused = self._warned = 0

    def of(self, finding: Finding) -> None:
        if not finding.is_refused:
            self._warned += 1
            return
        self._refused += 1
        if self._refused <= _MOST_TOLD:
            _console.print(shown(finding), highlight=False, markup=False, soft_wrap=True)

    def of_the_rest(self) -> None:
        rest = [
            (self._refused - _MOST_TOLD, "more faults"),
            (self._warned, f"warnings in the first {_DOUBTED:,} documents"),
        ]
        said = " and ".join(f"{count} {what}" for count, what in rest if count > 0)
        if said:
            _console.print(f"{said}: session-pipeline validate shows them", highlight=False, soft_wrap=True)


def simulate_command(
    *,
    devices: Annotated[int, typer.Option(min=1, help="How many devices.")] = 200,
    seed: Annotated[
        int, typer.Option(help="The same seed, with the same --until or --from, gives the same bytes.")
    ] = 1,
    rate: Annotated[float, typer.Option(min=0, help="Events per second; 0 is as fast as possible.")] = 0,
    events: Annotated[int, typer.Option(min=1, help="How many events, duplicates included.")] = 20_000,
    days: Annotated[
        int, typer.Option(min=0, max=366, help="About how many days they span; 0: as many as it takes.")
    ] = 0,
    apps: Annotated[int, typer.Option(min=0, help="How many apps, the largest first; 0 is all 30.")] = 0,
    until: Annotated[
        datetime | None,
        typer.Option(formats=TIMES, help="When it ends (UTC). Default: now."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option("--from", formats=TIMES, help="When it begins (UTC), instead of when it ends."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the envelopes here instead of sending.")] = None,
) -> None:
    """Send the traffic of a simulated fleet of phones and browsers, with realistic habits and faults."""
    if until is not None and since is not None:
        raise typer.BadParameter("--from and --until cannot both be given: one follows from the other")
    numbers = Fleet(devices, seed, events, days, apps)
    if since is not None:
        simulate(wiring.settings(), replace(numbers, start_ms=unix_ms(since)), rate=rate, out=out)
        return
    until = until or datetime.now(UTC).replace(microsecond=0)
    simulate(wiring.settings(), numbers.until(unix_ms(until)), rate=rate, out=out)
    _console.print(f"it ends at {until:%Y-%m-%dT%H:%M:%S} (UTC)", highlight=False)


def simulate(settings: Settings, numbers: Fleet, *, rate: float, out: Path | None) -> None:
    """Send a simulated fleet, or write its envelopes to a file. Raises `UnusablePath`, `KafkaFailure`."""
    traffic = fleet(
        numbers.devices, numbers.seed, numbers.events,
        start_ms=numbers.start_ms, days=numbers.days, apps=numbers.apps,
    )  # fmt: skip
    if out is not None:
        with path_of("--out", out):
            count = _write(out, (envelope.value for envelope in traffic))
        print(f"wrote {count} envelopes with {numbers.events} events to {out}")
        return
    records = (record_of_simulated(envelope, int(time.time() * 1_000)) for envelope in traffic)
    sent = _run(wiring.connection(settings), records, total=numbers.events, rate=rate)
    print(f"sent {numbers.events} events in {sent} records to {topics.SDK_EVENTS}")


def record_of_simulated(sent: Sent, now_ms: int) -> RecordToSend:
    """Where its device says its clock it is one that came when the simulation has it: a wrong clock is told by that."""
    says_clock = native.sent_at_of(sent.value) is not None
    headers = header_of(min(sent.at_ms, now_ms)) if says_clock else ()
    return RecordToSend(topics.SDK_EVENTS, sent.key, sent.value, sent.events, headers)


def _write(out: Path, lines: Iterable[bytes]) -> int:
    """Write lines to a file, compressed where its name says so; returns how many. Raises OSError."""
    with gzip.GzipFile(out, "wb", mtime=0) if out.suffix == ".gz" else out.open("wb") as file:
        count = 0
        for line in lines:
            file.write(line + b"\n")
            count += 1
    return count


def _run(
    connection: KafkaConnection, records: Iterable[RecordToSend], *, total: int | None, rate: float
) -> int:
    bar = Progress(
        TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=_console, transient=True, disable=not _console.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task("sending", total=total)

        def progress(record: RecordToSend) -> None:
            bar.advance(task, record.events if total is not None else 1)

        return asyncio.run(produce(connection, records, events_per_s=rate, progress=progress))
