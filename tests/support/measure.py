"""Events and spans of Measure, as its SDKs send them, and recorded bodies."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

NOW_MS = 1_764_000_000_000
_RECORDED = Path(__file__).resolve().parents[3] / "shared" / "data" / "recorded"


def event(id: str, type: str = "custom", block: Any = None, **attribute: Any) -> dict[str, Any]:
    facts = {"app_unique_id": "app", "installation_id": "device", "platform": "android", **attribute}
    return {"id": id, "timestamp": "2025-11-24T15:58:00Z", "type": type, type: block, "attribute": facts}


def span(n: int, **changed: Any) -> dict[str, Any]:
    facts = {"app_unique_id": "app", "installation_id": "device", "platform": "android"}
    said = {
        "name": "load",
        "trace_id": "4bf9",
        "span_id": f"{n}",
        "start_time": "2025-11-24T15:58:00.000000007Z",
    }
    return {**said, "end_time": "2025-11-24T15:58:01Z", "attributes": facts, **changed}


def recorded_bodies() -> list[bytes]:
    """Skips the test where there are none; in CI, fails."""
    files = sorted(_RECORDED.glob("*.measure.ndjson.gz"))
    if not files:
        message = "recorded traffic not found beside the repository"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return [line for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]
