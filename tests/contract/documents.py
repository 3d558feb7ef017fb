"""All documents that are made of the program. `python -m tests.contract.documents` writes them.

Of some only the tables are made; what stands around them is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry

from pipeline.query.alerts.readings import ALERT_METRICS
from pipeline.query.dimensions import DIMENSIONS, KEYED
from pipeline.receive.metrics import ReceiveMetrics
from pipeline.roles.alerts.metrics import AlertMetrics
from pipeline.roles.metrics import Metrics
from pipeline.roles.rights import USERS, rights
from tests.contract import api_document, row_documents, settings_document

ROOT = Path(__file__).parents[2]
FILTERS = ROOT / "schemas" / "README.md"
ALERTS, METRICS, RIGHTS = (ROOT / "deploy" / name for name in ("ALERTS.md", "METRICS.md", "KAFKA-RIGHTS.md"))

_ENDINGS = {"counter": "_total", "info": "_info"}
_REGISTRIES: Mapping[str, Callable[[], CollectorRegistry]] = {
    "Workers": lambda: Metrics().registry,
    "`receive`": lambda: ReceiveMetrics().registry,
    "`alerts run`": lambda: AlertMetrics().registry,
}
"""By the heading of their section."""
_COMMANDS = {"operator": "migrate", "replay": "dead-letters replay"}
"""What programs are called whose user in Kafka has another name."""


def _once(pattern: str, made: str, text: str) -> str:
    """The text with the one place where the pattern is found made anew."""
    text, count = re.subn(pattern, lambda _: made, text, flags=re.MULTILINE | re.DOTALL)
    assert count == 1, f"{count} places for {pattern}"
    return text


def _section(heading: str, rows: Iterable[str], text: str) -> str:
    """The text with the rows of the first table below a heading made anew. The heading is a pattern."""
    head = rf"(?<=\n)## {heading}\n(?:(?!^## ).)*?\n\|[-|]+\|\n"
    found = re.findall(head, text, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"{len(found)} sections ## {heading}"
    return _once(
        rf"{re.escape(found[0])}(?:\|[^\n]*\n)*", found[0] + "".join(f"{row}\n" for row in rows), text
    )


def filters() -> str:
    """schemas/README.md with the names of dimensions."""
    text = FILTERS.read_text(encoding="utf-8")
    for group in dict.fromkeys(each.group for each in DIMENSIONS.values()):
        names = [
            *(name for name, each in DIMENSIONS.items() if each.group == group),
            *(f"{start}KEY" for start, keyed in KEYED.items() if keyed.group == group),
        ]
        text = _once(rf"^\| {group} \| `[^\n]*$", f"| {group} | {_listed(names)} |", text)
    return text


def alerts() -> str:
    """deploy/ALERTS.md with the names of metrics."""
    text = ALERTS.read_text(encoding="utf-8")
    return _once(r"^\| `metric` \| `[^.\n]*\.", f"| `metric` | {_listed(ALERT_METRICS)}.", text)


def metrics() -> str:
    """deploy/METRICS.md with the metrics of each process."""
    text = METRICS.read_text(encoding="utf-8")
    for heading, registry in _REGISTRIES.items():
        text = _section(heading, _metrics(registry()), text)
    return text


def _metrics(registry: CollectorRegistry) -> Iterable[str]:
    for family in sorted(registry.collect(), key=lambda family: family.name):
        if family.name.startswith("pipeline"):
            labels = getattr(registry._names_to_collectors[family.name], "_labelnames", ())
            name = family.name + _ENDINGS.get(family.type, "")
            yield f"| `{name}` | {family.type} | {', '.join(labels)} | {family.documentation} |"


def kafka_rights() -> str:
    """deploy/KAFKA-RIGHTS.md with the rights of each program, which are those that it is tested with."""
    text = RIGHTS.read_text(encoding="utf-8")
    for user in USERS:
        rows = (
            f"| {each.resource}{' (prefix)' if each.is_prefix else ''} | `{each.name}` | {', '.join(each.operations)} |"
            for each in rights(user)
        )
        text = _section(rf"[^\n]*`(?:worker --role )?{_COMMANDS.get(user, user)}`[^\n]*", rows, text)
    return text


def settings() -> str:
    """deploy/SETTINGS.md with the tables of settings."""
    return settings_document.with_tables(settings_document.DOCUMENT.read_text(encoding="utf-8"))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


MADE: Mapping[Path, Callable[[], str]] = {
    api_document.PATH: lambda: api_document.written().decode(),
    settings_document.DOCUMENT: settings,
    FILTERS: filters,
    ALERTS: alerts,
    METRICS: metrics,
    RIGHTS: kafka_rights,
    row_documents.SCHEMA: row_documents.schema,
    row_documents.SWAP: row_documents.swap,
}
"""Each document, and what it would be if it were made now."""

if __name__ == "__main__":
    for path, make in MADE.items():
        path.write_text(make(), encoding="utf-8")
