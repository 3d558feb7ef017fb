"""Quix Streams without its windows: a stateful function that keeps one open session a device, by hand.

It costs a fraction of the library's own session window. A session is sent when its device's next one begins.
"""

from __future__ import annotations

from typing import Any

from marks import GAP_S, Marks, options
from quixstreams import Application, State

_GAP_MS = GAP_S * 1000


def main() -> None:
    told = options()
    marks = Marks(told.folder)
    app = Application(
        broker_address=told.bootstrap,
        consumer_group=f"quix-apply-{told.output}",
        auto_offset_reset="earliest",
        state_dir=told.folder / "state",
        loglevel="WARNING",
    )
    seen = 0

    def session_before(value: Any, state: State) -> dict[str, int] | None:
        nonlocal seen
        seen += 1
        if seen == 1:
            marks.say("first")
        elif seen == told.events:
            # Ends the loop after this record; what is open is then committed.
            app.stop()
        time_ms = value["events"][0]["time"]
        session = state.get("session")
        if session is None or time_ms - session[1] > _GAP_MS:
            state.set("session", [time_ms, time_ms, 1])
            return session and {"start": session[0], "end": session[1], "count": session[2]}
        state.set("session", [min(session[0], time_ms), max(session[1], time_ms), session[2] + 1])
        return None

    rows = app.dataframe(app.topic(told.topic)).apply(session_before, stateful=True)
    rows = rows.filter(lambda row: row is not None)
    rows.to_topic(app.topic(told.output))
    app.run()
    marks.say("last")


if __name__ == "__main__":
    main()
