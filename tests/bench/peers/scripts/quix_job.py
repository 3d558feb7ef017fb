"""Quix Streams: its own session window with a count, state in RocksDB with a changelog, sessions to a topic.

Commits every 5 s as it does by default. Values are decoded by its own JSON deserializer, which is orjson.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import quixstreams.dataframe.windows.aggregations as agg
from marks import GAP_S, Marks, options
from quixstreams import Application


def main() -> None:
    told = options()
    marks = Marks(told.folder)
    app = Application(
        broker_address=told.bootstrap,
        consumer_group=f"quix-{told.output}",
        auto_offset_reset="earliest",
        state_dir=told.folder / "state",
        loglevel="WARNING",
    )
    seen = 0

    def event_time_ms(value: Any, headers: Any, record_time_ms: float, kind: Any) -> int:
        nonlocal seen
        seen += 1
        if seen == 1:
            marks.say("first")
        elif seen == told.events:
            # Ends the loop after this record; what is open is then committed.
            app.stop()
        time_ms: int = value["events"][0]["time"]
        return time_ms

    source = app.topic(told.topic, timestamp_extractor=event_time_ms)
    sessions = app.dataframe(source).session_window(timedelta(seconds=GAP_S)).agg(count=agg.Count()).final()
    sessions.to_topic(app.topic(told.output))
    app.run()
    marks.say("last")


if __name__ == "__main__":
    main()
