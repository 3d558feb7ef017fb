"""Writes deploy/FAULTS.md from what was recorded. Pure, but for the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from tests.chaos.occasion import Seen, all_seen
from tests.faults.recording import PLAYED_S, ROOT, STEP_S, Recording, Said, alert_texts

FILE = ROOT / "deploy" / "FAULTS.md"
_INTRODUCTION = f"""# Faults, and what is to be seen of them

Each fault was brought about on a running pipeline on Apache Kafka 4.4: a router, a sessionizer, a sink and `receive`,
under load. What probes, metrics and logs said at its end stands here as it was; [runbook.md](runbook.md) says what to
do. Alerts are those of [alerts.yaml](prometheus/alerts.yaml), as promtool finds them in the recorded metrics, played
{PLAYED_S / STEP_S:.0f} times as slowly as they were recorded, since alerts wait for minutes: a minute of a fault is
played as half an hour. A worker that ended is started again after five seconds, as Kubernetes and Docker do; the
session timeout is 3 s here.

`python -m tests.faults` does it all again, which takes half an hour, and writes this page and
`tests/prometheus/recorded`; `tests/contract/test_faults.py` holds both to each other and to the rules.
"""
_QUIET = re.compile(r" INFO [\w.]+: ")
_MOST_LOGS = 4


def write(recordings: Sequence[Recording]) -> None:
    """All recordings, in the order given."""
    FILE.write_text(render(recordings), encoding="utf-8")


def render(recordings: Sequence[Recording]) -> str:
    """The page."""
    parts = [
        _INTRODUCTION,
        "\n".join(_table(recordings)),
        *map(_section, recordings),
        *_occasions(all_seen()),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _occasions(seen: Sequence[Seen]) -> Iterator[str]:
    """What operators do on purpose, and whether a row was wrong afterwards."""
    if not seen:
        return
    yield (
        "## What operators do under load\n\nEach is a command, on Apache Kafka, with workers killed (`kill -9`) "
        "meanwhile. Afterwards every event is compared with what was sent, every session with the fold over them, "
        "and the ledger with Kafka's offsets; `rebuild --dry-run` finds no difference."
    )
    rows = [
        "| what | when, load | events | kills | rows compared | missing | double | wrong |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in seen:
        of = each.numbers
        rows.append(
            f"| {each.title} | {each.at}, load {each.load:g} on {each.cores} cores | {of['events']} | {each.kills} | "
            f"{of['rows_checked']} | {of['missing']} | {of['double']} | {of['wrong']} |"
        )
    yield "\n".join(rows)
    for each in seen:
        more = {name: count for name, count in each.numbers.items() if name not in _COMPARED}
        told = "".join(f", {name.replace('_', ' ')}: {count}" for name, count in more.items())
        yield f"**{each.title}** (`{each.command}`{told}). {each.done}"
        yield "```text\n" + "\n".join(each.steps) + "\n```"


_COMPARED = {"events", "rows_checked", "missing", "double", "wrong"}


def _table(recordings: Sequence[Recording]) -> Iterator[str]:
    yield "| what goes wrong | `/livez` | `/readyz` | alerts | runbook |"
    yield "|---|---|---|---|---|"
    for each in recordings:
        alive = _count(each, lambda said: said.livez.startswith("200"))
        ready = _count(each, lambda said: said.readyz.startswith("200"))
        alerts = ", ".join(_short(name) for name in each.alerts) or "none"
        book = f"[{each.runbook}](runbook.md#{_anchor(each.runbook)})" if each.runbook else ""
        yield f"| [{each.title}](#{_anchor(each.title)}) | {alive} | {ready} | {alerts} | {book} |"


def _count(recording: Recording, is_well: Callable[[Said], bool]) -> str:
    not_well = [name for name, said in recording.said.items() if not is_well(said)]
    return f"not of {', '.join(not_well)}" if not_well else "all"


def _section(recording: Recording) -> str:
    return "\n\n".join(
        part
        for part in (
            f"## {recording.title}",
            recording.done,
            _alerts(recording),
            _health(recording),
            _moved(recording),
            *_logs(recording),
        )
        if part
    )


def _alerts(recording: Recording) -> str:
    if not recording.alerts:
        return "**Alerts:** none."
    told = [
        f"`{name}` after {minutes} min" for name, minutes in sorted(recording.alerts.items(), key=_by_time)
    ]
    texts = [
        f"- `{name}`: {alert_texts()[name]}" for name, _ in sorted(recording.alerts.items(), key=_by_time)
    ]
    first = f"**Alerts** (minutes as played, from the beginning of the fault): {', '.join(told)}."
    return "\n".join((first, "", *texts))


def _by_time(alert: tuple[str, int]) -> tuple[int, str]:
    return alert[1], alert[0]


def _health(recording: Recording) -> str:
    lines = [
        f"| {name} | {_cell(said.livez)} | {_cell(said.readyz)} |"
        for name, said in recording.said.items()
        if not (said.livez.startswith("200") and said.readyz.startswith("200"))
    ]
    if not lines:
        return "**Health:** every process lives and is ready at its end."
    return "\n".join(("| not well | `/livez` | `/readyz` |", "|---|---|---|", *lines))


def _moved(recording: Recording) -> str:
    if not recording.moved:
        return ""
    lines = [f"| `{series}` | {' | '.join(told)} |" for series, *told in recording.moved]
    return "\n".join(("| metric | before | meanwhile | after |", "|---|---|---|---|", *lines))


def _logs(recording: Recording) -> Iterator[str]:
    loud = [(name, said) for name, said in recording.said.items() if _says_something(said)]
    for name, said in loud[:_MOST_LOGS]:
        yield f"The last lines of {name}:"
        yield "```text\n" + "\n".join(said.log) + "\n```"


def _says_something(said: Said) -> bool:
    """More than its summary of a minute."""
    return any(not _QUIET.search(line) or "vital_signs" not in line for line in said.log)


def _cell(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _short(alert: str) -> str:
    return alert.removeprefix("SessionPipeline")


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
