"""`receive` under load, beside the broker: `python -m tests.bench.receive [--runs 5] [--seconds 5] [--keep FILE]`.

Requests a second and events per CPU second of `receive`; the same beside 1,000 clients that send a byte a second, and
beside clients that cut bodies short or close their half of a connection; a broker that is frozen for a minute under
load; and more long bodies at once than there is room for. `--only cut` leaves out all but one part. Needs Apache Kafka
(Java, Maven).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import os
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.embedded.child import LOOPBACK
from pipeline.formats import registry
from pipeline.settings import Settings
from tests.bench.receive_load import (
    CONNECTIONS,
    OF_A_PART,
    Load,
    Numbered,
    Rig,
    answer,
    drive,
    lane,
    native,
    otlp,
    request,
)
from tests.bench.report import provenance
from tests.support.received import kept

SLOW_CLIENTS = 1_000
AWAY_S = 60.0
CUT_CLIENTS = 50
"""At once; each breaks off one request after the other."""
LONG_BODIES = 64
"""Of nearly 8,000,000 bytes each, at once: eight times the budget."""
_MORE = ("starlette", "uvicorn", "h11")
"""Packages whose versions matter here besides."""


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


async def break_off(port: int, first: int, stop: asyncio.Event, load: Load) -> None:
    """A client that ends each request in another way; the numbers of those that it sent whole are the even ones.

    Whole: it closes its half of the connection behind the request, and waits for the answer. Not whole: a JSON text
    that is complete, but shorter than its Content-Length or without its last chunk, and then the end or a reset.
    """
    number = first
    while not stop.is_set():
        body = native(number, 1)
        head = b"POST /v1/events HTTP/1.1\r\nHost: x\r\n"
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            if number % 2 == 0:
                writer.write(request("/v1/events", body))
            elif number % 4 == 1:
                writer.write(head + b"Content-Length: %d\r\n\r\n%b" % (len(body) + 1, body))
            else:
                writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(body), body))
            await writer.drain()
            if number % 8 < 6:
                writer.write_eof()
                status = await asyncio.wait_for(answer(reader), 30)
                load.statuses[status] += 1
                if 200 <= status < 300:
                    load.acknowledged.append(number)
            elif number % 2:
                writer.transport.abort()
            # Else it is whole, and nobody waits for the answer.
        writer.close()
        load.statuses[0] += number % 2
        number += 1


def cut_short(rig: Rig, seconds: float) -> dict[str, Any]:
    """Load beside clients that break off: what was answered is in Kafka, and nothing that was not sent whole."""
    first = 10 * OF_A_PART
    broken = Load()
    numbered: Any = Numbered(first)

    async def run() -> Load:
        stop = asyncio.Event()
        clients = [
            asyncio.create_task(break_off(rig.port, first + n * OF_A_PART, stop, broken))
            for n in range(1, CUT_CLIENTS + 1)
        ]
        load = await drive(rig.port, numbered, seconds)
        stop.set()
        await asyncio.gather(*clients)
        return load

    load = asyncio.run(run())
    ids = [int(each.partition("-")[0]) for each in asyncio.run(kept(rig.broker.bootstrap))]
    stored = {number for number in ids if number >= first}
    answered = {first + number for number in load.acknowledged} | set(broken.acknowledged)
    return {
        "answers to others": dict(load.statuses),
        "answers to half-closed connections, and requests that were not sent whole (0)": dict(
            broken.statuses
        ),
        "acknowledged": len(answered),
        "acknowledged and lost": len(answered - stored),
        "in Kafka, and not sent whole": len({n for n in stored if n >= first + OF_A_PART and n % 2}),
        "most memory, MB": rig.most_mb(),
    }


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
    load = Load()
    marks: dict[str, float] = {}

    async def run() -> None:
        until_s = time.monotonic() + away_s + 20
        numbered: Any = Numbered(0, filler=20_000)
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
        f"{CONNECTIONS} connections, each of which sends the next request once the last is answered"
        + ("; medians, and in brackets (max - min) / median." if "rates" in found else "."),
    ]
    if "rates" in found:
        lines += ["", "| bodies | requests/s | requests per CPU s | events per CPU s | p99 ms | cores used |"]
        lines.append("|---|---|---|---|---|---|")
    for name, values in found.pop("rates", ()):
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
    parts: dict[str, tuple[str, Callable[[Rig], Any]]] = {
        "rates": ("rates", lambda rig: rates(rig, given.runs, given.seconds)),
        "slow": (
            f"Beside {SLOW_CLIENTS:,} clients that send a byte a second",
            lambda rig: beside_slow_clients(rig, 3 * given.seconds),
        ),
        "cut": (
            f"Beside {CUT_CLIENTS} clients that half-close, cut bodies short and reset",
            lambda rig: cut_short(rig, 3 * given.seconds),
        ),
        "away": ("A frozen broker", lambda rig: broker_away(rig, given.away)),
        "long": (
            f"{LONG_BODIES} bodies of 8 MB at once, a quarter of them zip bombs",
            lambda rig: long_bodies(rig, 3 * given.seconds),
        ),
    }
    parser.add_argument("--only", choices=parts, help="one part alone")
    parser.add_argument("--keep", type=Path, help="a file to add the report to")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Rig(Path(folder)) as rig:
        found = {title: part(rig) for name, (title, part) in parts.items() if given.only in (None, name)}
    text = report(found, " ".join(sys.argv[1:]))
    print(text)
    if given.keep:
        with given.keep.open("a") as file:
            file.write("\n" + text)


if __name__ == "__main__":
    main()
