"""`send` and `simulate`: traffic into Kafka, or into a file."""

from __future__ import annotations

import asyncio
import gzip
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline import topics, wiring
from pipeline.commands.failure import CommandFailed
from pipeline.commands.refused import RefusedOnArrival
from pipeline.errors import path_of
from pipeline.formats import native, registry
from pipeline.formats.record_time import header_of, recorded_ms
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.produce import RecordToSend, produce
from pipeline.settings import Settings
from pipeline.simulate.fleet import Sent, fleet

_console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A simulated fleet: the same numbers give the same bytes."""

    devices: int
    seed: int
    events: int


def send(settings: Settings, files: list[str], format: str, *, live: bool = False) -> None:
    """Produce each line of the files, in order, and say how much of it is going to be refused.

    What was sent long ago is of that time, and not of a device with a slow clock; unless it is `live`: then it comes
    from devices now. A single document does not tell the one from the other. Raises `CommandFailed`, `KafkaFailure`.
    """
    alike = registry.of_name(format)
    if not alike:
        raise CommandFailed(f"{format} is not a known format: use one of {', '.join(registry.names())}")
    for name in files:
        if name != "-" and not Path(name).is_file():
            raise CommandFailed(f"{name} is not a file: name one to send, or - for standard input")
    refused = RefusedOnArrival(wiring.options(settings))
    sent_to: dict[str, None] = {}

    def records() -> Iterator[RecordToSend]:
        for name in files:
            for line in _lines(name):
                # Under the name without its folder, so that a file gives the same keys wherever it lies.
                known = registry.of_document(alike, line)
                key, now_ms = known.key_of(line, Path(name).name), int(time.time() * 1_000)
                came_ms = None if live else recorded_ms(known.sent_at_of(line), now_ms)
                value, own = known.unwrapped(line)
                headers = (*own, *(() if came_ms is None else header_of(came_ms)))
                record = RecordToSend(known.topic, key, value, headers=headers)
                refused.count(known, record, now_ms if came_ms is None else came_ms)
                sent_to[known.topic] = None
                yield record

    sent = _run(wiring.connection(settings), records(), total=None, rate=0)
    print(f"sent {sent} records to {' and '.join(sent_to or [alike[0].topic])}, {refused.words}")


def simulate(settings: Settings, numbers: Fleet, *, rate: float, out: Path | None) -> None:
    """Send a simulated fleet, or write its envelopes to a file. Raises `UnusablePath`, `KafkaFailure`."""
    traffic = fleet(numbers.devices, numbers.seed, numbers.events)
    if out is not None:
        with path_of("--out", out):
            count = _write(out, (envelope.value for envelope in traffic))
        print(f"wrote {count} envelopes with {numbers.events} events to {out}")
        return
    records = (_simulated(envelope, int(time.time() * 1_000)) for envelope in traffic)
    sent = _run(wiring.connection(settings), records, total=numbers.events, rate=rate)
    print(f"sent {numbers.events} events in {sent} records to {topics.SDK_EVENTS}")


def _simulated(sent: Sent, now_ms: int) -> RecordToSend:
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


def _lines(name: str) -> Iterator[bytes]:
    """The lines of a file that are not blank, without their line ends. Raises `CommandFailed`."""
    with ExitStack() as stack:
        try:
            file = cast(
                BinaryIO, sys.stdin.buffer if name == "-" else stack.enter_context(Path(name).open("rb"))
            )
            if name.endswith(".gz"):
                file = cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=file)))
            # One byte more than a record may have, and the line's end: what is longer is not read to its end.
            while line := file.readline(topics.MAX_MESSAGE_BYTES + 2):
                if len(line) > topics.MAX_MESSAGE_BYTES and not line.endswith(b"\n"):
                    raise CommandFailed(
                        f"{name}: a line of more than {topics.MAX_MESSAGE_BYTES} bytes, which no topic takes: split it"
                    )
                if line.strip():
                    yield line.rstrip(b"\r\n")
        except (OSError, EOFError, zlib.error) as error:
            raise CommandFailed(f"cannot read {name}: {error}") from error
