"""What devices did, in the native vocabulary and in no format: the common source of what several formats say of it.

Lives come from the simulator (real habits and faults) and from the random histories (around the bounds of small
policies). Every moment is unique on its device, so that the order of events hangs on no id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import orjson

from pipeline.domain.event import COUNTERS, AppState, Event, Kind
from pipeline.domain.policy import Policy
from pipeline.simulate.fleet import fleet
from tests.support.histories import history

NS_PER_MS = 1_000_000
_BETWEEN_NS = 1_000
"""How far apart what happens in one millisecond is put."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that a device tells of."""

    id: str
    name: str
    """Native name."""
    ns: int
    """When it happened, Unix nanoseconds; of a request, when it began."""
    session: str
    """The SDK's own session id; empty for none."""
    attributes: Json
    """Native attributes."""
    resource: Json
    user: Json
    """As a native envelope has it: `id`, `personas`, `properties`."""

    @property
    def user_id(self) -> str:
        found: str = self.user.get("id", "")
        return found

    @property
    def version(self) -> str:
        found: str = self.resource.get("service.version", "")
        return found

    def without(self, *names: str) -> Deed:
        """The same without some of its attributes."""
        return replace(self, attributes={k: v for k, v in self.attributes.items() if k not in names})


@dataclass(frozen=True, slots=True)
class Life:
    """The deeds of one device, in order of time, and the policy under which they are looked at."""

    app_id: str
    device_id: str
    platform: str
    """`Android`, `iOS` or `Web`."""
    deeds: tuple[Deed, ...]
    policy: Policy

    @property
    def key(self) -> bytes:
        return f"{self.app_id}/{self.device_id}".encode()


def simulated(devices: int, seed: int, events: int, policy: Policy) -> list[Life]:
    """Lives of simulated devices. Those with a wrong clock are left out: native envelopes and a few others say when
    they were sent by it, and OTLP, Embrace and Measure do not, so there nobody can correct it (README of formats)."""
    deeds: dict[bytes, dict[str, Deed]] = {}
    askew: set[bytes] = set()
    for sent in fleet(devices, seed, events):
        envelope = orjson.loads(sent.value)
        if "sent_at" in envelope:
            askew.add(sent.key)
        known = deeds.setdefault(sent.key, {})
        for event in envelope["events"]:
            attributes = event.get("attributes", {})
            # The simulator records a request when it is over.
            began_ms = event["time"] - int(attributes.get("duration", 0))
            known.setdefault(
                event["id"],
                Deed(
                    event["id"],
                    event["name"],
                    began_ms * NS_PER_MS + event.get("seq", 0) % 1_000,
                    event.get("session_id", ""),
                    attributes,
                    envelope["resource"],
                    envelope.get("user", {}),
                ),
            )
    return [
        _life(key, list(told.values()), policy)
        for key, told in deeds.items()
        if key not in askew
    ]  # fmt: skip


def _life(key: bytes, deeds: Sequence[Deed], policy: Policy) -> Life:
    app_id, _, device_id = key.decode().partition("/")
    first = deeds[0].resource
    platform = "Web" if "user_agent.name" in first else first["os.name"]
    return Life(app_id, device_id, platform, tuple(apart(deeds)), policy)


def apart(deeds: Iterable[Deed]) -> Iterator[Deed]:
    """In order of time, no two at the same moment, each in the millisecond that it was in."""
    last_ms, place = -1, 0
    for deed in sorted(deeds, key=lambda each: each.ns):
        ms = deed.ns // NS_PER_MS
        place = place + 1 if ms == last_ms else 0
        last_ms = ms
        assert place * _BETWEEN_NS < NS_PER_MS
        yield replace(deed, ns=ms * NS_PER_MS + place * _BETWEEN_NS)


def around_bounds(seed: int, max_events: int = 40) -> Life:
    """A life in which distances lie around the bounds of a small policy, of any kinds in any order."""
    past = history(Random(seed), max_events)
    first_seen: dict[str, Event] = {}
    for event in past.arrivals:
        first_seen.setdefault(event.id, event)
    deeds = [_deed(event) for event in first_seen.values()]
    return Life("org.example.bounds", f"device-{seed}", "iOS", tuple(apart(deeds)), past.policy)


_STATES = {Kind.FOREGROUND: "foreground", Kind.ACTIVE: "active", Kind.BACKGROUND: "background"}
_STEERING: dict[Kind, tuple[str, Json]] = {
    Kind.LAUNCH: ("app.launch", {"app.launch.type": "cold"}),
    Kind.SESSION_END: ("session.end", {}),
    Kind.CRASH: ("app.crash", {"exception.type": "EXC_BAD_ACCESS"}),
    Kind.EXCEPTION: ("exception", {"exception.type": "StateError", "fatal": True}),
    Kind.ANR: ("app.anr", {"exception.type": "Hang", "fatal": True}),
    Kind.PASSIVE: ("app.heartbeat", {}),
}
_COUNTED: dict[str, tuple[str, Json]] = {
    "anr_count": ("app.anr", {"exception.type": "Hang"}),
    "exception_count": ("exception", {"exception.type": "StateError"}),
    "network_error_count": ("http.client.request", {"http.response.status_code": 503}),
    "network_count": ("http.client.request", {"http.response.status_code": 200}),
    "tap_count": ("app.widget.click", {"app.widget.id": "pay"}),
    "view_count": ("app.screen.view", {"app.screen.name": "Pay"}),
    "appearance_count": ("app.screen.view", {"app.screen.name": "Row", "app.screen.view.derived": True}),
    "log_error_count": ("log", {"severity_number": 17, "body": "failed"}),
}

_REQUEST: Json = {"http.request.method": "GET", "url.full": "https://api.example/a", "duration": 40}


def _deed(event: Event) -> Deed:
    kind = event.kind
    if kind in _STATES:
        name, attributes = "device.app.lifecycle", {"ios.app.state": _STATES[kind]}
    elif kind is Kind.EXIT:
        name, attributes = "app.exit", {"app.exit.reason": event.exit_reason}
    elif kind in _STEERING:
        name, attributes = _STEERING[kind]
    else:
        counted = (each for each in _COUNTED if event.counters >> COUNTERS.index(each) & 1)
        name, attributes = _COUNTED.get(next(counted, ""), ("log", {"severity_number": 9, "body": "done"}))
    if event.stated is not AppState.UNKNOWN:
        attributes = {**attributes, "app.state": event.stated.label}
    if name == "http.client.request":
        attributes = {**_REQUEST, **attributes}
    user = orjson.loads(event.user) if event.user else {}
    return Deed(
        event.id, name, event.time_ms * NS_PER_MS + event.seq, event.client_session_id, dict(attributes),
        orjson.loads(event.resource), user,
    )  # fmt: skip
