"""Recorded traffic through the definition of two trees: `python -m tests.golden.changed_sessions OLD_TREE`.

Prints each session that this tree has otherwise than the old one, under the rule that changed it as far as its events
tell, and how many there are of each. `--sessions` prints this tree's sessions instead, a JSON line each and sorted, for
`diff`; run as a file with another tree first on PYTHONPATH it prints that tree's: it uses no more than the decoders and
the fold, which both have.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.domain.event import COUNTERS, Event
from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.domain.session import session_id
from pipeline.formats import measure, native

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "data" / "recorded"
RECORD_MS = 1_764_000_000_000
"""After all that was recorded, so that no time is refused."""

Row = dict[str, Any]
Device = tuple[str, str]


def events_of(folder: Path) -> dict[Device, list[Event]]:
    """The events of each device in the order in which they were sent."""
    found: dict[Device, list[Event]] = defaultdict(list)
    for file in sorted(folder.glob("*.measure.ndjson.gz")):
        for line in gzip.decompress(file.read_bytes()).splitlines():
            translation = measure.decode(line, RECORD_MS)
            assert isinstance(translation, measure.Translation), translation
            for record in translation.records:
                envelope = native.decode(record.value, record.key, RECORD_MS)
                assert isinstance(envelope, native.Envelope), envelope
                found[envelope.app_id, envelope.device_id] += native.to_events(envelope)
    return found


def rows_of(device: Device, events: Sequence[Event]) -> Iterator[Row]:
    """The device's sessions, in order of start."""
    app_id, device_id = device
    for each in sessions(app_id, device_id, events, Policy()):
        counters = dict(zip(COUNTERS, each.counters, strict=True))
        appeared = counters.pop("appearance_count", 0)
        counters["view_count"] = counters["view_count"] or appeared
        yield {
            "app_id": app_id,
            "device_id": device_id,
            "started_at_ms": each.started_at_ms,
            "ended_at_ms": each.ended_at_ms,
            "session_id": str(session_id(app_id, device_id, each.first_event_id)),
            "first_event_id": each.first_event_id,
            "state": "foreground" if each.foreground else "background",
            "start_reason": str(each.start_reason),
            "end_reason": str(each.end_reason),
            "exit_reason": each.exit_reason,
            "cold_start": each.cold_start,
            "client_session_id": each.client_session_id,
            "event_count": each.event_count,
            **counters,
            "stitched": str(session_id(app_id, device_id, each.stitched_first_event_id)),
        }


def rule_of_a_start(event: Event, before: Sequence[Event], policy: Policy) -> str:
    """Why an event that began a session in one tree does not in the other; `before` are those up to it."""
    kind = event.kind.label
    if kind == "passive":
        return "passive events open no session"
    known = {each.client_session_id for each in before}
    last = next((each for each in reversed(before) if each.kind.label != "passive"), None)
    if kind == "foreground" and last is not None:
        if last.kind.label == "background" and event.time_ms - last.time_ms <= policy.flicker_grace_ms:
            return "a background and a foreground within flicker_grace"
        if last.client_session_id != event.client_session_id:
            return "signals of one start have no two SDK session ids"
    if kind in ("crash", "exception", "anr", "exit", "session_end") and event.client_session_id in known:
        return "an end that names another session ends nothing"
    if kind == "activity" and event.client_session_id in known:
        return "an SDK session id that the device knows joins what is open"
    if kind == "activity" and event.stated.name != "UNKNOWN":
        return "an event states the app's state"
    return "its neighbour before it changed"


def rule_of_a_change(changes: Mapping[str, tuple[Any, Any]], moved: Sequence[Event]) -> str:
    """Why a session that both trees have is another one; `moved` are the events that one of them has elsewhere."""
    names = set(changes) - {"stitched"}
    if not names:
        return "its stitched session begins elsewhere"
    if names == {"view_count"}:
        return "screens that appeared are views"
    if names <= {"log_error_count", "view_count"}:
        return "severity of a log"
    if moved and all(each.kind.label == "passive" for each in moved):
        return "passive events are of the session before"
    if changes.get("end_reason") == ("superseded", "unclean_exit"):
        return "a launch says that the process before it was gone"
    if moved:
        return "took in a session after it, or gave one away"
    if names <= {"ended_at_ms", "view_count"}:
        return "passive events do not prolong"
    if names & {"end_reason", "exit_reason"}:
        return "ended otherwise"
    return "other: " + ", ".join(sorted(names))


def changed(
    old: Sequence[Row], new: Sequence[Row], events: Sequence[Event]
) -> Iterator[tuple[str, str, Row]]:
    """Rule, what became of it (`gone`, `new`, `changed`), and the session with what differs; of one device."""
    policy = Policy()
    ordered = sorted({each.id: each for each in reversed(events)}.values())
    olds, news = ({row["session_id"]: row for row in rows} for rows in (old, new))
    gone: dict[int, str] = {}
    for key in sorted(
        olds.keys() | news.keys(), key=lambda key: (olds.get(key) or news[key])["started_at_ms"]
    ):
        was, now = olds.get(key), news.get(key)
        if was is not None and now is not None:
            if was != now:
                changes = {
                    name: (was.get(name), now.get(name)) for name in now if was.get(name) != now.get(name)
                }
                moved = _events_in(was, old, ordered) ^ _events_in(now, new, ordered)
                rule = rule_of_a_change(changes, [each for each in ordered if each in moved])
                yield rule, "changed", {**now, "changes": changes}
            continue
        row = was or now
        assert row is not None
        [first] = [each for each in ordered if each.id == row["first_event_id"]]
        rule = rule_of_a_start(first, [each for each in ordered if each < first], policy)
        start_ms = first.time_ms
        if now is None:
            gone[start_ms] = rule
        else:
            # The same use of the app, from another event of its start on.
            near = [at for at in gone if 0 <= start_ms - at <= policy.launch_grace_ms]
            rule = gone[max(near)] if near else rule
        yield rule, "gone" if now is None else "new", row


def _events_in(row: Row, rows: Sequence[Row], ordered: Sequence[Event]) -> set[Event]:
    """An event belongs to the session with the greatest start not after it."""
    later = [each["started_at_ms"] for each in rows if each["started_at_ms"] > row["started_at_ms"]]
    return {each for each in ordered if row["started_at_ms"] <= each.time_ms < min(later, default=1 << 60)}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old_tree", nargs="?", type=Path, help="a checkout to compare with")
    parser.add_argument("--sessions", action="store_true", help="print the sessions of this tree")
    parser.add_argument("--folder", type=Path, default=RECORDED, help="where the recorded traffic is")
    asked = parser.parse_args()
    events = events_of(asked.folder)
    new = {device: list(rows_of(device, of_device)) for device, of_device in sorted(events.items())}
    if asked.sessions or asked.old_tree is None:
        for row in (row for rows in new.values() for row in rows):
            print(json.dumps(row))
        return
    told = subprocess.run(
        [sys.executable, __file__, "--sessions", "--folder", str(asked.folder)],
        env={**os.environ, "PYTHONPATH": str(asked.old_tree)}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    old: dict[Device, list[Row]] = defaultdict(list)
    for line in told.stdout.splitlines():
        row = json.loads(line)
        old[row["app_id"], row["device_id"]].append(row)
    total: Counter[tuple[str, str]] = Counter()
    for device, of_device in sorted(events.items()):
        for rule, what, row in changed(old[device], new[device], of_device):
            total[rule, what] += 1
            print(f"{rule} | {what} | {json.dumps(row)}")
    print(
        f"{sum(map(len, old.values()))} sessions before, {sum(map(len, new.values()))} now", file=sys.stderr
    )
    for (rule, what), count in sorted(total.items()):
        print(f"{count:5} {what:8} {rule}", file=sys.stderr)


if __name__ == "__main__":
    main()
