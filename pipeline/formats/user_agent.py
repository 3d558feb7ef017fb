"""Which browser it was, and on which system: what a page says of it in its user agent, or in its brands.

The rules that know user agents are those of a library (ua-parser), and change with it. So they are asked once, when a
record becomes a native envelope: what they say is stored with the event, and neither a rebuild nor an upgrade changes
what is told of a stored one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from ua_parser import Domain, regex
from ua_parser.loaders import load_lazy_builtins

from pipeline.formats.bounded_cache import BoundedCache

MAX_CHARS = 1_024
"""A longer user agent is not looked at: those of browsers have some two hundred."""
_KEPT_BYTES = 1_000_000
_NAME, _VERSION, _SYSTEM = "user_agent.name", "user_agent.version", "os.name"
_MODELS = ("device.model.identifier", "device.model.name")
_MAX_BRANDS = 16
_BRAND = re.compile(r"(?P<name>.{1,64}?)(?: (?P<version>[\d.]{1,32}))?")
_NO_BRAND = re.compile(r"\W*Not.A.Brand", re.IGNORECASE)
"""What Chromium mixes in, so that nobody relies on the list (User-Agent Client Hints, "GREASE")."""
_ENGINE = "Chromium"
_PLAIN = {
    "Google Chrome": "Chrome",
    "Microsoft Edge": "Edge",
    "Chrome Mobile": "Chrome",
    "Chrome Mobile iOS": "Chrome",
    "Edge Mobile": "Edge",
    "Firefox Mobile": "Firefox",
    "Firefox iOS": "Firefox",
    "Mobile Safari": "Safari",
    "Opera Mobile": "Opera",
    "Mac OS X": "macOS",
}
"""Brands, and the rules for phones and desks, name the same browser differently; the system says which it was."""


def with_browser(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a resource says, and besides it `user_agent.name`, `user_agent.version` and `os.name`, where it does not
    name them and its `browser.brands`, `browser.platform` or `user_agent.original` do.

    The version of the system is left out: browsers say of it for years what it once was. A device that says its model
    is not a browser, whatever user agent its HTTP client has.
    """
    found = dict(said)
    if any(name in said for name in _MODELS):
        return found
    told = said.get("user_agent.original")
    read = _kept[told] if isinstance(told, str) and 0 < len(told) <= MAX_CHARS else _NOTHING
    name, version = _of_brands(said.get("browser.brands")) or read[:2]
    platform = said.get("browser.platform")
    system = _PLAIN.get(platform, platform) if isinstance(platform, str) and platform else read[2]
    if name and _NAME not in said:
        found[_NAME] = name
        if version and _VERSION not in said:
            found[_VERSION] = version
    if system and _SYSTEM not in said:
        found[_SYSTEM] = system
    return found


def _of_brands(brands: Any) -> tuple[str, str] | None:
    """The browser's own brand of a list as OpenTelemetry has it (`Google Chrome 141`), else that of its engine."""
    if not isinstance(brands, list | tuple):
        return None
    named = list(_brands(brands))
    return next((each for each in named if each[0] != _ENGINE), named[0] if named else None)


def _brands(brands: list[Any] | tuple[Any, ...]) -> Iterator[tuple[str, str]]:
    for brand in brands[:_MAX_BRANDS]:
        read = _BRAND.fullmatch(brand) if isinstance(brand, str) else None
        if read and not _NO_BRAND.match(brand):
            yield _PLAIN.get(read["name"], read["name"]), read["version"] or ""


@cache
def _rules() -> regex.Resolver:
    """Takes a tenth of a second and some 25 MB, once it is needed."""
    return regex.Resolver(load_lazy_builtins())


def _read(user_agent: str) -> tuple[str, str, str]:
    """Name and version of the browser, name of the system; empty where the rules do not know."""
    found = _rules()(user_agent, Domain.USER_AGENT | Domain.OS)
    name = version = system = ""
    if agent := found.user_agent:
        name = _PLAIN.get(agent.family, agent.family)
        # With all four parts it would look like an address, which privacy rules may mask.
        version = ".".join(part for part in (agent.major, agent.minor) if part)
    if found.os:
        system = _PLAIN.get(found.os.family, found.os.family)
    return name, version, system


_NOTHING = ("", "", "")
_kept = BoundedCache(_read, lambda made: sum(map(sys.getsizeof, made)), _KEPT_BYTES)
