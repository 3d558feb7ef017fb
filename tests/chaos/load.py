"""What is sent: a simulated fleet, and bodies of the Measure SDK for the router. The seed decides every byte."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import orjson

from pipeline import topics
from pipeline.kafka.admin import end_offsets
from tests.support.stack import SIMULATE, Stack

MEASURE_SHARE = 0.1
_SLICES = 20
_FIRST_TIMEOUT_S = 60.0
_POLL_S = 0.2
_EVENTS_A_DEVICE = 500
_MORE_S = 8.0
_MEASURE_APP = "org.example.measured"
_MEASURE_DEVICES = 40
_BODY_EVENTS = 10
_STAMPED_ANEW_SHARE = 0.3
"""Of bodies: those with an event of the one before it once more."""
_DAY_MS = 24 * 3_600_000
_START_MS = 1_767_600_000_000


class Identity(NamedTuple):
    """What makes an event the same event."""

    app_id: str
    device_id: str
    event_id: str


class Said(NamedTuple):
    """What a stored event must say, as its device said it."""

    raw_time_ms: int
    name: str
    seq: int


class Load:
    """Events on their way into a stack: `begin`, `send_slice` and `keep_up` now and then, and `finish`."""

    def __init__(self, stack: Stack, *, events: int, seed: int, slices: int = _SLICES) -> None:
        """Writes all that will be sent to files. Blocks."""
        self.sent: dict[Identity, Said] = {}
        self.again: dict[Identity, Said] = {}
        """What some of them say that were sent again, stamped anew on another day: whichever came first counts."""
        self.events = 0
        """Those sent twice counted twice, as the devices do; not what a retry of `send` doubles."""
        self.misplaced = 0
        """Records that were sent to a partition where their key does not belong, to be refused."""
        self._stack = stack
        simulated = events - int(events * MEASURE_SHARE)
        devices = max(20, simulated // _EVENTS_A_DEVICE)
        self._simulate = self._fleet(devices, seed, simulated)
        self._simulated = simulated
        self._seed = seed
        self._pace = 0.0
        self._more: list[list[str]] = []
        """The fleets that came after the first."""
        self._begun_anew = 0
        """How many of these began while the broker was away, and were begun once more."""
        self._sending: subprocess.Popen[bytes] | None = None
        self._slice: tuple[Path, subprocess.Popen[bytes]] | None = None
        self._slices = self._write_slices(seed, events - simulated, slices)
        self._note_simulated(self._simulate)

    @property
    def is_sending(self) -> bool:
        """Fails if the fleet could not send everything."""
        assert self._sending is not None, "it was begun"
        code = self._sending.poll()
        if code and self._begun_anew < len(self._more):
            # The router's records look like its own, so it may not have found its broker yet when that is killed. Of
            # the same seed it sends the same once more.
            self._begun_anew = len(self._more)
            self._begin_another()
            return True
        assert not code, f"simulate ended with code {code}\n{self._stack.log_tails()}"
        return code is None

    def begin(self, seconds: float) -> None:
        """Starts the fleet, at a pace at which it takes so long; returns once its first events are stored."""
        self._pace = self._simulated / seconds
        self._sending = self._stack.begin(*self._simulate, "--rate", str(self._pace))
        self._stack.poll("SELECT count() FROM z_event_rows", bool, timeout_s=_FIRST_TIMEOUT_S)

    def keep_up(self) -> None:
        """Where the fleet has come to its end, another one sends at the same pace; returns once it does."""
        if self.is_sending:
            return
        before = self._records()
        seed = 1_000 * self._seed + len(self._more)
        self._more.append(self._fleet(20, seed, max(1, int(self._pace * _MORE_S))))
        self._begin_another()
        deadline_s = time.monotonic() + _FIRST_TIMEOUT_S
        while self._records() == before and self.is_sending:
            assert time.monotonic() < deadline_s, "another fleet sends nothing"
            time.sleep(_POLL_S)

    def _begin_another(self) -> None:
        self._sending = self._stack.begin(*self._more[-1], "--rate", str(self._pace))

    def send_slice(self) -> None:
        """Starts to send a part of the Measure bodies, if one is left; waits for the part before."""
        self._finish_slice()
        if self._slices:
            path = self._slices.pop(0)
            self._slice = path, self._stack.begin("send", "--format", "measure", str(path))

    def finish(self, timeout_s: float) -> None:
        """Until all is with the broker."""
        while self._slices or self._slice:
            self.send_slice()
        deadline_s = time.monotonic() + timeout_s
        while self.is_sending:
            assert time.monotonic() < deadline_s, "simulate does not come to an end"
            time.sleep(_POLL_S)
        for more in self._more:
            self._note_simulated(more)
        self._more.clear()
        self._begun_anew = 0

    def send_more(self, seed: int, events: int) -> None:
        """Another fleet, after the first has come to its end; returns once all is with the broker."""
        more = self._fleet(20, seed, events)
        self._note_simulated(more)
        self._stack.run(*more)

    def measure_body(self, number: int) -> bytes:
        """A body of the Measure SDK that no slice holds."""
        random, time_ms = Random(number), _START_MS + number * 3_600_000
        events = [
            self._measure_event(random, "installation-of-guest", time_ms + at, -1 - number * 10 - at)
            for at in range(5)
        ]
        return orjson.dumps({"events": events})

    def _fleet(self, devices: int, seed: int, events: int) -> list[str]:
        return [*SIMULATE, "--devices", str(devices), "--seed", str(seed), "--events", str(events)]

    def _records(self) -> int:
        """How many records are on `sdk-events`."""
        return sum(asyncio.run(end_offsets(self._stack.connection, [topics.SDK_EVENTS])).values())

    def _finish_slice(self) -> None:
        if self._slice is None:
            return
        path, process = self._slice
        self._slice = None
        if process.wait(60):
            # As an SDK does when nobody answers. What had arrived the first time is a duplicate now.
            self._slices.insert(0, path)

    def _note_simulated(self, simulate: Sequence[str]) -> None:
        path = self._stack.folder / "simulated.ndjson"
        self._stack.run(*simulate, "--out", str(path))
        with path.open("rb") as lines:
            for line in lines:
                envelope = orjson.loads(line)
                for event in envelope["events"]:
                    said = Said(event["time"], event["name"], event.get("seq", 0))
                    self.note(Identity(envelope["app_id"], envelope["device_id"], event["id"]), said)
        path.unlink()

    def note(self, identity: Identity, said: Said) -> None:
        """An event is sent, by whomever."""
        self.events += 1
        assert self.sent.setdefault(identity, said) == said, f"the load contradicts itself: {identity}"

    def _write_slices(self, seed: int, events: int, slices: int) -> list[Path]:
        bodies = list(self._bodies(Random(seed), events))
        size = -(-len(bodies) // slices)
        paths = []
        for start in range(0, len(bodies), size):
            path = self._stack.folder / f"measure-{start}.ndjson"
            path.write_bytes(b"\n".join(bodies[start : start + size]) + b"\n")
            paths.append(path)
        return paths

    def _bodies(self, random: Random, events: int) -> Iterator[bytes]:
        clocks = [_START_MS + random.randrange(3_600_000) for _ in range(_MEASURE_DEVICES)]
        latest: dict[int, tuple[dict[str, Any], int]] = {}
        number = 0
        while number < events:
            body = []
            device = random.randrange(_MEASURE_DEVICES)
            for _ in range(min(_BODY_EVENTS, events - number)):
                # Mostly seconds; now and then long enough for a new session.
                clocks[device] += random.choice((200, 900, 4_000, 15_000, 15_000, 3_000_000))
                body.append(self._measure_event(random, f"installation-{device}", clocks[device], number))
                number += 1
            if device in latest and random.random() < _STAMPED_ANEW_SHARE:
                body.insert(random.randrange(len(body) + 1), self._stamped_anew(*latest[device]))
            latest[device] = body[-1], clocks[device]
            yield orjson.dumps({"events": body})

    def _stamped_anew(self, event: dict[str, Any], time_ms: int) -> dict[str, Any]:
        """The same event on the other side of the midnight that is nearest: within the horizon."""
        midnight_ms = (time_ms + _DAY_MS // 2) // _DAY_MS * _DAY_MS
        anew_ms = midnight_ms + (1 if time_ms < midnight_ms else -1)
        identity = Identity(_MEASURE_APP, event["attribute"]["installation_id"], event["id"])
        self.events += 1
        self.again[identity] = self.sent[identity]._replace(raw_time_ms=anew_ms)
        return {**event, "timestamp": _rfc3339(anew_ms)}

    def _measure_event(self, random: Random, device: str, time_ms: int, number: int) -> dict[str, Any]:
        kind, block, name = random.choice(_MEASURE_KINDS)
        event_id = f"measure-{number}"
        self.note(Identity(_MEASURE_APP, device, event_id), Said(time_ms, name, 0))
        return {
            "id": event_id,
            "type": kind,
            "timestamp": _rfc3339(time_ms),
            "attribute": {"app_unique_id": _MEASURE_APP, "installation_id": device, "app_version": "1.2.3"},
            # Of a session of an hour, or a straggler of one before.
            "session_id": f"{device}-{time_ms // 3_600_000 - random.choice((0, 0, 0, 0, 0, 1, 2))}",
            **({kind: block} if block else {}),
        }


def _rfc3339(time_ms: int) -> str:
    at = datetime.fromtimestamp(time_ms / 1_000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_MEASURE_KINDS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("lifecycle_app", {"type": "foreground"}, "device.app.lifecycle"),
    ("lifecycle_app", {"type": "background"}, "device.app.lifecycle"),
    ("cold_launch", {"process_start_uptime": 1}, "app.launch"),
    ("network_change", {"network_type": "wifi"}, "network.change"),
    ("exception", {"handled": False, "foreground": False}, "app.crash"),
    ("anr", {"handled": False, "foreground": True}, "app.anr"),
    ("app_exit", {"reason": "LOW_MEMORY"}, "app.exit"),
    ("screen_view", {"name": "Home"}, "app.screen.view"),
    ("gesture_click", {"target": "Button"}, "app.widget.click"),
    ("http", {"method": "get", "url": "https://example.org", "status_code": 500}, "http.client.request"),
)
