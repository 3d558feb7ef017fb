"""`receive` under load, beside the broker: `python -m tests.bench.receive [--runs 5] [--seconds 5] [--keep FILE]`.

Requests a second and events per CPU second of `receive`; the same beside 1,000 clients that send a byte a second; a
broker that is frozen for a minute under load; and more long bodies at once than there is room for. Needs Apache Kafka
(Java, Maven).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.embedded.child import LOOPBACK, Child, free_port
from pipeline.formats import registry
from pipeline.kafka.admin import ensure_topics
from pipeline.kafka.connection import KafkaConnection
from pipeline.roles import topology
from pipeline.settings import Settings
from tests.bench.report import provenance
from tests.integration.test_receive import is_ready, kept
from tests.support.services import ApacheKafka
from tests.support.stack import command_line, environment

PARTITIONS = 8
CONNECTIONS = 16
"""At once; each sends the next request when the last is answered."""
SLOW_CLIENTS = 1_000
AWAY_S = 60.0
LONG_BODIES = 64
"""Of nearly 8,000,000 bytes each, at once: eight times the budget."""
_MORE = ("starlette", "uvicorn", "h11")
"""Packages whose versions matter here besides."""


@dataclass
class Load:
    """What some clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    """0 is no answer."""
    took_s: list[float] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    """The numbers of the requests that were answered with 2xx."""


class Rig:
    """A broker and `receive`, as processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = ApacheKafka(folder / "kafka")
        self.port = free_port()
        asyncio.run(ensure_topics(KafkaConnection(self.broker.bootstrap), topology.plan(PARTITIONS, -1)))
        self.receive = Child(
            "receive",
            command_line("receive", "--port", str(self.port)),
            log_file=folder / "receive.log",
            cwd=folder,
            with_variables=environment({"PIPELINE_KAFKA_BOOTSTRAP": self.broker.bootstrap}),
        )

    def __enter__(self) -> Rig:
        self.receive.start(lambda: is_ready(self.port), timeout_s=60)
        return self

    def __exit__(self, *_: object) -> None:
        self.receive.stop()
        self.broker.stop()

    def again(self) -> None:
        """A new process, of which no memory is used yet."""
        self.receive.stop()
        self.receive.start(lambda: is_ready(self.port), timeout_s=60)

    def cpu_s(self) -> float:
        """CPU seconds of `receive` so far."""
        fields = Path(f"/proc/{self.receive.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def most_mb(self) -> float:
        """The most memory that it has used so far."""
        lines = Path(f"/proc/{self.receive.pid}/status").read_text().splitlines()
        (kb,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        return kb / 1_000


def request(path: str, body: bytes, *headers: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def native(number: int, events: int, filler: int = 0) -> bytes:
    """A request with one native envelope, whose events say the number of the request."""
    now_ms = int(time.time() * 1_000)
    attributes = {
        "screen.name": "Checkout",
        "url.full": "https://api.example/cart?x=1",
        "http.status_code": 200,
    }
    envelope = {
        "v": 1,
        "app_id": "org.example.load",
        "device_id": f"d{number % 1_000}",
        "resource": {"service.version": "1.0", "os.name": "Android", "device.model.identifier": "Pixel 9"},
        "events": [
            {"id": f"{number}-{n}", "name": "app.widget.click", "time": now_ms, "attributes": attributes}
            for n in range(events)
        ],
        "filler": "x" * filler,
    }
    return json.dumps(envelope).encode()


def otlp(number: int, records: int) -> bytes:
    """A request of OTLP protobuf with log records of one device."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (  # noqa: PLC0415 - in tests alone
        ExportLogsServiceRequest,
    )

    message = ExportLogsServiceRequest()
    block = message.resource_logs.add()
    for name, text in {"service.name": "load", "app.installation.id": f"d{number % 1_000}"}.items():
        block.resource.attributes.add(key=name).value.string_value = text
    scope = block.scope_logs.add()
    for n in range(records):
        record = scope.log_records.add(time_unix_nano=time.time_ns() + n, event_name="app.widget.click")
        for name, text in {"app.widget.id": "checkout", "url.full": "https://api.example/cart?x=1"}.items():
            record.attributes.add(key=name).value.string_value = text
    made: bytes = message.SerializeToString()
    return made


async def answer(reader: asyncio.StreamReader) -> int:
    """The status of the next answer, once all of it is there."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
    )
    await reader.readexactly(length)
    return int(head[9:12])


async def lane(
    port: int, requests: Sequence[bytes], until_s: float, load: Load, lane: int, pause_s: float
) -> None:
    """Sends one after the other until it is time, over one connection for as long as it lasts."""
    reader = writer = None
    number = lane
    while time.monotonic() < until_s:
        began_s = time.monotonic()
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
            assert reader is not None
            writer.write(requests[number % len(requests)])
            await writer.drain()
            status = await asyncio.wait_for(answer(reader), 30)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            status = 0
        load.statuses[status] += 1
        load.took_s.append(time.monotonic() - began_s)
        if 200 <= status < 300:
            load.acknowledged.append(number % len(requests))
        else:
            if writer is not None:
                writer.close()
            writer = None
            await asyncio.sleep(pause_s)
        number += CONNECTIONS
    if writer is not None:
        writer.close()


async def drive(port: int, requests: Sequence[bytes], seconds: float, pause_s: float = 0.05) -> Load:
    load, until_s = Load(), time.monotonic() + seconds
    await asyncio.gather(*(lane(port, requests, until_s, load, n, pause_s) for n in range(CONNECTIONS)))
    return load


async def dribble(port: int, stop: asyncio.Event, seen: Counter[str]) -> None:
    """A client that sends a byte a second, and comes again when it is cut off."""
    body = native(1, 1)
    while not stop.is_set():
        try:
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(
                request("/v1/events", b"", "X: y").replace(b"Content-Length: 0", b"Content-Length: 5000")
            )
            seen["connected"] += 1
            for byte in body:
                writer.write(bytes([byte]))
                with contextlib.suppress(TimeoutError):
                    head = await asyncio.wait_for(reader.read(12), 1)
                    seen[head[9:12].decode() or "cut off"] += 1
                    break
                if stop.is_set():
                    break
            writer.close()
        except OSError:
            seen["refused"] += 1
            await asyncio.sleep(1)


def measured(rig: Rig, requests: Sequence[bytes], events: int, seconds: float) -> dict[str, float]:
    before_s, began_s = rig.cpu_s(), time.monotonic()
    load = asyncio.run(drive(rig.port, requests, seconds))
    took_s, cpu_s = time.monotonic() - began_s, rig.cpu_s() - before_s
    assert set(load.statuses) == {200}, load.statuses
    count = load.statuses[200]
    return {
        "requests/s": count / took_s,
        "requests per CPU s": count / cpu_s,
        "events per CPU s": count * events / cpu_s,
        "p99 ms": statistics.quantiles(load.took_s, n=100)[98] * 1_000,
        "cores used": cpu_s / took_s,
    }


def rates(rig: Rig, runs: int, seconds: float) -> list[tuple[str, dict[str, list[float]]]]:
    cases = {
        "native, 1 event": (1, [request("/v1/events", native(n, 1)) for n in range(500)]),
        "native, 20 events": (20, [request("/v1/events", native(n, 20)) for n in range(500)]),
        "native, 20 events, gzip": (
            20,
            [
                request("/v1/events", gzip.compress(native(n, 20), 6), "Content-Encoding: gzip")
                for n in range(500)
            ],
        ),
        "native, 400 events": (400, [request("/v1/events", native(n, 400)) for n in range(50)]),
    }
    if "otlp_logs" in registry.routed_topics():
        head = "Content-Type: application/x-protobuf"
        cases["OTLP protobuf, 100 records"] = (
            100,
            [request("/v1/logs", otlp(n, 100), head) for n in range(200)],
        )
        cases["OTLP protobuf, 100 records, gzip"] = (
            100,
            [
                request("/v1/logs", gzip.compress(otlp(n, 100), 6), head, "Content-Encoding: gzip")
                for n in range(200)
            ],
        )
    found = []
    for name, (events, requests) in cases.items():
        measured(rig, requests, events, 1.0)  # to be warm
        each = [measured(rig, requests, events, seconds) for _ in range(runs)]
        found.append((name, {key: [one[key] for one in each] for key in each[0]}))
        print(
            name, {key: round(statistics.median(values)) for key, values in found[-1][1].items()}, flush=True
        )
    return found


def beside_slow_clients(rig: Rig, seconds: float) -> dict[str, Any]:
    rig.again()
    seen: Counter[str] = Counter()
    requests = [request("/v1/events", native(n, 20)) for n in range(500)]

    async def run() -> Load:
        stop = asyncio.Event()
        slow = [asyncio.create_task(dribble(rig.port, stop, seen)) for _ in range(SLOW_CLIENTS)]
        while seen["connected"] < SLOW_CLIENTS:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        load = await drive(rig.port, requests, seconds)
        stop.set()
        await asyncio.gather(*slow)
        return load

    load = asyncio.run(run())
    return {
        "answers to others": dict(load.statuses),
        "requests/s of others": load.statuses[200] / seconds,
        "p99 ms of others": statistics.quantiles(load.took_s, n=100)[98] * 1_000,
        "slow clients saw": dict(seen),
        "most memory, MB": rig.most_mb(),
    }


def broker_away(rig: Rig, away_s: float) -> dict[str, Any]:
    rig.again()
    count = 1_000_000
    load = Load()

    class Numbered:
        """Each request has a number of its own, and 20 kB, so that there is something to keep."""

        def __len__(self) -> int:
            return count

        def __getitem__(self, number: int) -> bytes:
            return request("/v1/events", native(number, 1, filler=20_000))

    marks: dict[str, float] = {}

    async def run() -> None:
        until_s = time.monotonic() + away_s + 20
        numbered: Any = Numbered()
        lanes = [
            asyncio.create_task(lane(rig.port, numbered, until_s, load, n, 0.05)) for n in range(CONNECTIONS)
        ]
        await asyncio.sleep(3)
        pid = rig.broker.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        began_s, told = time.monotonic(), len(load.took_s)
        while not load.statuses[503]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        marks["first 503 after s"] = time.monotonic() - began_s
        await asyncio.sleep(8)
        told = len(load.took_s)
        await asyncio.sleep(away_s - (time.monotonic() - began_s))
        late = load.took_s[told:]
        marks["answers while away"] = len(late)
        marks["p99 ms while away"] = statistics.quantiles(late, n=100)[98] * 1_000
        before = load.statuses[200]
        os.kill(pid, signal.SIGCONT)
        began_s = time.monotonic()
        while load.statuses[200] == before:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        marks["first 200 after its return, s"] = time.monotonic() - began_s
        await asyncio.gather(*lanes)

    asyncio.run(run())
    most = rig.most_mb()
    ids = Counter(asyncio.run(kept(rig.broker.bootstrap)))
    lost = {f"{number}-0" for number in load.acknowledged} - set(ids)
    return {
        "answers": dict(load.statuses),
        **marks,
        "most memory, MB": most,
        "acknowledged and lost": len(lost),
    }


def long_bodies(rig: Rig, seconds: float) -> dict[str, Any]:
    """Many long bodies at once, plain and as zip bombs."""
    rig.again()
    idle = rig.most_mb()
    plain = request(
        "/v1/events",
        b"[" + b",".join(native(n, 400) for n in range(95))[:7_900_000].rpartition(b"},{")[0] + b"}]",
    )
    bomb = request("/v1/events", gzip.compress(bytes(200_000_000)), "Content-Encoding: gzip")

    async def run() -> Load:
        load, until_s = Load(), time.monotonic() + seconds
        await asyncio.gather(
            *(
                lane(rig.port, [bomb if n % 4 == 0 else plain], until_s, load, 0, 0.2)
                for n in range(LONG_BODIES)
            )
        )
        return load

    load = asyncio.run(run())
    return {
        "answers": dict(load.statuses),
        "memory before, MB": idle,
        "most memory, MB": rig.most_mb(),
        "budget, MB": Settings().receive_budget / 1e6,
    }


def report(found: dict[str, Any], words: str) -> str:
    run = provenance()
    lines = [
        f"## {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "",
        f"`python -m tests.bench.receive {words}`".rstrip(),
        "",
        f"{run['machine']}; {run['versions']}, {', '.join(f'{name} {version(name)}' for name in _MORE)}.",
        "",
        f"{CONNECTIONS} connections, each of which sends the next request once the last is answered; medians, and in "
        "brackets (max - min) / median.",
        "",
        "| bodies | requests/s | requests per CPU s | events per CPU s | p99 ms | cores used |",
        "|---|---|---|---|---|---|",
    ]
    for name, values in found.pop("rates"):
        cells = []
        for of_one in values.values():
            median = statistics.median(of_one)
            cells.append(
                f"{median:,.{0 if median > 50 else 1}f} ({(max(of_one) - min(of_one)) / median:.2f})"
            )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for title, values in found.items():
        lines += ["", f"### {title}", "", "| | |", "|---|---|"]
        for name, value in values.items():
            shown = f"{value:,.1f}" if isinstance(value, float) else str(value)
            lines.append(f"| {name} | {shown} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--away", type=float, default=AWAY_S, help="how long the broker is away, in seconds")
    parser.add_argument("--keep", type=Path, help="a file to add the report to")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Rig(Path(folder)) as rig:
        found: dict[str, Any] = {"rates": rates(rig, given.runs, given.seconds)}
        found[f"Beside {SLOW_CLIENTS:,} clients that send a byte a second"] = beside_slow_clients(
            rig, 3 * given.seconds
        )
        found[f"A broker that is frozen for {given.away:g} s"] = broker_away(rig, given.away)
        found[f"{LONG_BODIES} bodies of 8 MB at once, a quarter of them zip bombs"] = long_bodies(
            rig, 3 * given.seconds
        )
    text = report(found, " ".join(sys.argv[1:]))
    print(text)
    if given.keep:
        with given.keep.open("a") as file:
            file.write("\n" + text)


if __name__ == "__main__":
    main()
