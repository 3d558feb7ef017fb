"""`validate`: what `send` would be refused, and what would be taken but means nothing."""

from __future__ import annotations

import sys
import time
from collections import Counter
from enum import StrEnum
from typing import Annotated

import orjson
import typer

from pipeline import wiring
from pipeline.commands.documents import Files, FormatName, checked_files
from pipeline.commands.failure import CommandFailed
from pipeline.commands.judging import Finding, Judge, documents_of, formats_of, record_of
from pipeline.commands.refused import words_of
from pipeline.formats import native
from pipeline.formats.rejected import Reason
from pipeline.settings import Settings


class Output(StrEnum):
    """How findings are written."""

    text = "text"
    json_lines = "JSONEachRow"


def command(
    files: Files,
    format: FormatName = "native",
    live: Annotated[
        bool, typer.Option("--live", help="As with send: it comes from devices now and is not a recording.")
    ] = False,
    output: Annotated[
        Output, typer.Option(help="text, or JSONEachRow for programs: one object per finding.")
    ] = Output.text,
    limit: Annotated[int, typer.Option(min=0, help="At most this many of each kind; 0 shows all.")] = 100,
) -> None:
    """Say what would be refused, and what would be accepted but mean nothing; exits with 1 if anything is refused.

    Nothing is sent, and neither Kafka nor ClickHouse is asked. Of what is sent over HTTP, native-events is the format.
    """
    validate(wiring.settings(), files, format, live=live, output=output, limit=limit)


def validate(
    settings: Settings, files: list[str], format: str, *, live: bool, output: Output, limit: int
) -> None:
    """Print what is wrong and what is doubtful of each line, as it is read: `limit` of each kind, and all are counted.

    Neither Kafka nor ClickHouse is asked. Raises `CommandFailed` if anything is refused.
    """
    alike = formats_of(format)
    judge = Judge(settings.policies, wiring.options(settings))
    counts: Counter[tuple[bool, str]] = Counter()
    spread: dict[str, None] = {}
    for name in checked_files(files):
        for line in documents_of(name, alike):
            if line.is_spread:
                spread[name] = None
            record, known, record_ms = record_of(line, alike, int(time.time() * 1_000), live)
            for finding in judge.judge(line, record, known, record_ms):
                kind = finding.is_refused, finding.reason
                counts[kind] += 1
                if not limit or counts[kind] <= limit:
                    print(shown(finding) if output is Output.text else _as_json(finding))
    is_text = output is Output.text
    for (is_refused, reason), count in sorted(counts.items(), reverse=True):
        if limit and count > limit:
            what = "refused" if is_refused else "warning"
            _say(f"{what} {reason}: {count - limit} more of {count} are not shown (--limit)", is_text)
    warned = sum(count for (is_refused, _), count in counts.items() if not is_refused)
    said = f"{judge.records} records, {judge.events} events taken, {warned} warnings"
    _say(f"{said}, {words_of(judge.refused.totals, '')}", is_text)
    if spread:
        first, *more = spread
        where = f"{first} and {len(more)} more" if more else first
        _say(f"{where}: JSON on several lines, as HTTP takes it; send needs one line each: jq -c .", is_text)
    if any(is_refused for is_refused, _ in counts):
        is_long = alike[0] is native.FORMAT and (True, Reason.TOO_MANY_EVENTS.value) in counts
        hint = ". HTTP splits long envelopes: --format native-events judges as it does" if is_long else ""
        raise CommandFailed(f"{words_of(judge.refused.totals, '')}{hint}")


def shown(finding: Finding) -> str:
    """A finding as a line for people."""
    what = "refused" if finding.is_refused else "warning"
    path = "" if finding.is_refused or not finding.path else f"{finding.path}: "
    event = f" (event {finding.event_id})" if finding.event_id else ""
    line = f"{finding.file}:{finding.line}: {what} {finding.reason}: {path}{finding.detail}{event}"
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)


def _as_json(finding: Finding) -> str:
    said = finding._asdict()
    said["severity"] = "refused" if said.pop("is_refused") else "warning"
    return orjson.dumps(said).decode()


def _say(line: str, to_output: bool) -> None:
    print(line, file=sys.stdout if to_output else sys.stderr)
