"""Events by their OpenTelemetry names, as this pipeline understands them (schemas/README.md, "Names that steer").

Each function makes an `SdkEvent` and sends nothing. What is not here is `SdkEvent("any.name", {"attribute": 1})`.
"""

from __future__ import annotations

import traceback
from datetime import datetime
from typing import Any, Literal

import msgspec

Attributes = dict[str, Any]
Platform = Literal["android", "ios", "browser"]
"""Whose word for the app's state an event uses; what it means is the same."""

MAX_STACKTRACE_CHARS = 100_000
"""Of the stack trace of a Python exception, which has no bound; the innermost frames are at its end, and stay."""


class SdkEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event. It is stamped as it is sent; an `SdkEvent` that is sent twice is two events, unless it has an id."""

    name: str
    attributes: Attributes | None = None
    """What JSON can hold, and what msgspec makes JSON of (`datetime`, `UUID`, enums, dataclasses). NaN becomes null."""
    time: int | datetime | None = None
    """When it happened: Unix milliseconds, or a datetime that has a zone. None: as it is sent."""
    id: str | None = None
    """1 to 128 characters, unique on its device. None: it is given one."""
    seq: int | None = None
    """Settles the order within one millisecond. None: the order in which this process sends."""
    session_id: str | None = None
    """The SDK's own, if it has one."""


def event(name: str, attributes: Attributes | None = None, **more: Any) -> SdkEvent:
    """Any event; `more` are `time`, `id`, `seq` and `session_id`."""
    return SdkEvent(name=name, attributes=attributes, **more)


_FOREGROUND: dict[Platform, Attributes] = {
    "android": {"android.app.state": "foreground"},
    "ios": {"ios.app.state": "foreground"},
    "browser": {"browser.page.visibility": "visible"},
}
_BACKGROUND: dict[Platform, Attributes] = {
    "android": {"android.app.state": "background"},
    "ios": {"ios.app.state": "background"},
    "browser": {"browser.page.visibility": "hidden"},
}


def foreground(platform: Platform = "android", **more: Any) -> SdkEvent:
    """The app came to the front."""
    return event("device.app.lifecycle", _FOREGROUND[platform], **more)


def background(platform: Platform = "android", **more: Any) -> SdkEvent:
    """The app left the front."""
    return event("device.app.lifecycle", _BACKGROUND[platform], **more)


def launch(type: Literal["cold", "warm", "hot"] = "cold", **more: Any) -> SdkEvent:
    """The app was launched; only a cold launch begins a session."""
    return event("app.launch", {"app.launch.type": type}, **more)


def process_exit(reason: str, **more: Any) -> SdkEvent:
    """The process ended, by the system's word: `crash`, `anr`, `out_of_memory`, `user_terminated`, or another."""
    return event("app.exit", {"app.exit.reason": reason}, **more)


def session_end(**more: Any) -> SdkEvent:
    """The session is ended in code."""
    return event("session.end", **more)


def crash(error: BaseException | str, attributes: Attributes | None = None, **more: Any) -> SdkEvent:
    """The app crashed; `error` is a Python exception, or the type of another one."""
    return event("app.crash", _exception(error, attributes), **more)


def exception(
    error: BaseException | str, attributes: Attributes | None = None, *, fatal: bool = False, **more: Any
) -> SdkEvent:
    """An exception was raised; a fatal one ends the session."""
    return event("exception", {**_exception(error, attributes), "fatal": fatal}, **more)


def anr(attributes: Attributes | None = None, *, fatal: bool = False, **more: Any) -> SdkEvent:
    """The app did not respond; a fatal one ends the session."""
    return event("app.anr", {**(attributes or {}), "fatal": fatal}, **more)


def request(
    method: str,
    url: str,
    status: int | None = None,
    *,
    error_type: str = "",
    attributes: Attributes | None = None,
    **more: Any,
) -> SdkEvent:
    """A request of the app; failed with a status from 400 on, or an `error_type` such as `timeout`."""
    said: Attributes = {**(attributes or {}), "http.request.method": method, "url.full": url}
    if status is not None:
        said["http.response.status_code"] = status
    if error_type:
        said["error.type"] = error_type
    return event("http.client.request", said, **more)


def tap(widget_id: str, widget_name: str = "", attributes: Attributes | None = None, **more: Any) -> SdkEvent:
    """The user tapped something."""
    said: Attributes = {**(attributes or {}), "app.widget.id": widget_id}
    if widget_name:
        said["app.widget.name"] = widget_name
    return event("app.widget.click", said, **more)


def view(screen: str, attributes: Attributes | None = None, **more: Any) -> SdkEvent:
    """The user saw a screen."""
    return event("app.screen.view", {**(attributes or {}), "app.screen.name": screen}, **more)


def log(body: str, severity: str = "INFO", attributes: Attributes | None = None, **more: Any) -> SdkEvent:
    """A line of a log; `ERROR` and `FATAL` count as logged errors."""
    return event("log", {**(attributes or {}), "body": body, "severity_text": severity}, **more)


def _exception(error: BaseException | str, attributes: Attributes | None) -> Attributes:
    if isinstance(error, str):
        return {**(attributes or {}), "exception.type": error}
    stack = "".join(traceback.format_exception(error))
    return {
        **(attributes or {}),
        "exception.type": type(error).__qualname__,
        "exception.message": str(error),
        "exception.stacktrace": stack[-MAX_STACKTRACE_CHARS:],
    }
