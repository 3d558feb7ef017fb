"""Small inputs that went wrong elsewhere (`tests/data/field`): their documents, and their events moved in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

FOLDER = Path(__file__).resolve().parents[1] / "data" / "field"
CASES = sorted(case for case in FOLDER.glob("*.ndjson") if case.with_suffix(".sessions.json").exists())
"""Those whose sessions are written down. What is right of the others is told by the tests of what they are about."""


def lines(case: str) -> list[bytes]:
    """The documents of the case whose name begins so."""
    [path] = FOLDER.glob(f"{case}-*.ndjson")
    return path.read_bytes().splitlines()


def documents(case: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in lines(case)]


def moved(envelopes: list[dict[str, Any]], by_ms: int) -> list[dict[str, Any]]:
    """Native envelopes with all stamps later by so much."""
    made = []
    for envelope in envelopes:
        later = dict(envelope)
        if "sent_at" in later:
            later["sent_at"] += by_ms
        later["events"] = [{**event, "time": event["time"] + by_ms} for event in envelope["events"]]
        made.append(later)
    return made
