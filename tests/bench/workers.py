"""Workers of each role, from topic to topic or table; each round with a new broker and a new worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import orjson

from pipeline import topics
from tests.bench.corpus import records, simulated
from tests.bench.peers.topic import envelopes
from tests.bench.rig import Figures, Meter, Record, rig
from tests.support.recorded import bodies, recorded_files

Options = Mapping[str, float]


def corpus(events: int, options: Options) -> list[Record]:
    """Keys and values of what is loaded."""
    envelope, devices = int(options["envelope"]), int(options["devices"])
    if not envelope:
        return simulated(events, devices=devices)
    late, duplicates = options.get("late", 0.05), options.get("duplicates", 0.01)
    made = records(events, envelope=envelope, devices=devices, late=late, duplicates=duplicates)
    return [(record.key or b"", record.value or b"") for record in made]


def peers_corpus(events: int, options: Options) -> list[Record]:
    """The peers' topic."""
    return [(record.key, record.value) for record in envelopes(events, devices=int(options["devices"]))]


def sessionizer(events: int, options: Options, broker: str, rounds: int) -> list[Figures]:
    """`sdk-events` to `sessions`, changelog and all."""
    return _rounds("sessionizer", corpus(events, options), broker, rounds)


def sessionizer_on_peers_topic(events: int, options: Options, broker: str, rounds: int) -> list[Figures]:
    """The same on what the peers read: visits of about 20 events, each event an envelope."""
    return _rounds("sessionizer", peers_corpus(events, options), broker, rounds)


def sink(events: int, options: Options, broker: str, rounds: int) -> list[Figures]:
    """`sdk-events` to rows in ClickHouse, the ledger's too."""
    return _rounds("sink", corpus(events, options), broker, rounds, clickhouse=True)


def all_roles(events: int, options: Options, broker: str, rounds: int) -> list[Figures]:
    """One process for all roles, from `sdk-events` until the sessionizer and the sink have done all of it."""
    loaded = corpus(events, options)
    found = []
    for _ in range(rounds):
        with rig(broker, clickhouse=True) as running:
            running.load(topics.SDK_EVENTS, loaded)
            worker = running.start("all")
            meter = Meter(running, [worker])

            def done() -> tuple[int, ...]:
                return tuple(running.done(role) for role in ("sessionizer", "sink"))

            running.wait([worker], lambda: min(done()) >= len(loaded), done)
            found.append(meter.figures())
            running.stop(worker)
    return found


def router(events: int, options: Options, broker: str, rounds: int) -> list[Figures]:
    """Recorded bodies of the Measure SDK to `sdk-events`, again and again until there are so many events."""
    del options
    recorded = bodies(recorded_files())
    counts = [len(orjson.loads(body)["events"]) for body in recorded]
    loaded, left = [], events
    for body, count in zip(cycle(recorded), cycle(counts)):
        if left <= 0:
            break
        loaded.append((b"", body))
        left -= count
    return _rounds("router", loaded, broker, rounds, topic=topics.MEASURE_EVENTS)


def pair(events: int, options: Options, broker: str, rounds: int) -> list[Figures]:
    """Two sessionizers on two partitions against one on both: events a second from when all have their partitions."""
    loaded = corpus(events, options)
    per_record = events / len(loaded)
    found = []
    for _ in range(rounds):
        rates, shares = [], []
        for count in (1, 2):
            with rig(broker, partitions=2) as running:
                running.load(topics.SDK_EVENTS, loaded)
                workers = [running.start("sessionizer", ready=False) for _ in range(count)]
                running.wait(workers, lambda: running.members("sessionizer") == count, running.progress)  # noqa: B023
                meter, before = Meter(running, workers), running.done("sessionizer")
                running.wait(workers, lambda: running.done("sessionizer") >= len(loaded), running.progress)
                figures = meter.figures()
                rates.append((len(loaded) - before) * per_record / figures["wall_s"])
                shares.append(figures["broker_cpu_s"] / figures["wall_s"])
        found.append(
            {
                "cpu_s": figures["cpu_s"],
                "one_events_per_s": rates[0],
                "two_events_per_s": rates[1],
                "speed_up": rates[1] / rates[0],
                "broker_cores_with_one": shares[0],
                "broker_cores_with_two": shares[1],
            }
        )
    return found


def _rounds(
    role: str,
    loaded: Sequence[Record],
    broker: str,
    rounds: int,
    *,
    topic: str = topics.SDK_EVENTS,
    clickhouse: bool = False,
) -> list[Figures]:
    found = []
    for _ in range(rounds):
        with rig(broker, clickhouse=clickhouse) as running:
            running.load(topic, loaded)
            found.append(running.drive(role, len(loaded)))
    return found
