"""Bytewax: its own session window with a count, a recovery store with a snapshot every 10 s, sessions to a topic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSource
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import EventClock, SessionWindower, count_window
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from marks import GAP_S, Marks, options

_SNAPSHOT_EVERY = timedelta(seconds=10)
_KEEP_BACKUPS = timedelta(0)


def event_time(item: tuple[str, int]) -> datetime:
    return datetime.fromtimestamp(item[1] / 1000, UTC)


def device(item: tuple[str, int]) -> str:
    return item[0]


def row(item: tuple[str, tuple[int, int]]) -> KafkaSinkMessage[bytes, bytes]:
    key, (_, count) = item
    return KafkaSinkMessage(key.encode(), orjson.dumps({"count": count}))


def main() -> None:
    told = options()
    marks = Marks(told.folder)
    begun = False

    def stamp(message: Any) -> tuple[str, int]:
        nonlocal begun
        if not begun:
            begun = True
            marks.say("first")
        value = orjson.loads(message.value)
        return value["device_id"], value["events"][0]["time"]

    flow = Dataflow("sessions")
    # `tail=False`: the flow ends at the end of the topic, and that closes the open windows.
    source = op.input("read", flow, KafkaSource([told.bootstrap], [told.topic], tail=False))
    stamped = op.map("stamp", source, stamp)
    clock = EventClock(ts_getter=event_time, wait_for_system_duration=timedelta(0))
    windower = SessionWindower(gap=timedelta(seconds=GAP_S))
    counted = count_window("count", stamped, clock, windower, device)
    kop.output("write", op.map("row", counted.down, row), brokers=[told.bootstrap], topic=told.output)

    store = told.folder / "recovery"
    store.mkdir()
    init_db_dir(store, 1)
    cli_main(flow, epoch_interval=_SNAPSHOT_EVERY, recovery_config=RecoveryConfig(store, _KEEP_BACKUPS))
    marks.say("last")


if __name__ == "__main__":
    main()
