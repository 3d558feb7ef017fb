"""What log records say, as names and attributes of native events (schemas/mapping/otlp.md, "Log records").

The names are also those of spans of no length, and of what other formats send as OTLP.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pipeline.formats import performance
from pipeline.formats.bounded_cache import BoundedCache
from pipeline.formats.otlp.message import Attributes, LogRecord
from pipeline.formats.otlp.names import PLAIN, SOURCE_NAME, put, renamed

SEVERITY_NUMBER_FATAL = 21
"""FATAL is 21 to 24. Of an exception: it "results in a shutdown" (semantic conventions, exceptions in logs)."""
_METRICKIT = "metrickit."
_EMBRACE_VITAL = "emb-web-vitals-report-"
_OLD_STATES = {"android.state": "android.app.state", "ios.state": "ios.app.state"}
_SCREEN_NAMES = ("app.screen.name", "screen.name", "view.name")


class Said(NamedTuple):
    """What a rule goes by besides the attributes."""

    severity_number: int
    body: Any
    is_browser: bool


Rule = Callable[[Attributes, Said], str]
"""Gets the attributes of an event, which it may change, and gives the native name."""


def source_name(record: LogRecord) -> str:
    """The name that the record has, or that tells best what it is; `log` for a line of a log.

    An attribute `event.name` that says no more is taken out.
    """
    attributes, body = record.attributes, record.body
    stated = attributes.get("event.name")
    if record.event_name:
        if stated == record.event_name:
            del attributes["event.name"]
        return record.event_name
    if isinstance(stated, str) and stated:
        del attributes["event.name"]
        return stated
    if isinstance(body, str) and is_known(body):
        return body
    diagnostic = attributes.get("metrickit.diagnostic.name")
    if isinstance(diagnostic, str) and diagnostic:
        return _METRICKIT + diagnostic
    return "exception" if "exception.type" in attributes else "log"


def is_known(name: str) -> bool:
    """Whether a text is the name of an event, wherever it stands."""
    return name in RULES or name in PLAIN


def rule_of(name: str, attributes: Attributes) -> Rule | None:
    """What is to be done with an event of this name and these attributes; None if nothing is."""
    rule = RULES.get(name)
    if rule is None:
        if name.startswith(_METRICKIT):
            return _metrickit
        if name.endswith(".exception"):
            return _exception
        return _embrace_vital(name) if name.startswith(_EMBRACE_VITAL) else None
    if name in _ONLY_WITH and _ONLY_WITH[name].isdisjoint(attributes):
        # Most records are of these, and the rule would leave them as they are.
        return None
    return rule


def native_name(name: str, attributes: Attributes, said: Said) -> str:
    """The native name of what was sent under this one; the attributes get what the native format asks for."""
    rule = rule_of(name, attributes)
    native = rule(attributes, said) if rule else name
    if native != name:
        attributes[SOURCE_NAME] = name
    return native


def _session_end(attributes: Attributes, said: Said) -> str:
    """SDKs send it at every rotation, and stamp it when the next session begins: it ends nothing, unless the app says
    that it was ended in code."""
    return "session.end" if attributes.get("session.end.reason") == "manual" else "session.end.reported"


def _lifecycle(attributes: Attributes, said: Said) -> str:
    renamed(attributes, _OLD_STATES)
    return "device.app.lifecycle"


def _crash(attributes: Attributes, said: Said) -> str:
    """KSCrash also reports processes that were killed without a crash, as exceptions of the type `termination`."""
    if attributes.get("exception.type") != "termination":
        return "app.crash"
    message = attributes.get("exception.message", said.body)
    is_memory = isinstance(message, str) and "memory limit" in message.lower()
    put(attributes, "app.exit.reason", "out_of_memory" if is_memory else "unknown")
    return "app.exit"


def _anr(attributes: Attributes, said: Said) -> str:
    """The main thread was blocked for some seconds: the app goes on."""
    return "app.anr"


def _exception(attributes: Attributes, said: Said) -> str:
    if said.is_browser:
        # The page goes on, whatever is said.
        if "fatal" in attributes:
            attributes["exception.fatal"] = attributes.pop("fatal")
    elif said.severity_number >= SEVERITY_NUMBER_FATAL:
        put(attributes, "fatal", True)
    return "exception"


def _tap(native: str) -> Rule:
    return lambda attributes, said: native


def _browser_click(attributes: Attributes, said: Said) -> str:
    renamed(
        attributes,
        {"browser.page.x": "app.screen.coordinate.x", "browser.page.y": "app.screen.coordinate.y"},
    )
    return "app.widget.click"


def _screen_view(attributes: Attributes, said: Said) -> str:
    name = next((attributes[key] for key in _SCREEN_NAMES if isinstance(attributes.get(key), str)), None)
    if name is not None:
        attributes["app.screen.name"] = name
        for key in _SCREEN_NAMES[1:]:
            if attributes.get(key) == name:
                del attributes[key]
    return "app.screen.view"


def _arrival(attributes: Attributes, said: Said) -> str:
    destination = attributes.get("app.navigation.destination.name")
    if isinstance(destination, str):
        put(attributes, "app.screen.name", destination)
    return "app.screen.view"


def _page(name: str) -> Rule:
    def rule(attributes: Attributes, said: Said) -> str:
        told = {**said.body, **attributes} if isinstance(said.body, dict) else attributes
        if is_same_page(told):
            return name
        path = path_of(told.get("url.full", told.get("url")))
        if path:
            put(attributes, "app.screen.name", path)
        return "app.screen.view"

    return rule


def is_same_page(attributes: Attributes) -> bool:
    """Whether a navigation leads to no other page: to another place in it, or only its address changed."""
    return any(
        attributes.get(f"{prefix}hash_change") is True or attributes.get(f"{prefix}type") == "replace"
        for prefix in ("", "browser.navigation.")
    )


def path_of(url: Any) -> str:
    """The path of a URL, under which a page is a screen; empty if it has none."""
    if not isinstance(url, str):
        return ""
    try:
        return urlsplit(url).path or "/"
    except ValueError:
        return ""


def _passive(name: str) -> Rule:
    def rule(attributes: Attributes, said: Said) -> str:
        attributes["passive"] = True
        return name

    return rule


def _metrickit(attributes: Attributes, said: Said) -> str:
    """Stamped with the end of a day, or when it was handed over: it says nothing of when, and ends nothing."""
    attributes["time.uncertain"] = True
    return "metrickit.diagnostic"


def _embrace_vital(name: str) -> Rule:
    def rule(attributes: Attributes, said: Said) -> str:
        told = attributes.get("emb.web_vital.name"), attributes.get("emb.web_vital.value")
        performance.add(attributes, performance.vital(*told))
        return name

    return rule


_ONLY_WITH = {
    "device.app.lifecycle": frozenset(_OLD_STATES),
    "app.screen.view": frozenset(_SCREEN_NAMES[1:]),
}
"""Older names of attributes, without which the rules of these events leave them as they are."""

RULES: dict[str, Rule] = {
    "session.end": _session_end,
    "device.app.lifecycle": _lifecycle,
    "app.crash": _crash,
    "device.crash": _crash,
    "device.anr": _anr,
    "exception": _exception,
    "app.screen.longpress": _tap("app.screen.click"),
    "app.widget.longpress": _tap("app.widget.click"),
    "browser.user_action.click": _browser_click,
    "app.screen.view": _screen_view,
    "app.navigation.complete": _arrival,
    "browser.navigation": _page("browser.navigation"),
    "browser.page_view": _page("browser.page_view"),
    "browser.resource_timing": _passive("browser.resource_timing"),
}
"""By the name that was sent. What is not here keeps its name, with what the native format knows of it."""

has_rule: BoundedCache[str, bool] = BoundedCache(
    lambda name: rule_of(name, {}) is not None or name in _ONLY_WITH, sys.getsizeof, 1_000_000
)
"""Whether there may be a rule for a name: names are few, and are asked for with each record."""
