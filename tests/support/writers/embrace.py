"""Envelopes as Embrace's SDKs for Android and Apple make them: a life as parts, each a span, and what happens in it.

`parts_of` is what such an SDK sees of a life. It is told twice: `write` as envelopes, `natively` in native words.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import orjson

from tests.support.lives import NS_PER_MS, Deed, Json, Life
from tests.support.writers.written import Record

LIMITS = {
    "a browser": "its SDK for pages sends OTLP",
    "iOS `active`, `inactive` and `terminate`; warm starts": "it tells of parts",
    "the moment of launch and of being seen": "are one: a cold part begins with both",
    "the SDK's session ids of others": "its own are of parts; a part begins and ends with the screen",
    "the end of a part": "is told a millisecond early, since the next part begins in the same one",
    "what happens behind the screen": "is told only where the app has that captured",
    "a death": "an ANR is a span, and a fatal exception is no more than an exception: the process lived, or crashed",
    "several users of a part": "an envelope names one",
    "several parts within two milliseconds": "the order of their ends and starts is lost",
    "derived views, heartbeats, diagnostics, an SDK's own end of a session": "there are none",
    "properties of users": "there are none",
}
_REASONS = {
    "crash": 4, "anr": 6, "low_memory": 3, "out_of_memory": 3, "user_requested": 10, "user_terminated": 10,
    "signaled": 2, "freezer": 14, "excessive_resource_usage": 9, "permission_change": 8,
}  # fmt: skip
_OTHER = 13
_UNTOLD = {"app.heartbeat", "session.end.reported", "metrickit.diagnostic"}
_SYSTEM = {
    "network.change": "sys.network_status",
    "device.thermal_status.change": "perf.thermal_state",
    "device.power_save_mode.change": "sys.low_power",
}
_LOGGED = ("log", "exception", "app.crash", "app.exit")


@dataclass(slots=True)
class Part:
    """A session part."""

    id: str
    is_seen: bool
    start_ns: int
    is_cold: bool
    resource: Json
    end_ns: int = 0
    is_manual: bool = False
    """It began since the app's code ended the one before."""
    end: str = ""
    """Why: `state`, `manual`, `crash`, `terminated`; empty while it goes on."""
    user: Json = field(default_factory=dict)
    told: list[Deed] = field(default_factory=list)
    """What happened in it, and what was found of processes before; `session` is the id of the part that it is of."""

    @property
    def last_ns(self) -> int:
        return max((deed.ns for deed in self.told if deed.session == self.id), default=self.start_ns)


class _Sdk:
    """Watches a life."""

    def __init__(self, life: Life) -> None:
        self.parts: list[Part] = []
        self.captures_background = blake2b(life.key, digest_size=1).digest()[0] % 2 == 0
        self._life = life
        self._open: Part | None = None
        self._names: list[str] = []
        self._grace_ns = life.policy.launch_grace_ms * NS_PER_MS

    def watch(self) -> None:
        deeds = self._life.deeds
        for place, deed in enumerate(deeds):
            said = deed.attributes
            state = str(said.get("android.app.state", said.get("ios.app.state", "")))
            if deed.name == "device.app.lifecycle" and state != "created":
                self._shown_or_hidden(deed, state)
            elif state == "created" or said.get("app.launch.type") == "cold":
                self._launched(
                    deed, state == "created" or said.get("app.state") == "background", deeds[place + 1 :]
                )
            elif deed.name == "session.end":
                self._ended_in_code(deed)
            elif deed.name not in _UNTOLD and deed.name != "app.launch":
                self._happened(deed)
            if (
                deed.session
                and deed.session not in self._names
                and deed.name not in ("app.crash", "app.exit")
            ):
                self._names.append(deed.session)

    def _begin(self, deed: Deed, *, is_seen: bool, is_cold: bool = False, is_manual: bool = False) -> None:
        number = f"{self._life.device_id} part {len(self.parts)}"
        # Who comes to the front after a process died is another process, which starts cold.
        has_died = bool(self.parts) and self.parts[-1].end in ("terminated", "crash")
        is_cold = is_cold or (is_seen and has_died)
        part = Part(
            blake2b(number.encode(), digest_size=16).hexdigest(), is_seen, deed.ns, is_cold, deed.resource,
            user=_user(deed), is_manual=is_manual,
        )  # fmt: skip
        self._open = part
        self.parts.append(part)

    def _end(self, why: str, ns: int) -> None:
        if self._open is not None:
            self._open.end, self._open.end_ns = why, ns
            self._open = None

    def _is_start(self, deed: Deed) -> bool:
        """Whether what is open began just now, so that this is one more word of the same start."""
        return (
            self._open is not None and self._open.is_seen and not self._open.is_manual
            and deed.ns - self._open.start_ns <= self._grace_ns
            and not self._open.told
        )  # fmt: skip

    def _launched(self, deed: Deed, is_unseen: bool, later: Sequence[Deed]) -> None:
        if self._is_start(deed):
            assert self._open is not None
            self._open.is_cold = True
            return
        if self._open is not None:
            self._end("terminated", self._open.last_ns)
        for next_ in later:
            if not is_unseen or next_.ns - deed.ns > self._grace_ns:
                break
            said = next_.attributes
            is_unseen = "foreground" not in (said.get("android.app.state"), said.get("ios.app.state"))
        if not is_unseen or self.captures_background:
            self._begin(deed, is_seen=not is_unseen, is_cold=True)

    def _shown_or_hidden(self, deed: Deed, state: str) -> None:
        if state == "foreground" and not self._is_start(deed):
            was_seen = self._open is not None and self._open.is_seen
            if self._open is not None:
                # It was in front already: a process that died and came back, and so a cold start.
                self._end(*(("terminated", self._open.last_ns) if was_seen else ("state", deed.ns)))
            self._begin(deed, is_seen=True, is_cold=was_seen)
        elif state == "background" and self._open is not None and self._open.is_seen:
            self._end("state", deed.ns)
            if self.captures_background:
                self._begin(deed, is_seen=False)

    def _ended_in_code(self, deed: Deed) -> None:
        if self._open is not None and self._open.is_seen:
            self._end("manual", deed.ns)
            self._begin(deed, is_seen=True, is_manual=True)

    def _happened(self, deed: Deed) -> None:
        is_of_before = deed.name in ("app.crash", "app.exit") and deed.session in self._names[:-1]
        at_hand = self._open or (self.parts[-1] if self.parts else None)
        if at_hand is None or (deed.name == "app.exit" and self._life.platform != "Android"):
            return
        whose = at_hand
        if is_of_before:
            earlier = [part for part in self.parts if part is not self._open]
            if not earlier:
                return
            whose = earlier[-1]
        elif self._open is None and deed.name != "app.exit":
            return
        if deed.name == "app.anr":
            deed = replace(deed, name="span", attributes={})
        if not is_of_before and deed.user_id:
            at_hand.user = _user(deed)
        state = {"app.state": "foreground" if whose.is_seen else "background"}
        deed = deed.without("app.state", "fatal", "app.screen.view.derived", "passive")
        if deed.name in _LOGGED and deed.name != "app.exit":
            deed = replace(deed, attributes={**deed.attributes, **state})
        at_hand.told.append(replace(deed, session=whose.id))
        if is_of_before or self._open is None:
            return
        if deed.name == "app.crash":
            self._end("crash", deed.ns)
        elif deed.name == "app.exit":
            self._end("terminated", self._open.last_ns)


def parts_of(life: Life) -> list[Part]:
    """The parts of a life, in order; none of a browser's, nor where parts follow one another too fast."""
    if life.platform == "Web":
        return []
    sdk = _Sdk(life)
    sdk.watch()
    return [] if any(_follow_too_fast(*two) for two in itertools.pairwise(sdk.parts)) else sdk.parts


def _follow_too_fast(one: Part, other: Part) -> bool:
    until_ns = one.end_ns if one.end == "terminated" else one.start_ns
    return other.start_ns // NS_PER_MS - until_ns // NS_PER_MS < 2


def natively(life: Life, parts: Sequence[Part]) -> list[Deed]:
    """The same in native words."""
    return sorted((deed for part in parts for deed in _natively(life, part)), key=lambda deed: deed.ns)


def _natively(life: Life, part: Part) -> Iterator[Deed]:
    attribute = "ios.app.state" if life.platform == "iOS" else "android.app.state"

    def deed(suffix: str, name: str, ns: int, attributes: Json) -> Deed:
        return Deed(part.id + suffix, name, ns, part.id, attributes, part.resource, part.user)

    behind = {} if part.is_seen else {"app.state": "background"}
    if part.is_manual:
        yield deed("-again", "device.app.lifecycle", part.start_ns, {"ios.app.state": "active"})
    elif part.is_seen:
        yield deed("-shown", "device.app.lifecycle", part.start_ns, {attribute: "foreground"})
    elif not part.is_cold:
        yield deed("-part", "app.session.part", part.start_ns, behind)
    if part.is_cold:
        yield deed("-launch", "app.launch", part.start_ns, {"app.launch.type": "cold", **behind})
    for told in part.told:
        yield replace(told, resource=part.resource, user=part.user)
    early_ns = max(part.start_ns, part.end_ns - NS_PER_MS)
    if part.end == "manual":
        yield deed("-end", "session.end", early_ns, {})
    elif part.end == "crash":
        # The span of the part says so as well.
        yield deed("-crashed", "app.exit", part.end_ns, {"app.exit.reason": "crash"})
    elif part.end == "state" and part.is_seen:
        yield deed("-hidden", "device.app.lifecycle", early_ns, {attribute: "background"})


def write(life: Life, part: Part) -> list[Record]:
    """The envelopes of a part in the order in which they are sent: a snapshot, its logs, and at last its spans."""
    headers = (("X-EM-AID", b"abc12"), ("X-EM-DID", life.device_id.encode()))
    spans = [_span(deed) for deed in part.told if deed.name not in (*_LOGGED, *_IN_SPAN)]
    whole = _span_of_part(part)
    snapshot = {
        **whole,
        "end_time_unix_nano": None,
        "events": whole["events"][: len(whole["events"]) // 2],
        "attributes": [each for each in whole["attributes"] if each["key"] not in _KNOWN_AT_END],
    }
    bodies: list[tuple[str, Json]] = [("spans", {"spans": [], "span_snapshots": [snapshot]})]
    bodies += [("logs", {"logs": [_log(life, deed, part)]}) for deed in part.told if deed.name in _LOGGED]
    if part.end:
        bodies.append(("spans", {"spans": [*spans, whole], "span_snapshots": []}))
    else:
        bodies.append(("spans", {"spans": spans, "span_snapshots": [snapshot | {"events": whole["events"]}]}))
    metadata = {"user_id": part.user.get("id"), "personas": part.user.get("personas", []), "locale": "de_CH"}
    shared = {"resource": _resource(life, part), "metadata": metadata, "version": "1.0"}
    return [
        Record("embrace-events", orjson.dumps({**shared, "type": kind, "data": data}), headers)
        for kind, data in bodies
    ]


_IN_SPAN = ("app.widget.click", "device.memory.low")
"""Told as events of the part's own span."""
_KNOWN_AT_END = ("emb.session_end_type", "emb.terminated", "emb.crash_id", "emb.clean_exit")


def _user(deed: Deed) -> Json:
    return {key: value for key, value in deed.user.items() if key != "properties"}


def _resource(life: Life, part: Part) -> Json:
    facts = part.resource
    shared = {
        "app_version": facts.get("service.version", ""),
        "environment": facts.get("deployment.environment.name", "prod"),
        "os_version": facts.get("os.version", ""),
        "sdk_version": "8.1.0",
    }
    if life.platform == "iOS":
        apple = {"app_bundle_id": life.app_id, "build": facts.get("app.build_id", ""), "os_name": "ios"}
        return {**shared, **apple, "os_alternate_type": "iOS", "process_identifier": part.id[:8]}
    android = {"app_ecosystem_id": life.app_id, "bundle_version": facts.get("app.build_id", "")}
    return {**shared, **android, "os_name": "android", "disk_total_capacity": int(part.id[:6], 16)}


def _pairs(attributes: Json) -> list[Json]:
    """Every value is a text."""
    return [
        {"key": key, "value": str(value).lower() if isinstance(value, bool) else str(value)}
        for key, value in attributes.items()
    ]


def _ids(deed_id: str) -> Json:
    made = blake2b(deed_id.encode(), digest_size=24).hexdigest()
    return {"trace_id": made[:32], "span_id": made[32:], "parent_span_id": "0" * 16}


def _span_of_part(part: Part) -> Json:
    began = "manual" if part.is_manual else "state"
    attributes: Json = {
        "emb.type": "ux.session",
        "emb.session_start_type": began if part.is_seen else f"bkgnd_{began}",
        "emb.state": "foreground" if part.is_seen else "background",
        "emb.cold_start": part.is_cold,
        "emb.session_part_id": part.id,
        "emb.user_session_id": part.id[::-1],
        # Of a user session that had other parts, where it was the screen that began it.
        "emb.user_session_part_index": "1" if part.is_cold or part.is_manual else "2",
        "emb.heartbeat_time_unix_nano": part.end_ns,
        "emb.error_log_count": 0,
    }
    if part.end:
        kind = "manual" if part.end == "manual" else "state"
        attributes["emb.session_end_type"] = kind if part.is_seen else f"bkgnd_{kind}"
        attributes["emb.terminated"] = part.end == "terminated"
    if part.end == "crash":
        attributes["emb.crash_id"] = next(deed.id for deed in part.told if deed.name == "app.crash")
    events = [_event(deed) for deed in part.told if deed.name in _IN_SPAN]
    return {
        **_ids(part.id),
        "name": "emb-session",
        "start_time_unix_nano": part.start_ns,
        "end_time_unix_nano": part.end_ns or None,
        "status": "Error" if part.end == "crash" else "Unset",
        "events": events,
        "attributes": _pairs(attributes),
    }


def _event(deed: Deed) -> Json:
    said: Json = {"emb.type": "sys.low_memory"}
    name = "emb-device-low-memory"
    if deed.name == "app.widget.click":
        said = {"emb.type": "ux.tap", "view.name": deed.attributes["app.widget.id"], "tap.coords": "12,34"}
        name = "emb-ui-tap"
    return {"name": name, "time_unix_nano": deed.ns, "attributes": _pairs(said)}


def _span(deed: Deed) -> Json:
    said, took_ms, status = deed.attributes, 1, "Unset"
    attributes: Json = {"emb.session_part_id": deed.session}
    name = deed.name
    if name == "http.client.request":
        took_ms = said["duration"]
        attributes |= {"emb.type": "perf.network_request"}
        attributes |= {key: value for key, value in said.items() if key != "duration"}
        name = f"emb-{said['http.request.method']} /"
        if "error.type" in said or said.get("http.response.status_code", 0) >= 400:
            status = "Error"
    elif name == "app.screen.view":
        attributes |= {"emb.type": "ux.view", "view.name": said["app.screen.name"]}
        name = "emb-screen-view"
    elif name in _SYSTEM:
        attributes |= {"emb.type": _SYSTEM[name], "status": "on"}
    else:
        attributes |= {"emb.type": "perf.thread_blockage"}
    return {
        **_ids(deed.id),
        "name": name,
        "start_time_unix_nano": deed.ns,
        "end_time_unix_nano": deed.ns + took_ms * NS_PER_MS,
        "status": status,
        "events": [],
        "attributes": _pairs(attributes),
    }


def _log(life: Life, deed: Deed, part: Part) -> Json:
    said = deed.attributes
    attributes: Json = {"log.record.uid": deed.id, "emb.private.send_mode": "DEFER"}
    ns, severity, body = deed.ns, 17, ""
    if deed.name == "app.exit":
        # Found by a later process, and stamped then.
        ns = max(part.start_ns, deed.ns) + 77 * NS_PER_MS
        severity = 9
        attributes |= {
            "emb.type": "sys.exit", "emb.session_part_id": "", "aei_session_part_id": deed.session,
            "timestamp": deed.ns // NS_PER_MS, "process_importance": 300,
            "reason": _REASONS.get(said["app.exit.reason"], _OTHER),
        }  # fmt: skip
    else:
        attributes |= {"emb.session_part_id": deed.session, "emb.state": said["app.state"]}
        if deed.name == "log":
            attributes["emb.type"], severity, body = "sys.log", said["severity_number"], said["body"]
        else:
            platform = life.platform.lower()
            attributes["emb.type"] = "sys.exception" if deed.name == "exception" else f"sys.{platform}.crash"
            attributes["exception.type"] = said["exception.type"]
    return {
        "time_unix_nano": ns,
        "severity_number": severity,
        "severity_text": "ERROR" if severity >= 17 else "INFO",
        "body": body,
        "attributes": _pairs(attributes),
    }
