"""Names of events that mean nothing to sessions, and look as if they should have been known ones."""

from __future__ import annotations

from difflib import get_close_matches
from functools import lru_cache

from pipeline.formats.meaning import KNOWN_NAMES

_CLOSE = 0.85
"""How like a known name another one must be, after `difflib`: `app.screen.close` is not near `app.screen.click`."""
_SHORTEST = 5
"""Of letters: below, one letter makes another word."""
_STATES = "device.app.lifecycle with android.app.state, ios.app.state or browser.page.visibility"
_WORDS = {
    "crash": "app.crash", "nativecrash": "app.crash", "appcrashed": "app.crash",
    "anr": "app.anr", "appnotresponding": "app.anr",
    "error": "exception", "apperror": "exception", "jserror": "exception",
    "click": "app.widget.click", "tap": "app.widget.click", "buttonclick": "app.widget.click",
    "appclick": "app.widget.click", "apptap": "app.widget.click",
    "view": "app.screen.view", "screenview": "app.screen.view",
    "pageview": "app.screen.view", "appview": "app.screen.view", "viewscreen": "app.screen.view",
    "launch": "app.launch", "coldlaunch": "app.launch", "coldstart": "app.launch", "appstart": "app.launch",
    "exit": "app.exit", "terminate": _STATES, "appterminate": _STATES,
    "lifecycle": _STATES, "applifecycle": _STATES, "devicelifecycle": _STATES,
    "foreground": _STATES, "background": _STATES, "appforeground": _STATES, "appbackground": _STATES,
    "active": _STATES, "inactive": _STATES,
    "request": "http.client.request", "httprequest": "http.client.request",
    "networkrequest": "http.client.request",
    "sessionended": "session.end", "endsession": "session.end", "heartbeat": "app.heartbeat",
}  # fmt: skip
"""What SDKs and apps call such things, without signs and capitals."""
_PLAIN = {name.replace(".", "").replace("_", ""): name for name in KNOWN_NAMES}


@lru_cache(4_096)
def nearest(name: str) -> str:
    """The known name that an event of this one was meant to have, as it seems; empty if it is one or is near none."""
    if name in KNOWN_NAMES:
        return ""
    folded = "".join(letter for letter in name[:64].lower() if letter.isalnum())
    if found := _WORDS.get(folded) or _PLAIN.get(folded):
        return found
    if len(folded) < _SHORTEST:
        return ""
    near = get_close_matches(folded, _PLAIN, n=1, cutoff=_CLOSE)
    return _PLAIN[near[0]] if near else ""
