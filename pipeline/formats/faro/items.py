"""Items of a Faro body as native names and attributes, OpenTelemetry's names where it has one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.formats import performance
from pipeline.formats.stacks.frames import written_place

Attributes = dict[str, Any]
Item = tuple[str, Attributes]
"""Native name and attributes."""

_SESSION_STARTS = ("session_start", "session_resume", "session_extend")
_VIEWS = {"view_changed": "toView", "route_change": "toRoute"}
"""And the attribute that names the screen."""
_NAVIGATION, _OWN_NAVIGATION = "navigation", "faro.navigation"
_NO_VIEWS = ("replaceState", "replace", "reload")
"""Ways of navigation that change what a page is called, and show no other."""
_RESOURCE_TIMING = "faro.performance.resource"
_SEVERITIES = {"trace": 1, "debug": 5, "info": 9, "log": 9, "warn": 13, "error": 17}
"""OpenTelemetry's numbers for Faro's levels."""
_HOST = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*+://[^/?#]*+)?")
_COMMON = ("timestamp", "trace", "action")


def event(item: Mapping[str, Any]) -> Item:
    """Whatever the app or an instrumentation pushed under a name."""
    source = item["name"]
    told = item.get("attributes")
    said: Mapping[str, Any] = told if isinstance(told, dict) else {}
    attributes = {key: value for key, value in said.items() if value is not None}
    name = source
    if source in _SESSION_STARTS:
        name = "session.start"
    elif source in _VIEWS:
        name = "app.screen.view"
        _name_screen(attributes, said.get(_VIEWS[source]))
    elif source == "click":
        name = "app.widget.click"
    elif source == _NAVIGATION or source.startswith(_OWN_NAVIGATION):
        if _shows_another(source, said):
            name = "app.screen.view"
            _name_screen(attributes, _within(said["toUrl"]).partition("?")[0])
    elif source == _RESOURCE_TIMING:
        # What a page loads by itself, also in a tab that nobody looks at.
        attributes["passive"] = True
    if name != source:
        attributes["faro.name"] = source
    if item.get("domain"):
        attributes.setdefault("event.domain", item["domain"])
    return name, _with_rest(attributes, item, ("name", "attributes", "domain"), "event")


def log(item: Mapping[str, Any]) -> Item:
    """A line of a log."""
    attributes: Attributes = {}
    level = item.get("level")
    if isinstance(level, str) and level:
        attributes["severity_text"] = level.upper()
        if level.lower() in _SEVERITIES:
            attributes["severity_number"] = _SEVERITIES[level.lower()]
    if item.get("message") is not None:
        attributes["body"] = item["message"]
    _add_context(attributes, item)
    return "log", _with_rest(attributes, item, ("level", "message", "context"), "log")


def exception(item: Mapping[str, Any]) -> Item:
    """An exception. Faro's `fatal` says that a part of the page is gone: the page lives, and its use goes on."""
    attributes: Attributes = {}
    for field, name in (("type", "exception.type"), ("value", "exception.message")):
        if item.get(field) is not None:
            attributes[name] = item[field]
    stacktrace = item.get("stacktrace")
    frames = stacktrace.get("frames") if isinstance(stacktrace, dict) else None
    if isinstance(frames, list) and frames:
        attributes["exception.stacktrace"] = "\n".join(_frame(each) for each in frames)
        attributes["exception.frames"] = frames
    _add_context(attributes, item)
    taken = ("type", "value", "stacktrace", "context")
    return "exception", _with_rest(attributes, item, taken, "exception")


def measurement(item: Mapping[str, Any]) -> Item:
    """Numbers that were measured, under one type."""
    attributes: Attributes = {"measurement.type": item["type"]}
    values = item.get("values")
    for key, value in values.items() if isinstance(values, dict) else ():
        if value is not None:
            attributes[f"values.{key}"] = value
    _add_context(attributes, item)
    name = "browser.web_vital" if item["type"] == "web-vitals" else "measurement"
    if name == "browser.web_vital" and isinstance(values, dict):
        # One a measurement; beside it stand what it is made of.
        told = next(
            (key for key in values if isinstance(key, str) and key.lower() in performance.VITALS), None
        )
        performance.add(attributes, performance.vital(told, values.get(told)))
    return name, _with_rest(attributes, item, ("type", "values", "context"), "measurement")


def _name_screen(attributes: Attributes, screen: Any) -> None:
    if isinstance(screen, str) and screen:
        attributes["app.screen.name"] = screen


def _shows_another(source: str, said: Mapping[str, Any]) -> bool:
    """Whether a navigation leads to another page, and not only to another place in it or another name for it."""
    to_url, from_url = said.get("toUrl"), said.get("fromUrl")
    if not isinstance(to_url, str) or not to_url or source.rpartition(".")[2] in _NO_VIEWS:
        return False
    return not isinstance(from_url, str) or _within(to_url) != _within(from_url)


def _within(url: str) -> str:
    """Path and query of a URL, which may be relative to its host."""
    host = _HOST.match(url)
    return url[host.end() if host else 0 :].partition("#")[0] or "/"


def _frame(frame: Any) -> str:
    if not isinstance(frame, dict):
        return "?"
    get = frame.get
    return f"{get('function') or '?'} ({written_place(get('filename'), get('lineno'), get('colno'))})"


def _add_context(attributes: Attributes, item: Mapping[str, Any]) -> None:
    context = item.get("context")
    for key, value in context.items() if isinstance(context, dict) else ():
        if value is not None:
            attributes[f"context.{key}"] = value


def _with_rest(
    attributes: Attributes, item: Mapping[str, Any], taken: tuple[str, ...], prefix: str
) -> Attributes:
    """The attributes, with what all items may have and what is not known of this one."""
    for name, value in _common(item):
        attributes.setdefault(name, value)
    for field, value in item.items():
        if field not in taken and field not in _COMMON and value is not None:
            attributes.setdefault(f"{prefix}.{field}", value)
    return attributes


def _common(item: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    trace, action = item.get("trace"), item.get("action")
    for field in ("trace_id", "span_id"):
        if isinstance(trace, dict) and trace.get(field):
            yield field, trace[field]
    for field, value in action.items() if isinstance(action, dict) else ():
        if value is not None:
            yield f"action.{field}", value
