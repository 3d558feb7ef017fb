"""Log records: the app's own, exceptions, crashes, and why the system ended a process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from pipeline.formats.embrace.apple import AppleEnding, ending_of
from pipeline.formats.embrace.facts import (
    NS,
    Attributes,
    EmbraceFact,
    EmbraceLog,
    bounded_id,
    hashed_id,
    own,
    session_part_of,
    state_of,
    text,
    whole_number,
)
from pipeline.formats.limits import MAX_ID_CHARS

_EXIT_REASONS = (
    "unknown", "exit_self", "signaled", "out_of_memory", "crash", "crash", "anr", "initialization_failure",
    "permission_change", "excessive_resource_usage", "user_terminated", "user_terminated", "dependency_died", "other",
    "freezer", "package_state_change", "package_updated",
)  # fmt: skip
"""By the number that Android's ApplicationExitInfo has for it."""
_IN_FRONT, _CACHED = 100, 400
"""Android's importance of a process: IMPORTANCE_FOREGROUND, and from where it is one of the background for sure."""
_BESIDE_USE = ("sys.internal", "sys.network_capture", "sys.webview_info", "sys.network_status")
_CRASHES = ("sys.android.crash", "sys.android.native_crash", "sys.android.react_native_crash")
_METRICKIT = "sys.ios.metrickit"
_LONGEST_DERIVED = 8_000
_NAMES = {"n": "exception.type", "m": "exception.message", "st": "exception.stacktrace"}


def is_log_of_embrace(attributes: Attributes) -> bool:
    """Whether `emb.type` says of a log record more than that it is one."""
    type_ = text(attributes, "emb.type")
    return type_ in _OWN or type_.startswith(_METRICKIT)


def fact_of_log(log: EmbraceLog) -> EmbraceFact:
    """What a log record comes to."""
    told = log.attributes
    type_ = text(told, "emb.type")
    make = _BY_TYPE.get(type_)
    if make is not None:
        return make(log, _attributes(log))
    attributes = _attributes(log)
    if type_ in _CRASHES:
        return _crash(log, attributes)
    if type_ in _BESIDE_USE:
        return _fact(log, type_, {**attributes, "passive": True})
    if type_.startswith(_METRICKIT):
        return _fact(log, "metrickit.metrics", attributes)
    return _fact(log, "log", attributes)


def _attributes(log: EmbraceLog) -> dict[str, Any]:
    attributes = own(log.attributes, app_state=state_of(log.attributes))
    if log.severity_number:
        attributes["severity_number"] = log.severity_number
    if log.severity_text:
        attributes["severity_text"] = log.severity_text
    if log.body not in (None, ""):
        attributes["body"] = log.body
    return attributes


def _fact(log: EmbraceLog, name: str, attributes: dict[str, Any]) -> EmbraceFact:
    told = log.attributes
    uid = text(told, "log.record.uid")
    session = session_part_of(told)
    named = bounded_id(uid) if uid else hashed_id(log.time_ns, name, session, dict(told), log.body)
    return EmbraceFact(named, log.time_ns, name, attributes, session)


def _exception(log: EmbraceLog, attributes: dict[str, Any]) -> EmbraceFact:
    return _fact(log, "exception", attributes)


def _crash(log: EmbraceLog, attributes: dict[str, Any]) -> EmbraceFact:
    script = text(log.attributes, "emb.android.react_native_crash.js_exception")
    if script and not text(log.attributes, "exception.type"):
        attributes.update(_of_script(script))
    return _fact(log, "app.crash", attributes)


def _script_crash_of_apple(log: EmbraceLog, attributes: dict[str, Any]) -> EmbraceFact:
    """What ended the app's use. The crash that it ends in has a report, and a log, of its own."""
    return _fact(log, "exception", {**attributes, "fatal": True})


def _of_script(exception: str) -> dict[str, str]:
    """Type, message and stack of an exception in JavaScript, as its JSON has them."""
    try:
        facts = orjson.loads(exception)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(facts, dict):
        return {}
    found = {name: facts.get(key) for key, name in _NAMES.items()}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, str) and 0 < len(value) <= _LONGEST_DERIVED
    }


def _report_of_apple(log: EmbraceLog, attributes: dict[str, Any]) -> EmbraceFact:
    """A crash, or the end of a process that was none: the crash reporter's report says which."""
    told = log.attributes
    if text(told, "emb.provider").lower() == "metrickit":
        # Dated when the system hands it over, the day after; and the same crash has a report of the crash reporter.
        return _fact(log, "metrickit.crash", {**attributes, "time.uncertain": True})
    ending = ending_of(text(told, "emb.payload"))
    if ending.exit_reason or text(told, "emb.type") == "sys.ios.termination":
        return _fact(log, "app.exit", {**attributes, "app.exit.reason": ending.exit_reason or "unknown"})
    return _fact(log, "app.crash", _with_names(attributes, ending))


def _with_names(attributes: dict[str, Any], ending: AppleEnding) -> dict[str, Any]:
    for name, value in (
        ("exception.type", ending.exception_type),
        ("exception.message", ending.message),
    ):
        if 0 < len(value) <= _LONGEST_DERIVED:
            attributes.setdefault(name, value)
    return attributes


def _hang(log: EmbraceLog, attributes: dict[str, Any]) -> EmbraceFact:
    return _fact(log, "metrickit.hang", {**attributes, "time.uncertain": True})


def _exit(log: EmbraceLog, attributes: dict[str, Any]) -> EmbraceFact:
    """Why Android ended a process. The next one sends it: what it says of itself is not said of the one that ended."""
    told = log.attributes
    ended_ms = whole_number(told.get("timestamp"))
    session = text(told, "aei_session_part_id", "aei_session_id")
    session = session if len(session) <= MAX_ID_CHARS else ""
    attributes.pop("app.state", None)
    attributes["app.exit.reason"] = _exit_reason(told)
    importance = whole_number(told.get("process_importance"))
    if importance == _IN_FRONT:
        attributes["app.state"] = "foreground"
    elif importance is not None and importance >= _CACHED:
        attributes["app.state"] = "background"
    if ended_ms is None:
        return _fact(log, "app.exit", attributes)._replace(session=session)
    # The uid is made anew when the record is read from the system once more; when and what ended is the same then.
    return EmbraceFact(
        bounded_id(f"aei:{ended_ms}:{session}"), ended_ms * NS, "app.exit", attributes, session
    )


def _exit_reason(told: Attributes) -> str:
    reason = whole_number(told.get("reason"))
    return _EXIT_REASONS[reason] if reason is not None and 0 <= reason < len(_EXIT_REASONS) else "unknown"


_BY_TYPE: dict[str, Callable[[EmbraceLog, dict[str, Any]], EmbraceFact]] = {
    "sys.exception": _exception,
    "sys.flutter_exception": _exception,
    "sys.ios.crash": _report_of_apple,
    "sys.ios.termination": _report_of_apple,
    "sys.ios.react_native_crash": _script_crash_of_apple,
    "sys.ios.hang": _hang,
    "sys.exit": _exit,
}
_OWN = frozenset((*_BY_TYPE, *_CRASHES, *_BESIDE_USE, "sys.log"))
