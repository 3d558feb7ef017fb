"""OTLP through the router: messages of so many log records or spans, of one device each, in protobuf or in JSON."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any
from uuid import UUID

from pipeline import compiled
from pipeline.formats import otlp
from pipeline.roles.metrics import Metrics
from pipeline.roles.router import Router
from pipeline.runtime import fit_garbage_collection
from tests.bench.corpus import Fetched
from tests.bench.parts import Figures
from tests.support.otlp import NOW_MS, NOW_NS, json_of, logs, spans

_RESOURCE = {
    "service.name": "org.example.shop",
    "service.version": "1.4.0",
    "os.name": "Android",
    "os.version": "14",
    "device.manufacturer": "Google",
    "device.model.identifier": "Pixel 8",
    "telemetry.sdk.language": "java",
    "telemetry.sdk.name": "opentelemetry",
    "telemetry.sdk.version": "1.52.0",
}
_CHUNK = 20


def router(events: int, options: Mapping[str, float]) -> Figures:
    """Records of `otlp_logs` or `otlp_spans` to native envelopes, by `Router.handle`; what it sends goes nowhere. CPU
    seconds. `events` is how many log records or spans."""
    size = int(options["envelope"])
    make, topic = (_spans, otlp.SPANS.topic) if options.get("spans") else (_message, otlp.LOGS.topic)
    made = messages(size, max(1, events // size), make)
    values = [json_of(m) if options.get("json") else m.SerializeToString() for m in made]
    corpus = [Fetched(offset, NOW_MS, None, value) for offset, value in enumerate(values)]
    del made, values
    sent: list[int] = []

    async def send(items: Sequence[Any]) -> None:
        sent.append(sum(len(value) for _, value, _ in items))

    async def refuse(letters: Sequence[Any]) -> None:
        raise AssertionError(f"nothing is refused: {letters[0]}")

    # Which core is a setting, as of workers.
    core = compiled.core(os.environ.get("PIPELINE_CORE", compiled.AUTO))

    async def run() -> float:
        handler = Router(send, refuse, Metrics(), core=core)
        started_s = time.process_time()
        for at in range(0, len(corpus), _CHUNK):
            await handler.handle(topic, 0, corpus[at : at + _CHUNK])
        return time.process_time() - started_s

    fit_garbage_collection()
    cpu_s = asyncio.run(run())
    return {"cpu_s": cpu_s, "bytes_per_event": sum(sent) / events}


def messages(size: int, count: int, make: Callable[[int, Random], Any] | None = None) -> list[Any]:
    """So many messages of so many records, always the same."""
    random = Random(1)
    return [(make or _message)(size, random) for _ in range(count)]


def _spans(size: int, random: Random) -> Any:
    """Spans of four kinds in turn: requests, screens, interactions and the app's own work."""
    session = str(UUID(int=random.getrandbits(128), version=4))
    resource = {**_RESOURCE, "app.installation.id": str(UUID(int=random.getrandbits(128), version=4))}
    kinds: list[Any] = [
        lambda: ("GET", {"http.request.method": "GET", "http.response.status_code": 200,
                         "url.full": f"https://api.shop.example/v2/items/{random.randrange(9_999)}"}),
        lambda: ("Created", {"activity.name": f"Screen{random.randrange(20)}Activity"}),
        lambda: ("click", {"app.widget.id": f"button{random.randrange(50)}"}),
        lambda: ("load cart", {"code.function.name": "load", "thread.name": "main"}),
    ]  # fmt: skip
    made = []
    for number in range(size):
        name, attributes = kinds[number % len(kinds)]()
        start_ns = NOW_NS - (size - number) * 700_000_123
        made.append(
            {
                "trace_id": random.getrandbits(128).to_bytes(16, "big"),
                "span_id": random.getrandbits(64).to_bytes(8, "big"),
                "name": name,
                "start_time_unix_nano": start_ns,
                "end_time_unix_nano": start_ns + random.randrange(1, 400) * 1_000_000,
                "attributes": {"session.id": session, **attributes},
            }
        )
    return spans(*made, resource=resource)


def _message(size: int, random: Random) -> Any:
    """Records of five kinds in turn, with two to four attributes, one of them the session."""
    session = str(UUID(int=random.getrandbits(128), version=4))
    resource = {**_RESOURCE, "app.installation.id": str(UUID(int=random.getrandbits(128), version=4))}
    kinds: list[Any] = [
        lambda: ("app.screen.click", {"app.screen.coordinate.x": random.randrange(1_000),
                                      "app.screen.coordinate.y": random.randrange(2_000),
                                      "app.widget.id": f"button{random.randrange(50)}"}),
        lambda: ("app.screen.view", {"app.screen.name": f"Screen{random.randrange(20)}",
                                     "app.screen.id": f"s{random.randrange(20)}"}),
        lambda: ("device.app.lifecycle", {"android.app.state": "foreground"}),
        lambda: ("", {"thread.name": "main", "code.function.name": "load"}),
        lambda: ("app.jank", {"app.jank.frame_count": random.randrange(100), "app.jank.period": 1.5,
                              "app.jank.threshold": 0.016}),
    ]  # fmt: skip
    records = []
    for number in range(size):
        name, attributes = kinds[number % len(kinds)]()
        time_ns = NOW_NS - (size - number) * 700_000_123
        record = {
            "event_name": name,
            "attributes": {"session.id": session, **attributes},
            "severity_number": 9,
        }
        record |= {"time_unix_nano": time_ns, "observed_time_unix_nano": time_ns + 1_000}
        records.append(
            record if name else {**record, "body": f"loaded {random.randrange(1_000)} items from cache"}
        )
    return logs(*records, resource=resource, scope="io.opentelemetry.sessions")
