"""What is taken and means nothing, or not what its sender seems to think: faults of SDKs that no decoder refuses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
import orjson

from pipeline.domain.event import Kind
from pipeline.formats.envelope import Envelope, NativeEvent
from pipeline.formats.limits import MAX_RECORD_BYTES
from pipeline.formats.meaning import MAX_EXIT_REASON_CHARS, exit_reason_of
from pipeline.formats.mending import read_json
from pipeline.formats.native.near_names import nearest
from pipeline.formats.native.schema import PlainEnvelope
from pipeline.formats.rejected import Rejected
from pipeline.formats.strict_json import dumps

_decode_plain = msgspec.json.Decoder(PlainEnvelope).decode
_STATES = {
    "android.app.state": ("created", "foreground", "background"),
    "ios.app.state": ("active", "inactive", "foreground", "background", "terminate"),
    "browser.page.visibility": ("visible", "hidden"),
}
_EXIT_REASONS = frozenset(
    [
        *("crash", "anr", "out_of_memory", "user_terminated", "unknown"),
        # What else Android's ApplicationExitInfo says.
        *(
            "dependency_died",
            "excessive_resource_usage",
            "exit_self",
            "freezer",
            "initialization_failure",
            "other",
        ),
        *("package_state_change", "package_updated", "permission_change", "signaled"),
    ]
)
_LAUNCHES = ("cold", "warm", "hot")
_HEAD = ("v", "app_id", "device_id", "batch_id", "sent_at", "resource", "user", "events")
_OF_EVENT = ("id", "name", "time", "seq", "session_id", "attributes")
_ROUTER_SAYS = ("raw_time", "repaired")
_CLOSE = 0.75
"""How like a known name another one must be to be taken for a slip, after `difflib`."""


class Doubt(StrEnum):
    """Why something is doubtful."""

    UNKNOWN_STATE = "unknown_state"
    """A state of the app that says nothing: a lifecycle, launch or `app.state` of an unknown word, or none."""
    NOT_A_BOOLEAN = "not_a_boolean"
    """`fatal`, `passive` or a view's `derived` is neither true nor false, and counts as false."""
    NOT_A_NUMBER = "not_a_number"
    """An HTTP status or a severity that is not a number, and counts as none."""
    UNKNOWN_EXIT_REASON = "unknown_exit_reason"
    """It stands for itself, if it is a word of at most 64 characters, and is none of those that questions know."""
    UNKNOWN_FIELD = "unknown_field"
    """A field that is ignored, and is nearly one that is not."""
    TIME_MOVED = "time_moved"
    """The device's clock is wrong: times are stored as corrected."""
    DUPLICATE_ID = "duplicate_id"
    """Two events of one envelope have one id: the first counts."""
    REPAIRED = "repaired"
    """Values that were not JSON are replaced."""
    NOTHING_TO_SHOW = "nothing_to_show"
    """An event of a known name has none of the attributes by which a timeline tells it from others of this name."""
    NEARLY_A_KNOWN_NAME = "nearly_a_known_name"
    """It counts as activity under its own name, which looks like one that would mean more."""
    ENDLESS_SESSION_ID = "endless_session_id"
    """A `session_id` that stays for longer than any session may be."""


class Doubtful(NamedTuple):
    """One thing that is taken, and should be looked at."""

    doubt: Doubt
    path: str
    """As dead letters name places."""
    detail: str
    event_id: str = ""


def doubts_of(envelope: Envelope) -> Iterator[Doubtful]:
    """What is doubtful of the events that were taken."""
    events = envelope.events
    moved = [event for event in events if event.raw_time_ms != event.time_ms]
    if moved:
        by_ms = moved[0].time_ms - moved[0].raw_time_ms
        detail = f"{len(moved)} events, the first by {by_ms} ms: the clock that stamped or sent them is wrong"
        yield Doubtful(Doubt.TIME_MOVED, "events[].time", detail, moved[0].id)
    twice = len({event.id for event in events}) < len(events)
    some = [place for place, event in enumerate(events) if twice or event.repaired or not _is_plain(event)]
    if not some:
        return
    refused = {each.event_index for each in envelope.refused}
    indexes = [index for index in range(len(events) + len(refused)) if index not in refused]
    ids: set[str] = set()
    for place in some:
        event, path = events[place], f"events[{indexes[place]}]"
        if event.id in ids:
            yield Doubtful(Doubt.DUPLICATE_ID, f"{path}.id", "the first event of this id counts", event.id)
        ids.add(event.id)
        if event.repaired:
            places = ", ".join(event.repaired)
            yield Doubtful(Doubt.REPAIRED, path, f"replaced, since they are not JSON: {places}", event.id)
        yield from _of_event(event, f"{path}.attributes")


def misnamed(envelope: Envelope) -> Iterator[Doubtful]:
    """Events of a native envelope whose name may have been meant to be a known one."""
    for place, event in enumerate(envelope.events):
        if known := nearest(event.name):
            where = f"events[{_place_in_record(envelope, place)}].name"
            said = f"{_shown(event.name)} counts as plain activity; the known name is {known}"
            yield Doubtful(Doubt.NEARLY_A_KNOWN_NAME, where, said, event.id)


def _place_in_record(envelope: Envelope, place: int) -> int:
    """Of an event that was taken, with the refused ones counted."""
    for refused in envelope.refused:
        place += refused.event_index is not None and refused.event_index <= place
    return place


def _is_plain(event: NativeEvent) -> bool:
    """Whether a glance shows that nothing is doubtful of what it says; most events are so, and need not be parsed."""
    said = event.attributes
    if b'"passive"' in said or b'"app.state"' in said:
        return False
    glance = _GLANCES.get(event.name)
    return glance is None or glance(event, said)


def slips_of(document: bytes) -> Iterator[Doubtful]:
    """Fields of a native envelope that are ignored and look like slips. Nothing of what is not JSON."""
    try:
        # The quick way: it takes no field that is not known.
        _decode_plain(document)
        return
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        read = read_json(document, MAX_RECORD_BYTES)
    if isinstance(read, Rejected):
        return
    yield from _slips(read.tree, _HEAD, "")
    events = read.tree.get("events")
    for index, fields in enumerate(events if isinstance(events, list) else ()):
        if isinstance(fields, dict):
            yield from _slips(fields, _OF_EVENT, f"events[{index}].", str(fields.get("id", "")))


def _slips(
    fields: Mapping[str, Any], known: Sequence[str], path: str, event_id: str = ""
) -> Iterator[Doubtful]:
    for name in fields:
        if name in known or name in _ROUTER_SAYS:
            continue
        alike = {each.replace("_", ""): each for each in known}
        near = get_close_matches(name.replace("_", "").lower()[:64], alike, n=1, cutoff=_CLOSE)
        if near and alike[near[0]] not in fields:
            detail = f"it is ignored; {alike[near[0]]} is what is read"
            yield Doubtful(Doubt.UNKNOWN_FIELD, f"{path}{name[:64]}", detail, event_id)


def _of_event(event: NativeEvent, path: str) -> Iterator[Doubtful]:
    rule, is_shown_by = _RULES.get(event.name), event.name in _SHOWN_BY
    bare = event.attributes == b"{}"
    if (
        rule is None
        and not is_shown_by
        and (bare or not (b'"passive"' in event.attributes or b'"app.state"' in event.attributes))
    ):
        return
    said: Mapping[str, Any] = {} if bare else orjson.loads(event.attributes)
    found = [] if rule is None else list(rule(said))
    found += _nothing_to_show(event.name, said)
    found += _boolean(said, "passive")
    found += _word(said, "app.state", ("foreground", "background"))
    for doubt, name, detail in found:
        yield Doubtful(doubt, f"{path}.{name}" if name else path, detail, event.id)


Found = tuple[Doubt, str, str]


def _nothing_to_show(name: str, said: Mapping[str, Any]) -> Iterator[Found]:
    names = _SHOWN_BY.get(name, ())
    if names and all(said.get(each) in (None, "") for each in names):
        yield Doubt.NOTHING_TO_SHOW, "", f"none of the attributes that {name} is shown by: {', '.join(names)}"


def _word(said: Mapping[str, Any], name: str, words: Sequence[str]) -> Iterator[Found]:
    value = said.get(name)
    if value is not None and value not in words:
        yield Doubt.UNKNOWN_STATE, name, f"{_shown(value)} means nothing: {', '.join(words)}"


def _boolean(said: Mapping[str, Any], name: str) -> Iterator[Found]:
    value = said.get(name)
    if value is not None and value not in ("true", "false") and not isinstance(value, bool):
        yield Doubt.NOT_A_BOOLEAN, name, f"{_shown(value)} counts as false: true or false"


def _numeral(said: Mapping[str, Any], name: str) -> Iterator[Found]:
    value = said.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_text = isinstance(value, str) and len(value) <= 4 and value.isascii() and value.isdigit()
    if value is not None and not is_number and not is_text:
        yield Doubt.NOT_A_NUMBER, name, f"{_shown(value)} counts as none: a number"


def _lifecycle(said: Mapping[str, Any]) -> Iterator[Found]:
    given = [name for name in _STATES if said.get(name) is not None]
    if not given:
        yield Doubt.UNKNOWN_STATE, "", f"no state is given: one of {', '.join(_STATES)}"
    for name in given:
        yield from _word(said, name, _STATES[name])


def _launch(said: Mapping[str, Any]) -> Iterator[Found]:
    if said.get("app.launch.type") is None:
        yield (
            Doubt.UNKNOWN_STATE,
            "app.launch.type",
            f"not given, so it is not a launch: {', '.join(_LAUNCHES)}",
        )
    yield from _word(said, "app.launch.type", _LAUNCHES)


def _exit(said: Mapping[str, Any]) -> Iterator[Found]:
    value = said.get("app.exit.reason")
    reason = exit_reason_of(value)
    if reason not in _EXIT_REASONS:
        yield Doubt.UNKNOWN_EXIT_REASON, "app.exit.reason", f"{_shown(value)} stands for itself"
    elif reason == "unknown" and value != "unknown":
        words = f"a word of at most {MAX_EXIT_REASON_CHARS} characters"
        yield Doubt.UNKNOWN_EXIT_REASON, "app.exit.reason", f"{_shown(value)} is stored as unknown: {words}"


def _log(said: Mapping[str, Any]) -> Iterator[Found]:
    yield from _numeral(said, "severity_number")
    text = said.get("severity_text")
    if text is not None and not isinstance(text, str):
        yield Doubt.UNKNOWN_STATE, "severity_text", f"{_shown(text)} means nothing: a text, as ERROR"


_RULES: dict[str, Callable[[Mapping[str, Any]], Iterator[Found]]] = {
    "device.app.lifecycle": _lifecycle,
    "app.launch": _launch,
    "app.exit": _exit,
    "exception": lambda said: _boolean(said, "fatal"),
    "app.anr": lambda said: _boolean(said, "fatal"),
    "app.screen.view": lambda said: _boolean(said, "app.screen.view.derived"),
    "http.client.request": lambda said: _numeral(said, "http.response.status_code"),
    "log": _log,
}


_SHOWN_BY = {
    "app.crash": ("exception.type", "exception.message"),
    "exception": ("exception.type", "exception.message"),
    "app.screen.view": ("app.screen.name",),
    # Not `app.screen.click`, of which OpenTelemetry asks for no more than where it was.
    "app.widget.click": ("app.widget.name", "app.widget.id", "app.screen.name"),
    "http.client.request": (
        *("url.full", "http.request.method"),
        *("http.response.status_code", "error.type"),
    ),
    "log": ("body", "severity_text"),
}
"""What of an event makes the line that people read (`what` in `narrated_events`)."""


def _has_text(name: str) -> Callable[[bytes], object]:
    """Whether attributes begin to give a text that is not empty to one of those that are shown."""
    names = "|".join(map(re.escape, _SHOWN_BY[name]))
    return re.compile(rf'"(?:{names})": ?"[^"]'.encode()).search


_STATUS = re.compile(rb'"http\.response\.status_code":[0-9]').search
_SEVERITY = re.compile(rb'"severity_number":[0-9]').search
_TEXTS = {name: _has_text(name) for name in _SHOWN_BY}
_GLANCES: dict[str, Callable[[NativeEvent, bytes], bool]] = {
    # What was understood was a known word.
    "device.app.lifecycle": lambda event, said: event.kind is not Kind.ACTIVITY,
    "app.launch": lambda event, said: event.kind is Kind.LAUNCH,
    "app.exit": lambda event, said: event.exit_reason in _EXIT_REASONS and event.exit_reason != "unknown",
    "app.crash": lambda event, said: bool(_TEXTS["app.crash"](said)),
    "exception": lambda event, said: b'"fatal"' not in said and bool(_TEXTS["exception"](said)),
    "app.anr": lambda event, said: b'"fatal"' not in said,
    "app.screen.view": lambda event, said: (
        b'"app.screen.view.derived"' not in said and bool(_TEXTS["app.screen.view"](said))
    ),
    "app.widget.click": lambda event, said: bool(_TEXTS["app.widget.click"](said)),
    "http.client.request": lambda event, said: bool(_STATUS(said)),
    "log": lambda event, said: (
        bool(_SEVERITY(said))
        and (b'"severity_text"' not in said or b'"severity_text":"' in said)
        and bool(_TEXTS["log"](said))
    ),
}


def _shown(value: object) -> str:
    """Enough of a value to know it again."""
    text = dumps(value).decode()
    return text if len(text) <= 40 else f"{text[:40]}…"
