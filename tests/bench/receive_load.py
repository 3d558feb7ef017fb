"""Requests to `receive`, and clients that send them: what `tests.bench.receive` measures with."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.embedded.child import LOOPBACK, Child, free_port
from pipeline.kafka.admin import ensure_topics
from pipeline.kafka.connection import KafkaConnection
from pipeline.roles import topology
from tests.support.received import is_ready
from tests.support.services import ApacheKafka
from tests.support.stack import command_line, environment

PARTITIONS = 8
CONNECTIONS = 16
"""At once; each sends the next request when the last is answered."""
OF_A_PART = 1_000_000
"""Numbers of requests, so that each part has its own."""


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


class Numbered:
    """Requests of one event, each with a number of its own, from a first one on."""

    def __init__(self, first: int, filler: int = 0) -> None:
        """`filler`: so many bytes more in each, so that there is something to keep."""
        self._first, self._filler = first, filler

    def __len__(self) -> int:
        return OF_A_PART

    def __getitem__(self, number: int) -> bytes:
        return request("/v1/events", native(self._first + number, 1, filler=self._filler))
