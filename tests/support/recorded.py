"""Recorded SDK traffic, kept beside the repository."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.domain.event import Event
from pipeline.formats import measure
from tests.support.expected_rows import Device, decoded

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "recorded"


def recorded_files() -> list[Path]:
    """The files, each of Measure bodies line by line; empty if they are not on this machine."""
    return sorted(FOLDER.glob("*.measure.ndjson.gz"))


def bodies(files: Sequence[Path]) -> list[bytes]:
    """All lines, in order."""
    return [line.rstrip(b"\n") for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]


def raw_identities(lines: Sequence[bytes]) -> list[tuple[str, str, str]]:
    """App, device and id of every event, read from the raw JSON."""
    return [
        (event["attribute"]["app_unique_id"], event["attribute"]["installation_id"], event["id"])
        for line in lines
        for event in json.loads(line)["events"]
    ]


def events_by_device(lines: Sequence[bytes]) -> dict[Device, list[Event]]:
    """The events of each device in the order sent, as the decoders give them."""
    now_ms = int(time.time() * 1_000)
    events: dict[Device, list[Event]] = {}
    for line in lines:
        translation = measure.decode(line, now_ms)
        assert isinstance(translation, measure.Translation) and not translation.refused
        for record in translation.records:
            device, of_record = decoded(record.key, record.value, now_ms)
            events.setdefault(device, []).extend(of_record)
    return events
