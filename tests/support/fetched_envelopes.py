"""Native envelopes as a sink fetches them."""

from __future__ import annotations

import json
from typing import Any

from pipeline.domain.privacy import Privacy, Samplings
from pipeline.formats.edge import Edge
from tests.bench.corpus import Fetched

T0 = 1_767_600_000_000
BUILT_IN = Edge(Privacy(), Samplings())


def record(offset: int, *events: dict[str, Any], app: str = "app", **said: Any) -> Fetched:
    body = {"v": 1, "app_id": app, "device_id": "d", "events": list(events), **said}
    return Fetched(offset, T0, f"{app}/d".encode(), json.dumps(body).encode())


def event(number: int, **said: Any) -> dict[str, Any]:
    return {"id": f"e{number}", "name": "app.screen.view", "time": T0 - number, "seq": number, **said}
