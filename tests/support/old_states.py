"""Makes `tests/golden/states_v*.json.gz`: what an older program left in its changelog, and what it had told by then.

Run by the program that writes the version, from its own tree:

    git worktree add /tmp/old v0.2.0 && cp tests/support/old_states.py /tmp/old/tests/support/
    (cd /tmp/old && python -m tests.support.old_states 2 | gzip -9n > tests/golden/states_v2.json.gz)

The events are such as both definitions of a session know; what they make of them differs.
"""

from __future__ import annotations

import json
import sys
from random import Random
from typing import Any

from pipeline.domain.policy import Policies
from pipeline.state.codec import state_codec
from pipeline.state.partition import Partition
from pipeline.state.records import SourceRecord

AT_MS = 1_800_000_000_000
DEVICES, RECORDS = 16, 300
MINUTE_MS = 60_000


def event(rng: Random, device: int, number: int, time_ms: int) -> dict[str, Any]:
    """One event of a device that has three SDK session ids, two windows, and ends of every kind."""
    name, attributes = rng.choice(
        [("tap", {})] * 6
        + [("app.launch", {"app.launch.type": "cold"}), ("session.end", {}), ("app.crash", {})]
        + [("device.app.lifecycle", {"android.app.state": state}) for state in ("foreground", "background")]
        * 4
        + [
            ("app.exit", {"app.exit.reason": "ANR"}),
            ("exception", {"fatal": True}),
            ("app.anr", {"fatal": True}),
        ]
    )
    made = {"id": f"d{device}-{number}", "name": name, "time": time_ms, "attributes": attributes}
    if rng.random() < 0.8:
        made["session_id"] = f"s{rng.choice((0, 1, 2))}"
    return made


def records(rng: Random) -> list[SourceRecord]:
    """Records of one partition, some of whose events are late or come again."""
    clocks = [AT_MS + device for device in range(DEVICES)]
    sent: dict[int, list[dict[str, Any]]] = {}
    made = []
    for offset in range(RECORDS):
        device = min(rng.randrange(DEVICES), rng.randrange(DEVICES))
        events = []
        for number in range(rng.choice((1, 1, 2, 3))):
            clocks[device] += rng.choice((0, 1, 300, 700, 2_000, 6_000, 60_000, 31 * MINUTE_MS))
            late_ms = rng.choice((0, 0, 0, 0, 10_000, 40 * MINUTE_MS))
            events.append(event(rng, device, offset * 10 + number, clocks[device] - late_ms))
        if rng.random() < 0.1 and device in sent:
            events.append(rng.choice(sent[device]))
        sent.setdefault(device, []).extend(events)
        envelope = {"v": 1, "app_id": "app", "device_id": f"d{device}", "events": events}
        if rng.random() < 0.5:
            envelope["user"] = {"id": f"u{rng.randrange(2)}"}
        value = json.dumps(envelope, separators=(",", ":")).encode()
        made.append(SourceRecord(offset, max(clocks), f"app/d{device}".encode(), value))
    return made


def main() -> None:
    version = int(sys.argv[1])
    given = records(Random(7))
    partition = Partition(0, Policies(), encode=state_codec.encoder(version))
    entries: dict[bytes, bytes] = {}
    rows: list[str] = []

    def done(effects: Any) -> None:
        entries.update(effects.states)
        rows.extend(row.decode() for _, row in effects.rows)
        partition.commit(effects)

    before = RECORDS * 2 // 3
    for start in range(0, before, 5):
        done(partition.apply(given[start : start + 5]))
        if (
            start % 50 == 0
            and (silence := partition.tick(given[start].timestamp, caught_up=True)) is not None
        ):
            done(silence)
    json.dump(
        {
            "records": [
                [each.offset, each.timestamp, each.key.decode(), each.value.decode()] for each in given
            ],
            "read_below": before,
            "entries": {key.hex(): value.hex() for key, value in entries.items()},
            "rows": rows,
        },
        sys.stdout,
        separators=(",", ":"),
    )


if __name__ == "__main__":
    main()
