"""Stock Faust: an agent with one table update an event, table in memory with a changelog, sessions to a topic.

Faust has no session window: the gap is looked at by hand, and a session is sent when its device's next one begins.
"""

from __future__ import annotations

import sys
from typing import Any

import faust
from marks import GAP_S, Marks, options

_GAP_MS = GAP_S * 1000


def main() -> None:
    told = options()
    marks = Marks(told.folder)
    app = faust.App(
        f"faust-{told.output}",
        broker=f"kafka://{told.bootstrap}",
        store="memory://",
        topic_partitions=1,
        topic_replication_factor=1,
        datadir=str(told.folder / "faust"),
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
    )
    source = app.topic(told.topic, key_type=bytes, value_serializer="json", partitions=1)
    output = app.topic(told.output, key_type=bytes, value_serializer="json", partitions=1)
    # Of an open session: when it began, when it was last heard of, how many events.
    sessions = app.Table("sessions", default=None, key_type=bytes, partitions=1)

    @app.agent(source)
    async def count(stream: Any) -> None:
        seen = 0
        async for key, value in stream.items():
            seen += 1
            if seen == 1:
                marks.say("first")
            time_ms = value["events"][0]["time"]
            session = sessions.get(key)
            if session is None:
                sessions[key] = [time_ms, time_ms, 1]
            elif time_ms - session[1] > _GAP_MS:
                await output.send(
                    key=key, value={"start": session[0], "end": session[1], "count": session[2]}
                )
                sessions[key] = [time_ms, time_ms, 1]
            else:
                sessions[key] = [session[0], time_ms, session[2] + 1]
            if seen == told.events:
                await app.producer.flush()
                marks.say("last")

    sys.argv[1:] = ["worker", "--without-web"]  # Faust reads its own command line
    app.main()


if __name__ == "__main__":
    main()
